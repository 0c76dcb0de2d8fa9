"""Likelihood ratio of two structural models: of the same rows and clusters, the one a restriction of the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincc

from mlm_ops.errors import IdentificationError, MlmError
from mlm_ops.structural.estimate import SemEstimate, estimate_sem
from mlm_ops.structural.statistics import implied_statistics, reorder_columns, same_data

#: A larger model meets what a smaller one implies but for the rounding of its own search, in units of the deviance.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class Ratio:
    """The statistic, its degrees of freedom, and p."""

    statistic: float
    df: int
    p_value: float


def likelihood_ratio(smaller: SemEstimate, larger: SemEstimate) -> Ratio:
    """Test a restriction of a model.

    Raises
    ------
    MlmError
        Other columns, rows or clusters, not fewer parameters, or a larger model that does not contain the smaller one.
    """
    statistics = reorder_columns(larger.statistics, smaller.statistics.columns)
    if statistics is None:
        raise MlmError(
            f"Nested models are of the same columns. Got {', '.join(sorted(smaller.statistics.columns))} and "
            f"{', '.join(sorted(larger.statistics.columns))}; name them all in both, as in x ~~ x."
        )
    if not same_data(smaller.statistics, statistics):
        raise MlmError(
            "Nested models are of the same rows and clusters. Got models of other ones; fit both to one table by one "
            "cluster."
        )
    df = larger.n_parameters - smaller.n_parameters
    if df <= 0:
        raise MlmError(
            f"The model to compare with has more parameters. Got {larger.n_parameters} and {smaller.n_parameters}."
        )
    gap = discrepancy(smaller, larger)
    if gap > _ROUNDING:
        raise MlmError(
            "A likelihood ratio is of nested models, and the larger model does not contain the smaller one. Fitted to "
            f"what the smaller implies, it misses that by {gap:.2g} in the deviance; expected 0. Compare them by "
            "AIC or BIC."
        )
    statistic = max(0.0, 2 * (larger.log_likelihood - smaller.log_likelihood))
    return Ratio(statistic, df, float(gammaincc(df / 2, statistic / 2)))


def discrepancy(smaller: SemEstimate, larger: SemEstimate) -> float:
    """How far the larger model misses what the smaller one implies, in the deviance; 0 where no search shows it.

    It is zero where the larger model contains the smaller (Bentler and Satorra 2010, Psychological Methods 15).
    """
    implied = smaller.structure.implied(smaller.theta)
    exact = implied_statistics(smaller.statistics, implied)
    statistics = reorder_columns(exact, larger.statistics.columns)
    assert statistics is not None
    try:
        estimate = estimate_sem(larger.table, statistics)
    except IdentificationError:
        return 0.0
    # a search that has not ended shows nothing
    if not estimate.optimum.converged:
        return 0.0
    p, t = exact.n_row_level, len(exact.columns)
    deviance = (exact.n_obs * p + exact.n_clusters * (t - p)) * np.log(2 * np.pi)
    deviance += (exact.n_obs - exact.n_clusters) * (np.linalg.slogdet(implied.within)[1] + p)
    deviance += exact.counts @ (np.linalg.slogdet(exact.covariances)[1] + p * np.log(exact.sizes) + t)
    return max(0.0, -2 * estimate.log_likelihood - float(deviance))
