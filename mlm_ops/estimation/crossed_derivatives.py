"""First derivatives and conditional modes of a model with crossed random effects, from its elimination.

With ``Q = (I - A M) B`` and ``R = A - A M A`` of the eliminated factor's units and ``P = Lambda_R H^-1 Lambda_R'``,
``T0 = Z' V^-1 Z`` consists of ``R - Q P Q'`` (diagonal in its first term), ``Q (I - P K)`` and ``K - K P K``, which is
``Lambda_R^-T (I - H^-1) Lambda_R^-1`` where Lambda_R has an inverse. ``d log |V| = sum tr(T0_uu dT)`` over the units u,
and ``dW = - sum U_u' dT U_u`` with ``U = Z' V^-1 [X y]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mlm_ops.estimation.crossed_remaining import Remaining, Rest, TwoTriangles
from mlm_ops.estimation.unit_squares import UnitSquares
from mlm_ops.moments.arrays import Array, Numbers

#: Least singular value of Lambda with which dividing by its square loses no more than four digits of sixteen.
_INVERTIBLE = 1e-2
#: Numbers of a block of the eliminated units' rows by all remaining effects.
_BLOCK = 4_000_000


def invertible(lam: Array) -> bool:
    """Whether Lambda can be divided by."""
    return bool(np.linalg.svd(lam, compute_uv=False)[-1] > _INVERTIBLE)


@dataclass(frozen=True)
class Eliminated:
    """The factor with most units: Lambda (q, q), M (q, q, J), and its cross-products as `crossed.Cross` has them."""

    lam: Array
    m: Numbers
    a: Numbers
    b: UnitSquares
    bx: Numbers

    @cached_property
    def shrink(self) -> Numbers:
        """``I - A M``, (q, q, J)."""
        shrink: Numbers = -np.einsum("acj,cbj->abj", self.a, self.m)
        for i in range(len(shrink)):
            shrink[i, i] += 1.0
        return shrink

    @cached_property
    def reduced(self) -> Numbers:
        """``R = A - A M A``, (q, q, J)."""
        reduced: Numbers = np.einsum("acj,cbj->abj", self.shrink, self.a)
        return reduced

    def weights(self, inner: Numbers) -> Numbers:
        """(q, q, J) W with ``sum B' W B = sum Q' inner Q``, for symmetric inner (q, q, J) or (q, q, 1)."""
        weights: Numbers = np.einsum("acj,abj,bdj->cdj", self.shrink, np.broadcast_to(inner, self.m.shape), self.shrink)
        return weights


@dataclass(frozen=True)
class CrossTrace:
    """What an elimination computed that derivatives and predictions need.

    Attributes
    ----------
    first
        The eliminated factor.
    rest, lam_rest
        The others, and Lambda of each.
    triangles
        K, and H's factor until its inverse is asked for.
    kx
        (R, r) the Schur complement between the remaining effects and ``[X y]``.
    u_rest
        (R, r) ``H^-1 Lambda_R' kx``.
    """

    first: Eliminated
    rest: Rest
    lam_rest: tuple[Array, ...]
    triangles: TwoTriangles
    kx: Array
    u_rest: Array

    @cached_property
    def u(self) -> tuple[Numbers, ...]:
        """``Z' V^-1 [X y]``: (q, r, J) of each factor."""
        moved = self.rest.from_left(self.lam_rest, self.u_rest)
        first = np.einsum("abj,brj->arj", self.first.shrink, self.first.bx - self.first.b.times(moved))
        others = self.kx - self.triangles.k_times(moved)
        return (first, *(part.by_unit(others).transpose(1, 2, 0) for part in self.rest.parts))

    @cached_property
    def determinant_by_first(self) -> Array:
        """Derivative of ``log |V|`` by the eliminated factor's ``T / sigma2``: ``sum R - Q P Q'``."""
        blocks, result = self.rest.blocks, self.first.reduced.sum(axis=2)
        for i in range(len(result)):
            for k in range(i + 1):
                inner = np.zeros((len(result), len(result), 1))
                inner[i, k] += 0.5
                inner[k, i] += 0.5
                total = self.against_inverse(self.first.weights(inner), blocks)
                result[i, k] -= total
                if i != k:
                    result[k, i] -= total
        return np.asarray(result)

    def against_inverse(self, weights: Numbers, blocks: Sequence[tuple[int, slice]]) -> float:
        """``tr(P sum B' W B)``."""
        total = 0.0
        products = self.first.b.lower_rows(weights, [block for _, block in blocks])
        for (number, block), rows in zip(blocks, products, strict=True):
            total += self.triangles.times_inverse(self.rest.on_both_sides(rows, number, self.lam_rest), block)
        return total

    @cached_property
    def determinant_by_rest(self) -> list[Array | None]:
        """Derivatives of ``log |V|`` by the other factors' ``T / sigma2``; None where Lambda has no inverse."""
        derivatives: list[Array | None] = []
        for part, lam in zip(self.rest.parts, self.lam_rest, strict=True):
            if invertible(lam):
                back = np.linalg.inv(lam)
                own = part.units * np.eye(part.size) - self.triangles.own_inverse(part).sum(axis=2)
                derivatives.append(np.asarray(back.T @ own @ back))
            else:
                derivatives.append(None)
        return derivatives

    def by_lambda(self, w_bar: Array, weight: float) -> list[Array]:
        """Derivatives by each Lambda of ``f(W) + weight log |V|``, w_bar being the derivative of f by W."""
        lams = (self.first.lam, *self.lam_rest)
        derivatives = [-2.0 * _squares(u, w_bar) @ lam for u, lam in zip(self.u, lams, strict=True)]
        if weight:
            derivatives[0] += 2.0 * weight * self.determinant_by_first @ self.first.lam
            for i, by_covariance in enumerate(self.determinant_by_rest):
                derivatives[i + 1] += (
                    2.0
                    * weight
                    * (
                        self._lambda_determinant(self.rest.parts[i])
                        if by_covariance is None
                        else by_covariance @ self.lam_rest[i]
                    )
                )
        return derivatives

    def by_covariance(self, w_bar: Array) -> list[Array]:
        """Derivatives of ``f(W) + log |V|`` by each ``T / sigma2``, (q, q) and symmetric."""
        determinants = [self.determinant_by_first]
        for part, known in zip(self.rest.parts, self.determinant_by_rest, strict=True):
            determinants.append(self._covariance_determinant(part) if known is None else known)
        return [own - _squares(u, w_bar) for own, u in zip(determinants, self.u, strict=True)]

    def _lambda_determinant(self, part: Remaining) -> Array:
        """``sum (K Lambda H^-1)_uu`` of a factor, whatever its Lambda."""
        result = np.zeros((part.size, part.size))
        for block in self._blocks_of(part):
            rows = self.rest.from_right(self.triangles.k_rows(block), self.lam_rest)
            result += _diagonal_sum(rows, self.triangles.inverse_rows(block), part.size)
        return result

    def _covariance_determinant(self, part: Remaining) -> Array:
        """``sum (K - K P K)_uu`` of a factor, whatever its Lambda: as much work as two inverses."""
        result = self.triangles.own_k(part).sum(axis=2)
        for block in self._blocks_of(part):
            rows = self.rest.from_right(self.triangles.k_rows(block), self.lam_rest)
            result -= _diagonal_sum(rows, self.triangles.inverse_times(rows.T).T, part.size)
        return np.asarray(result)

    def expected_information(self) -> list[Array]:
        """``sum_u T0_uu x T0_uu`` of each factor, as if its units were independent."""
        by_factor = [_kronecker_squares(self.first.reduced)]
        for part, lam in zip(self.rest.parts, self.lam_rest, strict=True):
            # a metric may be rough where Lambda is nearly singular
            back = np.linalg.pinv(lam, rcond=1e-6)
            own = np.eye(part.size)[:, :, None] - self.triangles.own_inverse(part)
            own = np.einsum("ca,cdj,db->abj", back, own, back)
            by_factor.append(_kronecker_squares(own))
        return by_factor

    def _blocks_of(self, part: Remaining) -> list[slice]:
        return [block for number, block in self.rest.blocks if self.rest.parts[number] is part]

    def adjoint_of_k(self, w_bar: Array, weight: float) -> Array:
        """(R, R) derivative of ``f(W) + weight log |V|`` by K, whole."""
        moved = self.rest.from_left(self.lam_rest, self.u_rest)
        adjoint: Array = moved @ w_bar @ moved.T
        if weight:
            backwards = [lam.T for lam in self.lam_rest]
            for number, block in self.rest.blocks:
                rows = self.triangles.inverse_rows(block)
                adjoint[block] += weight * self.rest.on_both_sides(rows, number, backwards)
        return adjoint

    def adjoint_of_kx(self, w_bar: Array) -> Array:
        """(R, r) derivative of f(W) by `kx`."""
        return -self.rest.from_left(self.lam_rest, self.u_rest) @ w_bar

    def modes(self, direction: Array) -> list[tuple[Numbers, Numbers]]:
        """Conditional modes (q, J) and relative covariances (q, q, J) of each factor's effects.

        Parameters
        ----------
        direction
            (r,) of ``[X y]``: its product is the residual.
        """
        first, moved = self.first, self.rest.from_left(self.lam_rest, self.u_rest @ direction[:, None])
        left = np.einsum("brj,r->bj", first.bx, direction) - first.b.times(moved)[:, 0]
        effects = [(np.einsum("abj,bj->aj", first.m, left), first.m + self._spread())]
        for part, lam in zip(self.rest.parts, self.lam_rest, strict=True):
            own = np.einsum("ac,cdj,bd->abj", lam, self.triangles.own_inverse(part), lam)
            effects.append((part.by_unit(moved)[:, :, 0].T, own))
        return effects

    def _spread(self) -> Numbers:
        """``M B P B' M`` of the eliminated units, (q, q, J): what the other factors' effects leave unknown."""
        mb, variance = self.first.b.combined(self.first.m), self.adjoint_of_k(np.zeros((self.kx.shape[1],) * 2), 1.0)
        units, effects = self.first.b.shape
        result = np.empty((len(mb), len(mb), units))
        for start in range(0, units, max(1, _BLOCK // effects)):
            some = slice(start, min(start + max(1, _BLOCK // effects), units))
            for i, row in enumerate(mb):
                product = row[some] @ variance
                for k, other in enumerate(mb):
                    result[i, k, some] = np.asarray(other[some].multiply(product).sum(axis=1)).ravel()
        return result


def _squares(u: Numbers, w_bar: Array) -> Array:
    """``sum_j U_j W_bar U_j'``: (q, r, J) -> (q, q)."""
    result: Array = np.einsum("arj,rs,bsj->ab", u, w_bar, u, optimize=True)
    return result


def _diagonal_sum(left: Array, right: Array, size: int) -> Array:
    """Sum over the units of ``left_u right_u'``, each of `size` rows."""
    first, second = (rows.reshape(-1, size, rows.shape[1]) for rows in (left, right))
    total: Array = np.einsum("uis,uks->ik", first, second)
    return total


def _kronecker_squares(blocks: Numbers) -> Array:
    """``sum_j T0 x T0`` as `nested_derivatives.expected_information` orders it: (q, q, J) -> (q * q, q * q)."""
    q = len(blocks)
    flat = blocks.reshape(q * q, -1)
    products = (flat @ flat.T).reshape(q, q, q, q)
    total: Array = products.transpose(0, 3, 1, 2).reshape(q * q, q * q)
    return total
