"""Read all rows of any data as one frame of polars."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from mlm_ops.warehouse.arrow import collected
from mlm_ops.warehouse.files.read import read_file
from mlm_ops.warehouse.source import is_path, not_a_table, open_source, require_frame, require_text
from mlm_ops.warehouse.sql import identifier, text

_TABLE = "mlm_rows"
#: Types that polars does not have, or converts with a loss that makes different values equal.
_TYPES_AS_TEXT = re.compile(r"INTERVAL|BIT|TIME WITH TIME ZONE")


def read_rows(data: Any, connection: duckdb.DuckDBPyConnection | None = None) -> pl.DataFrame:
    """Read all rows, in their order, of any data that `open_source` takes."""
    if isinstance(data, pl.LazyFrame | pl.DataFrame):
        return collected(data)
    require_text(data)
    if isinstance(data, str | Path):
        if isinstance(data, Path) or is_path(data, connection):
            holder, relation = read_file(data, _TABLE)[0], identifier(_TABLE)
        else:
            relation = open_source(data, connection).relation
            assert connection is not None, "a table without one was refused"
            holder = connection
        # a relation, as DuckDB 2.0's results of execute() know no frames
        data = holder.sql(f"select * from {relation}")
    if isinstance(data, duckdb.DuckDBPyRelation):
        return _as_frame(data)
    require_frame(data)
    try:
        return pl.DataFrame(data)
    except Exception as error:  # any error that an unknown object raises when it is read
        raise not_a_table(data, pl.DataFrame) from error


def _as_frame(relation: duckdb.DuckDBPyRelation) -> pl.DataFrame:
    """Return the rows as a frame; values of types that polars does not have become text, as in the names of units."""
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    if any(_TYPES_AS_TEXT.fullmatch(kind) for kind in kinds.values()):
        expressions = [
            text(identifier(c)) if _TYPES_AS_TEXT.fullmatch(kind) else identifier(c) for c, kind in kinds.items()
        ]
        selection = [f"{sql} as {identifier(column)}" for sql, column in zip(expressions, kinds, strict=True)]
        relation = relation.project(", ".join(selection))
    rows: pl.DataFrame = relation.pl()
    return rows
