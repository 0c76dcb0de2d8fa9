"""Standard errors of variances and covariances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VarianceErrors:
    """Standard errors by the delta method from the observed information.

    Attributes
    ----------
    tau
        (q, q) of each block's T, in the order of `Estimate.tau`; not a number where T is singular, as the estimate on
        the boundary has no normal distribution.
    sigma2
        Of the residual variance.
    """

    tau: tuple[Array, ...]
    sigma2: float


def variance_errors(fitted: Estimate) -> VarianceErrors:
    """Standard errors of all variance components."""
    criterion, optimum, vcov = fitted.criterion, fitted.optimum, fitted.parameters_vcov
    lams = criterion.factors(optimum.theta)
    s = optimum.solution.sigma2
    errors = []
    for block, placed, tau in zip(fitted.blocks, criterion.blocks, fitted.tau, strict=True):
        lam = lams[placed.level][placed.effects, placed.effects]
        derivatives = np.zeros((len(vcov), *tau.shape))
        for k, unit in enumerate(np.eye(placed.theta.stop - placed.theta.start)):
            change = placed.covariance.factor(unit, placed.size) @ lam.T
            derivatives[placed.theta.start + k] = s * block.transform @ (change + change.T) @ block.transform.T
        derivatives[-1] = tau / s
        variance = np.einsum("iab,ij,jab->ab", derivatives, vcov, derivatives)
        errors.append(np.full_like(tau, np.nan) if optimum.singular else np.sqrt(np.maximum(variance, 0.0)))
    sigma2 = float(np.sqrt(vcov[-1, -1])) * fitted.sigma2 / s
    if not fitted.blocks:
        # least squares: Var(s^2) = 2 sigma^4 / (N - p)
        sigma2 = float(fitted.sigma2 * np.sqrt(2 / (fitted.design.n_obs - len(fitted.gamma))))
    return VarianceErrors(tuple(errors), sigma2)
