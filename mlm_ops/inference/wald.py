"""Wald intervals of all parameters: fixed effects on their scale, deviations and correlations on a transformed one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.f_tests import DfMethod
from mlm_ops.inference.fixed_effects import coefficient_tests
from mlm_ops.inference.parameters import Intervals, parameters, values
from mlm_ops.inference.variance import tau_derivatives

Array = NDArray[np.float64]


def wald_intervals(fitted: Estimate, level: float = 0.95, tests: str | DfMethod = "satterthwaite") -> Intervals:
    """Fixed effects by t; standard deviations by their logarithm, correlations by Fisher's z, both by the normal.

    As nlme's ``intervals`` (Pinheiro and Bates 2000, section 2.4.3), from the observed information.

    Parameters
    ----------
    tests
        A key of `DF_METHODS`, or what that made of the fit.

    Returns
    -------
    Intervals
        Limits of variance parameters are not numbers where the fit is singular: an estimate on the boundary has no
        normal distribution.
    """
    from scipy.special import ndtri

    wanted = parameters(fitted)
    there = values(wanted, fitted.gamma, fitted.tau, fitted.sigma2)
    fixed = coefficient_tests(fitted, tests, level)
    z = float(ndtri(0.5 + level / 2))
    vcov, of_tau = fitted.parameters_vcov, tau_derivatives(fitted)
    log_variance = np.zeros(len(vcov))
    log_variance[-1] = 1 / fitted.optimum.solution.sigma2
    low, high = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
    for i, parameter in enumerate(wanted):
        if parameter.scale == "raw":
            low[i], high[i] = fixed.conf_low[parameter.row], fixed.conf_high[parameter.row]
        elif parameter.scale == "sigma":
            margin = z * _error(log_variance, vcov) / 2
            low[i], high[i] = there[i] * np.exp(-margin), there[i] * np.exp(margin)
        elif not fitted.optimum.singular:
            tau, derivatives = fitted.tau[parameter.block], of_tau[parameter.block]
            j, k = parameter.row, parameter.column
            first, second = derivatives[:, j, j] / tau[j, j], derivatives[:, k, k] / tau[k, k]
            if parameter.scale == "std_dev":
                margin = z * _error(first, vcov) / 2
                low[i], high[i] = there[i] * np.exp(-margin), there[i] * np.exp(margin)
            else:
                slope = derivatives[:, j, k] / np.sqrt(tau[j, j] * tau[k, k]) - there[i] * (first + second) / 2
                margin = z * _error(slope / (1 - there[i] ** 2), vcov)
                middle = np.arctanh(there[i])
                low[i], high[i] = np.tanh(middle - margin), np.tanh(middle + margin)
    return Intervals(there, low, high)


def _error(gradient: Array, vcov: Array) -> float:
    """Standard error by the delta method."""
    return float(np.sqrt(max(float(gradient @ vcov @ gradient), 0.0)))
