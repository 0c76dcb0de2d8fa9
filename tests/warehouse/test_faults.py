"""The command line's net: whatever fails, one sentence and status 2; how to see the whole; our own faults stay seen."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.cli import main as cli
from mlm_ops.cli.main import main
from mlm_ops.errors import AnalysisError, DamagedError, DataError, MlmError, ProjectError, RowsChangedError, StoreError
from mlm_ops.warehouse.connection import limit_memory
from mlm_ops.warehouse.faults import first_line, is_temporary_error, sentence_of, why_it_failed

HSB = Path(__file__).parents[1] / "specification" / "reference" / "data" / "hsb.csv"
LONG = "n" * 300


@pytest.mark.parametrize(
    ("error", "cause", "passes"),
    [
        (StoreError("It is locked."), duckdb.IOException("IO Error: Could not set lock on file"), True),
        (StoreError("The schema mlm was not made by mlm-ops."), None, False),
        (StoreError("It cannot be written."), OSError(errno.ENOSPC, "No space left on device"), True),
        (StoreError("It cannot be written."), PermissionError(errno.EACCES, "Permission denied"), False),
        (AnalysisError("There is no file a.yaml."), FileNotFoundError(errno.ENOENT, "No such file"), False),
        (DamagedError("The database a.duckdb is damaged."), duckdb.IOException("IO Error: Corrupt"), False),
        (DataError("It cannot be read."), duckdb.IOException("IO Error: No files found that match the pattern"), False),
        (RowsChangedError("They changed."), None, True),
        (DataError("There is no such column."), None, False),
        (DataError("There is no such column."), duckdb.BinderException("Binder Error: no column"), False),
        (DataError("It cannot be read."), duckdb.HTTPException("HTTP Error: 503"), True),
        (DataError("It cannot be read."), OSError(errno.EIO, "Input/output error"), True),
        (ProjectError("A number is none."), ValueError("no number"), False),
    ],
)
def test_which_errors_may_be_gone_the_next_time(error: MlmError, cause: Exception | None, passes: bool) -> None:
    error.__cause__ = cause
    assert is_temporary_error(error) is passes


def said(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(command) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "command",
    [["init", LONG, str(HSB)], ["fit", "y ~ x", f"{LONG}.csv"], ["show", "--database", f"{LONG}.duckdb"]],
)
def test_a_name_that_is_too_long(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sentence = "cannot be used: the name is too long for the file system. Choose a shorter one."
    assert said(command, capsys) == f"mlm: {'n' * 100}… {sentence}"


def test_an_argument_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["show", "--database", "\udcff"], ["fit", "y ~ x", "a\udcff.csv"]):
        assert said(command, capsys) == (
            f"mlm: An argument is not valid UTF-8. Got {command[-1]!r}; rename the file, or type the name again."
        )


@pytest.mark.parametrize("port", ["99999", "0", "-1", "abc", "٣٠٠٠", "1" * 5000])
def test_a_port_that_is_none(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["ui", f"--port={port}"])
    assert left.value.code == 2
    assert "expected a port, 1 to 65535; see" in capsys.readouterr().err


FAULTS = [
    (MemoryError(), "There is not enough memory. Close other programs, or take fewer rows or smaller models."),
    (RecursionError("maximum"), "Something is nested too deeply to be read. Take it apart."),
    (
        ZeroDivisionError("division by zero"),
        "The numbers cannot be worked with (ZeroDivisionError: division by zero). Very large or small values are the "
        "usual reason: bring the columns to a similar scale.",
    ),
    (
        np.linalg.LinAlgError("Singular matrix"),
        "The numbers cannot be worked with (LinAlgError: Singular matrix). Very large or small values are the usual "
        "reason: bring the columns to a similar scale.",
    ),
    (
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        "A text cannot be read or written: 'utf-8' codec can't encode character '\\ud800' in position 0: surrogates "
        "not allowed. Save the file as UTF-8, or rename it.",
    ),
    (
        PermissionError(errno.EACCES, "Permission denied", "/data/x.csv"),
        "/data/x.csv cannot be used: permission denied. Ask for the permission, or choose another place.",
    ),
    (
        OSError(errno.ENOSPC, "No space left on device"),
        "The output cannot be written: there is no room left on the disk. Make room, or write it elsewhere.",
    ),
    (
        FileNotFoundError(errno.ENOENT, "No such file"),
        "The current folder no longer exists. Change to one that exists.",
    ),
    (
        duckdb.OutOfMemoryException("Out of Memory Error: no block of 256.0 KiB (19 MiB used)\n\nSee"),
        "The database failed: there is not enough memory. Close other programs, take fewer rows, or raise DuckDB's "
        "memory_limit (no block of 256.0 KiB (19 MiB used)).",
    ),
    (
        duckdb.Error("Failed to read block"),
        "The database failed: the database file is damaged. Restore it, or remove it and run again.",
    ),
    (sqlite3.DatabaseError("malformed"), "sqlite3 failed: malformed"),
    (pl.exceptions.ComputeError("no such type"), "polars failed: no such type"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "sentence"), FAULTS, ids=lambda value: type(value).__name__)
def test_other_programs_errors_are_one_sentence(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_command", fails)
    hint = "" if isinstance(error, OSError) else " (MLM_TRACEBACK=1 shows where.)"
    assert said(["show"], capsys) == f"mlm: {sentence}{hint}"
    monkeypatch.setenv("MLM_TRACEBACK", "1")
    assert main(["show"]) == 2
    assert "in fails" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [TypeError("x"), KeyError("x"), AttributeError("x"), AssertionError("x"), ValueError("x")]
)
def test_faults_of_ours_are_not_hidden(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise error

    assert sentence_of(error) is None
    monkeypatch.setattr(cli, "_command", fails)
    with pytest.raises(type(error)):
        main(["show"])


def test_the_whole_useful_part_of_duckdbs_words(tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text('a,b\n1,2\n3,x"y\n')
    with pytest.raises(duckdb.Error) as raised:
        duckdb.sql(f"select * from read_csv('{path}', columns = {{'a': 'int', 'b': 'int'}}, header = true)").fetchall()
    assert first_line(raised.value).startswith('Conversion Error: CSV Error on Line: 3 Original Line: 3,x"y Error when')
    assert first_line(raised.value).endswith('Could not convert string "x"y" to \'INTEGER\'')
    with pytest.raises(duckdb.Error) as raised:
        duckdb.sql('select "a\nb" from range(3)')
    assert first_line(raised.value) == 'Binder Error: Referenced column "a b" not found in FROM clause!'
    assert len(first_line(ValueError("x" * 10_000))) == 601


def test_a_lack_of_memory_while_rows_are_read(tmp_path: Path) -> None:
    connection = duckdb.connect()
    connection.execute("set memory_limit = '20MB'; set temp_directory = ''")
    with pytest.raises(duckdb.OutOfMemoryException) as raised:
        connection.execute(
            "create table t as select range as a, md5(range::varchar) as b from range(3000000) order by b"
        )
    assert why_it_failed(raised.value).startswith(
        "there is not enough memory. Close other programs, take fewer rows, or "
    )


def command(folder: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    told = [sys.executable, "-m", "mlm_ops", *arguments]
    return subprocess.run(told, cwd=folder, text=True, stderr=subprocess.PIPE, check=False, timeout=120, **options)  # type: ignore[call-overload]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_an_output_that_is_full(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = command(tmp_path, "fit", "mathach ~ ses", str(HSB), stdout=full)
    assert done.returncode == 2
    assert (
        done.stderr
        == "mlm: The output cannot be written: there is no room left on the disk. Make room, or write it elsewhere.\n"
    )


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    script = 'd=$(mktemp -d); cd "$d"; rmdir "$d"; exec "$0" -m mlm_ops run'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], text=True, stderr=subprocess.PIPE, check=False, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.endswith("mlm: The current folder no longer exists. Change to one that exists.\n")


def test_a_terminal_without_the_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("größe,x\n" + "".join(f"{i * i % 7},{i}\n" for i in range(9)), encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = command(tmp_path, "fit", "größe ~ x", str(path), stdout=subprocess.PIPE, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"gr\xf6\xdfe" in done.stdout


def test_a_closed_output_is_no_fault(tmp_path: Path) -> None:
    script = 'exec "$0" -m mlm_ops fit "mathach ~ ses" "$1" >&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, str(HSB)], text=True, stderr=subprocess.PIPE, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize(("limit", "kept"), [("8GB", "244.1 MiB"), ("100MB", "95.3 MiB")])
def test_a_lower_limit_of_memory_stays(limit: str, kept: str) -> None:
    with duckdb.connect(config={"memory_limit": limit}) as connection:
        limit_memory(connection, "256MB")
        assert connection.execute("select current_setting('memory_limit')").fetchall() == [(kept,)]


def test_the_encoding_of_a_terminal_is_at_fault() -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        "─".encode("ascii")
    assert sentence_of(caught.value) == (
        "A character cannot be written in the encoding ascii: '\\u2500'. Set PYTHONIOENCODING=utf-8, or the terminal's "
        "encoding to UTF-8."
    )
