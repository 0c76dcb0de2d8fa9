"""Hand polars frames to DuckDB through Arrow's C interface, without importing pyarrow (0.4 s).

DuckDB 1.5 and later read Arrow streams themselves; 1.4 falls back on pyarrow. To get a frame out of DuckDB use
``relation.pl()``: if polars reads a stream of DuckDB 2.0, DuckDB warns of leaked references when the process ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import polars as pl

from mlm_ops.errors import DataError
from mlm_ops.warehouse.faults import first_line, why_it_failed

_SCANS_STREAMS_AGAIN = tuple(int(part) for part in duckdb.__version__.split(".")[:2]) >= (1, 5)
#: Types that DuckDB cannot read from polars, each with one that has the same values; of no values any type has them.
_READABLE = {pl.Null: pl.Float64, pl.Float16: pl.Float32, pl.Int128: pl.Int64, pl.UInt128: pl.Int64}


class ArrowStream:
    """A frame that has only the method ``__arrow_c_stream__``, so that DuckDB does not import pyarrow.

    Register it like any object: ``connection.register("name", ArrowStream(frame))``.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        # Arrow's names end at a NUL, and polars would abort the process
        if wrong := [name for name in frame.columns if "\0" in name]:
            raise DataError(f"A column has a NUL in its name. Got {wrong[0]!r}; rename it.")
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a new capsule at every call, so that one registered frame can be scanned many times."""
        return self._frame.__arrow_c_stream__(requested_schema)


def scannable(frame: pl.DataFrame) -> Any:
    """What DuckDB can scan again and again: before 1.5 it read a stream once only, and a query may read rows twice.

    Raises
    ------
    DataError
        A column has whole numbers beyond those that DuckDB reads from polars.
    """
    frame = _with_types_of_duckdb(frame)
    return ArrowStream(frame) if _SCANS_STREAMS_AGAIN else frame.to_arrow()


def _with_types_of_duckdb(frame: pl.DataFrame) -> pl.DataFrame:
    """Convert columns of types that DuckDB cannot read from polars; their values stay what they are."""
    types = {
        name: readable
        for name, kind in frame.schema.items()
        if (readable := _READABLE.get(kind.base_type())) is not None
    }
    for name, readable in types.items():
        try:
            frame = frame.with_columns(pl.col(name).cast(readable))
        except pl.exceptions.InvalidOperationError as error:
            kind, values = frame.schema[name], frame[name]
            raise DataError(
                f"Column {name!r} is of the type {kind}, with values from {values.min()!r} to {values.max()!r}, which "
                "are too large to be read. Make it a text, or leave it out."
            ) from error
    return frame


def collected(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return the rows of a polars frame; a lazy one is collected.

    Raises
    ------
    DataError
        A lazy frame cannot be collected, with polars' message.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        return frame.collect()
    except Exception as error:  # polars' own, and any that a Python function in the frame's plan raises
        raise DataError(f"The lazy frame cannot be collected: {type(error).__name__}: {first_line(error)}") from error


def scannable_rows(rows: pl.DataFrame | pl.LazyFrame) -> Any:
    """Return an object that DuckDB can scan again and again, of a frame that is lazy or not.

    Raises
    ------
    DataError
        The frame has no columns.
    """
    frame = collected(rows)
    if not frame.columns:
        raise DataError("The data have no columns and no rows.")
    return scannable(frame)


def query_frames(sql: str, frames: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Run a query over frames by their names: numpy arrays by column, masked where a value is null.

    Raises
    ------
    DataError
        DuckDB does not take a column, or the query fails.
    """
    with duckdb.connect() as connection:
        try:
            for name, frame in frames.items():
                connection.register(name, scannable(frame))
            columns: dict[str, Any] = connection.execute(sql).fetchnumpy()
        except (duckdb.Error, pl.exceptions.PolarsError) as error:
            raise DataError(f"The rows cannot be queried: {why_it_failed(error)}") from error
    return columns
