"""The SQL of a fit, run again in DuckDB, gives the moments of the fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import mlm_ops as mlm
from mlm_ops.errors import MlmError
from mlm_ops.moments.record import Moments

#: The same statement over the same rows; sums of several threads differ in their last digits.
EXACT = 1e-12
HSB = Path("pipelines/data/hsb.csv")
FORMULA = "mathach ~ within(ses) * sector + minority + (within(ses) | school)"


def last_columns(connection: duckdb.DuckDBPyConnection, sql: str) -> Mapping[str, NDArray[Any]]:
    """What the last of several statements returns."""
    return connection.execute(sql).fetchnumpy()


def assert_same(columns: Mapping[str, NDArray[Any]], moments: Moments) -> None:
    for k, labels in enumerate(moments.labels):
        assert columns[f"u_{k}"].tolist() == labels.tolist()
    size = len(moments.mean)
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    scatter = np.array([columns[f"scatter_{i}_{j}"] for i, j in pairs])
    for ours, theirs in (
        (columns["n"], moments.n),
        (np.array([columns[f"mean_{i}"] for i in range(size)]), moments.mean),
        (scatter, moments.scatter),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=EXACT, atol=EXACT * np.abs(theirs).max())


def test_a_table() -> None:
    with duckdb.connect() as connection:
        connection.execute(f"create table students as from '{HSB}'")
        fit = mlm.fit(FORMULA, "students", connection=connection)
        assert re.findall("^-- .*", fit.moments_sql, re.MULTILINE) == [
            "-- Survey of the rows: how many, means, levels, and what varies within groups",
            "-- Moments of each unit",
        ]
        assert_same(last_columns(connection, fit.moments_sql), fit.moments)


def test_names_are_quoted_and_missing_values_counted() -> None:
    with duckdb.connect() as connection:
        connection.execute(
            'create table "my ""odd"" table" as select case when minority = 1 and ses > 1 then null else mathach end '
            f'as "math score", ses as "s""e\'s; --", school as "group" from \'{HSB}\''
        )
        name = '"my ""odd"" table"'
        fit = mlm.fit("`math score` ~ `s\"e's; --` + (1 | group)", name, connection=connection)
        assert f'from {name} as "mlm_rows"\n' in fit.moments_sql
        assert '"s""e\'s; --"' in fit.moments_sql
        assert "-- Missing values by column\n" in fit.moments_sql
        assert_same(last_columns(connection, fit.moments_sql), fit.moments)


def test_a_file() -> None:
    """The first statement reads it, as the fit did."""
    fit = mlm.fit(FORMULA, HSB)
    assert fit.moments_sql.startswith('create or replace temp view "mlm_rows" as\nselect * from (from read_csv(')
    with duckdb.connect() as connection:
        assert_same(last_columns(connection, fit.moments_sql), fit.moments)


def test_a_frame() -> None:
    frame = pl.read_csv(HSB)
    fit = mlm.fit(FORMULA, frame)
    note = '-- "mlm_rows" are the rows of the data: a view, or a frame of Python\'s, by that name\n'
    assert fit.moments_sql.startswith(note)
    with duckdb.connect() as connection:
        connection.register("mlm_rows", frame)
        assert_same(last_columns(connection, fit.moments_sql), fit.moments)


def test_a_structural_model() -> None:
    with duckdb.connect() as connection:
        connection.execute(f"create table students as from '{HSB}'")
        fit = mlm.sem("contextual: mathach ~ ses", "students", cluster="school", connection=connection)
        assert_same(last_columns(connection, fit.moments_sql), fit.moments)


def test_a_residual_structure_has_a_statement_of_its_own() -> None:
    fit = mlm.fit("mathach ~ ses + (1 | school)", HSB, residual="by(sector)")
    assert re.findall("^-- .*", fit.moments_sql, re.MULTILINE)[-2:] == [
        "-- Moments of each unit",
        "-- Sums of a residual structure",
    ]


def test_moments_that_were_put_together_have_none() -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "create table moments as select school, count(*) as n, avg(mathach) as mean_mathach, "
            f"var_pop(mathach) * count(*) as scatter_mathach_mathach from '{HSB}' group by school"
        )
        fit = mlm.fit("mathach ~ 1 + (1 | school)", mlm.read_moments("moments", "school", connection=connection))
    with pytest.raises(MlmError) as error:
        _ = fit.moments_sql
    assert str(error.value) == (
        "There is no SQL of these moments: they were kept, put together of parts, or made elsewhere. Fit the rows to "
        "have it."
    )
