"""The two-level likelihood of random slopes and of missing cells: deviance, derivatives, scores of clusters.

Given a cluster's random effects v (parts between clusters, and slopes) its rows are independent normal: what a row
shows of the p columns of level 1 has mean mu + D diag(r) v and covariance matrix Sigma_W, where the covariates r are 1
for a part between clusters and the predictor for a slope, and a column of D is a unit vector, or what the slope's
outcome adds to the columns. Rows of a pattern o of observed cells have P_o, the inverse of their block of Sigma_W with
zeros elsewhere; K = sum_o S_o * (D' P_o D), element by element with the cross-products S_o of r, and
g_a = sum_o d_a' P_o sum_i r_ia (y_i - mu). What a cluster shows of level 2 conditions v and adds its own density.
With one pattern and no slope it is the likelihood of `random_intercepts`; a slope's effect has determinant one, as no
outcome acts upon the predictor of its slope.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.moments.sums import lower_by_rows, packed_size
from mlm_ops.structural.algebra.matrices import Implied, SemStructure
from mlm_ops.structural.likelihood.cluster_effects import (
    EffectModel,
    EffectSums,
    Integral,
    integral_deviances,
    integral_scores,
    integrate,
    second_derivatives,
)
from mlm_ops.structural.likelihood.effect_layout import EffectLayout
from mlm_ops.structural.statistics.cluster_sums import ClusterSums

_LOG_2PI = math.log(2 * math.pi)
_STEP = 1e-30


@dataclass(frozen=True)
class _Within:
    """The rows' part at some parameters.

    Attributes
    ----------
    precision
        (O, p, p) P_o.
    directions
        (p, q) D.
    mean
        (p,) mu around the origin.
    """

    precision: Numbers
    directions: Numbers
    mean: Numbers


@dataclass(frozen=True)
class _Between:
    """The random effects given the r observed variables of level 2, and these, at some parameters.

    Attributes
    ----------
    regression, covariance
        (q, r) and (q, q) of the effects on them, and given them.
    effects, mean
        (q,), (r,) means; those of parts between clusters stand in mu.
    precision
        (r, r) inverse covariance matrix of the observed.
    """

    regression: Numbers
    covariance: Numbers
    effects: Numbers
    mean: Numbers
    precision: Numbers


@dataclass(frozen=True)
class _Weights:
    """What the deviance's derivatives need of the clusters, pooled.

    Attributes
    ----------
    products, pulls, covariates
        (O, q, q), (O, p, q), (O, q): sums of S * E, of -2 v^ with the sums of r y, and of v^ with the sums of r.
    covariance, mean, level2
        (A, q, q), (A, q), (A, q, r), by pattern of level 2: derivatives by V, by the effects' mean, and by its slopes.
    """

    products: Array
    pulls: Array
    covariates: Array
    covariance: Array
    mean: Array
    level2: Array


@dataclass(frozen=True)
class ClusterEvaluation:
    """The deviance at some parameters with its gradient, and the clusters' integrals by pattern of level 2.

    `memory` keeps the second derivatives, once they are computed.
    """

    deviance: float
    gradient: Array
    theta: Array
    integrals: tuple[Integral, ...]
    weights: _Weights
    memory: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class ClusterLikelihood:
    """The criterion of one model over the clusters' own sums, with the methods of `Likelihood`."""

    structure: SemStructure
    statistics: ClusterSums

    def deviance(self, theta: Array) -> float:
        """-2 log L; infinite where a covariance matrix is not positive definite."""
        values = self.deviances(theta)
        return math.inf if values is None else float(values.sum())

    def deviances(self, theta: Array) -> Array | None:
        """(J,) -2 log L of each cluster; None where a covariance matrix is not positive definite."""
        s = self.statistics
        try:
            implied = self.structure.implied(theta)
            within, between = self._within(theta, implied), self._between(implied)
            values = self._rows_deviances(implied, within)
            for number, (level2, clusters) in enumerate(s.level2_groups()):
                part = between[number]
                values[clusters] += integral_deviances(self._effect_sums[number], self._effect_model(within, part))
                rest = s.level2[clusters][:, level2] - part.mean
                values[clusters] += level2.sum() * _LOG_2PI - np.linalg.slogdet(part.precision)[1]
                values[clusters] += np.einsum("ja,ab,jb->j", rest, part.precision, rest)
        except np.linalg.LinAlgError:
            return None
        return values

    def _rows_deviances(self, implied: Implied, within: _Within) -> Array:
        """(J,) what is linear in the rows' sums: n log |2 pi W| + tr(P S)."""
        s, mu = self.statistics, within.mean
        rows, cols = lower_by_rows(s.n_row_level)
        twice = np.where(rows == cols, 1.0, 2.0)
        logs = s.patterns.sum(axis=1) * _LOG_2PI + np.linalg.slogdet(self._blocks(implied))[1]
        at_mean = within.precision @ mu
        values = s.counts @ (logs + at_mean @ mu) - 2 * np.einsum("jop,op->j", s.sums[:, :, 0], at_mean)
        return np.asarray(values + np.einsum("jok,ok->j", s.squares, within.precision[:, rows, cols] * twice))

    def evaluate(self, theta: Array) -> ClusterEvaluation | None:
        """The deviance and its derivatives; None where a covariance matrix is not positive definite."""
        # a search looks at its last point three times
        if self._last and np.array_equal(self._last[0].theta, theta):
            return self._last[0]
        try:
            implied = self.structure.implied(theta)
            within, between = self._within(theta, implied), self._between(implied)
            total = self._linear_deviance(implied, within, between)
            integrals = tuple(
                integrate(sums, self._effect_model(within, between[number]))
                for number, sums in enumerate(self._effect_sums)
            )
        except np.linalg.LinAlgError:
            return None
        weights = self._pool(integrals)
        gradient = np.asarray(self._gradient(theta, weights), dtype=float)
        deviance = total + sum(integral.deviance for integral in integrals)
        at = ClusterEvaluation(deviance, gradient, theta.copy(), integrals, weights)
        self._last[:] = [at]
        return at

    def hessian(self, theta: Array, at: ClusterEvaluation) -> Array:
        """(k, k) exact second derivatives of the deviance."""
        if "hessian" not in at.memory:
            at.memory["hessian"] = self._hessian(theta, at)
        return at.memory["hessian"]

    def _hessian(self, theta: Array, at: ClusterEvaluation) -> Array:
        count = self.structure.n_free
        hessian = np.zeros((count, count))
        # of the linear functions, by the complex step over the gradient with the clusters' part held
        for i in range(count):
            shifted = theta.astype(complex)
            shifted[i] += _STEP * 1j
            hessian[i] = self._gradient(shifted, at.weights).imag / _STEP
        hessian = (hessian + hessian.T) / 2
        implied = self.structure.implied(theta)
        within, between = self._within(theta, implied), self._between(implied)
        slopes = self._effect_slopes(theta, within, between)
        for number, sums in enumerate(self._effect_sums):
            model = self._effect_model(within, between[number])
            hessian += second_derivatives(sums, at.integrals[number], model, slopes[number])
        return hessian

    def expected_information(self, at: ClusterEvaluation) -> Array:
        """(k, k) an estimate of the expected second derivatives: half the sum of the scores' squares."""
        scores = self.scores(at)
        return np.asarray(scores.T @ scores / 2)

    def scores(self, at: ClusterEvaluation, mean: Array | None = None) -> Array:
        """(J, k) each cluster's derivative of its own -2 log L; they sum to the gradient."""
        s, theta = self.statistics, at.theta
        implied = self.structure.implied(theta)
        within, between = self._within(theta, implied), self._between(implied)
        by_within, by_between, by_mean = self.structure.jacobian(theta)
        scores = self._scores_of_rows(within, by_within, by_mean)
        slopes = self._effect_slopes(theta, within, between)
        for number, (level2, clusters) in enumerate(s.level2_groups()):
            sums, part = self._effect_sums[number], between[number]
            model = self._effect_model(within, part)
            scores[clusters] += integral_scores(sums, at.integrals[number], model, slopes[number])
            z = self._layout.level2[level2]
            white = (s.level2[clusters][:, level2] - part.mean) @ part.precision
            moved = by_between[:, z[:, None], z]
            scores[clusters] += np.einsum("kab,ab->k", moved, part.precision)
            scores[clusters] -= np.einsum("ja,kab,jb->jk", white, moved, white) + 2 * white @ by_mean[:, z].T
        return scores

    def _scores_of_rows(self, within: _Within, by_within: Array, by_mean: Array) -> Array:
        """(J, k) derivatives of what is linear in the rows' sums: n log |W| + tr(P S)."""
        s, p = self.statistics, self.statistics.n_row_level
        rows, cols = lower_by_rows(p)
        twice = np.where(rows == cols, 1.0, 2.0)
        mu, d_mu = within.mean, by_mean[:, :p]
        scores = np.zeros((s.n_clusters, self.structure.n_free))
        for o, precision in enumerate(within.precision):
            moved = -precision @ by_within @ precision
            n, sums = s.counts[:, o], s.sums[:, o, 0]
            scores += np.outer(n, np.einsum("kab,ab->k", by_within, precision))
            scores += s.squares[:, o] @ (moved[:, rows, cols] * twice).T
            scores -= 2 * sums @ (moved @ mu).T + 2 * (sums - n[:, None] * mu) @ precision @ d_mu.T
            scores += np.outer(n, mu @ moved @ mu)
        return scores

    @cached_property
    def _last(self) -> list[ClusterEvaluation]:
        """The last evaluation, if there is one."""
        return []

    @cached_property
    def _layout(self) -> EffectLayout:
        return EffectLayout(self.structure, self.statistics)

    @cached_property
    def _effect_sums(self) -> tuple[EffectSums, ...]:
        """The sums of the clusters of each pattern of level 2."""
        s = self.statistics
        groups = []
        for level2, clusters in s.level2_groups():
            weights = s.products[clusters].reshape(len(clusters), s.products[0].size)
            pulls = np.concatenate([weights, s.sums[clusters].reshape(len(clusters), s.sums[0].size)], axis=1)
            ones = np.ones((len(clusters), 1))
            shown = np.concatenate([ones, s.level2[clusters][:, level2]], axis=1)
            groups.append(EffectSums(weights, pulls, shown, None if s.shares is None else s.shares[clusters]))
        return tuple(groups)

    @cached_property
    def _level2_sums(self) -> list[tuple[float, Array, Array]]:
        """Clusters, (r,) sums and (r, r) cross-products of what is observed, by pattern of level 2."""
        s = self.statistics
        blocks = [(s.level2[clusters][:, level2], s.share(clusters)) for level2, clusters in s.level2_groups()]
        return [(float(share.sum()), share @ shown, (shown * share[:, None]).T @ shown) for shown, share in blocks]

    def _within(self, theta: Numbers, implied: Implied) -> _Within:
        s, p = self.statistics, self.statistics.n_row_level
        if not np.iscomplexobj(theta):
            np.linalg.cholesky(implied.within)
        precision = np.where(self._pairs, np.linalg.inv(self._blocks(implied)), 0.0)
        unit = np.zeros((p, len(self._layout.parts)), dtype=theta.dtype)
        unit[self._layout.parts, np.arange(len(self._layout.parts))] = 1
        directions = np.concatenate([unit, self._layout.directions(self.structure.directions(theta)[0])], axis=1)
        return _Within(precision, directions, implied.mean[:p] - s.origin[:p])

    def _between(self, implied: Implied) -> list[_Between]:
        """For each pattern of level 2."""
        s = self.statistics
        v, sigma, parts = self._layout.effects, implied.between, []
        effects = implied.mean[v].copy()
        effects[: len(self._layout.parts)] = 0
        for level2, _ in s.level2_groups():
            z = self._layout.level2[level2]
            observed = sigma[np.ix_(z, z)]
            if not np.iscomplexobj(observed):
                np.linalg.cholesky(observed)
            precision = np.linalg.inv(observed)
            regression = sigma[np.ix_(v, z)] @ precision
            covariance = sigma[np.ix_(v, v)] - regression @ sigma[np.ix_(z, v)]
            parts.append(_Between(regression, covariance, effects, implied.mean[z] - self._layout.origin[z], precision))
        return parts

    def _effect_model(self, within: _Within, between: _Between) -> EffectModel:
        pulled = within.precision @ within.directions
        return EffectModel(
            self._layout.spread_products(within.directions.T @ pulled),
            self._layout.spread_pulls(pulled, pulled.swapaxes(-1, -2) @ within.mean),
            np.concatenate([(between.effects - between.regression @ between.mean)[None], between.regression.T]),
            (between.covariance + between.covariance.T) / 2,
        )

    def _effect_slopes(self, theta: Array, within: _Within, between: Sequence[_Between]) -> list[EffectModel]:
        """Derivatives of the linear functions by the parameters, for each pattern of level 2."""
        s, p, v = self.statistics, self.statistics.n_row_level, self._layout.effects
        by_within, by_between, by_mean = self.structure.jacobian(theta)
        d = within.directions
        d_d = np.zeros((self.structure.n_free, *d.shape))
        d_d[:, :, len(self._layout.parts) :] = self._layout.directions(self.structure.directions(theta)[1])
        d_precision = -within.precision @ by_within[:, None] @ within.precision
        d_pulled = d_precision @ d + within.precision @ d_d[:, None]
        turned = d_d.swapaxes(1, 2)[:, None] @ (within.precision @ d)
        products = self._layout.spread_products(turned + turned.swapaxes(2, 3) + d.T @ d_precision @ d)
        d_mean = (within.precision @ d).swapaxes(1, 2) @ by_mean[:, None, :p, None]
        at_mean = d_pulled.swapaxes(2, 3) @ within.mean + d_mean[..., 0]
        pulls = self._layout.spread_pulls(d_pulled, at_mean)
        d_effects = by_mean[:, v].copy()
        d_effects[:, : len(self._layout.parts)] = 0
        slopes = []
        for (level2, _), part in zip(s.level2_groups(), between, strict=True):
            z = self._layout.level2[level2]
            across, own = by_between[:, v[:, None], z], by_between[:, z[:, None], z]
            d_regression = (across - part.regression @ own) @ part.precision
            shared = across @ part.regression.T
            covariance = by_between[:, v[:, None], v] - shared - shared.swapaxes(1, 2)
            covariance = covariance + part.regression @ own @ part.regression.T
            mean = d_effects - d_regression @ part.mean - by_mean[:, z] @ part.regression.T
            means = np.concatenate([mean[:, None], d_regression.swapaxes(1, 2)], axis=1)
            slopes.append(EffectModel(products, pulls, means, covariance))
        return slopes

    def _pool(self, integrals: Sequence[Integral]) -> _Weights:
        s = self.statistics
        patterns, size = len(s.patterns), len(s.covariates) + 1
        q, packed = len(self._layout.effects), packed_size(size)
        place, with_one = self._layout.places
        effects = np.arange(q)
        by_precision = np.sum([integral.by_precision for integral in integrals], axis=0).reshape(patterns, packed, q, q)
        by_pull = np.sum([integral.by_pull for integral in integrals], axis=0)
        by_product = by_pull[: patterns * packed].reshape(patterns, packed, q)
        by_sum = by_pull[patterns * packed :].reshape(patterns, size, s.n_row_level, q)
        level2 = np.zeros((len(integrals), q, len(self._layout.level2)))
        for number, (observed, _) in enumerate(s.level2_groups()):
            level2[number][:, observed] = integrals[number].by_mean[1:].T
        return _Weights(
            by_precision[:, place, effects[:, None], effects],
            by_sum[:, self._layout.covariates, :, effects].transpose(1, 2, 0),
            -by_product[:, with_one, effects] / 2,
            np.array([integral.by_covariance for integral in integrals]),
            np.array([integral.by_mean[0] for integral in integrals]),
            level2,
        )

    def _linear_deviance(self, implied: Implied, within: _Within, between: Sequence[_Between]) -> float:
        """The part of the deviance that is linear in the pooled sums of rows, and in those of level 2."""
        s = self.statistics
        logs = s.patterns.sum(axis=1) * _LOG_2PI + np.linalg.slogdet(self._blocks(implied))[1]
        total = float(s.pooled.counts @ logs) + float(np.vdot(within.precision, self._around(within.mean)))
        for number, part in enumerate(between):
            clusters, squares = self._level2_around(number, part.mean)
            total += clusters * (len(part.mean) * _LOG_2PI - np.linalg.slogdet(part.precision)[1])
            total += float(np.vdot(part.precision, squares))
        return total

    def _level2_around(self, number: int, mean: Numbers) -> tuple[float, Numbers]:
        """Clusters of a pattern of level 2, and (r, r) cross-products of what they show around a mean."""
        clusters, values, products = self._level2_sums[number]
        crossed = np.outer(values, mean)
        return clusters, products - crossed - crossed.T + clusters * np.outer(mean, mean)

    @cached_property
    def _pairs(self) -> NDArray[np.bool_]:
        """(O, p, p) pairs of cells that the rows of a pattern have."""
        patterns = self.statistics.patterns
        return patterns[:, :, None] & patterns[:, None, :]

    def _blocks(self, implied: Implied) -> Numbers:
        """(O, p, p) each pattern's block of Sigma_W, and ones on the diagonal for missing cells."""
        return np.where(self._pairs, implied.within, np.eye(self.statistics.n_row_level))

    def _around(self, mean: Numbers) -> Numbers:
        """(O, p, p) cross-products of the rows of each pattern around a mean; zero where a cell is missing."""
        pooled = self.statistics.pooled
        means = np.where(self.statistics.patterns, mean, 0.0)
        crossed = pooled.sums[:, :, None] * means[:, None, :]
        squares = (pooled.counts[:, None] * means)[:, :, None] * means[:, None, :]
        around: Numbers = pooled.squares - crossed - crossed.swapaxes(1, 2) + squares
        return around

    def _gradient(self, theta: Numbers, weights: _Weights) -> Numbers:
        """(k,) the gradient, with what the clusters' integrals contribute held at `weights`."""
        s, p, pooled = self.statistics, self.statistics.n_row_level, self.statistics.pooled
        implied = self.structure.implied(theta)
        within, between = self._within(theta, implied), self._between(implied)
        d = within.directions
        mean_slope = np.zeros(self.structure.n_columns, dtype=theta.dtype)
        precision, spread = within.precision, d @ weights.products
        pull = weights.pulls + 2 * within.mean[:, None] * weights.covariates[:, None, :]
        crossed = d @ pull.swapaxes(1, 2)
        products = self._around(within.mean) + spread @ d.T + (crossed + crossed.swapaxes(1, 2)) / 2
        by_w = np.einsum("o,oij->ij", pooled.counts, precision) - (precision @ products @ precision).sum(axis=0)
        by_d = (precision @ (2 * spread + pull)).sum(axis=0)
        rest = weights.covariates @ d.T - pooled.sums + pooled.counts[:, None] * within.mean
        mean_slope[:p] = 2 * np.einsum("oij,oj->i", precision, rest)
        by_between = np.zeros((self.structure.n_columns,) * 2, dtype=theta.dtype)
        v, parts = self._layout.effects, len(self._layout.parts)
        for number, (level2, _) in enumerate(s.level2_groups()):
            z, part = self._layout.level2[level2], between[number]
            spread, pull = weights.covariance[number], weights.mean[number]
            clusters, squares = self._level2_around(number, part.mean)
            rest = self._level2_sums[number][1] - clusters * part.mean
            on_regression = (weights.level2[number][:, level2] - np.outer(pull, part.mean)) @ part.precision
            across = on_regression / 2 - spread @ part.regression
            toward = part.regression.T @ on_regression
            # the part of a predictor is an effect twice
            np.add.at(by_between, np.ix_(v, v), spread)
            np.add.at(by_between, np.ix_(v, z), across)
            np.add.at(by_between, np.ix_(z, v), across.T)
            by_between[np.ix_(z, z)] += (
                clusters * part.precision
                - part.precision @ squares @ part.precision
                + part.regression.T @ spread @ part.regression
                - (toward + toward.T) / 2
            )
            np.add.at(mean_slope, v[parts:], pull[parts:])
            mean_slope[z] -= part.regression.T @ pull + 2 * part.precision @ rest
        jacobian, d_directions = self.structure.jacobian(theta), self.structure.directions(theta)[1]
        return np.asarray(
            np.einsum("kij,ij->k", jacobian[0], by_w)
            + np.einsum("kij,ij->k", jacobian[1], by_between)
            + jacobian[2] @ mean_slope
            + np.einsum("kij,ij->k", self._layout.directions(d_directions), by_d[:, len(self._layout.parts) :])
        )
