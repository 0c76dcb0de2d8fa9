"""The polars namespace, against a table worked out by hand: missing values, three levels, hostile names."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlm_ops.plugins.polars  # noqa: F401  registers .mlm
from mlm_ops.errors import DataError

SEEDS = Path(__file__).parents[2] / "sql" / "integration_tests" / "seeds"
CLASS = ["school", "class"]
COMPLETE = ["x", "y", "school", "class"]


def _mlm(expression: pl.Expr) -> Any:
    return expression.mlm  # type: ignore[attr-defined]


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_means_over_rows_and_over_units(engine: Literal["in-memory", "streaming"]) -> None:
    """The same table that the dbt package is held against."""
    x = _mlm(pl.col("x"))
    asked = {
        "class_mean": x.between(CLASS),
        "from_class_mean": x.within(CLASS),
        "school_mean_of_rows": x.between("school"),
        "school_mean_of_classes": x.between("school", over="class"),
        "from_school_mean_of_classes": x.within("school", over=CLASS),
        "from_grand_mean": x.center(),
        "from_mean_of_classes": x.center(over=CLASS),
        "complete_class_mean": x.between(CLASS, complete=COMPLETE),
        "complete_from_class_mean": x.within(CLASS, complete=COMPLETE),
        "complete_school_mean_of_rows": x.between("school", complete=COMPLETE),
        "complete_school_mean_of_classes": x.between("school", over=CLASS, complete=COMPLETE),
        "complete_from_grand_mean": x.center(complete=COMPLETE),
        "complete_from_mean_of_schools": x.center(over="school", complete=COMPLETE),
    }
    rows = pl.scan_csv(SEEDS / "three_levels.csv")
    found = rows.select("row_id", **asked).collect(engine=engine).sort("row_id")
    expected = pl.read_csv(SEEDS / "three_levels_expected.csv")
    assert_frame_equal(found, expected, rel_tol=1e-12, abs_tol=1e-12)


def test_expressions_nest_as_formulas_do() -> None:
    """A pupil around the class, the class around the school, and the school add up to x."""
    rows = pl.read_csv(SEEDS / "three_levels.csv").drop_nulls()
    x = pl.col("x")
    parts = _mlm(x).within(CLASS), _mlm(_mlm(x).between(CLASS)).within("school"), _mlm(x).between("school")
    assert rows.select((sum(parts) - x).abs().max()).item() < 1e-12


def test_nan_is_missing_in_numbers_and_a_word_in_text() -> None:
    rows = pl.DataFrame(
        {"g": [1, 1, 1], "x": [1.0, 3.0, float("nan")], "y": [float("nan"), 2.0, 2.0], "t": ["nan"] * 3}
    )
    means = rows.select(
        own=_mlm(pl.col("x")).between("g"),
        complete=_mlm(pl.col("x")).between("g", complete=["x", "y", "t"]),
        within=_mlm(pl.col("x")).within("g"),
    )
    assert means.rows() == [(2.0, 3.0, -1.0), (2.0, 3.0, 1.0), (2.0, 3.0, None)]


def test_names_are_names() -> None:
    name, group = '^a "b";.*$', "select *"
    rows = pl.DataFrame({name: [1, 3], "a": [7, 7], group: ["u", "u"]})
    found = rows.select(_mlm(pl.col("a")).within(group, complete=[name], over=[name]))
    assert found.columns == ["a"]
    assert found["a"].to_list() == [0.0, 0.0]


def test_reference_values_and_contradictions() -> None:
    rows = pl.DataFrame({"x": [50, 53]})
    assert rows.select(_mlm(pl.col("x")).center(at=50))["x"].to_list() == [0.0, 3.0]
    with pytest.raises(DataError, match=r"center\(\) takes at= or over=, not both"):
        _mlm(pl.col("x")).center(at=1, over="g")
    with pytest.raises(DataError, match="named by one column or more"):
        _mlm(pl.col("x")).within([])


def test_groups_of_nan() -> None:
    """NaN names no group, as null does not; -0.0 and 0.0 name one."""
    nan = float("nan")
    rows = pl.DataFrame({"g": [1.0, nan, nan, -0.0, 0.0, None], "x": [1.0, 2.0, 3.0, 4.0, 6.0, 9.0]})
    expected = [1.0, None, None, 5.0, 5.0, None]
    assert rows.select(pl.col("x").mlm.between("g"))["x"].to_list() == expected
    assert rows.select(pl.col("x").mlm.between("g", over="g"))["x"].to_list() == expected
