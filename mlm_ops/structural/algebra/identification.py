"""Check that a model is identified at all, by the rank of the implied moments' derivatives.

A model is identified almost everywhere if that rank is full at one point (Bekker, Merckens and Wansbeek 1994,
Identification, Equivalent Models and Computer Algebra, ch. 2), so that random points show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.rank import null_space, rounding
from mlm_ops.moments.sums import lower_by_rows
from mlm_ops.structural.algebra.constraints import equations_of, random_point
from mlm_ops.structural.algebra.matrices import SemStructure, Structure
from mlm_ops.structural.language.parameters import ParameterTable

Seen = tuple[NDArray[np.bool_], NDArray[np.bool_]]
_POINTS = 3
#: Relative error of the derivatives' cross-products at values of the order of one: theirs is that of the inverse of
#: I - A, a thousand roundings, and its square would be far below.
_ERROR = 1e-12
#: Share of the largest eigenvalue below which one is zero.
ERROR = 1e-10
#: What the place of the optimum adds to it for the verdict on a saddle.
_PLACE_ERROR = 1e-7


def check_identified(table: ParameterTable, structure: Structure) -> None:
    """Refuse a model that no data determine.

    Raises
    ------
    IdentificationError
        With the parameters that can move together without any change in what the model implies.
    """
    names = [name for name, moves in zip(table.names(), undetermined(table, structure), strict=True) if moves]
    if not names:
        return
    raise IdentificationError(
        f"The model is not identified: {', '.join(names)} can change together without any change in the covariances "
        f"and means that it implies for its {len(table.columns)} variables. Fix one of them, or leave it out."
    )


def undetermined(
    table: ParameterTable,
    structure: Structure,
    seen: Sequence[Seen] | None = None,
) -> NDArray[np.bool_]:
    """(k,) parameters that can move together without any change in what the model implies, at random points.

    Parameters
    ----------
    seen
        Of each group (p, p) and (t, t) elements of Sigma_W and Sigma_B on which the data tell anything; None for all.
    """
    moving = np.ones(table.n_free, dtype=bool)
    variances = [row.index for row in table.rows if row.is_variance and row.index is not None]
    for i in range(1, _POINTS + 1):
        # of the order of one, whatever the data's units are: rank is a matter of the model's structure
        rng = np.random.default_rng(RANDOM_SEED + i)
        theta = random_point(table, rng)
        theta[variances] = rng.uniform(0.8, 1.6, len(variances))
        equations = equations_of(table)
        onto = theta if equations is None else equations.fulfil(theta, np.ones(len(theta)))
        if onto is not None:
            slopes = np.zeros((0, len(theta))) if equations is None else equations.jacobian(onto)
            moving &= _undetermined(structure, onto, seen, slopes)
        if not moving.any():
            break
    return moving


def _undetermined(structure: Structure, theta: Array, seen: Sequence[Seen] | None, slopes: Array) -> NDArray[np.bool_]:
    """(k,) parameters with a part in a direction along which no implied moment changes."""
    derivatives = np.concatenate([moment_derivatives(structure, theta, seen), slopes.T], axis=1)
    norms = np.linalg.norm(derivatives, axis=1)
    has_no_effect = norms == 0
    unit_derivatives = derivatives / np.where(has_no_effect, 1.0, norms)[:, None]
    flat = null_space(unit_derivatives @ unit_derivatives.T, _ERROR)
    return np.asarray(has_no_effect | (np.abs(flat).max(axis=1, initial=0.0) > 1e-4))


def moment_derivatives(structure: Structure, theta: Array, seen: Sequence[Seen] | None = None) -> Array:
    """(k, d) derivatives by the parameters of all that a model implies for the data, `seen` as in `undetermined`."""
    of_groups = []
    for number, (part, places) in enumerate(structure.parts):
        own = _derivatives(part, theta[places], None if seen is None else seen[number])
        spread = np.zeros((len(theta), own.shape[1]))
        spread[places] = own
        of_groups.append(spread)
    return np.concatenate(of_groups, axis=1)


def _derivatives(structure: SemStructure, theta: Array, seen: Seen | None) -> Array:
    """(k, m) of what one group's parameters imply for its moments."""
    within, between, mean = structure.jacobian(theta)
    if seen is not None:
        within, between = within * seen[0], between * seen[1]
    if structure.slopes:
        between, mean = _by_slopes(structure, theta, between, mean)
    own, whole = lower_by_rows(structure.n_row_level), lower_by_rows(between.shape[1])
    return np.concatenate([within[:, own[0], own[1]], between[:, whole[0], whole[1]], mean], axis=1)


def _by_slopes(structure: SemStructure, theta: Array, between: Array, mean: Array) -> tuple[Array, Array]:
    """Derivatives of the moments of what rows show of random slopes: of each column's regression on the predictor."""
    directions, moved = structure.directions(theta)
    (p, count), t = directions.shape, structure.n_columns - directions.shape[1]
    spread, d_spread = np.zeros((t + p * count, t + count)), np.zeros((len(theta), t + p * count, t + count))
    spread[:t, :t] = np.eye(t)
    for k in range(count):
        rows = slice(t + k * p, t + (k + 1) * p)
        spread[rows, t + k] = directions[:, k]
        d_spread[:, rows, t + k] = moved[:, :, k]
    implied = structure.implied(theta)
    half = d_spread @ implied.between @ spread.T
    covariance = spread @ between @ spread.T + half + half.swapaxes(1, 2)
    return covariance, mean @ spread.T + d_spread @ implied.mean


@dataclass(frozen=True)
class Curvature:
    """The eigenvalues of a symmetric matrix that is scaled to a diagonal of ones.

    Attributes
    ----------
    scale
        (k,) by which its rows and columns were divided.
    values, vectors
        (k,), (k, k) ascending eigenvalues, and their vectors in columns.
    """

    scale: Array
    values: Array
    vectors: Array

    @property
    def error(self) -> float:
        """Error of the eigenvalues."""
        largest = float(np.abs(self.values).max(initial=0.0))
        return max(ERROR, rounding(len(self.values))) * largest

    @property
    def curved(self) -> NDArray[np.bool_]:
        """(k,) of the eigenvectors, those along which the deviance rises to second order."""
        return np.asarray(self.values > self.error)

    @property
    def definite(self) -> bool:
        """Whether it rises in every direction."""
        return bool(self.curved.all())

    @property
    def semidefinite(self) -> bool:
        """Whether it falls in none: a minimum or a flat, and no saddle."""
        largest = float(np.abs(self.values).max(initial=0.0))
        return bool((self.values > -max(self.error, _PLACE_ERROR * largest)).all())


def curvature(matrix: Array) -> Curvature:
    """Scale a second derivative and take it apart."""
    diagonal = np.abs(np.diag(matrix))
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    if not len(matrix):
        return Curvature(scale, scale.copy(), matrix.copy())
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    return Curvature(scale, values, vectors)
