"""Read a CSV or Parquet file into a table in memory; each failure is one sentence that names the file."""

from __future__ import annotations

from pathlib import Path

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.sql import file_literal, identifier

#: How DuckDB reads each kind of data file. R writes a missing value as NA. A folder called k=1 does not add a column k.
READERS = {
    ".csv": "read_csv({path}, sample_size = -1, nullstr = ['', 'NA'], hive_partitioning = false)",
    ".tsv": "read_csv({path}, sample_size = -1, nullstr = ['', 'NA'], hive_partitioning = false)",
    ".parquet": "read_parquet({path}, hive_partitioning = false)",
}
DATABASE_SUFFIXES = frozenset({".duckdb", ".db", ".ddb"})


def is_database(path: Path | str) -> bool:
    """Whether a path has the suffix of a DuckDB file."""
    return Path(path).suffix.lower() in DATABASE_SUFFIXES


def is_data_file(path: Path | str) -> bool:
    """Whether a path has the suffix of a file that `read_file` reads."""
    return Path(path).suffix.lower() in READERS


def reader(path: Path | str) -> str:
    """Return the call of the SQL table function that reads a data file.

    Raises
    ------
    DataError
        The file is missing, empty, or of an unknown kind.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a data file. Name a file in it.")
    if not path.is_file():
        raise DataError(f"There is no file {path}.")
    if kind in DATABASE_SUFFIXES:
        raise DataError(
            f"{path} is a database: give the name of a table in it, with connection=duckdb.connect({str(path)!r})."
        )
    if kind not in READERS:
        expected = ", ".join(sorted([*READERS, *DATABASE_SUFFIXES]))
        raise DataError(
            f"{path} is of a kind that cannot be read. Got {kind or 'no suffix'}; expected one of {expected}."
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")
    return READERS[kind].format(path=file_literal(path))


def read_file(path: Path | str, table: str) -> duckdb.DuckDBPyConnection:
    """Read a data file into `table` of a new database in memory.

    Raises
    ------
    DataError
        The file is missing, of an unknown kind, unreadable, or has no rows.
    """
    path = Path(path)
    read = reader(path)
    connection = duckdb.connect()
    try:
        connection.execute(f"create table {identifier(table)} as select * from {read}")
        filled = connection.execute(f"select 1 from {identifier(table)} limit 1").fetchall()
    except duckdb.Error as error:
        connection.close()
        raise DataError(f"{path} cannot be read as {path.suffix.lower()[1:]}: {why_it_failed(error)}") from error
    if not filled:
        connection.close()
        raise DataError(f"{path} has no rows.")
    return connection
