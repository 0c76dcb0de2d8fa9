"""The ML deviance with the standard deviation or the correlation of effects held that are alike: equal variances.

With q effects of equal variance and equal covariance, ``Lambda = theta_1 P + theta_2 (I - P)``, P the projection on
their mean, so that ``T = scale^2 sigma2 Lambda^2`` has

    variance = scale^2 sigma2 (theta_1^2 + (q - 1) theta_2^2) / q,
    correlation = (theta_1^2 - theta_2^2) / (theta_1^2 + (q - 1) theta_2^2).

A held standard deviation fixes the length of ``(theta_1, sqrt(q - 1) theta_2)`` and leaves its angle; a held
correlation fixes the direction of theta and leaves its length. Independent effects have theta_1 = theta_2 and no angle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.criterion import Criterion
from mlm_ops.inference.constrained import Substituted

Array = NDArray[np.float64]


def hold_common_deviation(criterion: Criterion, theta: Array, number: int, scale: float) -> Substituted:
    """The standard deviation of a block's effects is the value.

    Parameters
    ----------
    criterion, theta
        With 1 / sigma as the last element, and its minimum.
    number
        Which block.
    scale
        User's effects in the engine's.
    """
    block = criterion.blocks[number]
    q, place = block.size, block.theta
    others = np.delete(np.arange(len(theta)), place)
    k = len(others)
    weights = np.array([np.sqrt(q), np.sqrt(q / max(q - 1, 1))])

    def expand(value: float, rest: Array) -> tuple[Array, Array]:
        full, jacobian = np.empty(len(theta)), np.zeros((len(theta), len(rest)))
        full[others] = rest[:k]
        jacobian[others, np.arange(k)] = 1.0
        direction = np.ones(1)
        if block.n_estimated == 2:
            cosine, sine = np.cos(rest[k]), np.sin(rest[k])
            direction = weights * (cosine, sine)
            jacobian[place, k] = value / scale * rest[k - 1] * weights * (-sine, cosine)
        jacobian[place, k - 1] = value / scale * direction
        full[place] = jacobian[place, k - 1] * rest[k - 1]
        return full, jacobian

    own = theta[place] / weights[: block.n_estimated]
    angle = [np.arctan2(own[1], own[0])] if block.n_estimated == 2 else []
    return Substituted(criterion, np.append(theta[others], angle), expand)


def hold_common_correlation(criterion: Criterion, theta: Array, number: int) -> Substituted:
    """The correlation of a block's effects is the value, between ``-1 / (q - 1)`` and 1."""
    block = criterion.blocks[number]
    q, place = block.size, block.theta
    others = np.delete(np.arange(len(theta)), place)
    k = len(others)

    def expand(value: float, rest: Array) -> tuple[Array, Array]:
        direction = np.sqrt(np.maximum([1 + (q - 1) * value, 1 - value], 0.0))
        full, jacobian = np.empty(len(theta)), np.zeros((len(theta), len(rest)))
        full[others], full[place] = rest[:k], rest[k] * direction
        jacobian[others, np.arange(k)] = 1.0
        jacobian[place, k] = direction
        return full, jacobian

    length = np.sqrt((theta[place][0] ** 2 + (q - 1) * theta[place][1] ** 2) / q)
    return Substituted(criterion, np.append(theta[others], length), expand)
