"""The likelihood of a random slope of a latent part within clusters, by adaptive Gauss-Hermite quadrature.

Given its slope a cluster is one with random intercepts, whose density needs its sums alone (Asparouhov and Muthen 2018,
Structural Equation Modeling 26; Preacher, Zhang and Zyphur 2016, Psychological Methods 21): with y = y_b + s (x - x_b)
+ e the slope multiplies x, and -s the part x_b, one more effect. So the clusters' likelihood at each node is that of
`cluster_likelihood` with the slope among what the cluster shows, and integrals over it are sums over nodes, placed
around the slope's conditional mean in steps of its conditional standard deviation (Naylor and Smith 1982, Applied
Statistics 31).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.cluster_likelihood import ClusterEvaluation, ClusterLikelihood
from mlm_ops.structural.cluster_sums import ClusterSums
from mlm_ops.structural.matrices import SemStructure

#: Nodes of the search, and of the check of its error.
NODES, CHECK = 9, 21
#: Rounds of placing the nodes at the same parameters, and the change, in standard deviations, that ends them.
_ROUNDS, _STILL = 30, 1e-7


@dataclass(frozen=True)
class QuadratureEvaluation:
    """The deviance and its gradient, the scores of clusters (J, k), and second derivatives once they are computed."""

    deviance: float
    gradient: Array
    theta: Array
    shares: Array
    likelihood: ClusterLikelihood
    at: ClusterEvaluation
    memory: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class QuadratureLikelihood:
    """The criterion with the nodes held.

    Attributes
    ----------
    structure, statistics
        As `ClusterLikelihood` has them, the slope unobserved.
    places, scales
        (J,) the middle of each cluster's nodes and their unit.
    count
        Nodes Q.
    """

    structure: SemStructure
    statistics: ClusterSums
    places: Array
    scales: Array
    count: int = NODES

    @cached_property
    def nodes(self) -> Array:
        """(J, Q) values of the slope."""
        steps, _ = np.polynomial.hermite_e.hermegauss(self.count)
        return np.asarray(self.places[:, None] + self.scales[:, None] * steps)

    @cached_property
    def _log_weights(self) -> Array:
        """(J, Q) of a plain sum over the nodes of a function of the slope."""
        steps, weights = np.polynomial.hermite_e.hermegauss(self.count)
        return np.asarray(np.log(self.scales)[:, None] + np.log(weights) + steps**2 / 2)

    @cached_property
    def _at_nodes(self) -> ClusterLikelihood:
        return ClusterLikelihood(self.structure, self.statistics.at_nodes(self.nodes))

    def _logs(self, theta: Array) -> Array | None:
        """(J, Q) log of each node's part in its cluster's likelihood."""
        values = self._at_nodes.deviances(theta)
        if values is None or not np.isfinite(values).all():
            return None
        return np.asarray(self._log_weights - values.reshape(self.nodes.shape) / 2)

    def deviance(self, theta: Array) -> float:
        """-2 log L; infinite where a covariance matrix is not positive definite."""
        logs = self._logs(theta)
        return math.inf if logs is None else float(-2 * _log_sums(logs).sum())

    def evaluate(self, theta: Array) -> QuadratureEvaluation | None:
        """The deviance and its derivatives; None where a covariance matrix is not positive definite."""
        logs = self._logs(theta)
        if logs is None:
            return None
        shares = np.exp(logs - _log_sums(logs)[:, None])
        weighted = replace(self._at_nodes, statistics=replace(self._at_nodes.statistics, shares=shares.ravel()))
        at = weighted.evaluate(theta)
        if at is None:
            return None
        return QuadratureEvaluation(float(-2 * _log_sums(logs).sum()), at.gradient, theta.copy(), shares, weighted, at)

    def hessian(self, theta: Array, at: QuadratureEvaluation) -> Array:
        """(k, k) second derivatives of the deviance: their mean over the nodes, less half the scores' covariance."""
        if "hessian" not in at.memory:
            scores = self._scores_at_nodes(at)
            means = np.einsum("jq,jqk->jk", at.shares, scores)
            spread = np.einsum("jqk,jql->kl", scores * at.shares[:, :, None], scores) - means.T @ means
            at.memory["hessian"] = at.likelihood.hessian(theta, at.at) - spread / 2
        return at.memory["hessian"]

    def expected_information(self, at: QuadratureEvaluation) -> Array:
        """(k, k) an estimate of the expected second derivatives: half the sum of the scores' squares."""
        scores = self.scores(at)
        return np.asarray(scores.T @ scores / 2)

    def scores(self, at: QuadratureEvaluation, mean: Array | None = None) -> Array:
        """(J, k) each cluster's derivative of its own -2 log L; they sum to the gradient."""
        return np.asarray(np.einsum("jq,jqk->jk", at.shares, self._scores_at_nodes(at)))

    def _scores_at_nodes(self, at: QuadratureEvaluation) -> Array:
        if "scores" not in at.memory:
            at.memory["scores"] = at.likelihood.scores(at.at).reshape(*self.nodes.shape, -1)
        return at.memory["scores"]

    def adapted(self, theta: Array, count: int = NODES) -> QuadratureLikelihood:
        """The same with nodes around each cluster's conditional mean of the slope at these parameters."""
        here = replace(self, count=count)
        for _ in range(_ROUNDS):
            logs = here._logs(theta)
            if logs is None:
                return here
            shares = np.exp(logs - _log_sums(logs)[:, None])
            places = (shares * here.nodes).sum(axis=1)
            scales = np.sqrt((shares * (here.nodes - places[:, None]) ** 2).sum(axis=1))
            # few nodes far from the mode see one of themselves alone
            scales = np.clip(scales, here.scales / 4, here.scales * 4)
            moved = np.abs(places - here.places) / scales + np.abs(scales / here.scales - 1)
            here = replace(here, places=places, scales=scales)
            if moved.max() < _STILL:
                break
        return here


def unadapted(structure: SemStructure, statistics: ClusterSums, theta: Array) -> QuadratureLikelihood:
    """The likelihood with the same nodes for all clusters: those of the slope's own distribution."""
    implied = structure.implied(theta)
    place = len(statistics.columns) + structure.latent_slopes[0]
    spread = max(float(implied.between[place, place]), 1e-12)
    ones = np.ones(statistics.n_clusters)
    return QuadratureLikelihood(structure, statistics, implied.mean[place] * ones, math.sqrt(spread) * ones)


def _log_sums(logs: Array) -> Array:
    """(J,) log of the sums of (J, Q) exponentials."""
    most = logs.max(axis=1)
    return np.asarray(most + np.log(np.exp(logs - most[:, None]).sum(axis=1)))
