"""Data files whose cells change late or could mean two things, what is said of them, and the options that decide."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.errors import AnalysisError, DataError
from mlm_ops.warehouse.files.read import read_file
from mlm_ops.warehouse.files.reading import FileOptions
from tests.warehouse.test_files import FORMULA, MISSING, _hive, _rows, _text

KEYS = "delimiter, quote, decimal, thousands, encoding, null, sheet"
LATE = 30_000


def test_a_late_letter_is_told_with_its_row(tmp_path: Path) -> None:
    """DuckDB finds the types by 20,480 rows; the letter is in row 30,001."""
    lines = [f"{i % 50},{i % 7},{i % 11}.5" for i in range(LATE)] + ["1,x,2.5"] + ["1,2,3.5"] * 10
    (tmp_path / "a.csv").write_text("g,x,y\n" + "\n".join(lines) + "\n")
    with pytest.raises(DataError) as caught:
        mlm.fit("x ~ y + (1 | g)", tmp_path / "a.csv")
    assert "It is text because 1 of its 30011 cells are no numbers, such as 'x' in row 30,001." in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "kind", "words"),
    [
        ("1.5", "DOUBLE", ""),
        (".", "BIGINT", "'.' is missing: 1 of 30,001 cells of x"),
        ("NA", "BIGINT", ""),
        ("007", "VARCHAR", ""),
    ],
)
def test_late_cells_change_a_type(tmp_path: Path, cell: str, kind: str, words: str) -> None:
    (tmp_path / "a.csv").write_text("g,x\n" + "".join(f"a,{i}\n" for i in range(LATE)) + f"b,{cell}\n")
    connection, reading = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("select typeof(x), count(*) from t group by all").fetchall() == [(kind, LATE + 1)]
    assert reading.assumptions == words


def test_a_late_time_of_a_date(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("g,d\n" + "a,2020-12-31\n" * LATE + "b,2020-12-31 10:30:00\n")
    connection, _ = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("select d::varchar from t where g = 'b'").fetchall() == [("2020-12-31 10:30:00",)]


def test_a_column_that_begins_late(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("g,x,d\n" + "a,,\n" * LATE + "b,1.5,2020-12-31\n")
    connection, _ = read_file(tmp_path / "a.csv", "t")
    assert [row[1] for row in connection.sql("describe t").fetchall()] == ["VARCHAR", "DOUBLE", "DATE"]


def test_a_row_with_too_few_cells(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("g,x,y\n1,2,3\n1,2\n1,2,3\n")
    with pytest.raises(DataError) as caught:
        mlm.fit("y ~ x", tmp_path / "a.csv")
    assert str(caught.value) == (
        f"{tmp_path / 'a.csv'} cannot be read as csv: row 2 has 2 cells and the first line 3, with ',' between them. "
        "Correct the row."
    )


def test_numbers_that_may_be_two(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("g\tx\n" + "a\t1,234\nb\t5,678\n")
    connection, reading = read_file(tmp_path / "a.tsv", "t")
    assert connection.sql("select x from t").fetchall() == [("1,234",), ("5,678",)]
    assert reading.assumptions == (
        "numbers such as 1,234 may have a decimal comma or a thousand in x, which stay text: say which with "
        "options: {decimal: …} in an analysis file, or give a frame"
    )
    for decimal, numbers in ((",", [1.234, 5.678]), (".", [1234, 5678])):
        connection, _ = read_file(tmp_path / "a.tsv", "t", FileOptions(decimal=decimal))
        assert [x for (x,) in connection.sql("select x from t").fetchall()] == numbers


def test_a_thousand_beside_a_decimal_comma(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y;z\n1,5;1.234;1.5\n2,5;2.500;2.25\n")
    connection, reading = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("from t").fetchall() == [(1.5, 1234.0, 1.5), (2.5, 2500.0, 2.25)]
    assert reading.assumptions == "; separates, , is the decimal sign, . groups thousands"


def test_options_say_how_a_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("g~x~y~z\nä~1,5~-999~none\nNA~2,5~3~b\n".encode("cp850"))
    options = FileOptions(delimiter="~", decimal=",", encoding="cp850", null=("-999", "none"))
    connection, reading = read_file(tmp_path / "a.csv", "t", options)
    assert connection.sql("from t").fetchall() == [("ä", 1.5, None, None), ("NA", 2.5, 3, "b")]
    assert reading.assumptions == (
        "~ separates, the encoding is cp850, , is the decimal sign, '-999' and 'none' are missing: 2 of 4 cells of y, z"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ("{delimiter: ab}", 'delimiter is not understood. Got \'ab\'; expected one character, such as ";" or "\\t".'),
        ("{decimal: x}", 'Unknown decimal. Got \'x\'; expected "." or ",".'),
        (
            "{encoding: klingon}",
            "encoding is not understood. Got 'klingon'; expected an encoding, such as utf-8, latin-1 or utf-16.",
        ),
        (
            "{null: {a: b}}",
            "null is not understood. Got {'a': 'b'}; expected a word or a list of words, such as [\"-999\"].",
        ),
        (
            "{delim: a}",
            f"Unknown key of options. Got 'delim'; expected one of {KEYS}.",
        ),
        (
            "[a]",
            f"options is not understood. Got ['a']; expected a mapping of {KEYS} to how the data file has them.",
        ),
    ],
)
def test_options_are_checked(options: str, sentence: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        parse_analysis(f"analysis: a\ndata: a.csv\noptions: {options}\nmodels: {{m: y ~ x}}\n")
    assert str(caught.value) == sentence


def test_options_that_a_kind_does_not_have(tmp_path: Path) -> None:
    _rows().write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError) as caught:
        read_file(tmp_path / "a.parquet", "t", FileOptions(delimiter=";"))
    assert (
        str(caught.value)
        == f"{tmp_path / 'a.parquet'} is Parquet, which has no delimiter. Of options, it can have null."
    )
    connection, reading = read_file(tmp_path / "a.parquet", "t", FileOptions(null=("3", "Ödön")))
    assert connection.sql("select count(g), count(sex) < 120 from t").fetchall() == [(110, True)]
    assert reading.missing(["g"]) == "'3' is missing: 10 of 120 cells of g"


def test_links_that_leave_a_folder(tmp_path: Path) -> None:
    _rows().write_parquet(tmp_path / "secret.parquet")
    (tmp_path / "parts").mkdir()
    with pytest.raises(DataError, match=r"parts is a folder without Parquet files\. Name a file in it\.$"):
        mlm.fit(FORMULA, tmp_path / "parts")
    (tmp_path / "parts" / "a.parquet").symlink_to(tmp_path / "secret.parquet")
    with pytest.raises(DataError, match=r"a\.parquet leads out of the folder .*parts\. Move the file into it\.$"):
        mlm.fit(FORMULA, tmp_path / "parts")


def test_folders_above_a_folder_are_no_columns(tmp_path: Path) -> None:
    _hive(tmp_path / "k=1" / "parts")
    connection, _ = read_file(tmp_path / "k=1" / "parts", "t")
    assert sorted(row[0] for row in connection.sql("describe t").fetchall()) == ["g", "sex", "x", "y"]


def test_what_was_assumed_is_logged_and_changed_cells_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text(_text(";", decimal=",", missing="."))
    with caplog.at_level(logging.INFO, "mlm_ops"):
        fit = mlm.fit(FORMULA, tmp_path / "a.csv")
    assert [r.getMessage() for r in caplog.records if r.event == "file_read"] == [  # type: ignore[attr-defined]
        f"a.csv: ; separates, , is the decimal sign, {MISSING}."
    ]
    assert fit.notes == [f"as the file was read, {MISSING}", "12 of 120 rows left out for missing values (y 12)"]
    assert mlm.fit("x ~ sex + (1 | g)", tmp_path / "a.csv").notes == []
