"""Whether a model's parameters can be told apart at all: the rank of the implied moments' derivatives.

A model is identified almost everywhere if that rank is full at one point (Bekker, Merckens and Wansbeek 1994,
Identification, Equivalent Models and Computer Algebra, ch. 2), so that random points tell.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.structural.matrices import Structure
from mlm_ops.structural.parameters import ParameterTable
from mlm_ops.structural.starts import starting_values
from mlm_ops.structural.statistics import TwoLevelStatistics

Array = NDArray[np.float64]
_POINTS = 3
_RANK = 1e-8


def check_identified(table: ParameterTable, structure: Structure, statistics: TwoLevelStatistics) -> None:
    """Refuse a model that no data determine.

    Raises
    ------
    IdentificationError
        With the parameters that can move together without any change in what the model implies.
    """
    moving: NDArray[np.bool_] | None = None
    for seed in range(1, _POINTS + 1):
        theta = starting_values(table, statistics, seed)
        theta += 0.1 * np.abs(theta).mean() * np.random.default_rng(seed).uniform(0.5, 1.5, len(theta))
        here = _undetermined(structure, statistics, theta)
        moving = here if moving is None else moving & here
        if not moving.any():
            return
    names = [name for name, moves in zip(table.names(), moving if moving is not None else (), strict=True) if moves]
    known = len(statistics.columns)
    raise IdentificationError(
        f"The model is not identified: {', '.join(names)} can change together without any change in the covariances "
        f"and means that it implies for its {known} variables. Fix one of them, or leave it out."
    )


def _undetermined(structure: Structure, statistics: TwoLevelStatistics, theta: Array) -> NDArray[np.bool_]:
    """(k,) parameters with a part in a direction along which no implied moment changes."""
    p = structure.n_row_level
    within, between, mean = structure.jacobian(theta)
    scale = np.sqrt(np.maximum(np.diag(statistics.between_estimate), 0) + 1e-300)
    scale[:p] = np.sqrt(scale[:p] ** 2 + np.diag(statistics.pooled_within))
    own, (row, col) = np.tril_indices(p), np.tril_indices(structure.n_columns)
    parts = (
        within[:, own[0], own[1]] / (scale[own[0]] * scale[own[1]]),
        between[:, row, col] / (scale[row] * scale[col]),
        mean / scale,
    )
    derivatives = np.concatenate(parts, axis=1)
    norms = np.linalg.norm(derivatives, axis=1)
    found = norms == 0
    scaled = derivatives / np.where(found, 1.0, norms)[:, None]
    values, vectors = np.linalg.eigh(scaled @ scaled.T)
    flat = vectors[:, values < _RANK]
    return np.asarray(found | (np.abs(flat).max(axis=1, initial=0.0) > 1e-4))
