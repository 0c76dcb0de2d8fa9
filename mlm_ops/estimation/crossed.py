"""Crossed random effects: the factor with most units is eliminated unit by unit, the rest by one dense Cholesky factor.

The cells' cross-products are a sparse matrix ``B`` between the units of the eliminated factor and the R random effects
of all the others, and a sparse one over these, ``C``. Eliminating the first leaves ``K = C - sum B' M B``, dense; the
rest is then one big unit with ``Lambda_R`` block-diagonal. Nothing depends on the number of rows, only on that of
cells and on R: an evaluation takes ``R^3`` multiplications and one square of R by R numbers (`crossed_remaining`).

Bates and others (2015), Journal of Statistical Software 67(1), sec. 3, in which Z is eliminated in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.crossed_curvature import has_curvature, second_order
from mlm_ops.estimation.crossed_derivatives import CrossTrace, Eliminated
from mlm_ops.estimation.crossed_remaining import Remaining, Rest, TwoTriangles
from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.memory import check_memory
from mlm_ops.estimation.second_order import SecondOrder
from mlm_ops.estimation.stacked import cholesky, inverse, premultiply, solve_lower
from mlm_ops.estimation.unit_squares import UnitSquares
from mlm_ops.moments.arrays import Array, Numbers


def identities(q: int, units: int) -> Numbers:
    """The identity for every unit, (q, q, J)."""
    return np.repeat(np.eye(q)[:, :, None], units, axis=2)


def summed_by_unit(stack: Numbers, codes: NDArray[np.int64], units: int) -> Numbers:
    """Sum the cells of each unit: (s, t, cells) -> (s, t, units)."""
    flat = stack.reshape(-1, stack.shape[2])
    return np.stack([np.bincount(codes, row, units) for row in flat]).reshape(*stack.shape[:2], units)


@dataclass(frozen=True)
class Cross:
    """The cross-products of a model with crossed random effects.

    Attributes
    ----------
    a
        (q, q, J) cross-products of the eliminated factor's columns in each of its units.
    b
        Sparse (q, R) rows of each unit: the same with the remaining effects.
    bx
        (q, r, J): the same with ``[X y]``.
    c
        Sparse (R, R): cross-products of the remaining effects.
    cx, cxx
        (R, r), (r, r): those of the remaining effects and of ``[X y]`` with ``[X y]``.
    rest
        The other factors.
    codes
        (cells,) unit of each factor.
    """

    a: Numbers
    b: UnitSquares
    bx: Numbers
    c: Any
    cx: Array
    cxx: Array
    rest: Rest
    codes: tuple[NDArray[np.int64], ...]

    #: No derivative along the imaginary axis: LAPACK's Cholesky factor of a complex matrix is Hermitian.
    complex_step = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """Random effects a unit of each factor, the eliminated one first."""
        return (len(self.a), *(part.size for part in self.rest.parts))

    def eliminate(self, lams: Sequence[Array]) -> tuple[Array, float, CrossTrace]:
        """``[X y]' V^-1 [X y]``, ``log |V|`` and the trace, V relative to sigma2."""
        lam, lam_rest = lams[0], tuple(lams[1:])
        units = self.a.shape[2]
        chol = cholesky(np.matmul(lam.T, premultiply(lam.T, self.a)) + identities(len(lam), units))
        log_determinant = 2.0 * float(sum(np.log(chol[i][i]).sum() for i in range(len(lam))))
        m = np.einsum("ac,cdj,bd->abj", lam, inverse(chol), lam)
        rx = solve_lower(chol, premultiply(lam.T, self.bx))
        kx = self.cx - self.b.transposed_times(np.einsum("abj,brj->arj", m, self.bx))
        wxx = self.cxx - sum(row @ row.T for row in rx)
        triangles = TwoTriangles.fill(self.rest, self._k(m), lam_rest)
        r, u_rest = triangles.solve(self.rest.from_left([small.T for small in lam_rest], kx))
        first = Eliminated(lam, m, self.a, self.b, self.bx)
        trace = CrossTrace(first, self.rest, lam_rest, triangles, kx, u_rest)
        return wxx - r.T @ r, log_determinant + triangles.log_determinant, trace

    def _k(self, m: Numbers) -> Iterator[Array]:
        """``K = C - sum B' M B``, by blocks of rows up to the diagonal."""
        blocks = [block for _, block in self.rest.blocks]
        for block, rows in zip(blocks, self.b.lower_rows(-m, blocks), strict=True):
            own = self.c[block]
            inside = own.indices < block.stop
            place = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))[inside], own.indices[inside]
            rows[place] += own.data[inside]
            yield rows

    def pull_back(self, trace: CrossTrace, w_bar: Array, weight: float = 1.0) -> list[Array]:
        """Derivatives by each Lambda of ``f(W, log |V|)``; see `Engine.pull_back`."""
        return trace.by_lambda(w_bar, weight)

    def pull_back_to_covariance(self, trace: CrossTrace, w_bar: Array) -> list[Array]:
        """Derivatives by each ``T / sigma2``, (q, q) and symmetric."""
        return trace.by_covariance(w_bar)

    def pull_back_to_products(self, trace: CrossTrace, w_bar: Array, weight: float = 1.0) -> Numbers:
        """Derivatives of ``f(W) + weight log |V|`` by the cells' cross-products, (m, m, cells)."""
        k_bar, kx_bar = trace.adjoint_of_k(w_bar, weight), trace.adjoint_of_kx(w_bar)
        m = trace.first.m
        mb, mbx = self.b.combined(m), np.einsum("abj,brj->arj", m, self.bx)
        by_rest = [row @ k_bar + dense.T @ kx_bar.T for row, dense in zip(mb, mbx, strict=True)]
        by_x = [row @ kx_bar + dense.T @ w_bar for row, dense in zip(mb, mbx, strict=True)]
        own, q, r = self.codes[0], len(m), len(w_bar)
        positions = [
            part.place.start + self.codes[f] * part.size + i
            for f, part in enumerate(self.rest.parts, start=1)
            for i in range(part.size)
        ]
        fixed = slice(q + len(positions), None)
        result = np.empty((q + len(positions) + r, q + len(positions) + r, len(own)))
        for i in range(q):
            for k in range(q):
                through = np.asarray(mb[k].multiply(by_rest[i]).sum(axis=1)).ravel() + (by_x[i] * mbx[k].T).sum(axis=1)
                result[i, k] = (weight * m[i, k] + through)[own]
            result[i, fixed] = result[fixed, i] = -by_x[i][own].T
            for c, place in enumerate(positions, start=q):
                result[i, c] = result[c, i] = -by_rest[i][own, place]
        for c, place in enumerate(positions, start=q):
            result[c, fixed] = result[fixed, c] = kx_bar[place].T
            for d, other in enumerate(positions, start=q):
                result[c, d] = k_bar[place, other]
        result[fixed, fixed] = w_bar[:, :, None]
        return result

    def expected_information(self, trace: CrossTrace) -> list[Array]:
        """The leading term for each factor as if its units were independent; see `Engine.expected_information`."""
        return trace.expected_information()

    def has_curvature(self, trace: CrossTrace) -> bool:
        """Whether second derivatives are known in closed form here."""
        return has_curvature(trace)

    def second_order(
        self, trace: CrossTrace, directions: Sequence[Array], w_bar: Array, *, determinant: bool = True
    ) -> SecondOrder:
        """What second derivatives along directions of every ``T / sigma2`` are made of; see `Engine.second_order`."""
        return second_order(trace, directions, w_bar, determinant=determinant)

    def modes(self, trace: CrossTrace, beta: Array) -> list[tuple[Numbers, Numbers]]:
        """Conditional modes (q, J) and relative covariances (q, q, J) of each factor's effects."""
        return trace.modes(np.append(-beta, 1.0))


def build_cross(products: CrossProducts, sizes: Sequence[int], codes: Sequence[NDArray[np.int64]]) -> Cross:
    """Lay out the cells' cross-products.

    Parameters
    ----------
    products
        Cross-products of the m columns ``[Z_1 | Z_2 | … | X y]`` in each cell.
    sizes
        Random effects a unit of each factor, the one with most units first.
    codes
        (cells,) unit of each factor.

    Raises
    ------
    IdentificationError
        The dense squares of the remaining effects need more memory than there is.
    """
    units = [int(code.max()) + 1 for code in codes]
    parts, total = [], 0
    for size, count in zip(sizes[1:], units[1:], strict=True):
        parts.append(Remaining(size, count, slice(total, total + size * count)))
        total += size * count
    check_memory(total)
    ends = np.cumsum(sizes)
    places = [
        (slice(int(end) - size + i, int(end) - size + i + 1), part.place.start + code * size + i)
        for part, code, size, end in zip(parts, codes[1:], sizes[1:], ends[1:], strict=True)
        for i in range(size)
    ]
    q, j, fixed, own = sizes[0], units[0], slice(int(ends[-1]), None), slice(0, sizes[0])
    a = summed_by_unit(products.block(own, own), codes[0], j)
    bx = summed_by_unit(products.block(own, fixed), codes[0], j)
    rows = []
    for i in range(q):
        values = [products.block(slice(i, i + 1), column)[0, 0] for column, _ in places]
        rows.append(_sparse(values, [codes[0]] * len(places), [place for _, place in places], (j, total)))
    pairs = [(first, second) for first in places for second in places]
    c = _sparse(
        [products.block(first[0], second[0])[0, 0] for first, second in pairs],
        [first[1] for first, _ in pairs],
        [second[1] for _, second in pairs],
        (total, total),
    )
    cx = np.zeros((total, products.combination.shape[1] - int(ends[-1])))
    for column, place in places:
        for x, value in enumerate(products.block(column, fixed)[0]):
            cx[:, x] += np.bincount(place, value, total)
    cxx = products.total[fixed, fixed]
    return Cross(a, UnitSquares(tuple(rows)), bx, c, cx, cxx, Rest(tuple(parts)), tuple(codes))


def _sparse(
    values: Sequence[Array],
    rows: Sequence[NDArray[np.int64]],
    columns: Sequence[NDArray[np.int64]],
    shape: tuple[int, int],
) -> Any:
    """A sparse matrix by rows, columns in order, of which equal places are summed; zeros stay."""
    from scipy.sparse import coo_array

    place = (np.concatenate(rows).astype(np.int32), np.concatenate(columns).astype(np.int32))
    matrix = coo_array((np.concatenate(values), place), shape=shape).tocsr()
    matrix.sum_duplicates()
    return matrix
