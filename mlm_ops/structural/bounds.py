"""The bounds of a search: covariance matrices of parameters are positive semi-definite."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlm_ops.structural.likelihood import Likelihood
from mlm_ops.structural.matrices import LevelStructure

Array = NDArray[np.float64]


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


def lone_variances(likelihood: Likelihood, theta: Array, free: NDArray[np.bool_], most: float) -> dict[int, float]:
    """Free variances below `most` of their variable's whole variance, of variables without free covariances."""
    found: dict[int, float] = {}
    statistics = likelihood.statistics
    p = statistics.n_row_level
    for structure, moments in zip(likelihood.structure.levels, likelihood.structure.moments(theta), strict=True):
        cells = structure.symmetric
        whole = np.abs(np.diag(moments.covariance))
        rows = structure.position[structure.position < p]
        whole[: len(structure.position)][structure.position < p] += np.diag(statistics.pooled_within)[rows]
        bound = {
            int(v)
            for r, c, i in zip(cells.row, cells.col, cells.index, strict=True)
            if r != c and i >= 0
            for v in (r, c)
        }
        for row, col, index in zip(cells.row, cells.col, cells.index, strict=True):
            if row == col and index >= 0 and free[index] and int(row) not in bound:
                share = float(theta[index] / whole[row])
                if share < most:
                    found[int(index)] = share
    return found


def without_effect(likelihood: Likelihood, theta: Array, free: NDArray[np.bool_]) -> NDArray[np.bool_]:
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
