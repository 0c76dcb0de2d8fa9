"""The table of a DuckDB file, by its name as it stands there."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from mlm_ops.cli.main import main

ROWS = "select i % 9 as g, i % 7 + i % 9 as y from range(90) as t(i)"
FORMULA = "y ~ 1 + (1 | g)"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with duckdb.connect("hr.duckdb") as connection:
        connection.execute('create schema "HR Data"')
        connection.execute(f'create table "HR Data"."Employees 2026" as {ROWS}')
        connection.execute(f'create table "a.b" as {ROWS}')
        connection.execute(f'create table "HR Data"."both of us" as {ROWS}')
        connection.execute(f'create table "both of us" as {ROWS}')
    return Path("hr.duckdb")


@pytest.mark.parametrize(
    "name",
    [
        "Employees 2026",
        "HR Data.Employees 2026",
        '"HR Data"."Employees 2026"',
        "HR Data.both of us",
        'select * from "a.b"',
    ],
)
def test_a_name_as_it_stands(database: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", FORMULA, "hr.duckdb", "--table", name]) == 0
    assert "90" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "Employees 2027",
            "hr.duckdb has no table Employees 2027. Name one of HR Data.Employees 2026, HR Data.both of us, main.a.b, "
            "main.both of us with --table.",
        ),
        (
            "both of us",
            "hr.duckdb has several tables both of us. Name one of HR Data.both of us, main.both of us with --table.",
        ),
    ],
)
def test_a_name_of_none_or_several(
    database: Path, name: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", FORMULA, "hr.duckdb", "--table", name]) == 2
    assert capsys.readouterr().err == f"mlm: {sentence}\n"
