"""Turn the residual structure's parameters rho into weights of the cross-products, and log |R|.

``rho`` holds log(delta_s) of every stratum s but the first (its standard deviation relative to that one) and then
atanh(phi) of the autocorrelation, so that it is free of bounds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.residual import ResidualDesign
from mlm_ops.moments.arrays import Numbers
from mlm_ops.moments.residual import NOW

#: Correlations of rows at the middle gap from which the search for phi begins where it needs several starts.
_CORRELATIONS = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4, 0.6, 0.75, 0.86, 0.93, 0.97)
#: What is left of squares, as a share of them, for rounding alone.
_ROUNDING = 1e-10
#: A correlation at the shortest gap below which the deviance hardly changes with phi.
_NO_CORRELATION = 0.02


def n_rho(design: ResidualDesign) -> int:
    """Number of parameters."""
    return len(design.strata) - 1 + design.serial


def ratios(design: ResidualDesign, rho: Numbers) -> Numbers:
    """Delta of each stratum, (S,), the first being one."""
    delta: Numbers = np.exp(np.concatenate((np.zeros(1, dtype=rho.dtype), rho[: len(design.strata) - 1])))
    return delta


def autocorrelation(design: ResidualDesign, rho: Numbers) -> Numbers:
    """phi, as a (0-dimensional) array; zero without autocorrelation."""
    return np.tanh(rho[-1]) if design.serial else np.zeros((), dtype=rho.dtype)


def autocorrelations(design: ResidualDesign) -> NDArray[np.float64]:
    """Values of atanh(phi) to begin from, ascending; none where rows one step apart determine phi by themselves.

    The correlation at gap d is ``phi^d``, whose derivative vanishes at phi = 0 for every d but one: where no two times
    are one apart, phi = 0 is stationary whatever the data, and phi of a given correlation depends on the gaps. So the
    starts are of given correlations at the middle gap; negative ones too where some gap is odd, and shows the sign.
    """
    gaps = _gaps(design)
    if not len(gaps) or gaps.min() <= 1:
        return np.zeros(0)
    sizes = np.array([design.n[(design.kind == NOW) & (design.gap == gap)].sum() for gap in gaps])
    middle = float(gaps[np.searchsorted(np.cumsum(sizes), sizes.sum() / 2)])
    positive = np.arctanh(np.array(_CORRELATIONS) ** (1 / middle))
    return np.concatenate((-positive[::-1], positive)) if (gaps % 2 == 1).any() else positive


def is_flat(design: ResidualDesign, rho: NDArray[np.float64]) -> bool:
    """Whether phi is so near zero, for gaps of this length, that the deviance hardly changes with it."""
    gaps = _gaps(design)
    if not len(gaps):
        return False
    shortest = float(gaps.min())
    return shortest > 1 and bool(abs(autocorrelation(design, rho)) ** shortest < _NO_CORRELATION)


def reproduced_strata(design: ResidualDesign, n_random: int) -> tuple[int, ...]:
    """The strata whose outcomes the fixed effects can reproduce, as they can those of few rows with a dummy.

    By full maximum likelihood, a residual variance of zero there makes the likelihood infinite.

    Parameters
    ----------
    n_random
        How many of the design's columns, the first ones, are of random effects.
    """
    reproduced = []
    for stratum in range(len(design.strata) if len(design.strata) > 1 else 0):
        rows = (design.kind == NOW) & (design.stratum == stratum)
        products = design.products[rows][:, n_random:, n_random:].sum(axis=(0, 3))
        x, by_y = products[:-1, :-1], products[:-1, -1]
        left = products[-1, -1] - by_y @ np.linalg.lstsq(x, by_y, rcond=_ROUNDING)[0]
        if left <= _ROUNDING * products[-1, -1]:
            reproduced.append(stratum)
    return tuple(reproduced)


def _gaps(design: ResidualDesign) -> NDArray[np.float64]:
    """Distinct gaps between a row and the one before, ascending; none without autocorrelation."""
    return np.unique(design.gap[design.gap > 0]) if design.serial else np.zeros(0)


def weights(design: ResidualDesign, rho: Numbers) -> Numbers:
    """(C,) weight of each component in ``P(rho)``."""
    delta, phi = ratios(design, rho), autocorrelation(design, rho)
    lag = np.where(design.gap > 0, phi**design.gap, 0.0)
    now, past = delta[design.stratum], delta[np.maximum(design.past_stratum, 0)]
    by_kind = np.stack((1 / now**2, -lag / (now * past), lag**2 / past**2))
    by_component: Numbers = by_kind[design.kind, np.arange(len(design.kind))] / (1 - lag**2)
    return by_component


def weight_derivatives(design: ResidualDesign, rho: Numbers) -> Numbers:
    """(n_rho, C) derivatives of the weights."""
    at_rho = weights(design, rho)
    rows = []
    for s in range(1, len(design.strata)):
        now, past = design.stratum == s, design.past_stratum == s
        powers = np.stack((2.0 * now, 1.0 * now + past, 2.0 * past))[design.kind, np.arange(len(at_rho))]
        rows.append(-powers * at_rho)
    if design.serial:
        delta, phi, d = ratios(design, rho), autocorrelation(design, rho), design.gap
        steps = np.maximum(d, 1.0)
        lag = phi**steps
        slope = steps * phi ** (steps - 1)
        now, past = delta[design.stratum], delta[np.maximum(design.past_stratum, 0)]
        innovation = 1 - lag**2
        by_kind = np.stack(
            (
                2 * lag * slope / (now * innovation) ** 2,
                -slope * (1 + lag**2) / (now * past * innovation**2),
                2 * lag * slope / (past * innovation) ** 2,
            )
        )
        by_phi = np.where(d > 0, by_kind[design.kind, np.arange(len(d))], 0.0)
        rows.append(by_phi * (1 - phi**2))
    return np.array(rows).reshape(n_rho(design), len(at_rho))


def log_determinant(design: ResidualDesign, rho: Numbers) -> Numbers:
    """Log |R|, R relative to sigma2."""
    now = design.kind == NOW
    delta, phi = ratios(design, rho), autocorrelation(design, rho)
    lag = np.where(design.gap > 0, phi**design.gap, 0.0)
    rows = design.n * (2 * np.log(delta[design.stratum]) + np.log(1 - lag**2))
    # known precisions are relative to their geometric mean, so that their logarithms add to zero
    total: Numbers = rows[now].sum()
    return total


def log_determinant_derivatives(design: ResidualDesign, rho: Numbers) -> Numbers:
    """(n_rho,) derivatives of log |R|."""
    now = design.kind == NOW
    derivatives = [2 * design.n[now & (design.stratum == s)].sum() for s in range(1, len(design.strata))]
    if design.serial:
        phi = autocorrelation(design, rho)
        steps = np.maximum(design.gap, 1.0)
        slope = -2 * steps * phi ** (2 * steps - 1) / (1 - phi ** (2 * steps)) * (1 - phi**2)
        derivatives.append((design.n * np.where(design.gap > 0, slope, 0.0))[now].sum())
    return np.array(derivatives, dtype=rho.dtype)


def weighted_products(design: ResidualDesign, rho: Numbers) -> Numbers:
    """``P(rho)``, (m, m, cells)."""
    products: Numbers = np.einsum("c,cijk->ijk", weights(design, rho), design.products)
    return products
