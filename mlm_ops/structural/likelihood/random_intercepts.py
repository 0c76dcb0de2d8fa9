"""The two-level likelihood of random intercepts: deviance, gradient, second derivatives, scores of clusters.

With the cluster means ``m_j`` of all t columns and their model covariance ``C_n = Sigma_B + Sigma_W / n`` (Sigma_W only
among the p row-level columns), normal rows give

    -2 log L = (N p + J q) log 2 pi + (N - J) log |Sigma_W| + tr Sigma_W^-1 SSP_W
             + sum_s J_s [ log |C_s| + p log n_s + tr C_s^-1 (S_s + d_s d_s') ],    d_s = m_s - mu.

It is McDonald and Goldstein's (1989) and Bentler and Liang's (2003); between-only columns, which have no rows within
clusters, need no conditioning when they are kept among the means. The within part has the form of one more size, with
N - J clusters that have no mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.moments.sums import lower_by_rows
from mlm_ops.structural.algebra.matrices import Implied, SemStructure
from mlm_ops.structural.statistics.from_moments import TwoLevelStatistics

_LOG_2PI = math.log(2 * math.pi)
#: Elements of a block of derivative matrices that are held at once.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Evaluation:
    """The deviance at some parameters, and its derivatives by the implied moments.

    Attributes
    ----------
    deviance
        -2 log L.
    gradient
        (k,) by the parameters.
    by_within, by_between, by_mean
        (p, p), (t, t), (t,): derivatives by Sigma_W, Sigma_B and mu.
    precision, inner
        (S, t, t): C_s^-1, and C_s^-1 (S_s + d d') C_s^-1.
    within_precision, within_inner
        (p, p) the same of the within part, per N - J.
    weighted
        (S, t): C_s^-1 d_s.
    jacobian
        Of Sigma_W, Sigma_B and mu.
    """

    deviance: float
    gradient: Array
    by_within: Array
    by_between: Array
    by_mean: Array
    precision: Array
    inner: Array
    within_precision: Array
    within_inner: Array
    weighted: Array
    jacobian: tuple[Array, Array, Array]


@dataclass(frozen=True)
class Likelihood:
    """The criterion of one model over one set of statistics."""

    structure: SemStructure
    statistics: TwoLevelStatistics

    def deviance(self, theta: Array) -> float:
        """-2 log L; infinite where a covariance matrix is not positive definite."""
        try:
            implied = self._implied(theta)
            return self._deviance(implied, *self._factors(implied))
        except np.linalg.LinAlgError:
            return math.inf

    def evaluate(self, theta: Array) -> Evaluation | None:
        """The deviance and its derivatives; None where a covariance matrix is not positive definite."""
        try:
            implied = self._implied(theta)
            factor_w, factors = self._factors(implied)
        except np.linalg.LinAlgError:
            return None
        s = self.statistics
        p, free_rows = s.n_row_level, s.n_obs - s.n_clusters
        precision_w, precision = _inverse(factor_w), _inverse(factors)
        d = s.means - implied.mean
        weighted = np.einsum("sij,sj->si", precision, d)
        inner = precision @ s.covariances @ precision + weighted[:, :, None] * weighted[:, None, :]
        inner_w = precision_w @ (s.scatter / free_rows) @ precision_w
        residual = s.counts[:, None, None] * (precision - inner)
        by_within = free_rows * (precision_w - inner_w)
        by_within = by_within + np.einsum("sij,s->ij", residual[:, :p, :p], 1 / s.sizes)
        by_between = residual.sum(axis=0)
        by_mean = -2 * s.counts @ weighted
        jacobian = self.structure.jacobian(theta)
        gradient = (
            np.einsum("kij,ij->k", jacobian[0], by_within)
            + np.einsum("kij,ij->k", jacobian[1], by_between)
            + jacobian[2] @ by_mean
        )
        return Evaluation(
            self._deviance(implied, factor_w, factors),
            gradient,
            by_within,
            by_between,
            by_mean,
            precision,
            inner,
            precision_w,
            inner_w,
            weighted,
            jacobian,
        )

    def expected_information(self, at: Evaluation) -> Array:
        """(k, k) expected second derivatives of the deviance: twice Fisher's information."""
        by_means = np.einsum("s,sij->ij", self.statistics.counts, at.precision)
        means = at.jacobian[2]
        return np.asarray(self._curvature(at, at.within_precision, at.precision) + 2 * means @ by_means @ means.T)

    def hessian(self, theta: Array, at: Evaluation) -> Array:
        """(k, k) exact second derivatives of the deviance."""
        s = self.statistics
        means = at.jacobian[2]
        curvature = (
            self._curvature(at, 2 * at.within_inner - at.within_precision, 2 * at.inner - at.precision)
            + 2 * means @ np.einsum("s,sij->ij", s.counts, at.precision) @ means.T
        )
        cross = np.zeros_like(curvature)
        for part in self._parts():
            by_theta = self._by_size(at, part)
            pull = np.einsum("skij,sj->ski", by_theta, at.weighted[part])
            pull = np.einsum("ski,sij->kj", pull * s.counts[part][:, None, None], at.precision[part])
            cross += 2 * pull @ means.T
        structural = self.structure.curvature(theta, at.by_within, at.by_between, at.by_mean)
        return np.asarray(curvature + cross + cross.T + structural)

    def scores(self, at: Evaluation, mean: Array) -> Array:
        """(J, k) each cluster's derivative of its own -2 log L; they sum to the gradient.

        Parameters
        ----------
        mean
            (t,) the implied means at the evaluation.
        """
        s, clusters = self.statistics, self.statistics.clusters
        p, t = s.n_row_level, len(s.columns)
        jacobian_w, jacobian_b, jacobian_m = at.jacobian
        size = np.searchsorted(s.sizes, clusters.n)
        weighted = np.einsum("jab,bj->ja", at.precision[size], clusters.mean - (mean - s.origin)[:, None])
        rows, cols = lower_by_rows(p)
        weights = np.where(rows == cols, 1.0, 2.0)
        by_scatter = at.within_precision @ jacobian_w @ at.within_precision
        log_determinant_slopes = np.einsum("kij,ij->k", jacobian_w, at.within_precision)
        scores = (clusters.n[:, None] - 1) * log_determinant_slopes - clusters.scatter.T @ (
            by_scatter[:, rows, cols] * weights
        ).T
        rows, cols = lower_by_rows(t)
        weights = np.where(rows == cols, 1.0, 2.0)
        outer = weighted[:, rows] * weighted[:, cols] * weights
        scores -= outer @ jacobian_b[:, rows, cols].T
        own = (rows < p) & (cols < p)
        scores -= (outer[:, own] @ jacobian_w[:, rows[own], cols[own]].T) / clusters.n[:, None]
        expected = np.einsum("kij,sij->sk", jacobian_b, at.precision)
        expected += np.einsum("kij,sij->sk", jacobian_w, at.precision[:, :p, :p]) / s.sizes[:, None]
        return np.asarray(scores + expected[size] - 2 * weighted @ jacobian_m.T)

    def _implied(self, theta: Array) -> Implied:
        implied = self.structure.implied(theta)
        return Implied(implied.within, implied.between, implied.mean - self.statistics.origin)

    def _factors(self, implied: Implied) -> tuple[Array, Array]:
        """Cholesky factors of Sigma_W (p, p) and of every C_s (S, t, t)."""
        p = self.statistics.n_row_level
        matrices = np.repeat(implied.between[None], len(self.statistics.sizes), axis=0)
        matrices[:, :p, :p] += implied.within / self.statistics.sizes[:, None, None]
        return np.linalg.cholesky(implied.within), np.linalg.cholesky(matrices)

    def _deviance(self, implied: Implied, factor_w: Array, factors: Array) -> float:
        s = self.statistics
        p, t = s.n_row_level, len(s.columns)
        white = np.linalg.solve(factors, np.concatenate([s.covariances, (s.means - implied.mean)[:, :, None]], axis=2))
        traces = np.einsum("sii->s", np.linalg.solve(factors, white[:, :, :t].transpose(0, 2, 1)))
        fit = traces + (white[:, :, t] ** 2).sum(axis=1)
        determinants = 2 * np.log(np.einsum("sii->si", factors)).sum(axis=1)
        within = np.linalg.solve(factor_w, np.linalg.solve(factor_w, s.scatter).T)
        return float(
            (s.n_obs * p + s.n_clusters * (t - p)) * _LOG_2PI
            + (s.n_obs - s.n_clusters) * 2 * np.log(np.diag(factor_w)).sum()
            + np.trace(within)
            + s.counts @ (determinants + p * np.log(s.sizes) + fit)
        )

    def _parts(self) -> list[slice]:
        """Sizes in blocks whose derivative matrices fit the cache."""
        s = self.statistics
        step = max(1, _BLOCK // max(1, self.structure.n_free * len(s.columns) ** 2))
        return [slice(i, i + step) for i in range(0, len(s.sizes), step)]

    def _by_size(self, at: Evaluation, part: slice) -> Array:
        """(s, k, t, t) derivatives of C_s by the parameters."""
        s = self.statistics
        p = s.n_row_level
        by_theta = np.repeat(at.jacobian[1][None], len(s.sizes[part]), axis=0)
        by_theta[:, :, :p, :p] += at.jacobian[0] / s.sizes[part][:, None, None, None]
        return by_theta

    def _curvature(self, at: Evaluation, within: Array, by_size: Array) -> Array:
        """``sum_s J_s tr(dC_i C^-1 dC_j V_s)``, the within part included."""
        s = self.statistics
        k = self.structure.n_free
        # one product over all elements: a row of `left` is V dC_i P, of `right` dC_j
        left = (within @ at.jacobian[0] @ at.within_precision).reshape(k, -1)
        right = at.jacobian[0].reshape(k, -1)
        curvature = (s.n_obs - s.n_clusters) * left @ right.T
        if len(s.columns) ** 4 <= _BLOCK:
            curvature = curvature + self._curvature_of_means(at, by_size)
        else:
            for part in self._parts():
                by_theta = self._by_size(at, part)
                weight = s.counts[part][:, None, None]
                first = (by_size[part] * weight)[:, None] @ by_theta @ at.precision[part][:, None]
                curvature = curvature + (
                    first.transpose(1, 0, 2, 3).reshape(k, -1) @ by_theta.transpose(1, 0, 2, 3).reshape(k, -1).T
                )
        return np.asarray((curvature + curvature.T) / 2)

    def _curvature_of_means(self, at: Evaluation, by_size: Array) -> Array:
        """The part of the cluster means: sums over the sizes first, of V x C^-1 by powers of 1/n, (t^2, t^2) each."""
        s, t, p = self.statistics, len(self.statistics.columns), self.statistics.n_row_level
        between = at.jacobian[1].reshape(-1, t * t)
        within = np.zeros_like(at.jacobian[1])
        within[:, :p, :p] = at.jacobian[0]
        parts = (between, within.reshape(-1, t * t))
        flat = by_size.reshape(-1, t * t), at.precision.reshape(-1, t * t)
        curvature = np.zeros((len(between),) * 2)
        for power in range(3):
            products = (flat[0] * (s.counts / s.sizes**power)[:, None]).T @ flat[1]
            # from V[a, b] P[c, d] to what dC[b, c] and dC[a, d] are multiplied with
            products = products.reshape(t, t, t, t).transpose(1, 2, 0, 3).reshape(t * t, t * t)
            for i in range(2):
                if 0 <= power - i < 2:
                    curvature += parts[i] @ products @ parts[power - i].T
        return curvature


def _inverse(factor: Array) -> Array:
    """The inverse of L L', of one matrix or many."""
    inverse = np.linalg.inv(factor)
    return np.asarray(np.swapaxes(inverse, -1, -2) @ inverse)
