"""Minimise a model's deviance over theta, and say how sure the minimum is.

Damped Newton steps: Fisher's expected information while far away (one evaluation gives it), the exact Hessian close by.
The domain has no boundary (see `covariance`), but a variance of zero is stationary in theta even where the deviance
falls with it, so every stop is checked against the derivative by T and left along its way out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.blocks import Block
from mlm_ops.estimation.criterion import Criterion, Solution

Array = NDArray[np.float64]

#: Stop when a step promises to lower the deviance by no more than this; one last step follows.
DECREMENT_TOLERANCE = 1e-12
#: A fit with a larger decrement than this is not converged.
CONVERGED_DECREMENT = 1e-6
#: Singular values of the scaled Lambda below this make a fit singular.
SINGULAR_TOLERANCE = 1e-4
#: Where second derivatives cost no more than first ones, they take over from here.
_NEAR = 1e-1
#: A promised decrease beyond which a polishing step has nothing to add.
_PERFECT = 1e-19
#: Relative rounding error of the deviance.
_RESOLUTION = 1e-12
#: An element of theta that the data determine at all has a curvature of the order of its number of units, not below
#: one; this one is rounding.
_FLAT = 1e-7
_MAX_STEPS = 200
_MAX_RESTARTS = 5


@dataclass(frozen=True)
class Optimum:
    """One record of everything about an optimisation.

    Attributes
    ----------
    theta, solution
        The minimum and the profiled model there.
    gradient, hessian
        Of the deviance by theta.
    decrement
        ``g' H^-1 g``: twice the distance in deviance to the minimum of the quadratic model.
    converged
        The decrement is below `CONVERGED_DECREMENT` and the Hessian has no negative direction.
    singular
        An estimated T is of deficient rank.
    undetermined
        The deviance does not change with some element of T that is not zero: the data say nothing of it.
    evaluations
        Evaluations of the criterion, those for derivatives included.
    restarts
        Times that a zero variance was left because the deviance falls with it.
    """

    theta: Array
    solution: Solution
    gradient: Array
    hessian: Array
    decrement: float
    converged: bool
    singular: bool
    undetermined: bool
    evaluations: int
    restarts: int


def minimise(criterion: Criterion, start: Array | None = None) -> Optimum:
    """Find the theta of least deviance.

    Parameters
    ----------
    start
        Where to begin; by default independent effects of moderate size.

    Returns
    -------
    Optimum
        Also where the fit is singular or has not converged: these are results with flags.
    """
    theta = criterion.start() if start is None else start
    evaluations = 0
    restarts = 0
    while True:
        theta, solution, gradient, hessian, used = _descend(criterion, theta)
        evaluations += used
        way_out = _way_out(criterion, theta, solution)
        if way_out is None or restarts == _MAX_RESTARTS:
            break
        theta, restarts = way_out, restarts + 1
    decrement, semidefinite = _decrement(gradient, hessian)
    return Optimum(
        theta=_positive_diagonals(criterion.blocks, theta),
        solution=solution,
        gradient=gradient,
        hessian=hessian,
        decrement=decrement,
        converged=bool(decrement < CONVERGED_DECREMENT and semidefinite),
        singular=_is_singular(criterion, theta),
        undetermined=_is_undetermined(theta, hessian, criterion.n_random),
        evaluations=evaluations,
        restarts=restarts,
    )


def _descend(criterion: Criterion, theta: Array) -> tuple[Array, Solution, Array, Array, int]:
    """Damped Newton from one start; returns theta, solution, gradient, Hessian and evaluations used.

    Damping is Levenberg's and Marquardt's, by the gain ratio (Nielsen 1999). Fisher's information is the metric until
    its steps promise next to nothing or slow down; the last steps have the exact Hessian.
    """
    solution = criterion.solve(theta)
    gradient = criterion.gradient(solution)
    if not len(theta):
        return theta, solution, gradient, np.zeros((0, 0)), 1
    evaluations, exact = 1, False
    costly = not criterion.engine.complex_step
    price = 1 if criterion.has_curvature else len(theta)
    metric = criterion.expected_information(solution)
    damping, growth, before, updating = 1e-3, 2.0, np.inf, False
    for _ in range(_MAX_STEPS):
        step, predicted = _newton_step(gradient, metric, damping)
        slow = 0.2 * before < predicted < 1.0
        updating = costly and (updating or slow)
        near = predicted < _NEAR and criterion.has_curvature
        if not exact and (predicted < DECREMENT_TOLERANCE or near or (slow and not costly)):
            exact, damping, growth = True, 0.0, 2.0
            metric = criterion.hessian(theta, solution)
            evaluations += price
            continue
        if predicted < DECREMENT_TOLERANCE:
            break
        before = predicted
        candidate = criterion.solve(theta + step)
        evaluations += 1
        noise = _RESOLUTION * abs(solution.criterion)
        gain = (solution.criterion - candidate.criterion) / predicted
        if np.isfinite(gain) and (gain > 1e-4 or predicted < noise):
            # steps too small for the deviance to judge are taken on trust: they are Newton's, near a minimum
            theta, solution, last = theta + step, candidate, gradient
            gradient = criterion.gradient(solution)
            damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3) if predicted > noise else 0.0, 2.0
            damping = damping if damping > 1e-9 else 0.0
            if updating:
                metric = _updated(metric, step, gradient - last)
            elif exact:
                metric = criterion.hessian(theta, solution)
                evaluations += price
            else:
                metric = criterion.expected_information(solution)
        else:
            damping, growth, before = max(damping, 1e-4) * growth, 2.0 * growth, 0.0
    if not exact:
        metric = criterion.hessian(theta, solution)
        evaluations += price
    if _newton_step(gradient, metric, 0.0)[1] > _PERFECT:
        theta, solution, gradient = _polish(criterion, theta, solution, gradient, metric)
        evaluations += 1
    return theta, solution, gradient, metric, evaluations


def _updated(metric: Array, step: Array, change: Array) -> Array:
    """The BFGS update of a metric, where the gradient's change shows curvature."""
    curvature, image = float(step @ change), metric @ step
    if curvature <= 1e-8 * float(np.sqrt((step @ step) * (change @ change))):
        return metric
    return metric + np.outer(change, change) / curvature - np.outer(image, image) / float(step @ image)


def _polish(
    criterion: Criterion, theta: Array, solution: Solution, gradient: Array, hessian: Array
) -> tuple[Array, Solution, Array]:
    """One more Newton step, judged by the gradient: the deviance itself no longer resolves it."""
    step, predicted = _newton_step(gradient, hessian, 0.0)
    candidate = criterion.solve(theta + step)
    there = criterion.gradient(candidate)
    if _newton_step(there, hessian, 0.0)[1] < predicted:
        return theta + step, candidate, there
    return theta, solution, gradient


def _newton_step(gradient: Array, metric: Array, damping: float) -> tuple[Array, float]:
    """``-(|H| + damping)^-1 g`` and the decrease in deviance that it promises; H scaled to a unit diagonal.

    Along what the data do not determine both are rounding, and no step is made.
    """
    gradient = np.where(np.abs(np.diag(metric)) < _FLAT, 0.0, gradient)
    scale = np.sqrt(np.maximum(np.abs(np.diag(metric)), 1e-8 * np.abs(np.diag(metric)).max() + 1e-12))
    values, vectors = np.linalg.eigh(metric / np.outer(scale, scale))
    curvature = np.maximum(np.abs(values), 1e-7) + damping
    along = vectors.T @ (gradient / scale)
    step = -(vectors @ (along / curvature)) / scale
    return step, float(along @ (along / curvature)) / 2


def _decrement(gradient: Array, hessian: Array) -> tuple[float, bool]:
    """``g' H^-1 g`` over the curved directions, and whether H is positive semi-definite."""
    if not len(gradient):
        return 0.0, True
    values, vectors = np.linalg.eigh(hessian)
    curved = values > 1e-8 * max(values.max(), 1e-300)
    along = vectors.T @ gradient
    return float((along[curved] ** 2 / values[curved]).sum()), bool(values.min() > -1e-6 * max(values.max(), 1.0))


def _way_out(criterion: Criterion, theta: Array, solution: Solution) -> Array | None:
    """A theta with lower deviance near a singular stop, if the deviance falls with a variance that is zero there."""
    if not _is_singular(criterion, theta):
        return None
    gradients = criterion.covariance_gradients(solution)
    proposal, found = theta.copy(), False
    for block, by_covariance in zip(criterion.blocks, gradients, strict=True):
        outward = block.covariance.way_out(theta[block.theta], by_covariance)
        if outward is not None:
            proposal[block.theta], found = outward, True
    return proposal if found else None


def _positive_diagonals(blocks: tuple[Block, ...], theta: Array) -> Array:
    """The same T with the usual signs."""
    result = theta.copy()
    for block in blocks:
        result[block.theta] = block.covariance.normalise(theta[block.theta], block.size)
    return result


def _is_singular(criterion: Criterion, theta: Array) -> bool:
    """Whether an estimated Lambda, of columns whose scale is one in the engine's basis, is nearly singular."""
    estimated = [b.covariance.factor(theta[b.theta], b.size) for b in criterion.blocks if b.n_estimated]
    return any(bool(np.linalg.svd(lam, compute_uv=False)[-1] < SINGULAR_TOLERANCE) for lam in estimated)


def _is_undetermined(theta: Array, hessian: Array, n_random: int) -> bool:
    """Whether the deviance is flat along an element of Lambda that is not zero."""
    curvature = np.diag(hessian)[:n_random]
    return bool(((np.abs(curvature) < _FLAT) & (np.abs(theta[:n_random]) > 1e-3)).any())
