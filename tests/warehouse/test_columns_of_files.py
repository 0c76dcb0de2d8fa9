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
    connection, reading = read_file(path, "t", wanted=COLUMNS)
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
    connection, reading = read_file(path, "t", wanted=COLUMNS[:3])
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
