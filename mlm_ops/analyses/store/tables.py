"""Create result tables in DuckDB and append frames to them, in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import polars as pl

from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.errors import StoreError
from mlm_ops.moments.storage import transaction
from mlm_ops.results.tables.columns import SQL_TYPES, ColumnTypes
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.connection import Connection, registered
from mlm_ops.warehouse.faults import error_class, why_it_failed
from mlm_ops.warehouse.ownership import Claim, Relation, check_ours, columns_of
from mlm_ops.warehouse.sql import identifier, literal, qualified


def claim_of(
    connection: Connection, schema: str, name: str, columns: ColumnTypes, mark: str, description: str = ""
) -> Claim:
    """Claim a result table; one that an earlier mlm-ops made is recognised by its first two columns."""
    keys = list(columns)[:2]

    def is_earlier(relation: Relation) -> bool:
        return relation.kind == "table" and columns_of(connection, relation)[:2] == keys

    return Claim((schema, name), mark, "Rename it, or use another database file.", is_earlier, description)


def create_table(
    connection: Connection,
    schema: str,
    name: str,
    columns: ColumnTypes,
    mark: str,
    relations: Mapping[str, Relation],
    description: str = "",
) -> None:
    """Create a table with `columns`, or add the columns that an existing one lacks.

    Parameters
    ----------
    mark, description
        The mark in its comment, and what its rows are.
    relations
        The tables and views of the schema.

    Raises
    ------
    StoreError
        A table or view of that name was not made by mlm-ops: it has neither the mark nor the first two columns.
    """
    table, claim = qualified(schema, name), claim_of(connection, schema, name, columns, mark, description)
    check_ours(connection, claim, relations)
    typed = {column: f"{identifier(column)} {SQL_TYPES[kind]}" for column, kind in columns.items()}
    if name.lower() not in relations:
        connection.execute(f"create table if not exists {table} ({', '.join(typed.values())})")
    present_columns = connection.sql(f"from {table}").columns
    for column in [name for name in typed if name not in present_columns]:
        connection.execute(f"alter table {table} add column {typed[column]}")
    relation = relations.get(name)
    if relation is None or relation.comment != claim.comment:
        connection.execute(f"comment on table {table} is {literal(claim.comment)}")


def describe_columns(connection: Connection, schema: str, texts: Mapping[tuple[str, str], str]) -> None:
    """Give columns of tables and views their texts as comments, where they have others or none.

    Parameters
    ----------
    texts
        By table and column; a column that there is not is passed over.
    """
    rows = connection.execute(
        "select table_name, column_name, comment from duckdb_columns() where database_name = current_database()"
        " and schema_name = ?",
        [schema],
    ).fetchall()
    for table, column, comment in rows:
        text = texts.get((table, column), comment)
        if text != comment:
            name = f"{qualified(schema, table)}.{identifier(column)}"
            connection.execute(f"comment on column {name} is {literal(text)}")


def insert_frame(connection: Connection, table: str, frame: pl.DataFrame, columns: ColumnTypes) -> None:
    """Append `frame` to a table, with its columns cast to the types of `columns`."""
    ordered = frame.select(pl.col(name).cast(kind) for name, kind in columns.items())
    if ordered.is_empty():
        return
    with registered(connection, ArrowStream(ordered)) as name:
        connection.execute(f"insert into {table} by name from {name}")


def check_results(tables: Mapping[str, pl.DataFrame]) -> None:
    """Refuse frames whose names or columns are not those of `TABLES`, all faults in one error."""
    faults = []
    for name, frame in tables.items():
        if name not in TABLES:
            faults.append(f"there is no table {name}")
            continue
        expected = {"model", *TABLES[name]}
        if missing := sorted(expected - set(frame.columns)):
            faults.append(f"{name} lacks {', '.join(missing)}")
        if extra := sorted(set(frame.columns) - expected):
            faults.append(f"{name} has no column {', '.join(extra)}")
    if faults:
        raise StoreError(f"These results do not fit the store: {'; '.join(faults)}.")


@contextmanager
def all_or_nothing(connection: Connection, what: str) -> Iterator[None]:
    """Run a block in one transaction, so that all of its rows are written or none."""
    try:
        with transaction(connection):
            yield
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        raise error_class(error)(f"The results of {what} could not be written: {why_it_failed(error)}") from error
