"""The published copy takes the place of a published copy alone, and keeps its mode, its group and its link."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from mlm_ops.analyses.store import published_copy
from mlm_ops.analyses.store import runs as store
from mlm_ops.analyses.store.recovery import recover
from mlm_ops.errors import StoreError
from mlm_ops.warehouse import connection as duckdb_files
from mlm_ops.warehouse.replacing import locked
from tests.analyses.test_store import effects, make_run

REMEDY = "Give the file another name, or publish elsewhere."
KEPT = "The run is kept in warehouse.duckdb, and the next one publishes both."


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb_files.connect(tmp_path / "warehouse.duckdb") as connection:
        store.write_run(connection, make_run("a"), effects(1))
        yield connection


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return tmp_path / "results.duckdb"


def published(path: Path) -> list[str]:
    with duckdb.connect(str(path), read_only=True) as reader:
        return [run for (run,) in reader.execute("select run_id from mlm.runs order by sequence").fetchall()]


def own_table(path: Path) -> None:
    with duckdb.connect(str(path)) as own:
        own.execute("create table salaries as select 7 as mine")


def csv(path: Path) -> None:
    path.write_text("school,y\n1,2\n")


def own_store(path: Path) -> None:
    with duckdb.connect(str(path)) as own:
        store.write_run(own, make_run("mine"), effects(2))


def own_schema(path: Path) -> None:
    with duckdb.connect(str(path)) as own:
        own.execute("create schema mlm; create table mlm.runs as select 7 as mine")


def own_sequence(path: Path) -> None:
    with duckdb.connect(str(path)) as own:
        own.execute("create sequence numbers; create macro twice(x) as 2 * x")


FOREIGN: list[tuple[Callable[[Path], None], str]] = [
    (own_table, "holds main.salaries, which mlm-ops did not publish"),
    (csv, "is not a DuckDB database"),
    (own_store, "is a results store that runs are written to"),
    (own_schema, "holds mlm.runs, which mlm-ops did not publish"),
    (own_sequence, "holds main.numbers, main.twice, which mlm-ops did not publish"),
]


@pytest.mark.parametrize(("make", "what"), FOREIGN)
def test_a_file_of_the_user_is_never_replaced(connection, copy, make, what) -> None:
    make(copy)
    before = copy.read_bytes()
    with pytest.raises(StoreError) as refused:
        store.publish(connection, copy)
    assert str(refused.value) == f"{copy} {what}, and the published results would take its place. {REMEDY} {KEPT}"
    assert copy.read_bytes() == before
    assert [path.name for path in copy.parent.iterdir() if ".building" in path.name] == []


def test_a_table_that_someone_made_in_the_copy_is_not_lost(connection, copy) -> None:
    store.publish(connection, copy)
    with duckdb.connect(str(copy)) as own:
        own.execute("create table mlm.notes as select 'seen' as note")
    with pytest.raises(StoreError, match=r"holds mlm\.notes, which mlm-ops did not publish"):
        store.publish(connection, copy)
    with duckdb.connect(str(copy)) as own:
        assert own.execute("from mlm.notes").fetchall() == [("seen",)]


def test_a_copy_of_an_earlier_mlm_ops_is_replaced(connection, copy) -> None:
    store.publish(connection, copy)
    with duckdb.connect(str(copy)) as own:
        for kind in ("table", "view"):
            names = own.execute(f"select {kind}_name from duckdb_{kind}s() where schema_name = 'mlm'").fetchall()
            for (name,) in names:
                own.execute(f"comment on {kind} mlm.{name} is null")
    store.write_run(connection, make_run("b", hours=1), effects(2))
    store.publish(connection, copy)
    assert published(copy) == ["a", "b"]


def test_a_store_of_an_earlier_mlm_ops_is_no_copy(connection, copy) -> None:
    own_store(copy)
    with duckdb.connect(str(copy)) as own:
        own.execute("comment on table mlm.store_version is null")
        own.execute("insert into mlm.influence_lists (run_id, analysis, model) values ('mine', 'hsb', 'null')")
    with pytest.raises(StoreError, match=r"holds mlm\.influence_lists, which mlm-ops did not publish"):
        store.publish(connection, copy)
    assert published(copy) == ["mine"]


def test_a_database_of_its_own_is_not_published_over(connection, tmp_path) -> None:
    with pytest.raises(StoreError, match="is a results store that runs are written to"):
        store.publish(connection, tmp_path / "warehouse.duckdb")


def test_a_copy_that_someone_has_open_to_write_is_replaced_all_the_same(connection, copy) -> None:
    store.publish(connection, copy)
    code = f"import duckdb; c = duckdb.connect({str(copy)!r}); print('open', flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        store.write_run(connection, make_run("b", hours=1), effects(2))
        store.publish(connection, copy)
        assert published(copy) == ["a", "b"]
    finally:
        other.communicate("\n")


def test_a_damaged_copy_gets_another_name(connection, copy) -> None:
    store.publish(connection, copy)
    content = copy.read_bytes()[:20_000]
    for number in (1, 2):
        copy.write_bytes(content)
        store.publish(connection, copy)
        assert published(copy) == ["a"]
        assert (copy.parent / f"results.duckdb.damaged-{number}").read_bytes() == content


def test_a_log_without_a_database_gets_another_name(connection, copy) -> None:
    (log := copy.with_name("results.duckdb.wal")).write_bytes(b"someone's")
    store.publish(connection, copy)
    assert not log.exists()
    assert copy.with_name("results.duckdb.wal.without-database-1").read_bytes() == b"someone's"


def test_what_a_killed_process_left_goes_and_what_looks_like_it_stays(connection, copy) -> None:
    left, own = copy.with_name(".results.duckdb.abcd1234.building"), copy.with_name("results.duckdb.building")
    left.mkdir()
    (left / "results.duckdb").write_bytes(b"half")
    own.write_bytes(b"mine")
    store.publish(connection, copy)
    assert not left.exists()
    assert own.read_bytes() == b"mine"


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664, 0o444])
def test_mode_owner_and_group_stay(connection, copy, mode) -> None:
    store.publish(connection, copy)
    group = 12345 if os.geteuid() == 0 else os.getgroups()[-1]
    os.chown(copy, -1, group)
    copy.chmod(mode)
    store.publish(connection, copy)
    found = copy.stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid, found.st_uid) == (mode, group, os.geteuid())


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="the system has no extended attributes")
def test_extended_attributes_stay(connection, copy) -> None:
    store.publish(connection, copy)
    try:
        os.setxattr(copy, "user.owner", b"analytics")
    except OSError:
        pytest.skip("the file system keeps no extended attributes")
    store.publish(connection, copy)
    assert os.getxattr(copy, "user.owner") == b"analytics"


def test_no_one_reads_the_new_copy_before_it_has_the_mode_of_the_old(connection, copy, monkeypatch) -> None:
    store.publish(connection, copy)
    copy.chmod(0o600)
    seen = []
    real = os.replace

    def replace(source: Path, destination: Path) -> None:
        seen.append((stat.S_IMODE(source.parent.stat().st_mode), stat.S_IMODE(source.stat().st_mode)))
        real(source, destination)

    monkeypatch.setattr(os, "replace", replace)
    store.publish(connection, copy)
    assert seen == [(0o700, 0o600)]


@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
def test_a_link_stays_a_link_and_what_it_points_to_is_replaced(connection, copy, tmp_path, there) -> None:
    target = tmp_path / "shared" / "results.duckdb"
    target.parent.mkdir()
    if there:
        store.publish(connection, target)
        target.chmod(0o640)
    copy.symlink_to(Path("shared") / "results.duckdb")
    store.write_run(connection, make_run("b", hours=1), effects(2))
    store.publish(connection, copy)
    assert copy.is_symlink()
    assert published(target) == published(copy) == ["a", "b"]
    assert not there or stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_link_with_the_name_of_the_lock_is_not_followed(connection, copy, tmp_path) -> None:
    lock, elsewhere = copy.with_name(".results.duckdb.lock"), tmp_path / "elsewhere"
    lock.symlink_to(elsewhere)
    with pytest.raises(StoreError) as refused:
        store.publish(connection, copy)
    assert str(refused.value) == f"{lock} is a link, which a lock cannot be. Remove the link and run again. {KEPT}"
    assert not elsewhere.exists()


def test_a_lock_is_not_written_to_and_ends_with_a_process_that_is_killed(copy) -> None:
    lock = copy.with_name(".results.duckdb.lock")
    lock.write_text("mine")
    code = f"""
from pathlib import Path
from mlm_ops.warehouse.replacing import locked
with locked(Path({str(copy)!r}), "replaced"):
    print("locked", flush=True)
    input()
"""
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "locked\n"
    with (
        pytest.raises(StoreError, match="is being replaced by another process; waited 0 s for it"),
        locked(copy, "replaced", wait=0),
    ):
        pass
    other.kill()
    other.communicate()
    with locked(copy, "replaced", wait=0):
        assert lock.read_text() == "mine"


def contents(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with duckdb.connect(str(path), read_only=True) as reader:
        tables = reader.execute("select table_name from duckdb_tables() order by all").fetchall()
        return {name: reader.execute(f"from mlm.{name} order by all").fetchall() for (name,) in tables}


@pytest.fixture
def beginnings(monkeypatch) -> list[bool]:
    """Of each copy that is built, whether it continues an earlier one, however small that is."""
    monkeypatch.setattr(store, "WORTH_CONTINUING", 0)
    built: list[bool] = []
    build = store.build_copy

    def noted(connection, building, earlier, names, latest_only, file):
        built.append(earlier is not None)
        return build(connection, building, earlier, names, latest_only, file)

    monkeypatch.setattr(store, "build_copy", noted)
    return built


def test_a_small_copy_is_built_anew_and_does_not_grow(connection, copy, tmp_path) -> None:
    for number in range(12):
        store.write_run(connection, make_run(f"r{number}"), effects(2))
        store.publish(connection, copy)
    store.publish(connection, tmp_path / "whole.duckdb")
    assert copy.stat().st_size == (tmp_path / "whole.duckdb").stat().st_size


def test_a_copy_is_continued_with_the_runs_since(connection, copy, tmp_path, beginnings) -> None:
    store.publish(connection, copy)
    for name in ("b", "c"):
        store.write_run(connection, make_run(name), effects(2))
        store.publish(connection, copy)
    assert beginnings == [False, True, True]
    store.publish(connection, tmp_path / "whole.duckdb")
    assert contents(copy) == contents(tmp_path / "whole.duckdb")
    assert published(copy) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "change",
    [
        "delete from mlm.fixed_effects where run_id = 'a'",
        "update mlm.runs set data = 'other' where run_id = 'a'",
        "delete from mlm.runs where run_id = 'a'",
        """update mlm.runs set analysis_text = '{"min_publish_n": 5}'""",
    ],
)
def test_a_copy_with_rows_that_the_store_has_not_is_built_anew(connection, copy, tmp_path, beginnings, change) -> None:
    """What is removed would stay in the file for a while."""
    store.publish(connection, copy)
    store.write_run(connection, make_run("b"), effects(2))
    connection.execute(change)
    store.publish(connection, copy)
    assert beginnings == [False, True, False]
    store.publish(connection, tmp_path / "whole.duckdb")
    assert contents(copy) == contents(tmp_path / "whole.duckdb")


@pytest.mark.parametrize(
    "change",
    [
        "update mlm.fixed_effects set estimate = 999",
        "update mlm.store_version set version = 0",
        "insert into mlm.influence_lists (run_id, analysis) values ('a', 'x')",
    ],
)
def test_a_copy_that_somebody_changed_is_built_anew(connection, copy, tmp_path, beginnings, change) -> None:
    store.publish(connection, copy)
    with duckdb.connect(str(copy)) as changed:
        changed.execute(change)
    store.write_run(connection, make_run("b"), effects(2))
    store.publish(connection, copy)
    assert beginnings == [False, True, False]
    store.publish(connection, tmp_path / "whole.duckdb")
    assert contents(copy) == contents(tmp_path / "whole.duckdb")


def test_runs_whose_ids_and_analyses_read_alike_are_both_published(connection, copy, tmp_path, beginnings) -> None:
    """Written after each other, "a b" and "c" are as "a" and "b c"."""
    store.write_run(connection, replace(make_run("a b"), analysis="c"), effects(2))
    store.publish(connection, copy)
    store.write_run(connection, replace(make_run("a"), analysis="b c"), effects(2))
    store.publish(connection, copy)
    assert beginnings == [False, True]
    store.publish(connection, tmp_path / "whole.duckdb")
    assert contents(copy) == contents(tmp_path / "whole.duckdb")
    assert len(published(copy)) == 3


def damage(path: Path) -> None:
    """Change the rows of table fixed_effects where they lie, without a change of the file's size or time."""
    facts = path.stat()
    content = path.read_bytes()
    at = content.index(b"damage me here")
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"DAMAGED")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def test_a_damaged_copy_is_built_anew_and_that_is_logged(connection, copy, tmp_path, beginnings, caplog) -> None:
    connection.execute("update mlm.fixed_effects set term = 'damage me here'")
    store.publish(connection, copy)
    damage(copy)
    store.write_run(connection, make_run("b"), effects(2))
    with caplog.at_level(logging.INFO, "mlm_ops"):
        store.publish(connection, copy)
    assert beginnings == [False, True, False]
    (record,) = [record for record in caplog.records if record.event == "copy_built_anew"]
    assert record.getMessage().startswith(f"{copy} cannot be continued and is built anew from the store: ")
    assert "checksum" in record.getMessage()
    store.publish(connection, tmp_path / "whole.duckdb")
    assert contents(copy) == contents(tmp_path / "whole.duckdb")


def test_a_log_that_an_attempt_left_is_not_applied_to_a_whole_copy(connection, copy, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(store, "WORTH_CONTINUING", 0)
    store.publish(connection, copy)
    build = store.build_copy
    logs = []

    def failing(connection, building, earlier, names, latest_only, file):
        log = building.with_name(f"{building.name}.wal")
        if earlier is not None:
            log.write_bytes(b"stale")
            return False
        try:
            return build(connection, building, earlier, names, latest_only, file)
        finally:
            logs.append(log.exists())

    monkeypatch.setattr(store, "build_copy", failing)
    store.publish(connection, copy)
    assert logs == [False]
    assert published(copy) == ["a"]


def test_a_copy_with_other_comments_is_built_anew(connection, copy, beginnings) -> None:
    store.publish(connection, copy)
    with duckdb.connect(str(copy)) as changed:
        changed.execute("comment on column mlm.runs.data is 'of another version'")
    store.publish(connection, copy)
    assert beginnings == [False, True, False]
    with duckdb.connect(str(copy), read_only=True) as reader:
        comments = reader.execute("select count(*) from duckdb_columns() where comment = 'of another version'")
        assert comments.fetchall() == [(0,)]


def test_the_results_of_another_database_are_not_replaced(connection, copy, tmp_path) -> None:
    store.publish(connection, copy)
    with duckdb_files.connect(tmp_path / "lake.duckdb") as other:
        store.write_run(other, make_run("b"), effects(2))
        for wipe_memory in (False, True):
            if wipe_memory:
                published_copy._SOUND.clear()
            with pytest.raises(StoreError) as refused:
                store.check_published(other, copy)
            assert str(refused.value) == (
                f"{copy} has the published results of {tmp_path / 'warehouse.duckdb'} (hsb), and those of "
                f"{tmp_path / 'lake.duckdb'} would take their place. Give each database a folder of its own, or "
                "publish the results of one of them to another folder: results_folder of its Warehouse, or of its "
                "components."
            )
            with pytest.raises(StoreError, match="would take their place"):
                store.publish(other, copy)
    assert published(copy) == ["a"]
    # its own go on
    store.write_run(connection, make_run("c", hours=1), effects(2))
    store.publish(connection, copy)
    assert published(copy) == ["a", "c"]


def test_a_copy_that_does_not_say_whose_it_is(connection, copy, tmp_path) -> None:
    """One that an earlier mlm-ops made is of another database where it has a run that this one lacks."""
    with duckdb_files.connect(tmp_path / "lake.duckdb") as other:
        store.write_run(other, make_run("b"), effects(2))
        store.publish(other, copy)
        with duckdb.connect(str(copy)) as own:
            own.execute("comment on table mlm.store_version is 'mlm-ops: published copy of a results store'")
        with pytest.raises(StoreError, match=r"has the published results of another database \(hsb\)"):
            store.publish(connection, copy)
        store.publish(other, copy)
    assert published(copy) == ["b"]


def test_a_database_that_was_renamed_or_begun_anew_goes_on(tmp_path) -> None:
    copy = tmp_path / "results.duckdb"
    for file, run in (("old.duckdb", "a"), ("new.duckdb", "b"), ("new.duckdb", "c")):
        if run == "b":
            (tmp_path / "old.duckdb").rename(tmp_path / "new.duckdb")
        if run == "c":
            (tmp_path / "new.duckdb").unlink()
        with duckdb_files.connect(tmp_path / file) as connection:
            store.write_run(connection, make_run(run), effects(1))
            store.publish(connection, copy)
    assert published(copy) == ["c"]


def test_a_folder_that_was_moved_goes_on(tmp_path) -> None:
    (tmp_path / "here").mkdir()
    for folder, run in (("here", "a"), ("there", "b")):
        with duckdb_files.connect(tmp_path / folder / "warehouse.duckdb") as connection:
            store.write_run(connection, make_run(run), effects(1))
            store.publish(connection, tmp_path / folder / "results.duckdb")
        if run == "a":
            (tmp_path / "here").rename(tmp_path / "there")
    with duckdb.connect(str(tmp_path / "there" / "results.duckdb"), read_only=True) as reader:
        ((comment,),) = reader.execute(
            "select comment from duckdb_tables() where table_name = 'store_version'"
        ).fetchall()
    assert comment.startswith("mlm-ops: published copy of a results store | ")
    assert comment.endswith(' | of "warehouse.duckdb"')


def test_what_another_database_published_is_not_restored(connection, copy, tmp_path) -> None:
    store.publish(connection, copy)
    damaged = tmp_path / "lake.duckdb"
    with duckdb.connect(str(damaged)) as other:
        other.execute("create table t as select range as i from range(100000)")
    content = bytearray(damaged.read_bytes())
    content[4096:12288] = b"\xff" * 8192
    damaged.write_bytes(content)
    sentence = recover(damaged, copy)
    assert sentence is not None
    assert sentence.endswith("a new one is made from the sources.")
