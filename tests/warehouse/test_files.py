"""Data files as people have them: each is read as meant, to the same fit as a plain CSV, or refused in one sentence."""

from __future__ import annotations

import codecs
import gzip
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyreadstat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather

import mlm_ops as mlm
from mlm_ops.errors import DataError
from mlm_ops.warehouse.files.read import plan_file, read_file
from mlm_ops.warehouse.files.reading import FileOptions

FORMULA = "y ~ x + sex + (1 | g)"
ROWS = 120
#: The same numbers reach the same algorithm, so that nothing but their text could differ.
SAME = 1e-12


def _rows() -> pl.DataFrame:
    """Twelve groups of ten; y is missing in the first of each group."""
    random = np.random.default_rng(5)
    g = np.repeat(np.arange(1, 13), 10)
    x = (1000 * random.normal(size=ROWS)).round(2)
    y = (x / 1000 + random.normal(size=12)[g - 1] + random.normal(size=ROWS)).round(4)
    sex = np.array(["Müller", "Ödön"])[random.integers(0, 2, ROWS)]
    return pl.DataFrame({"g": g, "x": x, "sex": sex, "y": y}).with_columns(
        y=pl.when(pl.int_range(ROWS) % 10 == 0).then(None).otherwise(pl.col("y"))
    )


@pytest.fixture(scope="module")
def plain() -> mlm.Fit:
    return mlm.fit(FORMULA, _rows())


def _text(
    delimiter: str = ",",
    *,
    quote: str = "",
    decimal: str = ".",
    missing: str = "",
    thousands: str = "",
    end: str = "\n",
    title: str = "",
    row_names: str | None = None,
) -> str:
    def number(value: float | None, form: str) -> str:
        if value is None:
            return missing
        text = f"{value:{',' if thousands else ''}{form}}"
        swap = {",": thousands, ".": decimal}
        text = "".join(swap.get(character, character) for character in text)
        return f"{quote}{text}{quote}" if delimiter in text else text

    lines = [delimiter.join(f"{quote}{name}{quote}" for name in ("g", "x", "sex", "y"))]
    for g, x, sex, y in _rows().iter_rows():
        lines.append(delimiter.join([str(g), number(x, ".2f"), f"{quote}{sex}{quote}", number(y, ".4f")]))
    if row_names is not None:
        lines = [(row_names if i == 0 else f"{quote}{i}{quote}{delimiter}") + line for i, line in enumerate(lines)]
    return title + end.join(lines) + end


def _aligned() -> bytes:
    """Columns of equal width, as SPSS, SAS and R print them."""
    rows = [line.split(",") for line in _text(missing=".").splitlines()]
    return "".join("".join(f"{cell:>12}" for cell in row) + "\n" for row in rows).encode()


def _assert_same(fit: mlm.Fit, plain: mlm.Fit) -> None:
    assert fit.n_rows == ROWS
    assert fit.fixed_effects["term"].to_list() == plain.fixed_effects["term"].to_list()
    for name in ("estimate", "std_error"):
        np.testing.assert_allclose(fit.fixed_effects[name], plain.fixed_effects[name], rtol=SAME)
    assert fit.estimate.log_likelihood == pytest.approx(plain.estimate.log_likelihood, rel=SAME)


SEMICOLON = _text(";", decimal=",")
MISSING = "'.' is missing: 12 of 120 cells of y"
NAMELESS = "the first column has no name and is left out, as R's row names are"
#: File, content, and what is said of it.
MESSY: dict[str, tuple[str, bytes, str]] = {
    "plain": ("a.csv", _text().encode(), ""),
    "tabs": ("a.tsv", _text("\t").encode(), ""),
    "tabs in a CSV": ("a.csv", _text("\t").encode(), "the tab separates"),
    "pipes": ("a.txt", _text("|").encode(), "| separates"),
    "spaces": ("a.txt", _text(" ", missing="NA").encode(), "the space separates"),
    "quotes": ("a.csv", _text(quote='"').encode(), ""),
    "single quotes": ("a.csv", _text(quote="'", decimal=",").encode(), "' quotes, , is the decimal sign"),
    "German": (
        "a.csv",
        SEMICOLON.encode("latin-1", "replace"),
        "; separates, the encoding is Latin-1, , is the decimal sign",
    ),
    "Excel in German": (
        "a.csv",
        ("sep=;\r\n" + _text(";", decimal=",", end="\r\n")).encode(),
        "; separates, , is the decimal sign",
    ),
    "SAS": ("a.csv", _text(missing=".").encode(), MISSING),
    "German SAS": (
        "a.csv",
        _text(";", decimal=",", missing=".").encode(),
        f"; separates, , is the decimal sign, {MISSING}",
    ),
    "dashes": ("a.csv", _text(missing="-").encode(), "'-' is missing: 12 of 120 cells of y"),
    "Excel's error": ("a.csv", _text(missing="#N/A").encode(), "'#N/A' is missing: 12 of 120 cells of y"),
    "thousands": ("a.csv", _text(quote='"', thousands=",").encode(), ", groups thousands"),
    "German thousands": (
        "a.csv",
        _text(";", decimal=",", thousands=".").encode(),
        "; separates, , is the decimal sign, . groups thousands",
    ),
    "French thousands": (
        "a.csv",
        _text(";", decimal=",", thousands="\u202f").encode(),
        "; separates, , is the decimal sign, the space groups thousands",
    ),
    "UTF-16": (
        "a.csv",
        _text(";", decimal=",").encode("utf-16"),
        "; separates, the encoding is UTF-16, , is the decimal sign",
    ),
    "UTF-16 without a mark": ("a.csv", _text().encode("utf-16-le"), "the encoding is UTF-16"),
    "UTF-16 of a Mac": ("a.csv", codecs.BOM_UTF16_BE + _text().encode("utf-16-be"), "the encoding is UTF-16"),
    "a mark": ("a.csv", codecs.BOM_UTF8 + _text().encode(), ""),
    "gzip": (
        "a.csv.gz",
        gzip.compress(_text(";", decimal=",").encode("latin-1")),
        "; separates, the encoding is Latin-1, , is the decimal sign",
    ),
    "zstd": ("a.tsv.zst", pa.compress(_text("\t").encode(), codec="zstd", asbytes=True), ""),
    "write.csv": ("a.csv", _text(quote='"', missing="NA", row_names='"",').encode(), NAMELESS),
    "write.csv2": (
        "a.csv",
        _text(";", quote='"', decimal=",", missing="NA", row_names='"";').encode(),
        f"; separates, , is the decimal sign, {NAMELESS}",
    ),
    "write.table": (
        "a.txt",
        _text(" ", quote='"', missing="NA", row_names="").encode(),
        f"the space separates, {NAMELESS}",
    ),
    "aligned columns": ("a.txt", _aligned(), "white space separates, '.' is missing: 12 of 120 cells of y"),
    "aligned columns in Latin-1": (
        "a.dat",
        _aligned().decode().encode("latin-1"),
        "white space separates, the encoding is Latin-1, '.' is missing: 12 of 120 cells of y",
    ),
    "aligned columns, compressed": (
        "a.dat.zst",
        pa.compress(_aligned(), codec="zstd", asbytes=True),
        "white space separates, '.' is missing: 12 of 120 cells of y",
    ),
    "a title": ("a.csv", _text(title="Table 1\n\n").encode(), ""),
    "comments": ("a.csv", _text(title="# Table 1\n# of two\n").encode(), ""),
    "lines of an old Mac": ("a.csv", _text(end="\r").encode(), ""),
}


@pytest.mark.parametrize("case", MESSY)
def test_text_is_read_as_it_was_meant(case: str, tmp_path: Path, plain: mlm.Fit) -> None:
    name, content, assumptions = MESSY[case]
    (tmp_path / name).write_bytes(content)
    fit = mlm.fit(FORMULA, tmp_path / name)
    assert fit.reading is not None
    assert fit.reading.assumptions == assumptions
    _assert_same(fit, plain)
    # an analysis reads the same rows by SQL, where DuckDB can
    relation = plan_file(tmp_path / name).relation
    connection, _ = read_file(tmp_path / name, "t")
    assert relation is None or connection.sql(f"from {relation}").fetchall() == connection.sql("from t").fetchall()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("name,score\nAnna  Smith,1\nBo  Lee,2\n", [("Anna  Smith", 1), ("Bo  Lee", 2)]),
        ("name\tscore\nAnna  Smith\t1\nBo  Lee\t2\n", [("Anna  Smith", 1), ("Bo  Lee", 2)]),
        ("x\ty\tz\n1\t\t2\n3\t\t4\n", [(1, None, 2), (3, None, 4)]),
        ("x,   y\n1,   2\n3,   4\n", [(1, 2), (3, 4)]),
        (" x  y \n 1  2 \n\n 3  4", [(1, 2), (3, 4)]),
    ],
)
def test_blanks_separate_where_nothing_else_does(text: str, rows: list[tuple[object, ...]], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text)
    connection, _ = read_file(tmp_path / "a.txt", "t")
    assert connection.sql("from t").fetchall() == rows


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.dat", " " * 8)])
def test_an_early_row_that_is_too_long_is_named(name: str, delimiter: str, tmp_path: Path) -> None:
    """DuckDB finds no layout then, and says no more."""
    rows = "".join(f"{i}{delimiter}{i * i % 7}\n" for i in range(9000))
    (tmp_path / name).write_text(f"g{delimiter}x\n{rows}9000{delimiter}1{delimiter}2\n")
    with pytest.raises(DataError, match=r"row 9001 has 3 cells and the first line 2, with '[ ,]' between them"):
        read_file(tmp_path / name, "t")


def test_a_row_of_aligned_columns_that_is_too_long_is_told(tmp_path: Path) -> None:
    rows = "".join(f"{i:>8}{i * i % 7:>8}\n" for i in range(30_000))
    (tmp_path / "a.dat").write_text("       g       x\n" + rows + "   30000       1       2\n")
    with pytest.raises(
        DataError, match=r"a\.dat cannot be read as dat: line 30002: Expected Number of Columns: 2 Found"
    ):
        read_file(tmp_path / "a.dat", "t")


def test_text_of_windows(tmp_path: Path) -> None:
    """The euro sign and typographic quotes have no place in Latin-1."""
    (tmp_path / "a.csv").write_bytes("g,x\n€ “a”,1\nb,2\n".encode("cp1252"))
    connection, reading = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("from t").fetchall() == [("€ “a”", 1), ("b", 2)]
    assert reading.assumptions == "the encoding is Windows-1252"
    assert plan_file(tmp_path / "a.csv").relation is None


def _json(path: Path) -> None:
    path.write_text(json.dumps(_rows().to_dicts()), encoding="utf-8")


def _lines(path: Path) -> None:
    path.write_text("\n".join(map(json.dumps, _rows().to_dicts())), encoding="utf-8")


def _stream(path: Path) -> None:
    table = pa.table({name: _rows()[name].to_list() for name in _rows().columns})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


def _feather(path: Path) -> None:
    feather.write_feather(pa.table({name: _rows()[name].to_list() for name in _rows().columns}), str(path))


def _hive(path: Path) -> None:
    for (g,), rows in _rows().group_by("g"):
        (path / f"g={g}").mkdir(parents=True)
        rows.drop("g").write_parquet(path / f"g={g}" / "part.parquet")


def _labels(write: Callable[..., Any]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        codes = {"Müller": 1.0, "Ödön": 2.0}
        frame = _rows().with_columns(
            pl.col("sex").replace_strict(codes, return_dtype=pl.Float64), pl.col("g").cast(pl.Float64)
        )
        labels = {code: label for label, code in codes.items()}
        write(
            frame, str(path), variable_value_labels={"sex": {int(c): t for c, t in labels.items()}, "g": {1: "first"}}
        )

    return make


KINDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a.json": (_json, ""),
    "a.ndjson": (_lines, ""),
    "a.jsonl": (_lines, ""),
    "a.parquet": (lambda path: _rows().write_parquet(path), ""),
    "a.feather": (_feather, ""),
    "a.arrow": (_stream, ""),
    "parts": (_hive, ""),
    "a.sav": (
        _labels(pyreadstat.write_sav),
        "labels are the values of sex; not all values have labels, and numbers stay, in g",
    ),
    "a.dta": (
        _labels(pyreadstat.write_dta),
        "labels are the values of sex; not all values have labels, and numbers stay, in g",
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_files_with_types_of_their_own(name: str, tmp_path: Path, plain: mlm.Fit) -> None:
    make, assumptions = KINDS[name]
    make(tmp_path / name)
    for data in (tmp_path / name, str(tmp_path / name)):
        fit = mlm.fit(FORMULA, data)
        assert fit.reading is not None
        assert fit.reading.assumptions == assumptions
        _assert_same(fit, plain)
        assert fit.moments.labels[0].tolist() == list(range(1, 13))


def _workbook(path: Path, rows: list[list[str | float | None]]) -> None:
    """Write the smallest Excel file that has these cells in its first sheet, and an empty second one."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"

    def cell(place: str, value: str | float | None) -> str:
        if value is None:
            return ""
        if isinstance(value, str):
            return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
        return f'<c r="{place}"><v>{value}</v></c>'

    lines = "".join(
        f'<row r="{i}">{"".join(cell(f"{chr(65 + j)}{i}", value) for j, value in enumerate(row))}</row>'
        for i, row in enumerate(rows, 1)
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{package}/content-types"><Default Extension="rels" ContentType='
        '"application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
        f'ContentType="{kind}.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" '
        f'ContentType="{kind}.worksheet+xml"/><Override PartName="/xl/worksheets/sheet2.xml" '
        f'ContentType="{kind}.worksheet+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="pupils" sheetId="1" '
        'r:id="rId1"/><sheet name="notes" sheetId="2" r:id="rId2"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
        f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" '
        f'Type="{office}/worksheet" Target="worksheets/sheet2.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>',
        "xl/worksheets/sheet2.xml": f'<worksheet xmlns="{main}"><sheetData></sheetData></worksheet>',
    }
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{content}')


@pytest.mark.parametrize(("missing", "said"), [(None, ""), (".", MISSING)])
def test_excel(tmp_path: Path, plain: mlm.Fit, missing: str | None, said: str) -> None:
    cells = [[g, x, sex, missing if y is None else y] for g, x, sex, y in _rows().iter_rows()]
    _workbook(tmp_path / "a.xlsx", [["g", "x", "sex", "y"], *cells])
    fit = mlm.fit(FORMULA, tmp_path / "a.xlsx")
    _assert_same(fit, plain)
    assert fit.reading is not None
    assert fit.reading.assumptions == "; ".join(filter(None, [said, "'pupils' is read, the first of 2 sheets"]))
    with pytest.raises(DataError) as caught:
        read_file(tmp_path / "a.xlsx", "t", FileOptions(sheet="teachers"))
    assert str(caught.value) == f"{tmp_path / 'a.xlsx'} has no sheet 'teachers'. Its sheets are pupils, notes."
    with pytest.raises(DataError, match=r"^DuckDB cannot read .*a\.xlsx, and so no SQL predicts its rows\. Read them"):
        fit.prediction_sql(str(tmp_path / "a.xlsx"))


@pytest.mark.parametrize(
    "name", ["a.xlsx", "a.sav", "a.dta", "a.sas7bdat", "a.feather", "a.json", "a.csv.gz", "a.csv.zst"]
)
def test_damaged_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8b{[" + bytes(range(200)))
    with pytest.raises(DataError) as caught:
        mlm.fit(FORMULA, tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name} cannot be read")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "package"),
    [("a.xlsx", "fastexcel"), ("a.sav", "pyreadstat"), ("a.dta", "pyreadstat"), ("a.sas7bdat", "pyreadstat")],
)
def test_a_library_that_is_not_installed(
    name: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DataError) as caught:
        mlm.fit(FORMULA, tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name} is read with the package {package}, which is not installed. Install it with: pip install "
        "'mlm-ops[files]'"
    )


def test_words_stay_words(tmp_path: Path) -> None:
    """Yes, T and TRUE are levels as the file has them; 007 is no 7; a dash among words is a word."""
    text = "yes,t,true,code,grade\n" + "".join(
        f"{a},{b},{c},00{i},{d}\n"
        for i, (a, b, c, d) in enumerate(
            zip(["Yes", "No"] * 3, "TF" * 3, ["TRUE", "FALSE"] * 3, ["A", "-", "."] * 2, strict=True)
        )
    )
    (tmp_path / "a.csv").write_text(text)
    connection, reading = read_file(tmp_path / "a.csv", "t")
    assert connection.sql("from t").fetchall()[:2] == [
        ("Yes", "T", "TRUE", "000", "A"),
        ("No", "F", "FALSE", "001", "-"),
    ]
    assert reading.assumptions == ""
    fit = mlm.fit(
        "x ~ yes + t", pl.DataFrame({"yes": ["Yes", "No", "No"] * 9, "t": ["T", "F", "T"] * 9, "x": range(27)})
    )
    assert fit.fixed_effects["term"].to_list() == ["(Intercept)", "yes[Yes]", "t[T]"]


def test_names_as_people_have_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("größe;Name der Schule;x;x;X;\n1,5;a b;1;2;3;\n2,5;ä;1;2;3;\n")
    connection, _ = read_file(tmp_path / "a.csv", "t")
    names = [row[0] for row in connection.sql("describe t").fetchall()]
    assert names[:3] == ["größe", "Name der Schule", "x"]
    assert len({name.lower() for name in names}) == 6


_CELLS = st.lists(
    st.tuples(st.sampled_from(["äöü", "a b", "d'Or", "x-y", "Łódź"]), st.integers(-(10**6), 10**6)),
    min_size=3,
    max_size=8,
)


@given(
    cells=_CELLS,
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    quote=st.sampled_from(['"', ""]),
    decimal=st.sampled_from([".", ","]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "iso8859-2"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(
    tmp_path: Path, cells: list[tuple[str, int]], delimiter: str, quote: str, decimal: str, encoding: str
) -> None:
    """Text and hundredths come back, whatever the delimiter, quote, decimal sign and encoding are."""
    marks = '"' if delimiter == decimal else quote

    def number(value: int) -> str:
        return f"{marks}{value / 100:.2f}{marks}".replace(".", decimal)

    lines = [delimiter.join(("name", "x")), *(delimiter.join((f"{quote}{a}{quote}", number(n))) for a, n in cells)]
    path = tmp_path / "a.csv"
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    # Polish letters in a one-byte encoding look like any other: the encoding has to be named
    options = FileOptions(encoding=encoding) if encoding == "iso8859-2" else FileOptions()
    connection, _ = read_file(path, "t", options)
    assert connection.sql("from t").fetchall() == [(name, value / 100) for name, value in cells]
