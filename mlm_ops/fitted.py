"""The Fit record: an estimate that infers, tells and draws up tables when asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops import tables
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.contrasts import Wanted, contrast_matrix
from mlm_ops.inference.f_tests import DfMethod as TestMethod
from mlm_ops.inference.f_tests import f_test
from mlm_ops.inference.fixed_effects import DF_METHODS, CoefficientTests, coefficient_tests
from mlm_ops.inference.intervals import IntervalMethod, find_intervals
from mlm_ops.inference.new_rows import NewRows
from mlm_ops.inference.prediction import PredictionKind, predict
from mlm_ops.inference.random_effects import RandomEffects, random_effects
from mlm_ops.inference.robust import NormalRobust, cluster_robust
from mlm_ops.inference.variance import VarianceErrors, variance_errors
from mlm_ops.language.equations import Structure, coefficient_symbol, indices
from mlm_ops.language.model import Column, Factor, Model, columns_of, group_name
from mlm_ops.language.notation import EquationForm, EquationFormat, write_equations
from mlm_ops.language.robust import Robust
from mlm_ops.moments.moments import Moments
from mlm_ops.moments.source import read_rows

if TYPE_CHECKING:
    import duckdb

Estimator = Literal["reml", "ml"]
DfMethod = Literal["satterthwaite", "kenward-roger", "none"]


@dataclass(frozen=True, repr=False)
class Fit:
    """A fitted multilevel model.

    Attributes
    ----------
    model
        What was asked for.
    result
        The estimate, on the user's scale.
    estimator, df
        How it was fitted and is tested.
    seconds
        Design and estimation, without the scan.
    n_rows, n_dropped
        Rows that the data held, and how many of them miss a value, by column.
    moments
        What the data taught; predictions center with these means.
    robust
        Which cluster-robust errors the tests rest on, over the design's clusters; None for the model's own.
    remarks
        What a reader must know of how the model came about.
    """

    model: Model
    result: Estimate
    estimator: Estimator
    df: DfMethod
    seconds: float
    n_rows: int
    n_dropped: dict[str, int]
    moments: Moments
    robust: Robust | None = None
    remarks: tuple[str, ...] = ()

    @cached_property
    def method(self) -> TestMethod:
        """Covariance matrix and degrees of freedom by which fixed effects are tested."""
        clusters = self.result.design.clusters
        if self.robust is None or clusters is None:
            return DF_METHODS[self.df](self.result)
        robust = cluster_robust(self.result, self.robust, clusters)
        return NormalRobust(robust) if self.df == "none" else robust

    @cached_property
    def tests(self) -> CoefficientTests:
        """Tests of the fixed effects."""
        return coefficient_tests(self.result, self.method)

    @cached_property
    def variance_errors(self) -> VarianceErrors:
        """Standard errors of the variance components."""
        return variance_errors(self.result)

    @cached_property
    def predictions(self) -> list[RandomEffects]:
        """Empirical Bayes estimates, block by block."""
        return random_effects(self.result)

    @property
    def structure(self) -> Structure:
        """What the equations are made of."""
        design = self.result.design
        residual = design.residual
        return Structure(
            self.model.outcome_name,
            design.fixed.columns,
            random=tuple(tuple(block.columns for block in level.blocks) for level in design.levels),
            variable_levels=design.variable_levels,
            crossed=not design.nested,
            covariances=tuple(tuple(block.covariance for block in level.blocks) for level in design.levels),
            groups=tuple(group_name(level.group) for level in design.levels),
            residual=self.model.residual,
            strata=residual.strata if residual is not None and len(residual.strata) > 1 else (),
        )

    @property
    def fixed_effects(self) -> pl.DataFrame:
        """One row a fixed effect."""
        return tables.fixed_effects(self)

    @property
    def variance_components(self) -> pl.DataFrame:
        """One row an element of each T, and the residual variance."""
        return tables.variance_components(self)

    @property
    def random_effects(self) -> pl.DataFrame:
        """One row a unit and random effect."""
        return tables.random_effects(self)

    @property
    def fit_statistics(self) -> pl.DataFrame:
        """One row."""
        return tables.fit_statistics(self)

    @property
    def vcov(self) -> NDArray[np.float64]:
        """(p, p) covariance matrix of the fixed effects; with Kenward-Roger and robust errors theirs."""
        return self.method.vcov

    @property
    def converged(self) -> bool:
        """Whether the optimisation ended at a minimum."""
        return self.result.optimum.converged

    @property
    def singular(self) -> bool:
        """Whether a T is of deficient rank."""
        return self.result.optimum.singular

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers must know."""
        found = list(self.remarks)
        optimum, fixed, split = self.result.optimum, self.result.design.fixed, self.result.design.split
        if split is not None and split.part == "within":
            lost = ", ".join(fixed.absorbed)
            found.append(
                f"the {split.size} means of {group_name(split.group)} are taken out of the outcome and of every "
                "predictor" + (f", which leaves nothing of {lost}" if lost else "")
            )
        if aliased := [name for name in fixed.aliased if name not in fixed.absorbed]:
            found.append(f"dropped, being a combination of the other columns: {', '.join(aliased)}")
        found += self._confusions()
        if optimum.singular:
            found.append("singular: a variance is zero or a correlation is one, so a random term may be too much")
        if optimum.undetermined:
            found.append(
                "the data do not determine some variance: its value is where the search began, and means nothing"
            )
        if not optimum.converged:
            found.append(f"not converged: the deviance may still fall by {optimum.decrement:.2g}")
        if self.robust is not None and (clusters := self.result.design.clusters) is not None:
            found.append(
                f"standard errors, df and p values of the fixed effects are cluster-robust: {self.robust} over "
                f"{clusters.size} clusters of {group_name(clusters.group)}"
            )
        dropped = {name: count for name, count in self.n_dropped.items() if count}
        if dropped:
            counts = ", ".join(f"{name} {count}" for name, count in dropped.items())
            found.append(
                f"{self.n_rows - self.moments.n_obs} of {self.n_rows} rows left out for missing values ({counts})"
            )
        return found

    def _confusions(self) -> list[str]:
        """Grouping factors that also stand among the predictors, which is rarely meant."""
        units = {name for group in self.model.groups for name in group}
        plain = (v for term in self.model.fixed for v in term.variables if isinstance(v, Column | Factor))
        both = dict.fromkeys(name for v in plain for name in columns_of(v) if name in units)
        taken = {True: "a coefficient for each of its units", False: "its labels taken as amounts"}
        return [
            f"{name} is a grouping factor and also a predictor, {taken[name in self.moments.schema.levels]}; if that "
            "is not meant, remove it from the fixed part"
            for name in both
        ]

    def test(self, contrasts: Wanted) -> pl.DataFrame:
        """F test that several coefficients, or several combinations of them, are all zero.

        Parameters
        ----------
        contrasts
            Names of coefficients, or of formula terms for all coefficients that belong to them (``"sector"`` for every
            ``sector[…]``); or a matrix with a row for each combination and a column for each fixed effect.

        Returns
        -------
        polars.DataFrame
            One row: statistic, df1, df2, p_value, by the fit's df method; df2 is null for a chi-square test.
        """
        matrix = contrast_matrix(contrasts, self.model.fixed, self.result.design.fixed)
        return tables.contrast_test(f_test(self.result.gamma, self.method, matrix))

    def r_squared(self, reference: Fit | None = None) -> pl.DataFrame:
        """Explained variance, one row a measure; with a reference, how each differs from that fit's."""
        return tables.r_squared(self) if reference is None else tables.r_squared_changes(self, reference, "reference")

    def icc(self) -> pl.DataFrame:
        """One row a grouping factor: intraclass correlation with its interval, design effect, reliability."""
        return tables.icc(self)

    def standard_errors(self) -> pl.DataFrame:
        """One row a fixed effect: its error here, by least squares, and robust to clusters."""
        return tables.standard_errors(self)

    def diagnostics(self) -> pl.DataFrame:
        """One row a finding: influential units (refitted without them), outliers, normality, equal variances."""
        return tables.diagnostics(self)

    def equations(
        self, form: EquationForm = "levels", format: EquationFormat = "text", *, estimates: bool = False
    ) -> str:
        """The model as the textbook prints it.

        Parameters
        ----------
        form
            ``"levels"``: an equation for every coefficient; ``"reduced"``: one equation; ``"matrix"``.
        format
            ``"text"`` (ASCII), ``"unicode"``, ``"latex"`` (an ``align*`` environment) or ``"markdown"``.
        estimates
            Numbers in the place of the parameters.
        """
        return write_equations(self.structure, form, format, self._estimates if estimates else {})

    @property
    def _estimates(self) -> dict[str, float]:
        """Estimates by symbol; a variance of several strata with the stratum in brackets."""
        index = indices(self.structure)
        fixed = zip((coefficient_symbol(index[c]) for c in self.structure.fixed), self.result.gamma, strict=True)
        strata = self.structure.strata
        rows = self.variance_components.select("symbol", "term", "estimate").iter_rows()
        variances = {f"{s}[{term}]" if s == "sigma2" and strata else s: value for s, term, value in rows}
        return {symbol: float(value) for symbol, value in (*fixed, *variances.items())}

    def intervals(
        self, method: IntervalMethod = "wald", level: float = 0.95, *, seed: int | None = 0, samples: int = 500
    ) -> pl.DataFrame:
        """Intervals of all parameters: standard deviations, correlations, sigma, and fixed effects as they are.

        Parameters
        ----------
        method
            ``"wald"``; ``"profile"`` (of the ML likelihood, as lme4's confint); ``"bootstrap"`` (parametric, limits by
            percentiles) or ``"bootstrap-basic"``.
        seed, samples
            Of the bootstrap: equal seeds give equal limits, None takes a new one.
        """
        return tables.intervals(*find_intervals(self.result, method, level, self.method, samples, seed))

    def predict(
        self, data: Any, kind: PredictionKind = "conditional", connection: duckdb.DuckDBPyConnection | None = None
    ) -> pl.DataFrame:
        """New rows (as `fit` takes data) with a column ``prediction``, null where a value is missing.

        ``within()`` and ``between()`` take the fitted means of a known group, the mean of its new rows for another.

        Parameters
        ----------
        kind
            ``"marginal"``: the fixed part, and its ``std_error``. ``"conditional"``: with the effects of the row's
            groups, which are zero for a group that the fit has not seen, and ``new_group`` says so.
        """
        rows = NewRows(read_rows(data, connection), self.moments, self.model)
        return predict(self.result, self.predictions, rows, kind)

    def __str__(self) -> str:
        from mlm_ops.report import describe

        return describe(self)

    __repr__ = __str__
