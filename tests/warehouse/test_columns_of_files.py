"""Of a file a fit reads the columns that its model names, and of delimited text all text: the rest is known by type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import DataError
from mlm_ops.warehouse.files.read import read_file
from mlm_ops.warehouse.source import open_source

#: More than the rows by which types are found.
ROWS = 24_000
FORMULA = "y ~ x + sex + (1 | g)"
COLUMNS = ("g", "x", "y", "sex")


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    random = np.random.default_rng(11)
    g = np.repeat(np.arange(40), ROWS // 40)
    x = random.normal(size=ROWS).round(3)
    y = (x + random.normal(size=40)[g] + random.normal(size=ROWS)).round(3)
    sex = np.array(["a", "b"])[random.integers(0, 2, ROWS)]
    return pl.DataFrame({"id": np.arange(ROWS), "g": g, "z": x**2, "x": x, "y": y, "sex": sex, "day": "2024-03-01"})


def write(rows: pl.DataFrame, path: Path, late: dict[str, str]) -> Path:
    """Write the rows, with other cells in the last row but one."""
    texts = rows.select(pl.all().cast(pl.String))
    place = pl.int_range(pl.len()) == ROWS - 2
    texts.with_columns(pl.when(place).then(pl.lit(v)).otherwise(n).alias(n) for n, v in late.items()).write_csv(path)
    return path


def test_other_columns_are_not_read(rows: pl.DataFrame, tmp_path: Path) -> None:
    path = write(rows, tmp_path / "rows.csv", {})
    connection, reading = read_file(path, "t", columns=COLUMNS)
    read = dict(connection.execute("select column_name, column_type from (describe t)").fetchall())
    assert read == {"g": "BIGINT", "x": "DOUBLE", "y": "DOUBLE", "sex": "VARCHAR"}
    assert list(reading.types) == rows.columns
    source = open_source(path, columns=COLUMNS)
    assert source.types == {**read, "id": "BIGINT", "z": "DOUBLE", "day": "DATE"}
    assert list(source.types) == rows.columns
    assert open_source(path).types == source.types


def test_of_parquet_only_the_model_s_columns_are_read(rows: pl.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows.write_parquet(path)
    connection, reading = read_file(path, "t", columns=COLUMNS[:3])
    read = dict(connection.execute("select column_name, column_type from (describe t)").fetchall())
    assert read == {"g": "BIGINT", "x": "DOUBLE", "y": "DOUBLE"}
    assert reading.types == read | {"id": "BIGINT", "z": "DOUBLE", "sex": "VARCHAR", "day": "VARCHAR"}
    assert list(reading.types) == rows.columns
    assert mlm.fit(FORMULA, path).fixed_effects.equals(mlm.fit(FORMULA, rows).fixed_effects)
    with pytest.raises(DataError, match=r"Its columns are id, g, z, x, y, sex, day\.$"):
        mlm.fit("yy ~ 1 + (1 | gg)", path)


@pytest.mark.parametrize("late", [{}, {"z": "n/a"}, {"id": "12.5"}, {"day": "tomorrow"}, {"z": "1,5", "id": "007"}])
def test_what_other_columns_hold_changes_no_number(late: dict[str, str], rows: pl.DataFrame, tmp_path: Path) -> None:
    fit = mlm.fit(FORMULA, write(rows, tmp_path / "rows.csv", late))
    expected = mlm.fit(FORMULA, rows)
    assert fit.fixed_effects.equals(expected.fixed_effects)
    assert fit.notes == expected.notes


@pytest.mark.parametrize(
    ("late", "sentence"),
    [
        (
            {"y": "gone"},
            "The outcome 'y' holds text (VARCHAR), and a model needs numbers. It is text because 1 of its 24000 cells "
            "are no numbers, such as 'gone' in row 23,999. Cast or recode it in a view or SELECT.",
        ),
        (
            {"x": "n/a"},
            "as the file was read, 'n/a' is missing: 1 of 24,000 cells of x",
        ),
        ({"g": "7.5"}, None),
    ],
)
def test_late_values_of_the_model_s_columns(
    late: dict[str, str], sentence: str | None, rows: pl.DataFrame, tmp_path: Path
) -> None:
    """They are found as where all columns are read: a number in the last rows is none of the first rows' type."""
    path = write(rows, tmp_path / "rows.csv", late)
    if "y" in late:
        with pytest.raises(DataError) as caught:
            mlm.fit(FORMULA, path)
        assert str(caught.value) == sentence
        return
    fit = mlm.fit(FORMULA, path)
    connection, _ = read_file(path, "t")
    expected = mlm.fit(FORMULA, "t", connection=connection)
    assert fit.fixed_effects.equals(expected.fixed_effects)
    if sentence is not None:
        assert fit.notes[0] == sentence
    else:
        assert fit.random_effects["unit"].n_unique() == 41


def test_a_column_that_is_not_there_is_told_beside_those_that_are_not_read(rows: pl.DataFrame, tmp_path: Path) -> None:
    path = write(rows, tmp_path / "rows.csv", {})
    for formula, name in (("y ~ idd + (1 | g)", "idd"), ("yy ~ 1 + (1 | gg)", None)):
        with pytest.raises(DataError) as caught:
            mlm.fit(formula, path)
        assert str(caught.value).endswith("Its columns are id, g, z, x, y, sex, day.")
        assert name is None or "Did you mean 'id'?" in str(caught.value)


def test_a_line_of_other_length_is_refused_wherever_the_columns_stand(tmp_path: Path) -> None:
    lines = ["g,y,z", *(f"{i % 30},{(i * 7) % 11}.5,{i}" for i in range(ROWS))]
    for bad in ("1,2.5", "1,2.5,3,4"):
        path = tmp_path / "rows.csv"
        path.write_text("\n".join([*lines[:-1], bad, lines[-1], ""]))
        with pytest.raises(DataError) as caught:
            mlm.fit("y ~ 1 + (1 | g)", path)
        with pytest.raises(DataError) as whole:
            read_file(path, "t")
        assert str(caught.value) == str(whole.value)
        assert f"line {ROWS + 1}: Expected Number of Columns: 3 Found: {bad.count(',') + 1}" in str(caught.value)


def write_numbers(path: Path, delimiter: str, x: str, late: str, words: str = "") -> Path:
    """Write rows whose z is whole but for the last one, and whose x is 1 and 100, 2 and 101, … as its pattern says."""
    lines = [delimiter.join(["g", "y", "x", "z"])]
    for i in range(ROWS):
        cell = x.format(1 + i % 9, 100 + i % 900) if not words or i % 2 else words
        lines.append(delimiter.join([str(i % 30), str(i % 7), cell, late if i == ROWS - 1 else str(i)]))
    path.write_text("\n".join([*lines, ""]))
    return path


#: The mean of 1.100, 2.101, … as x is written, by the definition; 24,000 rows are no whole number of its periods.
MEAN = float(np.mean([1 + i % 9 + (100 + i % 900) / 1000 for i in range(ROWS)]))


@pytest.mark.parametrize(
    ("delimiter", "x", "late", "factor"),
    [
        (";", "{},{}", "7.5", 1000),
        (";", "{},{}", "7,5", 1),
        (";", "{},{}", "7", 1),
        (";", "{}.{}", "7,5", 1000),
        (";", "{}.{}", "7.5", 1),
        ("\t", "{},{}", "7.5", 1000),
        (",", "{}.{}", '"7,5"', 1000),
        (",", '"{},{}"', '"7,5"', 1),
        (",", '"{},{}"', "7.5", 1000),
    ],
)
def test_a_column_outside_of_the_model_tells_the_decimal_sign(
    delimiter: str, x: str, late: str, factor: int, tmp_path: Path
) -> None:
    """Numbers of three decimals are numbers with either sign, and what a later row of another column holds tells."""
    path = write_numbers(tmp_path / "rows.csv", delimiter, x, late)
    for columns in (None, {"g", "y", "x"}):
        source = open_source(path, columns=columns)
        assert source.types == {
            "g": "BIGINT",
            "y": "BIGINT",
            "x": "DOUBLE" if factor == 1 else source.types["x"],
            "z": "BIGINT" if late == "7" else "DOUBLE",
        }
        ((mean,),) = source.query(f"select avg(x) from {source.relation}").fetchall()
        # a mean of doubles has an error of some units of the last place
        assert mean == pytest.approx(factor * MEAN, rel=1e-12)


def test_a_fit_centers_a_column_with_and_without_another_one_in_the_model(tmp_path: Path) -> None:
    path = write_numbers(tmp_path / "rows.csv", ";", "{},{}", "7.5")
    for formula in ("y ~ x + z + (1 | g)", "y ~ x + (1 | g)"):
        centers = {column.name: center for column, center in mlm.fit(formula, path).moments.schema.centers.items()}
        # a center is near the mean, as exactly as the scan that looks for it adds
        assert centers["x"] == pytest.approx(1000 * MEAN, rel=1e-9)


@pytest.mark.parametrize(("x", "late", "factor"), [("{}.{}", "7,5", 1000), ("{}.{}", "7.5", 1), ("{}.{}1", "7,5", 1)])
def test_the_sign_beside_words_for_missing_values(x: str, late: str, factor: int, tmp_path: Path) -> None:
    """Where ? makes text of 1.234, a later comma makes it a thousand; 1.2341 is none."""
    path = write_numbers(tmp_path / "rows.csv", ";", x, late, "?")
    values = [(1 + i % 9) + float(x.format(0, 100 + i % 900)) for i in range(1, ROWS, 2)]
    for columns in (None, {"g", "y", "x"}):
        source = open_source(path, columns=columns)
        ((mean, n),) = source.query(f"select avg(x), count(x) from {source.relation}").fetchall()
        assert (mean, n) == (pytest.approx(factor * np.mean(values), rel=1e-12), ROWS // 2)


@pytest.mark.parametrize(
    ("delimiter", "x", "words"),
    [(";", "{},{}1", ""), (";", "{}.{}1", ""), (",", "{}.{}1", ""), (",", "{}{}", "?"), (";", "{}.{}1", "?")],
)
def test_where_the_sign_is_certain_columns_are_left_out(delimiter: str, x: str, words: str, tmp_path: Path) -> None:
    path = write_numbers(tmp_path / "rows.csv", delimiter, x, "7.5", words)
    connection, reading = read_file(path, "t", columns={"g", "y", "x"})
    assert [name for (name,) in connection.execute("select column_name from (describe t)").fetchall()] == [
        "g",
        "y",
        "x",
    ]
    assert list(reading.types) == ["g", "y", "x", "z"]


def test_a_point_beside_a_word_is_a_decimal_point_although_other_columns_have_commas(tmp_path: Path) -> None:
    """As 1.5 is in a column without words."""
    path = tmp_path / "rows.csv"
    path.write_text("a;b;c\n1.5;1.5;3,5\n2.5;?;4,5\n")
    connection, _ = read_file(path, "t")
    assert connection.execute("select * from t").fetchall() == [(1.5, 1.5, 3.5), (2.5, None, 4.5)]
    path.write_text("c;d\n3,5;1.234\n4,5;?\n")
    connection, _ = read_file(path, "t")
    assert connection.execute("select * from t").fetchall() == [(3.5, 1234), (4.5, None)]
