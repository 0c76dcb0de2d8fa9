"""Estimate each cluster's latent variables of level 2: their mean and variance given all data of the cluster.

What a cluster's variables of level 2 are, given the observed ones, is normal, and so is what they are given its rows as
well: with u, N and K of `cluster_effects` and C the covariance of a variable with the random effects, given what is
observed, its mean moves by C u and its variance falls by C N K C' (expected a posteriori; Skrondal and Rabe-Hesketh
2009, Journal of the Royal Statistical Society A 172). Parameters count as known, as in empirical Bayes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.inference.t_distribution import NORMAL_975
from mlm_ops.moments.arrays import Array
from mlm_ops.results.tables.columns import frame, repeated, unit_names
from mlm_ops.structural.estimation.estimate import GroupEstimate
from mlm_ops.structural.likelihood.cluster_likelihood import ClusterEvaluation, ClusterLikelihood
from mlm_ops.structural.likelihood.effect_layout import EffectLayout
from mlm_ops.structural.likelihood.quadrature import NodeBlock, QuadratureLikelihood
from mlm_ops.structural.likelihood.random_intercepts import Likelihood
from mlm_ops.structural.statistics.cluster_sums import sums_of_complete_rows
from mlm_ops.structural.table_columns import SEM_SCORES

#: A variance between clusters below this share of its column's is zero but for rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ClusterScores:
    """What the m latent variables of level 2 are in J clusters.

    Attributes
    ----------
    names
        Parts between clusters, random slopes and factors.
    mean, variance
        (J, m) of the variables.
    effect, effect_variance
        (J, m) of what no variable of level 2 predicts in them: the random effects of mixed models.
    total
        (m,) variances of the variables over clusters.
    """

    names: tuple[str, ...]
    mean: Array
    variance: Array
    effect: Array
    effect_variance: Array
    total: Array


def cluster_scores(estimate: GroupEstimate) -> ClusterScores:
    """The scores at the estimates.

    Raises
    ------
    MlmError
        The covariance matrix of what is observed at level 2 has no inverse.
    """
    table = estimate.table
    names = tuple(name for name in table.between.all if name not in table.between_only)
    level = estimate.structure.moments(estimate.theta)[1]
    place = [estimate.structure.levels[1].names.index(name) for name in names]
    # rows of the variables, and of what is not predicted in them, in disturbances
    targets = np.concatenate([level.effects[place], np.eye(len(level.effects))[place]])
    mean, variance = _posterior(estimate, targets)
    m = len(names)
    total = np.diag(level.covariance)[place]
    columns = dict(zip(estimate.statistics.columns, estimate.statistics.column_variances, strict=True))
    least = _ROUNDING * np.array([columns.get(name, 0.0) for name in names])
    return ClusterScores(
        names,
        mean[:, :m] + level.mean[place],
        variance[:, :m],
        mean[:, m:],
        variance[:, m:],
        np.where(total > least, total, 0.0),
    )


def sem_scores(
    scores: Sequence[ClusterScores], group: str, units: Sequence[NDArray[Any]], populations: Sequence[str | None]
) -> pl.DataFrame:
    """One row per variable and cluster; reliability is null where a variable does not vary.

    Parameters
    ----------
    scores, units, populations
        Of each group of rows: the scores, (J,) labels of the clusters, and the group's value.
    """
    parts = zip(scores, units, populations, strict=True)
    return pl.concat([_scores_of_group(one, group, labels, value) for one, labels, value in parts])


def _scores_of_group(scores: ClusterScores, group: str, units: NDArray[Any], population: str | None) -> pl.DataFrame:
    std_error = np.sqrt(scores.variance)
    margin = NORMAL_975 * std_error
    with np.errstate(divide="ignore", invalid="ignore"):
        reliability = np.where(scores.total > 0, np.maximum(1 - scores.variance / scores.total, 0.0), np.nan)
    columns = {
        "estimate": scores.mean,
        "std_error": std_error,
        "conf_low": scores.mean - margin,
        "conf_high": scores.mean + margin,
        "reliability": reliability,
        "random_effect": scores.effect,
        "random_effect_std_error": np.sqrt(scores.effect_variance),
    }
    names = unit_names(np.tile(units, len(scores.names)))
    return frame(
        SEM_SCORES,
        {
            "group": repeated(group, len(names)),
            "unit": names,
            "term": np.repeat(scores.names, len(units)).tolist(),
            **{name: values.T.ravel() for name, values in columns.items()},
            "population": repeated(population, len(names)),
        },
    )


def _posterior(estimate: GroupEstimate, targets: Array) -> tuple[Array, Array]:
    """(J, r) means and variances of linear combinations of the disturbances of level 2."""
    likelihood, theta = estimate.likelihood, estimate.search_theta
    if isinstance(likelihood, QuadratureLikelihood):
        try:
            parts = [_over_nodes(block, targets) for block in likelihood.blocks(theta)]
        except np.linalg.LinAlgError as error:
            raise _singular() from error
        means, variances = zip(*parts, strict=True)
        return np.concatenate(means), np.concatenate(variances)
    if isinstance(likelihood, Likelihood):
        likelihood = ClusterLikelihood(likelihood.structure, sums_of_complete_rows(likelihood.statistics, ()))
    assert isinstance(likelihood, ClusterLikelihood)
    at = likelihood.evaluate(theta)
    if at is None:
        raise _singular()
    return _given_observed(likelihood, at, targets)


def _singular() -> MlmError:
    return MlmError(
        "There are no scores: the covariance matrix of the observed variables of level 2 has no inverse at the "
        "estimates. Leave one of these variables out."
    )


def _given_observed(likelihood: ClusterLikelihood, at: ClusterEvaluation, targets: Array) -> tuple[Array, Array]:
    """The same of the clusters of one likelihood, where slopes at nodes are among what is observed."""
    structure, statistics = likelihood.structure, likelihood.statistics
    layout, moments = EffectLayout(structure, statistics), structure.moments(at.theta)[1]
    implied = structure.implied(at.theta)
    variable = {column: i for i, column in enumerate(structure.levels[1].position.tolist())}
    effects = [variable[column] for column in layout.effects.tolist()]
    # targets with all variables, and among themselves
    across, among = targets @ moments.spread @ moments.effects.T, targets @ moments.spread @ targets.T
    mean = np.zeros((statistics.n_clusters, len(targets)))
    variance = np.zeros_like(mean)
    for (is_shown, clusters), integral in zip(statistics.level2_groups(), at.integrals, strict=True):
        columns = layout.level2[is_shown]
        shown = [variable[column] for column in columns.tolist()]
        regression = across[:, shown] @ np.linalg.inv(moments.covariance[np.ix_(shown, shown)])
        with_effects = across[:, effects] - regression @ moments.covariance[np.ix_(shown, effects)]
        around = statistics.level2[clusters][:, is_shown] - (implied.mean - layout.origin)[columns]
        mean[clusters] = around @ regression.T + integral.residual @ with_effects.T
        fall = with_effects @ (integral.shrinkage @ integral.precision)
        less = np.einsum("jtq,tq->jt", fall, with_effects)
        variance[clusters] = np.maximum(np.diag(among - regression @ across[:, shown].T) - less, 0.0)
    return mean, variance


def _over_nodes(block: NodeBlock, targets: Array) -> tuple[Array, Array]:
    """Averages over each cluster's nodes: of the means, and of variances with those of the means added."""
    shares = block.shares[:, :, None]
    means, variances = (
        array.reshape(*block.shares.shape, -1) for array in _given_observed(block.likelihood, block.at, targets)
    )
    mean = (shares * means).sum(axis=1)
    return mean, (shares * (variances + (means - mean[:, None]) ** 2)).sum(axis=1)
