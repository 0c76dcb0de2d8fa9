"""The likelihood of random slopes of latent parts within clusters, by adaptive Gauss-Hermite quadrature.

Given its slopes a cluster is one with random intercepts, whose density needs its sums alone (Asparouhov and Muthen
2018, Structural Equation Modeling 26; Preacher, Zhang and Zyphur 2016, Psychological Methods 21): with y = y_b +
s (x - x_b) + e the slope multiplies x, and -s the part x_b, one more effect. In a chain, m = m_b + a (x - x_b) + e and
y = y_b + b (m - m_b) + e, m is observed where it predicts, so that the same holds given both slopes. So the clusters'
likelihood at each node is that of `cluster_likelihood` with the slopes among what the cluster shows, and integrals over
them are sums over a grid of nodes, placed around the slopes' conditional mean in steps of the Cholesky factor of their
conditional covariance matrix (Naylor and Smith 1982, Applied Statistics 31; Liu and Pierce 1994, Biometrika 81;
Pinheiro and Bates 1995, Journal of Computational and Graphical Statistics 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.algebra.matrices import SemStructure
from mlm_ops.structural.likelihood.cluster_likelihood import ClusterEvaluation, ClusterLikelihood
from mlm_ops.structural.statistics.cluster_sums import ClusterSums

#: Nodes of each slope in the search, and in the check of its error, by the number of slopes.
NODES, CHECK = {1: 9, 2: 7}, {1: 21, 2: 15}
#: The same of searches before, which find the way in a fifth of the time.
_COARSE: dict[int, tuple[int, ...]] = {1: (), 2: (3,)}
#: Rounds of placing the nodes at the same parameters, and the change, in standard deviations, that ends them.
_ROUNDS, _STILL = 30, 1e-7
#: Numbers that the clusters of one block have at all their nodes: more would not fit beside others into memory.
_BLOCK = 8_000_000


@dataclass(frozen=True)
class NodeBlock:
    """Some of the clusters at all their nodes.

    Attributes
    ----------
    clusters
        Which.
    shares
        (j, Q) of each node in its cluster's likelihood.
    likelihood, at
        Of every cluster and node, weighted by the shares.
    """

    clusters: slice
    shares: Array
    likelihood: ClusterLikelihood
    at: ClusterEvaluation


@dataclass(frozen=True)
class QuadratureEvaluation:
    """The deviance with its first and second derivatives, and the scores of clusters (J, k)."""

    deviance: float
    gradient: Array
    hessian: Array
    scores: Array
    theta: Array


@dataclass(frozen=True)
class QuadratureLikelihood:
    """The criterion with the nodes held.

    Attributes
    ----------
    structure, statistics
        As `ClusterLikelihood` has them, the d slopes unobserved.
    places, factors
        (J, d) and (J, d, d) the middle of each cluster's nodes, and the lower triangle that takes steps to them.
    count
        Nodes of each slope; Q of all of them together.
    """

    structure: SemStructure
    statistics: ClusterSums
    places: Array
    factors: Array
    count: int
    _logs_at: list[tuple[Array, Array]] = field(default_factory=list, compare=False)
    _last: list[QuadratureEvaluation] = field(default_factory=list, compare=False)

    @property
    def coarse_counts(self) -> tuple[int, ...]:
        """Nodes of each slope in the searches before the last."""
        return _COARSE[self.places.shape[1]]

    @cached_property
    def _grid(self) -> tuple[Array, Array]:
        """(Q, d) steps of a standard normal variable, and (Q,) log weights of a plain sum over them."""
        steps, weights = np.polynomial.hermite_e.hermegauss(self.count)
        d = self.places.shape[1]
        grid = np.stack(np.meshgrid(*[steps] * d, indexing="ij"), axis=-1).reshape(-1, d)
        logs = np.meshgrid(*[np.log(weights) + steps**2 / 2] * d, indexing="ij")
        return grid, np.sum(logs, axis=0).ravel()

    def _nodes(self, clusters: slice) -> Array:
        """(j, Q, d) values of the slopes."""
        return np.asarray(self.places[clusters, None] + self._grid[0] @ self.factors[clusters].swapaxes(1, 2))

    def _parts(self) -> Iterator[slice]:
        """Clusters by blocks."""
        one = self.statistics.choose_clusters(slice(0, 1)).at_nodes(np.zeros((1, 1, self.places.shape[1])))
        q = self.statistics.n_row_level + 2 * len(self.structure.slopes)
        width = 3 * (one.sums.size + one.products.size + one.squares.size) + 4 * q**2 + 2 * self.structure.n_free
        step = max(1, _BLOCK // (width * len(self._grid[1])))
        return (slice(i, i + step) for i in range(0, self.statistics.n_clusters, step))

    def _at_nodes(self, clusters: slice) -> ClusterLikelihood:
        statistics = self.statistics.choose_clusters(clusters).at_nodes(self._nodes(clusters))
        return ClusterLikelihood(self.structure, statistics)

    def _logs(self, theta: Array) -> Array | None:
        """(J, Q) log of each node's part in its cluster's likelihood."""
        # the deviance that a search tries and accepts is evaluated next
        if self._logs_at and np.array_equal(self._logs_at[0][0], theta):
            return self._logs_at[0][1]
        scale = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        logs: Array = self._grid[1] + scale[:, None]
        for clusters in self._parts():
            values = self._at_nodes(clusters).deviances(theta)
            if values is None or not np.isfinite(values).all():
                return None
            logs[clusters] -= values.reshape(-1, logs.shape[1]) / 2
        self._logs_at[:] = [(theta.copy(), logs)]
        return logs

    def deviance(self, theta: Array) -> float:
        """-2 log L; infinite where a covariance matrix is not positive definite."""
        logs = self._logs(theta)
        return math.inf if logs is None else float(-2 * _log_sums(logs).sum())

    def blocks(self, theta: Array) -> Iterator[NodeBlock]:
        """The clusters at their nodes, block by block.

        Raises
        ------
        LinAlgError
            A covariance matrix is not positive definite.
        """
        logs = self._logs(theta)
        for clusters in self._parts() if logs is not None else [slice(0)]:
            shares = np.zeros(0) if logs is None else np.exp(logs[clusters] - _log_sums(logs[clusters])[:, None])
            whole = self._at_nodes(clusters)
            weighted = replace(whole, statistics=replace(whole.statistics, shares=shares.ravel()))
            at = None if logs is None else weighted.evaluate(theta)
            if at is None:
                raise np.linalg.LinAlgError("a covariance matrix is not positive definite")
            yield NodeBlock(clusters, shares, weighted, at)

    def evaluate(self, theta: Array) -> QuadratureEvaluation | None:
        """The deviance and its derivatives; None where a covariance matrix is not positive definite."""
        # a search looks at its last point three times
        if self._last and np.array_equal(self._last[0].theta, theta):
            return self._last[0]
        k = self.structure.n_free
        gradient, hessian = np.zeros(k), np.zeros((k, k))
        scores = np.empty((self.statistics.n_clusters, k))
        try:
            for block in self.blocks(theta):
                gradient += block.at.gradient
                own = block.likelihood.scores(block.at).reshape(*block.shares.shape, k)
                means = np.einsum("jq,jqk->jk", block.shares, own)
                weighted = (own * np.sqrt(block.shares)[:, :, None]).reshape(-1, k)
                # their mean over the nodes, less half the scores' covariance
                hessian += block.likelihood.hessian(theta, block.at)
                hessian -= (weighted.T @ weighted - means.T @ means) / 2
                scores[block.clusters] = means
        except np.linalg.LinAlgError:
            return None
        at = QuadratureEvaluation(self.deviance(theta), gradient, hessian, scores, theta.copy())
        self._last[:] = [at]
        return at

    def hessian(self, theta: Array, at: QuadratureEvaluation) -> Array:
        """(k, k) second derivatives of the deviance."""
        return at.hessian

    def expected_information(self, at: QuadratureEvaluation) -> Array:
        """(k, k) an estimate of the expected second derivatives: half the sum of the scores' squares."""
        return np.asarray(at.scores.T @ at.scores / 2)

    def scores(self, at: QuadratureEvaluation, mean: Array | None = None) -> Array:
        """(J, k) each cluster's derivative of its own -2 log L; they sum to the gradient."""
        return at.scores

    def adapted(self, theta: Array, count: int | None = None) -> QuadratureLikelihood:
        """The same with nodes around each cluster's conditional mean of the slopes at these parameters."""
        here = self.placed(self.places, self.factors, self.count if count is None else count)
        identity = np.eye(self.places.shape[1])
        for _ in range(_ROUNDS):
            logs = here._logs(theta)
            if logs is None:
                return here
            shares = np.exp(logs - _log_sums(logs)[:, None])
            # in steps of the nodes that there are
            mean = shares @ here._grid[0]
            around = here._grid[0] - mean[:, None]
            spread = np.einsum("jq,jqa,jqb->jab", shares, around, around)
            values, vectors = np.linalg.eigh(spread)
            # few nodes far from the mode see one of themselves alone
            values = np.clip(values, 1 / 16, 16.0)
            ratio = np.linalg.cholesky((vectors * values[:, None]) @ vectors.swapaxes(1, 2))
            moved = np.linalg.norm(np.linalg.solve(ratio, mean[:, :, None])[:, :, 0], axis=1)
            moved += np.abs(ratio - identity).max(axis=(1, 2))
            places = here.places + (here.factors @ mean[:, :, None])[:, :, 0]
            here = here.placed(places, here.factors @ ratio, here.count)
            if moved.max() < _STILL:
                break
        return here

    def placed(self, places: Array, factors: Array, count: int) -> QuadratureLikelihood:
        """The same with other nodes."""
        return QuadratureLikelihood(self.structure, self.statistics, places, factors, count)


def unadapted(structure: SemStructure, statistics: ClusterSums, theta: Array) -> QuadratureLikelihood:
    """The likelihood with the same nodes for all clusters: those of the slopes' own distribution.

    Raises
    ------
    LinAlgError
        The slopes' covariance matrix is not positive definite.
    """
    implied = structure.implied(theta)
    latent = len(statistics.columns) + np.array(structure.latent_slopes)
    spread = implied.between[np.ix_(latent, latent)]
    scale = np.sqrt(np.maximum(np.diag(spread), 1e-12))
    correlation = spread / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    clusters, d = statistics.n_clusters, len(latent)
    factor = scale[:, None] * np.linalg.cholesky(correlation)
    places, factors = np.tile(implied.mean[latent], (clusters, 1)), np.tile(factor, (clusters, 1, 1))
    return QuadratureLikelihood(structure, statistics, places, factors, NODES[d])


def _log_sums(logs: Array) -> Array:
    """(J,) log of the sums of (J, Q) exponentials."""
    most = logs.max(axis=1)
    return np.asarray(most + np.log(np.exp(logs - most[:, None]).sum(axis=1)))
