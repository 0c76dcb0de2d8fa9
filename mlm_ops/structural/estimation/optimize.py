"""Minimise the deviance of a two-level model over parameters whose covariance matrices are positive semi-definite.

Damped Newton with the exact Hessian, Fisher's information where that is indefinite. Where the free minimum has a
negative variance or a correlation beyond one, the minimum within bounds is followed along the central path of a
logarithmic barrier (Boyd and Vandenberghe 2004, Convex Optimization, 11.3); variances that end at zero are set to zero,
and the rest is minimised exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.moments.arrays import Array
from mlm_ops.structural.algebra.constraints import Equations
from mlm_ops.structural.algebra.identification import Curvature, curvature
from mlm_ops.structural.estimation.bounds import (
    arrows_without_effect,
    covariances_without_variance,
    least_eigenvalue,
    log_barrier,
    on_the_boundary,
    small_variances,
    unit_shares,
)
from mlm_ops.structural.likelihood.criterion import Evaluated, SemCriterion

#: A fit with a larger decrement ``g' H^-1 g`` than this is not converged.
CONVERGED_DECREMENT = 1e-6
#: Eigenvalues of a level's covariance matrix of parameters, in shares of the columns' whole variance, below this are
#: zero: standard deviations of a ten-thousandth, as for the mixed models.
SINGULAR = 1e-8
#: The same beside a bound, where the last barrier of 1e-8 leaves an eigenvalue of 1e-8 over the deviance's slope there.
BESIDE_BOUND = 1e-5
#: A minimum with an eigenvalue below minus this lies outside the bounds.
_OUTSIDE = 1e-9
#: Promised decrease of the deviance at which the search ends.
_PERFECT = 1e-17
#: The same where steps no longer halve it, as at bounds, where the metric is not the Hessian: estimates are then within
#: a ten-millionth of their standard errors.
_CRAWLING = 1e-14
_RESOLUTION = 1e-13
#: An estimate of the expected information takes the Hessian's place where no parameter has less than this share of it.
_TELLING = 1e-6
_MAX_STEPS = 300
#: Every so many steps a search without bounds ends that is outside of them and no longer falls by what a reader could
#: see at a step: it runs towards infinity, where variances below zero let a slope grow.
_STEPS_OUTSIDE = 40
_STARTS_AT_BOUND = 4
_VISIBLE = 1e-2
_BARRIERS = (1e-1, 1e-3, 1e-5, 1e-7, 1e-8)


@dataclass(frozen=True)
class SemOptimum:
    """One record of everything about an optimisation.

    Attributes
    ----------
    theta
        (k,) at the minimum.
    evaluation, hessian
        Of the deviance there; with constraints the Hessian is that of the Lagrangian.
    tangent
        (k, f) directions in which the parameters are free to move.
    decrement
        ``g' H^-1 g`` over the directions that are free: twice the distance in deviance to the quadratic's minimum.
    converged
        The decrement is below `CONVERGED_DECREMENT` and the Hessian has no negative direction.
    at_zero
        (k,) parameters held at zero: variances that would be negative, and their covariances.
    boundary
        (k,) free variances and covariances that lie next to a bound, and have no regular standard error.
    singular
        A covariance matrix of parameters is of deficient rank.
    evaluations, starts
        Evaluations of the deviance, and starts.
    """

    theta: Array
    evaluation: Evaluated
    hessian: Array
    tangent: Array
    decrement: float
    converged: bool
    at_zero: NDArray[np.bool_]
    boundary: NDArray[np.bool_]
    singular: bool
    evaluations: int
    starts: int


@dataclass(frozen=True)
class _Point:
    value: float
    gradient: Array
    metric: Curvature
    exact: bool
    tangent: Array | None
    scale: Array


class _Objective:
    """The deviance over the parameters that are not held, with a barrier of weight `mu`.

    With `equations` a point's gradient and metric are those along their tangent.
    """

    def __init__(
        self,
        likelihood: SemCriterion,
        free: NDArray[np.bool_],
        base: Array,
        mu: float = 0.0,
        equations: Equations | None = None,
    ) -> None:
        self.likelihood, self.free, self.base, self.mu, self.equations = likelihood, free, base, mu, equations
        self.evaluations = 0

    def full(self, part: Array) -> Array:
        theta = self.base.copy()
        theta[self.free] = part
        return theta

    def value(self, part: Array) -> float:
        theta = self.full(part)
        self.evaluations += 1
        barrier = self.mu * log_barrier(self.likelihood, theta)[0] if self.mu else 0.0
        return self.likelihood.deviance(theta) + barrier if math.isfinite(barrier) else math.inf

    def point(self, part: Array) -> _Point | None:
        theta = self.full(part)
        at = self.likelihood.evaluate(theta)
        if at is None or not np.isfinite(at.deviance):
            return None
        hessian = self.likelihood.hessian(theta, at)
        value, gradient, bend = at.deviance, at.gradient, np.zeros_like(hessian)
        if self.mu:
            barrier, slope, bend = log_barrier(self.likelihood, theta)
            value, gradient = value + self.mu * barrier, gradient + self.mu * slope
        directions, scale, of_equations = self.along(theta, gradient, hessian)
        bend = self.mu * bend + of_equations
        metric = directions.T @ (hessian + bend) @ directions
        eigen = curvature(metric)
        exact = eigen.definite
        if not exact:
            expected = directions.T @ (self.likelihood.expected_information(at) + bend) @ directions
            # scores of few clusters, or of clusters that are alike in a variable, tell nothing of some directions
            if (np.diag(expected) > _TELLING * np.abs(np.diag(metric))).all():
                of_scores = curvature(expected)
                eigen = of_scores if of_scores.definite else eigen
        tangent = None if self.equations is None else directions[self.free]
        return _Point(value, directions.T @ gradient, eigen, exact, tangent, scale)

    def is_outside(self, part: Array) -> bool:
        """Whether a covariance matrix of parameters is not positive semi-definite."""
        return least_eigenvalue(self.likelihood, self.full(part)) < -_OUTSIDE

    def along(self, theta: Array, gradient: Array, hessian: Array) -> tuple[Array, Array, Array]:
        """Directions (k, f) that are free, scale (k,) of parameters, and curvature (k, k) that the equations add."""
        diagonal = np.abs(np.diag(hessian))
        scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)) * self.free
        if self.equations is None:
            return np.eye(len(theta))[:, self.free], scale, np.zeros_like(hessian)
        directions = self.equations.tangent(theta, scale)
        multipliers = self.equations.multipliers(theta, gradient, scale)
        return directions, scale, self.equations.curvature(theta, multipliers)

    def fulfilled(self, part: Array) -> Array | None:
        """The free parameters next to these that fulfil the equations; None where there are none."""
        if self.equations is None:
            return part
        theta = self.equations.fulfil(self.full(part), self.free.astype(float))
        return None if theta is None else theta[self.free]

    def moved(self, part: Array, point: _Point, step: Array) -> Array | None:
        """The free parameters after a step along the tangent, and back onto the equations."""
        if self.equations is None or point.tangent is None:
            return part + step
        theta = self.equations.fulfil(self.full(part + point.tangent @ step), self.free.astype(float), point.scale)
        return None if theta is None else theta[self.free]


def minimise(
    likelihood: SemCriterion,
    starts: Callable[[int | None], Array],
    most_starts: int = 8,
    equations: Equations | None = None,
) -> SemOptimum:
    """Find the parameters of least deviance.

    Parameters
    ----------
    starts
        Where to begin: the usual values for None, others for each seed. Those are tried in turn when a search fails.
    equations
        What the parameters fulfil besides.
    """
    best: SemOptimum | None = None
    for count in range(most_starts):
        optimum = _search_from(likelihood, starts(None if count == 0 else RANDOM_SEED + count), count + 1, equations)
        if optimum is not None and (best is None or _better(optimum, best)):
            best = replace(optimum, starts=count + 1)
        # where a search ends at a bound depends on the way to it: other variances may be zero, at a lower deviance
        least = _STARTS_AT_BOUND if best is not None and best.at_zero.any() and _has_arrows(likelihood) else 1
        if best is not None and best.converged and count + 1 >= least:
            return best
    if best is None:
        raise np.linalg.LinAlgError("no start has positive definite covariance matrices")
    return best


def _has_arrows(likelihood: SemCriterion) -> bool:
    return any((level.arrows.index >= 0).any() for level in likelihood.structure.levels)


def _better(one: SemOptimum, other: SemOptimum) -> bool:
    """Whether it converged and the other did not, or has a deviance that is lower by what a reader could see.

    Where a variance runs to zero, a slope that runs to infinity may win a thousandth over leaving both out.
    """
    if one.converged != other.converged:
        return one.converged
    return one.evaluation.deviance < other.evaluation.deviance - _VISIBLE


def _search_from(likelihood: SemCriterion, start: Array, starts: int, equations: Equations | None) -> SemOptimum | None:
    free = np.ones(len(start), dtype=bool)
    objective = _Objective(likelihood, free, start, equations=equations)
    theta = _descend(objective, start)
    evaluations = objective.evaluations
    if theta is None:
        return None
    if _is_minimum(objective, theta) and least_eigenvalue(likelihood, theta) > -_OUTSIDE:
        return _record(objective, theta, evaluations, starts)
    bounded = _at_zero(objective, theta) or _inside(likelihood, start, equations)
    if bounded is not None:
        objective, theta = bounded
    return _record(objective, theta, evaluations + objective.evaluations, starts)


def _at_zero(unbounded: _Objective, theta: Array) -> tuple[_Objective, Array] | None:
    """Hold negative variances at zero, the most negative first; None where that does not lead to the minimum.

    A variance whose variable has free covariances is no matter for this: the minimum may have a correlation of one.
    """
    likelihood, free, equations = unbounded.likelihood, unbounded.free, unbounded.equations
    while True:
        negative = small_variances(likelihood, theta, free, 0.0, lone=True)
        if not negative:
            break
        free = free.copy()
        free[min(negative, key=lambda index: negative[index])] = False
        free &= ~arrows_without_effect(likelihood, np.where(free, theta, 0.0), free)
        objective = _Objective(likelihood, free, np.where(free, theta, 0.0), equations=equations)
        part = _descend(objective, theta[free])
        if part is None:
            return None
        theta = objective.full(part)
    objective = _Objective(likelihood, free, theta, equations=equations)
    at = likelihood.evaluate(theta)
    falls = at is None or bool((_slopes(likelihood, theta, at)[~free] < -1e-4).any())
    if falls or not _is_minimum(objective, theta[free]) or least_eigenvalue(likelihood, theta) < -_OUTSIDE:
        return None
    return objective, theta


def _slopes(likelihood: SemCriterion, theta: Array, at: Evaluated) -> Array:
    """(k,) derivatives of the deviance by variances, in shares of their columns' whole variance; zero for others."""
    slopes = np.zeros(len(theta))
    for structure, shares in zip(likelihood.structure.levels, unit_shares(likelihood, theta), strict=True):
        cells = structure.symmetric
        own = (cells.row == cells.col) & (cells.index >= 0) & ~np.isnan(shares[cells.row])
        slopes[cells.index[own]] = at.gradient[cells.index[own]] / shares[cells.row[own]]
    return slopes


def _inside(likelihood: SemCriterion, start: Array, equations: Equations | None) -> tuple[_Objective, Array] | None:
    """The minimum within the bounds by the central path; None where the start itself is not within them."""
    if equations is not None:
        onto = equations.fulfil(start, np.ones(len(start)))
        if onto is None:
            return None
        start = onto
    if not math.isfinite(log_barrier(likelihood, start)[0]):
        return None
    free = np.ones(len(start), dtype=bool)
    theta = start
    for mu in _BARRIERS:
        path = _Objective(likelihood, free, theta, mu, equations)
        part = _descend(path, theta, steps=60)
        theta = theta if part is None else part
    small = small_variances(likelihood, theta, free, BESIDE_BOUND)
    # together, as each alone would let the others go below zero; where one of them is none, the rest without it
    for indices in ([set(small)] if small else []) + [set(small) - {index} for index in small if len(small) > 1]:
        at_zero = _minimum_at_zero(likelihood, theta, indices, equations)
        if at_zero is not None:
            return at_zero
    return path, theta


def _minimum_at_zero(
    likelihood: SemCriterion, theta: Array, indices: set[int], equations: Equations | None
) -> tuple[_Objective, Array] | None:
    """The minimum with these variances and their covariances at zero; None where it is another than the path's."""
    free = np.ones(len(theta), dtype=bool)
    free[list(indices)] = False
    free &= ~covariances_without_variance(likelihood, free)
    free &= ~arrows_without_effect(likelihood, np.where(free, theta, 0.0), free)
    objective = _Objective(likelihood, free, np.where(free, theta, 0.0), equations=equations)
    part = _descend(objective, theta[free])
    if part is None:
        return None
    full = objective.full(part)
    worse = likelihood.deviance(full) - likelihood.deviance(theta)
    return (objective, full) if least_eigenvalue(likelihood, full) > -_OUTSIDE and worse < 1e-5 else None


def _is_minimum(objective: _Objective, theta: Array) -> bool:
    point = objective.point(theta)
    return point is not None and _step(point.gradient, point.metric, 0.0)[1] < CONVERGED_DECREMENT


def _descend(objective: _Objective, theta: Array, steps: int = _MAX_STEPS) -> Array | None:
    """Newton's method, damped by the gain ratio (Nielsen 1999)."""
    onto = objective.fulfilled(theta)
    if onto is None:
        return None
    theta = onto
    point = objective.point(theta)
    if point is None or not len(point.gradient):
        return theta if point is not None else None
    damping, growth, before = 1e-3, 2.0, math.inf
    for count in range(steps):
        if count % _STEPS_OUTSIDE == 0:
            if not objective.mu and before - point.value < _VISIBLE * _STEPS_OUTSIDE and objective.is_outside(theta):
                break
            before = point.value
        exact = point.exact
        step, promised = _step(point.gradient, point.metric, damping)
        noise = _RESOLUTION * abs(point.value)
        if promised < _PERFECT or damping > 1e14:
            break
        moved = objective.moved(theta, point, step)
        if moved is None:
            damping, growth = max(damping, 1e-4) * growth, 2.0 * growth
            continue
        candidate = objective.value(moved)
        gain = (point.value - candidate) / promised
        if not (np.isfinite(gain) and (gain > 1e-4 or promised < noise)):
            damping, growth = max(damping, 1e-4) * growth, 2.0 * growth
            continue
        candidate_point = objective.point(moved)
        if candidate_point is None:
            damping, growth = max(damping, 1e-4) * growth, 2.0 * growth
            continue
        # below the deviance's own rounding the gradient is the judge
        left = _step(candidate_point.gradient, candidate_point.metric, 0.0)[1] if promised < noise else 0.0
        if left >= promised or (promised < _CRAWLING and left > promised / 2):
            break
        theta, point = moved, candidate_point
        damping, growth = damping * max(1 / 5, 1 - (2 * min(gain, 1.5) - 1) ** 3), 2.0
        damping = damping if exact and damping > 1e-8 else (damping if not exact else 0.0)
    return theta


def _step(gradient: Array, eigen: Curvature, damping: float) -> tuple[Array, float]:
    """``-(|H| + damping)^-1 g`` and the decrease that it promises; H scaled to a unit diagonal."""
    scale, vectors = eigen.scale, eigen.vectors
    curved = np.maximum(np.abs(eigen.values), 1e-12) + damping
    along = vectors.T @ (gradient / scale)
    return -(vectors @ (along / curved)) / scale, float(along @ (along / curved)) / 2


def _record(objective: _Objective, theta: Array, evaluations: int, starts: int) -> SemOptimum | None:
    likelihood, free, mu = objective.likelihood, objective.free, objective.mu
    at = likelihood.evaluate(theta)
    if at is None:
        return None
    hessian, gradient = likelihood.hessian(theta, at), at.gradient
    if mu:
        _, slope, bend = log_barrier(likelihood, theta)
        hessian, gradient = hessian + mu * bend, gradient + mu * slope
    directions, _, of_equations = objective.along(theta, gradient, hessian)
    hessian = hessian + of_equations
    eigen = curvature(directions.T @ hessian @ directions)
    decrement = 2 * _step(directions.T @ gradient, eigen, 0.0)[1] if len(eigen.values) else 0.0
    # beside a bound the barrier's curvature is so large that rounding alone is worth a millionth
    tolerance = CONVERGED_DECREMENT * (10 if mu else 1)
    deficient, boundary = on_the_boundary(likelihood, theta, BESIDE_BOUND if mu else SINGULAR)
    return SemOptimum(
        theta=theta,
        evaluation=at,
        hessian=hessian,
        tangent=directions,
        decrement=decrement,
        converged=bool(decrement < tolerance and eigen.semidefinite),
        at_zero=~free,
        boundary=boundary & free,
        singular=deficient or bool((~free).any()),
        evaluations=evaluations,
        starts=starts,
    )
