"""Nested random effects, eliminated level by level from moments; and the derivatives, by the reverse sweep.

In every unit of the lowest level stand the cross-products P = [[A, B], [B', C]] of its random columns Z and all other
columns ``[Z_2 | … | X y]``. Eliminating Z leaves the Schur complement ``S = C - B' M B`` with
``M = Lambda (I + Lambda' A Lambda)^-1 Lambda'`` and the determinant ``log |I + Lambda' A Lambda|``. Summed by parent,
S is the next level's P; above the top level it is ``W = [X y]' V^-1 [X y]`` (V relative to sigma2). The work is linear
in the number of units, and no row is touched. (Bates and DebRoy 2004 do the same by rows; the algebra is that of
Henderson's equations.)

Units stand last in every array, so that each operation is one pass over contiguous memory; sums over all units are
matrix products. With ``L L' = I + Lambda' A Lambda``, ``R = L^-1 Lambda' B`` and ``U = L^-T R``:
``B' M B = R' R`` and ``M B = Lambda U``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    """What eliminating one level leaves behind for the derivatives.

    Attributes
    ----------
    lam
        (q, q) Lambda.
    a, b
        (q, q, J), (q, r, J) the level's cross-products.
    inverse
        (q, q, J) ``(I + Lambda' A Lambda)^-1``.
    u
        (q, r, J) ``Lambda^-1 M B``: the empirical Bayes effects in units of Lambda, a column of the data each.
    """

    rung: Rung
    lam: Array
    a: Array
    b: Array
    inverse: Array
    u: Array


def build_nest(products: Array, sizes: Sequence[int], parents: Sequence[NDArray[np.int64]]) -> tuple[Nest, list[Any]]:
    """Lay out cross-products for elimination.

    Parameters
    ----------
    products
        (m, m, J) cross-products of ``[Z_1 | Z_2 | … | X y]`` in the units of the lowest level.
    sizes
        Random effects q of a unit, lowest level first.
    parents
        (J_level,) parent of each unit in the next level, for each level.

    Returns
    -------
    nest, orders
        The nest, and for each level the permutation that sorts its units by parent.
    """
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
        return Nest((), products[:0, :0], products[:0], products.sum(axis=2, keepdims=True)), []
    q = rungs[0].size
    if not (orders[0] == np.arange(products.shape[2])).all():
        products = products[:, :, orders[0]]
    c = np.add.reduceat(products[q:, q:], rungs[0].starts, axis=2)
    nest = Nest(tuple(rungs), np.ascontiguousarray(products[:q, :q]), np.ascontiguousarray(products[:q, q:]), c)
    return nest, orders


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
    trace: list[Elimination] = []
    log_determinant: Any = 0.0
    a, b, c = nest.a, nest.b, nest.c
    for depth, (rung, lam) in enumerate(zip(nest.rungs, lams, strict=True)):
        chol = _cholesky(_relative_precision(a, lam))
        log_determinant += 2.0 * sum(np.log(chol[i][i]).sum() for i in range(rung.size))
        r = _solve_lower(chol, _left(lam.T, b))
        trace.append(Elimination(rung, lam, a, b, _inverse(chol), _solve_upper(chol, r)))
        schur = c - _products_by_parent(r, rung.starts)
        if depth + 1 < len(nest.rungs):
            q = nest.rungs[depth + 1].size
            upper = nest.rungs[depth + 1]
            a, b = schur[:q, :q], schur[:q, q:]
            c = np.add.reduceat(schur[q:, q:], upper.starts, axis=2)
        else:
            c = schur
    return c[:, :, 0], log_determinant, trace


def pull_back(trace: Sequence[Elimination], w_bar: Array, log_determinant_bar: float = 1.0) -> list[Array]:
    """Derivatives by each Lambda of ``f(W, log |V|)``.

    Parameters
    ----------
    w_bar
        (r, r) symmetric derivative of f by W.
    log_determinant_bar
        Derivative of f by log |V|.

    Returns
    -------
    list of Array
        (q, q) derivatives, all elements of Lambda taken as free, lowest level first.
    """
    return [2.0 * half for half in _sweep(trace, w_bar, log_determinant_bar, by_covariance=False)]


def pull_back_to_covariance(trace: Sequence[Elimination], w_bar: Array) -> list[Array]:
    """Derivatives of ``f(W, log |V|)`` by each ``T / sigma2 = Lambda Lambda'``, (q, q) and symmetric."""
    return _sweep(trace, w_bar, 1.0, by_covariance=True)


def _sweep(trace: Sequence[Elimination], w_bar: Array, weight: float, *, by_covariance: bool) -> list[Array]:
    s_bar = w_bar[:, :, None]
    found: list[Array] = []
    for step in reversed(trace):
        parents = step.rung.parents
        us = _times_by_parent(step.u, s_bar, parents)
        # U S_bar U' + (I + Lambda' A Lambda)^-1, the part of the adjoint that meets A
        inner = weight * step.inverse + np.einsum("irj,krj->ikj", us, step.u)
        if by_covariance:
            al = _left(step.lam.T, step.a).transpose(1, 0, 2)
            q = step.b - np.einsum("acj,crj->arj", al, step.u)
            reduced = step.a - np.einsum("acj,cdj,bdj->abj", al, step.inverse, al)
            found.append(weight * reduced.sum(axis=2) - np.einsum("arj,brj->ab", _times_by_parent(q, s_bar, parents), q))
        else:
            q = len(step.lam)
            ap = _left(step.lam.T, step.a).transpose(1, 0, 2)
            found.append(np.einsum("acj,cdj->ad", ap, inner) - step.b.reshape(q, -1) @ us.reshape(q, -1).T)
        if step is not trace[0]:
            corner = np.einsum("ac,cdj,bd->abj", step.lam, inner, step.lam)
            side = -np.einsum("ac,crj->arj", step.lam, us)
            here = np.broadcast_to(s_bar, (*s_bar.shape[:2], len(parents))) if s_bar.shape[2] == 1 else s_bar[:, :, parents]
            upper, lower = np.concatenate((corner, side), axis=1), np.concatenate((side.transpose(1, 0, 2), here), axis=1)
            s_bar = np.concatenate((upper, lower))
    found.reverse()
    return found


def _relative_precision(a: Array, lam: Array) -> Array:
    """``I + Lambda' A Lambda``, (q, q, J)."""
    result = np.matmul(lam.T, _left(lam.T, a))
    for i in range(len(lam)):
        result[i, i] += 1.0
    return result


def _left(small: Array, stack: Array) -> Array:
    """``small @ stack`` over the first axis: (s, q), (q, r, J) -> (s, r, J), one matrix product without copies."""
    return (small @ stack.reshape(len(stack), -1)).reshape(len(small), *stack.shape[1:])


def _cholesky(matrix: Array) -> list[list[Array]]:
    """Lower Cholesky factor of (q, q, J) matrices, as rows of (J,) elements."""
    chol: list[list[Array]] = []
    for i in range(len(matrix)):
        row: list[Array] = []
        for j in range(i + 1):
            value = matrix[i, j].copy()
            for k in range(j):
                value -= row[k] * (chol[j][k] if j < i else row[k])
            row.append(np.sqrt(value) if i == j else value / chol[j][j])
        chol.append(row)
    return chol


def _solve_lower(chol: list[list[Array]], right: Array) -> Array:
    """``L^-1 right`` for right (q, r, J), in place."""
    for i, row in enumerate(chol):
        for k in range(i):
            right[i] -= row[k] * right[k]
        right[i] /= row[i]
    return right


def _solve_upper(chol: list[list[Array]], right: Array) -> Array:
    """``L^-T right`` for right (q, r, J)."""
    result = right.copy()
    for i in reversed(range(len(chol))):
        for k in range(i + 1, len(chol)):
            result[i] -= chol[k][i] * result[k]
        result[i] /= chol[i][i]
    return result


def _inverse(chol: list[list[Array]]) -> Array:
    """``(L L')^-1``, (q, q, J)."""
    q, units = len(chol), len(chol[0][0])
    identity = np.zeros((q, q, units), dtype=chol[0][0].dtype)
    for i in range(q):
        identity[i, i] = 1.0
    return _solve_upper(chol, _solve_lower(chol, identity))


def _products_by_parent(r: Array, starts: NDArray[np.int64]) -> Array:
    """``R' R`` summed by parent: (q, r, J) -> (r, r, J_parent)."""
    if len(starts) == 1:
        return sum(effect @ effect.T for effect in r)[:, :, None]
    size = r.shape[1]
    result = np.empty((size, size, len(starts)), dtype=r.dtype)
    for i in range(size):
        for j in range(i + 1):
            result[i, j] = result[j, i] = np.add.reduceat((r[:, i] * r[:, j]).sum(axis=0), starts)
    return result


def _times_by_parent(u: Array, s_bar: Array, parents: NDArray[np.int64]) -> Array:
    """``U S_bar``, each unit with its parent's S_bar: (q, r, J), (r, r, J_parent) -> (q, r, J)."""
    if s_bar.shape[2] == 1:
        return np.matmul(s_bar[:, :, 0].T, u)
    result = np.zeros(u.shape, dtype=np.result_type(u, s_bar))
    for i in range(u.shape[1]):
        for k in range(u.shape[1]):
            result[:, i] += u[:, k] * s_bar[k, i][parents]
    return result


def expected_information(trace: Sequence[Elimination]) -> list[Array]:
    """Leading term of the expected information of each ``vec(T / sigma2)``: the sum over units of ``T0 x T0``.

    ``T0 = Z' V^-1 Z = A - A M A`` with V of the level and those below; Searle, Casella and McCulloch (1992), sec. 8.3,
    for -2 log-likelihood. What REML and the profiled sigma2 take away is left out: it steers the steps, no result.

    Returns
    -------
    list of Array
        (q * q, q * q) for each level.
    """
    found = []
    for step in trace:
        al = _left(step.lam.T, step.a).transpose(1, 0, 2)
        t0 = step.a - np.einsum("acj,cdj,bdj->abj", al, step.inverse, al)
        flat = t0.reshape(-1, t0.shape[2])
        q = len(t0)
        products = (flat @ flat.T).reshape(q, q, q, q)
        # sum_j t0[a, c] t0[d, b] belongs to the pair of elements (a, b), (c, d) of dT
        found.append(products.transpose(0, 3, 1, 2).reshape(q * q, q * q))
    return found
