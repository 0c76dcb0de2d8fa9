"""Variance inflation and condition numbers by level, against regressions and singular values of the rows themselves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import mlm_ops as mlm

Array = NDArray[np.float64]


def _data() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    school = np.repeat(np.arange(30), rng.integers(4, 20, 30))
    n = len(school)
    w = rng.normal(size=30)
    size = 100 + 10 * w + rng.normal(size=30)
    x = rng.normal(size=n) + 0.8 * w[school]
    z = 0.9 * x + 0.3 * rng.normal(size=n)
    y = x + w[school] + rng.normal(size=30)[school] + rng.normal(size=n)
    columns = {"school": school, "w": w[school], "size": size[school], "x": x, "z": z, "y": y}
    return pl.DataFrame(columns | {"year": 2000 + np.arange(n) % 7})


DATA = _data()


def _column(name: str) -> Array:
    return DATA[name].to_numpy().astype(float)


def _means(name: str) -> Array:
    return DATA.select(pl.col(name).mean().over("school")).to_series().to_numpy()


def _inflation(columns: list[Array]) -> list[float]:
    """1 / (1 - R^2) of each column on the constant and the others."""
    factors = []
    for i, column in enumerate(columns):
        x = np.column_stack([np.ones(len(column)), *columns[:i], *columns[i + 1 :]])
        residual = column - x @ np.linalg.lstsq(x, column, rcond=None)[0]
        factors.append(float(((column - column.mean()) ** 2).sum() / (residual**2).sum()))
    return factors


def _condition(columns: list[Array]) -> float:
    x = np.column_stack(columns)
    return float(np.linalg.cond(x / np.linalg.norm(x, axis=0)))


def _found(fit: mlm.Fit, diagnostic: str) -> pl.DataFrame:
    return fit.diagnostics().filter(pl.col("diagnostic") == diagnostic)


def test_each_level_has_its_own() -> None:
    """Deviations within schools at level 1; at level 2 schools' own numbers, and the means of what varies within."""
    fit = mlm.fit("y ~ x + z + w + size + (1 | school)", DATA)
    inflation = _found(fit, "vif")
    within = [_column(name) - _means(name) for name in ("x", "z")]
    between = [_column("w"), _column("size"), _means("x"), _means("z")]
    assert inflation.select("term", "level").rows() == [
        *(("x", 1), ("z", 1)),
        *(("w", 2), ("size", 2), ("x", 2), ("z", 2)),
    ]
    np.testing.assert_allclose(inflation["estimate"], [*_inflation(within), *_inflation(between)], rtol=1e-9)
    condition = _found(fit, "condition_number")
    assert condition["level"].to_list() == [1, 2]
    expected = [_condition(within), _condition([np.ones(len(DATA)), *between])]
    np.testing.assert_allclose(condition["estimate"], expected, rtol=1e-9)


def test_a_regression_has_one_level() -> None:
    fit = mlm.fit("y ~ x + z + size", DATA)
    columns = [_column(name) for name in ("x", "z", "size")]
    np.testing.assert_allclose(_found(fit, "vif")["estimate"], _inflation(columns), rtol=1e-9)
    (condition,) = _found(fit, "condition_number")["estimate"]
    assert condition == pytest.approx(_condition([np.ones(len(DATA)), *columns]), rel=1e-9)


def test_unit_means_beside_between_are_no_predictor_of_their_own() -> None:
    """The effect of between(x) beside x is the contextual effect, which deviations within schools tell apart."""
    found = _found(mlm.fit("y ~ x + between(x) + w + (1 | school)", DATA), "vif")
    assert found.select("term", "level").rows() == [("x", 1), ("between(x)", 2), ("w", 2)]
    np.testing.assert_allclose(found["estimate"][1:], _inflation([_means("x"), _column("w")]), rtol=1e-9)
    assert found["estimate"][0] == pytest.approx(1, rel=1e-12)


def test_what_is_flagged() -> None:
    close = DATA.with_columns(again=pl.col("x") + 0.1 * (pl.col("year") - 2003))
    found = _found(mlm.fit("y ~ x + again + w + (1 | school)", close), "vif").filter(pl.col("level") == 1)
    assert (found["estimate"] > 10).all()
    assert found["flagged"].to_list() == [True, True]
    assert found["bound"].to_list() == [10, 10]


def test_a_product_of_what_is_not_centered_and_a_late_mean_are_told_not_flagged() -> None:
    fit = mlm.fit("y ~ year * x + (1 | school)", DATA)
    found = fit.diagnostics().filter(pl.col("diagnostic").is_in(["vif", "condition_number"]))
    assert found["estimate"].max() > 1000
    assert not found["flagged"].any()
    notes = found.filter(pl.col("estimate") > 1000)["note"].unique().to_list()
    assert "it is part of a product, so its own effect holds where the others are zero: centering changes both" in notes
    far = _found(mlm.fit("y ~ year + (1 | school)", DATA), "condition_number")
    assert far.row(0, named=True)["estimate"] == pytest.approx(1)
    assert (
        far["note"][1] == "of the constant and the predictors scaled to length one; a mean far from zero raises it too"
    )


def test_crossed_factors_are_one_level() -> None:
    fit = mlm.fit("y ~ x + z + (1 | school) + (1 | year)", DATA)
    found = _found(fit, "vif")
    assert found["level"].to_list() == [1, 1]
    np.testing.assert_allclose(found["estimate"], _inflation([_column("x"), _column("z")]), rtol=1e-9)


def test_a_model_without_predictors_has_none() -> None:
    assert _found(mlm.fit("y ~ 1 + (1 | school)", DATA), "vif").is_empty()
