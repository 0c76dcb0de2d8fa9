"""Standard errors of variances and covariances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.residual import autocorrelation, ratios

Array = NDArray[np.float64]


@dataclass(frozen=True)
class VarianceErrors:
    """Standard errors by the delta method from the observed information.

    Attributes
    ----------
    tau
        (q, q) of each block's T, in the order of `Estimate.tau`; not a number where T is given, where it is singular,
        as the estimate on the boundary has no normal distribution, and of elements that the data do not determine.
    """

    tau: tuple[Array, ...]


def variance_errors(fitted: Estimate) -> VarianceErrors:
    """Standard errors of the random effects' variances and covariances."""
    errors = []
    blocks, unknown = fitted.criterion.blocks, fitted.undetermined.tau
    for placed, flags, derivatives in zip(blocks, unknown, tau_derivatives(fitted), strict=True):
        variance = np.einsum("iab,ij,jab->ab", derivatives, fitted.parameters_vcov, derivatives)
        nothing = flags | fitted.optimum.singular | placed.known
        errors.append(np.where(nothing, np.nan, np.sqrt(np.maximum(variance, 0.0))))
    return VarianceErrors(tuple(errors))


def tau_derivatives(fitted: Estimate) -> list[Array]:
    """Derivatives (n + 1, q, q) of each block's T by the n parameters relative to sigma2 and sigma2."""
    criterion, optimum = fitted.criterion, fitted.optimum
    lams, s = criterion.factors(optimum.theta), optimum.solution.sigma2
    found = []
    for block, placed, tau in zip(fitted.blocks, criterion.blocks, fitted.tau, strict=True):
        lam = lams[placed.level][placed.effects, placed.effects]
        derivatives = np.zeros((criterion.n_relative + 1, *tau.shape))
        if not placed.known:
            change = placed.slopes @ lam.T
            moved = change + change.transpose(0, 2, 1)
            derivatives[placed.theta] = s * block.transform @ moved @ block.transform.T
            derivatives[-1] = tau / s
        found.append(derivatives)
    return found


def residual_components(fitted: Estimate) -> list[tuple[str | None, str, float, float]]:
    """The residual's parameters: name, symbol, estimate and standard error by the delta method.

    Without strata one variance; with them one for each, by its name. An autocorrelation is named phi. Those that the
    data do not determine have no standard error.
    """
    design, s = fitted.design, fitted.optimum.solution.sigma2
    if not design.levels and design.residual is None:
        # least squares: Var(s^2) = 2 sigma^4 / (N - p)
        error = float(fitted.sigma2 * np.sqrt(2 / (design.n_obs - len(fitted.gamma))))
        return [(None, "sigma2", fitted.sigma2, error)]
    residual, rho, vcov = design.residual, fitted.optimum.solution.rho, fitted.parameters_vcov
    unknown = fitted.undetermined
    of_first = np.nan if unknown.sigma2 else 1.0
    found: list[tuple[str | None, str, float, float]]
    if residual is None or len(residual.strata) == 1:
        found = [(None, "sigma2", fitted.sigma2, _root(vcov[-1, -1]) * fitted.sigma2 / s * of_first)]
    else:
        found = []
        for k, (name, ratio) in enumerate(zip(residual.strata, ratios(residual, rho), strict=True)):
            variance = fitted.sigma2 * float(ratio) ** 2
            gradient = np.zeros(len(vcov))
            gradient[-1] = variance / s
            own = of_first
            if k > 0:
                gradient[fitted.criterion.n_random + k - 1] = 2 * variance
                own = np.nan if unknown.sigma2 or unknown.rho[k - 1] else 1.0
            found.append((name, "sigma2", variance, _root(gradient @ vcov @ gradient) * own))
    if residual is not None and residual.serial:
        phi = float(autocorrelation(residual, rho))
        error = np.nan if unknown.rho[-1] else _root(vcov[-2, -2]) * (1 - phi**2)
        found.append(("phi", "phi", phi, error))
    return found


def _root(variance: Any) -> float:
    """Of a variance that rounding may have made negative, where the information is nearly singular."""
    return float(np.sqrt(max(float(variance), 0.0)))
