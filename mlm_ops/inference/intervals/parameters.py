"""List the parameters with intervals (standard deviations, correlations, sigma, fixed effects) and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.residual import autocorrelation, ratios
from mlm_ops.language.covariances import STRUCTURES
from mlm_ops.language.model import group_name
from mlm_ops.moments.arrays import Array

Scale = Literal["std_dev", "correlation", "sigma", "ratio", "phi", "raw"]


#: A parameter closer to zero than the first starts the second away from it, as a variance of zero is stationary.
_NEAR_ZERO, _NUDGE = 1e-3, 3e-2


@dataclass(frozen=True)
class IntervalParameter:
    """One parameter on the scale on which its interval is given.

    Attributes
    ----------
    scale
        A random effect's standard deviation or correlation; the residual's standard deviation, in a stratum or not, a
        stratum's in units of the first one's (`other`), its autocorrelation; or a fixed effect as it is.
    block
        Index of the random block, -1 where there is none.
    row, column
        Place in the block's T, of the stratum, or of the coefficient among the fixed effects.
    """

    scale: Scale
    group: str | None
    term: str | None
    other: str | None
    block: int = -1
    row: int = 0
    column: int = 0

    @property
    def kind(self) -> Literal["fixed", "variance"]:
        """Which part of the model it belongs to."""
        return "fixed" if self.scale == "raw" else "variance"


@dataclass(frozen=True)
class Intervals:
    """Estimates and limits, (k,) each; not a number where there is none."""

    estimate: Array
    low: Array
    high: Array


def find_parameters(estimate: Estimate) -> tuple[IntervalParameter, ...]:
    """Every estimated T by columns of its lower triangle, then the residual's parameters, then the fixed effects."""
    result: list[IntervalParameter] = []
    blocks = [(level.group, block) for level in estimate.design.levels for block in level.blocks]
    for number, (group, block) in enumerate(blocks):
        if not isinstance(block.covariance, str):
            continue
        names = [c.name for c in block.columns]
        for i, first in enumerate(names):
            result.append(IntervalParameter("std_dev", group_name(group), first, None, number, i, i))
            result += [
                IntervalParameter("correlation", group_name(group), first, names[j], number, j, i)
                for j in range(i + 1, len(names))
                if STRUCTURES[block.covariance].correlated
            ]
    result += _residual_parameters(estimate)
    columns = estimate.design.fixed.columns
    return (*result, *(IntervalParameter("raw", None, c.name, None, -1, k, k) for k, c in enumerate(columns)))


def _residual_parameters(estimate: Estimate) -> list[IntervalParameter]:
    """Sigma, of every stratum; the ratios of the strata to the first; the autocorrelation."""
    residual = estimate.design.residual
    if residual is None or len(residual.strata) == 1:
        result = [IntervalParameter("sigma", "residual", None, None)]
    else:
        first, *others = residual.strata
        result = [IntervalParameter("sigma", "residual", name, None, -1, k) for k, name in enumerate(residual.strata)]
        result += [IntervalParameter("ratio", "residual", name, first, -1, k) for k, name in enumerate(others, start=1)]
    if residual is not None and residual.serial:
        result.append(IntervalParameter("phi", "residual", "phi", None))
    return result


def parameter_values(parameters: Sequence[IntervalParameter], estimate: Estimate) -> Array:
    """Values (k,) of parameters; a correlation with an effect of no variance is not a number."""
    result = np.empty(len(parameters))
    residual, rho = estimate.design.residual, estimate.optimum.solution.rho
    delta = np.ones(1) if residual is None else ratios(residual, rho)
    for i, parameter in enumerate(parameters):
        match parameter.scale:
            case "raw":
                result[i] = estimate.gamma[parameter.row]
            case "sigma":
                result[i] = np.sqrt(estimate.sigma2) * delta[parameter.row]
            case "ratio":
                result[i] = delta[parameter.row]
            case "phi":
                result[i] = np.nan if residual is None else autocorrelation(residual, rho)
            case "std_dev":
                result[i] = np.sqrt(estimate.tau[parameter.block][parameter.row, parameter.row])
            case "correlation":
                result[i] = correlation(estimate.tau[parameter.block], parameter.row, parameter.column)
    return result


def undetermined_parameters(parameters: Sequence[IntervalParameter], estimate: Estimate) -> NDArray[np.bool_]:
    """(k,) whether the data leave a parameter open; a correlation where they leave one of the two variances open."""
    unknown = estimate.undetermined
    flags = np.zeros(len(parameters), dtype=np.bool_)
    for i, parameter in enumerate(parameters):
        match parameter.scale:
            case "sigma" | "ratio":
                own = parameter.row > 0 and bool(unknown.rho[parameter.row - 1])
                flags[i] = own or (unknown.sigma2 and parameter.scale == "sigma")
            case "phi":
                flags[i] = unknown.rho[-1]
            case "std_dev" | "correlation":
                effects = [parameter.row, parameter.column]
                flags[i] = unknown.tau[parameter.block][np.ix_(effects, effects)].any()
    return flags


def correlation(tau: Array, row: int, column: int) -> float:
    """Correlation of two effects, not a number where one has no variance."""
    scale = float(np.sqrt(tau[row, row]) * np.sqrt(tau[column, column]))
    return float(np.clip(tau[row, column] / scale, -1.0, 1.0)) if scale > 0 else float("nan")


def off_zero(theta: Array) -> Array:
    """Parameters to start a search from, those at zero a little away from it."""
    return np.where(np.abs(theta) < _NEAR_ZERO, _NUDGE, theta)
