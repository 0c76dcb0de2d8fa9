"""Hold the results of a fit, and compute each inference from them only once: the `FitRecord`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.estimate import Estimate, estimate_again
from mlm_ops.inference.effect_sizes.variation import VarianceSplit, split_variance
from mlm_ops.inference.fixed.tests import DF_METHODS, CoefficientMethod, CoefficientTests, coefficient_tests
from mlm_ops.inference.random.effects import RandomEffects, random_effects
from mlm_ops.inference.random.rank import CovarianceRank, covariance_ranks
from mlm_ops.inference.random.variance import Component, VarianceErrors, variance_components, variance_errors
from mlm_ops.language.covariances import DEFAULT
from mlm_ops.language.model import Model, group_name
from mlm_ops.language.options import DfMethod, Estimator, Robust
from mlm_ops.language.request import Request
from mlm_ops.language.symbols import EquationStructure
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.record import Moments
from mlm_ops.results.numpy_warnings import quiet_class
from mlm_ops.warehouse.files.reading import Reading

if TYPE_CHECKING:
    from mlm_ops.inference.prediction.sql import PredictionQuery


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
        """The same model by maximum likelihood, by which models with other fixed parts compare.

        Raises
        ------
        IdentificationError
            It has none (`without_ml`).
        """
        if self.without_ml is not None:
            raise IdentificationError(self.without_ml)
        return self._by_ml[0]

    @property
    def without_ml(self) -> str | None:
        """Why there is no maximum of the likelihood, as a sentence; None where there is one."""
        return self._by_ml[1]

    @cached_property
    def _by_ml(self) -> tuple[Estimate, str | None]:
        if self.estimator == "ml":
            return self.estimate, None
        try:
            return estimate_again(self.estimate, reml=False), None
        except IdentificationError as error:
            return self.estimate, str(error)

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
        """Whether a T is singular (has deficient rank)."""
        return self.estimate.optimum.singular

    @property
    def error_kind(self) -> str:
        """The kind of the fixed effects' standard errors: the model's own, Kenward-Roger's, or a robust kind."""
        return self.robust or ("kenward-roger" if self.df == "kenward-roger" else "model")
