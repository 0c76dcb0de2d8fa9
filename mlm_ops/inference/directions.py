"""The directions in which the covariance T of each grouping factor may change, T being linear in its parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.blocks import Block
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.information import Direction

Array = NDArray[np.float64]

_STEP = 1e-20


def covariance_directions(fitted: Estimate) -> tuple[list[Direction], list[Direction]]:
    """Directions in which each T was estimated, and the T's that do not lie in their span, as known ones."""
    lams = fitted.criterion.factors(fitted.optimum.theta)
    estimated: list[Direction] = []
    held: list[Direction] = []
    for block in fitted.criterion.blocks:
        size = len(lams[block.level])
        part = np.ix_(*[np.arange(size)[block.effects]] * 2)
        lam = lams[block.level][part]
        inside = np.zeros((0, *lam.shape)) if block.known else linear_directions(block, fitted.optimum.theta)
        relative = lam @ lam.T
        rest = relative - np.einsum("i,iab->ab", _combination(inside, relative), inside)
        known = [relative] if np.abs(rest).max(initial=0.0) > 1e-9 * np.abs(relative).max(initial=0.0) else []
        for matrices, found in ((inside, estimated), (known, held)):
            for matrix in matrices:
                placed = np.zeros((size, size))
                placed[part] = matrix
                found.append(Direction(block.level, placed))
    return estimated, held


def linear_directions(block: Block, theta: Array) -> Array:
    """(n, q, q) matrices that span what a block's T may be.

    A structure in which T is linear (unstructured, diagonal, compound symmetry, a free multiple of a known matrix) has
    as many as parameters: the derivatives of ``Lambda Lambda'`` at a theta in general position. Any other is taken as
    linear around the estimate, without the second derivatives in Kenward's and Roger's formula.
    """
    here, q = theta[block.theta], block.size
    elsewhere = np.random.default_rng(0).standard_normal((3, len(here)))
    span = np.concatenate([_slopes(block, point) for point in elsewhere]).reshape(-1, q * q)
    values, rows = np.linalg.svd(span, full_matrices=False)[1:]
    linear = rows[values > 1e-8 * values.max(initial=0.0)]
    return linear.reshape(-1, q, q) if len(linear) == len(here) else _slopes(block, here)


def _slopes(block: Block, theta: NDArray[Any]) -> Array:
    """(n_theta, q, q) derivatives of ``Lambda Lambda'`` by theta, along the imaginary axis."""
    found = np.empty((len(theta), block.size, block.size))
    for k in range(len(theta)):
        shifted: NDArray[Any] = theta.astype(complex)
        shifted[k] += 1j * _STEP
        lam = block.covariance.factor(shifted, block.size)
        found[k] = (lam @ lam.T).imag / _STEP
    return found


def _combination(matrices: Array, target: Array) -> Array:
    """Coefficients of the matrices in their combination that is nearest to the target."""
    return np.asarray(np.linalg.lstsq(matrices.reshape(len(matrices), target.size).T, target.ravel(), rcond=None)[0])


def coordinates(fitted: Estimate, directions: list[Direction]) -> Array:
    """Coefficients t of the directions in the T's: ``T_level = sum_i t_i E_i``."""
    lams = fitted.criterion.factors(fitted.optimum.theta)
    found = np.zeros(len(directions))
    for level, lam in enumerate(lams):
        mine = [i for i, d in enumerate(directions) if d.level == level]
        matrices = np.array([directions[i].matrix for i in mine]).reshape(-1, *lam.shape)
        found[mine] = _combination(matrices, lam @ lam.T)
    return found
