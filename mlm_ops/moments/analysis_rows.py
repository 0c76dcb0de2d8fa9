"""The rows of an analysis: its ``data`` and ``where`` are a stranger's text until they are checked."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlm_ops.errors import DataError
from mlm_ops.moments.files import READERS, is_data_file, reader
from mlm_ops.moments.source import (
    TABLE,
    Source,
    condition,
    is_path,
    is_place,
    named_relation,
    no_such_table,
    open_source,
    quoted_table,
)
from mlm_ops.moments.untrusted import check_length, checked_select, is_table

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.language.analysis import Analysis

#: What a row filter is checked as the end of; DuckDB writes its own SQL so.
_PROBE = "SELECT 1 WHERE "


def open_rows(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> Source:
    """Open the rows that an analysis reads, if it may read them.

    Raises
    ------
    DataError
        The data or the row filter read more than the analysis may, do not exist, or do not run.
    """
    data, where, reach = _data(analysis, connection), analysis.where, analysis.reach
    if reach.everything:
        return _open(data, connection, where)
    # beside a file stands no table, also where the database has one of the name
    tables = _no_table if isinstance(data, Path) else partial(is_table, connection)
    if isinstance(data, str):
        check_length(data, "data")
        selected = f"select * from {named_relation(data)[0]}"
        if (checked := checked_select(selected, "data", reach, tables)) != selected:
            data = checked
    if where is not None:
        check_length(where, "where")
        filtered = f"{_PROBE}{condition(where)}"
        if (checked := checked_select(filtered, "where", reach, tables)) != filtered:
            where = checked.removeprefix(_PROBE)
    return _open(data, connection, where)


def _open(data: str | Path, connection: duckdb.DuckDBPyConnection, where: str | None) -> Source:
    """Open the rows on the connection itself: views and tables are made of them, and a copy would be elsewhere."""
    if not isinstance(data, Path):
        return open_source(data, connection, where)
    found = open_source(f"select * from {reader(data.resolve())}", connection, where)
    named = found.description.replace("the SELECT", str(data), 1)
    return replace(found, description=named, table=found.table.replace("the SELECT", str(data), 1))


def _data(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> str | Path:
    """A table, a SELECT, or the place of a file; ``a.csv`` is a table where the database has it."""
    data, reach = analysis.data.strip(), analysis.reach
    if TABLE.fullmatch(data):
        # a name without a dot is no file's
        if "." not in data or is_table(connection, quoted_table(data)):
            return data
        if not is_data_file(data):
            raise DataError(no_such_table(f"table {data}", connection))
        return reach.place(data)
    if is_path(data, connection):
        return reach.place(data)
    if is_place(data):
        raise DataError(
            f"The data are a file of a kind that is not read. Got {data}; expected a file that ends in "
            f"{', '.join(sorted(READERS))}, a table name or a SELECT."
        )
    return data


def _no_table(name: str) -> bool:
    return False
