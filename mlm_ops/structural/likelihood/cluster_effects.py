"""Integrate out the random effects of each cluster: the part of the likelihood that is not linear in the sums.

A cluster's rows have precision K and pull g on its q random effects v ~ N(m, V), both linear in its sums. With
h = g - K m, N = (I + K V)^-1, u = N h and the conditional mean v^ = m + V u, -2 log of the integral over v is

    log |I + K V| - h' V u - m' (g + h),

V may be singular. Its derivatives by K, g, m and V are E = V N + v^ v^', -2 v^, -2 u and R - u u', R = N K
(Rockwood 2020, Psychometrika 85, sec. 3.2, in the notation of linear mixed models).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlm_ops.moments.arrays import Array

#: Elements of the arrays of one batch of clusters, which stays in the processor's cache.
_BATCH = 400_000
#: An eigenvalue of a covariance matrix above minus this share of the largest is not negative.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class EffectSums:
    """What the integral depends on in some clusters.

    Attributes
    ----------
    weights
        (J, c) of which K is a linear function.
    pulls
        (J, f) of which g is one; the weights are the first of them.
    level2
        (J, 1 + r) one, and observed variables of level 2: m is linear in them.
    shares
        (J,) weights of the clusters in sums over them; None for ones.
    """

    weights: Array
    pulls: Array
    level2: Array
    shares: Array | None = None

    def share(self, part: slice) -> Array:
        """The weights of some clusters."""
        return np.ones(len(self.weights[part])) if self.shares is None else self.shares[part]


@dataclass(frozen=True)
class EffectModel:
    """The linear functions at some parameters, or their derivatives.

    Attributes
    ----------
    precision
        (c, q, q) of K.
    pull
        (f, q) of g.
    mean
        (1 + r, q) of m.
    covariance
        (q, q) V.
    """

    precision: Array
    pull: Array
    mean: Array
    covariance: Array


@dataclass(frozen=True)
class Integral:
    """The integrals at some parameters.

    Attributes
    ----------
    deviance
        Summed over clusters.
    precision, shrinkage
        (J, q, q) K and N.
    conditional, residual
        (J, q) v^ and u.
    by_precision, by_pull, by_mean, by_covariance
        Derivatives of the deviance by the linear functions, in their shapes.
    """

    deviance: float
    precision: Array
    shrinkage: Array
    conditional: Array
    residual: Array
    by_precision: Array
    by_pull: Array
    by_mean: Array
    by_covariance: Array


def _batches(size: int, width: int) -> Iterator[slice]:
    step = max(16, _BATCH // max(1, width))
    return (slice(i, i + step) for i in range(0, size, step))


def integral_deviances(sums: EffectSums, model: EffectModel) -> Array:
    """(J,) the clusters' deviances alone.

    Raises
    ------
    LinAlgError
        A cluster's integral does not exist, as V is indefinite.
    """
    q = len(model.covariance)
    values = np.zeros(len(sums.weights))
    for part in _batches(len(values) if q else 0, 4 * q * q + sums.pulls.shape[1]):
        k, h, m, g = _linear(sums, model, part)
        shrink = np.eye(q) + k @ model.covariance
        u = np.linalg.solve(shrink, h[:, :, None])[:, :, 0]
        fits = np.einsum("jq,jq->j", h @ model.covariance, u) + np.einsum("jq,jq->j", m, g + h)
        values[part] = _log_determinants(k, shrink, model.covariance) - fits
    return values


def integrate(sums: EffectSums, model: EffectModel) -> Integral:
    """The deviance, what the clusters' effects are, and first derivatives.

    Raises
    ------
    LinAlgError
        As `integral_deviances`.
    """
    clusters, q = len(sums.weights), len(model.covariance)
    precision, shrinkage = np.empty((clusters, q, q)), np.empty((clusters, q, q))
    conditional, residual = np.empty((clusters, q)), np.empty((clusters, q))
    by_precision = np.zeros((sums.weights.shape[1], q * q))
    by_covariance = np.zeros((q, q))
    total = 0.0
    # without random effects there is nothing to integrate
    for part in _batches(clusters if q else 0, 6 * q * q + sums.pulls.shape[1]):
        k, h, m, g = _linear(sums, model, part)
        shrink = np.eye(q) + k @ model.covariance
        logs, share = _log_determinants(k, shrink, model.covariance), sums.share(part)
        n = np.linalg.inv(shrink)
        u = (n @ h[:, :, None])[:, :, 0]
        shift = u @ model.covariance
        v = m + shift
        total += float(share @ (logs - np.einsum("jq,jq->j", h, shift) - np.einsum("jq,jq->j", m, g + h)))
        second = model.covariance @ n + v[:, :, None] * v[:, None, :]
        by_precision += (sums.weights[part] * share[:, None]).T @ second.reshape(-1, q * q)
        weighted = n * share[:, None, None]
        by_covariance += np.tensordot(weighted, k, axes=([0, 2], [0, 1])) - (u * share[:, None]).T @ u
        precision[part], shrinkage[part], conditional[part], residual[part] = k, n, v, u
    every = sums.share(slice(None))
    return Integral(
        total,
        precision,
        shrinkage,
        conditional,
        residual,
        by_precision.reshape(sums.weights.shape[1], q, q),
        -2 * sums.pulls.T @ (conditional * every[:, None]),
        -2 * sums.level2.T @ (residual * every[:, None]),
        (by_covariance + by_covariance.T) / 2,
    )


def _linear(sums: EffectSums, model: EffectModel, part: slice) -> tuple[Array, Array, Array, Array]:
    """K, h, m and g of some clusters."""
    q = len(model.covariance)
    k = (sums.weights[part] @ model.precision.reshape(-1, q * q)).reshape(-1, q, q)
    g = sums.pulls[part] @ model.pull
    m = sums.level2[part] @ model.mean
    return k, g - (k @ m[:, :, None])[:, :, 0], m, g


def _log_determinants(precision: Array, shrink: Array, covariance: Array) -> Array:
    """(J,) log |I + K V|, which exists where I + K^1/2 V K^1/2 is positive definite."""
    sign, logs = np.linalg.slogdet(shrink)
    if (sign <= 0).any() or not np.isfinite(logs).all():
        raise np.linalg.LinAlgError("an integral over random effects does not exist")
    spectrum = np.linalg.eigvalsh(covariance)
    # one that is singular by its making is so up to rounding
    if len(covariance) and spectrum[0] < -_ROUNDING * spectrum[-1]:
        values, vectors = np.linalg.eigh(precision)
        root = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        whole = np.eye(len(covariance)) + root.swapaxes(1, 2) @ covariance @ root
        if np.linalg.eigvalsh(whole).min() <= 0:
            raise np.linalg.LinAlgError("an integral over random effects does not exist")
    return np.asarray(logs)


def second_derivatives(sums: EffectSums, at: Integral, model: EffectModel, by: EffectModel) -> Array:
    """(k, k) the quadratic form of first derivatives of the linear functions in the deviance's second derivatives.

    With a = dg - dK v^ and b = dm + dV u it is, for directions 1 and 2,

        -2 (a' V N a + a' N' b + b' N a - b' R b) - tr(V N dK V N dK) + 2 tr(N' dV N dK) - tr(R dV R dV).

    Parameters
    ----------
    by
        Derivatives, parameters first in every array.
    """
    count, q = len(by.covariance), len(model.covariance)
    hessian = np.zeros((count, count))
    if not q:
        return hessian
    moves = np.flatnonzero(np.abs(by.precision).reshape(count, -1).max(axis=1, initial=0.0) > 0)
    # with K's parameters in the middle one product per cluster serves them all
    slopes_k = by.precision[moves].transpose(1, 2, 0, 3).reshape(-1, q * len(moves) * q)
    slopes_g = by.pull.transpose(1, 0, 2).reshape(-1, count * q)
    slopes_m = by.mean.transpose(1, 0, 2).reshape(-1, count * q)
    slopes_v = by.covariance.transpose(1, 0, 2).reshape(q, count * q)
    crossed, rr = np.zeros((len(moves), q, q)), np.zeros((q * q, q * q))
    own = np.ix_(moves, moves)
    for part in _batches(len(sums.weights), 6 * q * (q * len(moves) + count) + sums.pulls.shape[1]):
        n, v, u = at.shrinkage[part], at.conditional[part], at.residual[part]
        root = np.sqrt(sums.share(part))
        spread, r = model.covariance @ n, n @ at.precision[part] * root[:, None, None]
        d_k = ((sums.weights[part] * root[:, None]) @ slopes_k).reshape(-1, q, len(moves) * q)
        a = ((sums.pulls[part] * root[:, None]) @ slopes_g).reshape(-1, count, q)
        a[:, moves] -= (v[:, None, :] @ d_k).reshape(-1, len(moves), q)
        b = (sums.level2[part] @ slopes_m + u @ slopes_v).reshape(-1, count, q)
        b = b * root[:, None, None]
        mixed = _products(b, a @ n.swapaxes(1, 2))
        hessian -= 2 * (_products(a, a @ spread) + mixed + mixed.T - _products(b, b @ (n @ at.precision[part])))
        x = (spread @ d_k).reshape(-1, q, len(moves), q)
        hessian[own] -= np.tensordot(x, x, axes=([0, 1, 3], [0, 3, 1]))
        y = (n @ d_k).reshape(-1, q, len(moves), q)
        crossed += np.tensordot(y, n * root[:, None, None], axes=([0, 3], [0, 2])).transpose(1, 0, 2)
        rr += r.reshape(-1, q * q).T @ r.reshape(-1, q * q)
    cross = np.einsum("kab,lab->kl", crossed, by.covariance)
    hessian[moves] += cross
    hessian[:, moves] += cross.T
    # tr(R dV R dV) = R_ab dV_bc R_cd dV_da
    pushed = np.einsum("abcd,kbc->kad", rr.reshape(q, q, q, q), by.covariance)
    hessian -= np.einsum("kad,lda->kl", pushed, by.covariance)
    return (hessian + hessian.T) / 2


def _products(left: Array, right: Array) -> Array:
    """(k, k) sums over clusters and effects."""
    return np.asarray(np.tensordot(left, right, axes=([0, 2], [0, 2])))


def integral_scores(sums: EffectSums, at: Integral, model: EffectModel, by: EffectModel) -> Array:
    """(J, k) each cluster's derivative of its deviance by the parameters."""
    count, q = len(by.covariance), len(model.covariance)
    scores = np.zeros((len(sums.weights), count))
    if not q:
        return scores
    slopes_k = by.precision.transpose(1, 0, 2, 3).reshape(-1, count * q * q)
    slopes_g = by.pull.transpose(1, 0, 2).reshape(-1, count * q)
    slopes_m = by.mean.transpose(1, 0, 2).reshape(-1, count * q)
    flat_v = by.covariance.reshape(count, q * q).T
    for part in _batches(len(scores), 4 * q * q * count + sums.pulls.shape[1]):
        n, v, u = at.shrinkage[part], at.conditional[part], at.residual[part]
        second = (model.covariance @ n + v[:, :, None] * v[:, None, :]).reshape(-1, q * q)
        slope_v = (n @ at.precision[part] - u[:, :, None] * u[:, None, :]).reshape(-1, q * q)
        d_k = (sums.weights[part] @ slopes_k).reshape(-1, count, q * q)
        d_g = (sums.pulls[part] @ slopes_g).reshape(-1, count, q)
        d_m = (sums.level2[part] @ slopes_m).reshape(-1, count, q)
        score = (d_k @ second[:, :, None])[:, :, 0] + slope_v @ flat_v
        scores[part] = score - 2 * ((d_g @ v[:, :, None]) + (d_m @ u[:, :, None]))[:, :, 0]
    return scores
