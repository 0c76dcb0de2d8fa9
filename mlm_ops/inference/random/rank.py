"""Count the dimensions that random effects have: the rank of T, and its eigenvalues."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.optimize import SINGULAR_TOLERANCE
from mlm_ops.language.model import group_name
from mlm_ops.moments.arrays import Array


@dataclass(frozen=True)
class CovarianceRank:
    """The rank of one grouping factor's T, of which several random blocks are the diagonal blocks.

    Attributes
    ----------
    group
        The grouping factor.
    size
        Random effects q of a unit.
    rank
        Singular values of T's factor, each predictor counted in its own spread and the effects in residual standard
        deviations, that are not below `SINGULAR_TOLERANCE`. So the units of predictors and outcome do not matter, and a
        rank below q is what `singular` tells of; None where the data do not determine T.
    eigenvalues
        (q,) of T in its own units, the largest first; None where the data do not determine T.
    """

    group: str
    size: int
    rank: int | None
    eigenvalues: Array | None


def covariance_ranks(estimate: Estimate) -> list[CovarianceRank]:
    """The rank of T of each grouping factor, lowest first."""
    criterion, undetermined = estimate.criterion, estimate.undetermined
    factors = criterion.factors(estimate.optimum.theta)
    ranks: dict[int, int] = {}
    values: dict[int, list[float]] = {}
    unknown = set()
    for block, tau, flags in zip(criterion.blocks, estimate.tau, undetermined.tau, strict=True):
        lam = factors[block.level][block.effects, block.effects]
        singular_values = np.linalg.svd(lam, compute_uv=False)
        ranks[block.level] = ranks.get(block.level, 0) + int((singular_values >= SINGULAR_TOLERANCE).sum())
        eigenvalues = np.linalg.eigvalsh(tau)
        # what is below the largest one's rounding may have either sign
        rounding = len(eigenvalues) * np.finfo(np.float64).eps * np.abs(eigenvalues).max()
        eigenvalues = np.where(eigenvalues > rounding, eigenvalues, 0.0)
        values.setdefault(block.level, []).extend(eigenvalues.tolist())
        if flags.any():
            unknown.add(block.level)
    return [
        CovarianceRank(
            group_name(level.group),
            level.size,
            None if height in unknown else ranks[height],
            None if height in unknown else np.sort(values[height])[::-1],
        )
        for height, level in enumerate(estimate.design.levels)
    ]
