"""Tests and intervals of fixed effects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class CoefficientTests:
    """Wald tests of p coefficients; every array is (p,). ``df`` is infinite for tests by the normal distribution."""

    estimate: Array
    std_error: Array
    df: Array
    statistic: Array
    p_value: Array
    conf_low: Array
    conf_high: Array


def coefficient_tests(fitted: Estimate, method: str = "satterthwaite", confidence: float = 0.95) -> CoefficientTests:
    """T tests and Wald intervals of the fixed effects.

    Parameters
    ----------
    method
        A key of `DF_METHODS`.
    confidence
        Of the intervals.
    """
    from scipy.special import stdtr, stdtrit  # 0.4 s: not for those who only import the package

    std_error = np.sqrt(np.diag(fitted.vcov))
    df = DF_METHODS[method](fitted)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = fitted.gamma / std_error
    margin = stdtrit(df, 0.5 + confidence / 2) * std_error
    return CoefficientTests(
        estimate=fitted.gamma,
        std_error=std_error,
        df=df,
        statistic=statistic,
        p_value=2 * stdtr(df, -np.abs(statistic)),
        conf_low=fitted.gamma - margin,
        conf_high=fitted.gamma + margin,
    )


def satterthwaite(fitted: Estimate) -> Array:
    """Degrees of freedom ``2 v^2 / Var(v)`` of each coefficient's variance v, (p,).

    Var(v) is by the delta method from the observed information of (theta, sigma2): Giesbrecht and Burns (1985),
    Biometrics 41, 477-486, and Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical Software 82(13).
    Single-level regression has N - p exactly.
    """
    design, solution = fitted.design, fitted.optimum.solution
    if not design.levels:
        return np.full(len(fitted.gamma), float(design.n_obs - len(fitted.gamma)))
    p = len(solution.beta)
    inverse = np.linalg.inv(solution.w[:p, :p])
    df = np.empty(p)
    for k, contrast in enumerate(design.fixed.transform):
        relative = contrast @ inverse @ contrast
        gradient = np.append(
            solution.sigma2 * fitted.criterion.variance_gradient(solution, contrast),
            relative,
        )
        df[k] = 2 * (solution.sigma2 * relative) ** 2 / (gradient @ fitted.parameters_vcov @ gradient)
    return df


def _infinite(fitted: Estimate) -> Array:
    return np.full(len(fitted.gamma), np.inf)


DF_METHODS: dict[str, Callable[[Estimate], Array]] = {"satterthwaite": satterthwaite, "none": _infinite}
