"""Empirical Bayes estimates (BLUPs, conditional modes) of random effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.stacked import unit_cholesky, unit_inverse
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.sums import lower_by_rows

#: Columns of a unit, each of length one, are dependent where the least eigenvalue of their products is smaller:
#: what is zero comes out below 1e-13, and what is larger leaves six digits.
_DEPENDENT = 1e-10


@dataclass(frozen=True)
class RandomEffects:
    """Random effects of one block; J units as in the design's labels, q effects.

    Attributes
    ----------
    estimate
        (q, J) conditional means given the outcome and the estimated parameters.
    variance
        (q, q, J) conditional covariance matrices, without the uncertainty of the fixed effects.
    reliability
        (q, J) ``1 - conditional variance / variance``; not a number where the variance is zero. Raudenbush and Bryk
        (2002), eq. 3.44.
    """

    estimate: Array
    variance: Array
    reliability: Array


def random_effects(estimate: Estimate) -> list[RandomEffects]:
    """Empirical Bayes estimates on the user's scale.

    Returns
    -------
    list of RandomEffects
        One a block, in the order of `Estimate.blocks`.
    """
    solution = estimate.optimum.solution
    modes = estimate.criterion.engine.modes(solution.trace, solution.beta)
    effects = []
    for block, placed, tau in zip(estimate.blocks, estimate.criterion.blocks, estimate.tau, strict=True):
        mean, relative = (part[placed.effects] for part in modes[placed.level])
        covariance = solution.sigma2 * relative[:, placed.effects]
        variance = np.einsum("ac,cdj,bd->abj", block.transform, covariance, block.transform)
        total = np.diag(tau)[:, None]
        # tau has no rounding left; where it is zero the modes would be what the search left of theta, such as 1e-39
        is_zero = np.diag(tau) == 0
        modes_of_block = np.where(is_zero[:, None], 0.0, block.transform @ mean)
        variance = np.where((is_zero[:, None] | is_zero)[:, :, None], 0.0, variance)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.einsum("aaj->aj", variance) / total
            reliability = np.where(total > 0, np.maximum(1 - share, 0.0), np.nan)
        effects.append(RandomEffects(modes_of_block, variance, reliability))
    return effects


@dataclass(frozen=True)
class Reliability:
    """Reliability of the units' own least-squares coefficients for the effects of one block.

    Attributes
    ----------
    mean
        (q,) mean over the units that have least squares of their own; not a number where there are none.
    units
        How many these are.
    """

    mean: Array
    units: int


def least_squares_reliability(estimate: Estimate) -> list[Reliability | None]:
    """Reliability of each random coefficient as HLM reports it: Raudenbush and Bryk (2002), chapter 3.

    The mean over units of ``tau_qq / (tau_qq + v_qqj)``, where ``v_qqj`` is the sampling variance of the unit's own
    least-squares coefficient, ``sigma2 (Z_j' Z_j)^-1``, Z_j having the columns whose coefficients vary over the factor.
    A unit in which these columns are linearly dependent has no such coefficient and does not count. With several
    effects it differs from the mean of `RandomEffects.reliability`, which uses the other effects too, and
    every unit.

    Returns
    -------
    list
        One a block, in the order of `Estimate.blocks`; None for factors above the lowest and for crossed ones, whose
        units have no least squares of their own.
    """
    levels, design = estimate.design.levels, estimate.design
    lowest = levels[0].blocks if levels and design.nested else ()
    reliabilities: list[Reliability | None] = []
    if lowest:
        inverse = _inverses(_unit_products(estimate))
        first, units = 0, inverse.shape[2]
        for block, tau in zip(lowest, estimate.tau, strict=False):
            own = slice(first, first + len(block.columns))
            first = own.stop
            v = estimate.scaled_sigma2 * np.einsum("ac,cdj,ad->aj", block.transform, inverse[own, own], block.transform)
            variance = np.diag(tau)[:, None]
            means = (variance / (variance + v)).mean(axis=1) if units else np.full(len(tau), np.nan)
            reliabilities.append(Reliability(means, units))
    return [*reliabilities, *[None] * (len(estimate.blocks) - len(reliabilities))]


def _unit_products(estimate: Estimate) -> Array:
    """(q, q, J) cross-products of the columns that vary over the lowest factor, in each of its units."""
    lowest = estimate.design.levels[0]
    q = sum(len(block.columns) for block in lowest.blocks)
    products = estimate.cross.block(slice(q), slice(q))
    if np.array_equal(lowest.codes, np.arange(len(lowest.labels))):
        return products
    rows = products.reshape(q * q, products.shape[2])
    sums = [np.bincount(lowest.codes, row, len(lowest.labels)) for row in rows]
    return np.array(sums, dtype=np.float64).reshape(q, q, len(lowest.labels))


def _inverses(products: Array) -> Array:
    """Inverses of (q, q, J) cross-products of columns, (q, q, units), of the units whose columns are independent."""
    q, places = len(products), lower_by_rows(len(products))
    scale = np.sqrt(np.einsum("aaj->aj", products))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = products / scale[:, None] / scale
    with np.errstate(divide="ignore", invalid="ignore"):
        lower, pivots = unit_cholesky([list(row[: i + 1]) for i, row in enumerate(scaled)])
        determinant = np.prod(pivots, axis=0)
    # the eigenvalues but the least have the mean q / (q - 1) at most, and their product is below e
    independent = determinant > np.e * _DEPENDENT
    if not independent.all():
        others = np.flatnonzero(~independent)
        least = np.linalg.eigvalsh(np.moveaxis(scaled[:, :, others], 2, 0))[:, 0]
        independent[others] = least > _DEPENDENT
        lower, pivots = [[e[independent] for e in row] for row in lower], [pivot[independent] for pivot in pivots]
        scale = scale[:, independent]
    inverse = np.empty((q, q, int(independent.sum())))
    inverse[places] = inverse[places[1], places[0]] = unit_inverse(lower, pivots)
    return np.asarray(inverse / scale[:, None] / scale)
