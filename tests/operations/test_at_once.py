"""Two runs at once, and a reader that holds the published copy while it is replaced."""

from __future__ import annotations

import duckdb
import pytest

from tests.operations.conftest import Place, whole_runs

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
        done = place.mlm("run")
        assert done.returncode == 0, done.stderr
        assert reader.execute("select run_id from mlm.latest_runs").fetchall() == before
    assert len(whole_runs(place.results)) == 2


def test_two_runs_at_once_both_finish(place: Place) -> None:
    both = [place.start("run") for _ in range(2)]
    for process in both:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    runs = whole_runs(place.warehouse)
    assert len(runs) == 2
    assert whole_runs(place.results) == runs
