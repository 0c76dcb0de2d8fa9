"""Fit means around the origin of the data, if that changes nothing but the intercepts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.structural.algebra.constraints import Equations, random_point
from mlm_ops.structural.algebra.matrices import Structure
from mlm_ops.structural.language.parameters import ParameterTable
from mlm_ops.structural.statistics.grouped import AnyStatistics

#: Equations have a solution if it leaves no more of each than this share of its own origin, and rounding of its terms.
_SOLVED, _ROUNDING = 1e-9, 1e3 * np.finfo(float).eps


def recentre_function(
    table: ParameterTable, structure: Structure, statistics: AnyStatistics
) -> Callable[[Numbers], Numbers] | None:
    """Function from parameters for means around the origin to the user's; None where means are restricted.

    With a free intercept of its own for each column the means are whatever they are, and data at a million can be
    fitted around their mean: intercepts alone move, by the solution of the means' linear equations. The predictor of a
    random slope stays where it is, as another origin has another variance of the intercepts.
    """
    if structure.slopes or _restricts_means(table):
        return None
    if table.groups:
        return _recentre_groups(table, structure, statistics.origin)
    rows = [row for row in table.rows if row.op == "~1" and row.index is not None]
    counts = np.bincount([row.index for row in table.rows if row.index is not None], minlength=table.n_free)
    columns = [row.lhs for row in rows if row.lhs in table.columns]
    if sorted(columns) != sorted(table.columns) or len(rows) != len(columns) or any(counts[r.index] > 1 for r in rows):
        return None
    index = np.array([row.index for row in rows])
    ((own, _),) = structure.parts

    def recentre(theta: Numbers) -> Numbers:
        result = np.array(theta)
        result[index] += np.linalg.solve(own.jacobian(theta)[2][index].T, statistics.origin)
        return result

    return recentre


def _recentre_groups(table: ParameterTable, structure: Structure, origin: Array) -> Callable[[Numbers], Numbers] | None:
    """The same of several groups, whose intercepts may be equal; None where no intercepts move all means alike.

    The equations of all groups are more than the intercepts, so that those that determine them are chosen once.
    """
    of_columns = [row for row in table.rows if row.op == "~1" and row.lhs in table.columns]
    index = sorted({row.index for row in of_columns if row.index is not None})
    others = {row.index for row in table.rows if row not in of_columns}
    if not index or not others.isdisjoint(index):
        return None

    def equations(theta: Numbers) -> Numbers:
        """(groups x columns, intercepts) derivatives of the means."""
        parts = []
        for own, places in structure.parts:
            whole = np.zeros((len(theta), own.n_columns), dtype=theta.dtype)
            whole[places] = own.jacobian(theta[places])[2]
            parts.append(whole[index].T)
        return np.concatenate(parts)

    target = np.tile(origin, len(structure.parts))
    anywhere = [random_point(table, np.random.default_rng(RANDOM_SEED + i)) for i in (1, 2)]
    _, triangle, order = scipy.linalg.qr(equations(anywhere[0]).T, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(triangle))
    if len(diagonal) < len(index) or diagonal.min() < _SOLVED * diagonal.max():
        return None
    chosen = np.sort(order[: len(index)])

    def move(theta: Numbers) -> Numbers:
        return np.asarray(np.linalg.solve(equations(theta)[chosen], target[chosen]))

    for theta in anywhere:
        slopes, moves = equations(theta), move(theta)
        # each column by its own size: a million beside it says nothing about a column around one
        limits = _SOLVED * np.abs(target) + _ROUNDING * (np.abs(slopes) @ np.abs(moves))
        if (np.abs(slopes @ moves - target) > limits).any():
            return None

    def recentre(theta: Numbers) -> Numbers:
        result = np.array(theta)
        result[index] += move(theta)
        return result

    return recentre


def _restricts_means(table: ParameterTable) -> bool:
    """Whether a constraint contains an intercept."""
    means = [row.index for row in table.rows if row.op == "~1" and row.index is not None]
    anywhere = random_point(table, np.random.default_rng(RANDOM_SEED + 1))
    return bool(table.constraints and Equations(table, table.constraints).jacobian(anywhere)[:, means].any())
