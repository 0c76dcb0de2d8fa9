"""Errors of least squares that are robust to clusters (CR2), from matrices of the size of the coefficients alone.

Without random effects V is one, so that ``A_j`` of CR2 is ``(I - X_j M X_j')^-1/2``, and ``X_j' A_j`` is
``(I - G_j)^-1/2 X_j'`` with ``G_j = X_j' X_j`` of the rotated X: the span of each cluster, which `cluster_robust` draws
up, is not needed for the covariance matrix. Bell and McCaffrey (2002), Survey Methodology 28, 169-181.
"""

from __future__ import annotations

import numpy as np

from mlm_ops.estimation.design.groups import Clusters
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.nested import CHUNK
from mlm_ops.estimation.stacked import premultiply
from mlm_ops.inference.fixed.cluster_span import rotation
from mlm_ops.inference.fixed.robust import LEVERAGE_TOLERANCE, user_from_rotated
from mlm_ops.moments.arrays import Array

#: Clusters whose leverages sum to no more than this have their root as a power series.
_SMALL = 0.05


def clustered_vcov(estimate: Estimate, clusters: Clusters) -> Array:
    """(p, p) covariance matrix CR2 of a least-squares fit, on the user's scale.

    Parameters
    ----------
    estimate
        Of a design without random effects and residual structure.
    clusters
        Over the cells of its design.
    """
    beta, rotate = estimate.optimum.solution.beta, rotation(estimate)
    p = len(beta)
    products = _by_cluster(estimate.products, clusters)
    x = products[:p, :p]
    scores = rotate.T @ (products[:p, p] - np.einsum("abj,b->aj", x, beta))
    leverage = np.einsum("ab,abj->j", rotate @ rotate.T, x)
    large = np.flatnonzero(leverage > _SMALL)
    leverage[large] = 0.0
    adjusted = np.empty_like(scores)
    for start in range(0, len(leverage), CHUNK):
        own = slice(start, start + CHUNK)
        adjusted[:, own] = _by_series(x[:, :, own], rotate, scores[:, own], leverage[own])
    if len(large):
        adjusted[:, large] = _by_eigenvalues(x[:, :, large], rotate, scores[:, large])
    user = user_from_rotated(estimate) @ adjusted
    vcov: Array = user @ user.T
    return vcov


def _by_cluster(products: Array, clusters: Clusters) -> Array:
    """(m, m, cells) summed into clusters, (m, m, J), in any order."""
    if products.shape[2] == clusters.size:
        return products
    order = np.argsort(clusters.codes, kind="stable")
    starts = np.searchsorted(clusters.codes[order], np.arange(clusters.size))
    sums: Array = np.add.reduceat(products[:, :, order], starts, axis=2)
    return sums


def _by_series(x: Array, rotate: Array, scores: Array, leverage: Array) -> Array:
    """``(I - G)^-1/2 s`` for X'X (p, p, J) and s (p, J): the binomial series, as far as doubles tell its terms.

    No eigenvalue of G is larger than its trace, the leverage.
    """
    coefficients, largest = [1.0], float(leverage.max(initial=0.0))
    while largest ** len(coefficients) > np.finfo(np.float64).eps / 8:
        k = len(coefficients)
        coefficients.append(coefficients[-1] * (2 * k - 1) / (2 * k))
    result = coefficients[-1] * scores
    for coefficient in reversed(coefficients[:-1]):
        result = rotate.T @ np.einsum("abj,bj->aj", x, rotate @ result) + coefficient * scores
    return result


def _by_eigenvalues(x: Array, rotate: Array, scores: Array) -> Array:
    """The same where a cluster has much of the information; generalised where it has all on a direction."""
    gram = premultiply(rotate.T, premultiply(rotate.T, x).transpose(1, 0, 2))
    values, vectors = np.linalg.eigh(gram.transpose(2, 0, 1))
    rest = 1.0 - values
    is_left = rest > LEVERAGE_TOLERANCE
    power = np.where(is_left, 1.0 / np.sqrt(np.where(is_left, rest, 1.0)), 0.0)
    result: Array = np.einsum("jak,jk,jbk,bj->aj", vectors, power, vectors, scores, optimize=True)
    return result
