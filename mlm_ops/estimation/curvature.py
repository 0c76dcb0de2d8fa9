"""Exact second derivatives of the deviance for one grouping factor, in closed form.

With ``T0 = A - A M A`` and ``Q = (I - A M) B`` of each unit, a direction E of T / sigma2 moves them by
``dT0 = -T0 E T0`` and ``dQ = -T0 E Q``, and W by ``-sum Q' E Q``. So all that is needed are four sums over units,
none larger than the square of a unit's random effects times that of the columns. (The derivatives are those of
Lindstrom and Bates 1988, Journal of the American Statistical Association 83, section 3, on moments.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.nested import Elimination
from mlm_ops.estimation.stacked import left

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curvature:
    """Sums over units.

    Attributes
    ----------
    t0
        (q, q): sum of T0.
    qq
        (q, q, r, r): sum of ``Q_a' Q_b``, the rows a and b of Q.
    t0_t0
        (q, q, q, q): sum of ``T0_ab T0_cd``.
    h_t0
        (q, q, q, q): sum of ``(Q W_bar Q')_ab T0_cd``.
    """

    t0: Array
    qq: Array
    t0_t0: Array
    h_t0: Array

    def gradient(self, w_bar: Array) -> Array:
        """(q, q) derivative of the deviance by T / sigma2."""
        by_covariance: Array = self.t0 - np.einsum("abrs,rs->ab", self.qq, w_bar)
        return by_covariance


def curvature(step: Elimination, w_bar: Array) -> Curvature:
    """Take the sums.

    Parameters
    ----------
    step
        The elimination of the one grouping factor.
    w_bar
        (r, r) derivative of the deviance by W.
    """
    al = left(step.lam.T, step.a).transpose(1, 0, 2)
    shrink = np.einsum("acj,cdj->adj", al, step.inverse)
    t0 = step.a - np.einsum("adj,bdj->abj", shrink, al)
    q = step.b - np.einsum("acj,crj->arj", al, step.u)
    size = len(t0)
    qq = np.empty((size, size, q.shape[1], q.shape[1]))
    h = np.empty_like(t0)
    weighted = np.matmul(w_bar, q)
    for a in range(size):
        for b in range(a + 1):
            qq[a, b] = q[a] @ q[b].T
            qq[b, a] = qq[a, b].T
            h[a, b] = h[b, a] = np.einsum("rj,rj->j", weighted[a], q[b])
    flat_t0, flat_h = t0.reshape(size * size, -1), h.reshape(size * size, -1)
    shape = (size, size, size, size)
    return Curvature(t0.sum(axis=2), qq, (flat_t0 @ flat_t0.T).reshape(shape), (flat_h @ flat_t0.T).reshape(shape))


def hessian_by_covariance(
    sums: Curvature, directions: Array, w: Array, beta: Array, residual: float, degrees: int, *, reml: bool
) -> Array:
    """Second derivatives of the profiled deviance along directions of T / sigma2.

    Parameters
    ----------
    directions
        (k, q, q) symmetric directions E.
    w, beta, residual, degrees
        (p + 1, p + 1), (p,), and numbers: the profiled model, as `criterion.Solution` has them.

    Returns
    -------
    Array
        (k, k).
    """
    p = len(beta)
    inverse = np.zeros_like(w)
    inverse[:p, :p] = np.linalg.inv(w[:p, :p])
    b = np.append(-beta, 1.0)
    dw = -np.einsum("kab,abrs->krs", directions, sums.qq)
    along = dw @ b
    scale = degrees / residual
    slopes = along @ b
    data = -2 * scale * along @ inverse @ along.T - scale / residual * np.outer(slopes, slopes)
    if reml:
        moved = inverse @ dw
        data -= np.einsum("krs,lsr->kl", moved, moved)
    # sum tr(T0 E T0 F) and sum tr(H E T0 F), H and T0 being symmetric
    determinant = np.einsum("kab,bcda,lcd->kl", directions, sums.t0_t0, directions)
    schur = np.einsum("kab,dabc,lcd->kl", directions, sums.h_t0, directions)
    result: Array = data - determinant + schur + schur.T
    return result
