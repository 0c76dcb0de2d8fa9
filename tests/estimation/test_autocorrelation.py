"""An autocorrelation is found however far apart the times are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.results.fit import Fit

DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"


@pytest.mark.parametrize(
    ("estimator", "log_likelihood", "phi"), [("ml", 3.613754621, 0.81960763), ("reml", -14.75224614, 0.82239605)]
)
def test_soybeans_by_day(estimator: str, log_likelihood: float, phi: float) -> None:
    """nlme 3.1: lme(log(weight) ~ Time + I(Time^2), ~ 1 | Plot, Soybean, corCAR1(.8, ~ Time | Plot)).

    Its gaps are 6, 7, 8 and more days; from phi = 0 nlme's own corAR1 stays there too.
    """
    formula = "log_weight ~ day + I(day**2) + (1 | plot)"
    fit = mlm.fit(formula, DATA / "soybean.csv", residual="ar1(day)", estimator=estimator)
    assert fit.estimate.log_likelihood == pytest.approx(log_likelihood, abs=1e-6)
    assert _phi(fit) == pytest.approx(phi, abs=1e-5)
    assert fit.estimate.optimum.verdict == "minimum"


def test_weeks_counted_in_days_have_the_same_likelihood() -> None:
    data = _simulated(3)
    weeks = data.with_columns(t=pl.col("row"))
    fits = [mlm.fit("y ~ 1 + (1 | g)", d, residual="ar1(t)") for d in (weeks, weeks.with_columns(pl.col("t") * 7))]
    assert fits[1].estimate.log_likelihood == pytest.approx(fits[0].estimate.log_likelihood, abs=1e-8)
    assert _phi(fits[1]) ** 7 == pytest.approx(_phi(fits[0]), abs=1e-6)


def test_gaps_of_1_to_30_end_at_the_lowest_of_a_grid() -> None:
    _check(range(10))


@pytest.mark.fuzz
@pytest.mark.parametrize("first", range(0, 200, 25))
def test_two_hundred_series_with_gaps_of_1_to_30_end_at_the_lowest_of_a_grid(first: int) -> None:
    _check(range(first, first + 25))


def _check(seeds: range) -> None:
    """Lower than, or equal to, every point of a grid of both signs; between its points a search goes on."""
    from scipy.optimize import minimize

    for seed in seeds:
        result = mlm.fit("y ~ 1 + (1 | g)", _simulated(seed), residual="ar1(t)").estimate
        criterion, optimum = result.criterion, result.optimum
        assert criterion.residual is not None

        def height(theta: np.ndarray, solve=criterion.solve) -> float:  # type: ignore[type-arg,no-untyped-def]
            return float(solve(theta).criterion)

        gaps = criterion.residual.gap
        middle = np.median(np.unique(gaps[gaps > 0]))
        correlations = np.linspace(0.01, 0.99, 25)
        values = np.arctanh(correlations ** (1 / middle))
        grid = [np.array([z, rho]) for z in (0.0, 0.3, 1.0, 3.0) for rho in (*-values, *values)]
        lowest = min(grid, key=height)
        options = {"xatol": 1e-8, "fatol": 1e-9, "maxiter": 2000}
        found = minimize(height, lowest, method="Nelder-Mead", options=options)
        assert float(optimum.solution.criterion) <= found.fun + 1e-6, seed
        assert optimum.converged


def _phi(fit: Fit) -> float:
    return float(fit.variance_components.filter(pl.col("term") == "phi")["estimate"].item())


def _simulated(seed: int) -> pl.DataFrame:
    """Series whose rows lie a smallest to a largest gap apart, of a correlation between -0.3 and 0.95 at the middle."""
    r = np.random.default_rng(seed)
    shortest = int(r.integers(1, 16))
    longest = int(r.integers(shortest, 31))
    groups, rows = int(r.integers(20, 60)), int(r.integers(4, 9))
    gaps = r.integers(shortest, longest + 1, size=(groups, rows))
    times = gaps.cumsum(axis=1)
    correlation = r.uniform(-0.3, 0.95)
    phi = abs(correlation) ** (1 / np.median(gaps))
    signed = correlation < 0 and not (shortest == longest and shortest % 2 == 0)
    y = np.empty((groups, rows))
    for j, own in enumerate(times):
        apart = np.abs(own[:, None] - own[None, :])
        v = phi**apart * np.where(signed & (apart % 2 == 1), -1.0, 1.0)
        y[j] = np.linalg.cholesky(v + 1e-12 * np.eye(rows)) @ r.normal(size=rows) + r.choice([0, 0.5, 1.0]) * r.normal()
    g, row = np.repeat(np.arange(groups), rows), np.tile(np.arange(rows), groups)
    return pl.DataFrame({"g": g, "row": row, "t": times.ravel(), "y": y.ravel()})
