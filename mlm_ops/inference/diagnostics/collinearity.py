"""Measure how far the predictors of each level are combinations of each other: variance inflation, condition numbers.

Deviations from unit means tell slopes within units apart, and unit means those between units, so that predictors are
compared level by level: within the lowest units their deviations from the units' means, at level 2 the units' means
around the grand mean, weighted by rows, and so on up. A predictor that varies at several levels counts at each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlm_ops.estimation.design.record import Design
from mlm_ops.inference.effect_sizes.variation import ColumnMoments
from mlm_ops.moments.arrays import Array

#: A column varies at a level where more than this share of its variance lies there.
_SHARE = 1e-10
#: A column of which the others at a level leave a smaller share is one of them, as the unit means of a predictor beside
#: between() of it.
_REMAINDER = 1e-8


@dataclass(frozen=True)
class LevelCollinearity:
    """The predictors of one level.

    Attributes
    ----------
    level
        The textbook's level, 1 for rows.
    columns
        Places of its k predictors among the design's fixed columns.
    inflation
        (k,) variance inflation factors ``1 / (1 - R^2)``, R^2 of the predictor on the others of its level: Fox and
        Monette (1992), Journal of the American Statistical Association 87, 178-183; the diagonal of the inverse
        correlation matrix.
    condition
        The largest singular value over the smallest of the predictors, each scaled to length one: Belsley, Kuh and
        Welsch (1980), Regression Diagnostics, section 3.2. With the constant but within units, where there is none.
    """

    level: int
    columns: tuple[int, ...]
    inflation: Array
    condition: float


def collinearity(design: Design, statistics: ColumnMoments) -> list[LevelCollinearity]:
    """The collinearity of the fixed part at each level that has a predictor; all rows as one level where factors cross.

    Parameters
    ----------
    statistics
        Of the design's columns, the fixed ones first.
    """
    columns = [i for i, column in enumerate(design.fixed.columns) if column.variables]
    by_level = np.array([np.diag(s)[: len(design.fixed.columns)] for s in statistics.covariance])
    total = by_level.sum(axis=0)
    # predictors of one level first: of those that vary at several, the means may be combinations of them
    mixed = {i: int((by_level[:, i] > _SHARE * total[i]).sum()) for i in columns}
    columns.sort(key=lambda i: mixed[i] > 1)
    levels = []
    for height, covariance in enumerate(statistics.covariance):
        own = [i for i in columns if by_level[height, i] > _SHARE * total[i]]
        own = _with_remainders(own, covariance)
        if not own:
            continue
        correlation = _scaled(covariance[np.ix_(own, own)])
        # deviations from unit means have no constant beside them
        has_constant = height > 0 or not design.levels or not design.nested
        # squares of the whole columns, a row on average: the covariance matrix has the divisor N - 1
        squares = covariance[np.ix_(own, own)] * (design.n_obs - 1) / design.n_obs
        if has_constant:
            mean = statistics.mean[own]
            squares = np.block([[np.ones((1, 1)), mean[None, :]], [mean[:, None], squares + np.outer(mean, mean)]])
        values = np.linalg.eigvalsh(_scaled(squares))
        condition = float(np.sqrt(values[-1] / values[0])) if values[0] > 0 else np.inf
        levels.append(
            LevelCollinearity(height + 1, tuple(own), np.asarray(np.diag(np.linalg.inv(correlation))), condition)
        )
    return levels


def _with_remainders(columns: list[int], covariance: Array) -> list[int]:
    """The columns that are no combinations of those before them."""
    kept: list[int] = []
    for i in columns:
        here = covariance[np.ix_(kept, kept)]
        cross = covariance[kept, i]
        scale = np.sqrt(np.diag(here))
        explained = float((cross / scale) @ np.linalg.solve(_scaled(here), cross / scale)) if kept else 0.0
        if covariance[i, i] - explained > _REMAINDER * covariance[i, i]:
            kept.append(i)
    return kept


def _scaled(products: Array) -> Array:
    """Cross-products of columns scaled to length one."""
    lengths = np.sqrt(np.diag(products))
    return np.asarray(products / np.outer(lengths, lengths))
