"""One record of an optimum: its parts agree, and what is inferred from it is what the rows' own likelihood says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import mlm_ops as mlm
from mlm_ops.estimation.optimize import minimise
from tests.estimation.dense import covariance_parts, standard_errors

Array = NDArray[np.float64]
Made = tuple[str, pl.DataFrame, list[tuple[Array, NDArray[Any], str]]]


def test_a_small_nested_fit_whose_search_ends_with_a_sign_turned() -> None:
    """The standard error of the classes' variance was 0.20446; a dense REML Hessian from the rows gives 0.18523."""
    r = np.random.default_rng(1)
    g, h = np.repeat(np.arange(8), 6), np.tile([0, 0, 0, 1, 1, 1], 8)
    y = 3 * r.normal(size=8)[g] + 0.3 * r.normal(size=16)[2 * g + h] + r.normal(size=48)
    table = mlm.fit("y ~ 1 + (1 | g/h)", pl.DataFrame({"g": g, "h": h, "y": y})).variance_components
    row = table.filter(pl.col("group") == "g:h")
    assert row["estimate"].item() == pytest.approx(0.08645, abs=5e-6)
    assert row["std_error"].item() == pytest.approx(0.18523, abs=5e-6)


@pytest.mark.parametrize("residual", [None, "by(f)"])
def test_all_criteria_of_a_design_have_one_engine(residual: str | None) -> None:
    """The cross-products at the start are laid out once, whichever likelihood is asked for."""
    i = np.arange(120)
    data = pl.DataFrame({"g": i % 12, "f": i % 2, "y": np.cos(i * i) + i % 12 / 4})
    criterion = mlm.fit("y ~ 1 + (1 | g)", data, residual=residual).estimate.criterion
    assert criterion.reml
    assert replace(criterion, reml=False).engine is criterion.engine


@pytest.mark.parametrize("made", range(16))
@pytest.mark.parametrize("estimator", ["reml", "ml"])
def test_derivatives_taken_again_at_the_recorded_theta_are_the_recorded_ones(made: int, estimator: str) -> None:
    """Of starts with every sign: the last step, which promises less than 1e-12, moves second derivatives by 1e-6."""
    formula, data, _ = MADE[list(MADE)[made % len(MADE)]](np.random.default_rng(made))
    criterion = mlm.fit(formula, data, estimator=estimator).estimate.criterion
    rng = np.random.default_rng(made)
    for _ in range(4):
        optimum = minimise(criterion, rng.normal(size=criterion.n_theta))
        solution = criterion.solve(optimum.theta)
        assert float(optimum.solution.criterion) == float(solution.criterion)
        np.testing.assert_array_equal(optimum.solution.theta, optimum.theta)
        hessian = criterion.hessian(optimum.theta)
        size = np.sqrt(np.outer(np.diag(hessian), np.diag(hessian)))
        np.testing.assert_allclose(optimum.gradient, criterion.gradient(solution), atol=1e-9 * len(data))
        np.testing.assert_array_less(np.abs(optimum.hessian - hessian), 1e-5 * np.abs(size) + 1e-6)
        assert all(np.diag(lam).min() >= 0 for lam in optimum.solution.lams)


@pytest.mark.parametrize("made", ["(1 | g/h)", "(x | g)", "(x || g)", "(1 | a) + (1 | b)"])
def test_standard_errors_of_variances_are_those_of_a_dense_hessian(made: str) -> None:
    _check(made, range(10))


@pytest.mark.fuzz
@pytest.mark.parametrize("made", ["(1 | g/h)", "(x | g)", "(x || g)", "(1 | a) + (1 | b)"])
def test_standard_errors_of_a_thousand_fits_are_those_of_a_dense_hessian(made: str) -> None:
    _check(made, range(1000, 1250))


def _check(made: str, seeds: range) -> None:
    """As many fits that are not singular as there are seeds; within 1e-4, which is asked for, and more."""
    seen, seed = 0, 1000 * seeds.start
    worst = 0.0
    while seen < len(seeds):
        formula, data, blocks = MADE[made](np.random.default_rng(seed))
        seed += 1
        fit = mlm.fit(formula, data)
        if fit.singular:
            continue
        seen += 1
        assert fit.converged
        assert fit.estimate.optimum.verdict == "minimum"
        table = fit.variance_components
        x = np.ones((len(data), 1)) if "x" not in data.columns else np.column_stack((np.ones(len(data)), data["x"]))
        expected, _ = standard_errors(table["estimate"].to_numpy(), covariance_parts(blocks), x, data["y"].to_numpy())
        worst = max(worst, float(np.abs(table["std_error"].to_numpy() / expected - 1).max()))
    assert worst < 1e-4


def _nested(r: np.random.Generator) -> Made:
    g = np.repeat(np.arange(8), 6)
    h = 2 * g + np.tile([0, 0, 0, 1, 1, 1], 8)
    spread = r.uniform(0.3, 3, 2)
    y = spread[0] * r.normal(size=8)[g] + spread[1] * r.normal(size=16)[h] + r.normal(size=48)
    one = np.ones((48, 1))
    data = pl.DataFrame({"g": g, "h": h, "y": y})
    return "y ~ 1 + (1 | g/h)", data, [(one, h, "unstructured"), (one, g, "unstructured")]


def _slopes(r: np.random.Generator, structure: str = "unstructured") -> Made:
    g = np.repeat(np.arange(12), 5)
    x = r.normal(size=60) + 0.3 * r.normal(size=12)[g]
    spread = r.uniform(0.3, 3, 2)
    y = spread[0] * r.normal(size=12)[g] + spread[1] * r.normal(size=12)[g] * x + r.normal(size=60)
    bar = "||" if structure == "diagonal" else "|"
    z = np.column_stack((np.ones(60), x))
    return f"y ~ x + (x {bar} g)", pl.DataFrame({"g": g, "x": x, "y": y}), [(z, g, structure)]


def _crossed(r: np.random.Generator) -> Made:
    a, b = np.repeat(np.arange(9), 7), np.tile(np.arange(7), 9)
    keep = r.random(63) < 0.9
    spread = r.uniform(0.3, 3, 2)
    y = spread[0] * r.normal(size=9)[a] + spread[1] * r.normal(size=7)[b] + r.normal(size=63)
    a, b, y = a[keep], b[keep], y[keep]
    one = np.ones((len(y), 1))
    data = pl.DataFrame({"a": a, "b": b, "y": y})
    return "y ~ 1 + (1 | a) + (1 | b)", data, [(one, a, "unstructured"), (one, b, "unstructured")]


MADE: dict[str, Callable[[np.random.Generator], Made]] = {
    "(1 | g/h)": _nested,
    "(x | g)": _slopes,
    "(x || g)": lambda r: _slopes(r, "diagonal"),
    "(1 | a) + (1 | b)": _crossed,
}
