"""Empirical Bayes estimates (BLUPs, conditional modes) of random effects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RandomEffects:
    """Random effects of one block; J units as in the design's labels, q effects.

    Attributes
    ----------
    estimate
        (q, J) conditional means given the outcome and the estimated parameters.
    variance
        (q, q, J) conditional covariance matrices, without the uncertainty of the fixed effects.
    reliability
        (q, J) ``1 - conditional variance / variance``; not a number where the variance is zero. Raudenbush and Bryk
        (2002), eq. 3.44.
    """

    estimate: Array
    variance: Array
    reliability: Array


def random_effects(fitted: Estimate) -> list[RandomEffects]:
    """Empirical Bayes estimates on the user's scale.

    Returns
    -------
    list of RandomEffects
        One a block, in the order of `Estimate.blocks`.
    """
    solution = fitted.optimum.solution
    modes = fitted.criterion.engine.modes(solution.trace, solution.beta)
    found = []
    for block, placed, tau in zip(fitted.blocks, fitted.criterion.blocks, fitted.tau, strict=True):
        mean, relative = (part[placed.effects] for part in modes[placed.level])
        covariance = solution.sigma2 * relative[:, placed.effects]
        variance = np.einsum("ac,cdj,bd->abj", block.transform, covariance, block.transform)
        total = np.diag(tau)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            reliability = np.where(total > 0, 1 - np.einsum("aaj->aj", variance) / total, np.nan)
        found.append(RandomEffects(block.transform @ mean, variance, reliability))
    return found
