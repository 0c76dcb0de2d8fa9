"""Measure clustering: intraclass correlations, design effects, naive errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlm_ops.estimation.criterion import Criterion
from mlm_ops.estimation.design.groups import make_clusters
from mlm_ops.estimation.estimate import Estimate, estimate_design
from mlm_ops.inference.fixed.clustered_least_squares import clustered_vcov
from mlm_ops.inference.intervals.profile import find_limit
from mlm_ops.inference.random.effects import RandomEffects
from mlm_ops.inference.random.variance import intercepts_alone, mean_residual_variance, tau_derivatives
from mlm_ops.inference.t_distribution import critical_value, f_critical_value
from mlm_ops.language.model import group_name
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.record import Moments

_SLOPES = "slopes vary, so the share depends on the values of their predictors"
_UNKNOWN = "the data do not determine this variance"
_NO_INTERVAL = "no interval: residuals have a structure or weights, or crossed factors have a variance of zero"


@dataclass(frozen=True)
class Clustering:
    """How strongly one grouping factor clusters the rows.

    Attributes
    ----------
    level
        The textbook's level of its effects.
    icc
        Share of its intercepts' variance in the total; with predictors it is the share of what they leave.
    conf_low, conf_high, method
        An interval of it; ``exact F``, ``profile`` or ``wald``, None where there is none.
    conditional
        Whether predictors were taken into account.
    correlation
        Of two rows of the same unit: units of a lower level share those above them.
    group_size
        The mean size of a row's unit, ``sum n_j^2 / N``: the group size where groups are equal.
    design_effect, n_effective
        See `design_effect`; of this grouping factor alone.
    reliability
        Mean over the units of the reliability of their intercepts.
    """

    group: str
    level: int
    icc: float | None
    conf_low: float | None
    conf_high: float | None
    method: str | None
    conditional: bool
    correlation: float | None
    group_size: float
    design_effect: float | None
    n_effective: float | None
    reliability: float | None
    note: str | None


def clustering(moments: Moments, estimate: Estimate, effects: Sequence[RandomEffects]) -> list[Clustering]:
    """One record a grouping factor, lowest first.

    ``icc_k = tau_k / (sum of all tau + sigma2)``: the share of the variance at a level, Raudenbush and Bryk (2002),
    chapters 2 and 8. The correlation of two rows that share a unit adds the levels above it, ``(tau_k + tau_(k+1) +
    …) / total``: Hox, Moerbeek and van de Schoot (2018), chapter 2, which has both.

    Parameters
    ----------
    effects
        Empirical Bayes estimates, a block each as in `Estimate.blocks`.
    """
    design = estimate.design
    if design.split is not None:
        return []
    conditional = any(column.variables for column in design.fixed.columns)
    alone = intercepts_alone(estimate)
    shares = np.array([tau[0, 0] for tau in estimate.tau]) if alone else np.zeros(0)
    shares = shares / (shares.sum() + mean_residual_variance(estimate))
    reliabilities = _reliabilities(estimate, effects)
    records = []
    for k, level in enumerate(design.levels):
        codes, labels = moments.units_of(level.group)
        size = float((np.bincount(codes, moments.n, len(labels)) ** 2).sum() / design.n_obs)
        is_determined = alone and not _unknown_share(estimate, k)
        icc = float(shares[k]) if is_determined else None
        low, high, method = _interval(moments, estimate, k) if is_determined else (None, None, None)
        effect = design_effect(icc, size) if icc is not None else None
        records.append(
            Clustering(
                group_name(level.group),
                k + 2 if design.nested else 2,
                icc,
                low,
                high,
                method,
                conditional,
                _correlation(estimate, shares, k) if alone else None,
                size,
                effect,
                design.n_obs / effect if effect is not None else None,
                reliabilities[k] if is_determined or not alone else None,
                None if method else _NO_INTERVAL if is_determined else _UNKNOWN if alone else _SLOPES,
            )
        )
    return records


def _unknown_share(estimate: Estimate, k: int) -> bool:
    """Whether the data leave the variance of a factor's intercepts, or the residual's, open."""
    return estimate.undetermined.sigma2 or bool(estimate.undetermined.tau[k][0, 0])


def _correlation(estimate: Estimate, shares: Array, k: int) -> float | None:
    """Correlation of two rows of a factor's unit, which share the units above it where factors are nested."""
    above = range(k, len(shares)) if estimate.design.nested else (k,)
    unknown = [_unknown_share(estimate, i) for i in range(len(shares))]
    # of undetermined variances the sum is known, so that all of them together are
    if estimate.undetermined.sigma2 or (any(unknown[i] for i in above) and any(unknown[: above[0]])):
        return None
    return None if not estimate.design.nested and unknown[k] else float(sum(shares[i] for i in above))


def design_effect(icc: float, group_size: float) -> float:
    """``1 + (n - 1) icc``: how much larger the variance of a mean is than that of as many independent rows.

    Kish (1965), Survey Sampling, section 5.4; for unequal groups n is ``sum n_j^2 / N``, with which it is exact for the
    mean over rows. N divided by it is the effective sample size.
    """
    return 1 + (group_size - 1) * icc


def exact_interval(between: float, within: float, groups: int, size: float, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of the ICC of balanced one-way data from their mean squares.

    With ``F = between / within``, its quantiles bound ``(F / F_q - 1) / (F / F_q - 1 + n)``: Searle (1971), Linear
    Models, chapter 9; ICC(1, 1) of Shrout and Fleiss (1979), Psychological Bulletin 86, 420-428. A negative limit
    is zero, as variances are.

    Parameters
    ----------
    between, within
        Mean squares with ``groups - 1`` and ``groups (size - 1)`` degrees of freedom.
    """
    df1, df2, alpha = groups - 1, groups * (size - 1), 0.5 - level / 2
    limits = []
    for quantile in (f_critical_value(df1, df2, alpha), 1 / f_critical_value(df2, df1, alpha)):
        ratio = between / within / quantile
        limits.append(max((ratio - 1) / (ratio - 1 + size), 0.0))
    return limits[0], limits[1]


def profile_interval(estimate: Estimate, k: int, level: float = 0.95) -> tuple[float, float]:
    """Profile interval of the k-th share: where the deviance, minimised over all else, has risen by a quantile.

    With ``z = sqrt(icc / (1 - icc))`` held, ``tau_k = z^2 (sigma2 + the other tau)``. The deviance is the fit's own:
    restricted after REML, which is a likelihood of the variances alone, so that its profile is one too.
    """
    criterion, theta = estimate.criterion, np.abs(estimate.optimum.theta)
    radius = float(critical_value(np.inf, level))
    place = criterion.blocks[k].theta.start
    others = np.delete(np.arange(len(theta)), place)
    center = float(theta[place] / np.sqrt(1 + (theta[others] ** 2).sum()))
    rise = _profile(criterion, theta, place, float(estimate.optimum.solution.criterion))
    step = max(0.3 * center, 0.05)
    low = find_limit(rise, center, -step, 0.0, radius)
    high = find_limit(rise, center, step, np.inf, radius)
    return low**2 / (1 + low**2), high**2 / (1 + high**2) if np.isfinite(high) else 1.0


def wald_interval(estimate: Estimate, k: int, level: float = 0.95) -> tuple[float, float] | None:
    """Wald interval of the k-th share by the delta method on its logit; None at the boundary."""
    from scipy.special import expit, logit, ndtri

    taus = np.array([tau[0, 0] for tau in estimate.tau])
    total = taus.sum() + estimate.sigma2
    share = taus[k] / total
    if estimate.optimum.singular or share == 0:
        return None
    by_tau = np.array([derivative[:, 0, 0] for derivative in tau_derivatives(estimate)])
    by_sigma2 = np.zeros(by_tau.shape[1])
    by_sigma2[-1] = estimate.design.sigma2_scale
    slope = (by_tau[k] - share * (by_tau.sum(axis=0) + by_sigma2)) / total / (share * (1 - share))
    margin = float(ndtri(0.5 + level / 2) * np.sqrt(slope @ estimate.parameters_vcov @ slope))
    return float(expit(logit(share) - margin)), float(expit(logit(share) + margin))


def _profile(criterion: Criterion, theta: Array, place: int, lowest: float) -> Callable[[float], float]:
    """Rise of the deviance as a function of z, minimised over the thetas of the other factors."""
    others = np.delete(np.arange(len(theta)), place)

    def at(z: float, free: Array) -> tuple[float, Array]:
        rest = float(np.sqrt(1 + free @ free))
        full = np.empty(len(theta))
        full[others], full[place] = free, z * rest
        solution = criterion.solve(full)
        gradient = criterion.gradient(solution)
        return float(solution.criterion) - lowest, gradient[others] + gradient[place] * z * free / rest

    # a zero is stationary, so what starts there would stay
    start: Array = np.maximum(theta[others], 0.03)

    def rise(z: float) -> float:
        if not len(others):
            return max(float(criterion.solve(np.array([z])).criterion) - lowest, 0.0)
        from scipy.optimize import minimize  # 0.15 s: not for those with one parameter

        def objective(free: Array) -> tuple[float, Array]:
            return at(z, free)

        search = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-6})
        return max(float(search.fun), 0.0)

    return rise


def _interval(moments: Moments, estimate: Estimate, k: int) -> tuple[float | None, float | None, str | None]:
    """Exact for balanced one-way data, by profile for others; by Wald for crossed factors, and where T is given."""
    if estimate.design.residual is not None:
        return None, None, None
    squares = _one_way(moments, estimate)
    t_is_given = any(block.known for block in estimate.criterion.blocks)
    if squares is not None and not t_is_given:
        return *exact_interval(*squares), "exact F"
    if estimate.design.nested and not t_is_given:
        return *profile_interval(estimate, k), "profile"
    limits = wald_interval(estimate, k)
    return (*limits, "wald") if limits is not None else (None, None, None)


def _one_way(moments: Moments, estimate: Estimate) -> tuple[float, float, int, float] | None:
    """Mean squares between and within, number and size of groups; None where the data are not balanced one-way."""
    design = estimate.design
    if len(design.levels) != 1 or [c.variables for c in design.fixed.columns] != [()]:
        return None
    (level,) = design.levels
    groups = len(level.labels)
    codes, _ = moments.units_of(level.group)
    n = np.bincount(codes, moments.n, groups)
    size = float(n[0])
    if size < 2 or (n != size).any():
        return None
    # [Z X y] of the engine: X is the constant up to its sign
    rows = design.cross.block(slice(-2, None), slice(-1, None))[:, 0]
    with_one, squared = (np.bincount(level.codes, row, groups) for row in rows)
    between = float((with_one**2 / size).sum() - with_one.sum() ** 2 / design.n_obs)
    within = float(squared.sum() - (with_one**2 / size).sum())
    return between / (groups - 1), within / (groups * (size - 1)), groups, size


def _reliabilities(estimate: Estimate, effects: Sequence[RandomEffects]) -> list[float | None]:
    """Mean reliability of each factor's intercepts: Raudenbush and Bryk (2002), chapter 3."""
    remaining = iter(effects)
    means: list[float | None] = []
    for level in estimate.design.levels:
        mean = None
        for block in level.blocks:
            own = next(remaining)
            for i, column in enumerate(block.columns):
                if not column.variables and not np.isnan(own.reliability[i]).any():
                    mean = float(own.reliability[i].mean())
        means.append(mean)
    return means


@dataclass(frozen=True)
class LeastSquares:
    """Least squares of the fixed part; every array is (p,).

    Attributes
    ----------
    estimate, std_error
        As if all rows were independent.
    robust_std_error
        Of the same estimate, robust to clusters (CR2); None without clusters, and where grouping factors cross, as
        errors of different clusters are then correlated.
    """

    estimate: Array
    std_error: Array
    robust_std_error: Array | None


def least_squares(estimate: Estimate) -> LeastSquares:
    """Fit the fixed part by least squares on the cross-products that the design has already.

    The clusters are the units of the top grouping factor, or in single-level regression those of the design.
    Moulton (1986), Journal of Econometrics 32, 385-397, for what the naive errors miss; Bell and McCaffrey (2002),
    Survey Methodology 28, 169-181, for CR2.
    """
    design = estimate.design
    effects = sum(level.size for level in design.levels)
    fixed = replace(design.cross, combination=design.cross.combination[:, effects:])
    plain = replace(design, levels=(), cross=fixed, residual=None, clusters=None)
    regression = estimate_design(plain, reml=True)
    robust, clusters = None, design.clusters if not design.levels else None
    if design.levels and design.nested:
        top = design.levels[-1]
        clusters = make_clusters(top.group, top.codes, top.labels, ())
    if clusters is not None:
        robust = np.sqrt(np.diag(clustered_vcov(regression, clusters)))
    return LeastSquares(regression.gamma, np.sqrt(np.diag(regression.vcov)), robust)
