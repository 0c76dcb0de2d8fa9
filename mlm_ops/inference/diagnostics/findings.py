"""Findings about a fit: the record of one, and those about the rows' residuals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlm_ops.inference.diagnostics.residuals import LEAST_UNITS, PROBABILITIES, RowChecks, normality_of
from mlm_ops.inference.fixed.tests import holm
from mlm_ops.inference.t_distribution import two_sided_p

#: A test is flagged below this p value; large data find small departures.
ALPHA = 0.01
#: Skewness, and excess of the kurtosis, below which residuals are near enough to normal however many there are.
MATERIAL = 0.5
#: A ratio of residual standard deviations, one standard deviation of a predictor above its mean to one below, that
#: matters, either way; smaller ones hardly move a standard error.
SPREAD_RATIO = 1.25


@dataclass(frozen=True)
class Finding:
    """One finding about a fit.

    Attributes
    ----------
    diagnostic
        ``influence``, ``outlier``, ``normality``, ``heteroscedasticity``, ``vif``, ``condition_number``; of the rows
        ``largest_residual``, ``residual_quantile`` and ``binned_residual``.
    group, unit, term
        What it is about; None where it is about all.
    level
        Of the predictors, the textbook's; None where it is not about those of one level.
    value
        The probability of a quantile; the mean of the predictor in a bin.
    n
        Rows.
    estimate
        Cook's distance; of the normality test the kurtosis; of unequal variances their effect size; the variance
        inflation factor; the condition number; the quantile; the mean residual of a bin.
    skewness
        Of the normality test.
    expected
        What the estimate would be if the residuals were normal and centred along the predictor.
    std_error
        Of the mean residual of a bin.
    statistic, df, p_value
        Of influence, the largest change of a coefficient in standard errors; else the test's.
    bound
        What the estimate must be beyond to be flagged, or to be worth a thought; None where there is none.
    flagged
        Whether a reader should look.
    note
        The finding in words.
    """

    diagnostic: str
    group: str | None = None
    unit: str | None = None
    term: str | None = None
    level: int | None = None
    value: float | None = None
    n: int | None = None
    estimate: float | None = None
    skewness: float | None = None
    expected: float | None = None
    std_error: float | None = None
    statistic: float | None = None
    df: float | None = None
    p_value: float | None = None
    bound: float | None = None
    flagged: bool = False
    note: str | None = None


def residual_findings(checks: RowChecks) -> Iterator[Finding]:
    """The shape of the residuals' distribution, the farthest one, their quantiles, and their means along predictors."""
    if checks.n >= LEAST_UNITS:
        yield from _distribution(checks)
        yield from _spreads(checks)
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


def _spreads(checks: RowChecks) -> Iterator[Finding]:
    """Whether the residuals' variance follows the fixed part or a predictor, p values adjusted for their number.

    ``n r^2``, r the correlation of the squared residuals with it, is chi-square with one degree of freedom: the test of
    Breusch and Pagan (1979), Econometrica 47, 1287-1294, and Cook and Weisberg (1983), as Koenker (1981), Journal of
    Econometrics 17, 107-112, made it hold for residuals that are not normal.
    """
    from scipy.special import chdtrc

    known = {term: r for term, r in checks.correlations.items() if np.isfinite(r)}
    statistics = checks.n * np.array(list(known.values())) ** 2
    adjusted = holm(np.asarray(chdtrc(1, statistics)))
    for (term, r), statistic, p in zip(known.items(), statistics, adjusted, strict=True):
        # regressed on the term, the squares are so much more or less one standard deviation from its mean
        change = r * checks.square_std_dev / checks.square_mean
        ratio = float(np.sqrt((1 + change) / (1 - change))) if abs(change) < 1 else (np.inf if change > 0 else 0.0)
        material = max(ratio, 1 / ratio if ratio else np.inf) > SPREAD_RATIO
        yield Finding(
            "heteroscedasticity",
            "residual",
            term=term,
            n=checks.n,
            estimate=ratio if np.isfinite(ratio) else None,
            expected=1.0,
            statistic=float(statistic),
            df=1.0,
            p_value=float(p),
            bound=SPREAD_RATIO,
            flagged=bool(p < ALPHA and material),
            note="ratio of the residuals' standard deviations one standard deviation above the mean and below; p "
            f"adjusted for {len(known)} predictors by Holm",
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
    cut = "" if checks.share == 1 else f", cut at the quantiles of one row in {checks.share}"
    for term, bins in checks.bins.items():
        if len(bins.n) == 0:
            continue
        error = bins.std_dev / np.sqrt(bins.n)
        testable = (bins.n > 1) & (error > 0)
        statistic = np.where(testable, bins.mean / np.where(testable, error, 1.0), np.nan)
        p = np.where(testable, two_sided_p(np.maximum(bins.n - 1, 1), statistic), 1.0)
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
                note=f"mean residual of a bin{cut}; p adjusted for {len(p)} bins by Holm",
            )
