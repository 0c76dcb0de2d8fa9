"""Derivatives of anything that depends on W and log |V|, by the reverse sweep through the eliminations.

The adjoint of a level's Schur complement, S_bar, gives those of its T, A and B, and with them the S_bar of the level
below. With ``Z' V^-1 Z = A - A M A`` and ``Q = Z' V^-1 X = B - A M B`` of the level's units, X being all other columns:
``T_bar = sum (Z' V^-1 Z - Q S_bar Q')``, ``A_bar = M + M B S_bar (M B)'``, ``B_bar = -M B S_bar``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.nested import Elimination
from mlm_ops.estimation.nested_in_chunks import ChunkedElimination
from mlm_ops.estimation.second_order import SecondOrder
from mlm_ops.moments.arrays import Array, Numbers

AnyElimination = Elimination | ChunkedElimination


def pull_back(trace: Sequence[AnyElimination], w_bar: Numbers, weight: float = 1.0) -> list[Numbers]:
    """Derivatives by each Lambda of ``f(W, log |V|)``.

    Parameters
    ----------
    w_bar
        (r, r) symmetric derivative of f by W.
    weight
        Derivative of f by log |V|.

    Returns
    -------
    list of Array
        (q, q) derivatives, all elements of Lambda taken as free, lowest level first.
    """
    by_covariance = pull_back_to_covariance(trace, w_bar, weight)
    return [2.0 * derivative @ step.lam for derivative, step in zip(by_covariance, trace, strict=True)]


def pull_back_to_covariance(trace: Sequence[AnyElimination], w_bar: Numbers, weight: float = 1.0) -> list[Numbers]:
    """Derivatives of ``f(W, log |V|)`` by each ``T / sigma2 = Lambda Lambda'``, (q, q) and symmetric."""
    derivatives = []
    for step, s_bar in _reverse(trace, w_bar, weight):
        if s_bar.shape[2] == 1:
            schur = np.einsum("arbs,rs->ab", step.pairs_zx, s_bar[:, :, 0])
        else:
            weighted = _times_by_parent(step.zx, s_bar, step.rung.parents)
            q = len(weighted)
            schur = weighted.reshape(q, -1) @ step.zx.reshape(q, -1).T
        derivatives.append(weight * step.sum_zz - schur)
    return derivatives[::-1]


def pull_back_to_products(trace: Sequence[AnyElimination], w_bar: Numbers, weight: float = 1.0) -> Numbers:
    """Derivatives of ``f(W, log |V|)`` by the lowest units' cross-products, (m, m, J), in the order of the trace."""
    below = w_bar[:, :, None]
    for step, s_bar in _reverse(trace, w_bar, weight):
        below = _below(step, s_bar, weight)
    return below


def _reverse(
    trace: Sequence[AnyElimination], w_bar: Numbers, weight: float
) -> Iterator[tuple[AnyElimination, Numbers]]:
    """Each step and its S_bar, by parent, from the top level down."""
    s_bar = w_bar[:, :, None]
    for step in reversed(trace):
        yield step, s_bar
        if step is not trace[0]:
            s_bar = _below(step, s_bar, weight)


def _below(step: AnyElimination, s_bar: Numbers, weight: float) -> Numbers:
    """The adjoint of a level's cross-products, which is the S_bar of the level below: (m, m, J)."""
    mb = step.mb
    side = -_times_by_parent(mb, s_bar, step.rung.parents)
    corner = weight * step.m - np.einsum("arj,brj->abj", side, mb)
    by_unit = s_bar[:, :, step.rung.parents]
    upper = np.concatenate((corner, side), axis=1)
    return np.concatenate((upper, np.concatenate((side.transpose(1, 0, 2), by_unit), axis=1)))


def expected_information(trace: Sequence[AnyElimination]) -> list[Numbers]:
    """Leading term of the expected information of each ``vec(T / sigma2)``: sums of ``Z' V^-1 Z x Z' V^-1 Z``.

    V is that of the level and those below; Searle, Casella and McCulloch (1992), sec. 8.3, for -2 log-likelihood. What
    REML and the profiled sigma2 take away is left out: it steers the steps, no result.

    Returns
    -------
    list of Array
        (q * q, q * q) for each level.
    """
    # sum zz[a, c] zz[d, b] belongs to the pair of elements (a, b), (c, d) of dT
    return [step.pairs_zz.transpose(0, 3, 1, 2).reshape(len(step.lam) ** 2, len(step.lam) ** 2) for step in trace]


def _times_by_parent(u: Numbers, s_bar: Numbers, parents: NDArray[np.int64]) -> Numbers:
    """``U S_bar``, each unit with its parent's symmetric S_bar: (q, r, J), (r, r, J_parent) -> (q, r, J)."""
    if s_bar.shape[2] == 1:
        return np.asarray(np.matmul(s_bar[:, :, 0].T, u))
    result = np.zeros(u.shape, dtype=np.result_type(u, s_bar))
    for i in range(u.shape[1]):
        for k in range(i + 1):
            by_unit = s_bar[k, i].take(parents)
            result[:, i] += u[:, k] * by_unit
            if k != i:
                result[:, k] += u[:, i] * by_unit
    return result


def second_order(step: AnyElimination, directions: Array, w_bar: Array) -> SecondOrder:
    """What second derivatives along directions of T / sigma2 are made of, for one grouping factor.

    Parameters
    ----------
    step
        The elimination of the factor.
    directions
        (k, q, q) symmetric directions E.
    w_bar
        (r, r) weights of W.
    """
    # sum tr(T0 E T0 F) and sum tr(H E T0 F), H and T0 being symmetric
    return SecondOrder(
        dw=-np.einsum("kab,arbs->krs", directions, step.pairs_zx),
        schur=np.einsum("kab,dabc,lcd->kl", directions, step.weighted_pairs(w_bar), directions),
        determinant=np.einsum("kab,bcda,lcd->kl", directions, step.pairs_zz, directions),
    )
