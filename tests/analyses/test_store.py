"""The results store: all or nothing, history, the published copy, and files that will not open."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from mlm_ops.analyses.store import runs as store
from mlm_ops.analyses.store.schema import RUNS, TABLES
from mlm_ops.analyses.store.staging import StepRows, read_staged, stage
from mlm_ops.errors import DataError, StoreError
from mlm_ops.results.tables.descriptions import COLUMNS
from mlm_ops.warehouse import connection as duckdb_files

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def make_run(run_id: str, analysis: str = "hsb", hours: int = 0, status: str = "finished") -> store.Run:
    start = NOON + timedelta(hours=hours)
    return store.Run(
        run_id=run_id,
        analysis=analysis,
        started_at=start,
        finished_at=start + timedelta(seconds=3),
        data="main.students",
        n_rows=7185,
        n_obs=7185,
        n_dropped="{}",
        moments_checksum="abc",
        engine_version="0.1.0",
        status=status,
    )


def frame(name: str, **values: object) -> pl.DataFrame:
    """One row of a result table, null where nothing is said."""
    schema = {"model": pl.String(), **TABLES[name]}
    return pl.DataFrame([{column: values.get(column) for column in schema}], schema=schema)


def test_every_stored_column_has_a_description() -> None:
    """The catalogue of the UI shows them; a column without one would pass in silence."""
    assert {column for columns in TABLES.values() for column in columns} - COLUMNS.keys() == set()


def effects(estimate: float, model: str = "null") -> dict[str, pl.DataFrame]:
    return {
        "fixed_effects": frame("fixed_effects", model=model, term="(Intercept)", estimate=estimate),
        "fit_statistics": frame("fit_statistics", model=model, n_obs=7185, converged=True),
    }


@pytest.fixture
def connection(tmp_path: Path):
    with duckdb_files.connect(tmp_path / "warehouse" / "warehouse.duckdb") as connection:
        yield connection


def rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple]:
    return connection.execute(query).fetchall()


class TestWriteRun:
    def test_every_row_carries_its_run(self, connection):
        store.write_run(connection, make_run("a"), effects(12.5))
        assert rows(connection, "select run_id, analysis, model, term, estimate from mlm.fixed_effects") == [
            ("a", "hsb", "null", "(Intercept)", 12.5)
        ]
        assert rows(connection, "select run_id, status, finished_at - started_at from mlm.runs") == [
            ("a", "finished", timedelta(seconds=3))
        ]

    def test_columns_are_those_of_the_tables_module(self, connection):
        store.write_run(connection, make_run("a"), effects(1))
        assert connection.table("mlm.runs").columns == list(RUNS)
        for name, columns in TABLES.items():
            assert connection.table(f"mlm.{name}").columns == ["run_id", "analysis", "model", *columns]
            assert connection.table(f"mlm.latest_{name}").columns == ["run_id", "analysis", "model", *columns]

    def test_history_is_kept_and_latest_shows_the_last_finished_run_of_each_analysis(self, connection):
        store.write_run(connection, make_run("a", hours=0), effects(1))
        store.write_run(connection, make_run("b", hours=2), effects(2))
        store.write_run(connection, make_run("c", hours=1), effects(3))
        store.write_run(connection, make_run("d", hours=3, status="failed"), effects(4))
        store.write_run(connection, make_run("a", "jsp", hours=0), effects(5))
        assert rows(connection, "select count(*) from mlm.fixed_effects") == [(5,)]
        assert rows(connection, "select analysis, run_id, estimate from mlm.latest_fixed_effects order by all") == [
            # written last, whatever the clock said
            ("hsb", "c", 3.0),
            ("jsp", "a", 5.0),
        ]
        assert store.read_latest(connection, "runs")["run_id"].sort().to_list() == ["a", "c"]

    def test_runs_of_an_earlier_mlm_ops_are_numbered_by_the_time_that_they_ended(self, connection):
        for name, hours in (("b", 2), ("a", 1), ("c", 3)):
            store.write_run(connection, make_run(name, hours=hours), effects(hours))
        connection.execute("drop view mlm.latest_runs; alter table mlm.runs drop column sequence")
        connection.execute("create view mlm.latest_runs as from mlm.runs order by finished_at desc limit 1")
        assert store.read_latest(connection, "runs")["run_id"].to_list() == ["c"]
        # the clock has been set back since
        store.write_run(connection, make_run("d", hours=0), effects(4))
        numbered = rows(connection, "select run_id, sequence from mlm.runs order by sequence")
        assert numbered == [("a", 1), ("b", 2), ("c", 3), ("d", 4)]
        assert rows(connection, "select run_id from mlm.latest_runs") == [("d",)]

    def test_a_run_of_an_earlier_mlm_ops_in_between_keeps_its_place(self, connection):
        store.write_run(connection, make_run("a", hours=5), effects(1))
        connection.execute(
            "insert into mlm.runs by name select * exclude (sequence) replace ('b' as run_id) from mlm.runs"
        )
        store.write_run(connection, make_run("c", hours=1), effects(3))
        numbered = rows(connection, "select run_id, sequence from mlm.runs order by sequence")
        assert numbered == [("a", 1), ("b", 2), ("c", 3)]

    def test_a_step_tried_again_takes_the_place_of_its_first_try(self, connection):
        store.write_run(connection, make_run("a"), effects(1))
        store.write_run(connection, make_run("a"), effects(2))
        assert rows(connection, "select estimate from mlm.fixed_effects") == [(2.0,)]
        assert rows(connection, "select count(*) from mlm.runs") == [(1,)]

    def test_a_failure_midway_leaves_nothing(self, connection):
        bad = effects(1) | {"random_effects": frame("random_effects", model="null").with_columns(level=1).drop("level")}
        bad["random_effects"] = bad["random_effects"].with_columns(estimate=pl.lit("twelve"))
        with pytest.raises(StoreError, match="could not be written"):
            store.write_run(connection, make_run("a"), bad)
        assert rows(connection, "from duckdb_schemas() where schema_name = 'mlm'") == []
        store.write_run(connection, make_run("a"), effects(1))
        with pytest.raises(StoreError):
            store.write_run(connection, make_run("b"), bad)
        assert rows(connection, "select run_id from mlm.runs union all select run_id from mlm.fixed_effects") == [
            ("a",),
            ("a",),
        ]

    def test_an_interruption_leaves_nothing(self, connection, monkeypatch):
        def interrupt(*arguments: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(store, "insert_frame", interrupt)
        with pytest.raises(KeyboardInterrupt):
            store.write_run(connection, make_run("a"), effects(1))
        assert rows(connection, "from duckdb_schemas() where schema_name = 'mlm'") == []

    def test_all_wrong_columns_are_named_together(self, connection):
        wrong = {
            "fixed_effects": pl.DataFrame({"model": ["null"], "term": ["x"], "beta": [1.0]}),
            "gammas": pl.DataFrame(),
        }
        with pytest.raises(StoreError, match=r"lacks conf_high.*no column beta.*no table gammas"):
            store.write_run(connection, make_run("a"), wrong)

    def test_another_store_version_is_refused_by_name(self, connection):
        store.write_run(connection, make_run("a"), effects(1))
        connection.execute("update mlm.store_version set version = 99")
        for act in (
            lambda: store.write_run(connection, make_run("b"), effects(1)),
            lambda: store.read_latest(connection, "runs"),
        ):
            with pytest.raises(StoreError, match=r"Got 99; expected 1\."):
                act()

    def test_a_schema_of_someone_else_is_left_alone(self, connection):
        connection.execute("create schema mlm; create table mlm.runs (x int)")
        with pytest.raises(StoreError, match="not made by mlm-ops"):
            store.write_run(connection, make_run("a"), effects(1))

    def test_a_column_added_since_is_null_in_old_rows(self, connection):
        store.write_run(connection, make_run("a"), effects(1))
        connection.execute("drop view mlm.latest_fixed_effects; alter table mlm.fixed_effects drop column symbol")
        latest = "where (run_id, analysis) in (select (run_id, analysis) from mlm.latest_runs)"
        connection.execute(f"create view mlm.latest_fixed_effects as select * from mlm.fixed_effects {latest}")
        assert store.read_latest(connection, "fixed_effects")["symbol"].to_list() == [None]
        store.write_run(connection, make_run("b", hours=1), effects(2))
        assert store.read_latest(connection, "fixed_effects")["estimate"].to_list() == [2.0]


class TestStaging:
    def test_models_come_back_in_the_order_asked_for(self, connection):
        stage(connection, "hsb", [StepRows("models", ["slopes"], effects(2, "slopes"))], "s1")
        stage(connection, "hsb", [StepRows("models", ["null"], effects(1, "null"))], "s1")
        stage(connection, "hsb", [StepRows("models", ["dropped"], effects(9, "dropped"))], "s0")
        stage(connection, "jsp", [StepRows("models", ["null"], effects(8, "null"))], "s2")
        staged = read_staged(connection, "hsb", {"models": ["null", "slopes"]})
        assert staged.tables["fixed_effects"]["estimate"].to_list() == [1.0, 2.0]
        assert staged.tables["random_effects"].is_empty()
        assert staged.checksums == {("models", "null"): "s1", ("models", "slopes"): "s1"}
        store.write_run(connection, make_run("a"), staged.tables)
        assert store.read_latest(connection, "fixed_effects")["model"].to_list() == ["null", "slopes"]

    def test_staging_again_replaces(self, connection):
        stage(connection, "hsb", [StepRows("models", ["null"], effects(1))], "s1")
        stage(connection, "hsb", [StepRows("models", ["null"], effects(2))], "s2")
        staged = read_staged(connection, "hsb", {"models": ["null"]})
        assert staged.tables["fixed_effects"]["estimate"].to_list() == [2.0]
        assert staged.checksums == {("models", "null"): "s2"}

    def test_a_missing_model_is_named(self, connection):
        with pytest.raises(StoreError, match="no staged rows of null"):
            read_staged(connection, "hsb", {"models": ["null"]})

    def test_rows_of_another_model_are_refused(self, connection):
        with pytest.raises(StoreError, match="expected slopes"):
            stage(connection, "hsb", [StepRows("models", ["slopes"], effects(1, "null"))], "s1")

    def test_a_step_has_its_models_to_itself(self, connection):
        for step, value in (("models", 1), ("comparisons", 2), ("sem", 3), ("ladder", 4)):
            stage(connection, "hsb", [StepRows(step, ["null"], effects(value))], f"s{value}")
        stage(connection, "hsb", [StepRows("sem", ["null"], effects(5))], "s5")
        for step, value in (("models", 1), ("comparisons", 2), ("sem", 5), ("ladder", 4)):
            staged = read_staged(connection, "hsb", {step: ["null"]})
            assert staged.tables["fixed_effects"]["estimate"].to_list() == [value]
            assert staged.checksums == {(step, "null"): f"s{value}"}

    def test_a_step_whose_models_the_data_name_is_staged_anew(self, connection):
        both = {"fixed_effects": pl.concat([effects(1, "one")["fixed_effects"], effects(2, "two")["fixed_effects"]])}
        stage(connection, "hsb", [StepRows("ladder", None, both)], "s1")
        stage(connection, "hsb", [StepRows("models", ["one"], effects(7, "one"))], "s1")
        stage(connection, "hsb", [StepRows("ladder", None, effects(3, "two"))], "s2")
        assert read_staged(connection, "hsb", {"ladder": None}).checksums == {("ladder", "two"): "s2"}
        assert read_staged(connection, "hsb", {"models": None}).checksums == {("models", "one"): "s1"}
        stage(connection, "hsb", [StepRows("ladder", None, {})], "s3")
        assert read_staged(connection, "hsb", {"ladder": None}).tables["fixed_effects"].is_empty()

    @pytest.mark.parametrize("mark", [True, False])
    def test_the_tables_of_a_warehouse_from_before_there_were_steps_are_made_anew(self, connection, mark):
        connection.execute("create schema mlm_staging")
        for table, columns in (("checksums", "checksum varchar"), ("fixed_effects", "term varchar, estimate double")):
            connection.execute(f"create table mlm_staging.{table} (analysis varchar, model varchar, {columns})")
            connection.execute(f"insert into mlm_staging.{table} (analysis, model) values ('hsb (sem)', 'null')")
            if mark:
                comment = "mlm-ops: results of a run that is not finished"
                connection.execute(f"comment on table mlm_staging.{table} is '{comment}'")
        with pytest.raises(StoreError, match="no staged rows of null"):
            read_staged(connection, "hsb", {"models": ["null"]})
        stage(connection, "hsb", [StepRows("models", ["null"], effects(2))], "s1")
        assert rows(connection, "select analysis, staged_by, model, checksum from mlm_staging.checksums") == [
            ("hsb", "models", "null", "s1")
        ]
        staged = read_staged(connection, "hsb", {"models": ["null"]})
        assert staged.tables["fixed_effects"]["estimate"].to_list() == [2.0]


class TestPublish:
    def test_the_copy_holds_schema_mlm_and_nothing_else(self, connection, tmp_path):
        connection.execute("create table students as select 1 as x")
        stage(connection, "hsb", [StepRows("models", ["null"], effects(1))], "s1")
        store.write_run(connection, make_run("a"), effects(12.5))
        store.publish(connection, tmp_path / "out" / "results.duckdb")
        assert rows(connection, "select current_database()") == [("warehouse",)]
        assert rows(connection, "select count(*) from duckdb_databases() where not internal") == [(1,)]
        with duckdb_files.connect(tmp_path / "out" / "results.duckdb", read_only=True) as results:
            names = rows(results, "select distinct schema_name from duckdb_tables()")
            assert names == [("mlm",)]
            assert rows(results, "select model, estimate from mlm.latest_fixed_effects") == [("null", 12.5)]
            assert store.read_latest(results, "runs")["run_id"].to_list() == ["a"]
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [".results.duckdb.lock", "results.duckdb"]

    def test_duckdb_1_2_and_later_can_read_it(self, connection, tmp_path):
        store.write_run(connection, make_run("a"), effects(1))
        store.publish(connection, tmp_path / "results.duckdb")
        # Bytes 12 to 19 of a DuckDB file are its storage version: 64 is read by 1.0 and later, 65 by 1.2 and later.
        header = (tmp_path / "results.duckdb").read_bytes()[:20]
        assert header[8:12] == b"DUCK"
        assert int.from_bytes(header[12:20], "little") <= 65
        with duckdb_files.connect(tmp_path / "results.duckdb", read_only=True) as results:
            tags = rows(results, "select tags from duckdb_databases() where database_name = 'results'")
        assert tags[0][0]["storage_version"].startswith("v1.2.0")

    def test_a_reader_goes_on_undisturbed(self, connection, tmp_path):
        target = tmp_path / "results.duckdb"
        store.write_run(connection, make_run("a"), effects(1))
        store.publish(connection, target)
        with reader(target, "select estimate from mlm.latest_fixed_effects") as process:
            assert ask(process) == "[(1.0,)]"
            store.write_run(connection, make_run("b", hours=1), effects(2))
            store.publish(connection, target)
            assert ask(process) == "[(1.0,)]"
        with reader(target, "select estimate from mlm.latest_fixed_effects") as process:
            assert ask(process) == "[(2.0,)]"

    def test_a_failure_leaves_the_old_copy_and_no_half(self, connection, tmp_path):
        target = tmp_path / "out" / "results.duckdb"
        store.write_run(connection, make_run("a"), effects(1))
        store.publish(connection, target)
        before = target.read_bytes()
        # Wider than the copy's table: the insert fails after the file has been begun.
        connection.execute("drop view mlm.latest_comparisons; alter table mlm.comparisons add column extra int")
        with pytest.raises(StoreError, match="cannot be published"):
            store.publish(connection, target)
        assert target.read_bytes() == before
        assert sorted(path.name for path in target.parent.iterdir()) == [".results.duckdb.lock", "results.duckdb"]
        assert rows(connection, "select count(*) from duckdb_databases() where not internal") == [(1,)]

    def test_publishing_waits_for_another_publisher(self, connection, tmp_path):
        fcntl = pytest.importorskip("fcntl")
        store.write_run(connection, make_run("a"), effects(1))
        with open(tmp_path / ".results.duckdb.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with pytest.raises(StoreError, match="being replaced by another process"):
                store.publish(connection, tmp_path / "results.duckdb", wait=0.1)
            timer = threading.Timer(0.2, lambda: fcntl.flock(lock, fcntl.LOCK_UN))
            timer.start()
            store.publish(connection, tmp_path / "results.duckdb")
            timer.join()

    def test_nothing_to_publish(self, connection, tmp_path):
        with pytest.raises(StoreError, match="no results to publish"):
            store.publish(connection, tmp_path / "results.duckdb")
        assert not (tmp_path / "results.duckdb").exists()


class TestConnect:
    def test_another_process_holds_the_file(self, tmp_path):
        path = tmp_path / "busy.duckdb"
        said: list[str] = []
        with holder(path) as process:
            start = time.monotonic()
            with pytest.raises(StoreError) as caught:
                duckdb_files.connect(path, wait=0.3, on_wait=said.append)
            # no less than was told; how much more it takes is the machine's business
            assert time.monotonic() - start >= 0.3
            message = str(caught.value)
            assert str(path) in message
            assert f"PID {process.pid}" in message
            assert "\n" not in message
            assert len(said) == 1
            assert "waiting up to" in said[0]

    def test_it_opens_as_soon_as_the_other_lets_go(self, tmp_path):
        path = tmp_path / "busy.duckdb"
        with holder(path) as process:
            timer = threading.Timer(0.3, process.kill)
            timer.start()
            duckdb_files.connect(path, wait=20).close()
            assert process.poll() is not None, "opened while the other held it"
            timer.join()

    def test_the_folder_is_made(self, tmp_path):
        duckdb_files.connect(tmp_path / "a" / "b" / "c.duckdb").close()
        assert (tmp_path / "a" / "b" / "c.duckdb").exists()

    @pytest.mark.parametrize(
        ("make", "sentence"),
        [
            (lambda path: path.write_bytes(b"id,x\n1,2\n" * 999), "is not a DuckDB database"),
            (lambda path: path.mkdir(), "is a folder"),
            (lambda path: truncated(path), "ends too early"),
        ],
    )
    def test_files_that_are_no_databases(self, tmp_path, make, sentence):
        path = tmp_path / "odd.duckdb"
        make(path)
        content = path.read_bytes() if path.is_file() else None
        with pytest.raises(StoreError, match=sentence) as caught:
            duckdb_files.connect(path)
        assert str(path) in str(caught.value)
        assert content is None or path.read_bytes() == content

    def test_reading_what_is_not_there_makes_nothing(self, tmp_path):
        with pytest.raises(StoreError, match="no database at"):
            duckdb_files.connect(tmp_path / "a" / "none.duckdb", read_only=True)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_written(self):
        # /sys refuses new files even to root.
        if not Path("/sys/kernel").is_dir():
            pytest.skip("no /sys here")
        with pytest.raises(StoreError, match=r"permission denied|cannot be created"):
            duckdb_files.connect("/sys/kernel/warehouse.duckdb")
        with pytest.raises(StoreError, match="cannot be created"):
            duckdb_files.connect("/sys/kernel/folder/warehouse.duckdb")

    def test_publishing_where_nothing_can_be_written(self, connection):
        if not Path("/sys/kernel").is_dir():
            pytest.skip("no /sys here")
        store.write_run(connection, make_run("a"), effects(1))
        with pytest.raises(StoreError, match="cannot be written"):
            store.publish(connection, "/sys/kernel/results.duckdb")

    def test_the_same_file_with_other_settings(self, connection, tmp_path):
        with pytest.raises(StoreError, match="already open in this process"):
            duckdb_files.connect(tmp_path / "warehouse" / "warehouse.duckdb", read_only=True)

    def test_a_csv_is_no_database(self, tmp_path):
        """DuckDB 2.0 would open it in memory, and what is written there would be lost."""
        path = tmp_path / "data.csv"
        path.write_text("id,x\n" + "1,2\n" * 99)
        with pytest.raises(StoreError, match=r"data\.csv is not a DuckDB database"):
            duckdb_files.connect(path)


class TestOpenDatabase:
    def test_its_one_table(self, tmp_path):
        with duckdb.connect(str(tmp_path / "d.duckdb")) as target:
            target.execute('create table "my table" as select 3 as x')
        connection, table = duckdb_files.open_database(tmp_path / "d.duckdb")
        with connection:
            assert rows(connection, f"from {table}") == [(3,)]

    def test_a_database_of_several_tables_asks_which(self, tmp_path):
        with duckdb.connect(str(tmp_path / "d.duckdb")) as target:
            target.execute("create table a as select 1 as x; create table b as select 1 as x")
            target.execute("create schema mlm; create table mlm.runs as select 1 as x")
        with pytest.raises(DataError, match=r"Got main\.a, main\.b\. Name one with --table"):
            duckdb_files.open_database(tmp_path / "d.duckdb")
        connection, table = duckdb_files.open_database(tmp_path / "d.duckdb", "b")
        connection.close()
        assert table == "b"


def truncated(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("create table t as from range(1000)")
    path.write_bytes(path.read_bytes()[:12288])


def python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def holder(path: Path) -> subprocess.Popen[str]:
    """Another process that keeps a database open until its standard input ends."""
    process = python(f"""
        import duckdb
        connection = duckdb.connect({str(path)!r})
        print("open", flush=True)
        input()
    """)
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def reader(path: Path, query: str) -> subprocess.Popen[str]:
    """Another process that answers the same query at each line it is sent."""
    return python(f"""
        import duckdb, sys
        connection = duckdb.connect({str(path)!r}, read_only=True)
        for line in sys.stdin:
            print(connection.execute({query!r}).fetchall(), flush=True)
    """)


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()
