"""Profile-likelihood intervals: where the ML deviance, minimised over all else, has risen by a quantile of chi-square.

Venzon and Moolgavkar (1988), Applied Statistics 37, 87-94; the parameters are those of lme4's ``confint`` (Bates,
Maechler, Bolker and Walker 2015, section 5.1), which interpolates where here the roots are found exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from mlm_ops.estimation.criterion import Criterion
from mlm_ops.estimation.estimate import Estimate, block_covariances
from mlm_ops.estimation.optimize import minimise
from mlm_ops.inference.intervals.constrained import (
    ConstrainedDeviance,
    FixedEffectConstraint,
    hold_effect,
    hold_element,
    hold_sigma,
)
from mlm_ops.inference.intervals.parameters import (
    IntervalParameter,
    Intervals,
    find_parameters,
    off_zero,
    parameter_values,
    undetermined_parameters,
)
from mlm_ops.inference.root import find_root
from mlm_ops.language.covariances import STRUCTURES
from mlm_ops.moments.arrays import Array

#: Relative precision of a limit.
_PRECISION = 1e-8
_MOST_STEPS = 60


@dataclass
class _Profile:
    """The profiled deviance above its minimum, as a function of one parameter; keeps what it has minimised."""

    constraint: ConstrainedDeviance
    lowest: float
    inverse_hessian: Array = field(init=False)
    minima: dict[float, tuple[float, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inverse_hessian = np.zeros((0, 0))

    def __call__(self, value: float) -> float:
        """Rise of the deviance, at least zero."""
        if value not in self.minima:
            self.minima[value] = self._minimise(value)
        return max(self.minima[value][0] - self.lowest, 0.0)

    def _minimise(self, value: float) -> tuple[float, Array]:
        start = (
            self.constraint.start if not self.minima else self.minima[min(self.minima, key=lambda v: abs(v - value))][1]
        )
        if not len(start):
            return self.constraint.at(value, start)[0], start
        from scipy.optimize import minimize  # 0.15 s: not for those with one parameter

        start = off_zero(start)
        if not self.inverse_hessian.size:
            self.inverse_hessian = _inverse_hessian(self.constraint, value, start)
        # in the coordinates z with x = start + root z the deviance is nearly round
        root = np.linalg.cholesky(self.inverse_hessian)

        def objective(z: Array) -> tuple[float, Array]:
            with np.errstate(all="ignore"):
                deviance, gradient = self.constraint.at(value, start + root @ z)
            if not np.isfinite(deviance):
                return 1e100, np.zeros_like(z)
            return deviance - self.lowest, root.T @ gradient

        search = minimize(objective, np.zeros(len(start)), jac=True, method="BFGS", options={"gtol": 1e-6})
        return float(search.fun) + self.lowest, start + root @ search.x


@dataclass(frozen=True)
class _ProfileTask:
    """A parameter to profile: the deviance with it held, in units of its own.

    ``center`` is the estimate, ``step`` a first guess at the distance of the limits, both in these units, and ``back``
    leads to the user's.
    """

    constraint: ConstrainedDeviance
    center: float
    step: float
    edges: tuple[float, float] = (-np.inf, np.inf)
    back: Callable[[float], float] = float


def profile_intervals(estimate: Estimate, level: float = 0.95) -> Intervals:
    """Intervals of all `parameters`; a REML fit is refitted by ML, as lme4 does.

    Parameters
    ----------
    level
        Coverage, between 0 and 1.

    Returns
    -------
    Intervals
        With the estimates of the fit. A limit at the edge of what is possible (a standard deviation of zero, a
        correlation of one or minus one) is that edge. What the data do not determine has no limits.
    """
    from scipy.special import ndtri

    ml = _by_maximum_likelihood(estimate)
    parameters = find_parameters(estimate)
    estimates, unknown = parameter_values(parameters, ml), undetermined_parameters(parameters, estimate)
    radius = float(ndtri(0.5 + level / 2))
    low, high = np.full(len(parameters), np.nan), np.full(len(parameters), np.nan)
    limits: dict[IntervalParameter, tuple[float, float]] = {}
    for i, parameter in enumerate(parameters):
        if unknown[i]:
            continue
        representative = _representative(ml, parameter)
        if representative not in limits:
            task = _profile_task(ml, parameter, float(estimates[i]))
            profile = _Profile(task.constraint, float(ml.optimum.solution.criterion))
            lower, upper = task.edges
            step = radius * task.step
            ends = (
                find_limit(profile, task.center, -step, lower, radius),
                find_limit(profile, task.center, step, upper, radius),
            )
            limits[representative] = task.back(ends[0]), task.back(ends[1])
        low[i], high[i] = limits[representative]
    return Intervals(parameter_values(parameters, estimate), low, high)


def _by_maximum_likelihood(estimate: Estimate) -> Estimate:
    """The ML estimate of the same design, in what profiling needs."""
    criterion = replace(estimate.criterion, reml=False)
    optimum = minimise(criterion, estimate.optimum.theta)
    solution, fixed = optimum.solution, estimate.design.fixed
    return replace(
        estimate,
        criterion=criterion,
        optimum=optimum,
        gamma=fixed.transform @ solution.beta + fixed.offset,
        tau=block_covariances(estimate.design, criterion, optimum),
        sigma2=float(solution.sigma2 * estimate.design.sigma2_scale),
    )


def _representative(ml: Estimate, parameter: IntervalParameter) -> IntervalParameter:
    """The first of the parameters that are one and the same: deviations and correlations of effects that are alike."""
    structure = ml.blocks[parameter.block].covariance if parameter.block >= 0 else None
    if not isinstance(structure, str) or not STRUCTURES[structure].alike:
        return parameter
    return IntervalParameter(parameter.scale, parameter.group, None, None, parameter.block)


def _profile_task(ml: Estimate, parameter: IntervalParameter, value: float) -> _ProfileTask:
    """The task for a parameter whose ML estimate is `value`."""
    criterion, theta = ml.criterion, ml.optimum.theta
    match parameter.scale:
        case "raw":
            row, shift = ml.design.fixed.transform[parameter.row], float(ml.design.fixed.offset[parameter.row])
            norm = float(np.linalg.norm(row))
            error = float(np.sqrt(ml.vcov[parameter.row, parameter.row]))
            fixed_effect = FixedEffectConstraint(criterion, theta, row / norm)
            return _ProfileTask(fixed_effect, (value - shift) / norm, error / norm, back=lambda v: v * norm + shift)
        case "sigma":
            unit = float(np.sqrt(ml.design.sigma2_scale))
            stratum = criterion.n_random + parameter.row - 1 if parameter.row else None
            error = float(value / np.sqrt(2 * ml.design.n_obs))
            sigma = hold_sigma(*_with_sigma(ml), stratum)
            return _ProfileTask(sigma, value / unit, error / unit, (0.0, np.inf), lambda v: v * unit)
        case "ratio":
            place = criterion.n_random + parameter.row - 1
            return _ProfileTask(
                hold_element(criterion, theta, place), np.log(value), 0.1, back=lambda v: float(np.exp(v))
            )
        case "phi":
            place = criterion.n_relative - 1
            phi = hold_element(criterion, theta, place)
            return _ProfileTask(phi, np.arctanh(value), 0.1, back=lambda v: float(np.tanh(v)))
    return _task_of_effects(ml, parameter, value)


def _task_of_effects(ml: Estimate, parameter: IntervalParameter, value: float) -> _ProfileTask:
    """The task for a standard deviation or a correlation of random effects."""
    transform, number = ml.blocks[parameter.block].transform, parameter.block
    if parameter.scale == "correlation":
        effects = parameter.column, parameter.row
        constraint = hold_effect(ml.criterion, ml.optimum.theta, number, transform, effects)
        return _ProfileTask(constraint, 0.0 if np.isnan(value) else value, 0.2, constraint.path.edges)
    # an estimate of zero has no spread to go by: then that of an effect as large as the residual
    size = np.linalg.norm(transform[parameter.row])
    step = max(0.25 * value, 0.1 * float(size * np.sqrt(ml.scaled_sigma2)))
    constraint = hold_effect(*_with_sigma(ml), number, transform, (parameter.row,))
    return _ProfileTask(constraint, value, step, constraint.path.edges)


def _with_sigma(ml: Estimate) -> tuple[Criterion, Array]:
    """The criterion with 1 / sigma as the last element of theta, and its minimum."""
    criterion, optimum = ml.criterion, ml.optimum
    if not criterion.profiled:
        return criterion, optimum.theta
    return replace(criterion, profiled=False), np.append(optimum.theta, optimum.solution.sigma2**-0.5)


def find_limit(profile: Callable[[float], float], center: float, step: float, edge: float, radius: float) -> float:
    """Where the signed root of the deviance's rise equals `radius`, on the side of `step`; or the edge before that."""
    distances = {center: -radius}

    def distance(value: float) -> float:
        # find_root asks again at the ends of the bracket
        if value not in distances:
            distances[value] = float(np.sqrt(profile(value))) - radius
        return distances[value]

    inner = center
    for _ in range(_MOST_STEPS):
        outer = center + step
        if abs(outer - center) >= abs(edge - center):
            outer = edge
        beyond = distance(outer)
        if beyond >= 0:
            return find_root(distance, inner, outer, _PRECISION * abs(outer - center), _PRECISION)
        if outer == edge:
            return edge
        inner = outer
        # the root is nearly straight: aim a little beyond where it would cross, but at most four times as far
        step *= float(np.clip(1.1 * radius / max(beyond + radius, 1e-300), 1.2, 4.0))
    return float(np.copysign(np.inf, step))


def _inverse_hessian(constraint: ConstrainedDeviance, value: float, start: Array) -> Array:
    """A positive definite guess at the inverse Hessian, from differences of the gradient."""
    h = 1e-5
    steps = h * np.eye(len(start))
    hessian = np.array([constraint.at(value, start + d)[1] - constraint.at(value, start - d)[1] for d in steps]) / (
        2 * h
    )
    eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    curvature = np.maximum(np.abs(eigenvalues), 1e-3 * np.abs(eigenvalues).max() + 1e-8)
    inverse: Array = (vectors / curvature) @ vectors.T
    return inverse
