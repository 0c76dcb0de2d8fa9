"""Hold a structural fit: its estimate, and each inference from it computed only once. `SemFit` adds the methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.model import GroupingFactor
from mlm_ops.language.options import Missing, SlopeCentering
from mlm_ops.language.spelling import list_names
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.patterns import complete_units
from mlm_ops.moments.record import Moments
from mlm_ops.results.words import cell, count, rows_left_out
from mlm_ops.structural.algebra.derived import (
    Defined,
    Omega,
    delta_method,
    monte_carlo,
    omegas,
    undetermined_definitions,
)
from mlm_ops.structural.estimation.estimate import SemEstimate
from mlm_ops.structural.inference.cluster_scores import ClusterScores, cluster_scores
from mlm_ops.structural.inference.fit_measures import FitMeasures, Yardsticks, fit_measures, yardsticks
from mlm_ops.structural.inference.invariance_steps import InvarianceStep, invariance_steps, notes_of_steps
from mlm_ops.structural.inference.level_fit import crosses_levels
from mlm_ops.structural.inference.score_tests import ScoreTests, score_tests
from mlm_ops.structural.language.grouping import Grouping
from mlm_ops.structural.language.model import WITHIN, SemModel
from mlm_ops.structural.language.request import SemRequest
from mlm_ops.structural.likelihood.quadrature import CHECK, NODES
from mlm_ops.structural.statistics.cluster_sums import ClusterSums
from mlm_ops.structural.statistics.grouped import moments_by_group
from mlm_ops.structural.statistics.missing import has_all_pairs


@dataclass(frozen=True)
class SemContextualEffect:
    """Slopes within and between clusters, their difference, and its standard error."""

    within: float
    between: float
    estimate: float
    std_error: float


@dataclass(frozen=True, repr=False)
class SemRecord:
    """A fitted two-level structural equation model.

    Attributes
    ----------
    request
        What was asked for: the model, its columns and options.
    estimate
        The estimate, on the user's scale.
    seconds
        Of estimation, without the scan.
    n_rows, n_dropped
        Rows that the data held, and how many of them miss a value, by column.
    moments
        The moments that the model was fitted to.
    observed
        The same contextual effect by observed cluster means, for the ready model ``contextual``.
    observed_fault
        Why that mixed model could not be fitted; None of others.
    lost
        Groups of rows none of whose rows is in the model.
    """

    request: SemRequest
    estimate: SemEstimate
    seconds: float
    n_rows: int
    n_dropped: dict[str, int]
    moments: Moments
    observed: SemContextualEffect | None = None
    observed_fault: str | None = None
    lost: tuple[str, ...] = ()

    @property
    def model(self) -> SemModel:
        """The model as its text states it."""
        return self.request.model

    @property
    def cluster(self) -> GroupingFactor:
        """Columns that name the clusters."""
        return self.request.cluster

    @property
    def robust(self) -> bool:
        """Whether errors are cluster-robust."""
        return self.request.robust

    @property
    def slopes(self) -> SlopeCentering:
        """Of what random slopes are where a predictor stands at both levels."""
        return self.request.slopes

    @property
    def missing(self) -> Missing:
        """Whether rows that miss a value are left out, or taken as they are."""
        return self.request.missing

    @property
    def grouping(self) -> Grouping | None:
        """Groups of rows; None without."""
        return self.request.grouping

    @property
    def vcov(self) -> Array:
        """(k, k) covariance matrix of the free parameters; null for those that have no standard error."""
        return self.estimate.robust_vcov if self.robust else self.estimate.vcov

    @cached_property
    def measures(self) -> FitMeasures:
        """Chi-square and the indices, against the unrestricted and the baseline model."""
        return fit_measures(self.estimate, self.yardsticks)

    @cached_property
    def yardsticks(self) -> Yardsticks:
        """The unrestricted and the baseline model of the same columns."""
        return yardsticks(self.estimate.table, self.estimate.statistics)

    @cached_property
    def invariance_steps(self) -> tuple[InvarianceStep, ...]:
        """Steps of invariance of the factors, across groups or that both levels have; none for other models."""
        return invariance_steps(self.model, self.estimate, self.measures, self.yardsticks, self.grouping)

    @cached_property
    def cluster_scores(self) -> tuple[ClusterScores, ...]:
        """What the latent variables of level 2 are in each cluster, of each group of rows."""
        return tuple(cluster_scores(one) for one in self.estimate.by_group)

    @cached_property
    def score_test_results(self) -> ScoreTests:
        """What each restriction of the model holds back."""
        return score_tests(self.estimate)

    @property
    def group_values(self) -> tuple[str | None, ...]:
        """Values of the groups of rows; one of None where there are no groups."""
        return self.estimate.table.groups or (None,)

    @property
    def units(self) -> tuple[NDArray[Any], ...]:
        """(J,) labels of the clusters that the model was fitted to, of each group of rows."""
        moments = self.moments if self.missing == "ml" else complete_units(self.moments)
        if self.grouping is None:
            return (moments.units_of(self.cluster)[1],)
        parts = moments_by_group(moments, self.grouping.columns, self.cluster)[1]
        return tuple(part.units_of(self.cluster)[1] for part in parts)

    @cached_property
    def defined_values(self) -> Defined:
        """Values and delta-method errors of the definitions."""
        return delta_method(self.estimate.table, self.estimate.theta, self.vcov)

    @cached_property
    def monte_carlo_limits(self) -> tuple[Array, Array]:
        """Lower and upper ends (d,) of the definitions' 95% Monte Carlo intervals, by seeded draws."""
        return monte_carlo(self.estimate.table, self.estimate.theta, self.vcov, 0.95)

    @cached_property
    def undetermined_definitions(self) -> list[bool]:
        """Whether each definition rests on coefficients that nothing determines, and changes with them."""
        estimate = self.estimate
        missing = estimate.undetermined & estimate.optimum.at_zero
        return undetermined_definitions(estimate.table, estimate.theta, missing, estimate.flat)

    @cached_property
    def omegas(self) -> tuple[list[Omega], ...]:
        """Reliabilities of the latent variables' indicators, of each group of rows."""
        return tuple(
            omegas(one.table, one.structure, one.theta, self.vcov[np.ix_(one.places, one.places)])
            for one in self.estimate.by_group
        )

    @property
    def converged(self) -> bool:
        """Whether the search ended at a minimum of the deviance."""
        return self.estimate.optimum.converged

    @property
    def singular(self) -> bool:
        """Whether a covariance matrix of parameters is of deficient rank: a variance is zero, or a correlation one."""
        return self.estimate.optimum.singular

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader of the numbers must know."""
        estimate, optimum, statistics = self.estimate, self.estimate.optimum, self.estimate.statistics
        notes = self._notes_of_bounds() + self._notes_of_undetermined()
        if not optimum.converged:
            notes.append(f"not converged: the deviance may still fall by {cell('decrement', optimum.decrement)}")
        notes += self._notes_of_quadrature()
        if estimate.active:
            notes.append(
                f"at its limit: {', '.join(c.text for c in estimate.active)}; standard errors are along it, and p "
                "values of likelihood ratios may be too small"
            )
        notes += self._notes_of_chi_square()
        notes += self._notes_of_clustering()
        notes += self._notes_of_few_clusters()
        if self.robust:
            notes.append(f"standard errors are cluster-robust over {statistics.n_clusters} clusters")
        notes += self._notes_of_missing([part for part in statistics.by_group if isinstance(part, ClusterSums)])
        notes += self._notes_of_invariance()
        if self.observed_fault is not None:
            notes.append(
                "no contextual effect with observed cluster means, whose mixed model cannot be fitted: "
                f"{self.observed_fault.rstrip('.')}"
            )
        return notes + self._notes_of_rows()

    def _notes_of_rows(self) -> list[str]:
        """Notes on the rows that are left out, and on groups that lose every row."""
        if not any(self.n_dropped.values()):
            return []
        notes = [rows_left_out(int(self.estimate.statistics.n_obs), self.n_rows, self.n_dropped)]
        if self.grouping is not None and self.lost:
            names = f"{list_names(map(repr, self.lost))} of {self.grouping.name!r}"
            notes.append(
                f"group {names} is not in the model: all its rows are left out"
                if len(self.lost) == 1
                else f"groups {names} are not in the model: all their rows are left out"
            )
        return notes

    def _notes_of_bounds(self) -> list[str]:
        """Which variances are zero, or beside a bound, and what has no standard error for it."""
        table, optimum, notes = self.estimate.table, self.estimate.optimum, []
        zero = [
            f"the {'within' if row.level == 1 else 'between'} variance of {row.lhs} is zero{table.of_group(row)}"
            for row in table.rows
            if row.is_variance and row.index is not None and optimum.at_zero[row.index]
        ]
        if zero:
            notes.append("; ".join(zero))
        at_bound = [
            f"{row.lhs} {'within' if row.level == 1 else 'between'}{table.of_group(row)}"
            for row in table.rows
            if row.is_variance and row.index is not None and optimum.boundary[row.index]
        ]
        if at_bound:
            errors = zip(table.definitions, self.defined_values.std_error, strict=True)
            resting = [definition.name for definition, error in errors if math.isnan(error)]
            notes.append(
                f"singular: a variance is zero or a correlation is one, of {', '.join(at_bound)}; these variances and "
                "their covariances have no standard error"
                + (
                    f", nor has what rests on them: {', '.join(resting)}; it has one in a model without the random "
                    "part that hardly varies"
                    if resting
                    else ""
                )
            )
        elif optimum.singular and not zero:
            notes.append("singular: a variance is zero or a correlation is one")
        return notes

    def _notes_of_undetermined(self) -> list[str]:
        """Which parameters and definitions nothing determines."""
        estimate, table = self.estimate, self.estimate.table
        undetermined = [
            f"{r.lhs} {r.op} {r.rhs}{table.of_group(r)}"
            for r in table.rows
            if r.index is not None and estimate.undetermined[r.index]
        ]
        undetermined += [
            d.name for d, unknown in zip(table.definitions, self.undetermined_definitions, strict=True) if unknown
        ]
        return [f"not determined, for lack of variance: {', '.join(undetermined)}"] if undetermined else []

    def _notes_of_few_clusters(self) -> list[str]:
        """Where clusters are fewer than the parameters between them."""
        notes = []
        for one, value in zip(self.estimate.by_group, self.group_values, strict=True):
            between = len({r.index for r in one.table.rows if r.level == 2 and r.index is not None})
            if one.statistics.n_clusters < between:
                notes.append(
                    f"{one.statistics.n_clusters} clusters{_in(value)} are fewer than the {between} parameters between "
                    "clusters: the estimates between clusters are not reliable"
                )
        return notes

    def _notes_of_quadrature(self) -> list[str]:
        """How exact the likelihood of slopes of parts within clusters is."""
        error = self.estimate.quadrature_error
        latent = [slope for slope in self.estimate.table.slopes if slope.latent]
        if error is None or not latent:
            return []
        d = len(latent)
        nodes, more = (" x ".join([str(count[d])] * d) for count in (NODES, CHECK))
        texts = " and ".join(f"{slope.name} of {slope.predictor}" for slope in latent)
        subject = f"the slope {texts} within clusters is" if d == 1 else f"the slopes {texts} within clusters are"
        return [
            f"{subject} integrated over by {nodes} nodes a cluster; {more} nodes change the log-likelihood by "
            f"{abs(error):.1g}"
        ]

    def _notes_of_missing(self, parts: Sequence[ClusterSums]) -> list[str]:
        """What full-information maximum likelihood takes beyond complete rows; nothing where a cluster's rows have all.

        A variable of level 2 that some rows miss is that of the cluster's other rows.
        """
        partly = empty = clusters = 0
        for part in parts:
            counts, has_cell = part.pooled.counts, part.patterns
            partly += int(counts[has_cell.any(axis=1) & ~has_cell.all(axis=1)].sum())
            empty += int(counts[~has_cell.any(axis=1)].sum())
            lacking = part.level2.shape[1] - part.level2_patterns.sum(axis=1)[part.level2_codes]
            clusters += int((lacking > 0).sum())
        n_clusters = self.estimate.statistics.n_clusters
        texts = [f"{count(partly)} of {count(self.n_rows)} rows"] if partly else []
        texts += [f"{count(clusters)} of {count(n_clusters)} clusters"] if clusters else []
        notes = []
        if texts:
            notes.append(f"missing values by full-information maximum likelihood: {' and '.join(texts)} are incomplete")
        if empty:
            notes.append(
                f"{count(empty)} of {count(self.n_rows)} rows have no value of any variable of level 1 and add nothing"
            )
        return notes

    def _notes_of_invariance(self) -> list[str]:
        """Why a factor model of several groups has no steps of invariance across them, or one of the steps no test."""
        table = self.estimate.table
        has_steps = table.within.latent or table.between.latent
        if self.grouping is None or not self.grouping.equal or table.slopes or not has_steps:
            return notes_of_steps(self.invariance_steps)
        return [
            f"no steps of invariance across groups: they start from a model without group_equal, and this one has "
            f"{', '.join(self.grouping.equal)} equal already; leave group_equal out to have them"
        ]

    def _notes_of_clustering(self) -> list[str]:
        """Variables that differ between clusters and have no part there in the model."""
        return [
            f"{name} is at level 1 only, and has an ICC of {cell('icc', group.icc[name])}{_in(value)}: what it "
            "does within and between clusters is one effect here, and its rows count as independent; name it at level "
            "2 too, or subtract its cluster mean"
            for group, value in zip(self.measures.by_group, self.group_values, strict=True)
            for name in group.clustered
        ]

    def _notes_of_chi_square(self) -> list[str]:
        """Sentences on where the tests of fit are doubtful, or are none."""
        measures, optimum = self.measures, self.estimate.optimum
        if self.estimate.table.slopes:
            return ["no chi-square: with random slopes there is no unrestricted model to compare with"]
        notes: list[str] = []
        if not all(has_all_pairs(part) for part in self.estimate.statistics.by_group):
            return ["no chi-square: some pairs of variables are never seen together, as the unrestricted model needs"]
        if not measures.plain.df or math.isnan(measures.plain.chi_square):
            return notes
        if measures.bounded:
            notes.append(
                "the unrestricted model that chi-square compares with has a variance of zero or a correlation of one: "
                "chi-square is too small and p too large, CFI, TLI and RMSEA look too good"
            )
        elif optimum.singular:
            notes.append(
                "the model has a variance of zero or a correlation of one that the unrestricted model is free of: "
                "chi-square counts the bound as misfit, and p may be too small"
            )
        if not measures.compared:
            notes.append("the search for the unrestricted model did not end: chi-square may be larger than it is here")
        if math.isnan(measures.scaling_factor) and optimum.converged:
            why = (
                "on a bound estimates are not normal"
                if measures.bounded or optimum.singular
                else "the factor that rows which are not normal would give it is not positive"
            )
            notes.append(f"no scaled chi-square: {why}")
        for level, fault in measures.level_faults.items():
            where = "within" if level == WITHIN else "between"
            notes.append(f"no chi-square {where} clusters, where the model cannot be fitted alone: {fault.rstrip('.')}")
        if crosses_levels(self.estimate.table):
            notes.append(
                "no chi-square of each level: labels, constraints or means make the levels depend on each other"
            )
        return notes


def _in(value: str | None) -> str:
    """The group of rows in words; nothing where there are none."""
    return "" if value is None else f" in {value}"
