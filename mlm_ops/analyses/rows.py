"""Open the rows that an analysis reads, as far as it is allowed to read them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlm_ops.errors import DataError
from mlm_ops.warehouse.files import READERS, is_data_file, reader
from mlm_ops.warehouse.sandbox import check_length, checked_select, is_table
from mlm_ops.warehouse.source import (
    TABLE,
    Source,
    condition,
    is_path,
    looks_like_path,
    named_relation,
    no_such_table,
    open_source,
    quoted_table,
)

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.analyses.file.analysis import Analysis

#: A row filter is checked as the end of this query, which is spelled as DuckDB spells SQL.
_PROBE = "SELECT 1 WHERE "


def open_rows(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> Source:
    """Open the rows that an analysis reads, if it is allowed to read them.

    Raises
    ------
    DataError
        The data or the row filter read more than the analysis is allowed to, do not exist, or do not run.
    """
    data, where, reach = _table_or_file(analysis, connection), analysis.where, analysis.reach
    if reach.everything:
        return _open(data, connection, where)
    # for a data file the row filter may read no table, not even one with the file's name
    tables = _no_tables if isinstance(data, Path) else partial(is_table, connection)
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
    """Open the rows on the given connection, also those of a file: views and tables are then made of them there."""
    if not isinstance(data, Path):
        return open_source(data, connection, where)
    source = open_source(f"select * from {reader(data.resolve())}", connection, where)
    file_description = source.description.replace("the SELECT", str(data), 1)
    return replace(source, description=file_description, table=source.table.replace("the SELECT", str(data), 1))


def _table_or_file(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> str | Path:
    """Return a table name, a SELECT, or the path of a file; ``a.csv`` is a table where the database has one."""
    data, reach = analysis.data.strip(), analysis.reach
    if TABLE.fullmatch(data):
        # the name of a data file has a dot
        if "." not in data or is_table(connection, quoted_table(data)):
            return data
        if not is_data_file(data):
            raise DataError(no_such_table(f"table {data}", connection))
        return reach.place(data)
    if is_path(data, connection):
        return reach.place(data)
    if looks_like_path(data):
        raise DataError(
            f"The data are a file of a kind that is not read. Got {data}; expected a file that ends in "
            f"{', '.join(sorted(READERS))}, a table name or a SELECT."
        )
    return data


def _no_tables(name: str) -> bool:
    return False
