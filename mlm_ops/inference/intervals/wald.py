"""Wald intervals of all parameters: fixed effects on their scale, deviations and correlations on a transformed one."""

from __future__ import annotations

import numpy as np

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed.tests import CoefficientMethod, coefficient_tests
from mlm_ops.inference.intervals.parameters import (
    IntervalParameter,
    Intervals,
    find_parameters,
    parameter_values,
    undetermined_parameters,
)
from mlm_ops.inference.random.variance import tau_derivatives
from mlm_ops.moments.arrays import Array


def wald_intervals(estimate: Estimate, tests: CoefficientMethod, level: float = 0.95) -> Intervals:
    """Fixed effects by t; deviations and ratios by their logarithm, correlations by Fisher's z, both by the normal.

    As nlme's ``intervals`` (Pinheiro and Bates 2000, section 2.4.3), from the observed information.

    Parameters
    ----------
    tests
        How fixed effects are tested: what a row of `DF_METHODS` makes of this estimate.

    Returns
    -------
    Intervals
        Limits of variance parameters are not numbers where the fit is singular, as an estimate on the boundary has no
        normal distribution, and where the data do not determine the parameter.
    """
    from scipy.special import ndtri

    parameters = find_parameters(estimate)
    estimates, unknown = parameter_values(parameters, estimate), undetermined_parameters(parameters, estimate)
    fixed = coefficient_tests(estimate, tests, level)
    z = float(ndtri(0.5 + level / 2))
    vcov, of_tau = estimate.parameters_vcov, tau_derivatives(estimate)
    low, high = np.full(len(parameters), np.nan), np.full(len(parameters), np.nan)
    for i, parameter in enumerate(parameters):
        if unknown[i]:
            continue
        if parameter.scale == "raw":
            low[i], high[i] = fixed.conf_low[parameter.row], fixed.conf_high[parameter.row]
        elif parameter.scale in {"sigma", "ratio"}:
            margin = z * _error(_log_residual(estimate, parameter), vcov)
            low[i], high[i] = estimates[i] * np.exp(-margin), estimates[i] * np.exp(margin)
        elif parameter.scale == "phi":
            margin, middle = z * float(np.sqrt(vcov[-2, -2])), np.arctanh(estimates[i])
            low[i], high[i] = np.tanh(middle - margin), np.tanh(middle + margin)
        elif not estimate.optimum.singular:
            tau, derivatives = estimate.tau[parameter.block], of_tau[parameter.block]
            j, k = parameter.row, parameter.column
            first, second = derivatives[:, j, j] / tau[j, j], derivatives[:, k, k] / tau[k, k]
            if parameter.scale == "std_dev":
                margin = z * _error(first, vcov) / 2
                low[i], high[i] = estimates[i] * np.exp(-margin), estimates[i] * np.exp(margin)
            else:
                slope = (
                    derivatives[:, j, k] / (np.sqrt(tau[j, j]) * np.sqrt(tau[k, k]))
                    - estimates[i] * (first + second) / 2
                )
                margin = z * _error(slope / (1 - estimates[i] ** 2), vcov)
                middle = np.arctanh(estimates[i])
                low[i], high[i] = np.tanh(middle - margin), np.tanh(middle + margin)
    return Intervals(estimates, low, high)


def _log_residual(estimate: Estimate, parameter: IntervalParameter) -> Array:
    """Derivatives of the logarithm of a stratum's deviation or ratio by the parameters of `parameters_vcov`."""
    gradient = np.zeros(len(estimate.parameters_vcov))
    if parameter.row > 0:
        gradient[estimate.criterion.n_random + parameter.row - 1] = 1.0
    if parameter.scale == "sigma":
        gradient[-1] = 0.5 / estimate.optimum.solution.sigma2
    return gradient


def _error(gradient: Array, vcov: Array) -> float:
    """Standard error by the delta method."""
    return float(np.sqrt(max(float(gradient @ vcov @ gradient), 0.0)))
