"""Findings about a fit: the record of one, and those about the rows' residuals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlm_ops.inference.diagnostics.residuals import LEAST_UNITS, PROBABILITIES, RowChecks, normality_of
from mlm_ops.inference.fixed.tests import holm

#: A test is flagged below this p value; large data find small departures.
ALPHA = 0.01
#: Skewness, and excess of the kurtosis, below which residuals are near enough to normal however many there are.
MATERIAL = 0.5


@dataclass(frozen=True)
class Finding:
    """One finding about a fit.

    Attributes
    ----------
    diagnostic
        ``influence``, ``outlier``, ``normality``, ``heteroscedasticity``; of the rows ``largest_residual``,
        ``residual_quantile`` and ``binned_residual``.
    group, unit, term
        What it is about; None where it is about all.
    value
        The probability of a quantile; the mean of the predictor in a bin.
    n
        Rows.
    estimate
        Cook's distance; of the normality test the kurtosis; the quantile; the mean residual of a bin.
    skewness
        Of the normality test.
    expected
        What the estimate would be if the residuals were normal and centred along the predictor.
    std_error
        Of the mean residual of a bin.
    statistic, df, p_value
        Of influence, the largest change of a coefficient in standard errors; else the test's.
    flagged
        Whether a reader should look.
    note
        The finding in words.
    """

    diagnostic: str
    group: str | None = None
    unit: str | None = None
    term: str | None = None
    value: float | None = None
    n: int | None = None
    estimate: float | None = None
    skewness: float | None = None
    expected: float | None = None
    std_error: float | None = None
    statistic: float | None = None
    df: float | None = None
    p_value: float | None = None
    flagged: bool = False
    note: str | None = None


def residual_findings(checks: RowChecks) -> Iterator[Finding]:
    """The shape of the residuals' distribution, the farthest one, their quantiles, and their means along predictors."""
    if checks.n >= LEAST_UNITS:
        yield from _distribution(checks)
    yield from _quantiles(checks)
    yield from _bin_means(checks)


def _distribution(checks: RowChecks) -> Iterator[Finding]:
    from scipy.special import log_ndtr

    test = normality_of(checks.n, checks.skewness, checks.kurtosis)
    material = max(abs(test.skewness), abs(test.kurtosis - 3)) > MATERIAL
    yield Finding(
        "normality",
        "residual",
        n=checks.n,
        estimate=test.kurtosis,
        skewness=test.skewness,
        expected=3.0,
        statistic=test.statistic,
        df=2.0,
        p_value=test.p_value,
        flagged=bool(test.p_value < ALPHA and material),
        note=test.note,
    )
    # the chance that the farthest of n normal residuals lies as far out
    p = float(-np.expm1(checks.n * np.log1p(-2 * np.exp(log_ndtr(-checks.largest / checks.std_dev)))))
    yield Finding(
        "largest_residual",
        "residual",
        n=checks.n,
        estimate=checks.largest,
        p_value=p,
        flagged=p < ALPHA,
        note="greatest absolute standardised residual; p that of the greatest of all rows",
    )


def _quantiles(checks: RowChecks) -> Iterator[Finding]:
    from scipy.special import ndtri

    for probability, quantile in zip(PROBABILITIES, checks.quantiles, strict=True):
        yield Finding(
            "residual_quantile",
            "residual",
            value=probability,
            n=checks.n,
            estimate=float(quantile),
            expected=checks.mean + checks.std_dev * float(ndtri(probability)),
            note="of the standardised residuals; expected of a normal distribution with their mean and spread",
        )


def _bin_means(checks: RowChecks) -> Iterator[Finding]:
    """Student's t of each bin's mean, p values adjusted for the number of bins."""
    from scipy.special import stdtr

    for term, bins in checks.bins.items():
        if len(bins.n) == 0:
            continue
        error = bins.std_dev / np.sqrt(bins.n)
        testable = (bins.n > 1) & (error > 0)
        statistic = np.where(testable, bins.mean / np.where(testable, error, 1.0), np.nan)
        p = np.where(testable, 2 * stdtr(np.maximum(bins.n - 1, 1), -np.abs(statistic)), 1.0)
        adjusted = holm(p)
        for i, has_test in enumerate(testable):
            yield Finding(
                "binned_residual",
                "residual",
                term=term,
                value=float(bins.at[i]),
                n=int(bins.n[i]),
                estimate=float(bins.mean[i]),
                expected=0.0,
                std_error=float(error[i]) if has_test else None,
                statistic=float(statistic[i]) if has_test else None,
                df=float(bins.n[i] - 1) if has_test else None,
                p_value=float(adjusted[i]) if has_test else None,
                flagged=bool(has_test and adjusted[i] < ALPHA),
                note=f"mean residual of a bin; p adjusted for {len(p)} bins by Holm",
            )
