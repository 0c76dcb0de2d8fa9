"""Check a results store before it is read: the types of its columns, and the rows of table ``runs``.

A store is a file that anyone may change, so every reader checks it here, and a change by hand is named in the error.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlm_ops.analyses.store.version import REMEDY
from mlm_ops.errors import StoreError
from mlm_ops.results.tables.columns import SQL_TYPES, ColumnTypes
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.sql import identifier, qualified

#: Columns of ``runs`` that are never null; below, those of them that are times, which must be finite.
_REQUIRED = ("run_id", "analysis", "started_at", "finished_at", "data", "n_rows", "n_obs", "n_dropped", "status")
_TIMES = ("started_at", "finished_at")
_NAMES = {"varchar": "VARCHAR", "double": "DOUBLE", "bigint": "BIGINT", "boolean": "BOOLEAN"} | {
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "double[]": "DOUBLE[]",
}


def check_tables(
    connection: Connection, schema: str, tables: Mapping[str, ColumnTypes], present: Mapping[str, Mapping[str, str]]
) -> None:
    """Refuse a store whose tables were changed by hand; columns that a later version added may be missing.

    Parameters
    ----------
    tables
        The columns that tables should have.
    present
        Those that they have, as `columns_by_table` returns them.

    Raises
    ------
    StoreError
        A column has another type, or a row of ``runs`` lacks a required value.
    """
    for table, columns in tables.items():
        for column, kind in columns.items():
            got, expected = present.get(table, {}).get(column), _NAMES[SQL_TYPES[kind]]
            if got is not None and got != expected:
                raise StoreError(
                    f"The table {schema}.{table} was not written by mlm-ops alone: its column {column} has another "
                    f"type. Got {got}; expected {expected}. {REMEDY}"
                )
    run_columns = present.get("runs", {})
    if missing := [name for name in _REQUIRED if name not in run_columns]:
        raise StoreError(f"The table {schema}.runs lacks {', '.join(missing)}. {REMEDY}")
    gaps = [f"{identifier(name)} is null" for name in _REQUIRED]
    gaps += [f"not isfinite({identifier(name)})" for name in _TIMES]
    rows = connection.execute(
        f"select run_id from {qualified(schema, 'runs')} where {' or '.join(gaps)} limit 1"
    ).fetchall()
    if rows:
        raise StoreError(
            f"The table {schema}.runs has a run without {', '.join(_REQUIRED[2:])}, or with an infinite time. Got "
            f"the run {rows[0][0]}. Remove it: delete from {schema}.runs where run_id = …"
        )
