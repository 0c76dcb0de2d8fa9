"""Test fixed effects: t and F tests, intervals, degrees of freedom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.t_distribution import critical_value, two_sided_p
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.rank import independent_rows, lengths

#: Degrees of freedom that differ by less are equal, as in lmerTest.
_SAME_DF = 1e-8


@dataclass(frozen=True)
class FTest:
    """A test that ``L gamma = 0``; ``df1`` is the rank of L, and ``df2`` infinite for a chi-square test."""

    statistic: float
    df1: int
    df2: float
    p_value: float


class CoefficientMethod(Protocol):
    """How coefficients are tested: with which covariance matrix and which degrees of freedom."""

    @property
    def vcov(self) -> Array:
        """(p, p) covariance matrix of the coefficients, on which standard errors rest."""

    def variances(self, contrasts: Array) -> Array:
        """``l' V l`` of each contrast l: (k, p) -> (k,); where it can be, without terms that cancel."""

    def degrees(self, contrasts: Array) -> Array:
        """Degrees of freedom of the t test of each contrast: (k, p) -> (k,)."""

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """Factor of the Wald F statistic and its denominator's degrees of freedom, for k independent contrasts."""


def f_test(gamma: Array, method: CoefficientMethod, contrasts: Array) -> FTest:
    """Test that all of ``L gamma`` are zero.

    Parameters
    ----------
    gamma
        (p,) coefficients.
    contrasts
        (k, p) L; rows that are combinations of others are taken out.

    Raises
    ------
    MlmError
        L has no row, or only zeros, or another number of columns than there are coefficients.
    """
    from scipy.special import chdtrc, fdtrc  # 0.4 s: not for those who only import the package

    _check(gamma, contrasts)
    rows = _in_standard_errors(contrasts, method.vcov)
    rank = len(rows)
    if not rank:
        raise MlmError("The contrast is zero, so there is nothing to test. Give it a coefficient other than zero.")
    # first, as it refuses contrasts of too few clusters, whose covariance matrix may be singular
    factor, df2 = method.reference(rows if rank < len(contrasts) else contrasts)
    estimate = rows @ gamma
    statistic = factor * float(estimate @ np.linalg.solve(rows @ method.vcov @ rows.T, estimate)) / rank
    p_value = fdtrc(rank, df2, statistic) if np.isfinite(df2) else chdtrc(rank, rank * statistic)
    return FTest(statistic, rank, df2, float(p_value))


def not_estimable(test: FTest) -> FTest:
    """The test of combinations that the data do not determine: none."""
    return FTest(np.nan, test.df1, np.nan, np.nan)


def satterthwaite_denominator(degrees: Array) -> float:
    """Denominator's degrees of freedom of the mean of q squared t statistics.

    The F distribution with the same mean as the sum of independent squares of t_nu: Fai and Cornelius (1996), Journal
    of Statistical Computation and Simulation 54, 363-378, as in Kuznetsova, Brockhoff and Christensen (2017).
    """
    if np.ptp(degrees) < _SAME_DF:
        return float(degrees.mean())
    if degrees.min() <= 2:
        return 2.0
    expectation = float((degrees / (degrees - 2)).sum())
    return 2 * expectation / (expectation - len(degrees))


def uncorrelated(contrasts: Array, vcov: Array) -> Array:
    """The combinations of contrasts whose estimates are uncorrelated: the eigenvectors of ``L V L'``, (k, p)."""
    return np.asarray(np.linalg.eigh(contrasts @ vcov @ contrasts.T)[1].T @ contrasts)


def _in_standard_errors(contrasts: Array, vcov: Array) -> Array:
    """Rows with the same span, orthonormal where each coefficient is counted in standard errors."""
    scale = lengths(vcov)
    return np.asarray(independent_rows(contrasts * scale) / scale)


def _check(gamma: Array, contrasts: Array) -> None:
    if contrasts.ndim != 2 or contrasts.shape[1] != len(gamma) or not np.isfinite(contrasts).all():
        raise MlmError(
            "A matrix of contrasts has one row per contrast and one finite number a coefficient. Got shape "
            f"{contrasts.shape}; expected (any number, {len(gamma)})."
        )


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


def coefficient_tests(estimate: Estimate, method: CoefficientMethod, confidence: float = 0.95) -> CoefficientTests:
    """T tests and Wald intervals of the fixed effects.

    Parameters
    ----------
    method
        With which covariance matrix and degrees of freedom: what a row of `DF_METHODS` makes of this estimate.
    confidence
        Of the intervals.
    """
    return combination_tests(estimate.gamma, method, np.eye(len(estimate.gamma)), confidence)


def combination_tests(
    gamma: Array, method: CoefficientMethod, combinations: Array, confidence: float = 0.95
) -> CoefficientTests:
    """T tests and Wald intervals of linear combinations of the coefficients, each by itself.

    Parameters
    ----------
    gamma
        (p,) coefficients.
    combinations
        (k, p) L; every array of the result is (k,).
    """
    estimate = combinations @ gamma
    std_error = np.sqrt(method.variances(combinations))
    df = method.degrees(combinations)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = estimate / std_error
    margin = critical_value(df, confidence) * std_error
    return CoefficientTests(
        estimate=estimate,
        std_error=std_error,
        df=df,
        statistic=statistic,
        p_value=two_sided_p(df, statistic),
        conf_low=estimate - margin,
        conf_high=estimate + margin,
    )


def estimable_tests(
    estimate: Estimate, method: CoefficientMethod, combinations: Array, confidence: float = 0.95
) -> CoefficientTests:
    """Tests of combinations (k, asked) of the coefficients of all columns, dropped ones included.

    What the data do not determine is not a number throughout.
    """
    fixed = estimate.design.fixed
    tests = combination_tests(estimate.gamma, method, combinations[:, fixed.span.independent], confidence)
    determined = fixed.estimable(combinations)
    arrays = {f.name: np.where(determined, getattr(tests, f.name), np.nan) for f in fields(tests)}
    return CoefficientTests(**arrays)


def model_variances(estimate: Estimate, combinations: Array) -> Array:
    """Model-based variances (k,) of linear combinations (k, p) of the coefficients.

    Taken in the engine's basis, where columns have the size of their spread: on the user's, terms of 1e12 would cancel
    for a predictor at 1e6.
    """
    solution, p = estimate.optimum.solution, combinations.shape[1]
    engine_combinations = combinations @ estimate.design.fixed.transform
    covariance = estimate.scaled_sigma2 * np.linalg.inv(solution.w[:p, :p])
    variances: Array = np.einsum("ki,ij,kj->k", engine_combinations, covariance, engine_combinations)
    return variances


@dataclass(frozen=True)
class Satterthwaite:
    """Degrees of freedom ``2 v^2 / Var(v)`` of a contrast's variance v.

    Var(v) is by the delta method from the observed information of (theta, sigma2): Giesbrecht and Burns (1985),
    Biometrics 41, 477-486, and Kuznetsova, Brockhoff and Christensen (2017), Journal of Statistical Software 82(13).
    Without covariance parameters, as in single-level regression, it is N - p exactly.
    """

    estimate: Estimate

    @property
    def vcov(self) -> Array:
        """(p, p) covariance matrix of the coefficients."""
        return self.estimate.vcov

    def variances(self, contrasts: Array) -> Array:
        """Variance of each contrast: (k, p) -> (k,)."""
        return model_variances(self.estimate, contrasts)

    def degrees(self, contrasts: Array) -> Array:
        """Degrees of freedom of each contrast's t test: (k, p) -> (k,)."""
        estimate, solution = self.estimate, self.estimate.optimum.solution
        p = len(solution.beta)
        if not len(estimate.optimum.theta):
            return np.full(len(contrasts), float(estimate.design.n_obs - p))
        # degrees of freedom have no scale, and squares of variances of 1e-200 have no place in a double
        engine = contrasts @ estimate.design.fixed.transform
        sizes = np.abs(engine).max(axis=1, initial=0.0)
        engine = engine / np.where(sizes > 0, sizes, 1.0)[:, None]
        relative = np.einsum("ki,ij,kj->k", engine, np.linalg.inv(solution.w[:p, :p]), engine)
        by_theta = solution.sigma2 * estimate.criterion.variance_gradients(solution, engine)
        if not estimate.criterion.profiled:
            relative_slope, by_theta = by_theta[:, -1], by_theta[:, :-1]
            gradients = np.column_stack((by_theta, relative - relative_slope * solution.sigma2**-1.5 / 2))
        else:
            gradients = np.column_stack((by_theta, relative))
        uncertainty = np.einsum("ki,ij,kj->k", gradients, estimate.parameters_vcov, gradients)
        df: Array = 2 * (solution.sigma2 * relative) ** 2 / uncertainty
        # of a coefficient that rests on what the data do not determine, the information says nothing
        return np.where(uncertainty < 0, np.nan, df)

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """No scaling, and degrees of freedom from those of the uncorrelated combinations, as lmerTest has them."""
        return 1.0, satterthwaite_denominator(self.degrees(uncorrelated(contrasts, self.vcov)))


@dataclass(frozen=True)
class NormalTests:
    """Tests by the normal and chi-square distributions."""

    estimate: Estimate

    @property
    def vcov(self) -> Array:
        """(p, p) covariance matrix of the coefficients."""
        return self.estimate.vcov

    def variances(self, contrasts: Array) -> Array:
        """Variance of each contrast: (k, p) -> (k,)."""
        return model_variances(self.estimate, contrasts)

    def degrees(self, contrasts: Array) -> Array:
        """Infinite degrees of freedom."""
        return np.full(len(contrasts), np.inf)

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """No scaling, infinite degrees of freedom."""
        return 1.0, np.inf


def _kenward_roger(estimate: Estimate) -> CoefficientMethod:
    """Kenward and Roger's tests; three files that are imported when they are asked for."""
    from mlm_ops.inference.fixed.kenward_roger import KenwardRoger

    return KenwardRoger(estimate)


DF_METHODS: dict[str, Callable[[Estimate], CoefficientMethod]] = {
    "satterthwaite": Satterthwaite,
    "kenward-roger": _kenward_roger,
    "none": NormalTests,
}


def holm(p_values: Array) -> Array:
    """P values (m,) adjusted so that all of them together err with the level of one.

    The i-th smallest of m becomes ``max over k <= i of (m - k + 1) p_(k)``, at most one: Holm (1979), Scandinavian
    Journal of Statistics 6, 65-70.
    """
    # what has no p value is no test, and sorts last
    order = np.argsort(p_values)
    m = np.count_nonzero(~np.isnan(p_values))
    factors = m - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted
