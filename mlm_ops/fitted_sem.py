"""The SemFit record: a two-level structural equation model that infers, tells and draws when asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.language import options
from mlm_ops.language.model import GroupingFactor, group_name
from mlm_ops.language.notation.left_out import left_out
from mlm_ops.language.structural.model import SemModel
from mlm_ops.structural.defined import (
    DRAWS,
    Defined,
    delta_method,
    label_values,
    monte_carlo,
    undetermined_definitions,
)
from mlm_ops.structural.diagram import mermaid, svg
from mlm_ops.structural.equations import level_equations
from mlm_ops.structural.estimate import SemEstimate
from mlm_ops.structural.fit_measures import FitMeasures, fit_measures
from mlm_ops.structural.mplus import mplus_input
from mlm_ops.structural.nested import likelihood_ratio
from mlm_ops.structural.reliability import Omega, omegas
from mlm_ops.tables import structural as tables

Array = NDArray[np.float64]

_EQUATIONS = options.choice("format", ("text", "latex", "mplus"), "Unknown equations.")
_DIAGRAM = options.choice("format", ("svg", "mermaid"), "Unknown diagram.")


@dataclass(frozen=True)
class ContextualEffect:
    """Slopes within and between clusters, their difference, and its standard error."""

    within: float
    between: float
    estimate: float
    std_error: float


@dataclass(frozen=True, repr=False)
class SemFit:
    """A fitted two-level structural equation model.

    Attributes
    ----------
    model
        What was asked for.
    estimate
        The estimate, on the user's scale.
    cluster
        Columns that name the clusters.
    robust
        Whether errors are cluster-robust: the sandwich of the clusters' scores, without a correction for few clusters.
    seconds
        Of estimation, without the scan.
    n_rows, n_dropped
        Rows that the data held, and how many of them miss a value, by column.
    observed
        The same contextual effect by observed cluster means, for the ready model ``contextual``.
    """

    model: SemModel
    estimate: SemEstimate
    cluster: GroupingFactor
    robust: bool
    seconds: float
    n_rows: int
    n_dropped: dict[str, int]
    observed: ContextualEffect | None = None

    @property
    def parameters(self) -> pl.DataFrame:
        """One row a parameter, in lavaan's order; definitions last, at level 0."""
        return tables.sem_parameters(self)

    @property
    def fit_statistics(self) -> pl.DataFrame:
        """One row."""
        return tables.sem_fit(self)

    @property
    def vcov(self) -> Array:
        """(k, k) covariance matrix of the free parameters; null for those that have no standard error."""
        return self.estimate.robust_vcov if self.robust else self.estimate.vcov

    @cached_property
    def measures(self) -> FitMeasures:
        """Chi-square and the indices, against the unrestricted and the baseline model."""
        return fit_measures(self.estimate)

    @cached_property
    def defined_values(self) -> Defined:
        """Values and delta-method errors of the definitions."""
        return delta_method(self.estimate.table, self.estimate.theta, self.vcov)

    @cached_property
    def undetermined_definitions(self) -> list[bool]:
        """Of each definition, whether it rests on coefficients that nothing determines, and changes with them."""
        estimate = self.estimate
        held = estimate.undetermined & estimate.optimum.held
        return undetermined_definitions(estimate.table, estimate.theta, held, estimate.flat)

    @cached_property
    def omegas(self) -> list[Omega]:
        """Reliabilities of the latent variables' indicators."""
        return omegas(self.estimate.table, self.estimate.structure, self.estimate.theta, self.vcov)

    @property
    def r_squared(self) -> pl.DataFrame:
        """Explained share of every variable that has predictors or factors, by level."""
        return tables.sem_r_squared(self)

    @property
    def icc(self) -> pl.DataFrame:
        """Between share of the variance of every variable of level 1."""
        return tables.sem_icc(self)

    @property
    def reliability(self) -> pl.DataFrame:
        """Omega within and between of every latent variable whose indicators are all observed."""
        return tables.sem_reliability(self)

    @property
    def converged(self) -> bool:
        """Whether the search ended at a minimum of the deviance."""
        return self.estimate.optimum.converged

    @property
    def singular(self) -> bool:
        """Whether a covariance matrix of parameters is of deficient rank: a variance is zero, or a correlation one."""
        return self.estimate.optimum.singular

    @options.checked(level=options.LEVEL, draws=options.DRAWS, seed=options.SEED)
    def defined(self, level: float = 0.95, *, draws: int = DRAWS, seed: int | None = 0) -> pl.DataFrame:
        """Defined parameters with delta-method intervals (95%) and Monte Carlo intervals of this level.

        Parameters
        ----------
        draws, seed
            Of the estimates' normal distribution; equal seeds give equal limits, None takes a new one.
        """
        if not 0 < level < 1 or draws < 2:
            raise MlmError(f"An interval has a level between 0 and 1 and two draws or more. Got {level} and {draws}.")
        limits = monte_carlo(self.estimate.table, self.estimate.theta, self.vcov, level, draws, seed)
        return tables.sem_defined(self, *limits)

    @property
    def contextual(self) -> pl.DataFrame:
        """The contextual effect by latent and, beside it, by observed cluster means; no rows for other models."""
        if self.observed is None:
            return tables.sem_contextual({})
        effect = self.parameters.filter(pl.col("lhs") == "contextual").row(0, named=True)
        slopes = label_values(self.estimate.table, self.estimate.theta)
        within, between = (float(slopes[label]) for label in ("within", "between"))
        latent = ContextualEffect(within, between, effect["estimate"], effect["std_error"])
        return tables.sem_contextual({"latent": latent, "observed": self.observed})

    @options.checked(larger=options.LARGER)
    def compare(self, larger: SemFit) -> pl.DataFrame:
        """Likelihood ratio test of this model against a larger one that it is a restriction of.

        Raises
        ------
        MlmError
            Other rows, clusters or columns, not fewer parameters, or a larger model that does not contain this one.
        """
        if self.cluster != larger.cluster:
            raise MlmError(
                f"Nested models are of the same clusters. Got {group_name(self.cluster)!r} and "
                f"{group_name(larger.cluster)!r}; fit both to one."
            )
        ratio = likelihood_ratio(self.estimate, larger.estimate)
        return tables.sem_comparison(ratio.statistic, ratio.df, ratio.p_value)

    @options.checked(format=_EQUATIONS)
    def equations(self, format: Literal["text", "latex", "mplus"] = "text") -> str:
        """The model by level, as text, as LaTeX, or as Mplus input."""
        if format == "mplus":
            return mplus_input(self.estimate.table, group_name(self.cluster))
        return level_equations(self.estimate.table, latex=format == "latex")

    @options.checked(format=_DIAGRAM)
    def diagram(self, format: Literal["svg", "mermaid"] = "svg") -> str:
        """The path diagram with its estimates."""
        return (svg if format == "svg" else mermaid)(self.estimate.table, self.estimate.theta)

    @property
    def notes(self) -> list[str]:
        """What a reader of the numbers must know."""
        estimate, found = self.estimate, []
        table, optimum, statistics = estimate.table, estimate.optimum, estimate.statistics
        zero = [
            f"the {'within' if row.level == 1 else 'between'} variance of {row.lhs} is zero"
            for row in table.rows
            if row.is_variance and row.index is not None and optimum.held[row.index]
        ]
        if zero:
            found.append("; ".join(zero))
        beside = [
            f"{row.lhs} {'within' if row.level == 1 else 'between'}"
            for row in table.rows
            if row.is_variance and row.index is not None and optimum.boundary[row.index]
        ]
        if beside:
            found.append(
                f"singular: a variance is zero or a correlation is one, of {', '.join(beside)}; these variances and "
                "their covariances have no standard error"
            )
        elif optimum.singular and not zero:
            found.append("singular: a variance is zero or a correlation is one")
        gone = [f"{r.lhs} {r.op} {r.rhs}" for r in table.rows if r.index is not None and estimate.undetermined[r.index]]
        gone += [d.name for d, unknown in zip(table.definitions, self.undetermined_definitions, strict=True) if unknown]
        if gone:
            found.append(f"not determined, for want of variance: {', '.join(gone)}")
        if not optimum.converged:
            found.append(f"not converged: the deviance may still fall by {optimum.decrement:.2g}")
        if self.measures.bounded and self.measures.df > 0:
            found.append(
                "the unrestricted model that chi-square compares with has a variance of zero or a correlation of one: "
                "chi-square is too small and p too large, CFI, TLI and RMSEA look too good"
            )
        between = len({r.index for r in table.rows if r.level == 2 and r.index is not None})
        if statistics.n_clusters < between:
            found.append(
                f"{statistics.n_clusters} clusters are fewer than the {between} parameters between clusters: the "
                "between part rests on next to nothing"
            )
        if self.robust:
            found.append(f"standard errors are cluster-robust over {statistics.n_clusters} clusters")
        if any(self.n_dropped.values()):
            found.append(left_out(int(statistics.n_obs), self.n_rows, self.n_dropped))
        return found

    def __str__(self) -> str:
        from mlm_ops.report_sem import describe

        return describe(self)

    __repr__ = __str__
