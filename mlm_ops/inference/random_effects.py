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
    """Predict the random effects, from the top level down.

    With the upper levels' effects b_u known to have relative covariance V, a lower unit has
    ``b = M (B_y - B_x beta - B_u b_u)`` and relative covariance ``M + F V F'``, ``F = M B_u``.

    Returns
    -------
    list of RandomEffects
        One a block, in the order of `Estimate.blocks`.
    """
    solution, design = fitted.optimum.solution, fitted.design
    found: list[RandomEffects] = []
    effects = np.zeros((0, 1))
    covariance = np.zeros((0, 0, 1))
    for height in reversed(range(len(design.levels))):
        step = solution.trace[height]
        parents = step.rung.parents
        above, above_covariance = effects[:, parents], covariance[:, :, parents]
        mb = np.einsum("ab,brj->arj", step.lam, step.u)
        q_above = len(above)
        f = mb[:, :q_above]
        mean = mb[:, -1] - np.einsum("apj,p->aj", mb[:, q_above:-1], solution.beta) - np.einsum("auj,uj->aj", f, above)
        m = np.einsum("ac,cdj,bd->abj", step.lam, step.inverse, step.lam)
        fv = np.einsum("auj,uvj->avj", f, above_covariance)
        own = m + np.einsum("avj,bvj->abj", fv, f)
        order = np.argsort(fitted.orders[height])
        found = _by_block(fitted, height, mean[:, order], own[:, :, order]) + found
        effects = np.concatenate((mean, above))
        upper = np.concatenate((own, -fv), axis=1)
        lower = np.concatenate((-fv.transpose(1, 0, 2), above_covariance), axis=1)
        covariance = np.concatenate((upper, lower))
    return found


def _by_block(fitted: Estimate, height: int, mean: Array, relative: Array) -> list[RandomEffects]:
    """Cut one level's effects into its blocks and put them on the user's scale."""
    found, first = [], 0
    taus = dict(zip(map(id, fitted.blocks), fitted.tau, strict=True))
    sigma2 = fitted.optimum.solution.sigma2
    for block in fitted.design.levels[height].blocks:
        part = slice(first, first + len(block.columns))
        variance = sigma2 * np.einsum("ac,cdj,bd->abj", block.transform, relative[part, part], block.transform)
        tau = np.diag(taus[id(block)])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.einsum("aaj->aj", variance) / tau[:, None]
        reliability = np.where(tau[:, None] > 0, 1 - share, np.nan)
        found.append(RandomEffects(block.transform @ mean[part], variance, reliability))
        first = part.stop
    return found
