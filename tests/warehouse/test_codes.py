"""Codes that stand for missing values in data files, and numbers that only look like them."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from mlm_ops.warehouse.files.codes import likely_codes

ROWS = "from range(300) t(i)"


def notes(tmp_path: Path, x: str, end: str) -> list[str]:
    path = tmp_path / f"a.{end}"
    duckdb.execute(f"copy (select i % 30 as g, {x} as x, i * 11 % 17 as y {ROWS}) to '{path}'")
    return [note for note in mlm.fit("y ~ x + (1 | g)", path).notes if "means missing" in note]


@pytest.mark.parametrize("end", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        ("if(i % 20 = 0, -99, 18 + i * 7 % 73)", "x is -99 in 15 of 300 rows and from 18 to 90 in the others; if -99"),
        ("if(i % 20 = 0, 999, i * 7 % 73)", "x is 999 in 15 of 300 rows and from 0 to 72 in the others; if 999"),
        ("if(i % 20 = 0, -9, i % 7 / 2)", "x is -9 in 15 of 300 rows and from 0 to 3 in the others; if -9"),
    ],
)
def test_likely_codes(tmp_path: Path, x: str, sentence: str, end: str) -> None:
    code = sentence.rpartition(" ")[2]
    ending = f" means missing, make it so (--null {code}, or options in an analysis file)"
    assert notes(tmp_path, x, end) == [f"{sentence}{ending}"]


@pytest.mark.parametrize(
    "x",
    [
        "i - 99",  # the least of many
        "if(i < 2, -99, 18 + i * 7 % 73)",  # seldom
        "if(i % 3 > 0, -99, 18 + i * 7 % 73)",  # more often than not
        "if(i % 20 = 0, 99, 18 + i * 7 % 73)",  # as far as others from each other
        "if(i % 20 = 0, -50, 18 + i * 7 % 73)",  # no code
        "if(i % 2 = 0, -9, 9)",  # one other number
        "i % 100",  # a percentage, or counts to 99
    ],
)
def test_other_numbers(tmp_path: Path, x: str) -> None:
    assert notes(tmp_path, x, "csv") == []


def test_the_outcome_is_looked_at_and_other_columns_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    coded = "if(i % 20 = 0, -99, 18 + i * 7 % 73)"
    duckdb.execute(f"copy (select i % 30 as g, i % 7 as x, {coded} as y, {coded} as z {ROWS}) to '{path}'")
    told = [note for note in mlm.fit("y ~ x + (1 | g)", path).notes if "means missing" in note]
    assert [note.partition(" ")[0] for note in told] == ["y"]


def test_rows_are_read_only_where_an_end_is_a_code() -> None:
    with duckdb.connect() as connection:
        connection.execute(f"create table t as select i as a, i - 99 as b {ROWS}")
        statements: list[str] = []

        def query(sql: str) -> duckdb.DuckDBPyConnection:
            statements.append(sql)
            return connection.execute(sql)

        assert likely_codes(query, "t", ["a"]) == []
        assert [sql.startswith("select stats(") for sql in statements] == [True]
        assert likely_codes(query, "t", ["a", "b"]) == []
        assert [" where " in sql.replace("\n", " ") for sql in statements] == [False, False, True, True]
