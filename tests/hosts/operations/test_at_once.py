"""Two runs at once, and readers that hold the published copy, or the warehouse itself."""

from __future__ import annotations

import json
import os

import duckdb
import pytest

from tests.hosts.operations.conftest import CODE_LOCATION, Place, sentence_of, whole_runs

pytestmark = pytest.mark.hosts


def test_two_fits_at_once_both_finish(place: Place) -> None:
    both = [place.start("fit", "small.yaml", "--database", place.database) for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert len(whole_runs(place.database)) == 2


def test_a_reader_holds_the_results_while_they_are_replaced(place: Place) -> None:
    assert place.mlm("run").returncode == 0
    with duckdb.connect(str(place.results), read_only=True) as reader:
        before = reader.execute("select run_id from mlm.latest_runs").fetchall()
        process = place.mlm("run")
        assert process.returncode == 0, process.stderr
        assert reader.execute("select run_id from mlm.latest_runs").fetchall() == before
    assert len(whole_runs(place.results)) == 2


def test_two_runs_at_once_both_finish(place: Place) -> None:
    # one log for both: a line is written at one stroke
    both = [place.start("run", "--log", "run.log") for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    runs = whole_runs(place.warehouse)
    assert len(runs) == 2
    assert whole_runs(place.results) == runs
    rows = [json.loads(line) for line in (place.folder / "run.log").read_text().splitlines()]
    for run in runs:
        events = [
            (row["event"], row["analysis"], row["model"])
            for row in rows
            if row["run_id"] == run and row["event"] != "waited_for_database"
        ]
        assert events == [
            ("run_started", None, None),
            ("moments_collected", "small", None),
            ("model_fitted", "small", "anova"),
            ("model_fitted", "small", "slope"),
            ("run_written", "small", None),
            ("results_published", "small", None),
            ("run_finished", None, None),
        ]


def test_a_run_that_fails_ends_in_the_log_with_its_sentence(place: Place) -> None:
    (place.folder / "pupils.csv").write_text("school,x,z\n1,2,3\n")
    sentence = sentence_of(place.mlm("run", "--log", "run.log")).removeprefix("mlm: ")
    rows = [json.loads(line) for line in (place.folder / "run.log").read_text().splitlines()]
    assert rows[-1]["event"] == "run_failed"
    assert rows[-1]["message"].splitlines()[0] == sentence
    (run_id,) = {row["run_id"] for row in rows}
    failed = [row for row in rows if row["event"] == "failed"]
    assert failed
    assert {(row["analysis"], row["run_id"], row["level"]) for row in failed} == {("small", run_id, "ERROR")}


def test_a_reader_holds_the_warehouse_for_longer_than_a_run_waits(place: Place) -> None:
    impatient = CODE_LOCATION.replace('"warehouse"))}', '"warehouse"), wait=1.0)}')
    assert impatient != CODE_LOCATION
    (place.folder / "small_pipeline.py").write_text(impatient)
    assert place.mlm("run").returncode == 0
    before = whole_runs(place.results)
    with duckdb.connect(str(place.warehouse), read_only=True):
        sentence = sentence_of(place.mlm("run"))
    assert f"warehouse.duckdb is open in another process (PID {os.getpid()}" in sentence
    assert sentence.endswith("waited 1 s for it. Close it there, or try again when that process has ended.")
    assert whole_runs(place.results) == whole_runs(place.warehouse) == before
    assert place.mlm("run").returncode == 0
    assert len(whole_runs(place.results)) == 2
