"""Read a data file into a table, or find the SQL that reads it; what was assumed is logged in one line."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.language.spelling import did_you_mean, list_names
from mlm_ops.logs import Event, tell
from mlm_ops.warehouse.connection import registered
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.files.cells import change_cells
from mlm_ops.warehouse.files.delimited import Hold, read_delimited
from mlm_ops.warehouse.files.folders import parquet_files, parquet_folder
from mlm_ops.warehouse.files.kinds import FileKind, kind_of, suffix_of
from mlm_ops.warehouse.files.reading import PATH, FileOptions, Reading, located, selected
from mlm_ops.warehouse.sql import identifier, qualified

_READERS = {
    FileKind.JSON: f"read_json({PATH}, sample_size = -1, hive_partitioning = false)",
    # a folder called k=1 does not add a column k
    FileKind.PARQUET: f"read_parquet({PATH}, hive_partitioning = false)",
}
_OF_TEXT = ("delimiter", "quote", "encoding", "header")
_OF_NUMBERS = ("decimal", "thousands")
#: The table of a file before its rows are in order.
_UNORDERED = qualified("temp", "main", "mlm_file")


def read_file(
    path: Path | str, table: str, options: FileOptions | None = None, columns: Collection[str] | None = None
) -> tuple[duckdb.DuckDBPyConnection, Reading]:
    """Read a data file into `table` of a new database in memory.

    Parameters
    ----------
    columns
        Columns that somebody asks for; None for all. Others may be left out: the reading says which.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, unreadable, or has no rows.
    """
    connection = duckdb.connect()
    try:
        reading = load_file(connection, path, identifier(table), options, columns=columns)
        if not connection.execute(f"select 1 from {identifier(table)} limit 1").fetchall():
            raise DataError(f"{path} has no rows.")
    except BaseException:
        connection.close()
        raise
    return connection, reading


def load_file(
    connection: duckdb.DuckDBPyConnection,
    path: Path | str,
    table: str,
    options: FileOptions | None = None,
    *,
    temporary: bool = False,
    columns: Collection[str] | None = None,
    order: Sequence[str] = (),
) -> Reading:
    """Read a data file into a table, which is replaced.

    Parameters
    ----------
    table
        The table, quoted.
    temporary
        Whether the table ends with the connection.
    columns
        As `read_file` takes it.
    order
        Columns by which the rows are put in order.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, unreadable, or has no column of the order.
    """
    if not order:
        reading = load_planned(connection, path, table, options, temporary=temporary, columns=columns)
    else:
        # how a file is written is found out by its first rows, so that they are put in order afterwards
        reading = load_planned(connection, path, _UNORDERED, options, temporary=True, columns=columns)
        names = {name.lower(): name for name in _types(connection, _UNORDERED)}
        if missing := next((name for name in order if name.lower() not in names), None):
            raise DataError(
                f"Column {missing!r} is not in {path}.{did_you_mean(missing, names.values())} Its columns are "
                f"{list_names(names.values())}."
            )
        kind, ordered = "temp table" if temporary else "table", ", ".join(map(identifier, order))
        connection.execute(f"create or replace {kind} {table} as select * from {_UNORDERED} order by {ordered}")
        connection.execute(f"drop table {_UNORDERED}")
    _say(reading)
    return reading


def load_planned(
    connection: duckdb.DuckDBPyConnection,
    path: Path | str,
    table: str,
    options: FileOptions | None = None,
    *,
    temporary: bool = False,
    columns: Collection[str] | None = None,
) -> Reading:
    """Read a data file as `load_file` does, but say nothing of what is assumed: `plan_file` has said it."""
    kind = "temp table" if temporary else "table"

    def hold(rows: str) -> str:
        connection.execute(f"create or replace {kind} {table} as select * from {rows}")
        return table

    return _read(connection, Path(path), options or FileOptions(), hold, columns)


def plan_file(path: Path | str, options: FileOptions | None = None) -> Reading:
    """Find out how a data file is read, by reading it once; its SQL is None where DuckDB cannot read it.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, or unreadable.
    """
    path = Path(path)
    kind_of(path)
    # a folder is the same when a file is added to a folder in it
    files = parquet_files(path) if path.is_dir() else [path]
    return _plan(path, options or FileOptions(), tuple((file, *_version(file)) for file in files))


def _version(file: Path) -> tuple[int, int, int]:
    facts = file.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino


@lru_cache(maxsize=32)
def _plan(path: Path, options: FileOptions, _versions: tuple[tuple[Path, int, int, int], ...]) -> Reading:
    """Plan a file, anew when its version is another one."""
    with duckdb.connect() as connection:

        def count(rows: str) -> str:
            # every cell is read and converted, and none is kept
            connection.execute(f"select count(columns(*)) from {rows}").fetchall()
            return rows

        reading = _read(connection, path, options, count)
    _say(reading)
    return reading


def _read(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    options: FileOptions,
    hold: Hold,
    columns: Collection[str] | None = None,
) -> Reading:
    kind = kind_of(path)
    _check_options(path, kind, options)
    try:
        match kind:
            case FileKind.DELIMITED:
                return read_delimited(connection, path, options, hold, columns)
            case FileKind.JSON | FileKind.PARQUET:
                return _by_duckdb(connection, path, kind, options, hold, columns)
        return _by_library(connection, path, kind, options, hold)
    except duckdb.Error as error:
        raise DataError(f"{path} cannot be read as {suffix_of(path)[1:]}: {why_it_failed(error)}") from error


def _by_duckdb(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    kind: FileKind,
    options: FileOptions,
    hold: Hold,
    columns: Collection[str] | None,
) -> Reading:
    """Read a file, or a folder, whose columns have types of their own."""
    sql = parquet_folder(path) if path.is_dir() else _READERS[kind]
    rows = located(sql, path)
    # to know the columns of JSON all of it is read
    if kind is FileKind.PARQUET and columns is not None and not options.null:
        types = _types(connection, rows)
        columns_left_out = [name for name in types if name not in columns]
        if 0 < len(columns_left_out) < len(types):
            hold(selected(rows, types, columns_left_out))
            return Reading(path, kind, sql, types=types)
    rows = hold(rows)
    reading = Reading(path, kind, sql)
    if not options.null:
        return reading
    types = _types(connection, rows)
    cells = change_cells(connection.execute, rows, types, options, "", find=False)
    if cells.changed:
        hold(selected(rows, list(types), (), cells.changed))
    return replace(reading, sql=selected(sql, list(types), (), cells.changed), changed=cells.changed)


def _by_library(
    connection: duckdb.DuckDBPyConnection, path: Path, kind: FileKind, options: FileOptions, hold: Hold
) -> Reading:
    """Read a file that DuckDB cannot; only Excel's cells have types of their own, which may differ in one column."""
    from mlm_ops.warehouse.files.libraries import read_with_library  # with polars, which CSV files do not need

    frame, remarks, row_names = read_with_library(path, kind, options)
    with registered(connection, frame) as name:
        rows = hold(name)
        types = _types(connection, rows)
        cells = change_cells(connection.execute, rows, types, options, "", find=kind is FileKind.EXCEL)
        if cells.changed:
            hold(selected(rows, list(types), (), cells.changed))
    remarks = (*remarks, *cells.remarks)
    return Reading(path, kind, None, changed=cells.changed, row_names=row_names, remarks=remarks, sheet=options.sheet)


def _types(connection: duckdb.DuckDBPyConnection, rows: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"describe select * from {rows}").fetchall()}


def _check_options(path: Path, kind: FileKind, options: FileOptions) -> None:
    """Refuse options that say nothing about a file of this kind."""
    fitting = {"null"}
    if kind is FileKind.DELIMITED:
        fitting |= {*_OF_TEXT, *_OF_NUMBERS}
    if kind is FileKind.EXCEL:
        fitting |= {*_OF_NUMBERS, "sheet"}
    wrong = [name for name, value in vars(options).items() if value is not None and name not in fitting]
    if wrong:
        what = "a folder of Parquet files" if path.is_dir() else f"{kind}"
        raise DataError(
            f"{path} is {what}, which has no {wrong[0]}. Of options, it can have {', '.join(sorted(fitting))}."
        )


def _say(reading: Reading) -> None:
    if reading.assumptions:
        tell(Event.READ, f"{reading.path.name}: {reading.assumptions}.", file=str(reading.path))
