"""Find variances and covariances that the data do not determine, by the rank of the deviance's derivatives.

The outcome's covariance is ``V = sum_i t_i V_i``, linear in the elements of every T and in sigma2. The data determine a
combination of these unless ``sum_i c_i P V_i P = 0`` for some c that it is not orthogonal to, P projecting the fixed
effects out: then the deviance is the same all along c, whatever the outcome is. So the derivatives of the deviance by t
(the scores), taken for a few made-up outcomes at one T in general position, span exactly what is determined, and their
cross-products have the rank of the information matrix. No theta stands in it: at a variance of zero, where derivatives
by theta vanish, the rank is that of everywhere else. (Rothenberg 1971, Econometrica 39, 577-591, theorem 1.)

V is not linear in a residual structure's parameters: for these the Hessian at the optimum decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mlm_ops.estimation.criterion import Criterion
from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.design.record import BlockDesign, Design
from mlm_ops.estimation.engine import Engine
from mlm_ops.estimation.optimize import Optimum, least_curvature
from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.moments.arrays import Array, Flags
from mlm_ops.moments.rank import lengths, null_space

#: A Hessian that is curved by more than this share in every direction has the rank of its size.
_CURVED = 1e-4
#: Made-up outcomes beyond the number of parameters.
_EXTRA_OUTCOMES = 4
#: A parameter whose share in every direction of no information is below this is determined.
_SHARE = 1e-6
#: Scores in units of the parameters' sizes are of the order of the number of units; what is below this share of the
#: largest is rounding, of effects that the fixed part holds already.
_NO_SCORE = 1e-10
#: Relative error of second derivatives by differences, at an optimum that the search ended near.
_HESSIAN_ERROR = 1e-7


@dataclass(frozen=True)
class Undetermined:
    """Parameters of the outcome's covariance that the data do not determine.

    Attributes
    ----------
    tau
        (q, q) of each block: whether an element of T, on the user's scale, is undetermined.
    rho
        (n_rho,) of the residual structure's parameters.
    sigma2
        Whether the residual variance is.
    missing
        How many parameters fewer the data determine than the model has: two variances of which they determine the sum
        are undetermined both, and one is missing.
    """

    tau: tuple[Flags, ...]
    rho: Flags
    sigma2: bool
    missing: int

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.sigma2 or bool(self.rho.any()) or any(bool(flags.any()) for flags in self.tau)


def find_undetermined(
    design: Design,
    criterion: Criterion,
    optimum: Optimum,
    engine_of: Callable[[Design], Callable[[Array], Engine]],
) -> Undetermined:
    """Find what the data do not determine.

    Parameters
    ----------
    engine_of
        Makes `Criterion.engine_of` for a design.

    Returns
    -------
    Undetermined
        Nothing, without looking further, where the Hessian at the optimum is curved in every direction and no T is
        singular.
    """
    blocks = [block for level in design.levels for block in level.blocks]
    tau = [np.zeros((len(b.columns),) * 2, dtype=np.bool_) for b in blocks]
    rho = np.zeros(criterion.n_relative - criterion.n_random, dtype=np.bool_)
    flat = least_curvature(criterion, optimum) < _CURVED
    if not criterion.n_relative or not (flat or optimum.singular):
        return Undetermined(tuple(tau), rho, False, 0)
    theta = _general_position(criterion)
    lams = [placed.covariance.factor(theta[placed.theta], placed.size) for placed in criterion.blocks]
    directions = [b.covariance.directions(lam @ lam.T) for b, lam in zip(criterion.blocks, lams, strict=True)]
    scores, by_stratum = _scores(design, criterion, theta, directions, engine_of)
    sizes = np.linalg.norm(scores, axis=0)
    scores = np.where(sizes > _NO_SCORE * sizes.max(), scores, 0.0)
    # of a stratum whose few rows the fixed part reproduces, no outcome tells anything
    empty = np.linalg.norm(by_stratum, axis=0) <= _NO_SCORE * sizes.max()
    matrix = scores.T @ scores
    null = null_space(matrix)
    flags: Flags = np.asarray((np.abs(null * lengths(matrix)[:, None]) > _SHARE).any(axis=1))
    place = 0
    for block_flags, block, lam, own in zip(tau, blocks, lams, directions, strict=True):
        places = slice(place, place + len(own))
        steps = np.where(flags[places, None], null[places], 0.0) * _sizes(own, lam)[:, None]
        block_flags |= _changed_elements(block.transform, lam, np.einsum("nk,nab->kab", steps, own))
        place += len(own)
    rho[: len(empty) - 1] = empty[1:]
    missing, sigma2 = null.shape[1] + int(empty.sum()), bool(flags[-1] or empty[0])
    if len(rho) and flat and not optimum.singular and not missing:
        rho, sigma2, missing = _undetermined_residual(criterion, optimum, blocks, tau)
    return Undetermined(tuple(tau), rho, sigma2, missing)


def _sizes(directions: Array, lam: Array) -> Array:
    """(n,) the size of each parameter of a block: what a direction is of T's largest element that it changes."""
    spread = np.linalg.norm(lam, axis=1)
    sizes: Array = (np.abs(directions) * np.outer(spread, spread)).max(axis=(1, 2), initial=0.0)
    return sizes


def _changed_elements(transform: Array, lam: Array, changes: Array) -> Flags:
    """(q, q) elements of the user's T that (k, q, q) changes of the engine's T change, beside their own size."""
    spread = np.linalg.norm(transform @ lam, axis=1)
    shares = np.abs(transform @ changes @ transform.T) / np.outer(spread, spread)
    return np.asarray((shares > _SHARE * shares.max(initial=0.0)).any(axis=0))


def _general_position(criterion: Criterion) -> Array:
    """A theta at which no T is nearly singular."""
    theta = np.random.default_rng(RANDOM_SEED).uniform(0.4, 0.8, criterion.n_theta)
    theta[criterion.n_random : criterion.n_relative] = 0.3
    for placed in criterion.blocks:
        # off-diagonal elements of Lambda are smaller
        theta[placed.theta] *= np.where(np.diagonal(placed.slopes(theta), axis1=1, axis2=2).any(axis=1), 1.0, 0.4)
    if not criterion.profiled:
        theta[-1] = 1.0
    return theta


def _scores(
    design: Design,
    criterion: Criterion,
    theta: Array,
    directions: list[Array],
    engine_of: Callable[[Design], Callable[[Array], Engine]],
) -> tuple[Array, Array]:
    """(outcomes, n + 1) derivatives of the deviance by the engine's T's and sigma2, at one theta in general position.

    Each in units of the parameter's size there. In the engine's columns, which are centered and orthogonal: in the
    user's, a predictor far from zero makes an intercept's variance and its slope's all but the same parameter.

    And (outcomes, S) those by the residual variance of each stratum, sigma2 being that of the first.
    """
    rng = np.random.default_rng(RANDOM_SEED + 1)
    n_strata = 1 if design.residual is None else len(design.residual.strata)
    rows, strata = [], []
    for _ in range(sum(len(own) for own in directions) + 1 + _EXTRA_OUTCOMES):
        other = _with_outcome(design, rng)
        simulated = replace(criterion, engine_of=engine_of(other), residual=other.residual)
        # sigma2 is one here, whatever these outcomes would make of it
        solution = replace(simulated.solve(theta), sigma2=1.0)
        by_block = simulated.covariance_gradients(solution)
        row = []
        of_sigma2 = solution.degrees - solution.residual
        for placed, own, slope in zip(criterion.blocks, directions, by_block, strict=True):
            lam = solution.lams[placed.level][placed.effects, placed.effects]
            of_sigma2 -= float((slope * (lam @ lam.T)).sum())
            row += list(np.einsum("nab,ab->n", own, slope) * _sizes(own, lam))
        rows.append([*row, of_sigma2])
        # the deviance's derivative by a logarithm of a deviation is twice that by the logarithm of its square
        others = simulated.gradient(solution)[criterion.n_random :][: n_strata - 1] / 2
        strata.append([of_sigma2 - others.sum(), *others])
    return np.array(rows), np.array(strata)


def _with_outcome(design: Design, rng: np.random.Generator) -> Design:
    """The design with another outcome: what it was, and random effects of every unit added."""
    cross = design.cross
    m, sizes = cross.combination.shape[1], [level.size for level in design.levels]
    weights = np.zeros((m, cross.cells))
    weights[-1] = 1.0
    start = 0
    for level, size in zip(design.levels, sizes, strict=True):
        weights[start : start + size] = rng.normal(size=(size, len(level.labels)))[:, level.codes]
        start += size
    if design.residual is None:
        return replace(design, cross=CrossProducts.of(_with_last_column(cross.full, weights)))
    products = np.array([_with_last_column(part, weights) for part in design.residual.products])
    return replace(design, residual=replace(design.residual, products=products))


def _with_last_column(products: Array, weights: Array) -> Array:
    """Cross-products (m, m, cells) with the last column replaced by a combination of all, (m, cells)."""
    result = products.copy()
    column = np.einsum("abc,bc->ac", products, weights)
    result[-1], result[:, -1] = column, column
    result[-1, -1] = np.einsum("ac,ac->c", weights, column)
    return result


def _undetermined_residual(
    criterion: Criterion, optimum: Optimum, blocks: list[BlockDesign], tau: list[Flags]
) -> tuple[Flags, bool, int]:
    """Undetermined parameters of the residual, and elements of T that are undetermined with them, by the Hessian."""
    hessian, scales = optimum.hessian, criterion.scales(optimum.theta)
    unit_hessian = hessian * np.outer(scales, scales)
    # scaled to a diagonal of ones, a curvature that is rounding would count as one
    curved = np.abs(np.diag(unit_hessian)) > _HESSIAN_ERROR
    unit_hessian = np.where(curved[:, None] & curved, unit_hessian, 0.0)
    null = null_space(unit_hessian, _HESSIAN_ERROR) * scales[:, None]
    rho: Flags = np.asarray((np.abs(null[criterion.n_random : criterion.n_relative]) > _SHARE).any(axis=1))
    if not rho.any():
        return rho, False, 0
    lams = criterion.factors(optimum.theta)
    for block_flags, block, placed in zip(tau, blocks, criterion.blocks, strict=True):
        if not placed.known:
            lam = block.transform @ lams[placed.level][placed.effects, placed.effects]
            change = np.einsum(
                "kab,kn->nab", block.transform @ placed.slopes(optimum.theta) @ lam.T, null[placed.theta]
            )
            size = np.sqrt(np.diag(lam @ lam.T))
            block_flags |= (np.abs(change + change.transpose(0, 2, 1)) > _SHARE * np.outer(size, size)).any(axis=0)
    slope = criterion.residual_gradient(optimum.solution) @ null / optimum.solution.residual
    # phi near zero, all gaps being long, is no parameter too many: the data say that it is small
    missing = 0 if criterion.is_flat_in_residual(optimum.theta) else int(null.shape[1])
    return rho, bool((np.abs(slope) > _SHARE).any()), missing
