"""Nested random effects, eliminated level by level from moments; and the derivatives, by the reverse sweep.

In every unit of the lowest level stand the cross-products P = [[A, B], [B', C]] of its random columns Z and all other
columns ``[Z_2 | … | X y]``. Eliminating Z leaves the Schur complement ``S = C - B' M B`` with
``M = Lambda (I + Lambda' A Lambda)^-1 Lambda'`` and the determinant ``log |I + Lambda' A Lambda|``. Summed by parent,
S is the next level's P; above the top level it is ``W = [X y]' V^-1 [X y]`` (V relative to sigma2). The work is linear
in the number of units, and no row is touched. (Bates and DebRoy 2004 do the same by rows; the algebra is that of
Henderson's equations.)

Units stand last in every array, so that each operation is one pass over contiguous memory; sums over all units are
matrix products. With ``L L' = I + Lambda' A Lambda``, ``R = L^-1 Lambda' B`` and ``P = L^-1 Lambda' A``:
``B' M B = R' R``, ``A M B = P' R`` and ``A M A = P' P``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.stacked import cholesky, inverse, left, minus_products, solve_lower, solve_upper
from mlm_ops.moments.products import CrossProducts

Array = NDArray[Any]
"""Float, or complex where an exact derivative is taken along the imaginary axis."""


@dataclass(frozen=True)
class Rung:
    """One level of the nest: J units of q random effects.

    Attributes
    ----------
    size
        q.
    starts
        (J_parent,) where the units of each parent begin, the units being in the order of their parents.
    parents
        (J,) the parent of each unit.
    """

    size: int
    starts: NDArray[np.int64]
    parents: NDArray[np.int64]


@dataclass(frozen=True)
class Nest:
    """The cross-products of a model with nested random effects.

    Attributes
    ----------
    rungs
        Lowest first.
    a, b
        (q, q, J) and (q, r, J): cross-products of the lowest level's random columns with themselves and the others.
    c
        (r, r, J_parent): cross-products of the other columns, summed by parent.
    """

    rungs: tuple[Rung, ...]
    a: Array
    b: Array
    c: Array


@dataclass(frozen=True)
class Elimination:
    """What eliminating one level leaves behind for the derivatives, computed when first asked for.

    Attributes
    ----------
    lam
        (q, q) Lambda.
    a, b
        (q, q, J), (q, r, J) the level's cross-products.
    chol
        L, as rows of (J,) elements.
    r
        (q, r, J) R.
    """

    rung: Rung
    lam: Array
    a: Array
    b: Array
    chol: list[list[Array]]
    r: Array

    @cached_property
    def _p(self) -> Array:
        return solve_lower(self.chol, left(self.lam.T, self.a))

    @cached_property
    def zz(self) -> Array:
        """``Z' V^-1 Z = A - A M A``, (q, q, J), V being that of the level and those below."""
        return minus_products(self.a, self._p, self._p)

    @cached_property
    def zx(self) -> Array:
        """``Z' V^-1 [Z above | X y] = B - A M B``, (q, r, J)."""
        return minus_products(self.b, self._p, self.r)

    @cached_property
    def sum_zz(self) -> Array:
        """(q, q): sum of ``Z' V^-1 Z`` over the units."""
        total: Array = self.zz.sum(axis=2)
        return total

    @cached_property
    def pairs_zz(self) -> Array:
        """(q, q, q, q): sum over the units of ``(Z' V^-1 Z)_ab (Z' V^-1 Z)_cd``."""
        q = len(self.lam)
        flat = self.zz.reshape(q * q, -1)
        return (flat @ flat.T).reshape(q, q, q, q)

    @cached_property
    def pairs_zx(self) -> Array:
        """(q, r, q, r): sum over the units of ``(Z' V^-1 X)_ar (Z' V^-1 X)_bs``, X being all columns of `zx`."""
        flat = self.zx.reshape(-1, self.zx.shape[2])
        return (flat @ flat.T).reshape(*self.zx.shape[:2], *self.zx.shape[:2])

    @property
    def m(self) -> Array:
        """(q, q, J) M: the relative covariance of the unit's random effects given the data."""
        return np.asarray(np.einsum("ac,cdj,bd->abj", self.lam, inverse(self.chol), self.lam))

    @property
    def mb(self) -> Array:
        """(q, r, J) ``M B``: the empirical Bayes effects, a column of the data each."""
        return left(self.lam, solve_upper(self.chol, self.r))


def build_nest(
    cross: CrossProducts, sizes: Sequence[int], codes: Sequence[NDArray[np.int64]], top: NDArray[np.int64] | None = None
) -> tuple[Nest, list[Any]]:
    """Lay out cross-products for elimination.

    Parameters
    ----------
    cross
        Cross-products of the m columns ``[Z_1 | Z_2 | … | X y]`` in the J units of the lowest level.
    sizes
        Random effects q of a unit, lowest level first.
    codes
        (J,) the unit of each level that each lowest unit lies in, for each level.
    top
        (J,) by what the last Schur complements are summed; without it over everything.

    Returns
    -------
    nest, orders
        The nest, and for each level the permutation that sorts its units by parent.
    """
    if top is None:
        top = np.zeros(cross.cells, dtype=np.int64)
    firsts = [np.unique(here, return_index=True)[1] for here in codes]
    parents = [above[first] for above, first in zip([*codes[1:], top], firsts, strict=False)]
    rungs, orders = [], []
    # units of each level are put in the order of their parents, so that sums by parent are sums of slices
    rank = None
    for size, parent in reversed(list(zip(sizes, parents, strict=True))):
        above = parent if rank is None else rank[parent]
        order = np.argsort(above, kind="stable")
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        sorted_parents = above[order]
        starts = np.flatnonzero(np.diff(sorted_parents, prepend=-1))
        rungs.append(Rung(size, starts, sorted_parents))
        orders.append(order)
    rungs.reverse()
    orders.reverse()
    if not rungs:
        none = np.empty((0, 0, cross.cells))
        return Nest((), none, none, cross.total[:, :, None]), []
    if not (orders[0] == np.arange(cross.cells)).all():
        cross = replace(cross, elements=cross.elements[:, orders[0]])
    own, rest, starts = slice(0, rungs[0].size), slice(rungs[0].size, None), rungs[0].starts
    one_parent = len(starts) == 1
    c = cross.total[rest, rest, None] if one_parent else np.add.reduceat(cross.block(rest, rest), starts, axis=2)
    return Nest(tuple(rungs), cross.block(own, own), cross.block(own, rest), c), orders


def eliminate(nest: Nest, lams: Sequence[Array]) -> tuple[Array, Any, list[Elimination]]:
    """Eliminate all levels.

    Parameters
    ----------
    lams
        (q, q) Lambda of each level, lowest first.

    Returns
    -------
    w, log_determinant, eliminations
        (r, r) ``[X y]' V^-1 [X y]``; ``log |V|``; the trace for `pull_back`.
    """
    schur, log_determinants, trace = eliminate_below(nest, lams)
    return schur[:, :, 0], sum(own.sum() for own in log_determinants), trace


def eliminate_below(nest: Nest, lams: Sequence[Array]) -> tuple[Array, list[Array], list[Elimination]]:
    """Eliminate all levels, and keep apart what lies in different units of the nest's top.

    Returns
    -------
    schur, log_determinants, eliminations
        (r, r, J_top) ``[X y]' V^-1 [X y]`` of each; (J,) a level's share of ``log |V|`` in each of its units, lowest
        level first; the trace.
    """
    trace: list[Elimination] = []
    log_determinants: list[Array] = []
    a, b, c = nest.a, nest.b, nest.c
    for depth, (rung, lam) in enumerate(zip(nest.rungs, lams, strict=True)):
        chol = cholesky(_relative_precision(a, lam))
        log_determinants.append(2.0 * sum((np.log(chol[i][i]) for i in range(rung.size)), np.zeros(a.shape[2])))
        r = solve_lower(chol, left(lam.T, b))
        trace.append(Elimination(rung, lam, a, b, chol, r))
        schur = c - _products_by_parent(r, rung.starts)
        if depth + 1 < len(nest.rungs):
            q = nest.rungs[depth + 1].size
            upper = nest.rungs[depth + 1]
            a, b = schur[:q, :q], schur[:q, q:]
            c = np.add.reduceat(schur[q:, q:], upper.starts, axis=2)
        else:
            c = schur
    return c, log_determinants, trace


def _relative_precision(a: Array, lam: Array) -> Array:
    """``I + Lambda' A Lambda``, (q, q, J)."""
    result: Array = np.matmul(lam.T, left(lam.T, a))
    for i in range(len(lam)):
        result[i, i] += 1.0
    return result


def _products_by_parent(r: Array, starts: NDArray[np.int64]) -> Array:
    """``R' R`` summed by parent: (q, r, J) -> (r, r, J_parent)."""
    if len(starts) == 1:
        total: Array = np.add.reduce([effect @ effect.T for effect in r])
        return total[:, :, None]
    size = r.shape[1]
    result: Array = np.empty((size, size, len(starts)), dtype=r.dtype)
    for i in range(size):
        for j in range(i + 1):
            result[i, j] = result[j, i] = np.add.reduceat((r[:, i] * r[:, j]).sum(axis=0), starts)
    return result
