"""Make frames with the columns and types of a result table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mlm_ops.language.model import GroupingFactor
    from mlm_ops.moments.record import Moments

TEXT, REAL, COUNT, FLAG = pl.String, pl.Float64, pl.Int64, pl.Boolean
REALS = pl.List(pl.Float64())
Kind = pl.DataType | type[pl.DataType]
ColumnTypes = dict[str, Kind]

#: What DuckDB calls these types.
SQL_TYPES: dict[Kind, str] = {
    TEXT: "varchar",
    REAL: "double",
    COUNT: "bigint",
    FLAG: "boolean",
    pl.Datetime("us", "UTC"): "timestamptz",
    REALS: "double[]",
}

#: Every row of every result table but ``runs`` begins with these.
KEYS: ColumnTypes = {"run_id": TEXT, "analysis": TEXT, "model": TEXT}


def frame(schema: ColumnTypes, values: Mapping[str, Any]) -> pl.DataFrame:
    """Make a frame with the table's columns; infinities and NaN become null."""
    return pl.DataFrame([_column(name, kind, values[name]) for name, kind in schema.items()])


def repeated(text: str | None, times: int) -> pl.Series:
    """A column of one text, or of nulls; a list of it takes polars a hundred times as long."""
    return pl.Series([text], dtype=TEXT).new_from_index(0, times)


def unit_names(labels: NDArray[Any]) -> pl.Series:
    """A column of the names of units, as `Moments.units_of` has them; an array takes polars longer than a list."""
    return pl.Series(labels.tolist(), dtype=TEXT)


def names_of_units(moments: Moments, group: GroupingFactor) -> pl.Series:
    """The names of the units of a factor, of several models of these moments the same column."""
    return moments.derived("names of units", group, lambda: unit_names(moments.units_of(group)[1]))


def empty(schema: ColumnTypes) -> pl.DataFrame:
    """Make the table without rows."""
    return pl.DataFrame(schema=schema)


def with_model(name: str | None, table: pl.DataFrame) -> pl.DataFrame:
    """Put the column ``model`` before the others; None for rows without a single model."""
    return table.clone().insert_column(0, repeated(name, table.height).alias("model"))


def _column(name: str, kind: Kind, values: Any) -> pl.Series:
    # column by column: polars takes four times as long for a frame from a mapping
    if kind != REAL:
        return pl.Series(name, values, kind, strict=False)
    numbers = np.array(values, dtype=float)
    numbers[~np.isfinite(numbers)] = np.nan
    return pl.Series(name, numbers, nan_to_null=True)
