"""Test whether random effects are normal, units are outliers and residual variances differ; summarise rows' residuals.

The tests need a fit's moments only; `check_residuals` reads the rows, in one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.prediction.sql import ROW_HASH, PredictionQuery
from mlm_ops.inference.random.effects import RandomEffects
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.needs import find_needs
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import render

#: Fewest degrees of freedom of a unit whose residual variance is compared: the logarithm of one with less is far from
#: normal (Raudenbush and Bryk 2002, page 264).
LEAST_DF = 10
#: Fewest units to judge a distribution by: the approximations of the normality test hold from there.
LEAST_UNITS = 20
#: Share of the largest eigenvalue below which a direction of a unit's predictors counts as none.
_RANK = 1e-9


@dataclass(frozen=True)
class Normality:
    """Test that J standardised random effects are normal.

    Attributes
    ----------
    skewness, kurtosis
        Of the standardised effects; the normal distribution has 0 and 3.
    statistic, p_value
        K-squared and its chi-square probability, 2 degrees of freedom.
    """

    skewness: float
    kurtosis: float
    statistic: float
    p_value: float

    @property
    def note(self) -> str:
        """Skewness and kurtosis in words, with two decimals as R's packages print them."""
        return f"skewness {self.skewness:.2f}, kurtosis {self.kurtosis:.2f} (normal: 0 and 3)"


@dataclass(frozen=True)
class Heterogeneity:
    """Test that units have one residual variance.

    Attributes
    ----------
    statistic, df, p_value
        H and its chi-square probability.
    units
        How many units had enough rows.
    spread
        Standard deviation over units of the logarithm of their residual standard deviation, beyond what sampling makes
        it: 0.1 where these differ by a tenth. By moments, as DerSimonian and Laird (1986), Controlled Clinical Trials
        7, 177-188, have it: ``(H - df) / (sum w - sum w^2 / sum w)``, w = f / 2, is the variance of the log variances.
    """

    statistic: float
    df: int
    p_value: float
    units: int
    spread: float


def standardised(effects: RandomEffects, tau: Array) -> Array:
    """Empirical Bayes estimates over their standard deviations, (q, J): not a number where these are zero.

    Their variance over data sets is ``T - conditional variance`` (Snijders and Bosker 2012, eq. 4.18).
    """
    variance = np.diag(tau)[:, None] - np.einsum("aaj->aj", effects.variance)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > _RANK * np.diag(tau)[:, None], effects.estimate / np.sqrt(variance), np.nan)


def mahalanobis_distances(effects: RandomEffects, tau: Array) -> tuple[Array, Array, Array]:
    """Squared Mahalanobis distance of each unit's effects, its degrees of freedom and probability, (J,) each.

    ``b' (T - C)^- b`` with as many degrees of freedom as the matrix has rank, C being the conditional covariance (Lange
    and Ryan 1989, Annals of Statistics 17, 624-642; Snijders and Bosker 2012, section 10.6).
    """
    from scipy.special import chdtrc

    # in units of their own standard deviations, so that the rank does not depend on what predictors are measured in
    scale = np.sqrt(np.diag(tau))
    scale = np.where(scale > 0, scale, 1.0)
    spread = ((tau[:, :, None] - effects.variance) / np.outer(scale, scale)[:, :, None]).transpose(2, 0, 1)
    values, vectors = np.linalg.eigh(spread)
    positive = values > _RANK
    along = np.einsum("jab,aj->jb", vectors, effects.estimate / scale[:, None])
    distance = np.where(positive, along**2 / np.where(positive, values, 1.0), 0.0).sum(axis=1)
    rank = positive.sum(axis=1)
    return distance, rank, np.where(rank > 0, chdtrc(np.maximum(rank, 1), distance), 1.0)


def normality(values: Array) -> Normality | None:
    """D'Agostino's and Pearson's K-squared test of a sample, (J,); None for fewer than `LEAST_UNITS` finite values.

    Skewness after D'Agostino (1970), Biometrika 57, 679-681; kurtosis after Anscombe and Glynn (1983), ibid. 70,
    227-234.
    """
    x = values[np.isfinite(values)]
    if len(x) < LEAST_UNITS or np.ptp(x) == 0:
        return None
    deviation = x - x.mean()
    second, third, fourth = (float((deviation**power).mean()) for power in (2, 3, 4))
    return normality_of(len(x), third / second**1.5, fourth / second**2)


def normality_of(n: int, skewness: float, kurtosis: float) -> Normality:
    """The test of `normality` from the skewness and kurtosis of a sample of n."""
    from scipy.special import chdtrc

    statistic = _skewness_z(skewness, n) ** 2 + _kurtosis_z(kurtosis, n) ** 2
    return Normality(skewness, kurtosis, statistic, float(chdtrc(2, statistic)))


def _skewness_z(skewness: float, n: int) -> float:
    y = skewness * np.sqrt((n + 1) * (n + 3) / (6 * (n - 2)))
    beta = 3 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2) * (n + 5) * (n + 7) * (n + 9))
    w2 = np.sqrt(2 * (beta - 1)) - 1
    return float(np.arcsinh(y / np.sqrt(2 / (w2 - 1))) / np.sqrt(np.log(w2) / 2))


def _kurtosis_z(kurtosis: float, n: int) -> float:
    mean = 3 * (n - 1) / (n + 1)
    variance = 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    x = (kurtosis - mean) / np.sqrt(variance)
    third = 6 * (n**2 - 5 * n + 2) / ((n + 7) * (n + 9)) * np.sqrt(6 * (n + 3) * (n + 5) / (n * (n - 2) * (n - 3)))
    a = 6 + 8 / third * (2 / third + np.sqrt(1 + 4 / third**2))
    root = (1 - 2 / a) / (1 + x * np.sqrt(2 / (a - 4)))
    return float((1 - 2 / (9 * a) - np.cbrt(root)) / np.sqrt(2 / (9 * a)))


def heterogeneity(estimate: Estimate, sizes: Array) -> Heterogeneity | None:
    """Compare the residual variances of the lowest units' own regressions on the predictors that vary within them.

    ``H = sum d_j^2``, ``d_j = (ln s_j^2 - mean) / sqrt(2 / f_j)``, the mean weighted by the degrees of freedom f_j:
    Bartlett and Kendall (1946); Raudenbush and Bryk (2002), eqs. 9.4 and 9.5.

    Parameters
    ----------
    sizes
        (J,) rows of each unit of the lowest grouping factor.

    Returns
    -------
    Heterogeneity or None
        None where the factors cross, residuals have a structure, or fewer than two units have `LEAST_DF`.
    """
    from scipy.special import chdtrc

    design = estimate.design
    if not design.levels or not design.nested or design.residual is not None:
        return None
    within = _by_unit(design.products, design.levels[0].codes, len(sizes), first=sum(lv.size for lv in design.levels))
    x, xy, yy = within[:, :-1, :-1], within[:, :-1, -1], within[:, -1, -1]
    values, vectors = np.linalg.eigh(x)
    positive = values > _RANK * values[:, -1:]
    along = np.einsum("jab,ja->jb", vectors, xy)
    rss = yy - np.where(positive, along**2 / np.where(positive, values, 1.0), 0.0).sum(axis=1)
    df = sizes - positive.sum(axis=1)
    usable = (df >= LEAST_DF) & (rss > _RANK * yy)
    if usable.sum() < 2:
        return None
    f, logs = df[usable], np.log(rss[usable] / df[usable])
    statistic = float((f / 2 * (logs - np.average(logs, weights=f)) ** 2).sum())
    freedom = int(usable.sum()) - 1
    w = f / 2
    excess = max(statistic - freedom, 0.0) / float(w.sum() - (w**2).sum() / w.sum())
    return Heterogeneity(statistic, freedom, float(chdtrc(freedom, statistic)), freedom + 1, float(np.sqrt(excess) / 2))


def _by_unit(products: Array, codes: NDArray[np.int64], size: int, first: int) -> Array:
    """(J, k, k) cross-products of the columns from `first` on, summed by unit."""
    columns: Sequence[int] = range(first, len(products))
    sums = np.empty((size, len(columns), len(columns)))
    for i, a in enumerate(columns):
        for j, b in enumerate(columns[: i + 1]):
            sums[:, i, j] = sums[:, j, i] = np.bincount(codes, products[a, b], size)
    return sums


#: Probabilities of the quantiles.
PROBABILITIES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
#: Bins of a predictor; fewer where it has few values.
BINS = 20
#: Rows that are enough to cut bins by, where there are twice as many: a bin then has a twentieth of all rows, give or
#: take a thousandth of all.
ENOUGH_ROWS = 2**16


@dataclass(frozen=True)
class Bins:
    """Residuals in b bins of a predictor, each array (b,).

    Attributes
    ----------
    at
        Mean of the predictor in the bin.
    n, mean, std_dev
        Of the residuals; the standard deviation of one row is not a number.
    """

    at: Array
    n: NDArray[np.int64]
    mean: Array
    std_dev: Array


@dataclass(frozen=True)
class RowChecks:
    """Summary of the rows' residuals.

    Attributes
    ----------
    n
        Rows with a residual.
    mean, std_dev, skewness, kurtosis
        Of the standardised residuals (the conditional residual over the residual's standard deviation), divisor n.
    largest
        The greatest absolute standardised residual.
    quantiles
        Of the standardised residuals at `PROBABILITIES`, interpolated as numpy does.
    square_mean, square_std_dev
        Of the squared standardised residuals, divisor n.
    correlations
        Of the squared standardised residuals with each predictor, by its name; not a number where it is constant.
    bins
        By predictor; the fixed part of the prediction is ``fixed_prediction``.
    share
        Bins are cut at the quantiles of about one row in so many, all other numbers being of all rows.
    """

    n: int
    mean: float
    std_dev: float
    skewness: float
    kurtosis: float
    largest: float
    quantiles: Array
    square_mean: float
    square_std_dev: float
    correlations: dict[str, float]
    bins: dict[str, Bins]
    share: int


def check_residuals(query: PredictionQuery, source: Source, bins: int = BINS) -> RowChecks | None:
    """Summarise the residuals of a source's rows, in one query; None where no row has one or all are equal.

    Rows of groups that the fit has not seen are left out. The residuals are conditional (less the random effects) and
    are set against the fixed part: these are uncorrelated if the model holds, while residuals and predictions with
    shrunken random effects are not.

    Raises
    ------
    DataError
        The source lacks a column of the model.
    """
    find_needs(source, [query.model], query.moments.schema.keys)  # says which columns are missing
    predictors = {**query.predictors, "fixed_prediction": "fixed_prediction"}
    sql = render(
        "residual_checks",
        predictions=query.sql(source.relation, kept=(), predictors=True, row_hash=True),
        probabilities=PROBABILITIES,
        cuts=[i / bins for i in range(1, bins)],
        predictors=list(predictors.values()),
        row_hash=ROW_HASH,
        enough_rows=ENOUGH_ROWS,
    )
    ((n, mean, second, third, fourth, largest, quantiles, *squares, share, bin_rows),) = source.query(sql).fetchall()
    if not n or not second:
        return None
    by_term = {name: _bins([bin for bin in bin_rows if bin["term"] == i]) for i, name in enumerate(predictors)}
    square_mean, square_std_dev, correlations = squares
    return RowChecks(
        n=n,
        mean=mean,
        std_dev=second**0.5,
        skewness=third / second**1.5,
        kurtosis=fourth / second**2,
        largest=largest,
        quantiles=np.array(quantiles, float),
        square_mean=square_mean,
        square_std_dev=square_std_dev,
        correlations={name: float("nan" if r is None else r) for name, r in zip(predictors, correlations, strict=True)},
        bins=by_term,
        share=share,
    )


def _bins(rows: list[dict[str, float]]) -> Bins:
    at, mean, std_dev = (np.array([b[name] for b in rows], dtype=float) for name in ("at", "mean", "std_dev"))
    return Bins(at, np.array([b["n"] for b in rows], dtype=np.int64), mean, std_dev)
