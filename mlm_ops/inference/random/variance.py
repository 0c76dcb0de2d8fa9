"""Standard errors of variances and covariances, the mean residual variance, and each group's share of the variance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.residual import autocorrelation, ratios
from mlm_ops.language.model import group_name
from mlm_ops.language.symbols import EquationStructure, variance_symbol
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.residual import NOW


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


def variance_errors(estimate: Estimate) -> VarianceErrors:
    """Standard errors of the random effects' variances and covariances."""
    errors = []
    blocks, unknown = estimate.criterion.blocks, estimate.undetermined.tau
    for placed, flags, derivatives in zip(blocks, unknown, tau_derivatives(estimate), strict=True):
        variance = np.einsum("iab,ij,jab->ab", derivatives, estimate.parameters_vcov, derivatives)
        missing = flags | estimate.optimum.singular | placed.known
        errors.append(np.where(missing, np.nan, np.sqrt(np.maximum(variance, 0.0))))
    return VarianceErrors(tuple(errors))


def tau_derivatives(estimate: Estimate) -> list[Array]:
    """Derivatives (n + 1, q, q) of each block's T by the n parameters relative to sigma2 and sigma2."""
    criterion, optimum = estimate.criterion, estimate.optimum
    lams, s = criterion.factors(optimum.theta), optimum.solution.sigma2
    by_block = []
    for block, placed, tau in zip(estimate.blocks, criterion.blocks, estimate.tau, strict=True):
        lam = lams[placed.level][placed.effects, placed.effects]
        derivatives = np.zeros((criterion.n_relative + 1, *tau.shape))
        if not placed.known:
            change = placed.slopes(optimum.theta) @ lam.T
            symmetric = change + change.transpose(0, 2, 1)
            derivatives[placed.theta] = s * block.transform @ symmetric @ block.transform.T
            derivatives[-1] = tau / s
        by_block.append(derivatives)
    return by_block


def residual_components(estimate: Estimate) -> list[tuple[str | None, str, float, float]]:
    """The residual's parameters: name, symbol, estimate and standard error by the delta method.

    Without strata one variance; with them one for each, by its name. An autocorrelation is named phi. Those that the
    data do not determine have no standard error.
    """
    design, s = estimate.design, estimate.optimum.solution.sigma2
    if not design.levels and design.residual is None:
        # least squares: Var(s^2) = 2 sigma^4 / (N - p)
        error = float(estimate.sigma2 * np.sqrt(2 / (design.n_obs - len(estimate.gamma))))
        return [(None, "sigma2", estimate.sigma2, error)]
    residual, rho, vcov = design.residual, estimate.optimum.solution.rho, estimate.parameters_vcov
    unknown = estimate.undetermined
    of_first = np.nan if unknown.sigma2 else 1.0
    components: list[tuple[str | None, str, float, float]]
    if residual is None or len(residual.strata) == 1:
        components = [(None, "sigma2", estimate.sigma2, _root(vcov[-1, -1]) * estimate.sigma2 / s * of_first)]
    else:
        components = []
        for k, (name, ratio) in enumerate(zip(residual.strata, ratios(residual, rho), strict=True)):
            variance = estimate.sigma2 * float(ratio) ** 2
            gradient = np.zeros(len(vcov))
            gradient[-1] = variance / s
            own = of_first
            if k > 0:
                gradient[estimate.criterion.n_random + k - 1] = 2 * variance
                own = np.nan if unknown.sigma2 or unknown.rho[k - 1] else 1.0
            components.append((name, "sigma2", variance, _root(gradient @ vcov @ gradient) * own))
    if residual is not None and residual.serial:
        phi = float(autocorrelation(residual, rho))
        error = np.nan if unknown.rho[-1] else _root(vcov[-2, -2]) * (1 - phi**2)
        components.append(("phi", "phi", phi, error))
    return components


def _root(variance: Any) -> float:
    """Root of a variance that rounding may have made negative, where the information is nearly singular."""
    return float(np.sqrt(max(float(variance), 0.0)))


class Component(NamedTuple):
    """A variance of a random effect, a covariance of two, or a parameter of the residual.

    Attributes
    ----------
    group
        The grouping factor, or ``residual``.
    term, other
        The column whose coefficient varies, and that of the other coefficient of a covariance; of the residual the
        stratum or the parameter, where there are several.
    symbol
        As in the equations: ``tau_10``, ``sigma2``.
    estimate, std_error
        On the user's scale.
    std_dev, correlation
        Of a variance its root, of a covariance what it is relative to the roots.
    """

    group: str
    term: str | None
    other: str | None
    symbol: str
    estimate: float
    std_error: float
    std_dev: float | None
    correlation: float | None


def variance_components(
    structure: EquationStructure, estimate: Estimate, errors: VarianceErrors
) -> tuple[Component, ...]:
    """Every T's lower triangle by columns, the lowest grouping factor first; the residual's parameters last."""
    return (*_random_effects(structure, estimate, errors), *_residual(estimate))


def _random_effects(structure: EquationStructure, estimate: Estimate, errors: VarianceErrors) -> Iterator[Component]:
    index = structure.indices
    heights = [(h, level) for h, level in enumerate(estimate.design.levels) for _ in level.blocks]
    for (height, level), block, tau, error in zip(heights, estimate.blocks, estimate.tau, errors.tau, strict=True):
        group, deviations = group_name(level.group), np.sqrt(np.diag(tau))
        for i, first in enumerate(block.columns):
            for j, second in enumerate(block.columns[i:], start=i):
                symbol = variance_symbol(structure, height, index[first], index[second])
                numbers = tau[i, j], error[i, j]
                if i == j:
                    yield Component(group, first.name, None, symbol, *numbers, deviations[i], None)
                else:
                    scale = deviations[i] * deviations[j]
                    correlation = float(np.clip(tau[i, j] / scale, -1.0, 1.0)) if scale else None
                    yield Component(group, first.name, second.name, symbol, *numbers, None, correlation)


def _residual(estimate: Estimate) -> Iterator[Component]:
    for name, symbol, value, error in residual_components(estimate):
        yield Component(
            "residual", name, None, symbol, value, error, np.sqrt(value) if symbol == "sigma2" else None, None
        )


def intraclass_correlation(estimate: Estimate) -> float | None:
    """Share of the grouping factors' intercept variances in the total; None where slopes vary or nothing does.

    Where the data determine the sum of two variances, not each, it is determined too: the total is that of a row.

    With random slopes the share depends on the predictors' values, so it is no single number (Goldstein, Browne and
    Rasbash 2002).
    """
    if not estimate.tau or not intercepts_alone(estimate) or estimate.undetermined.sigma2:
        return None
    shared = float(sum(tau[0, 0] for tau in estimate.tau))
    return shared / (shared + mean_residual_variance(estimate))


def intercepts_alone(estimate: Estimate) -> bool:
    """Whether all random effects are intercepts."""
    return all(len(b.columns) == 1 and not b.columns[0].variables for b in estimate.blocks)


def mean_residual_variance(estimate: Estimate) -> float:
    """Residual variance, averaged over the rows where it differs between strata; that of weight one with weights."""
    residual = estimate.design.residual
    if residual is None or len(residual.strata) == 1:
        return estimate.sigma2
    delta = ratios(residual, estimate.optimum.solution.rho)
    now = residual.kind == NOW
    rows = np.bincount(residual.stratum[now], residual.n[now], len(delta))
    return float(estimate.sigma2 * (rows @ delta**2) / rows.sum())
