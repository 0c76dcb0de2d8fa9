"""Keep covariance matrices of parameters positive semi-definite: the search's barrier, and parameters on its bounds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array, Flags
from mlm_ops.structural.algebra.matrices import LevelStructure, SemStructure
from mlm_ops.structural.likelihood.criterion import SemCriterion

#: A variable with less than this share of the square of a direction without variance has no part in it.
_PART = 1e-2


def least_eigenvalue(likelihood: SemCriterion, theta: Array) -> float:
    """The least eigenvalue of both levels' S, scaled to unit variances."""
    least = math.inf
    for _, _, spread in _spreads(likelihood, theta):
        scale = np.sqrt(np.maximum(np.abs(np.diag(spread)), 1e-300))
        if len(spread):
            least = min(least, float(np.linalg.eigvalsh(spread / np.outer(scale, scale))[0]))
    return least


def log_barrier(likelihood: SemCriterion, theta: Array) -> tuple[float, Array, Array]:
    """``-log |S|`` of both levels, its gradient and Hessian by the parameters; infinite outside."""
    k = len(theta)
    value, gradient, hessian = 0.0, np.zeros(k), np.zeros((k, k))
    for structure, places, spread in _spreads(likelihood, theta):
        try:
            factor = np.linalg.cholesky(spread)
        except np.linalg.LinAlgError:
            return math.inf, gradient, hessian
        value -= 2 * float(np.log(np.diag(factor)).sum())
        inverse = np.linalg.inv(factor)
        inverse = inverse.T @ inverse
        at = {int(v): i for i, v in enumerate(places)}
        directions = np.zeros((k, len(places), len(places)))
        cells = structure.symmetric
        for row, col, index in zip(cells.row, cells.col, cells.index, strict=True):
            if index >= 0 and int(row) in at and int(col) in at:
                directions[index, at[int(row)], at[int(col)]] = directions[index, at[int(col)], at[int(row)]] = 1.0
        product = inverse @ directions
        gradient -= np.einsum("kii->k", product)
        hessian += np.einsum("kij,lji->kl", product, product)
    return value, gradient, hessian


def unit_shares(likelihood: SemCriterion, theta: Array) -> tuple[Array, ...]:
    """Share of a column's whole variance that a variance of one accounts for, for each level's variables.

    A measure that is the same in all units of the data. A random slope accounts for what its predictor's variance makes
    of it. A latent variable with a fixed loading is measured by the
    column of that loading, whose units it has; another by the largest share that its total effects have.

    Returns
    -------
    within, between
        (v,) each; NaN for a variable without any effect on a column. Of several groups those of each in turn.
    """
    pairs = zip(likelihood.structure.parts, likelihood.statistics.by_group, strict=True)
    return tuple(
        shares
        for (structure, places), statistics in pairs
        for shares in _unit_shares(structure, np.asarray(statistics.column_variances), theta[places])
    )


def _unit_shares(group: SemStructure, whole: Array, theta: Array) -> list[Array]:
    if group.slopes:
        directions, _ = group.directions(theta)
        predictors = [predictor for _, predictor in group.slopes]
        shares = (directions**2 / whole[: len(directions), None]).max(axis=0) * whole[predictors]
        whole = np.concatenate([whole, 1 / np.where(shares > 0, shares, 1.0)])
    by_level = []
    for structure, moments in zip(group.levels, group.moments(theta), strict=True):
        size = structure.n_observed
        effects = moments.effects[:size]
        share = (effects**2 / whole[structure.position][:, None]).max(axis=0, initial=0.0)
        arrows = structure.arrows
        fixed = (arrows.index < 0) & (arrows.value != 0) & (arrows.row < size) & (arrows.col >= size)
        for row, col, value in zip(arrows.row[fixed], arrows.col[fixed], arrows.value[fixed], strict=True):
            share[col] = value**2 / whole[structure.position[row]]
        by_level.append(np.where(share > 0, share, np.nan))
    return by_level


def small_variances(
    likelihood: SemCriterion, theta: Array, free: Flags, most: float, *, lone: bool = False
) -> dict[int, float]:
    """Free variances that are below `most` as shares of their columns' whole variance, in every place they have.

    Parameters
    ----------
    lone
        Only variances of variables without free covariances.
    """
    by_index: dict[int, float] = {}
    covarying_indices: set[int] = set()
    for structure, shares in zip(likelihood.structure.levels, unit_shares(likelihood, theta), strict=True):
        cells = structure.symmetric
        covarying_variables = {
            int(v)
            for r, c, i in zip(cells.row, cells.col, cells.index, strict=True)
            if r != c and i >= 0
            for v in (r, c)
        }
        for row, col, index in zip(cells.row, cells.col, cells.index, strict=True):
            if row == col and index >= 0 and free[index]:
                share = float(theta[index] * shares[row])
                by_index[int(index)] = max(share if share == share else math.inf, by_index.get(int(index), -math.inf))
                covarying_indices |= {int(index)} if int(row) in covarying_variables else set()
    return {i: share for i, share in by_index.items() if share < most and not (lone and i in covarying_indices)}


def on_the_boundary(likelihood: SemCriterion, theta: Array, tolerance: float) -> tuple[bool, Flags]:
    """Whether a level's S is of deficient rank, and the free variances and covariances that take part in it.

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
    for (structure, places, spread), shares in zip(
        _spreads(likelihood, theta), unit_shares(likelihood, theta), strict=True
    ):
        own = np.where(np.isnan(shares[places]), 1 / np.maximum(np.abs(np.diag(spread)), 1e-300), shares[places])
        values, vectors = np.linalg.eigh(spread * np.sqrt(np.outer(own, own)))
        null = vectors[:, values < tolerance]
        deficient |= bool(null.shape[1])
        parts = np.zeros(len(structure.names), dtype=bool)
        parts[places] = (null**2).sum(axis=1) > _PART
        cells = structure.symmetric
        flags[cells.index[(cells.index >= 0) & (parts[cells.row] | parts[cells.col])]] = True
    return deficient, flags


def covariances_without_variance(likelihood: SemCriterion, free: Flags) -> Flags:
    """Free covariances of variables whose variance is held at zero, or fixed to it."""
    flags = np.zeros(len(free), dtype=bool)
    for structure in likelihood.structure.levels:
        cells = structure.symmetric
        own = cells.row == cells.col
        cell_is_zero = (
            np.where(cells.index >= 0, ~free[cells.index], cells.value == 0.0) if len(free) else cells.value == 0.0
        )
        zero = set(cells.row[own & cell_is_zero].tolist())
        for row, col, index in zip(cells.row, cells.col, cells.index, strict=True):
            if row != col and index >= 0 and (int(row) in zero or int(col) in zero):
                flags[index] = True
    return flags & free


def arrows_without_effect(likelihood: SemCriterion, theta: Array, free: Flags) -> Flags:
    """Free arrows that leave a variable which does not vary: nothing determines them."""
    flags = np.zeros(len(theta), dtype=bool)
    for structure, moments in zip(likelihood.structure.levels, likelihood.structure.moments(theta), strict=True):
        constant = np.abs(np.diag(moments.covariance)) < 1e-300
        arrows = structure.arrows
        idle = (arrows.index >= 0) & constant[arrows.col]
        # an arrow whose coefficient is shared with another place is determined there
        for index in set(arrows.index[idle].tolist()):
            flags[index] = bool(idle[arrows.index == index].all())
    return flags & free


def _spreads(likelihood: SemCriterion, theta: Array) -> list[tuple[LevelStructure, NDArray[np.int64], Array]]:
    """Each level's S over the variables that have a variance, and those variables."""
    spreads = []
    for structure, moments in zip(likelihood.structure.levels, likelihood.structure.moments(theta), strict=True):
        cells = structure.symmetric
        own = cells.row == cells.col
        zero = {int(r) for r, i, v in zip(cells.row, cells.index, cells.value, strict=True) if i < 0 and v == 0.0}
        zero &= {int(r) for r in cells.row[own & (cells.index < 0)]}
        places = np.array(sorted(set(cells.row[own].tolist()) - zero), dtype=np.int64)
        spreads.append((structure, places, moments.spread[np.ix_(places, places)]))
    return spreads
