"""Compute the sums that Kenward and Roger's method needs from moments: for one grouping factor, and for crossed ones.

The covariance matrix of the outcome, relative to sigma2, is ``V = I + sum_g Z_g T Z_g'`` with ``T = sum_i t_i E_i``;
its derivatives are ``V_i = sum_g Z_g E_i Z_g'``. Kenward and Roger (1997), Biometrics 53, 983-997, need sums of
``X' V^-1 V_i V^-1 X`` and the like; with ``T0 = Z' V^-1 Z`` and ``U = Z' V^-1 X`` every one of them is a sum over units
of small products. `information_nested` has the same sums for nested grouping factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.estimation.stacked import cholesky, inverse, premultiply
from mlm_ops.moments.arrays import Array


@dataclass(frozen=True)
class Direction:
    """A direction in which the covariance T of one grouping factor may change: E, (q, q) and symmetric."""

    level: int
    matrix: Array


@dataclass(frozen=True)
class Sums:
    """Traces and cross-products for n directions and p fixed columns; V relative to sigma2.

    Attributes
    ----------
    traces
        (n,) ``tr V^-1 V_i``.
    pairs
        (n, n) ``tr V^-1 V_i V^-1 V_j``.
    precision
        (p, p) ``X' V^-1 X``.
    first
        (n, p, p) ``X' V^-1 V_i V^-1 X``, which is Kenward's and Roger's -P_i.
    second
        (n, n, p, p) symmetric part of ``X' V^-1 V_i V^-1 V_j V^-1 X``, their Q_ij.
    """

    traces: Array
    pairs: Array
    precision: Array
    first: Array
    second: Array


def single_level_sums(products: Array, lam: Array, directions: Sequence[Direction], n_fixed: int) -> Sums:
    """Sums for one grouping factor.

    Parameters
    ----------
    products
        (m, m, J) cross-products of ``[Z | X y]`` in each unit.
    lam
        (q, q) Lambda.
    """
    q = len(lam)
    a, b = products[:q, :q], products[:q, q : q + n_fixed]
    c = products[q : q + n_fixed, q : q + n_fixed].sum(axis=2)
    m = conditional(a, lam)
    am = np.einsum("abj,bcj->acj", a, m)
    t0 = a - np.einsum("acj,cbj->abj", am, a)
    u = b - np.einsum("acj,crj->arj", am, b)
    mb = np.einsum("acj,crj->arj", m, b)
    explained = sum((row @ other.T for row, other in zip(b, mb, strict=True)), np.zeros((n_fixed, n_fixed)))
    flat, flat_t0 = u.reshape(q * n_fixed, a.shape[2]), t0.reshape(q * q, a.shape[2])
    crossed = (flat @ flat.T).reshape(q, n_fixed, q, n_fixed)
    fourth = np.empty((q, q, q, n_fixed, q, n_fixed))
    for i in range(q):
        for j in range(i + 1):
            weighted = ((flat * t0[i, j]) @ flat.T).reshape(q, n_fixed, q, n_fixed)
            fourth[i, j] = fourth[j, i] = weighted
    squares = (flat_t0 @ flat_t0.T).reshape(q, q, q, q)
    e = np.array([d.matrix for d in directions]).reshape(-1, q, q)
    sides = np.einsum("iab,bcapdr->icpdr", e, fourth)
    second = np.einsum("icpdr,jcd->ijpr", sides, e)
    return Sums(
        traces=np.einsum("iab,ab->i", e, t0.sum(axis=2)),
        pairs=np.einsum("abcd,ibc,jda->ij", squares, e, e, optimize=True),
        precision=c - explained,
        first=np.einsum("iab,apbr->ipr", e, crossed),
        second=(second + second.transpose(0, 1, 3, 2)) / 2,
    )


def conditional(a: Array, lam: Array) -> Array:
    """``M = (A + T^-1)^-1 = Lambda (I + Lambda' A Lambda)^-1 Lambda'``, (q, q, J): also where T is singular."""
    middle = np.matmul(lam.T, premultiply(lam.T, a))
    for i in range(len(lam)):
        middle[i, i] += 1.0
    return np.asarray(np.einsum("ac,cdj,bd->abj", lam, inverse(cholesky(middle)), lam, optimize=True))


#: More random effects than these make matrices of over 200 megabytes each, and minutes.
MOST_EFFECTS = 5000
#: Least singular value of Lambda with which dividing by it loses no more than four digits of sixteen.
_INVERTIBLE = 1e-2


def crossed_sums(
    products: Array,
    codes: Sequence[NDArray[np.int64]],
    lams: Sequence[Array],
    directions: Sequence[Direction],
    n_fixed: int,
) -> Sums:
    """Sums for grouping factors of any arrangement.

    Parameters
    ----------
    products
        (m, m, cells) cross-products of ``[Z_1 | Z_2 | … | X y]`` in each cell.
    codes
        (cells,) the unit of each factor that a cell lies in.
    lams
        (q, q) Lambda of each factor.

    Raises
    ------
    MlmError
        More random effects than `MOST_EFFECTS`.
    """
    from scipy.linalg import cholesky, solve_triangular

    sizes, units = [len(lam) for lam in lams], [int(c.max()) + 1 for c in codes]
    counts = [q * j for q, j in zip(sizes, units, strict=True)]
    _check_size(sum(counts))
    ends = np.cumsum(counts)
    places = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    a, b, c = _assemble(products, codes, sizes, places, n_fixed)
    a_lam = np.empty_like(a)
    for lam, place in zip(lams, places, strict=True):
        a_lam[:, place] = _times(a[:, place], lam)
    middle = np.empty_like(a)
    for lam, place in zip(lams, places, strict=True):
        middle[place] = _times(a_lam[place].T, lam).T
    middle[np.diag_indices_from(middle)] += 1.0
    factor = cholesky(middle, lower=True, overwrite_a=True, check_finite=False)
    b_lam = np.concatenate([_times(b[place].T, lam) for lam, place in zip(lams, places, strict=True)], axis=1).T
    half_b = solve_triangular(factor, b_lam, lower=True, check_finite=False)
    precision = c - half_b.T @ half_b
    if min(np.linalg.svd(lam, compute_uv=False)[-1] for lam in lams) > _INVERTIBLE:
        inverses = [np.linalg.inv(lam).astype(np.float64) for lam in lams]
        w = solve_triangular(factor, half_b, lower=True, trans=1, check_finite=False)
        return _sums(
            _by_inverse(factor, inverses, places), _from_left(inverses, places, w), precision, places, directions
        )
    half = solve_triangular(factor, a_lam.T, lower=True, check_finite=False)
    return _sums(a - half.T @ half, b - half.T @ half_b, precision, places, directions)


def _by_inverse(factor: Array, inverses: Sequence[Array], places: Sequence[slice]) -> Array:
    """``Z' V^-1 Z = Lambda^-T (I - H^-1) Lambda^-1`` with ``H = I + Lambda' A Lambda``: a third of the general work.

    H^-1 comes from its Cholesky factor, which is overwritten.
    """
    from scipy.linalg.lapack import dpotri

    h_inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
    t0 = -(np.tril(h_inverse) + np.tril(h_inverse, -1).T)
    t0[np.diag_indices_from(t0)] += 1.0
    return _from_left(inverses, places, _from_left(inverses, places, t0).T)


def _from_left(inverses: Sequence[Array], places: Sequence[slice], matrix: Array) -> Array:
    """``Lambda^-T @ matrix``, in place."""
    for factor, place in zip(inverses, places, strict=True):
        matrix[place] = _times(matrix[place].T, factor).T
    return matrix


def _sums(t0: Array, u: Array, precision: Array, places: Sequence[slice], directions: Sequence[Direction]) -> Sums:
    n, n_fixed = len(directions), u.shape[1]
    weighted = np.zeros((n, *u.shape))
    traces, pairs = np.empty(n), np.empty((n, n))
    squares: dict[tuple[int, int], Array] = {}
    for i, first in enumerate(directions):
        place = places[first.level]
        weighted[i, place] = _times(u[place].T, first.matrix).T
        own = _blocks(t0, place, place, len(first.matrix), len(first.matrix))
        traces[i] = (np.einsum("jajb->ab", own) * first.matrix).sum()
        for j, second in enumerate(directions[: i + 1]):
            key = first.level, second.level
            if key not in squares:
                blocks = _blocks(t0, place, places[second.level], len(first.matrix), len(second.matrix))
                squares[key] = _outer(blocks)
            value = np.einsum("abcd,ac,bd->", squares[key], first.matrix, second.matrix)
            pairs[i, j] = pairs[j, i] = value
    columns = weighted.transpose(1, 0, 2).reshape(len(t0), n * n_fixed)
    second_order = (columns.T @ (t0 @ columns)).reshape(n, n_fixed, n, n_fixed).transpose(0, 2, 1, 3)
    return Sums(
        traces=traces,
        pairs=pairs,
        precision=precision,
        first=np.einsum("dp,idr->ipr", u, weighted),
        second=(second_order + second_order.transpose(0, 1, 3, 2)) / 2,
    )


def _assemble(
    products: Array, codes: Sequence[NDArray[np.int64]], sizes: Sequence[int], places: Sequence[slice], n_fixed: int
) -> tuple[Array, Array, Array]:
    """``Z'Z``, ``Z'X`` and ``X'X``; the effects of a factor stand unit by unit."""
    total = places[-1].stop
    positions = [
        place.start + code * size + effect
        for place, code, size in zip(places, codes, sizes, strict=True)
        for effect in range(size)
    ]
    a, b = np.zeros((total, total)), np.zeros((total, n_fixed))
    q = len(positions)
    for i, rows in enumerate(positions):
        for j, columns in enumerate(positions):
            np.add.at(a, (rows, columns), products[i, j])
        np.add.at(b, rows, products[i, q : q + n_fixed].T)
    return a, b, products[q : q + n_fixed, q : q + n_fixed].sum(axis=2)


def _times(matrix: Array, small: Array) -> Array:
    """``matrix @ (I x small)``: a small matrix for every unit's columns."""
    rows, columns = matrix.shape
    return np.asarray(matrix.reshape(rows, columns // len(small), len(small)) @ small).reshape(rows, columns)


def _blocks(t0: Array, rows: slice, columns: slice, q_rows: int, q_columns: int) -> Array:
    """(J, q, J', q') view of the part of T0 between two factors."""
    part = t0[rows, columns]
    return part.reshape(len(part) // q_rows, q_rows, part.shape[1] // q_columns, q_columns)


def _outer(blocks: Array) -> Array:
    """Sum over pairs of units of ``T0[a, b] T0[c, d]``, (q, q', q, q')."""
    q, r = blocks.shape[1], blocks.shape[3]
    result = np.empty((q, r, q, r))
    for a in range(q):
        for b in range(r):
            for c in range(q):
                for d in range(r):
                    result[a, b, c, d] = np.einsum("jk,jk->", blocks[:, a, :, b], blocks[:, c, :, d])
    return result


def _check_size(effects: int) -> None:
    if effects > MOST_EFFECTS:
        raise MlmError(
            "Kenward-Roger's method for crossed grouping factors needs all random effects in one dense matrix. "
            f"Got {effects} random effects; at most {MOST_EFFECTS} fit. Use df='satterthwaite', which at this size "
            "differs little."
        )
