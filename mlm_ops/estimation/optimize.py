"""Minimise a model's deviance over theta, and decide whether the end is a minimum, flat, or neither.

Damped Newton steps: an information matrix while far away (one evaluation gives it), the exact Hessian close by.
The domain has no boundary (see `covariance`), but a variance of zero is stationary in theta even where the deviance
falls with it, so every stop is checked against the derivative by T and left along its way out; a saddle is left along
its negative curvature; and where a residual parameter's derivative vanishes (see `residual`), the search begins at
several of its values.

Every judgement is made in units of theta's own size (`Criterion.scales`): where groups differ a million times more than
their rows do, a deviance's second derivative by theta is a million million times smaller, and as telling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mlm_ops.estimation.criterion import Criterion, Solution
from mlm_ops.moments.arrays import Array

Verdict = Literal["minimum", "flat", "saddle", "unfinished"]

#: Stop when a step promises to lower the deviance by no more than this; one last step follows.
DECREMENT_TOLERANCE = 1e-12
#: A fit with a larger decrement than this is not converged.
CONVERGED_DECREMENT = 1e-6
#: Singular values of the scaled Lambda below this make a fit singular.
SINGULAR_TOLERANCE = 1e-4
#: Where second derivatives cost no more than first ones, they take over from here.
_NEAR = 1e-1
#: The last step is left out where it promises to lower the deviance by less than the first, or by less than the
#: tolerance and moves theta by less of its size than the second.
_LAST_STEP = (1e-19, 1e-10)
#: The same where an evaluation is costly.
_LAST_COSTLY_STEP = (1e-14, 1e-6)
#: A Hessian serves for further steps while each promises to lower the deviance by less than this share of the last, and
#: moves theta by less of its size.
_SAME_CURVATURE = 1e-2
#: Relative rounding error of the deviance.
_RESOLUTION = 1e-12
#: An element of theta that the data determine at all has, in units of its size, a curvature of the order of its number
#: of units, not below one; this one is rounding.
FLAT = 1e-7
#: A direction of the Hessian, scaled to a unit diagonal, along which the deviance falls by more than rounding.
_SADDLE = 1e-6
_MAX_STEPS = 200
_MAX_RESTARTS = 5
#: Values of a residual parameter from which the search begins where several are needed.
_MOST_STARTS = 3
#: Of so few rows the deviance may have a second, lower minimum beside that at a variance of zero: it had in three of
#: 1,200 simulated sets of 10 to 90 rows, and in none of 556 sets of up to 320 rows.
FEW_ROWS = 1000


@dataclass(frozen=True)
class Optimum:
    """One record of everything about an optimisation; all of it is of the same theta (`_optimum_at` makes it).

    Attributes
    ----------
    theta, solution
        The minimum, with the usual signs, and the profiled model there.
    gradient, hessian
        Of the deviance by theta, there.
    decrement
        ``g' H^-1 g``: twice the distance in deviance to the minimum of the quadratic model.
    verdict
        By the Hessian: ``minimum``; ``flat``, where the deviance does not change along some direction; ``saddle``,
        where it falls along some; ``unfinished``, where the decrement exceeds `CONVERGED_DECREMENT`.
    singular
        An estimated T is of deficient rank.
    evaluations
        Evaluations of the criterion, those for derivatives included.
    restarts
        Times that a stop was left because the deviance falls from there.
    """

    theta: Array
    solution: Solution
    gradient: Array
    hessian: Array
    decrement: float
    verdict: Verdict
    singular: bool
    evaluations: int
    restarts: int

    @property
    def converged(self) -> bool:
        """Whether no lower deviance is near: at a minimum, or on a flat."""
        return self.verdict in {"minimum", "flat"}


class _Stop(NamedTuple):
    """Where a descent ended; `is_hessian` tells whether the Hessian is exact and of this theta."""

    theta: Array
    solution: Solution
    gradient: Array
    hessian: Array
    is_hessian: bool
    evaluations: int


def minimise(criterion: Criterion, start: Array | None = None) -> Optimum:
    """Find the theta of least deviance.

    Parameters
    ----------
    start
        Where to begin; by default where `Criterion.start` says, and of few rows whose variance ends at zero once more
        with large effects.

    Returns
    -------
    Optimum
        Also where the fit is singular or has not converged: these are results with flags.
    """
    starts, evaluations = _starts(criterion, criterion.start()) if start is None else ([start], 0)
    stops = [_search(criterion, theta) for theta in starts]
    stop, _, restarts = min(stops, key=lambda search: float(search[0].solution.criterion))
    is_small = criterion.n_obs <= FEW_ROWS and criterion.residual is None
    if start is None and is_small and _is_singular(criterion, stop.theta):
        stops.append(_search(criterion, criterion.large_effects()))
        other, _, restarts_of_other = stops[-1]
        # the same minimum is the first search's, whatever rounding says
        if stop.solution.criterion - other.solution.criterion > _RESOLUTION * abs(stop.solution.criterion):
            stop, restarts = other, restarts_of_other
    evaluations += sum(count for _, count, _ in stops)
    return _optimum_at(criterion, stop, evaluations, restarts)


def _starts(criterion: Criterion, theta: Array) -> tuple[list[Array], int]:
    """Starting values: theta, or the best of a residual parameter's others where its derivative vanishes there.

    Of the parameter's other values, in order, those are taken at which the deviance is lower than at both neighbours:
    the lowest of either sign, as the deviance's order at this T need not be that at the minima, and one more.
    """
    others = criterion.other_autocorrelations(theta)
    if not len(others):
        return [theta], 0
    heights = np.array([float(criterion.solve(other).criterion) for other in others])
    heights = np.where(np.isfinite(heights), heights, np.inf)
    padded = np.concatenate(([np.inf], heights, [np.inf]))
    lowest = np.flatnonzero((heights <= padded[:-2]) & (heights <= padded[2:]))
    order = list(lowest[np.argsort(heights[lowest], kind="stable")])
    negative = [others[i][criterion.n_relative - 1] < 0 for i in order]
    first = [order[negative.index(sign)] for sign in (True, False) if sign in negative]
    indices = dict.fromkeys([*first, *order])
    return [others[i] for i in list(indices)[:_MOST_STARTS]], len(others)


def _search(criterion: Criterion, theta: Array) -> tuple[_Stop, int, int]:
    """Descend, and again from wherever a stop turns out to be no minimum: the last stop, evaluations and restarts."""
    evaluations = restarts = 0
    while True:
        stop = _descend(criterion, theta)
        evaluations += stop.evaluations
        if restarts == _MAX_RESTARTS:
            break
        way_out, count = _way_out(criterion, stop)
        evaluations += count
        if way_out is None:
            break
        theta, restarts = way_out, restarts + 1
    return stop, evaluations, restarts


def _optimum_at(criterion: Criterion, stop: _Stop, evaluations: int, restarts: int) -> Optimum:
    """The record of a stop, everything in it taken at the theta of the same T that has the usual signs."""
    signs = criterion.signs(stop.theta)
    theta, solution, gradient, hessian = stop.theta * signs, stop.solution, stop.gradient, stop.hessian
    if not stop.is_hessian:
        hessian = criterion.hessian(stop.theta, solution)
        evaluations += _price(criterion, solution)
    if (signs < 0).any():
        # turning signs turns those of the derivatives, exactly
        solution = criterion.solve(theta)
        gradient, hessian = criterion.gradient(solution), hessian * np.outer(signs, signs)
        evaluations += 1
    decrement, verdict = _judge(gradient, hessian, criterion.scales(theta))
    return Optimum(
        theta=theta,
        solution=solution,
        gradient=gradient,
        hessian=hessian,
        decrement=decrement,
        verdict=verdict,
        singular=_is_singular(criterion, theta),
        evaluations=evaluations,
        restarts=restarts,
    )


def least_curvature(criterion: Criterion, optimum: Optimum) -> float:
    """The smallest eigenvalue of an optimum's Hessian, scaled to a unit diagonal; one without parameters."""
    if not len(optimum.theta):
        return 1.0
    return float(_curvature(optimum.hessian, criterion.scales(optimum.theta))[0][0])


def _price(criterion: Criterion, solution: Solution) -> int:
    """Evaluations that a Hessian takes."""
    return 1 if criterion.has_curvature(solution) else criterion.n_theta


def _descend(criterion: Criterion, theta: Array) -> _Stop:
    """Damped Newton from one start.

    Damping is Levenberg's and Marquardt's, by the gain ratio (Nielsen 1999). An information matrix is the metric until
    its steps promise next to nothing or slow down; the last steps have the exact Hessian.
    """
    solution = criterion.solve(theta)
    gradient = criterion.gradient(solution)
    if not len(theta):
        return _Stop(theta, solution, gradient, np.zeros((0, 0)), True, 1)
    evaluations, exact, is_hessian = 1, False, False
    costly = not criterion.engine.complex_step
    metric = criterion.information(solution)
    damping, growth, before, updating = 1e-3, 2.0, np.inf, False
    for _ in range(_MAX_STEPS):
        step, predicted = _newton_step(gradient, metric, criterion.scales(theta), damping)
        slow = 0.2 * before < predicted < 1.0
        updating = costly and (updating or slow)
        near = predicted < _NEAR and not costly and criterion.has_curvature(solution)
        stale = exact and not is_hessian and predicted > max(_SAME_CURVATURE * before, DECREMENT_TOLERANCE)
        if stale or (not exact and (predicted < DECREMENT_TOLERANCE or near or (slow and not costly))):
            damping, growth = (damping, growth) if stale else (0.0, 2.0)
            exact, is_hessian, metric = True, True, criterion.hessian(theta, solution)
            evaluations += _price(criterion, solution)
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
            theta, solution, last, is_hessian = theta + step, candidate, gradient, False
            gradient = criterion.gradient(solution)
            damping, growth = damping * max(1 / 3, 1 - (2 * gain - 1) ** 3) if predicted > noise else 0.0, 2.0
            damping = damping if damping > 1e-9 else 0.0
            if updating:
                metric = _bfgs_update(metric, step, gradient - last)
            elif exact and np.abs(step / criterion.scales(theta)).max() > _SAME_CURVATURE:
                metric, is_hessian = criterion.hessian(theta, solution), True
                evaluations += _price(criterion, solution)
            elif exact:
                metric = _bfgs_update(metric, step, gradient - last)
            else:
                metric = criterion.information(solution)
                if before < _NEAR:  # this metric knows nothing of how the gradient has changed
                    metric = _bfgs_update(metric, step, gradient - last)
        else:
            damping, growth, before = max(damping, 1e-4) * growth, 2.0 * growth, 0.0
    return _polish(criterion, _Stop(theta, solution, gradient, metric, is_hessian, evaluations))


def _bfgs_update(metric: Array, step: Array, change: Array) -> Array:
    """The BFGS update of a metric, where the gradient's change shows curvature."""
    curvature, image = float(step @ change), metric @ step
    expected = float(step @ image)
    if expected <= 0 or curvature <= 1e-8 * float(np.sqrt((step @ step) * (change @ change))):
        return metric
    return metric + np.outer(change, change) / curvature - np.outer(image, image) / expected


def _polish(criterion: Criterion, stop: _Stop) -> _Stop:
    """One more Newton step, judged by the gradient, as the deviance itself no longer resolves it; and the Hessian."""
    theta, solution, gradient, metric, is_hessian, evaluations = stop
    scales = criterion.scales(theta)
    step, predicted = _newton_step(gradient, metric, scales, 0.0)
    limit, small = _LAST_STEP if criterion.engine.complex_step else _LAST_COSTLY_STEP
    if np.abs(step / scales).max(initial=0.0) < small and not _is_singular(criterion, theta):
        limit = DECREMENT_TOLERANCE
    if predicted > limit:
        candidate = criterion.solve(theta + step)
        candidate_gradient = criterion.gradient(candidate)
        evaluations += 1
        if _newton_step(candidate_gradient, metric, scales, 0.0)[1] < predicted:
            # of a promise below the tolerance: 1.4e-6 standard errors, which move second derivatives by such a share
            theta, solution, gradient = theta + step, candidate, candidate_gradient
            is_hessian = is_hessian and predicted < DECREMENT_TOLERANCE
    if not is_hessian:
        metric = criterion.hessian(theta, solution)
        evaluations += _price(criterion, solution)
    return _Stop(theta, solution, gradient, metric, True, evaluations)


def _newton_step(gradient: Array, metric: Array, scales: Array, damping: float) -> tuple[Array, float]:
    """``-(|H| + damping)^-1 g`` and the decrease in deviance that it promises; H scaled to a unit diagonal.

    Along what the data do not determine both are rounding, and no step is made.
    """
    gradient, metric = gradient * scales, metric * np.outer(scales, scales)
    diagonal = np.abs(np.diag(metric))
    gradient = np.where(diagonal < FLAT, 0.0, gradient)
    scale = np.sqrt(np.maximum(diagonal, 1e-8 * diagonal.max() + 1e-12))
    values, vectors = np.linalg.eigh(metric / np.outer(scale, scale))
    curvature = np.maximum(np.abs(values), 1e-7) + damping
    along = vectors.T @ (gradient / scale)
    step: Array = -(vectors @ (along / curvature)) / scale * scales
    return step, float(along @ (along / curvature)) / 2


def _curvature(hessian: Array, scales: Array) -> tuple[Array, Array, Array]:
    """Eigenvalues and -vectors of a Hessian scaled to a unit diagonal, and the scale; what is flat stays below one."""
    diagonal = np.abs(np.diag(hessian)) * scales**2
    unit = scales / np.sqrt(np.where(diagonal < FLAT, 1.0, diagonal))
    values, vectors = np.linalg.eigh(hessian * np.outer(unit, unit))
    return values, vectors, unit


def _judge(gradient: Array, hessian: Array, scales: Array) -> tuple[float, Verdict]:
    """``g' H^-1 g`` over the curved directions, and what the Hessian says of the place."""
    if not len(gradient):
        return 0.0, "minimum"
    values, vectors, unit = _curvature(hessian, scales)
    curved = values > FLAT
    along = vectors.T @ (gradient * unit)
    decrement = float((along[curved] ** 2 / values[curved]).sum())
    if values.min() < -_SADDLE:
        return decrement, "saddle"
    if decrement >= CONVERGED_DECREMENT:
        return decrement, "unfinished"
    return decrement, "minimum" if curved.all() else "flat"


def _way_out(criterion: Criterion, stop: _Stop) -> tuple[Array | None, int]:
    """A theta of lower deviance near a stop that is no minimum, or None; and evaluations used.

    The deviance may fall with a variance that is zero, from a saddle, or at other values of a residual parameter whose
    derivative vanishes.
    """
    theta, solution = stop.theta, stop.solution
    if _is_singular(criterion, theta):
        proposal, has_way_out = theta.copy(), False
        gradients = criterion.covariance_gradients(solution)
        for block, by_covariance in zip(criterion.blocks, gradients, strict=True):
            outward = block.covariance.way_out(theta[block.theta], by_covariance)
            if outward is not None:
                proposal[block.theta], has_way_out = outward, True
        if has_way_out:
            return proposal, 0
    tries: Sequence[Array] = ()
    if len(theta):
        values, vectors, unit = _curvature(stop.hessian, criterion.scales(theta))
        if values[0] < -_SADDLE:
            tries = [theta + length * unit * vectors[:, 0] for length in (-4.0, -1.0, -0.25, 0.25, 1.0, 4.0)]
        elif criterion.is_flat_in_residual(theta):
            tries = criterion.other_autocorrelations(theta)
    heights = [float(criterion.solve(other).criterion) for other in tries]
    noise = 1e3 * _RESOLUTION * abs(float(solution.criterion))
    if heights and np.nanmin(heights) < float(solution.criterion) - max(noise, 1e-6):
        return tries[int(np.nanargmin(heights))], len(tries)
    return None, len(tries)


def _is_singular(criterion: Criterion, theta: Array) -> bool:
    """Whether an estimated Lambda, of columns whose scale is one in the engine's basis, is nearly singular."""
    lams = [b.covariance.factor(theta[b.theta], b.size) for b in criterion.blocks if b.n_estimated]
    return any(bool(np.linalg.svd(lam, compute_uv=False)[-1] < SINGULAR_TOLERANCE) for lam in lams)
