"""The bounds of a search: covariance matrices of parameters are positive semi-definite."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlm_ops.structural.likelihood import Likelihood
from mlm_ops.structural.matrices import LevelStructure

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Of a squared direction without variance: a variable with less of it is none that the boundary is about.
_PART = 1e-2


def _spreads(likelihood: Likelihood, theta: Array) -> list[tuple[LevelStructure, NDArray[np.int64], Array]]:
    """Each level's S over the variables that have a variance, and those variables."""
    found = []
    for structure, moments in zip(likelihood.structure.levels, likelihood.structure.moments(theta), strict=True):
        cells = structure.symmetric
        own = cells.row == cells.col
        zero = {int(r) for r, i, v in zip(cells.row, cells.index, cells.value, strict=True) if i < 0 and v == 0.0}
        zero &= {int(r) for r in cells.row[own & (cells.index < 0)]}
        kept = np.array(sorted(set(cells.row[own].tolist()) - zero), dtype=np.int64)
        found.append((structure, kept, moments.spread[np.ix_(kept, kept)]))
    return found


def least_eigenvalue(likelihood: Likelihood, theta: Array) -> float:
    """Of both levels' S, scaled to unit variances."""
    least = math.inf
    for _, _, spread in _spreads(likelihood, theta):
        scale = np.sqrt(np.maximum(np.abs(np.diag(spread)), 1e-300))
        if len(spread):
            least = min(least, float(np.linalg.eigvalsh(spread / np.outer(scale, scale))[0]))
    return least


def log_barrier(likelihood: Likelihood, theta: Array) -> tuple[float, Array, Array]:
    """``-log |S|`` of both levels, its gradient and Hessian by the parameters; infinite outside."""
    k = len(theta)
    value, gradient, hessian = 0.0, np.zeros(k), np.zeros((k, k))
    for structure, kept, spread in _spreads(likelihood, theta):
        try:
            factor = np.linalg.cholesky(spread)
        except np.linalg.LinAlgError:
            return math.inf, gradient, hessian
        value -= 2 * float(np.log(np.diag(factor)).sum())
        inverse = np.linalg.inv(factor)
        inverse = inverse.T @ inverse
        at = {int(v): i for i, v in enumerate(kept)}
        moved = np.zeros((k, len(kept), len(kept)))
        cells = structure.symmetric
        for row, col, index in zip(cells.row, cells.col, cells.index, strict=True):
            if index >= 0 and int(row) in at and int(col) in at:
                moved[index, at[int(row)], at[int(col)]] = moved[index, at[int(col)], at[int(row)]] = 1.0
        product = inverse @ moved
        gradient -= np.einsum("kii->k", product)
        hessian += np.einsum("kij,lji->kl", product, product)
    return value, gradient, hessian


def unit_shares(likelihood: Likelihood, theta: Array) -> tuple[Array, Array]:
    """Of each level's variables: the share of a column's whole variance that a variance of one accounts for.

    A measure that is the same in all units of the data. A latent variable with a fixed loading is measured by the
    column of that loading, whose units it has; another by the largest share that its total effects have.

    Returns
    -------
    within, between
        (v,) each; NaN for a variable without any effect on a column.
    """
    statistics = likelihood.statistics
    whole = np.maximum(np.diag(statistics.between_estimate), 0.0)
    whole[: statistics.n_row_level] += np.diag(statistics.pooled_within)
    found = []
    for structure, moments in zip(likelihood.structure.levels, likelihood.structure.moments(theta), strict=True):
        size = structure.n_observed
        effects = moments.effects[:size]
        share = (effects**2 / whole[structure.position][:, None]).max(axis=0)
        arrows = structure.arrows
        fixed = (arrows.index < 0) & (arrows.value != 0) & (arrows.row < size) & (arrows.col >= size)
        for row, col, value in zip(arrows.row[fixed], arrows.col[fixed], arrows.value[fixed], strict=True):
            share[col] = value**2 / whole[structure.position[row]]
        found.append(np.where(share > 0, share, np.nan))
    return found[0], found[1]


def small_variances(
    likelihood: Likelihood, theta: Array, free: Flags, most: float, *, lone: bool = False
) -> dict[int, float]:
    """Free variances that are below `most` as shares of their columns' whole variance, in every place they have.

    Parameters
    ----------
    lone
        Of variables without free covariances alone.
    """
    found: dict[int, float] = {}
    bound: set[int] = set()
    for structure, shares in zip(likelihood.structure.levels, unit_shares(likelihood, theta), strict=True):
        cells = structure.symmetric
        covarying = {
            int(v)
            for r, c, i in zip(cells.row, cells.col, cells.index, strict=True)
            if r != c and i >= 0
            for v in (r, c)
        }
        for row, col, index in zip(cells.row, cells.col, cells.index, strict=True):
            if row == col and index >= 0 and free[index]:
                share = float(theta[index] * shares[row])
                found[int(index)] = max(share if share == share else math.inf, found.get(int(index), -math.inf))
                bound |= {int(index)} if int(row) in covarying else set()
    return {i: share for i, share in found.items() if share < most and not (lone and i in bound)}


def on_the_boundary(likelihood: Likelihood, theta: Array, tolerance: float) -> tuple[bool, Flags]:
    """Whether a level's S is of deficient rank, and the free variances and covariances that this is about.

    Parameters
    ----------
    tolerance
        Eigenvalues of S below this are zero, S in shares of the columns' whole variance.

    Returns
    -------
    deficient, flags
        And (k,): parameters of variables that have a hundredth or more of the square of a direction without variance.
    """
    flags = np.zeros(len(theta), dtype=bool)
    deficient = False
    for (structure, kept, spread), shares in zip(
        _spreads(likelihood, theta), unit_shares(likelihood, theta), strict=True
    ):
        own = np.where(np.isnan(shares[kept]), 1 / np.maximum(np.abs(np.diag(spread)), 1e-300), shares[kept])
        values, vectors = np.linalg.eigh(spread * np.sqrt(np.outer(own, own)))
        null = vectors[:, values < tolerance]
        deficient |= bool(null.shape[1])
        parts = np.zeros(len(structure.names), dtype=bool)
        parts[kept] = (null**2).sum(axis=1) > _PART
        cells = structure.symmetric
        flags[cells.index[(cells.index >= 0) & (parts[cells.row] | parts[cells.col])]] = True
    return deficient, flags


def without_variance(likelihood: Likelihood, free: Flags) -> Flags:
    """Free covariances of variables whose variance is held at zero, or fixed to it."""
    found = np.zeros(len(free), dtype=bool)
    for structure in likelihood.structure.levels:
        cells = structure.symmetric
        own = cells.row == cells.col
        held = np.where(cells.index >= 0, ~free[cells.index], cells.value == 0.0) if len(free) else cells.value == 0.0
        zero = set(cells.row[own & held].tolist())
        for row, col, index in zip(cells.row, cells.col, cells.index, strict=True):
            if row != col and index >= 0 and (int(row) in zero or int(col) in zero):
                found[index] = True
    return found & free


def without_effect(likelihood: Likelihood, theta: Array, free: Flags) -> Flags:
    """Free arrows that leave a variable which does not vary: nothing determines them."""
    found = np.zeros(len(theta), dtype=bool)
    for structure, moments in zip(likelihood.structure.levels, likelihood.structure.moments(theta), strict=True):
        still = np.abs(np.diag(moments.covariance)) < 1e-300
        arrows = structure.arrows
        chosen = (arrows.index >= 0) & still[arrows.col]
        # an arrow whose coefficient is shared with another place is determined there
        for index in set(arrows.index[chosen].tolist()):
            found[index] = bool(chosen[arrows.index == index].all())
    return found & free
