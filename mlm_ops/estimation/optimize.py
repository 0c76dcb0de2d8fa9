"""Minimise a model's deviance over theta, and say how sure the minimum is.

Damped Newton steps: Fisher's expected information while far away (one evaluation gives it), the exact Hessian close by.
The domain has no boundary (see `covariance`), but a variance of zero is stationary in theta even where the deviance
falls with it, so every stop is checked against the derivative by T and left along its way out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.criterion import Block, Criterion, Solution

Array = NDArray[np.float64]

#: Stop when the deviance is within this of its minimum, by the quadratic model (the Newton decrement).
DECREMENT_TOLERANCE = 1e-10
#: A fit with a larger decrement than this is not converged.
CONVERGED_DECREMENT = 1e-6
#: Singular values of the scaled Lambda below this make a fit singular.
SINGULAR_TOLERANCE = 1e-4
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
        T is of deficient rank.
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
        evaluations=evaluations,
        restarts=restarts,
    )


def _descend(criterion: Criterion, theta: Array) -> tuple[Array, Solution, Array, Array, int]:
    """Damped Newton from one start: Levenberg-Marquardt damping by the gain ratio (Nielsen 1999)."""
    solution = criterion.solve(theta)
    gradient = criterion.gradient(solution)
    evaluations = 1
    if not len(theta):
        return theta, solution, gradient, np.zeros((0, 0)), evaluations
    exact = False
    damping, growth = 1e-3, 2.0
    metric = criterion.expected_information(solution)
    for _ in range(_MAX_STEPS):
        step, predicted = _newton_step(gradient, metric, damping)
        if predicted < (1e-3 if not exact else DECREMENT_TOLERANCE):
            if exact:
                break
            # close by: from here on with the exact Hessian, undamped
            exact, damping, growth = True, 0.0, 2.0
            metric = criterion.hessian(theta)
            evaluations += len(theta)
            continue
        candidate = criterion.solve(theta + step)
        evaluations += 1
        gain = (solution.criterion - candidate.criterion) / predicted
        if np.isfinite(gain) and gain > 1e-4:
            theta, solution = theta + step, candidate
            gradient = criterion.gradient(solution)
            damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3), 2.0
            damping = damping if damping > 1e-9 else 0.0
            if exact:
                metric = criterion.hessian(theta)
                evaluations += len(theta)
            else:
                metric = criterion.expected_information(solution)
        elif abs(predicted) < 1e-13 * abs(solution.criterion) and exact:
            break  # the deviance can no longer resolve the step
        else:
            damping, growth = max(damping, 1e-4) * growth, 2.0 * growth
    if not exact:
        metric = criterion.hessian(theta)
        evaluations += len(theta)
    return theta, solution, gradient, metric, evaluations


def _newton_step(gradient: Array, metric: Array, damping: float) -> tuple[Array, float]:
    """``-(|H| + damping)^-1 g`` and the decrease in deviance that it promises; H scaled to a unit diagonal."""
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
    gradients = criterion.covariance_gradients(solution)
    proposal, found = theta.copy(), False
    for block, by_covariance in zip(criterion.blocks, gradients, strict=True):
        lam = block.covariance.factor(theta[block.theta], block.size)
        relative = lam @ lam.T
        values, vectors = np.linalg.eigh(relative)
        null = vectors[:, values < SINGULAR_TOLERANCE**2]
        if not null.shape[1]:
            continue
        slopes, directions = np.linalg.eigh(null.T @ by_covariance @ null)
        if slopes[0] < -1e-6 * max(1.0, np.abs(by_covariance).max()):
            outward = null @ directions[:, 0]
            proposal[block.theta] = block.covariance.from_covariance(relative + 1e-2 * np.outer(outward, outward))
            found = True
    return proposal if found else None


def _positive_diagonals(blocks: tuple[Block, ...], theta: Array) -> Array:
    """The same T with the usual signs."""
    result = theta.copy()
    for block in blocks:
        lam = block.covariance.factor(theta[block.theta], block.size)
        result[block.theta] = block.covariance.pull_back(lam * np.where(np.diag(lam) < 0, -1.0, 1.0))
    return result


def _is_singular(criterion: Criterion, theta: Array) -> bool:
    """Whether a Lambda, its columns' scale being one by the engine's basis, has a singular value near zero."""
    factors = criterion.factors(theta)
    return any(bool(np.linalg.svd(lam, compute_uv=False)[-1] < SINGULAR_TOLERANCE) for lam in factors if len(lam))
