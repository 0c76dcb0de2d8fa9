"""A warehouse that an earlier version wrote is read, and written on: kept moments, partitions, results."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import collect_analysis, fit_analysis, fit_collected, keep_moments
from mlm_ops.analyses.store.runs import publish, read_latest
from mlm_ops.cli.main import main
from mlm_ops.moments.storage import load_moments

#: Written by the commit before the files of the package moved, from the schools below 2300 of High School & Beyond.
EARLIER = Path(__file__).parent / "earlier" / "earlier.duckdb.gz"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "earlier.duckdb"
    written.write_bytes(gzip.decompress(EARLIER.read_bytes()))
    return written


@pytest.fixture
def warehouse(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(path) as connection:
        yield connection


def analysis(connection: duckdb.DuckDBPyConnection, name: str) -> Analysis:
    """As it was written then: the store keeps its text."""
    (text,) = connection.execute("select analysis_text from mlm.latest_runs where analysis = ?", [name]).fetchall()[0]
    return parse_analysis(text)


def test_kept_moments_are_those_of_the_rows(warehouse):
    asked = analysis(warehouse, "kept")
    kept, now = load_moments(warehouse, "main.kept_moments"), collect_analysis(asked, warehouse)
    assert kept.schema == now.schema
    assert kept.checksum == now.checksum


def test_kept_moments_give_the_stored_results(warehouse):
    """To the last digits: processors differ in the last of them, and 1e-9 is far above that.

    Degrees of freedom by Satterthwaite depend on the Hessian, which the earlier version took one step before the end:
    its own are 7e-8 from those at the end, where the Hessian is now.
    """
    asked = analysis(warehouse, "kept")
    stored = read_latest(warehouse, "fixed_effects").filter(pl.col("analysis") == "kept")
    fitted = fit_collected(asked, load_moments(warehouse, "main.kept_moments"), warehouse).tables["fixed_effects"]
    assert fitted["term"].to_list() == stored["term"].to_list()
    for column, tolerance in (("estimate", 1e-9), ("std_error", 1e-9), ("df", 1e-7)):
        assert fitted[column].to_list() == pytest.approx(stored[column].to_list(), rel=tolerance)


def test_kept_partitions_are_not_read_again(warehouse):
    asked = analysis(warehouse, "parts")
    assert keep_moments(asked, warehouse).scanned == ()
    warehouse.execute("insert into main.students select * replace (region + 10 as region) from main.students")
    done = keep_moments(asked, warehouse)
    assert set(done.scanned) == {"10", "11", "12", "13"}
    assert done.moments.n_rows == warehouse.execute("select count(*) from main.students").fetchall()[0][0]


def test_a_run_is_added_to_the_stored_ones(path, capsys, tmp_path):
    with duckdb.connect(path) as connection:
        (text,) = connection.execute("select analysis_text from mlm.latest_runs where analysis = 'kept'").fetchall()[0]
        before = fit_analysis(parse_analysis(text), connection).tables["fixed_effects"]
    (tmp_path / "kept.yaml").write_text(text)
    assert main(["fit", str(tmp_path / "kept.yaml"), "--database", str(path)]) == 0
    with duckdb.connect(path) as connection:
        assert connection.execute("select count(*) from mlm.runs where analysis = 'kept'").fetchall() == [(2,)]
        latest = read_latest(connection, "fixed_effects").filter(pl.col("analysis") == "kept")
    assert latest["estimate"].to_list() == pytest.approx(before["estimate"].to_list(), rel=1e-12)
    capsys.readouterr()
    assert main(["show", "--database", str(path), "--analysis", "parts"]) == 0
    assert "within(ses)" in capsys.readouterr().out


OLD_NAMES = {
    "simple_slopes": ('kind, predictor, "at", estimate', "'slope', 'x', 'w = 1', 2.5"),
    "diagnostics": ('diagnostic, "at", estimate', "'residual_quantile', 0.25, -0.7"),
}


@pytest.fixture
def with_old_names(path: Path) -> Path:
    """The warehouse with rows in the tables of which a column had another name."""
    with duckdb.connect(path) as connection:
        for table, (columns, values) in OLD_NAMES.items():
            connection.execute(
                f"insert into mlm.{table} (run_id, analysis, model, {columns})"
                f" select run_id, analysis, 'm', {values} from mlm.latest_runs where analysis = 'kept'"
            )
    return path


def test_values_under_an_old_name_are_read_under_the_new_one(with_old_names):
    with duckdb.connect(with_old_names, read_only=True) as connection:
        slopes, found = (read_latest(connection, name) for name in OLD_NAMES)
        assert slopes.select("setting", "at", "moderator", "value", "level").rows() == [("w = 1", "w = 1", *[None] * 3)]
        assert found.select("value", "at", "skewness").rows() == [(0.25, 0.25, None)]
        assert read_latest(connection, "models")["position"].null_count() == read_latest(connection, "models").height
        for name in ("groups", "unit_lines", "curves"):
            assert read_latest(connection, name).is_empty()


def test_values_under_an_old_name_are_carried_forward(with_old_names, tmp_path):
    copy = tmp_path / "results.duckdb"
    with duckdb.connect(with_old_names) as connection:
        publish(connection, copy)  # by this version, with nothing written yet
        (text,) = connection.execute("select analysis_text from mlm.latest_runs where analysis = 'kept'").fetchall()[0]
    (tmp_path / "kept.yaml").write_text(text)
    assert main(["fit", str(tmp_path / "kept.yaml"), "--database", str(with_old_names)]) == 0
    for file in (copy, with_old_names):
        with duckdb.connect(file, read_only=True) as connection:
            assert connection.execute('select setting, "at" from mlm.simple_slopes').fetchall() == [("w = 1", "w = 1")]
            assert connection.execute('select value, "at" from mlm.diagnostics').fetchall() == [(0.25, 0.25)]
    with duckdb.connect(with_old_names, read_only=True) as connection:
        new = read_latest(connection, "groups").filter(pl.col("analysis") == "kept")
        assert new.height
        assert new["model"].null_count() == new.height
        old = "select count(*) from mlm.decomposition where model is not null"
        assert connection.execute(old).fetchall()[0][0] > 0
