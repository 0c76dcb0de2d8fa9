"""What the data do not determine is null in every table, and a note says so."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import MlmError
from mlm_ops.warehouse.arrow import ArrowStream

_NOTE = "predictions, slopes and contrasts that need a dropped column cannot be estimated and are null"


def _data() -> pl.DataFrame:
    """Factors f and h of three levels, whose cell (f2, h2) is empty; total is x + z."""
    rng = np.random.default_rng(3)
    n, g = 120, np.repeat(np.arange(20), 6)
    f, h = rng.integers(0, 3, (2, n))
    h[(f == 2) & (h == 2)] = 1
    x, z = rng.normal(size=(2, n)).round(2)
    y = f + x * (h + 1) + rng.normal(size=20)[g] + rng.normal(size=n)
    texts = {"f": [f"f{v}" for v in f], "h": [f"h{v}" for v in h]}
    return pl.DataFrame(texts | {"x": x, "z": z, "total": x + z, "g": g, "y": y})


def _in_sql(fit: mlm.Fit, rows: pl.DataFrame) -> pl.DataFrame:
    connection = duckdb.connect()
    connection.register("rows", ArrowStream(rows))
    return connection.sql(fit.prediction_sql("select *, row_number() over () as place from rows")).pl().sort("place")


def test_an_empty_cell_has_a_note() -> None:
    fit = mlm.fit("y ~ f * h + x + (1 | g)", _data())
    assert fit.notes == ["dropped, being zero in every row: f[f2]:h[h2]", _NOTE]


def test_an_empty_cell_has_no_prediction() -> None:
    fit = mlm.fit("y ~ f * h + x + (1 | g)", _data())
    rows = pl.DataFrame({"f": ["f2", "f1"], "h": ["h2", "h2"], "x": [0.0, 0.5], "g": [1, 2], "y": [0.0, 0.0]})
    conditional, marginal, sql = fit.predict(rows), fit.predict(rows, "marginal"), _in_sql(fit, rows)
    for column in (conditional["prediction"], marginal["prediction"], marginal["std_error"], sql["prediction"]):
        assert column.is_null().to_list() == [True, False]
    assert sql["fixed_prediction"].to_list() == pytest.approx(marginal["prediction"].to_list())
    assert sql["residual"].is_null().to_list() == [True, False]


def test_an_empty_cell_has_no_slope_and_no_intercept() -> None:
    fit = mlm.fit("y ~ f * h * x + (1 | g)", _data())
    found = fit.simple_slopes("x", ["f", "h"])
    empty = found["at"].str.contains("f = f2, h = h2")
    assert found.filter(empty).select("estimate", "std_error", "df", "p_value").null_count().row(0) == (2, 2, 2, 2)
    assert not found.filter(~empty)["estimate"].is_null().any()


def test_a_contrast_with_an_empty_cell_is_null() -> None:
    fit = mlm.fit("y ~ f * h + x + (1 | g)", _data())
    named = {"empty": {"f[f2]:h[h2]": 1.0, "f[f2]": 1.0}, "there": {"f[f1]:h[h2]": 1.0}, "other": {"x": 1.0}}
    found = fit.contrasts(named)
    assert found["estimate"].is_null().to_list() == [True, False, False]
    assert found["p_value"].is_null().to_list() == [True, False, False]
    # the empty one is no test: Holm's factor of the smallest of two is two
    assert found["p_adjusted"][2] == pytest.approx(2 * found["p_value"][2])


def test_predictions_keep_to_the_combination_that_the_rows_showed() -> None:
    """R 4.3's predict(lm, rankdeficient = "NA"): estimable where total is x + z, as in the fit's rows."""
    data = _data()
    fit = mlm.fit("y ~ x + z + total + (1 | g)", data)
    assert fit.notes == ["dropped, being a combination of the other columns: total", _NOTE]
    assert not fit.predict(data)["prediction"].is_null().any()
    assert not _in_sql(fit, data)["prediction"].is_null().any()
    off = data.with_columns(total=pl.col("total") + pl.when(pl.col("x") > 0).then(0.001).otherwise(0.0))
    expected = (data["x"] > 0).to_list()
    assert fit.predict(off, "marginal")["prediction"].is_null().to_list() == expected
    assert _in_sql(fit, off)["prediction"].is_null().to_list() == expected


def test_predictors_far_from_zero_keep_to_their_combination() -> None:
    data = _data().with_columns(x=pl.col("x") + 1e6, total=pl.col("total") + 1e6)
    fit = mlm.fit("y ~ x + z + total + (1 | g)", data)
    assert fit.estimate.design.fixed.aliased == ("total",)
    assert not fit.predict(data)["prediction"].is_null().any()
    assert not _in_sql(fit, data)["prediction"].is_null().any()
    assert fit.predict(data.with_columns(total=pl.col("total") + 1))["prediction"].is_null().all()


def test_what_a_dropped_column_confounds_is_null() -> None:
    fit = mlm.fit("y ~ x * f + z + total + (1 | g)", _data())
    found = fit.contrasts({"x": {"x": 1.0}, "x less z": {"x": 1.0, "z": -1.0}, "with total": {"x": 1.0, "total": 1.0}})
    # x + z enters by total too: only what gives total the sum of both is determined
    assert found["estimate"].is_null().to_list() == [True, False, False]
    assert fit.test("z").row(0) == (None, 1, None, None)
    assert fit.test("f")["p_value"][0] is not None
    assert fit.simple_slopes("x", "f").filter(pl.col("kind") == "slope")["estimate"].is_null().all()


def test_a_slope_that_is_not_estimable_has_no_regions() -> None:
    fit = mlm.fit("y ~ x * z + total + (1 | g)", _data())
    assert fit.johnson_neyman("x", "z").rows() == [("x", "z", None, None, None, None, None, "not estimable")]


def test_columns_that_are_almost_a_combination_are_named() -> None:
    """At a distance of 1e-6 the square of the distance is known to three digits."""
    rng = np.random.default_rng(5)
    data = _data().with_columns(near=pl.col("x") + 1e-6 * pl.Series(rng.normal(size=120)))
    fit = mlm.fit("y ~ x + near + (1 | g)", data)
    assert fit.notes == ["almost a combination of the columns before, so that estimates have lost digits: near"]
    assert mlm.fit("y ~ x + z + (1 | g)", data).notes == []


def test_explained_variance_is_compared_on_the_same_rows() -> None:
    data = _data()
    fit = mlm.fit("y ~ x + (1 | g)", data)
    assert fit.r_squared(mlm.fit("y ~ 1 + (1 | g)", data.sample(fraction=1.0, shuffle=True, seed=1))).height > 0
    with pytest.raises(mlm.MlmError) as fewer:
        fit.r_squared(mlm.fit("y ~ 1 + (1 | g)", data.head(100)))
    assert str(fewer.value) == (
        "Models of different rows cannot be compared. Got 120 rows and 100; expected fits of the same rows. Fit both "
        "on the rows that are complete on the variables of both."
    )
    with pytest.raises(mlm.MlmError) as others:
        fit.r_squared(mlm.fit("y ~ 1 + (1 | g)", data.with_columns(y=pl.col("y") * 2)))
    assert str(others.value).startswith(
        "Models of different rows cannot be compared. Got 120 rows each that differ in y;"
    )
    with pytest.raises(mlm.MlmError) as outcome:
        fit.r_squared(mlm.fit("z ~ 1 + (1 | g)", data))
    assert str(outcome.value) == (
        "Models of different outcomes cannot be compared. Got y and z; compare models of one outcome."
    )


def test_rows_in_another_order_of_the_outcome_are_other_rows() -> None:
    rng = np.random.default_rng(1)
    data = pl.DataFrame({"y": rng.normal(size=60), "x": rng.normal(size=60), "g": np.repeat(np.arange(12), 5)})
    fit = mlm.fit("y ~ x + (1 | g)", data)
    fit.r_squared(mlm.fit("y ~ 1 + (1 | g)", data.sample(fraction=1.0, shuffle=True, seed=0)))
    with pytest.raises(MlmError, match=r"Got 60 rows each that differ in y by g; expected fits of the same rows"):
        fit.r_squared(mlm.fit("y ~ 1 + (1 | g)", data.with_columns(pl.col("y").reverse())))
