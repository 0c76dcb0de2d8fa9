"""Open the rows that a formula is fitted to: a data file, a table of a database, or a SELECT."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mlm_ops.errors import DataError, MlmError


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
    if options.table is not None and not in_database:
        raise DataError(
            f"A table can be chosen in a DuckDB file only. Got {options.data} and the table {options.table}."
        )
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
