"""Measure how well a model fits: chi-square against the unrestricted model, plain, scaled and by level, and indices.

Hu and Bentler (1998), Psychological Methods 3; the baseline is independence within each level, exogenous variables
excepted, as in lavaan. SRMR compares correlations within and between.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.moments.sums import lower_by_rows
from mlm_ops.structural.estimation.estimate import GroupEstimate, SemEstimate, estimate_sem
from mlm_ops.structural.inference.indices import NO_INDICES, FitIndices, fit_indices
from mlm_ops.structural.inference.level_fit import level_indices
from mlm_ops.structural.inference.scaling import scaling_factor, scaling_trace
from mlm_ops.structural.language.defaults import Variables
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.parameters import (
    ParameterTable,
    baseline_table,
    exogenous_table,
    saturated_table,
)
from mlm_ops.structural.statistics.cluster_sums import Statistics
from mlm_ops.structural.statistics.grouped import AnyStatistics
from mlm_ops.structural.statistics.missing import has_all_pairs

#: From this ICC on a variable that the model has at level 1 only is noted.
CLUSTERED = 0.05


@dataclass(frozen=True)
class InformationCriteria:
    """A log-likelihood, its number of parameters, and AIC and BIC with N rows."""

    log_likelihood: float
    n_parameters: int
    aic: float
    bic: float


@dataclass(frozen=True)
class GroupMeasures:
    """What is measured in one group of rows.

    Attributes
    ----------
    n_obs, n_clusters
        Its rows and clusters.
    log_likelihood, chi_square
        Its parts in those of all groups; NaN where there is none.
    srmr_within, srmr_between
        Root mean square differences of correlations.
    icc
        Between share of the unrestricted model's variance, by row-level column; of a column without a between part in
        the model, and where there is no unrestricted model, that of the column alone.
    clustered
        Row-level columns without a between part in the model that have one: an ICC of .05 or more, and a variance
        between clusters of two standard errors or more.
    """

    n_obs: int
    n_clusters: int
    log_likelihood: float
    chi_square: float
    srmr_within: float
    srmr_between: float
    icc: dict[str, float]
    clustered: tuple[str, ...]


@dataclass(frozen=True)
class FitMeasures:
    """Chi-squares and the indices made from them; NaN where they do not exist.

    Attributes
    ----------
    plain
        Twice the log-likelihood that the unrestricted model gains, and its indices, with N rows.
    scaled
        The same divided by their scaling factors, for rows that are not normal.
    scaling_factor, baseline_scaling_factor
        Of chi-square, and of that of independence.
    by_level
        The same of level 1 and level 2, each with the other unrestricted.
    level_faults
        Why a level that could have these has none: it cannot be fitted beside the other one unrestricted.
    srmr_within, srmr_between
        Root mean square differences of correlations; of several groups their means, weighted by rows.
    joint, given_x
        Of all variables, and of the others given those that are exogenous wherever they stand.
    by_group
        What is measured in each group of rows.
    bounded
        The unrestricted model itself lies on its bounds: chi-square is smaller than its distribution has it.
    compared
        The search for the unrestricted model ended at a minimum; true where there is none, as with random slopes.
    """

    plain: FitIndices
    scaled: FitIndices
    scaling_factor: float
    baseline_scaling_factor: float
    by_level: dict[int, FitIndices]
    level_faults: dict[int, str]
    srmr_within: float
    srmr_between: float
    joint: InformationCriteria
    given_x: InformationCriteria
    by_group: tuple[GroupMeasures, ...]
    bounded: bool
    compared: bool


@dataclass(frozen=True)
class Yardsticks:
    """What the fit of all models of the same columns is measured by.

    Attributes
    ----------
    unrestricted, independent
        The unrestricted and the baseline model, each at its own optimum; None where they do not exist.
    n_unrestricted, n_independent
        Their free parameters.
    """

    unrestricted: SemEstimate | None
    independent: SemEstimate | None
    n_unrestricted: int
    n_independent: int


def yardsticks(table: ParameterTable, statistics: AnyStatistics) -> Yardsticks:
    """Fit the unrestricted and the baseline model of a table's columns."""
    saturated, baseline = saturated_table(table), baseline_table(table)
    # the rows keep every other variance from zero; between-only columns have none
    exists = not table.slopes and all(
        has_all_pairs(part) and part.n_clusters > len(table.between_only) for part in statistics.by_group
    )
    fits = [estimate_sem(one, statistics) if exists else None for one in (saturated, baseline)]
    return Yardsticks(fits[0], fits[1], saturated.n_free, baseline.n_free)


def fit_measures(estimate: SemEstimate, by: Yardsticks | None = None) -> FitMeasures:
    """Compare a model with the unrestricted and the baseline model, which are fitted where they are not given."""
    statistics, table = estimate.statistics, estimate.table
    by = yardsticks(table, statistics) if by is None else by
    whole, independent = by.unrestricted, by.independent
    df, baseline_df = by.n_unrestricted - estimate.n_parameters, by.n_unrestricted - by.n_independent
    nan = math.nan
    chi_square = baseline = factor = baseline_factor = nan
    by_level, level_faults = dict.fromkeys((WITHIN, BETWEEN), NO_INDICES), dict[int, str]()
    if whole is not None and independent is not None:
        # two searches of equal models differ by rounding
        chi_square = max(0.0, 2 * (whole.log_likelihood - estimate.log_likelihood)) if df > 0 else 0.0
        baseline = 2 * (whole.log_likelihood - independent.log_likelihood)
        trace = scaling_trace(whole)
        factor = scaling_factor(trace, scaling_trace(estimate), df)
        baseline_factor = scaling_factor(trace, scaling_trace(independent), baseline_df)
        by_level, level_faults = level_indices(estimate, whole, independent)
    plain = (chi_square, df, baseline, baseline_df)
    groups = tuple(_of_groups(estimate, whole))
    shares = [part.n_obs / statistics.n_obs for part in groups]
    # lavaan's: RMSEA is that of the mean group
    n = statistics.n_obs / len(groups)
    scaled = (0.0 if df == 0 else chi_square / factor, df, baseline / baseline_factor, baseline_df)
    return FitMeasures(
        plain=fit_indices(*plain, n) if not table.slopes else NO_INDICES,
        scaled=fit_indices(*scaled, n) if not table.slopes else NO_INDICES,
        scaling_factor=factor,
        baseline_scaling_factor=baseline_factor,
        by_level=by_level,
        level_faults=level_faults,
        srmr_within=sum(share * part.srmr_within for share, part in zip(shares, groups, strict=True)),
        srmr_between=sum(share * part.srmr_between for share, part in zip(shares, groups, strict=True)),
        joint=_criteria(estimate.log_likelihood, estimate.n_parameters, statistics.n_obs),
        given_x=_given_x(estimate),
        by_group=groups,
        bounded=whole is not None and whole.optimum.singular,
        compared=whole is None or whole.optimum.converged,
    )


def _of_groups(estimate: SemEstimate, whole: SemEstimate | None) -> Iterator[GroupMeasures]:
    others = (None,) * len(estimate.by_group) if whole is None else whole.by_group
    for one, other in zip(estimate.by_group, others, strict=True):
        srmr = (math.nan, math.nan) if other is None else _srmr(one, other)
        chi_square = math.nan if other is None else 2 * (other.log_likelihood - one.log_likelihood)
        sizes = int(one.statistics.n_obs), one.statistics.n_clusters
        shares = _between_shares(one.table, one.statistics, other)
        yield GroupMeasures(*sizes, one.log_likelihood, chi_square, *srmr, *shares)


def _criteria(log_likelihood: float, n_parameters: int, n_obs: float) -> InformationCriteria:
    deviance = -2 * log_likelihood
    return InformationCriteria(
        log_likelihood, n_parameters, deviance + 2 * n_parameters, deviance + math.log(n_obs) * n_parameters
    )


def _given_x(estimate: SemEstimate) -> InformationCriteria:
    """Less the likelihood of the exogenous variables, whose moments no other parameter restricts."""
    log_likelihood, n_parameters = estimate.log_likelihood, estimate.n_parameters
    marginal = exogenous_table(estimate.table)
    if marginal is not None and any(
        part.n_clusters <= len(marginal.between_only) for part in estimate.statistics.by_group
    ):
        return _criteria(math.nan, n_parameters - marginal.n_free, estimate.statistics.n_obs)
    if marginal is not None:
        exogenous = estimate_sem(marginal, estimate.statistics.choose_columns(marginal.columns))
        log_likelihood -= exogenous.log_likelihood
        n_parameters -= marginal.n_free
    return _criteria(log_likelihood, n_parameters, estimate.statistics.n_obs)


def _implied(estimate: GroupEstimate) -> tuple[Array, Array]:
    """Covariance matrices of the observed variables of each level."""
    within, between = estimate.structure.moments(estimate.theta)
    sizes = [level.n_observed for level in estimate.structure.levels]
    return within.covariance[: sizes[0], : sizes[0]], between.covariance[: sizes[1], : sizes[1]]


def _srmr(estimate: GroupEstimate, whole: GroupEstimate) -> tuple[float, float]:
    """Root mean square difference of correlations, the p ones on the diagonal counted as lavaan does."""
    residuals = []
    for ours, theirs in zip(_implied(estimate), _implied(whole), strict=True):
        difference = _correlations(ours) - _correlations(theirs)
        residuals.append(float(np.sqrt((difference[lower_by_rows(len(ours))] ** 2).mean())))
    return residuals[0], residuals[1]


def _correlations(covariance: Array) -> Array:
    scale = np.sqrt(np.diag(covariance))
    with np.errstate(all="ignore"):
        return np.asarray(covariance / np.outer(scale, scale))


def _between_shares(
    table: ParameterTable, statistics: Statistics, whole: GroupEstimate | None
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The between share of each row-level column's variance, and which have one and no between part in the model."""
    shares, clustered = {}, []
    for i, name in enumerate(table.within.observed):
        if whole is not None and name in table.both:
            implied, at = whole.structure.implied(whole.theta), i
        else:
            only = Variables((name,), (), ())
            column = replace(table, rows=(), within=only, between=only, definitions=(), n_free=0)
            estimate = estimate_sem(saturated_table(column), statistics.choose_columns((name,)))
            implied, at = estimate.structure.implied(estimate.theta), 0
        variance = float(implied.between[at, at])
        shares[name] = variance / (variance + float(implied.within[at, at]))
        if name not in table.both and shares[name] >= CLUSTERED:
            index = next(row.index for row in estimate.table.at(BETWEEN) if row.is_variance)
            error = np.sqrt(np.diag(estimate.vcov))[index]
            clustered += [name] if variance >= 2 * error else []
    return shares, tuple(clustered)
