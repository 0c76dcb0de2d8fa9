"""Which runs stay in the store, in the transaction of the run that makes others too many or too old."""

from __future__ import annotations

import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.file.keys import History
from mlm_ops.analyses.store import runs as store
from mlm_ops.errors import AnalysisError
from mlm_ops.warehouse import connection as duckdb_files
from tests.analyses.test_store import effects, make_run, rows


@pytest.fixture
def connection(tmp_path):
    with duckdb_files.connect(tmp_path / "warehouse.duckdb") as connection:
        yield connection


def write(connection, history: History, days: range, analysis: str = "hsb", status: str = "finished") -> None:
    for day in days:
        run = make_run(f"{analysis}{day:02}", analysis, hours=24 * day, status=status)
        store.write_run(connection, run, effects(day), history)


def kept(connection, table: str = "runs", analysis: str = "hsb") -> list[str]:
    found = rows(connection, f"select distinct run_id from mlm.{table} where analysis = '{analysis}' order by all")
    return [run_id for (run_id,) in found]


def test_without_a_setting_every_run_stays(connection):
    write(connection, History(), range(5))
    assert len(kept(connection)) == 5


def test_runs_beyond_the_count_go_from_every_table_but_the_baseline_stays(connection):
    write(connection, History(keep_runs=2), range(5))
    for table in ("runs", "fixed_effects", "fit_statistics"):
        assert kept(connection, table) == ["hsb00", "hsb03", "hsb04"]


def test_a_named_baseline_stays_in_the_place_of_the_first(connection):
    write(connection, History(), range(5))
    write(connection, History(keep_runs=1, baseline="hsb02"), range(5, 6))
    assert kept(connection) == ["hsb02", "hsb05"]


def test_days_count_back_from_the_latest_run(connection):
    write(connection, History(keep_days=2), range(6))
    assert kept(connection) == ["hsb00", "hsb03", "hsb04", "hsb05"]


def test_failed_runs_do_not_push_out_the_latest_finished_one(connection):
    write(connection, History(), range(3))
    write(connection, History(keep_runs=1), range(3, 6), status="failed")
    assert kept(connection) == ["hsb00", "hsb02", "hsb05"]
    assert rows(connection, "select distinct run_id from mlm.latest_fixed_effects") == [("hsb02",)]


def test_other_analyses_are_left_alone(connection):
    write(connection, History(), range(3), "jsp")
    write(connection, History(keep_runs=1), range(3))
    assert len(kept(connection, analysis="jsp")) == 3


def test_what_is_refused_leaves_the_old_runs(connection):
    write(connection, History(), range(3))
    bad = effects(9) | {"fit_statistics": effects(9)["fit_statistics"].with_columns(n_obs=pl.lit("x"))}
    with pytest.raises(store.StoreError):
        store.write_run(connection, make_run("late", hours=99), bad, History(keep_runs=1))
    assert len(kept(connection)) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{keep_runs: 0}", "history.keep_runs: got 0; expected 1 to 100,000; leave it out to keep all"),
        ("{keep_runs: many}", "expected keep_runs and keep_days"),
        ("{alpha: 2}", "expected a probability between 0 and 1"),
        ("{keep: 3}", "unknown key 'history.keep'"),
    ],
)
def test_a_wrong_setting_is_named(text, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        parse_analysis(f"analysis: a\ndata: t\nmodels: {{m: 'y ~ 1 + (1 | g)'}}\nhistory: {text}\n")


def test_a_clock_that_is_set_back_changes_neither_the_latest_run_nor_what_is_kept(connection):
    hours = {"first": 0, "second": 10, "set_back": 8, "set_further_back": 1}
    for run_id, hour in hours.items():
        store.write_run(connection, make_run(run_id, hours=hour), effects(hour), History(keep_runs=2))
        assert rows(connection, "select distinct run_id from mlm.latest_fixed_effects") == [(run_id,)]
    assert rows(connection, "select run_id from mlm.runs order by sequence") == [
        ("first",),  # the baseline: the first that was written
        ("set_back",),
        ("set_further_back",),
    ]


def test_a_clock_that_was_set_back_keeps_runs_for_longer_and_removes_none_that_is_younger(connection):
    for run_id, hour in {"a": 0, "b": 24 * 9, "c": 24 * 10, "set_back": 24 * 9 - 2}.items():
        store.write_run(connection, make_run(run_id, hours=hour), effects(hour), History(keep_days=2))
    assert kept(connection) == ["a", "b", "c", "set_back"]
