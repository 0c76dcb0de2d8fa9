"""Measure how well a model fits: chi-square against the unrestricted model, and the indices made from it.

Hu and Bentler (1998), Psychological Methods 3; Steiger (1990) for RMSEA, with N rows; the baseline is independence
within each level, exogenous variables excepted, as in lavaan. SRMR compares correlations within and between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import gammaincc

from mlm_ops.moments.arrays import Array
from mlm_ops.moments.sums import lower_by_rows
from mlm_ops.structural.estimate import SemEstimate, estimate_sem
from mlm_ops.structural.parameters import ParameterTable, Variables, baseline_table, saturated_table
from mlm_ops.structural.statistics import TwoLevelStatistics, one_column


@dataclass(frozen=True)
class FitMeasures:
    """Chi-squares and the indices made from them; NaN where they do not exist.

    Attributes
    ----------
    chi_square, df, p_value
        Twice the log-likelihood that the unrestricted model gains.
    baseline_chi_square, baseline_df
        The same of independence.
    cfi, tli, rmsea, srmr_within, srmr_between
        Indices.
    aic, bic
        With N rows.
    icc
        Between share of the unrestricted model's variance, by row-level column; of a column without a between part in
        the model, and where there is no unrestricted model, that of the column alone.
    bounded
        The unrestricted model itself lies on its bounds: chi-square is smaller than its distribution has it.
    """

    chi_square: float
    df: int
    p_value: float
    baseline_chi_square: float
    baseline_df: int
    cfi: float
    tli: float
    rmsea: float
    srmr_within: float
    srmr_between: float
    aic: float
    bic: float
    icc: dict[str, float]
    bounded: bool


def fit_measures(estimate: SemEstimate) -> FitMeasures:
    """Fit the unrestricted and the baseline model to the same statistics, each to its own optimum."""
    statistics = estimate.statistics
    saturated, baseline = saturated_table(estimate.table), baseline_table(estimate.table)
    df, baseline_df = saturated.n_free - estimate.n_parameters, saturated.n_free - baseline.n_free
    # columns of level 1 alone have the rows within clusters to determine them
    determined = statistics.n_clusters > len(estimate.table.between.observed)
    whole = estimate_sem(saturated, statistics) if determined else None
    nan = math.nan
    chi_square = baseline_chi_square = srmr_within = srmr_between = nan
    if whole is not None:
        independent = estimate_sem(baseline, statistics)
        # two searches of equal models differ by rounding
        chi_square = max(0.0, 2 * (whole.log_likelihood - estimate.log_likelihood)) if df > 0 else 0.0
        baseline_chi_square = 2 * (whole.log_likelihood - independent.log_likelihood)
        srmr_within, srmr_between = _srmr(estimate, whole)
    deviance = -2 * estimate.log_likelihood
    return FitMeasures(
        chi_square=chi_square,
        df=df,
        p_value=float(gammaincc(df / 2, chi_square / 2)) if df > 0 else nan,
        baseline_chi_square=baseline_chi_square,
        baseline_df=baseline_df,
        cfi=_cfi(chi_square, df, baseline_chi_square, baseline_df),
        tli=_tli(chi_square, df, baseline_chi_square, baseline_df),
        rmsea=math.sqrt(max(0.0, (chi_square - df) / (df * statistics.n_obs))) if df > 0 else 0.0 * chi_square,
        srmr_within=srmr_within,
        srmr_between=srmr_between,
        aic=deviance + 2 * estimate.n_parameters,
        bic=deviance + math.log(statistics.n_obs) * estimate.n_parameters,
        icc=_icc(estimate.table, statistics, whole),
        bounded=whole is not None and whole.optimum.singular,
    )


def _cfi(chi_square: float, df: int, baseline: float, baseline_df: int) -> float:
    if math.isnan(chi_square):
        return math.nan
    worse = max(chi_square - df, 0.0)
    worst = max(worse, baseline - baseline_df, 0.0)
    return 1 - worse / worst if worst > 0 else 1.0


def _tli(chi_square: float, df: int, baseline: float, baseline_df: int) -> float:
    if math.isnan(chi_square) or not baseline_df:
        return math.nan
    if df == 0:
        return 1.0
    ratio = baseline / baseline_df
    return (ratio - chi_square / df) / (ratio - 1) if ratio != 1 else math.nan


def _implied(estimate: SemEstimate) -> tuple[Array, Array]:
    """Covariance matrices of the observed variables of each level."""
    within, between = estimate.structure.moments(estimate.theta)
    sizes = [level.n_observed for level in estimate.structure.levels]
    return within.covariance[: sizes[0], : sizes[0]], between.covariance[: sizes[1], : sizes[1]]


def _srmr(estimate: SemEstimate, whole: SemEstimate) -> tuple[float, float]:
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


def _icc(table: ParameterTable, statistics: TwoLevelStatistics, whole: SemEstimate | None) -> dict[str, float]:
    shares = {}
    for i, name in enumerate(table.within.observed):
        if whole is not None and name in table.both:
            estimate, at = whole, i
        else:
            only = Variables((name,), (), ())
            column = replace(table, rows=(), within=only, between=only, definitions=(), n_free=0)
            estimate, at = estimate_sem(saturated_table(column), one_column(statistics, i)), 0
        implied = estimate.structure.implied(estimate.theta)
        shares[name] = float(implied.between[at, at] / (implied.between[at, at] + implied.within[at, at]))
    return shares
