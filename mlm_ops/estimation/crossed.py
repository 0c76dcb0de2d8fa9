"""Crossed random effects: the factor with most units is eliminated unit by unit, the rest by one dense Cholesky factor.

The cells' cross-products are a sparse matrix ``B`` between the units of the eliminated factor and the R random effects
of all the others, and a dense one over these, ``C``. Eliminating the first leaves ``K = C - sum B' M B`` dense; the
rest is then one big unit with ``Lambda_R`` block-diagonal. Nothing depends on the number of rows, only on that of cells
and on R; R is limited (`MOST_DENSE`).

Effects of a factor with q effects a unit and J units stand effect by effect: position ``i * J + unit``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.estimation.stacked import cholesky, inverse, premultiply, solve_lower, solve_upper
from mlm_ops.moments.arrays import Array, Numbers

#: More remaining random effects than these make a dense factor of over half a gigabyte and minutes.
MOST_DENSE = 8000


@dataclass(frozen=True)
class Remaining:
    """A factor that the dense step eliminates: q effects in each of J units, at `place` among all R."""

    size: int
    units: int
    place: slice


def own_blocks(matrix: Array, part: Remaining) -> Numbers:
    """The (q, q) blocks of each unit of one factor on the diagonal of an (R, R) matrix: (q, q, J)."""
    block = matrix[part.place, part.place].reshape(part.size, part.units, part.size, part.units)
    blocks: Numbers = np.einsum("iuku->iku", block)
    return blocks


def combine_rows(stack: Numbers, matrices: Sequence[Any]) -> list[Any]:
    """``sum_a diag(stack[i, a]) matrices[a]`` for each i: sparse rows, recombined unit by unit."""
    from scipy.sparse import dia_array

    units = stack.shape[2]
    results = []
    for row in stack:
        products = [
            dia_array((weights[None, :], [0]), shape=(units, units)) @ m
            for weights, m in zip(row, matrices, strict=True)
        ]
        total = products[0]
        for other in products[1:]:
            total = total + other
        results.append(total.tocsr())
    return results


def repeat_for_units(small: Array, units: int) -> Numbers:
    """The same (q, s) matrix for every unit."""
    return np.repeat(small[:, :, None], units, axis=2)


def identities(q: int, units: int) -> Numbers:
    """The identity for every unit, (q, q, J)."""
    return repeat_for_units(np.eye(q), units)


def kronecker_squares(blocks: Numbers) -> Array:
    """``sum_j T0 x T0`` as `nested_derivatives.expected_information` orders it: (q, q, J) -> (q * q, q * q)."""
    q = len(blocks)
    flat = blocks.reshape(q * q, -1)
    products = (flat @ flat.T).reshape(q, q, q, q)
    total: Array = products.transpose(0, 3, 1, 2).reshape(q * q, q * q)
    return total


def summed_by_unit(stack: Numbers, codes: NDArray[np.int64], units: int) -> Numbers:
    """Sum the cells of each unit: (s, t, cells) -> (s, t, units)."""
    flat = stack.reshape(-1, stack.shape[2])
    return np.stack([np.bincount(codes, row, units) for row in flat]).reshape(*stack.shape[:2], units)


@dataclass(frozen=True)
class CrossTrace:
    """What an elimination computed that derivatives and predictions need.

    Attributes
    ----------
    lam, lam_rest
        Lambda of the eliminated factor, (q, q), and of the others.
    precision
        (q, q, J) ``(I + Lambda' A Lambda)^-1``.
    u
        (q, r, J) ``Lambda^-1 M B`` for the columns ``[X y]``.
    k, k_lam
        (R, R) K and ``K Lambda_R``.
    kx
        (R, r) the Schur complement between the remaining effects and ``[X y]``.
    h_inverse
        (R, R) ``(I + Lambda_R' K Lambda_R)^-1``.
    u_rest
        (R, r) ``h_inverse Lambda_R' kx``.
    """

    lam: Array
    lam_rest: tuple[Array, ...]
    precision: Numbers
    u: Numbers
    k: Array
    k_lam: Array
    kx: Array
    h_inverse: Array
    u_rest: Array


@dataclass(frozen=True)
class Cross:
    """The cross-products of a model with crossed random effects.

    Attributes
    ----------
    sizes
        Effects a unit of each factor, the eliminated one first.
    a
        (q, q, J) cross-products of the eliminated factor's columns in each of its units.
    b
        q sparse (J, R) matrices: the same with the remaining effects.
    bx
        (q, r, J): the same with ``[X y]``.
    c, cx, cxx
        (R, R), (R, r), (r, r): cross-products of the remaining effects and ``[X y]``.
    remaining
        The other factors.
    codes
        (cells,) unit of each factor.
    """

    sizes: tuple[int, ...]
    a: Numbers
    b: tuple[Any, ...]
    bx: Numbers
    c: Array
    cx: Array
    cxx: Array
    remaining: tuple[Remaining, ...]
    codes: tuple[NDArray[np.int64], ...]

    #: No derivative along the imaginary axis: LAPACK's Cholesky factor of a complex matrix is Hermitian.
    complex_step = False

    def eliminate(self, lams: Sequence[Array]) -> tuple[Array, float, CrossTrace]:
        """``[X y]' V^-1 [X y]``, ``log |V|`` and the trace, V relative to sigma2."""
        from scipy.linalg import solve_triangular
        from scipy.linalg.lapack import dpotrf, dpotri

        lam, lam_rest = lams[0], tuple(lams[1:])
        identity = identities(self.sizes[0], self.a.shape[2])
        precision_matrix = np.matmul(lam.T, premultiply(lam.T, self.a)) + identity
        chol = cholesky(precision_matrix)
        log_determinant = 2.0 * float(sum(np.log(chol[i][i]).sum() for i in range(self.sizes[0])))
        rx = solve_lower(chol, premultiply(lam.T, self.bx))
        f = combine_rows(np.asarray(solve_lower(chol, repeat_for_units(lam.T, self.a.shape[2]))), self.b)
        k, kx, wxx = self.c.copy(), self.cx.copy(), self.cxx.copy()
        for effect, dense in zip(f, rx, strict=True):
            k -= (effect.T @ effect).toarray()
            kx -= effect.T @ dense.T
            wxx -= dense @ dense.T
        k_lam = self._times_lambda(k, lam_rest)
        h = self._lambda_times(lam_rest, k_lam)
        h[np.diag_indices_from(h)] += 1.0
        factor, _ = dpotrf(h.T, lower=1, overwrite_a=1)  # h is symmetric, and h.T in LAPACK's order without a copy
        log_determinant += 2.0 * float(np.log(np.diag(factor)).sum())
        r = solve_triangular(factor, self._lambda_times(lam_rest, kx), lower=True, check_finite=False)
        u_rest = solve_triangular(factor, r, lower=True, trans=1, check_finite=False)
        h_inverse, _ = dpotri(factor, lower=1, overwrite_c=1)
        h_inverse = h_inverse + h_inverse.T  # the upper triangle is zero
        h_inverse[np.diag_indices_from(h_inverse)] /= 2
        trace = CrossTrace(lam, lam_rest, inverse(chol), solve_upper(chol, rx), k, k_lam, kx, h_inverse, u_rest)
        return wxx - r.T @ r, log_determinant, trace

    def pull_back(self, trace: CrossTrace, w_bar: Array, weight: float = 1.0) -> list[Array]:
        """Derivatives by each Lambda of ``f(W, log |V|)``; see `Engine.pull_back`."""
        g = weight * trace.h_inverse + trace.u_rest @ w_bar @ trace.u_rest.T
        derivatives = [2.0 * self._first_adjoint(trace, w_bar, g, weight) @ trace.lam]
        ux = trace.kx @ w_bar
        for part in self.remaining:
            rows = trace.k_lam[part.place].reshape(part.size, part.units, -1)
            columns = g[part.place].reshape(part.size, part.units, -1)
            data = ux[part.place].reshape(part.size, part.units, -1)
            effects = trace.u_rest[part.place].reshape(part.size, part.units, -1)
            derivatives.append(
                2.0 * (np.einsum("ius,kus->ik", rows, columns) - np.einsum("iur,kur->ik", data, effects))
            )
        return derivatives

    def pull_back_to_covariance(self, trace: CrossTrace, w_bar: Array) -> list[Array]:
        """Derivatives by each ``T / sigma2``, (q, q) and symmetric."""
        g = trace.h_inverse + trace.u_rest @ w_bar @ trace.u_rest.T
        derivatives = [self._first_adjoint(trace, w_bar, g, 1.0)]
        q_rest = trace.kx - trace.k_lam @ trace.u_rest
        for part in self.remaining:
            rows = trace.k_lam[part.place].reshape(part.size, part.units, -1)
            times = (trace.k_lam[part.place] @ trace.h_inverse).reshape(part.size, part.units, -1)
            data = q_rest[part.place].reshape(part.size, part.units, -1)
            schur = np.einsum("iur,rs,kus->ik", data, w_bar, data)
            derivatives.append(own_blocks(trace.k, part).sum(axis=2) - np.einsum("ius,kus->ik", times, rows) - schur)
        return derivatives

    def pull_back_to_products(self, trace: CrossTrace, w_bar: Array, weight: float = 1.0) -> Numbers:
        """Derivatives of ``f(W) + weight log |V|`` by the cells' cross-products, (m, m, cells)."""
        g = weight * trace.h_inverse + trace.u_rest @ w_bar @ trace.u_rest.T
        k_bar = self._lambda_rows(trace.lam_rest, self._lambda_rows(trace.lam_rest, g).T)
        kx_bar = -self._lambda_rows(trace.lam_rest, trace.u_rest) @ w_bar
        m = np.einsum("ac,cdj,bd->abj", trace.lam, trace.precision, trace.lam)
        mb, mbx = combine_rows(m, self.b), np.einsum("ac,crj->ajr", trace.lam, trace.u)
        by_rest = [row @ k_bar + dense @ kx_bar.T for row, dense in zip(mb, mbx, strict=True)]
        by_x = [row @ kx_bar + dense @ w_bar for row, dense in zip(mb, mbx, strict=True)]
        own, q, r = self.codes[0], self.sizes[0], len(w_bar)
        positions = [
            part.place.start + i * part.units + self.codes[f]
            for f, part in enumerate(self.remaining, start=1)
            for i in range(part.size)
        ]
        fixed = slice(q + len(positions), None)
        result = np.empty((q + len(positions) + r, q + len(positions) + r, len(own)))
        for i in range(q):
            for k in range(q):
                through = np.asarray(mb[k].multiply(by_rest[i]).sum(axis=1)).ravel() + (by_x[i] * mbx[k]).sum(axis=1)
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
        """The leading term for each factor as if its units were independent: a metric to start from."""
        by_factor = [kronecker_squares(self._reduced(trace))]
        for part, lam in zip(self.remaining, trace.lam_rest, strict=True):
            rows = trace.k_lam[part.place].reshape(part.size, part.units, -1)
            columns = trace.h_inverse[part.place].reshape(part.size, part.units, -1)
            # K Lambda H^-1 = T0 Lambda, and a metric may be rough where Lambda is nearly singular
            t0_lam = np.einsum("ius,kus->iku", rows, columns)
            by_factor.append(kronecker_squares(np.einsum("iku,ka->iau", t0_lam, np.linalg.pinv(lam, rcond=1e-6))))
        return by_factor

    def modes(self, trace: CrossTrace, beta: Array) -> list[tuple[Numbers, Numbers]]:
        """Conditional modes (q, J) and relative covariances (q, q, J) of each factor's effects."""
        direction = np.append(-beta, 1.0)
        rest = self._lambda_rows(trace.lam_rest, trace.u_rest @ direction)
        variance = self._lambda_rows(trace.lam_rest, self._lambda_rows(trace.lam_rest, trace.h_inverse).T)
        m = np.einsum("ac,cdj,bd->abj", trace.lam, trace.precision, trace.lam)
        mb = combine_rows(m, self.b)
        mean = np.einsum("ac,crj,r->aj", trace.lam, trace.u, direction) - np.stack([row @ rest for row in mb])
        own = m.copy()
        for i, row in enumerate(mb):
            product = row @ variance
            for k, other in enumerate(mb):
                own[i, k] += np.asarray(other.multiply(product).sum(axis=1)).ravel()
        others = [(rest[p.place].reshape(p.size, p.units), own_blocks(variance, p)) for p in self.remaining]
        return [(mean, own), *others]

    def _first_adjoint(self, trace: CrossTrace, w_bar: Array, g: Array, weight: float) -> Array:
        """Derivative by the eliminated factor's T / sigma2: ``sum (A - A M A) - Q S_bar Q'``, ``Q = (I - A M) B``."""
        k_bar = self._lambda_rows(trace.lam_rest, self._lambda_rows(trace.lam_rest, g).T)
        kx_bar = -self._lambda_rows(trace.lam_rest, trace.u_rest) @ w_bar
        shrink = self._shrink(trace)
        q = combine_rows(shrink, self.b)
        qx = np.einsum("abj,brj->arj", shrink, self.bx)
        result: Array = weight * self._reduced(trace).sum(axis=2)
        for i, first in enumerate(q):
            through = first @ kx_bar
            for k, second in enumerate(q):
                pairs = (first.T @ second).tocoo()
                result[i, k] -= (pairs.data * k_bar[pairs.row, pairs.col]).sum()
                result[i, k] -= (through * qx[k].T).sum() + ((second @ kx_bar) * qx[i].T).sum()
                result[i, k] -= (w_bar @ qx[i] * qx[k]).sum()
        return result

    def _shrink(self, trace: CrossTrace) -> Numbers:
        """``I - A M``, (q, q, J)."""
        m = np.einsum("ac,cdj,bd->abj", trace.lam, trace.precision, trace.lam)
        shrink: Numbers = identities(self.sizes[0], self.a.shape[2]) - np.einsum("acj,cbj->abj", self.a, m)
        return shrink

    def _reduced(self, trace: CrossTrace) -> Numbers:
        """``A - A M A``, (q, q, J)."""
        reduced: Numbers = np.einsum("acj,cbj->abj", self._shrink(trace), self.a)
        return reduced

    def _times_lambda(self, matrix: Array, lams: Sequence[Array]) -> Array:
        """``matrix @ Lambda_R`` by columns."""
        return np.ascontiguousarray(self._lambda_times(lams, matrix.T).T)

    def _lambda_times(self, lams: Sequence[Array], matrix: Array) -> Array:
        """``Lambda_R' @ matrix``."""
        return self._lambda_rows([lam.T for lam in lams], matrix)

    def _lambda_rows(self, lams: Sequence[Array], matrix: Array) -> Array:
        """``Lambda_R @ matrix``."""
        result = np.empty_like(matrix)
        for part, small in zip(self.remaining, lams, strict=True):
            result[part.place] = (small @ matrix[part.place].reshape(part.size, -1)).reshape(matrix[part.place].shape)
        return result


def build_cross(products: Numbers, sizes: Sequence[int], codes: Sequence[NDArray[np.int64]]) -> Cross:
    """Lay out the cells' cross-products.

    Parameters
    ----------
    products
        (m, m, cells) cross-products of ``[Z_1 | Z_2 | … | X y]`` in each cell.
    sizes
        Random effects a unit of each factor, the one with most units first.
    codes
        (cells,) unit of each factor.

    Raises
    ------
    IdentificationError
        More remaining effects than a dense factor can hold.
    """
    from scipy.sparse import csr_array

    units = [int(code.max()) + 1 for code in codes]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    remaining, total = [], 0
    for size, count in zip(sizes[1:], units[1:], strict=True):
        remaining.append(Remaining(size, count, slice(total, total + size * count)))
        total += size * count
    if total > MOST_DENSE:
        raise IdentificationError(
            f"Crossed grouping factors leave {total} random effects beside the largest factor; at most {MOST_DENSE} "
            "can be factorised. Use fewer random terms, or grouping factors with fewer units."
        )
    q, j, fixed = sizes[0], units[0], slice(int(starts[-1]), None)
    a = summed_by_unit(products[:q, :q], codes[0], j)
    bx = summed_by_unit(products[:q, fixed], codes[0], j)
    positions, columns = [], []
    for f, part in enumerate(remaining, start=1):
        for i in range(part.size):
            positions.append(part.place.start + i * part.units + codes[f])
            columns.append(int(starts[f]) + i)
    row = np.tile(codes[0], len(columns))
    col = np.concatenate(positions)
    b = tuple(
        csr_array((np.concatenate([products[i, column] for column in columns]), (row, col)), shape=(j, total))
        for i in range(q)
    )
    c = np.zeros((total, total))
    cx = np.zeros((total, products.shape[1] - fixed.start))
    for place, column in zip(positions, columns, strict=True):
        np.add.at(cx, place, products[column, fixed].T)
        for other, second in zip(positions, columns, strict=True):
            np.add.at(c, (place, other), products[column, second])
    return Cross(tuple(sizes), a, b, bx, c, cx, products[fixed, fixed].sum(axis=2), tuple(remaining), tuple(codes))
