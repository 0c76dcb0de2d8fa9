"""Eliminate nested random effects level by level, from moments.

In every unit of the lowest level stand the cross-products P = [[A, B], [B', C]] of its random columns Z and all other
columns ``[Z_2 | … | X y]``. Eliminating Z leaves the Schur complement ``S = C - B' M B`` with
``M = Lambda (I + Lambda' A Lambda)^-1 Lambda'`` and the determinant ``log |I + Lambda' A Lambda|``. Summed by parent,
S is the next level's P; above the top level it is ``W = [X y]' V^-1 [X y]`` (V relative to sigma2). The work is linear
in the number of units, and no row is touched. (Bates and DebRoy 2004 do the same by rows; the algebra is that of
Henderson's equations.)

No difference of large numbers is ever taken: where groups differ a million times more than their rows, ``C - B' M B``
would have lost the rows' digits. With a unit's QR decomposition ``[Z | rest] = orthonormal [[R, Q], [0, E]]`` and
``L L' = I + R T R'``, ``S = E'E + (L^-1 Q)' (L^-1 Q)``: sums of squares. R, Q and ``E'E`` come from the scatter around
the units' means and these means (`split_off`); so do those of the levels above, from what the levels below left.

Units stand last in every array, so that each operation is one pass over contiguous memory; sums over all units are
matrix products. With ``P = L^-1 R``: ``Z' V^-1 Z = P'P`` and ``Z' V^-1 X = P' L^-1 Q``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.stacked import cholesky, inverse, premultiply, solve_lower, solve_upper
from mlm_ops.moments.arrays import Numbers

#: Units whose arrays, some forty numbers each, lie in a processor's cache.
CHUNK = 8192
#: A column with a smaller share of its mean square than this apart from those before it has none in that unit: it is
#: what rounding leaves of a column that is their combination.
_OWN_PART = 1e-14


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
    roots
        (q, q + r, J): ``[R | Q]`` of the lowest level's units.
    rest
        (r, r, J_parent): ``E'E``, cross-products of what the lowest level's columns leave of the others, summed by
        parent.
    """

    rungs: tuple[Rung, ...]
    roots: Numbers
    rest: Numbers

    @cached_property
    def a(self) -> Numbers:
        """(q, q, J) cross-products of the lowest level's random columns with themselves."""
        q = len(self.roots)
        return _products(self.roots[:, :q], self.roots[:, :q])

    @cached_property
    def b(self) -> Numbers:
        """(q, r, J): with the other columns."""
        q = len(self.roots)
        return _products(self.roots[:, :q], self.roots[:, q:])

    @cached_property
    def c(self) -> Numbers:
        """(r, r, J_parent): cross-products of the other columns, summed by parent."""
        if not self.rungs:
            return self.rest
        return self.rest + _squares_by_parent(self.roots[:, len(self.roots) :], self.rungs[0].starts)


@dataclass(frozen=True)
class Elimination:
    """What the elimination of one level computed that derivatives need, some of it when first used.

    Attributes
    ----------
    lam
        (q, q) Lambda.
    roots
        (q, q + r, J) ``[R | Q]`` of the level's units.
    r_lam
        (q, q, J) ``R Lambda``.
    chol
        L, as rows of (J,) elements.
    r
        (q, r, J) ``L^-1 Q``.
    """

    rung: Rung
    lam: Numbers
    roots: Numbers
    r_lam: Numbers
    chol: list[list[Numbers]]
    r: Numbers

    @cached_property
    def _p(self) -> Numbers:
        return solve_lower(self.chol, self.roots[:, : len(self.lam)])

    @cached_property
    def zz(self) -> Numbers:
        """``Z' V^-1 Z = A - A M A``, (q, q, J), V being that of the level and those below."""
        return _products(self._p, self._p)

    @cached_property
    def zx(self) -> Numbers:
        """``Z' V^-1 [Z above | X y] = B - A M B``, (q, r, J)."""
        return _products(self._p, self.r)

    @cached_property
    def sum_zz(self) -> Numbers:
        """(q, q): sum of ``Z' V^-1 Z`` over the units."""
        total: Numbers = self.zz.sum(axis=2)
        return total

    @cached_property
    def pairs_zz(self) -> Numbers:
        """(q, q, q, q): sum over the units of ``(Z' V^-1 Z)_ab (Z' V^-1 Z)_cd``."""
        q = len(self.lam)
        flat = self.zz.reshape(q * q, -1)
        return (flat @ flat.T).reshape(q, q, q, q)

    @cached_property
    def pairs_zx(self) -> Numbers:
        """(q, r, q, r): sum over the units of ``(Z' V^-1 X)_ar (Z' V^-1 X)_bs``, X being all columns of `zx`."""
        flat = self.zx.reshape(-1, self.zx.shape[2])
        return (flat @ flat.T).reshape(*self.zx.shape[:2], *self.zx.shape[:2])

    def weighted_pairs(self, w_bar: Numbers) -> Numbers:
        """(q, q, q, q): sum over the units of ``(Q W_bar Q')_ab (Z' V^-1 Z)_cd`` with ``Q = Z' V^-1 X``."""
        q = len(self.lam)
        weighted = np.matmul(w_bar, self.zx)
        h = np.empty_like(self.zz)
        for a in range(q):
            for b in range(a + 1):
                h[a, b] = h[b, a] = np.einsum("rj,rj->j", weighted[a], self.zx[b])
        return np.asarray(h.reshape(q * q, -1) @ self.zz.reshape(q * q, -1).T).reshape(q, q, q, q)

    @cached_property
    def m(self) -> Numbers:
        """(q, q, J) M: the relative covariance of the unit's random effects given the data."""
        # (I + Lambda' A Lambda)^-1 itself: as I - ... it would be a difference
        precision = _products(self.r_lam, self.r_lam)
        _add_identity(precision)
        return np.asarray(np.einsum("ac,cdj,bd->abj", self.lam, inverse(cholesky(precision)), self.lam))

    @cached_property
    def mb(self) -> Numbers:
        """(q, r, J) ``M B``: the empirical Bayes effects, a column of the data each."""
        return premultiply(self.lam, _products(self.r_lam, solve_upper(self.chol, self.r)))


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
    firsts = [np.unique(level_codes, return_index=True)[1] for level_codes in codes]
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
        if len(starts) == 1:  # one number in memory
            sorted_parents = np.broadcast_to(sorted_parents[:1].copy(), sorted_parents.shape)
        rungs.append(Rung(size, starts, sorted_parents))
        orders.append(order)
    rungs.reverse()
    orders.reverse()
    if not rungs:
        return Nest((), np.empty((0, 0, cross.cells)), cross.total[:, :, None]), []
    if not (orders[0] == np.arange(cross.cells)).all():
        cross = cross.take(orders[0])
    return Nest(tuple(rungs), *_roots_of_cells(cross, rungs[0])), orders


def _roots_of_cells(cross: CrossProducts, rung: Rung) -> tuple[Numbers, Numbers]:
    """``[R | Q]`` and ``E'E`` of the lowest level, as `split_off` has them."""
    inside = cross.around_means or cross
    own, others = slice(0, rung.size), slice(rung.size, None)
    m, kind = cross.combination.shape[1], cross.kind
    if len(rung.starts) > 1:
        rest = _by_parent(inside.block(others, others), rung.starts)
        return split_off(inside.block(own, slice(None)), rest, _known_rows(cross), None, rung)
    # some cells at a time, whose copies are small
    roots, rest = np.empty((rung.size, m, cross.cells), dtype=kind), inside.total[others, others, None]
    for start in range(0, cross.cells, CHUNK):
        cells = slice(start, start + CHUNK)
        block, rows = inside.take(cells).block(own, slice(None)), _known_rows(cross.take(cells))
        roots[:, :, cells], more = split_off(block, np.zeros_like(rest), rows, None, rung)
        rest = rest + more
    return roots, rest


def _known_rows(cross: CrossProducts) -> Numbers:
    """(k, m, cells) the rows that `split_off` knows of each cell: the columns' means, if they are known."""
    return cross.mean_row[None] if cross.means is not None else np.zeros((0, cross.combination.shape[1], cross.cells))


def split_off(
    own: Numbers, rest: Numbers, rows: Numbers, units: NDArray[np.int64] | None, rung: Rung
) -> tuple[Numbers, Numbers]:
    """QR decomposition of every unit's columns ``[Z | others]``, Z being the first q, by Gram and Schmidt's method.

    What is known of the columns are rows whose squares add, and cross-products of further rows, which are kept apart:
    the rows may be a million times larger, and their part in what Z leaves is found without a difference of squares.

    Parameters
    ----------
    own
        (q, q + r, J) known cross-products of Z with all columns.
    rest
        (r, r, J_parent) those of the others, summed by parent.
    rows
        (k, q + r, J_below) the known rows, k in each of the units below.
    units
        (J,) where each unit's units below begin; None where there is one in each.
    rung
        The level.

    Returns
    -------
    roots, rest
        (q, q + r, J) ``[R | Q]``, and (r, r, J_parent) ``E'E``. A column without a part of its own has a row of zeros.
    """
    q, starts = len(own), rung.starts
    kind = np.result_type(own, rows)
    own, rows, rest = own.astype(kind, copy=True), rows.astype(kind, copy=True), rest.astype(kind, copy=True)
    below = None if units is None else np.repeat(np.arange(own.shape[2]), np.diff(units, append=rows.shape[2]))
    roots = np.zeros_like(own)
    sizes = [own[i, i] + _by_unit(sum(row[i] ** 2 for row in rows), units) for i in range(q)]
    for i in range(q):
        within = bool(own[i].any())
        product = _by_unit(sum(row[i] * row[i:] for row in rows), units)
        product = own[i, i:] + product if within or not len(rows) else product
        has_part = product[0].real > _OWN_PART * sizes[i].real
        scale = 1.0 / np.sqrt(product[0] if has_part.all() else np.where(has_part, product[0], np.inf))
        np.multiply(product, scale, out=roots[i, i:])
        share = roots[i, i:] * scale
        for row in rows:
            row[i + 1 :] -= row[i] * (share[1:] if below is None else share[1:, below])
            row[i] = 0.0
        if within:
            left_over = own[i, i:] - share * own[i, i]
            for k in range(i + 1, q):
                own[k, i:] -= share[k - i] * left_over + share * own[i, k]
            rest -= _twice_by_parent(share[q - i :], left_over[q - i :], own[i, q:], starts)
    if len(rows):
        rest += _squares_by_parent(rows[:, q:], starts if units is None else units[starts])
    return roots, rest


def eliminate(nest: Nest, lams: Sequence[Numbers]) -> tuple[Numbers, Any, list[Elimination]]:
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
    schur, by_level, trace = eliminate_below(nest, lams)
    return schur[:, :, 0], sum(own.sum() for own in by_level), trace


def eliminate_below(nest: Nest, lams: Sequence[Numbers]) -> tuple[Numbers, list[Numbers], list[Elimination]]:
    """Eliminate all levels, and keep apart what lies in different units of the nest's top.

    Returns
    -------
    schur, log_determinants, eliminations
        (r, r, J_top) ``[X y]' V^-1 [X y]`` of each; (J,) a level's share of ``log |V|`` in each of its units, lowest
        level first; the trace.
    """
    trace: list[Elimination] = []
    roots, rest = nest.roots, nest.rest
    # below the level of an imaginary step all numbers are real, and cost half
    reals = (lam if np.imag(lam).any() else np.real(lam) for lam in lams)
    for depth, (rung, lam) in enumerate(zip(nest.rungs, reals, strict=True)):
        if depth > 0:
            others = _by_parent(rest[rung.size :, rung.size :], rung.starts)
            roots, rest = split_off(rest[: rung.size], others, trace[-1].r, trace[-1].rung.starts, rung)
        trace.append(eliminate_units(rung, lam, roots))
    if trace:
        rest = rest + _squares_by_parent(trace[-1].r, trace[-1].rung.starts)
    return rest, [log_determinants(step.chol) for step in trace], trace


def eliminate_units(rung: Rung, lam: Numbers, roots: Numbers) -> Elimination:
    """Eliminate the random effects of some units of a level from their roots, (q, q + r, units)."""
    r_lam = np.matmul(lam.T, roots[:, : rung.size])
    chol = cholesky(_plus_squares(r_lam))
    r = solve_lower(chol, roots[:, rung.size :])
    return Elimination(rung, lam, roots, r_lam, chol, r)


def log_determinants(chol: list[list[Numbers]]) -> Numbers:
    """(J,) ``log |L L'|`` of each unit."""
    return np.asarray(2.0 * sum(np.log(row[-1]) for row in chol))


def _plus_squares(r_lam: Numbers) -> Numbers:
    """``I + R T R'``, (q, q, J)."""
    q = len(r_lam)
    result = np.empty_like(r_lam)
    for i in range(q):
        for j in range(i + 1):
            total = r_lam[i, 0] * r_lam[j, 0]
            for c in range(1, q):
                total += r_lam[i, c] * r_lam[j, c]
            result[i, j] = result[j, i] = total
    _add_identity(result)
    return result


def _add_identity(matrices: Numbers) -> None:
    """Add one to the diagonal of (q, q, J), in place."""
    for i in range(len(matrices)):
        matrices[i, i] += 1.0


def _products(first: Numbers, second: Numbers) -> Numbers:
    """``first' second`` for (s, q, J) and (s, r, J): (q, r, J)."""
    result = np.empty((first.shape[1], *second.shape[1:]), dtype=np.result_type(first, second))
    for i, row in enumerate(result):
        np.multiply(first[0, i], second[0], out=row)
        for k in range(1, len(first)):
            row += first[k, i] * second[k]
    return result


def _by_unit(values: Numbers, units: NDArray[np.int64] | None) -> Numbers:
    """Sums of (…, J_below) over each unit's units below."""
    return values if units is None else np.asarray(np.add.reduceat(values, units, axis=-1))


def _by_parent(values: Numbers, starts: NDArray[np.int64]) -> Numbers:
    """Sums of (…, J) by parent: (…, J_parent); where each parent has one unit these are the values."""
    return values if len(starts) == values.shape[-1] else np.asarray(np.add.reduceat(values, starts, axis=-1))


def _squares_by_parent(r: Numbers, starts: NDArray[np.int64]) -> Numbers:
    """``r' r`` summed by parent: (q, r, J) -> (r, r, J_parent)."""
    if len(starts) == 1:
        total: Numbers = np.add.reduce([effect @ effect.T for effect in r])
        return total[:, :, None]
    size = r.shape[1]
    result: Numbers = np.empty((size, size, len(starts)), dtype=r.dtype)
    for i in range(size):
        for j in range(i + 1):
            result[i, j] = result[j, i] = _by_parent((r[:, i] * r[:, j]).sum(axis=0), starts)
    return result


def _twice_by_parent(share: Numbers, left_over: Numbers, own: Numbers, starts: NDArray[np.int64]) -> Numbers:
    """``share left_over' + own share'`` summed by parent: (r, J) each -> (r, r, J_parent); it is symmetric."""
    if len(starts) == 1:
        return np.asarray(share @ left_over.T + own @ share.T)[:, :, None]
    size = len(share)
    result: Numbers = np.empty((size, size, len(starts)), dtype=np.result_type(share, left_over))
    for i in range(size):
        for j in range(i + 1):
            result[i, j] = result[j, i] = _by_parent(share[i] * left_over[j] + own[i] * share[j], starts)
    return result
