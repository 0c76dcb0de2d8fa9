"""The completely standardised solution (lavaan's std.all) and explained variance, by level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.structural.model import BETWEEN, WITHIN
from mlm_ops.language.structural.parameters import ParameterTable
from mlm_ops.structural.defined import evaluate_definitions
from mlm_ops.structural.matrices import LevelMoments, Structure

Array = NDArray[np.float64]


def standardized(table: ParameterTable, structure: Structure, theta: Array) -> tuple[Array, Array]:
    """Standardise by the standard deviations that the model implies at each level.

    Covariances of residuals become correlations of residuals. What would be divided by a variance of zero is NaN.

    Returns
    -------
    rows, definitions
        One value a row of the table, and one a definition: of the standardised labels.
    """
    values = np.empty(len(table.rows))
    known: dict[str, Array] = {}
    for level, moments in zip((WITHIN, BETWEEN), structure.moments(theta), strict=True):
        at = {name: i for i, name in enumerate(table.variables(level).all)}
        deviation, residual = _roots(np.diag(moments.covariance)), _roots(np.diag(moments.spread))
        for number, row in enumerate(table.rows):
            if row.level != level:
                continue
            value = row.value if row.index is None else theta[row.index]
            left, right = at[row.lhs], at.get(row.rhs, at[row.lhs])
            if row.op == "=~":
                value = value * deviation[left] / deviation[right]
            elif row.op == "~":
                value = value * deviation[right] / deviation[left]
            elif row.op == "~1":
                value = value / deviation[left]
            elif row.is_variance:
                value = value / deviation[left] ** 2
            else:
                value = value / (residual[left] * residual[right])
            values[number] = value
            if row.label:
                known.setdefault(row.label, np.asarray(value))
    with np.errstate(all="ignore"):
        defined = [float(value) for value in evaluate_definitions(table.definitions, known)]
    return values, np.array(defined)


def r_squared(table: ParameterTable, structure: Structure, theta: Array) -> list[tuple[int, str, float]]:
    """Level, variable and explained share of every variable that has predictors or factors there."""
    found = []
    for level, moments in zip((WITHIN, BETWEEN), structure.moments(theta), strict=True):
        names = table.variables(level).all
        explained = {row.rhs if row.op == "=~" else row.lhs for row in table.at(level) if row.op in {"=~", "~"}}
        for i, name in enumerate(names):
            if name in explained:
                found.append((level, name, _share(moments, i)))
    return found


def _share(moments: LevelMoments, i: int) -> float:
    total = float(moments.covariance[i, i])
    return 1 - float(moments.spread[i, i]) / total if total > 0 else float("nan")


def _roots(variances: Array) -> Array:
    return np.asarray(np.where(variances > 0, np.sqrt(np.maximum(variances, 0.0)), np.nan))
