"""Analytic derivatives against differences, for every engine and structure; and zero gradients at the optimum."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.estimation.criterion import Criterion

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "two levels": ("y ~ x + (x | a)", {}),
    "two levels, ML": ("y ~ x + (x | a)", {"estimator": "ml"}),
    "independent effects": ("y ~ x + (x || a)", {}),
    "compound symmetry": ("y ~ x + (x | a)", {"covariance": {"a": "compound"}}),
    "three levels": ("y ~ x + (x | a/b)", {}),
    "crossed": ("y ~ x + (1 | b) + (x | c)", {}),
    "crossed, slopes in the larger": ("y ~ x + (x | b) + (1 | c)", {}),
    "strata": ("y ~ x + (1 | a)", {"residual": "by(s)"}),
    "autocorrelation": ("y ~ x + (x | b)", {"residual": "ar1(t)"}),
    "autocorrelation and strata, three levels": ("y ~ x + (1 | a/b)", {"residual": "by(s) + ar1(t)"}),
    "crossed with strata": ("y ~ x + (1 | b) + (1 | c)", {"residual": "by(s)"}),
    "weights": ("y ~ x + (x | a)", {"weights": "v"}),
    "a given T": ("y ~ x + (x | a)", {"covariance": {"a": [[0.8, 0.1], [0.1, 0.3]]}}),
    "a given variance, ML": (
        "y ~ x + (1 | a) + (0 + x | a)",
        {"estimator": "ml", "covariance": {"0 + x | a": 0.3}},
    ),
    "a given variance, three levels": ("y ~ x + (x | a/b)", {"covariance": {"a": [[0.8, 0.1], [0.1, 0.3]]}}),
    "a given variance, crossed": ("y ~ x + (1 | b) + (x | c)", {"covariance": {"b": 0.6}}),
    "a given variance and strata": ("y ~ x + (1 | a)", {"residual": "by(s)", "covariance": {"a": 0.6}}),
}


@pytest.fixture(scope="module")
def data() -> pl.DataFrame:
    rng = np.random.default_rng(11)
    rows = 600
    b = np.arange(rows) // 5
    a, c = b // 10, rng.integers(0, 15, rows)
    x = rng.normal(size=rows)
    effects = rng.normal(size=12)[a] + 0.7 * rng.normal(size=120)[b] + 0.5 * rng.normal(size=15)[c]
    slope = 0.4 + 0.5 * rng.normal(size=12)[a]
    s = np.where(rng.random(rows) < 0.4, "h", "l")
    noise = rng.normal(size=rows) * np.where(s == "h", 1.6, 1.0)
    return pl.DataFrame(
        {
            "a": a,
            "b": b,
            "c": c,
            "s": s,
            "t": np.arange(rows) % 5 * 2 + (np.arange(rows) % 5 > 2),
            "v": rng.uniform(0.5, 2.0, rows),
            "x": x,
            "y": 1 + effects + slope * x + noise,
        }
    )


def _criterion(name: str, data: pl.DataFrame) -> tuple[Criterion, Any]:
    formula, options = MODELS[name]
    optimum = mlm.fit(formula, data, **options).estimate
    return optimum.criterion, optimum.optimum


def _away(theta: Any) -> Any:
    """Somewhere else than the optimum, no element being zero."""
    return 1.3 * theta + 0.11 * (1 + np.arange(len(theta)) % 3)


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_equals_differences(name: str, data: pl.DataFrame) -> None:
    criterion, optimum = _criterion(name, data)
    theta, h = _away(optimum.theta), 1e-5
    gradient = criterion.gradient(criterion.solve(theta))
    differences = [
        (criterion.solve(theta + h * e).criterion - criterion.solve(theta - h * e).criterion) / (2 * h)
        for e in np.eye(len(theta))
    ]
    # central differences of a deviance of about 1e3: 1e-10 of truncation and 1e-13 * 1e3 / 1e-5 of rounding
    np.testing.assert_allclose(gradient, differences, rtol=1e-5, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("name", MODELS)
def test_the_hessian_equals_differences(name: str, data: pl.DataFrame) -> None:
    criterion, optimum = _criterion(name, data)
    theta, h = _away(optimum.theta), 1e-5
    hessian = criterion.hessian(theta)
    differences = np.array(
        [
            (criterion.gradient(criterion.solve(theta + h * e)) - criterion.gradient(criterion.solve(theta - h * e)))
            / (2 * h)
            for e in np.eye(len(theta))
        ]
    )
    np.testing.assert_allclose(hessian, (differences + differences.T) / 2, rtol=1e-5, atol=1e-5 * np.abs(hessian).max())


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_is_zero_at_the_optimum(name: str, data: pl.DataFrame) -> None:
    _, optimum = _criterion(name, data)
    assert optimum.converged
    # in units of the deviance: the Newton decrement
    assert optimum.decrement < 1e-10
    assert np.linalg.eigvalsh(optimum.hessian)[0] > -1e-6 * np.abs(optimum.hessian).max()


@pytest.mark.parametrize(
    "name",
    ["two levels", "three levels", "crossed", "autocorrelation and strata, three levels", "a given T"],
)
def test_random_starts_end_at_the_same_deviance(name: str, data: pl.DataFrame) -> None:
    from mlm_ops.estimation.optimize import minimise

    criterion, optimum = _criterion(name, data)
    rng = np.random.default_rng(0)
    for _ in range(10):
        start = rng.normal(size=criterion.n_theta) * 10 ** rng.uniform(-2, 0.5)
        start[criterion.n_random : criterion.n_relative] *= 0.1
        assert minimise(criterion, start).solution.criterion == pytest.approx(optimum.solution.criterion, abs=1e-6)
