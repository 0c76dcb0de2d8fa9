"""Open the rows that an analysis reads, as far as it is allowed to read them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.warehouse.files.kinds import data_suffixes, is_data_file, stem_of
from mlm_ops.warehouse.files.read import load_planned, plan_file
from mlm_ops.warehouse.files.reading import FileOptions
from mlm_ops.warehouse.relation import TABLE, named_relation, quoted_table
from mlm_ops.warehouse.row_filter import condition
from mlm_ops.warehouse.sandbox import Reach, check_length, checked_select, is_table, tables_named
from mlm_ops.warehouse.source import Source, is_path, is_select, looks_like_path, no_such_table, open_source
from mlm_ops.warehouse.sql import qualified

if TYPE_CHECKING:
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
    if analysis.options is not None and not isinstance(data, Path):
        raise DataError(
            f"The key options says how a data file is read. Got the data {analysis.data}; leave options out, or name a "
            "file."
        )
    if reach.everything:
        return _open(data, connection, where, analysis.options)
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
    return _open(data, connection, where, analysis.options)


def _open(
    data: str | Path, connection: duckdb.DuckDBPyConnection, where: str | None, options: FileOptions | None
) -> Source:
    """Open the rows on the given connection, also those of a file: views and tables are then made of them there."""
    if not isinstance(data, Path):
        return open_source(data, connection, where)
    path = data.resolve()
    reading = plan_file(path, options)
    if (relation := reading.relation) is None:
        # by the whole path: files of two folders may have one name
        relation = qualified("temp", "main", f"mlm_file_{path}")
        load_planned(connection, path, relation, options, temporary=True)
    try:
        source = open_source(f"select * from {relation}", connection, where)
    except DataError as error:
        raise DataError(str(error).replace("the SELECT", str(data), 1)) from error
    return replace(
        source,
        description=source.description.replace("the SELECT", str(data), 1),
        table=source.table.replace("the SELECT", str(data), 1),
        reading=reading,
        lasting=reading.relation is not None,
    )


def _table_or_file(analysis: Analysis, connection: duckdb.DuckDBPyConnection) -> str | Path:
    """Return a table name, a SELECT, or the path of a file; ``a.csv`` is a table where the database has one."""
    data, reach = analysis.data.strip(), analysis.reach
    if TABLE.fullmatch(data):
        # the name of a data file has a dot
        if is_table(connection, quoted_table(data)):
            return data
        if "." not in data:
            if hint := similar_file(data, reach):
                raise DataError(no_such_table(f"table {data}", connection) + hint)
            return data
        if not is_data_file(data):
            raise DataError(no_such_table(f"table {data}", connection) + similar_file(data, reach))
        return reach.place(data)
    if is_path(data, connection):
        return reach.place(data)
    if looks_like_path(data):
        places = [folder / data for folder in reach.folders] or [Path(data)]
        inside = [place for place in places if reach.everything or reach.resolved(place) is not None]
        # what lies outside of the project is a folder by the end of its name: whether it is there must not be told
        if any(map(os.path.isdir, inside)) or (not inside and data.endswith(("/", "\\"))):
            return reach.place(data)
        raise DataError(
            f"The data are a file of a kind that is not read. Got {data}; expected a file that ends in "
            f"{data_suffixes()}, a table name or a SELECT.{similar_file(data, reach)}"
        )
    return data


def similar_file(data: str, reach: Reach) -> str:
    """Return " Did you mean …?" with a data file of the project that is called so but for its suffix; else nothing."""
    name = Path(data)
    for folder in reach.folders or (Path(),):
        place = folder / name.parent
        if not reach.everything and reach.resolved(place) is None:
            continue
        with suppress(OSError):
            files = sorted(path.name for path in place.iterdir() if is_data_file(path) and path.is_file())
            for file in files:
                if stem_of(Path(file)).lower() == name.name.lower():
                    return f" Did you mean the file {(name.parent / file).as_posix()}?"
    return ""


def check_data(analysis: Analysis) -> None:
    """Refuse data that are neither a name nor a SELECT, and a SELECT that may not run; nothing is opened.

    Raises
    ------
    DataError
        With what is wrong about the text.
    """
    data = analysis.data.strip()
    if _is_path(data):
        return
    check_length(data, "data")
    relation, _ = named_relation(data)
    if is_select(data) and not analysis.reach.everything:
        # which tables there are only the database knows
        checked_select(f"select * from {relation}", "data", analysis.reach, _plain_names)


def names_a_file(data: str) -> bool:
    """Whether data that are named so are a file, unless a database has a table of schema and name such as a.csv.

    A SELECT that reads files alone is one too: it needs no database.
    """
    text = data.strip()
    return all(map(is_data_file, _tables_of(text))) if is_select(text) else _is_path(text)


def _is_path(text: str) -> bool:
    return "\n" not in text and (looks_like_path(text) or (is_data_file(text) and is_path(text, None)))


def _tables_of(select: str) -> tuple[str, ...]:
    try:
        return tables_named(select, "data")
    except DataError:
        # SQL that is no plain SELECT, which the caller has allowed, needs a database
        return ("",)


def _plain_names(name: str) -> bool:
    """Whether a quoted name may be a table's with schema and catalog, and is no path or address."""
    return (
        TABLE.fullmatch(name) is not None and re.search(r"[/\\:]", name) is None and not is_data_file(name.strip('"'))
    )


def _no_tables(name: str) -> bool:
    return False
