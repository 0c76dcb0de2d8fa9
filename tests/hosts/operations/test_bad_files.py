"""A full disk, a place that may not be written, files that are no store of ours: refused by name, with what to do."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from tests.hosts.operations.conftest import Place, sentence_of, whole_runs

pytestmark = pytest.mark.hosts


def read_only(folder: Path) -> list[str]:
    """What to put before a command so that it finds `folder` on a read-only file system; no one else does."""
    script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(folder)]


def can_mount() -> bool:
    """Whether this machine gives a process a file system of its own."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*read_only(Path("/tmp")), "true"], capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="the system gives no process a file system of its own")


def limited(place: Place, kilobytes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`mlm` in a process whose files may not grow beyond a size, which the system reports as a full disk does."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * kilobytes, 1024 * kilobytes))

    command = [sys.executable, "-m", "mlm_ops", *map(str, arguments)]
    return subprocess.run(
        command, cwd=place.folder, preexec_fn=limit, capture_output=True, text=True, timeout=120, check=False
    )


def fit(place: Place) -> tuple[object, ...]:
    return "fit", "small.yaml", "--database", place.database


def test_a_full_disk_leaves_what_was_there_and_the_next_run_works(place: Place) -> None:
    assert place.mlm(*fit(place)).returncode == 0
    before = whole_runs(place.database)
    # smaller than the log of one run's rows
    sentence = sentence_of(limited(place, 20, *fit(place)))
    assert sentence.endswith(
        "there is no room left on the disk. Make room and run again; what was stored before is unchanged. Nothing "
        "of the run was stored."
    )
    assert whole_runs(place.database) == before
    assert place.mlm(*fit(place)).returncode == 0
    after = whole_runs(place.database)
    assert before < after
    assert len(after) == 2


def test_a_disk_that_is_full_while_publishing_leaves_the_old_copy(place: Place) -> None:
    assert place.mlm(*fit(place)).returncode == 0
    assert publishing(place, 65536) == ""
    copy = (place.folder / "copy.duckdb").read_bytes()
    assert publishing(place, 40).endswith(
        "there is no room left on the disk. Make room and run again; what was stored before is unchanged. The run is "
        "kept in own.duckdb, and the next one publishes both."
    )
    assert (place.folder / "copy.duckdb").read_bytes() == copy
    assert not [path for path in place.folder.iterdir() if ".building" in path.name]


def publishing(place: Place, kilobytes: int) -> str:
    """Publish the database's results where a file may not grow beyond a size; what was said of it."""
    code = f"""
import resource, signal
from mlm_ops.errors import StoreError
from mlm_ops.analyses.store.runs import publish
from mlm_ops.warehouse.connection import connect
with connect({str(place.database)!r}) as connection:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({1024 * kilobytes}, resource.RLIM_INFINITY))
    try:
        publish(connection, {str(place.folder / "copy.duckdb")!r})
    except StoreError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def can_mount_memory() -> bool:
    """Whether this machine gives a process a small file system in memory."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/tmp"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount_memory(), reason="the system gives no process a file system of its own")
@pytest.mark.parametrize("room", [0, 60, 200, 600, 1200])
def test_a_disk_that_fills_up_says_truly_whether_the_run_is_kept(place: Place, room: int) -> None:
    """On a file system of its own with so many kilobytes left, as it fills at another moment of the run each time."""
    assert place.mlm("run").returncode == 0
    script = (
        'mount -t tmpfs -o size=16m tmpfs "$0" && cp -a "$1/." "$0" && '
        f'room=$(( $(df -k --output=avail "$0" | tail -1) - {room} )); '
        'dd if=/dev/zero of="$0/filler" bs=1k count=$room 2>/dev/null; '
        'cd "$2" && "$3" -m mlm_ops run; status=$?; rm "$0/filler"; cp -a "$0/." "$1"; exit $status'
    )
    warehouse, copy = place.results.parent, place.folder / "saved"
    shutil.copytree(warehouse, copy)
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, str(warehouse), str(copy)]
    process = subprocess.run(
        [*command, str(place.folder), sys.executable], capture_output=True, text=True, timeout=240, check=False
    )
    shutil.rmtree(warehouse)
    copy.rename(warehouse)
    n_runs, n_published = len(whole_runs(place.warehouse)), len(whole_runs(place.results))
    if process.returncode == 0:
        assert (n_runs, n_published) == (2, 2)
    else:
        sentence = sentence_of(process)
        assert "there is no room left on the disk" in sentence
        assert ("The run is kept in warehouse.duckdb, and the next one publishes both." in sentence) == (n_runs == 2)
        assert n_published == 1
    assert place.mlm("run").returncode == 0
    assert whole_runs(place.warehouse) == whole_runs(place.results)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_fit_whose_output_goes_nowhere_says_that_it_is_written(place: Place) -> None:
    command = [sys.executable, "-m", "mlm_ops", *map(str, fit(place))]
    with open("/dev/full", "w") as full:
        process = subprocess.run(command, cwd=place.folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (process.returncode, process.stderr) == (
        2,
        f"mlm: The results cannot be printed: No space left on device. Written to schema mlm of {place.database}. Read "
        "it with: mlm show --database own.duckdb --analysis small\n",
    )
    assert len(whole_runs(place.database)) == 1


def damaged_at_once(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def damaged_inside(path: Path) -> None:
    """Blocks that are read only when their rows are: the file opens."""
    content = bytearray(path.read_bytes())
    for block in range(12_288, len(content) - 4096, 262_144):
        content[block + 5000 : block + 5100] = bytes(100)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [damaged_at_once, damaged_inside])
def test_a_damaged_warehouse_is_set_aside_and_made_anew_with_its_history(
    place: Place, damage: Callable[[Path], None]
) -> None:
    for _ in range(2):
        assert place.mlm("run").returncode == 0
    before = whole_runs(place.results)
    damage(place.warehouse)
    content = place.warehouse.read_bytes()
    process = place.mlm("run")
    sentence = (
        f"{place.warehouse} was damaged and was renamed to warehouse.duckdb.damaged-1; a new one is made from the "
        "sources with the history of 2 runs."
    )
    if process.returncode != 0:
        assert sentence_of(process) == f"mlm: {sentence} Run again."
        process = place.mlm("run")
    else:
        assert sentence in process.stderr
    assert process.returncode == 0, process.stderr
    assert (place.warehouse.parent / "warehouse.duckdb.damaged-1").read_bytes() == content
    assert before < whole_runs(place.warehouse)
    assert whole_runs(place.warehouse) == whole_runs(place.results)
    assert len(whole_runs(place.results)) == 3


def test_the_database_without_a_damaged_log_is_kept(place: Place) -> None:
    assert place.mlm("run").returncode == 0
    with duckdb.connect(str(place.warehouse)) as connection:
        connection.execute("create table notes as select 'mine' as note")
    log = place.warehouse.with_name("warehouse.duckdb.wal")
    code = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]);"
        "[c.execute(f'create table t{i} as select * from range(500)') for i in range(9)]; os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(place.warehouse)], check=True, timeout=60)
    content = bytearray(log.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    log.write_bytes(content)
    process = place.mlm("run")
    assert process.returncode == 0, process.stderr
    assert len(whole_runs(place.warehouse)) == 2
    with duckdb.connect(str(place.warehouse)) as connection:
        assert connection.execute("from notes").fetchall() == [("mine",)]


def noise(path: Path, good: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(30_000))


def sqlite(path: Path, good: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("create table t (x)")
    connection.commit()
    connection.close()


def truncated(path: Path, good: Path) -> None:
    path.write_bytes(good.read_bytes()[:20_000])


def scratched(path: Path, good: Path) -> None:
    content = bytearray(good.read_bytes())
    content[12_288::97] = bytes(255 - byte for byte in content[12_288::97])
    path.write_bytes(content)


KINDS: list[tuple[Callable[[Path, Path], object], str]] = [
    (noise, "is not a DuckDB database. Choose another file; this one was left as it is."),
    (sqlite, "is not a DuckDB database. Choose another file; this one was left as it is."),
    (lambda path, good: path.write_bytes(b""), "is not a DuckDB database. Choose another file"),
    (lambda path, good: shutil.copy(good.parent / "pupils.csv", path), "is not a DuckDB database"),
    (truncated, "is damaged: it ends too early. Restore it, or remove it and run again."),
    (scratched, "is damaged: its content does not fit its checksums. Restore it, or remove it and run again."),
]


@pytest.mark.parametrize(("make", "sentence"), KINDS)
def test_a_foreign_or_damaged_file(
    place: Place,
    make: Callable[[Path, Path], object],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mlm_ops.cli.main import main

    file = place.folder / "odd.duckdb"
    make(file, place.database)
    before = file.read_bytes()
    monkeypatch.chdir(place.folder)
    assert main(["fit", "small.yaml", "--database", str(file)]) == 2
    errors = capsys.readouterr().err
    assert sentence in errors
    assert "odd.duckdb" in errors
    assert file.read_bytes() == before


def test_another_store_version_is_refused_before_anything_is_fitted(place: Place) -> None:
    with duckdb.connect(str(place.database)) as connection:
        connection.execute("create schema mlm; create table mlm.store_version as select 99 as version")
    sentence = sentence_of(place.mlm(*fit(place)))
    assert "Got 99; expected 1. Use the mlm-ops that wrote it, or another database file." in sentence
    assert sentence == sentence_of(place.mlm("show", "--database", place.database))


@needs_mounts
def test_a_read_only_file_system(place: Place) -> None:
    assert place.mlm("run").returncode == 0
    assert place.mlm(*fit(place)).returncode == 0
    before = {path: path.read_bytes() for path in (place.database, place.warehouse, place.results)}

    def run(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*read_only(folder), sys.executable, "-m", "mlm_ops", *map(str, arguments)]
        return subprocess.run(command, cwd=place.folder, capture_output=True, text=True, timeout=120, check=False)

    home = place.folder / "dagster_home"
    assert sentence_of(run(home, "run")) == f"mlm: The folder {home} may not be written. Dagster keeps the runs there."
    assert sentence_of(run(place.folder, *fit(place))) == (
        f"mlm: The database {place.database} cannot be opened here: permission denied. "
        "Choose a place that you may write to."
    )
    # whether the warehouse has to be repaired is asked first, under its lock
    assert sentence_of(run(place.warehouse.parent, "run")) == (
        f"mlm: {place.warehouse} cannot be written: Read-only file system. Choose another place."
    )
    assert run(place.folder, "show").returncode == 0
    assert {path: path.read_bytes() for path in before} == before


@needs_mounts
def test_a_copy_on_a_read_only_file_system_keeps_the_run(place: Place) -> None:
    assert place.mlm(*fit(place)).returncode == 0
    shelf = place.folder / "shelf"
    shelf.mkdir()
    code = f"""
from mlm_ops.errors import StoreError
from mlm_ops.analyses.store.runs import publish
from mlm_ops.warehouse.connection import connect
with connect({str(place.database)!r}) as connection:
    try:
        publish(connection, {str(shelf / "copy.duckdb")!r})
    except StoreError as error:
        print(error)
"""
    command = [*read_only(shelf), sys.executable, "-c", code]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.stdout.strip() == (
        f"{shelf / 'copy.duckdb'} cannot be written: Read-only file system. Choose another place. The run is kept in "
        "own.duckdb, and the next one publishes both."
    ), process.stderr
    assert len(whole_runs(place.database)) == 1
    assert not list(shelf.iterdir())


def test_a_place_that_may_not_be_written(place: Place) -> None:
    """A file and a folder without the right to write; root, who may write anything, has /sys to be refused by."""
    if os.geteuid() == 0:
        assert (
            "Read-only" in (sentence := sentence_of(place.mlm("run", "--warehouse", "/sys/kernel")))
            or "denied" in sentence
        )
        assert "Choose" in sentence
        return
    place.database.chmod(0o444)
    assert "may write to" in sentence_of(place.mlm(*fit(place)))
    place.database.parent.chmod(0o555)
    try:
        assert "cannot be created" in sentence_of(place.mlm("run", "--warehouse", place.folder / "elsewhere"))
    finally:
        place.database.parent.chmod(0o755)
