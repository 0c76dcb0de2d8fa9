"""What a report reads of a store: the tables as `read_latest` has them, and those of several runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.analyses.store.runs import Run, read_latest, write_run
from mlm_ops.errors import StoreError
from mlm_ops.reports.page.report import write_reports
from mlm_ops.warehouse.connection import connect

FIRST = datetime(2026, 11, 1, tzinfo=UTC)


def run(name: str, analysis: str, day: int) -> Run:
    at = FIRST + timedelta(days=day)
    return Run(name, analysis, at, at, "main.t", 10, 9, '{"x": 1}', "abc", "0.1.0")


def effects(value: float) -> dict[str, pl.DataFrame]:
    columns = ("estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high")
    row = {"model": "m", "term": "x", "symbol": "gamma10", "level": 1, **dict.fromkeys(columns, value)}
    return {"fixed_effects": pl.DataFrame([row])}


@pytest.fixture
def store(tmp_path) -> Path:
    """Three runs of one analysis, one of another, and two partitions of a third."""
    path = tmp_path / "results.duckdb"
    with connect(path) as connection:
        for day, (name, analysis) in enumerate(
            [("r0", "a"), ("r1", "a"), ("s", "b"), ("r2", "a"), ("p", "c[1]"), ("q", "c[2]")]
        ):
            write_run(connection, run(name, analysis, day), effects(float(day)))
    return path


def test_the_tables_are_those_of_the_latest_runs(store):
    results = read_latest_results(store)
    assert sorted(results["runs"]["run_id"]) == ["p", "q", "r2", "s"]
    with connect(store, read_only=True) as connection:
        for name in ("fixed_effects", "runs", "models"):
            latest = read_latest(connection, name)
            order = ["run_id", "analysis"]
            assert_frame_equal(results[name].sort(order), latest.sort(order), check_column_order=False)
    # rows of single groups stay in the warehouse
    assert "influence" not in results
    assert not [name for name in results if name.startswith("all_")]


@pytest.mark.parametrize(("runs", "names"), [(2, ["r1", "r2"]), (3, ["r0", "r1", "r2"]), (60, ["r0", "r1", "r2"])])
def test_so_many_runs_are_read_of_analyses_that_have_several(store, runs, names):
    results = read_latest_results(store, runs=runs)
    assert sorted(results["all_runs"]["run_id"]) == names
    assert dict(results["all_fixed_effects"].select("run_id", "estimate").sort("run_id").iter_rows()) == {
        name: {"r0": 0.0, "r1": 1.0, "r2": 3.0}[name] for name in names
    }


def test_a_store_of_another_version_is_refused(store):
    with connect(store) as connection:
        connection.execute("update mlm.store_version set version = 7")
    with pytest.raises(StoreError) as error:
        read_latest_results(store)
    assert str(error.value) == (
        "The schema mlm has another store version. Got 7; expected 1. Use the mlm-ops that wrote it, or another "
        "database file."
    )


def test_partitions_have_one_page(store, tmp_path):
    files = write_reports(store)
    assert [file.path.name for file in files] == ["a.html", "b.html", "c.html", "index.html"]
    html = (tmp_path / "report" / "c.html").read_text()
    assert "<strong>18</strong> rows" in html
    assert "<strong>2</strong> partitions" in html
    assert "1 of 10 rows left out for missing values (x 1)." in (tmp_path / "report" / "b.html").read_text()
