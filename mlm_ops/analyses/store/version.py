"""Share what reading and writing a store need: its version, the names of its views, the order of its runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mlm_ops.errors import StoreError

if TYPE_CHECKING:
    from mlm_ops.warehouse.connection import Connection

#: The version of the store's tables; it goes up when a table changes its meaning, not for a new column.
STORE_VERSION = 1
#: What to do with a store that was changed by hand.
REMEDY = "Restore the file from a copy, or remove it and run again."

#: Stored tables of lists, and the views that have a row for each number in the lists.
VIEWS_OF_LISTS = {"influence_lists": "influence"}
#: What is not published: rows about single groups that only the comparison of runs reads, here all tables of lists.
UNPUBLISHED = frozenset({*VIEWS_OF_LISTS, *VIEWS_OF_LISTS.values()})
#: What the names of views of the latest results begin with.
LATEST = "latest_"

#: The order of runs, the latest first: by their number in the order of writing; runs without one by their end.
LATEST_FIRST = "sequence desc nulls last, finished_at desc, run_id desc"


def check_version(connection: Connection, schema: str, columns: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a store of another version, or without a readable one.

    Parameters
    ----------
    columns
        As `columns_by_table` returns them.

    Raises
    ------
    StoreError
        With the contents of its table store_version.
    """
    names = list(columns.get("store_version", {}))
    if names != ["version"]:
        raise StoreError(
            f"The table {schema}.store_version is not as mlm-ops writes it. Got the columns {', '.join(names)}; "
            f"expected version. {REMEDY}"
        )
    rows = connection.execute(f"select version from {schema}.store_version limit 3").fetchall()
    if len(rows) != 1:
        row_count = "no row" if not rows else "several rows"
        raise StoreError(f"The table {schema}.store_version has {row_count}; expected one with the version. {REMEDY}")
    ((version,),) = rows
    if version != STORE_VERSION:
        raise StoreError(
            f"The schema {schema} has another store version. Got {version}; expected {STORE_VERSION}."
            " Use the mlm-ops that wrote it, or another database file."
        )


def columns_by_table(connection: Connection, schema: str) -> dict[str, dict[str, str]]:
    """Return the SQL types of the columns of every table."""
    columns: dict[str, dict[str, str]] = {}
    for table, column, kind in connection.execute(
        "select table_name, column_name, data_type from duckdb_columns() where database_name = current_database()"
        " and schema_name = ? order by table_name, column_index",
        [schema],
    ).fetchall():
        columns.setdefault(table, {})[column] = kind
    return columns
