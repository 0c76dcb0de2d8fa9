"""Open the rows to which a formula is fitted: a data file, a table of a database, or a SELECT."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlm_ops.cli.messages import command, short_path
from mlm_ops.errors import DataError, MlmError, StoreError

if TYPE_CHECKING:
    from mlm_ops.analyses.file.analysis import Analysis


def with_rows(options: Namespace, use: Callable[[Any, Any], None]) -> None:
    """Call a function with the rows, and the connection to them where they are a table or a SELECT.

    Raises
    ------
    DataError
        The rows cannot be read, or an option does not go with them.
    """
    from mlm_ops.warehouse.files.kinds import is_database, refuse_address
    from mlm_ops.warehouse.source import is_select, open_source

    refuse_address(options.data)
    path, is_sql = Path(options.data), is_select(options.data)
    in_database = not is_sql and is_database(path)
    if not in_database:
        refuse_table(options.data, options.table)
    if options.null and (in_database or is_sql):
        raise DataError(
            f"--null is for data files, whose cells are words. Got {options.data}; write nullif(x, -99) in a SELECT."
        )
    if in_database:
        from mlm_ops.warehouse.connection import open_database

        connection, table = open_database(path, options.table, wait=options.wait)
        with connection:
            use(table, connection)
    elif is_sql:
        from mlm_ops.warehouse.connection import in_memory

        with in_memory() as connection:
            use(options.data, connection)
    elif options.null:
        from mlm_ops.warehouse.files.reading import FileOptions

        use(open_source(path, options=FileOptions(null=tuple(options.null))), None)
    else:
        use(path, None)


def refuse_table(data: Path | str, table: str | None) -> None:
    """Refuse the name of a table beside data that have no tables.

    Raises
    ------
    DataError
        With what was given.
    """
    if table is not None:
        raise DataError(f"A table can be chosen in a DuckDB file only. Got {data} and the table {table}.")


def require_data(options: Namespace, what: str) -> None:
    """Refuse a formula or another model without a data file.

    Raises
    ------
    MlmError
        With the command as it is meant.
    """
    if options.data is None:
        words = command(options.command, shlex.quote(options.what))
        raise MlmError(f"{what} is fitted to one data file: {words} data.csv")


def database_of_table(options: Namespace, analysis: Analysis) -> Path:
    """Return the database that holds the table of an analysis.

    Raises
    ------
    MlmError, StoreError
        It is not named, or not there.
    """
    from mlm_ops.analyses.rows import similar_file

    path: Path | None = options.database
    if path is None:
        words = command(options.command, shlex.quote(options.what), database="FILE.duckdb")
        hint = similar_file(analysis.data.strip(), analysis.reach)
        raise MlmError(f"An analysis file is fitted in a database: {words}{'.' + hint if hint else ''}")
    if not path.exists():
        raise StoreError(
            f"There is no database at {short_path(path)}. Name the DuckDB file that holds {analysis.data}."
        )
    return path


def refuse_beside_file(options: Namespace, names: Iterable[str]) -> None:
    """Refuse data and options of formulas beside an analysis file.

    Raises
    ------
    MlmError
        With what was given.
    """
    if options.data is not None:
        raise MlmError(
            f"An analysis file names its data itself, by its key data. Got {options.data} beside {options.what}; leave "
            "it out, or change the key."
        )
    conflicts = [f"--{name}" for name in names if getattr(options, name) is not None]
    if conflicts:
        raise MlmError(
            f"An analysis file sets these options itself, by its keys. Got {', '.join(conflicts)} beside "
            f"{options.what}; leave {'it' if len(conflicts) == 1 else 'them'} out."
        )
