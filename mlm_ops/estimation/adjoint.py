"""Derivatives of anything that depends on W and log |V|, by the reverse sweep through the eliminations.

The adjoint of a level's Schur complement, S_bar, gives those of its A, B and Lambda, and with them the S_bar of the
level below. With ``U = Lambda^-1 M B`` and ``G = (I + Lambda' A Lambda)^-1 + U S_bar U'``:
``Lambda_bar = 2 sum (A Lambda G - B S_bar U')``, ``A_bar = Lambda G Lambda'``, ``B_bar = -2 Lambda U S_bar``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.nested import Array, Elimination
from mlm_ops.estimation.stacked import left


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
    found: list[Array] = []
    for step, _, us, inner in _reverse(trace, w_bar, log_determinant_bar):
        q = len(step.lam)
        al = left(step.lam.T, step.a).transpose(1, 0, 2)
        found.append(2.0 * (np.einsum("acj,cdj->ad", al, inner) - step.b.reshape(q, -1) @ us.reshape(q, -1).T))
    return found[::-1]


def pull_back_to_covariance(trace: Sequence[Elimination], w_bar: Array) -> list[Array]:
    """Derivatives of ``f(W, log |V|)`` by each ``T / sigma2 = Lambda Lambda'``, (q, q) and symmetric."""
    found: list[Array] = []
    for step, s_bar, _, _ in _reverse(trace, w_bar, 1.0):
        al = left(step.lam.T, step.a).transpose(1, 0, 2)
        q = step.b - np.einsum("acj,crj->arj", al, step.u)
        reduced = step.a - np.einsum("acj,cdj,bdj->abj", al, step.inverse, al)
        schur = np.einsum("arj,brj->ab", _times_by_parent(q, s_bar, step.rung.parents), q)
        found.append(reduced.sum(axis=2) - schur)
    return found[::-1]


def pull_back_to_products(trace: Sequence[Elimination], w_bar: Array, log_determinant_bar: float = 1.0) -> Array:
    """Derivatives of ``f(W, log |V|)`` by the lowest units' cross-products, (m, m, J), in the order of the trace."""
    below = w_bar[:, :, None]
    for step, s_bar, us, inner in _reverse(trace, w_bar, log_determinant_bar):
        below = _below(step, s_bar, us, inner)
    return below


def _reverse(
    trace: Sequence[Elimination], w_bar: Array, weight: float
) -> Iterator[tuple[Elimination, Array, Array, Array]]:
    """From the top level down: the step, S_bar (by parent), ``U S_bar`` and G."""
    s_bar = w_bar[:, :, None]
    for step in reversed(trace):
        us = _times_by_parent(step.u, s_bar, step.rung.parents)
        inner = weight * step.inverse + np.einsum("irj,krj->ikj", us, step.u)
        yield step, s_bar, us, inner
        if step is not trace[0]:
            s_bar = _below(step, s_bar, us, inner)


def _below(step: Elimination, s_bar: Array, us: Array, inner: Array) -> Array:
    """The adjoint of a level's cross-products, which is the S_bar of the level below: (m, m, J)."""
    corner = np.einsum("ac,cdj,bd->abj", step.lam, inner, step.lam)
    side = -np.einsum("ac,crj->arj", step.lam, us)
    here = s_bar[:, :, step.rung.parents]
    upper = np.concatenate((corner, side), axis=1)
    return np.concatenate((upper, np.concatenate((side.transpose(1, 0, 2), here), axis=1)))


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
        al = left(step.lam.T, step.a).transpose(1, 0, 2)
        t0 = step.a - np.einsum("acj,cdj,bdj->abj", al, step.inverse, al)
        flat = t0.reshape(-1, t0.shape[2])
        q = len(t0)
        products = (flat @ flat.T).reshape(q, q, q, q)
        # sum_j t0[a, c] t0[d, b] belongs to the pair of elements (a, b), (c, d) of dT
        found.append(products.transpose(0, 3, 1, 2).reshape(q * q, q * q))
    return found


def _times_by_parent(u: Array, s_bar: Array, parents: NDArray[np.int64]) -> Array:
    """``U S_bar``, each unit with its parent's S_bar: (q, r, J), (r, r, J_parent) -> (q, r, J)."""
    if s_bar.shape[2] == 1:
        return np.asarray(np.matmul(s_bar[:, :, 0].T, u))
    result = np.zeros(u.shape, dtype=np.result_type(u, s_bar))
    for i in range(u.shape[1]):
        for k in range(u.shape[1]):
            result[:, i] += u[:, k] * s_bar[k, i][parents]
    return result
