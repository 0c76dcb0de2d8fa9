"""Data files whose cells change late or could mean two things, what is said of them, and the options that decide."""

from __future__ import annotations

import codecs
import gzip
import logging
from pathlib import Path

import duckdb
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.errors import AnalysisError, DataError
from mlm_ops.warehouse.files.read import plan_file, read_file
from mlm_ops.warehouse.files.reading import FileOptions
from mlm_ops.warehouse.sandbox import Reach
from tests.warehouse.test_files import FORMULA, MISSING, _hive, _rows, _text

KEYS = "delimiter, quote, decimal, thousands, encoding, header, null, sheet"
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
        "numbers such as 1,234 may have a decimal comma or a thousand in x, which stays text: say which "
        "with options: {decimal: …} in an analysis file, or give a frame"
    )
    for decimal, numbers in ((",", [1.234, 5.678]), (".", [1234, 5678])):
        connection, _ = read_file(tmp_path / "a.tsv", "t", FileOptions(decimal=decimal))
        assert [x for (x,) in connection.sql("select x from t").fetchall()] == numbers


def test_a_thousand_beside_a_decimal_comma(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x;y\n1,5;1.234\n2,5;2.500\n")
    connection, reading = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("from t").fetchall() == [(1.5, 1234.0), (2.5, 2500.0)]
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
        *(
            (
                f"{{encoding: {name}}}",
                f"encoding is not understood. Got {name!r}; expected an encoding, such as utf-8, latin-1 or utf-16.",
            )
            for name in ("idna", "IDNA", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "charmap")
        ),
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
    few = "g has 12 groups: variances between fewer than 20, and their standard errors, are unreliable"
    left_out = "12 of 120 rows left out for missing values (y 12)"
    assert fit.notes == [f"as the file was read, {MISSING}", few, left_out]
    assert mlm.fit("x ~ sex + (1 | g)", tmp_path / "a.csv").notes == [few]


def test_a_file_that_is_added_to_a_folder_of_a_folder_is_read(tmp_path: Path) -> None:
    _hive(tmp_path / "parts")
    part = tmp_path / "parts" / "g=1" / "part.parquet"
    relation = plan_file(tmp_path / "parts").relation
    with duckdb.connect() as connection:
        assert connection.sql(f"select count(*) from {relation}").fetchall() == [(120,)]
        part.with_name("other.parquet").write_bytes(part.read_bytes())
        relation = plan_file(tmp_path / "parts").relation
        assert connection.sql(f"select count(*) from {relation}").fetchall() == [(130,)]


_NOT_TEXT = {
    "a.csv": (
        b"PAR1\x15\x04\x00",
        "is no text: it begins as a Parquet file does. Give it a name that ends in .parquet.",
    ),
    "b.csv": (
        gzip.compress(b"x\n1\n"),
        "is no text: it begins as a gzip file does. Give it a name that ends in .gz.",
    ),
    "c.txt": (
        b"PK\x03\x04\x14\x00",
        "is no text: it begins as an Excel file or a zip archive does. Give it a name that ends in .xlsx.",
    ),
    "d.csv": (codecs.BOM_UTF8, "is empty."),
    "e.csv": (b"\n\n\n", "is empty."),
    "f.csv.gz": (gzip.compress(b""), "is empty."),
    "g.csv.gz": (b"x\n1\n", "cannot be read: it is not compressed as its name says."),
    "h.csv": (b"x,y\n", "has no rows."),
    "i.csv": (
        b"x,y\n1,2\n" * 10 + b'"3,4\n' + b"5,6\n" * 1_000,
        "cannot be read as csv: line 21: Value with unterminated quote found.",
    ),
    "j.csv": (
        b"x,y\n" + b"1,2\n" * LATE + b"3,4,5\n",
        "cannot be read as csv: line 30002: Expected Number of Columns: 2 Found: 3",
    ),
    "k.csv": (
        codecs.BOM_UTF16_BE + "x,y,z\n1,2\n".encode("utf-16-be"),
        "cannot be read as csv: row 1 has 2 cells and the first line 3, with ',' between them. Correct the row.",
    ),
    # decimal commas in one column, or R's row names: nothing tells
    "l.csv": (
        b"x\n0,5\n1,5\n2,5\n",
        "cannot be read as csv: row 1 has 2 cells and the first line 1, with ',' between them. Correct the row.",
    ),
}


@pytest.mark.parametrize("name", _NOT_TEXT)
def test_files_that_are_no_tables_are_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    content, sentence = _NOT_TEXT[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_file(tmp_path / name, "t")
    assert str(caught.value) == f"{tmp_path / name} {sentence}"


def test_row_names_of_one_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('"x"\n"1",5\n"2",6\n')
    connection, reading = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("from t").fetchall() == [(5,), (6,)]
    assert reading.row_names


def test_a_cell_of_a_million_characters(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"g,x\n1,a\n2,{'b' * 1_000_000}\n")
    connection, _ = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("select g, length(x) from t").fetchall() == [(1, 1), (2, 1_000_000)]


@pytest.mark.parametrize("name", ["it's.csv", 'a"b.csv', "100%.csv", "%41.csv", "[a].csv", "{path}.csv"])
def test_names_with_signs(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("g,x\n1,2\n")
    with duckdb.connect() as connection:
        assert connection.sql(f"from {plan_file(tmp_path / name).relation}").fetchall() == [(1, 2)]


def test_a_folder_with_the_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(DataError) as caught:
        read_file(tmp_path / "a.csv", "t")
    assert str(caught.value) == f"{tmp_path / 'a.csv'} is a folder without Parquet files. Name a file in it."


def test_files_of_one_name_in_two_folders_are_two(tmp_path: Path) -> None:
    """Big-endian UTF-16, which DuckDB does not read, goes through a table of the connection: each file has its own."""
    with duckdb.connect() as connection:
        sources = []
        for folder, y in (("a", 1), ("b", 2)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "rows.csv").write_text(f"g,y\n1,{y}\n1,{y}\n2,{y}\n", encoding="utf-16-be")
            text = f"analysis: a\ndata: {folder}/rows.csv\noptions: {{encoding: utf-16-be}}\nmodels: {{m: y ~ (1 | g)}}"
            analysis = parse_analysis(text).reaching(Reach((tmp_path,)))
            sources.append(open_rows(analysis, connection))
        sums = [source.query(f"select sum(y) from {source.relation}").fetchall() for source in sources]
    assert sums == [[(3,)], [(6,)]]


YEARS = "school,2019,2020\n" + "".join(f"s{i % 8},{i * 7 % 13},{i * 11 % 17}\n" for i in range(100))
SAID = (
    "the first line is a row, 'school', '2019', '2020', and the columns are called column0 and so on: if it names the "
    "columns, write options: {header: true} in an analysis file"
)


def test_a_first_line_with_numbers_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(YEARS)
    fit = mlm.fit("column2 ~ column1 + (1 | column0)", tmp_path / "a.csv")
    assert fit.fit_statistics["n_obs"][0] == 101
    assert fit.reading is not None
    assert fit.reading.assumptions == SAID


@pytest.mark.parametrize(
    ("header", "names", "n_obs"), [("true", ["school", "2019", "2020"], 100), ("false", None, 101)]
)
def test_whether_the_first_line_names_the_columns(
    header: str, names: list[str] | None, n_obs: int, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(YEARS)
    analysis = parse_analysis(f"{{analysis: a, data: a.csv, options: {{header: {header}}}, models: {{m: y ~ x}}}}")
    assert analysis.options == FileOptions(header=header == "true")
    connection, reading = read_file(tmp_path / "a.csv", "t", analysis.options)
    columns = [row[0] for row in connection.sql("describe t").fetchall()]
    assert columns == (names or ["column0", "column1", "column2"])
    assert connection.sql("select count(*) from t").fetchall() == [(n_obs,)]
    assert reading.assumptions == ""


def test_dates_in_two_ways_are_text(tmp_path: Path) -> None:
    """DuckDB takes the one for the type of all, and fails at the other."""
    days = [f"2020-01-{i % 28 + 1:02d}" if i < 57 else f"{i % 28 + 1:02d}/03/2020" for i in range(60)]
    rows = "".join(f"{day},{i % 8},{i * 7 % 13},{i * 5 % 11}.956\n" for i, day in enumerate(days))
    (tmp_path / "a.csv").write_text("day,g,x,y\n" + rows)
    connection, _ = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("select day from t").fetchall() == [(day,) for day in days]
    assert connection.sql("select typeof(x), typeof(y), count(*) from t group by all").fetchall() == [
        ("BIGINT", "DOUBLE", 60)
    ]
