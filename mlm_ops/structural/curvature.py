"""The curvature of the deviance: which directions are flat, which fall, and one rule for what is rounding.

Scaled to a diagonal of ones, so that the units of the parameters do not matter, its eigenvalues are compared with the
largest. They are known to `mlm_ops.moments.rank.rounding` at best. The Hessian is a difference of terms that are up to
1e5 times as large, and belongs to a point beside the optimum: what is below `ERROR` of the largest is flat. Where a
search ended, the point may be off by the root of the decrease that it still promised, 1e-17 and less, and along a flat
direction by more, so that only an eigenvalue below minus the root of that is a direction which falls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.rank import rounding

Array = NDArray[np.float64]

#: Share of the largest eigenvalue below which one is zero.
ERROR = 1e-10
#: What the place of the optimum adds to it for the verdict on a saddle.
_OF_PLACE = 1e-7


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
        """What the eigenvalues are known to."""
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
        return bool((self.values > -max(self.error, _OF_PLACE * largest)).all())


def curvature(matrix: Array) -> Curvature:
    """Scale a second derivative and take it apart."""
    diagonal = np.abs(np.diag(matrix))
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    if not len(matrix):
        return Curvature(scale, scale.copy(), matrix.copy())
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    return Curvature(scale, values, vectors)
