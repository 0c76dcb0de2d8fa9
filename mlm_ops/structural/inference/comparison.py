"""Likelihood ratio test of two structural models, one nested in the other, on the same rows and clusters.

Its scaled version is that of estimator MLR (`structural.scaling`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import chdtrc

from mlm_ops.errors import IdentificationError, MlmError
from mlm_ops.structural.estimation.estimate import GroupEstimate, SemEstimate, estimate_sem
from mlm_ops.structural.inference.scaling import scaling_factor, scaling_trace, trace_at
from mlm_ops.structural.statistics.from_moments import TwoLevelStatistics, implied_statistics
from mlm_ops.structural.statistics.grouped import GroupedStatistics, are_same_rows, in_order

#: A larger model meets what a smaller one implies but for the rounding of its own search, in units of the deviance.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Ratio:
    """A likelihood ratio test.

    Attributes
    ----------
    statistic, df, p_value
        For normal rows.
    scaling_factor, statistic_scaled, p_value_scaled
        For others; NaN where a model is on a bound.
    scaling
        Where the factor is from: ``differences`` of the two models' own, or, where that is not positive, both
        ``at the smaller model``; None where there is none.
    """

    statistic: float
    df: int
    p_value: float
    scaling_factor: float
    statistic_scaled: float
    p_value_scaled: float
    scaling: str | None


def likelihood_ratio(smaller: SemEstimate, larger: SemEstimate) -> Ratio:
    """Test a restriction of a model.

    Raises
    ------
    MlmError
        Other columns, rows or clusters, not fewer parameters, or a larger model that does not contain the smaller one.
    """
    statistics = in_order(larger.statistics, smaller.statistics.columns)
    if statistics is None:
        raise MlmError(
            f"Nested models must have the same columns. Got {', '.join(sorted(smaller.statistics.columns))} and "
            f"{', '.join(sorted(larger.statistics.columns))}; name them all in both, as in x ~~ x."
        )
    if not are_same_rows(smaller.statistics, statistics):
        raise MlmError(
            "Nested models must have the same rows and clusters. Got different ones; fit both to one table by one "
            "cluster."
        )
    df = larger.n_parameters - smaller.n_parameters
    if df <= 0:
        raise MlmError(
            f"The model to compare with has more parameters. Got {larger.n_parameters} and {smaller.n_parameters}."
        )
    exact = _fit_to_implied(smaller, larger)
    gap = discrepancy(smaller, exact)
    if larger.log_likelihood < smaller.log_likelihood - _ROUNDING:
        raise MlmError(
            "A likelihood ratio needs nested models, and the model with more parameters fits worse, so that it does "
            f"not contain the other. Got log-likelihoods {larger.log_likelihood:.4f} and {smaller.log_likelihood:.4f}; "
            "compare them by AIC or BIC."
        )
    if gap > _ROUNDING:
        raise MlmError(
            "A likelihood ratio needs nested models, and the larger model does not contain the smaller one. Fitted to "
            f"what the smaller implies, it misses that by {gap:.2g} in the deviance; expected 0. Compare them by "
            "AIC or BIC."
        )
    statistic = max(0.0, 2 * (larger.log_likelihood - smaller.log_likelihood))
    factor, scaling = _scaling(smaller, larger, exact, df)
    scaled = statistic / factor
    p_value, p_value_scaled = (float(chdtrc(df, value)) for value in (statistic, scaled))
    return Ratio(statistic, df, p_value, factor, scaled, p_value_scaled, scaling)


def _scaling(smaller: SemEstimate, larger: SemEstimate, exact: SemEstimate | None, df: int) -> tuple[float, str | None]:
    """The scaling factor of a likelihood ratio, and where it is from."""
    traces = scaling_trace(larger), scaling_trace(smaller)
    if any(map(math.isnan, traces)):
        return math.nan, None
    factor = scaling_factor(*traces, df)
    if not math.isnan(factor):
        return factor, "differences"
    if exact is None or exact.optimum.singular:
        return math.nan, None
    # the larger model's parameters at what the smaller one implies, with the data's own scores
    whole = trace_at(larger.likelihood, exact.optimum.theta)
    factor = scaling_factor(whole, trace_at(smaller.likelihood, smaller.optimum.theta, smaller.optimum.tangent), df)
    return factor, None if math.isnan(factor) else "at the smaller model"


def _fit_to_implied(smaller: SemEstimate, larger: SemEstimate) -> SemEstimate | None:
    """The larger model fitted to what the smaller one implies; None where the search for it does not end.

    Nor is there one with random slopes or missing cells, which have no such few statistics.
    """
    parts = [*smaller.by_group, *larger.by_group]
    if not all(isinstance(one.statistics, TwoLevelStatistics) for one in parts):
        return None
    if smaller.table.slopes or larger.table.slopes:
        return None
    moved = []
    for _, implied in _implied_by_group(smaller):
        statistics = implied.choose_columns(larger.statistics.columns)
        # two scans may have other origins
        origin = larger.statistics.origin
        moved.append(replace(statistics, origin=origin, means=statistics.means + statistics.origin - origin))
    try:
        estimate = estimate_sem(larger.table, GroupedStatistics(tuple(moved)) if larger.table.groups else moved[0])
    except IdentificationError:
        return None
    return estimate if estimate.optimum.converged else None


def discrepancy(smaller: SemEstimate, exact: SemEstimate | None) -> float:
    """How far the larger model misses what the smaller one implies, in the deviance; 0 where no search shows it.

    It is zero where the larger model contains the smaller (Bentler and Satorra 2010, Psychological Methods 15).
    """
    if exact is None:
        return 0.0
    deviance = 0.0
    for one, statistics in _implied_by_group(smaller):
        within = one.structure.implied(one.theta).within
        n_obs, n_clusters, determinants = statistics.n_obs, statistics.n_clusters, np.linalg.slogdet
        p, t = statistics.n_row_level, len(statistics.columns)
        deviance += (n_obs * p + n_clusters * (t - p)) * math.log(2 * math.pi)
        deviance += (n_obs - n_clusters) * (determinants(within)[1] + p)
        sizes = determinants(statistics.covariances)[1] + p * np.log(statistics.sizes) + t
        deviance += float(statistics.counts @ sizes)
    return max(0.0, -2 * exact.log_likelihood - deviance)


def _implied_by_group(estimate: SemEstimate) -> Iterator[tuple[GroupEstimate, TwoLevelStatistics]]:
    """Each group, and the statistics that its model implies."""
    for one in estimate.by_group:
        if isinstance(one.statistics, TwoLevelStatistics):
            yield one, implied_statistics(one.statistics, one.structure.implied(one.theta))
