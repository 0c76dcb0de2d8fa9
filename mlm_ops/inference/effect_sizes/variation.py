"""Split the variance of a model's columns by level, and that of its outcome by the parts of the model.

The columns are combinations of a few *elements* (`design.basis`), so their means and covariance matrices follow from
the moments of these; no row is read. Sums of squares are split into deviations from the means of the lowest units,
those of these means from the means of the next units, and so on to the grand mean, each computed as it is and not as a
difference: what does not vary at a level has there zero up to rounding. Divisors are N - 1, as in R's ``var``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mlm_ops.estimation.design.basis import Basis
from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.estimation.design.record import Design
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.random.variance import mean_residual_variance
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import GroupingFactor, Model
from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.record import Moments

#: A column varies at a level where more than this share of its variance lies there.
_SHARE = 1e-10


@dataclass(frozen=True)
class ColumnMoments:
    """Row-level moments of k columns.

    Attributes
    ----------
    mean
        (k,) grand means.
    covariance
        (levels, k, k): within the lowest units, between these within the next, …, between the highest. Their sum is
        the covariance matrix over the rows. One matrix where there are no units to tell levels apart.
    """

    mean: Array
    covariance: Array

    @property
    def total(self) -> Array:
        """(k, k) covariance matrix over the rows."""
        total: Array = self.covariance.sum(axis=0)
        return total

    def level_of(self, column: int) -> int | None:
        """The one level that a column varies at, from 1; 0 if it is constant, None if it varies at several."""
        variances = np.maximum(self.covariance[:, column, column], 0.0)
        total = float(variances.sum())
        if total <= _SHARE**2 * float(self.mean[column]) ** 2:
            return 0
        (at,) = np.nonzero(variances > _SHARE * total)
        return int(at[0]) + 1 if len(at) == 1 else None


@dataclass(frozen=True)
class VariancePart:
    """Variance that one part of a model adds to the outcome.

    Attributes
    ----------
    kind
        ``f`` of fixed effects, ``v`` of slopes that vary, ``m`` of intercepts that vary.
    level
        The textbook's level of the predictors; None where it is not one.
    group_level
        The level of the grouping factor over which a coefficient varies; None for fixed effects.
    """

    kind: str
    level: int | None
    group_level: int | None
    variance: float


@dataclass(frozen=True)
class VarianceSplit:
    """The outcome's model-implied variance, part by part.

    Attributes
    ----------
    parts
        Fixed effects, slopes and intercepts.
    residual
        Level-1 residual variance, averaged over the rows where it differs between strata.
    random
        Mean over the rows of the random effects' variance ``z' T z``, divisor N.
    n_levels
        Levels of the model.
    undivided
        Why parts are not split by level; None where they are.
    """

    parts: tuple[VariancePart, ...]
    residual: float
    random: float
    n_levels: int
    undivided: str | None

    @property
    def total(self) -> float:
        """The whole variance."""
        return sum(part.variance for part in self.parts) + self.residual

    def of_kind(self, kinds: str) -> float:
        """Sum of the parts of these kinds."""
        return sum(part.variance for part in self.parts if part.kind in kinds)


def split_variance(model: Model, moments: Moments, estimate: Estimate) -> VarianceSplit:
    """Split the model-implied variance of the outcome.

    Rights and Sterba (2019), Psychological Methods 24, 309-338: ``gamma' Phi gamma`` of the fixed part,
    by level where every predictor varies at one level only; ``tr(T Sigma)`` of the slopes that vary, Sigma the
    covariance matrix of their predictors; ``m' T m`` of the intercepts, m the means of the random part's columns; and
    the residual variance.
    """
    design = estimate.design
    column_statistics = column_moments(model, moments, design)
    columns = _columns(design)
    place = {column: i for i, column in enumerate(columns)}
    fixed = [place[c] for c in design.fixed.columns]
    blocks = [(h, [place[c] for c in block.columns]) for h, level in enumerate(design.levels) for block in level.blocks]
    undivided = _undivided(design, column_statistics, columns, blocks)
    levels: list[tuple[int | None, Array]] = [(None, column_statistics.total)]
    if not undivided:
        levels = [(height + 1, covariance) for height, covariance in enumerate(column_statistics.covariance)]
    parts = [
        VariancePart("f", level, None, float(estimate.gamma @ s[np.ix_(fixed, fixed)] @ estimate.gamma))
        for level, s in levels
    ]
    random = 0.0
    by_height: dict[int, tuple[Array, float]] = {}
    for (height, own), tau in zip(blocks, estimate.tau, strict=True):
        slopes = np.array([float(np.trace(tau @ s[np.ix_(own, own)])) for _, s in levels])
        intercept = float(column_statistics.mean[own] @ tau @ column_statistics.mean[own])
        random += intercept + float(slopes.sum()) * (moments.n_obs - 1) / moments.n_obs
        before = by_height.get(height, (np.zeros(len(levels)), 0.0))
        by_height[height] = before[0] + slopes, before[1] + intercept
    for height, (slopes, intercept) in by_height.items():
        above = None if undivided and not design.nested else height + 2
        parts += [
            VariancePart("v", level, above, float(variance))
            for (level, _), variance in zip(levels, slopes, strict=True)
            if level is None or level < height + 2
        ]
        parts.append(VariancePart("m", above, above, intercept))
    return VarianceSplit(tuple(parts), mean_residual_variance(estimate), random, len(design.levels) + 1, undivided)


def column_moments(model: Model, moments: Moments, design: Design) -> ColumnMoments:
    """Moments of the distinct columns of a design, the fixed ones first, over the levels of its grouping factors."""
    columns = _columns(design)
    evaluator = Evaluator(moments, model.default_group, meanings(model, moments))
    basis = Basis(evaluator, columns)
    codes = [moments.units_of(level.group)[0] for level in design.levels] if design.nested else []
    g = basis.matrix(columns)
    mean, covariance = element_moments(basis, codes)
    return ColumnMoments(mean @ g, np.array([g.T @ s @ g for s in covariance]))


def outcome_variance(model: Model, moments: Moments) -> float:
    """The outcome's variance over the rows, divisor N - 1."""
    column = DesignColumn((model.outcome,))
    basis = Basis(Evaluator(moments, model.default_group, meanings(model, moments)), [column])
    _, (covariance,) = element_moments(basis, [])
    g = basis.matrix([column])[:, 0]
    return float(g @ covariance @ g)


def unit_means(model: Model, moments: Moments, columns: Sequence[DesignColumn], group: GroupingFactor) -> Array:
    """Means (k, J) of columns over the rows of each unit of a grouping factor."""
    basis = Basis(Evaluator(moments, model.default_group, meanings(model, moments)), columns)
    codes, labels = moments.units_of(group)
    weight = np.bincount(codes, moments.n, len(labels))
    means = [
        np.bincount(codes, moments.n * basis.evaluator.mean(polynomial), len(labels)) / weight
        for polynomial in basis.elements
    ]
    return basis.matrix(columns).T @ np.array(means)


def element_moments(basis: Basis, nest: Sequence[Codes]) -> tuple[Array, Array]:
    """Grand means (E,) and covariance matrices (levels, E, E) of a basis' elements.

    Parameters
    ----------
    nest
        (J,) units of each grouping factor over the moments' units, lowest first.
    """
    evaluator, elements = basis.evaluator, basis.elements
    n, n_obs = evaluator.moments.n, evaluator.moments.n_obs
    means = np.array([evaluator.mean(polynomial) for polynomial in elements])
    grand = means @ n / n_obs
    stages = [means]
    for codes in nest:
        size = int(codes.max()) + 1
        weight = np.bincount(codes, n, size)
        stages.append(np.array([np.bincount(codes, n * row, size)[codes] for row in means]) / weight[codes])
    stages.append(np.broadcast_to(grand[:, None], means.shape))
    between = [((low - high) * n) @ (low - high).T for low, high in pairwise(stages)]
    for i, first in enumerate(elements):
        for j, second in enumerate(elements[: i + 1]):
            scatter = float(np.sum(evaluator.scatter(first, second)))
            between[0][i, j] += scatter
            between[0][j, i] = between[0][i, j]
    return grand, np.array(between) / (n_obs - 1)


def _columns(design: Design) -> tuple[DesignColumn, ...]:
    random = (column for level in design.levels for block in level.blocks for column in block.columns)
    return tuple(dict.fromkeys((*design.fixed.columns, *random)))


def _undivided(
    design: Design,
    column_statistics: ColumnMoments,
    columns: Sequence[DesignColumn],
    blocks: Sequence[tuple[int, Sequence[int]]],
) -> str | None:
    """Why the variance cannot be split by level; None where it can."""
    if not design.levels:
        return "totals only: single-level regression has no levels to divide"
    if not design.nested:
        return "totals only: the grouping factors cross, so there is no within and between"
    mixed = [columns[i].name for i in range(len(columns)) if column_statistics.level_of(i) is None]
    if mixed:
        verb = "vary" if len(mixed) > 1 else "varies"
        return (
            f"totals only: {', '.join(mixed)} {verb} at more than one level; center level-1 predictors at group means"
            ", as in within(x), to divide the variance into within and between"
        )
    late = [columns[i].name for height, own in blocks for i in own if (column_statistics.level_of(i) or 0) > height + 1]
    if late:
        return f"totals only: {', '.join(late)} is constant within the groups over which its slope varies"
    return None
