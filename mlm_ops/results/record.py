"""Hold the results of a fit, and compute what is inferred from them, each once: the `FitRecord`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.estimate import Estimate, estimate_again
from mlm_ops.inference.effect_sizes.variation import VarianceSplit, split_variance
from mlm_ops.inference.fixed.tests import DF_METHODS, CoefficientMethod, CoefficientTests, coefficient_tests
from mlm_ops.inference.random.effects import RandomEffects, random_effects
from mlm_ops.inference.random.rank import CovarianceRank, covariance_ranks
from mlm_ops.inference.random.variance import Component, VarianceErrors, variance_components, variance_errors
from mlm_ops.language.covariances import DEFAULT
from mlm_ops.language.model import Center, Column, Factor, Model, columns_of, group_name, label, walk
from mlm_ops.language.options import DfMethod, Estimator, Robust
from mlm_ops.language.request import Request
from mlm_ops.language.symbols import EquationStructure
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.record import Moments
from mlm_ops.results.doubts import few_groups, two_valued_outcome
from mlm_ops.results.quiet import quiet_class
from mlm_ops.results.words import cell, rows_left_out
from mlm_ops.warehouse.files.reading import Reading

if TYPE_CHECKING:
    from mlm_ops.inference.prediction.sql import PredictionQuery

#: A residual variance with fewer significant digits than this gets a note.
_DIGITS = 6
#: Robust tests by fewer degrees of freedom than this reject too often (Tipton 2015).
_LEAST_DEGREES = 4


@quiet_class
@dataclass(frozen=True, repr=False)
class FitRecord:
    """Hold a fitted multilevel model.

    Attributes
    ----------
    request
        What was asked for: the model, and how it is fitted and tested.
    estimate
        The estimate, on the user's scale.
    seconds
        Design and estimation, without the scan.
    n_rows, n_dropped
        Rows of the data, and how many of them miss a value, by column.
    moments
        The moments that the model was fitted to; predictions center with their means.
    remarks
        Notes about how the model was chosen, before those of the fit.
    file
        The data file that was read; None where the rows are of a table or of memory.
    squares
        (p, p) sums of squared residuals over the rows, on which HC errors rest; None where these were not asked for.
    reading
        How that file was read.
    """

    request: Request
    estimate: Estimate
    seconds: float
    n_rows: int
    n_dropped: dict[str, int]
    moments: Moments
    remarks: tuple[str, ...] = ()
    file: Path | None = None
    squares: Array | None = None
    reading: Reading | None = None

    @property
    def model(self) -> Model:
        """The model that was asked for."""
        return self.request.model

    @property
    def estimator(self) -> Estimator:
        """How it was fitted."""
        return self.request.estimator

    @property
    def df(self) -> DfMethod:
        """How the degrees of freedom of its coefficients are computed."""
        return self.request.df

    @property
    def robust(self) -> Robust | None:
        """Which robust standard errors the tests use; None for the model's own."""
        return self.request.robust

    @cached_property
    def method(self) -> CoefficientMethod:
        """Covariance matrix and degrees of freedom by which fixed effects are tested."""
        method = None if self.robust is None else self._robust_method(self.robust)
        return DF_METHODS[self.df](self.estimate) if method is None else method

    def _robust_method(self, kind: Robust) -> CoefficientMethod | None:
        """Robust errors of rows or clusters; imported by a fit that has them alone, as a first fit would wait."""
        from mlm_ops.inference.fixed.heteroscedastic import row_robust
        from mlm_ops.inference.fixed.robust import NormalRobust, Sandwich, cluster_robust

        clusters = self.estimate.design.clusters
        robust: Sandwich
        if self.squares is not None:
            robust = row_robust(self.estimate, kind, self.squares)
        elif clusters is not None:
            robust = cluster_robust(self.estimate, kind, clusters)
        else:
            return None
        return NormalRobust(robust) if self.df == "none" else robust

    @cached_property
    def by_ml(self) -> Estimate:
        """The same model by maximum likelihood, by which models with other fixed parts compare."""
        if self.estimator == "ml":
            return self.estimate
        return estimate_again(self.estimate, reml=False)

    def estimate_by(self, estimator: Estimator) -> Estimate:
        """Estimate the same model by this estimator, for its likelihood."""
        if self.estimator == estimator:
            return self.estimate
        if estimator == "ml":
            return self.by_ml
        return estimate_again(self.estimate, reml=True)

    @cached_property
    def tests(self) -> CoefficientTests:
        """Tests of the fixed effects."""
        return coefficient_tests(self.estimate, self.method)

    @cached_property
    def variance_errors(self) -> VarianceErrors:
        """Standard errors of the variance components."""
        return variance_errors(self.estimate)

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """Variances and covariances of the random effects, and the residual's parameters."""
        return variance_components(self.equation_structure, self.estimate, self.variance_errors)

    @cached_property
    def ranks(self) -> list[CovarianceRank]:
        """The rank and the eigenvalues of each grouping factor's T, lowest level first."""
        return covariance_ranks(self.estimate)

    @cached_property
    def variance_split(self) -> VarianceSplit:
        """The variance of the outcome that the model implies, part by part."""
        return split_variance(self.model, self.moments, self.estimate)

    @cached_property
    def block_effects(self) -> list[RandomEffects]:
        """Empirical Bayes estimates, block by block."""
        return random_effects(self.estimate)

    @property
    def prediction_query(self) -> PredictionQuery:
        """Everything that `prediction_sql` needs."""
        from mlm_ops.inference.prediction.sql import PredictionQuery  # with polars, which a printed fit does not need

        return PredictionQuery(self.model, self.estimate, self.block_effects, self.moments)

    @cached_property
    def equation_structure(self) -> EquationStructure:
        """The coefficients, random effects and residual that the equations show."""
        design = self.estimate.design
        residual, split = design.residual, design.split
        return EquationStructure(
            self.model.outcome,
            design.fixed.columns,
            random=tuple(tuple(block.columns for block in level.blocks) for level in design.levels),
            variable_levels=design.variable_levels,
            crossed=not design.nested,
            covariances=tuple(
                tuple(b.covariance if isinstance(b.covariance, str) else DEFAULT for b in level.blocks)
                for level in design.levels
            ),
            groups=tuple(group_name(level.group) for level in design.levels),
            residual=self.model.residual,
            strata=residual.strata if residual is not None and len(residual.strata) > 1 else (),
            factors=tuple(level.group for level in design.levels),
            default_group=self.model.default_group,
            meaning=meanings(self.model, self.moments),
            split=split.part if split is not None else "",
            split_group=split.group if split is not None else (),
        )

    @property
    def vcov(self) -> NDArray[np.float64]:
        """(p, p) covariance matrix of the fixed effects; with Kenward-Roger and robust errors theirs."""
        return self.method.vcov

    @property
    def converged(self) -> bool:
        """Whether the optimisation ended at a minimum."""
        return self.estimate.optimum.converged

    @property
    def singular(self) -> bool:
        """Whether a T is of deficient rank."""
        return self.estimate.optimum.singular

    @property
    def error_kind(self) -> str:
        """Whose the standard errors of the fixed effects are: the model's own, Kenward-Roger's, or a robust kind's."""
        return self.robust or ("kenward-roger" if self.df == "kenward-roger" else "model")

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers must know."""
        sentences = list(self.remarks)
        if self.reading is not None and (missing := self.reading.missing(self._columns())):
            sentences.append(f"as the file was read, {missing}")
        if self.reading is not None and (signs := self.reading.contradiction(self._columns())):
            sentences.append(f"as the file was read, {signs}")
        optimum, fixed, split = self.estimate.optimum, self.estimate.design.fixed, self.estimate.design.split
        if split is not None and split.part == "within":
            absorbed = ", ".join(fixed.absorbed)
            sentences.append(
                f"the {split.size} means of {group_name(split.group)} are taken out of the outcome and of every "
                "predictor" + (f", which leaves nothing of {absorbed}" if absorbed else "")
            )
        if fixed.zero:
            sentences.append(f"dropped, being zero in every row: {', '.join(fixed.zero)}")
        if aliased := [name for name in fixed.aliased if name not in (*fixed.absorbed, *fixed.zero)]:
            sentences.append(f"dropped, being a combination of the other columns: {', '.join(aliased)}")
        if (fixed.zero or aliased) and not fixed.centered:
            sentences.append(
                "predictions, slopes and contrasts that need a dropped column cannot be estimated and are null"
            )
        if fixed.near:
            sentences.append(
                "almost a combination of the columns before, so that estimates have lost digits: "
                + ", ".join(fixed.near)
            )
        sentences += self._far_references()
        sentences += self._grouping_predictors() + self._almost_numbers()
        sentences += filter(None, (two_valued_outcome(self.model, self.moments), few_groups(self._estimated_groups())))
        if optimum.singular:
            deficient = [
                _varies_less(one.group, one.rank, one.size)
                for one in self.ranks
                if one.rank is not None and one.rank < one.size
            ]
            sentences.append(
                "singular: a variance is zero or a correlation is one, so a random term may be too much"
                + (f" ({', '.join(deficient)})" if deficient else "")
            )
        if self.estimate.digits < _DIGITS:
            sentences.append(
                f"predictors and groups leave {self.estimate.share_left:.0e} of the outcome's variation, so that the "
                f"residual variance, and all that rests on it, has about {max(int(self.estimate.digits), 1)} digits"
            )
        sentences += self._undetermined_parameters()
        if optimum.verdict == "saddle":
            sentences.append("not converged: the search ended on a saddle, from which the deviance falls")
        elif not optimum.converged:
            sentences.append(f"not converged: the deviance may still fall by {cell('decrement', optimum.decrement)}")
        if self.robust is not None and (clusters := self.estimate.design.clusters) is not None:
            sentences.append(
                f"standard errors, df and p values of the fixed effects are cluster-robust: {self.robust} over "
                f"{clusters.size} clusters of {group_name(clusters.group)}"
            )
            sentences += self._few_degrees()
        if self.squares is not None:
            sentences.append(
                f"standard errors and p values of the fixed effects are {self.robust}: they allow for unequal "
                "residual variances, and take rows for independent"
            )
        if any(self.n_dropped.values()):
            sentences.append(rows_left_out(self.moments.n_obs, self.n_rows, self.n_dropped))
        return sentences

    def _estimated_groups(self) -> dict[str, int]:
        """How many units each grouping factor has whose variances are estimated."""
        levels = self.estimate.design.levels
        estimated = [one for one in levels if any(isinstance(block.covariance, str) for block in one.blocks)]
        return {group_name(level.group): len(level.labels) for level in estimated}

    def _few_degrees(self) -> list[str]:
        """Coefficients whose robust tests rest on too few clusters (Tipton 2015, Psychological Methods 20, 375-393)."""
        names = [column.name for column in self.estimate.design.fixed.columns]
        few = [name for name, df in zip(names, self.tests.df, strict=True) if df < _LEAST_DEGREES]
        if not few:
            return []
        return [
            f"fewer than {_LEAST_DEGREES} degrees of freedom, which few or very unequal clusters leave: "
            f"{', '.join(few)}; there p values by robust errors are too small more often than they say"
        ]

    def _far_references(self) -> list[str]:
        """Reference values of predictors that lie outside the data."""
        nodes = dict.fromkeys(node for variable in self.model.variables for node in walk(variable))
        sentences = []
        for node in nodes:
            if isinstance(node, Center) and node.at is not None and node.of in self.moments.ranges:
                low, high = self.moments.ranges[node.of]
                if not low <= node.at <= high:
                    sentences.append(
                        f"the reference value {node.at:g} of {label(node)} lies outside the data, where "
                        f"{label(node.of)} goes from {low:g} to {high:g}: the intercept, and all that holds where "
                        "predictors are zero, is extrapolated"
                    )
        return sentences

    def _columns(self) -> set[str]:
        """The columns of the data that the model has."""
        residual, schema = self.model.residual, self.moments.schema
        variables = (*self.model.variables, *([residual.precision] if residual.precision is not None else []))
        return {c for v in variables for c in columns_of(v)} | {
            *schema.keys,
            residual.strata or "",
            residual.time or "",
        }

    def _undetermined_parameters(self) -> list[str]:
        """Variances and covariances that the data do not determine."""
        undetermined = self.estimate.undetermined
        if not undetermined.any:
            return []
        names: list[str] = []
        blocks = [(group_name(level.group), block) for level in self.estimate.design.levels for block in level.blocks]
        for (group, block), flags in zip(blocks, undetermined.tau, strict=True):
            columns = [column.name for column in block.columns]
            for i, j in zip(*np.nonzero(np.tril(flags)), strict=True):
                of = f"of {columns[i]}" if i == j else f"of {columns[j]} with {columns[i]}"
                names.append(f"{'the variance' if i == j else 'the covariance'} {of} over {group}")
        residual = self.estimate.design.residual
        if residual is not None:
            strata = residual.strata[1:]
            names += [
                f"the residual variance of {s}" for s, flag in zip(strata, undetermined.rho, strict=False) if flag
            ]
            names += ["phi"] * bool(residual.serial and undetermined.rho[-1])
        names += ["the residual variance"] * undetermined.sigma2
        parameters = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
        missing = "one parameter is" if undetermined.missing == 1 else f"{undetermined.missing} parameters are"
        uncounted = f", and {missing} not counted" if undetermined.missing else ""
        return [
            f"the data do not determine {parameters}: other values fit as well, so there is no standard error or "
            f"interval{uncounted}"
        ]

    def _almost_numbers(self) -> list[str]:
        """Text predictors most of whose values are numbers: a stray word in a column of numbers makes it text."""
        columns = (v for term in self.model.fixed for v in term.variables if isinstance(v, Column | Factor))
        sentences = []
        for name in dict.fromkeys(name for v in columns for name in columns_of(v)):
            labels = self.moments.schema.levels.get(name, ())
            words = [label for label in labels if not _is_number(label)]
            if 0 < 2 * len(words) < len(labels):
                sentences.append(
                    f"{name} is text, with a coefficient for each value, though {len(labels) - len(words)} of its "
                    f"{len(labels)} values are numbers; if it is to be one predictor, make {words[0]!r} missing"
                )
        return sentences

    def _grouping_predictors(self) -> list[str]:
        """Grouping factors that also stand among the predictors, which is rarely meant."""
        units = {name for group in self.model.groups for name in group}
        columns = (v for term in self.model.fixed for v in term.variables if isinstance(v, Column | Factor))
        both = dict.fromkeys(name for v in columns for name in columns_of(v) if name in units)
        uses = {True: "a coefficient for each of its units", False: "its labels read as numbers"}
        return [
            f"{name} is a grouping factor and also a predictor, {uses[name in self.moments.schema.levels]}; if that "
            "is not meant, remove it from the fixed part"
            for name in both
        ]


def _varies_less(group: str, rank: int, size: int) -> str:
    """What it means that a group's covariance matrix T of several random effects has a lower rank."""
    if rank == 0:
        return f"{group} has no variance"
    return f"the {size} random effects of {group} vary in {rank} dimension{'s' * (rank > 1)}"


def _is_number(label: object) -> bool:
    try:
        float(str(label))
    except ValueError:
        return False
    return True
