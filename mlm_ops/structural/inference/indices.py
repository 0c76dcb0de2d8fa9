"""Make the indices of fit from chi-squares: p, CFI, TLI, and RMSEA with its interval and test of close fit.

Bentler (1990), Psychological Bulletin 107, for CFI; Tucker and Lewis (1973), Psychometrika 38; Steiger (1990),
Multivariate Behavioral Research 25, for RMSEA; Browne and Cudeck (1992), Sociological Methods and Research 21, for its
interval and the test that it is no more than .05.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import chdtrc, chndtr, chndtrinc

#: The interval of RMSEA that papers report, and the RMSEA up to which fit is called close.
RMSEA_LEVEL, CLOSE = 0.90, 0.05


@dataclass(frozen=True)
class FitIndices:
    """A chi-square and the indices made from it; NaN where they do not exist.

    Attributes
    ----------
    chi_square, df, p_value
        Of the model against the unrestricted one; `df` is None where there is no such test at all.
    baseline_chi_square, baseline_df
        The same of independence.
    cfi, tli, rmsea
        Indices.
    rmsea_low, rmsea_high
        The 90% interval of RMSEA.
    p_close
        Of the hypothesis that RMSEA is .05 or less.
    """

    chi_square: float
    df: int | None
    p_value: float
    baseline_chi_square: float
    baseline_df: int | None
    cfi: float
    tli: float
    rmsea: float
    rmsea_low: float
    rmsea_high: float
    p_close: float


def fit_indices(chi_square: float, df: int, baseline: float, baseline_df: int, n: float) -> FitIndices:
    """Make the indices.

    Parameters
    ----------
    chi_square, baseline
        Of the model and of independence; NaN where there is none.
    n
        Rows or clusters that RMSEA counts.
    """
    low, high, p_close = _rmsea_interval(chi_square, df, n)
    return FitIndices(
        chi_square,
        df,
        float(chdtrc(df, chi_square)) if df > 0 else math.nan,
        baseline,
        baseline_df,
        _cfi(chi_square, df, baseline, baseline_df),
        _tli(chi_square, df, baseline, baseline_df),
        math.sqrt(max(0.0, (chi_square - df) / (df * n))) if df > 0 else 0.0 * chi_square,
        low,
        high,
        p_close,
    )


#: Of a test that does not exist, whose degrees of freedom do not either.
NO_INDICES = FitIndices(math.nan, None, math.nan, math.nan, None, *[math.nan] * 6)


def _cfi(chi_square: float, df: int, baseline: float, baseline_df: int) -> float:
    if math.isnan(chi_square) or math.isnan(baseline):
        return math.nan
    worse = max(chi_square - df, 0.0)
    worst = max(worse, baseline - baseline_df, 0.0)
    return 1 - worse / worst if worst > 0 else 1.0


def _tli(chi_square: float, df: int, baseline: float, baseline_df: int) -> float:
    if math.isnan(chi_square) or math.isnan(baseline) or not baseline_df:
        return math.nan
    if df == 0:
        return 1.0
    ratio = baseline / baseline_df
    return (ratio - chi_square / df) / (ratio - 1) if ratio != 1 else math.nan


def _rmsea_interval(chi_square: float, df: int, n: float) -> tuple[float, float, float]:
    """Limits by the noncentralities at which chi-square is its .95 and .05 quantile, and the p value of close fit."""
    if math.isnan(chi_square):
        return math.nan, math.nan, math.nan
    if df == 0:
        return 0.0, 0.0, math.nan
    tail = (1 - RMSEA_LEVEL) / 2
    limits = []
    for share in (1 - tail, tail):
        # where even no misfit at all puts chi-square below that quantile the limit is zero
        above = 1 - float(chdtrc(df, chi_square)) > share
        noncentrality = float(chndtrinc(chi_square, df, share)) if above else 0.0
        limits.append(math.sqrt(noncentrality / (df * n)))
    return limits[0], limits[1], 1 - float(chndtr(chi_square, df, n * df * CLOSE**2))
