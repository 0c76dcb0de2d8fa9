"""The centered table for people against the moments for models."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.centered import create_centered, levels_to_center, rows_to_center
from mlm_ops.analyses.centered_agreement import disagreement
from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import collect_analysis
from mlm_ops.warehouse.arrow import ArrowStream

ANALYSIS = """
analysis: a
data: frame
levels: {levels}
models:
  m: y ~ within(x, class) + w + (1 | class)
"""


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """Class labels that repeat in every school, and a few missing values."""
    rng = np.random.default_rng(2)
    school, room = np.repeat(np.arange(12), 20), np.tile(np.repeat(np.arange(4), 5), 12)
    x = rng.normal(size=240) + school
    data = pl.DataFrame({"school": school, "class": room, "x": x, "w": school * 0.3, "y": x + rng.normal(size=240)})
    con = duckdb.connect()
    holed = data.with_columns(y=pl.when(pl.int_range(240) % 50 == 3).then(None).otherwise(pl.col("y")))
    con.register("raw", ArrowStream(holed))
    con.execute("create table frame as from raw")
    return con


def _analysis(levels: str) -> Analysis:
    return parse_analysis(ANALYSIS.format(levels=levels))


def test_both_agree_where_labels_repeat(connection: duckdb.DuckDBPyConnection) -> None:
    analysis = _analysis("[class, school]")
    create_centered(connection, analysis, "centered")
    moments = collect_analysis(analysis, connection)
    assert levels_to_center(analysis) == (("school", "class"), ("school",))
    columns = rows_to_center(connection, analysis, "centered").columns
    assert disagreement(connection, "centered", moments, columns) < 1e-12
    rows = connection.sql("select count(*), count(distinct between_x) from centered").fetchall()
    assert rows == [(235, 48)]


def test_both_agree_where_labels_have_colons(connection: duckdb.DuckDBPyConnection) -> None:
    """Names of classes have them behind a backslash."""
    labels = "'s:' || school as school, 'c:' || class as class"
    connection.execute(f"create or replace table frame as select * replace ({labels}) from frame")
    analysis = _analysis("[class, school]")
    create_centered(connection, analysis, "centered")
    columns = rows_to_center(connection, analysis, "centered").columns
    assert disagreement(connection, "centered", collect_analysis(analysis, connection), columns) < 1e-12


def test_within_and_between_add_up(connection: duckdb.DuckDBPyConnection) -> None:
    create_centered(connection, _analysis("[class, school]"), "centered")
    sql = "select max(abs(x - within_x - between_x)), abs(sum(within_x)) from centered"
    assert max(connection.sql(sql).fetchall()[0]) < 1e-12


def test_pooled_classes_are_found(connection: duckdb.DuckDBPyConnection) -> None:
    """A table centered over classes of one label in all schools is not what the model sees."""
    analysis = _analysis("[class, school]")
    create_centered(connection, _analysis("class"), "pooled")
    moments = collect_analysis(analysis, connection)
    columns = [new for new in rows_to_center(connection, analysis, "pooled").columns if len(new.group) == 2]
    assert disagreement(connection, "pooled", moments, columns) > 0.1
