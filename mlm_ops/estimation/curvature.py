"""Exact second derivatives of the deviance for one grouping factor, in closed form.

With ``T0 = Z' V^-1 Z`` and ``Q = Z' V^-1 [X y]`` of each unit, a direction E of T / sigma2 moves them by
``dT0 = -T0 E T0`` and ``dQ = -T0 E Q``, and W by ``-sum Q' E Q``. So all that is needed are four sums over units,
none larger than the square of a unit's random effects times that of the columns. (The derivatives are those of
Lindstrom and Bates 1988, Journal of the American Statistical Association 83, section 3, on moments.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.nested import Elimination

Array = NDArray[np.float64]


def hessian_by_covariance(
    step: Elimination,
    w_bar: Array,
    directions: Array,
    w: Array,
    beta: Array,
    sigma2: float,
    degrees: int | None,
    *,
    reml: bool,
) -> Array:
    """Second derivatives of the profiled deviance along directions of T / sigma2.

    Parameters
    ----------
    step
        The elimination of the one grouping factor.
    w_bar
        (p + 1, p + 1) derivative of the deviance by W.
    directions
        (k, q, q) symmetric directions E.
    w, beta, sigma2, degrees
        (p + 1, p + 1), (p,), and numbers, as `criterion.Solution` has them; degrees are None where sigma2 is not
        profiled out.

    Returns
    -------
    Array
        (k, k).
    """
    p = len(beta)
    inverse = np.zeros_like(w)
    inverse[:p, :p] = np.linalg.inv(w[:p, :p])
    b = np.append(-beta, 1.0)
    dw = -np.einsum("kab,arbs->krs", directions, step.pairs_zx)
    along = dw @ b
    data = -2 / sigma2 * along @ inverse @ along.T
    if degrees is not None:
        slopes = along @ b
        data -= np.outer(slopes, slopes) / (degrees * sigma2**2)
    if reml:
        moved = inverse @ dw
        data -= np.einsum("krs,lsr->kl", moved, moved)
    # sum tr(T0 E T0 F) and sum tr(H E T0 F), H and T0 being symmetric
    determinant = np.einsum("kab,bcda,lcd->kl", directions, step.pairs_zz, directions)
    schur = np.einsum("kab,dabc,lcd->kl", directions, _weighted_pairs(step, w_bar), directions)
    result: Array = data - determinant + schur + schur.T
    return result


def _weighted_pairs(step: Elimination, w_bar: Array) -> Array:
    """(q, q, q, q): sum over the units of ``(Q W_bar Q')_ab T0_cd``."""
    q = len(step.lam)
    weighted = np.matmul(w_bar, step.zx)
    h = np.empty_like(step.zz)
    for a in range(q):
        for b in range(a + 1):
            h[a, b] = h[b, a] = np.einsum("rj,rj->j", weighted[a], step.zx[b])
    return np.asarray(h.reshape(q * q, -1) @ step.zz.reshape(q * q, -1).T).reshape(q, q, q, q)
