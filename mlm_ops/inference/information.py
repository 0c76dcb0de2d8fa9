"""What expected information and the variance of fixed effects are made of, from moments: for one grouping factor.

The covariance matrix of the outcome, relative to sigma2, is ``V = I + sum_g Z_g T Z_g'`` with ``T = sum_i t_i E_i``;
its derivatives are ``V_i = sum_g Z_g E_i Z_g'``. Kenward and Roger (1997), Biometrics 53, 983-997, need sums of
``X' V^-1 V_i V^-1 X`` and the like; with ``T0 = Z' V^-1 Z`` and ``U = Z' V^-1 X`` every one of them is a sum over units
of small products. `information_nested` and `information_dense` have the same sums for several grouping factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.stacked import cholesky, inverse, left

Array = NDArray[np.float64]


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


def single_level(products: Array, lam: Array, directions: Sequence[Direction], n_fixed: int) -> Sums:
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
    middle = np.matmul(lam.T, left(lam.T, a))
    for i in range(len(lam)):
        middle[i, i] += 1.0
    return np.asarray(np.einsum("ac,cdj,bd->abj", lam, inverse(cholesky(middle)), lam, optimize=True))
