"""Profile-likelihood intervals: where the ML deviance, minimised over all else, has risen by a quantile of chi-square.

Venzon and Moolgavkar (1988), Applied Statistics 37, 87-94; the parameters are those of lme4's ``confint`` (Bates,
Maechler, Bolker and Walker 2015, section 5.1), which interpolates where here the roots are found exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.estimation.criterion import Criterion
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.optimize import Optimum, minimise
from mlm_ops.inference.constrained import (
    Constrained,
    CorrelationHeld,
    DeviationHeld,
    FixedHeld,
    SigmaHeld,
    make_triangle,
)
from mlm_ops.inference.parameters import Intervals, Parameter, parameters, values

Array = NDArray[np.float64]

#: Covariance structures whose standard deviations and correlations can be held one by one.
PROFILED = ("unstructured", "diagonal")
#: Relative precision of a limit.
_PRECISION = 1e-8
#: A parameter closer to zero than this starts a little away from it, as zero variances are stationary.
_NEAR_ZERO, _NUDGE = 1e-3, 3e-2
_MOST_STEPS = 60


@dataclass
class _Profile:
    """The profiled deviance above its minimum, as a function of one parameter; keeps what it has minimised."""

    held: Constrained
    lowest: float
    inverse_hessian: Array = field(init=False)
    known: dict[float, tuple[float, Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inverse_hessian = np.zeros((0, 0))

    def __call__(self, value: float) -> float:
        """Rise of the deviance, at least zero."""
        if value not in self.known:
            self.known[value] = self._minimise(value)
        return max(self.known[value][0] - self.lowest, 0.0)

    def _minimise(self, value: float) -> tuple[float, Array]:
        from scipy.optimize import minimize  # 0.3 s: not for those who only import the package

        start = self.held.start if not self.known else self.known[min(self.known, key=lambda v: abs(v - value))][1]
        if not len(start):
            return self.held.at(value, start)[0], start
        start = np.where(np.abs(start) < _NEAR_ZERO, _NUDGE, start)
        if not self.inverse_hessian.size:
            self.inverse_hessian = _inverse_hessian(self.held, value, start)
        # in the coordinates z with x = start + root z the deviance is nearly round
        root = np.linalg.cholesky(self.inverse_hessian)

        def objective(z: Array) -> tuple[float, Array]:
            with np.errstate(all="ignore"):
                deviance, gradient = self.held.at(value, start + root @ z)
            if not np.isfinite(deviance):
                return 1e100, np.zeros_like(z)
            return deviance - self.lowest, root.T @ gradient

        found = minimize(objective, np.zeros(len(start)), jac=True, method="BFGS", options={"gtol": 1e-6})
        return float(found.fun) + self.lowest, start + root @ found.x


def profile_intervals(fitted: Estimate, level: float = 0.95) -> Intervals:
    """Intervals of all `parameters`; a REML fit is refitted by ML, as lme4 does.

    Parameters
    ----------
    level
        Coverage, between 0 and 1.

    Returns
    -------
    Intervals
        With the fit's own estimates. A limit at the edge of what is possible (a standard deviation of zero, a
        correlation of one or minus one) is that edge.

    Raises
    ------
    MlmError
        A covariance structure in which the parameters cannot be held one by one.
    """
    from scipy.special import ndtri

    _check(fitted)
    criterion = replace(fitted.criterion, reml=False)
    optimum = minimise(criterion, fitted.optimum.theta)
    wanted = parameters(fitted)
    there = values(wanted, *_on_the_users_scale(fitted, criterion, optimum))
    radius = float(ndtri(0.5 + level / 2))
    low, high = np.empty(len(wanted)), np.empty(len(wanted))
    for i, parameter in enumerate(wanted):
        held, scale, shift = _held(fitted, criterion, optimum, parameter)
        profile = _Profile(held, float(optimum.solution.criterion))
        center = 0.0 if np.isnan(there[i]) else float((there[i] - shift) / scale)
        step = radius * _rough_error(fitted, parameter, center) / scale
        edges = {"std_dev": (0.0, np.inf), "sigma": (0.0, np.inf), "correlation": (-1.0, 1.0)}
        lower, upper = edges.get(parameter.scale, (-np.inf, np.inf))
        low[i] = find_limit(profile, center, -step, lower, radius) * scale + shift
        high[i] = find_limit(profile, center, step, upper, radius) * scale + shift
    return Intervals(values(wanted, fitted.gamma, fitted.tau, fitted.sigma2), low, high)


def _check(fitted: Estimate) -> None:
    for block in fitted.blocks:
        if block.covariance not in PROFILED and len(block.columns) > 1:
            raise MlmError(
                f"No profile intervals for covariance structure {block.covariance!r}; expected one of "
                f"{', '.join(PROFILED)}. Use method='bootstrap' or 'wald'."
            )


def _on_the_users_scale(
    fitted: Estimate, criterion: Criterion, optimum: Optimum
) -> tuple[Array, tuple[Array, ...], float]:
    """Gamma, every T and sigma2 of another optimum of the same design."""
    solution, fixed = optimum.solution, fitted.design.fixed
    lams = criterion.factors(optimum.theta)
    tau = []
    for block, placed in zip(fitted.blocks, criterion.blocks, strict=True):
        factor = block.transform @ lams[placed.level][placed.effects, placed.effects]
        tau.append(solution.sigma2 * factor @ factor.T)
    sigma2 = solution.sigma2 * fitted.design.outcome_scale**2
    return fixed.transform @ solution.beta + fixed.offset, tuple(tau), float(sigma2)


def _held(
    fitted: Estimate, criterion: Criterion, optimum: Optimum, parameter: Parameter
) -> tuple[Constrained, float, float]:
    """The deviance with a parameter held, and the scale and shift that lead from its units to the user's."""
    theta = optimum.theta
    if parameter.scale == "sigma":
        return SigmaHeld(criterion, theta), fitted.design.outcome_scale, 0.0
    if parameter.scale == "raw":
        row = fitted.design.fixed.transform[parameter.row]
        norm = float(np.linalg.norm(row))
        return FixedHeld(criterion, theta, row / norm), norm, float(fitted.design.fixed.offset[parameter.row])
    block = fitted.blocks[parameter.block]
    first = tuple(dict.fromkeys((parameter.column, parameter.row)))
    diagonal = block.covariance == "diagonal"
    triangle = make_triangle(criterion, theta, parameter.block, block.transform, first, diagonal=diagonal)
    if parameter.scale == "correlation":
        return CorrelationHeld(triangle), 1.0, 0.0
    return DeviationHeld(triangle, float(np.log(optimum.solution.sigma2) / 2)), 1.0, 0.0


def _rough_error(fitted: Estimate, parameter: Parameter, center: float) -> float:
    """A first guess at the distance of the limits, in standard errors; the bracket mends it."""
    match parameter.scale:
        case "raw":
            return float(np.sqrt(fitted.vcov[parameter.row, parameter.row]))
        case "sigma":
            return float(np.sqrt(fitted.sigma2 / (2 * fitted.design.n_obs)))
        case "correlation":
            return 0.2
    # an estimate of zero has no spread to go by: then that of an effect as large as the residual
    size = np.linalg.norm(fitted.blocks[parameter.block].transform[parameter.row])
    return max(0.25 * center, 0.1 * float(size * np.sqrt(fitted.scaled_sigma2)))


def find_limit(profile: Callable[[float], float], center: float, step: float, edge: float, radius: float) -> float:
    """Where the signed root of the deviance's rise equals `radius`, on the side of `step`; or the edge before that."""
    from scipy.optimize import brentq

    def distance(value: float) -> float:
        return float(np.sqrt(profile(value))) - radius

    inner = center
    for _ in range(_MOST_STEPS):
        outer = center + step
        if abs(outer - center) >= abs(edge - center):
            outer = edge
        beyond = distance(outer)
        if beyond >= 0:
            return float(brentq(distance, inner, outer, xtol=_PRECISION * abs(outer - center), rtol=_PRECISION))
        if outer == edge:
            return edge
        inner = outer
        # the root is nearly straight: aim a little beyond where it would cross, but at most four times as far
        step *= float(np.clip(1.1 * radius / max(beyond + radius, 1e-300), 1.2, 4.0))
    return float(np.copysign(np.inf, step))


def _inverse_hessian(held: Constrained, value: float, start: Array) -> Array:
    """A positive definite guess at the inverse Hessian, from differences of the gradient."""
    h = 1e-5
    steps = h * np.eye(len(start))
    hessian = np.array([held.at(value, start + d)[1] - held.at(value, start - d)[1] for d in steps]) / (2 * h)
    eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    curvature = np.maximum(np.abs(eigenvalues), 1e-3 * np.abs(eigenvalues).max() + 1e-8)
    inverse: Array = (vectors / curvature) @ vectors.T
    return inverse
