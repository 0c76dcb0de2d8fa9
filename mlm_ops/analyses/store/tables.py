"""Result tables in DuckDB: make one, append a frame to it, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import duckdb
import polars as pl

from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.errors import StoreError
from mlm_ops.moments.storage import transaction
from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, Kind, Schema
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.faults import error_class, why_it_failed
from mlm_ops.warehouse.ownership import Claim, Relation, check_ours, columns_of
from mlm_ops.warehouse.sql import identifier, literal, qualified

SQL_TYPES: dict[Kind, str] = {
    TEXT: "varchar",
    REAL: "double",
    COUNT: "bigint",
    FLAG: "boolean",
    pl.Datetime("us", "UTC"): "timestamptz",
}


def claim_of(connection: Connection, schema: str, name: str, columns: Schema, mark: str) -> Claim:
    """What makes a table of ours: its mark, or, of an earlier mlm-ops, its first two columns."""
    keys = list(columns)[:2]

    def is_earlier(relation: Relation) -> bool:
        return relation.kind == "table" and columns_of(connection, relation)[:2] == keys

    return Claim((schema, name), mark, "Rename it, or use another database file.", is_earlier)


def create_table(
    connection: Connection, schema: str, name: str, columns: Schema, mark: str, relations: Mapping[str, Relation]
) -> None:
    """Make a table with `columns`, or add to the one that is there the columns that it lacks.

    Parameters
    ----------
    mark
        What its comment says that it holds.
    present
        The tables and views of the schema.

    Raises
    ------
    StoreError
        A table or view has the name that was not made by mlm-ops: it has neither the mark nor the first two columns.
    """
    table, claim = qualified(schema, name), claim_of(connection, schema, name, columns, mark)
    is_marked = check_ours(connection, claim, relations)
    typed = {column: f"{identifier(column)} {SQL_TYPES[kind]}" for column, kind in columns.items()}
    connection.execute(f"create table if not exists {table} ({', '.join(typed.values())})")
    present_columns = connection.sql(f"from {table}").columns
    for column in [name for name in typed if name not in present_columns]:
        connection.execute(f"alter table {table} add column {typed[column]}")
    if not is_marked:
        connection.execute(f"comment on table {table} is {literal(claim.comment)}")


def insert_frame(connection: Connection, table: str, frame: pl.DataFrame, columns: Schema) -> None:
    """Append `frame`, brought to the types of `columns`."""
    ordered = frame.select(pl.col(name).cast(kind) for name, kind in columns.items())
    with registered(connection, "mlm_frame", ordered):
        connection.execute(f"insert into {table} by name from mlm_frame")


@contextmanager
def registered(connection: Connection, name: str, frame: pl.DataFrame) -> Iterator[None]:
    """Let SQL read a frame by `name` for the time of a block."""
    connection.register(name, ArrowStream(frame))
    try:
        yield
    finally:
        # in a transaction that has failed this fails too, and the first reason is the one to tell
        with suppress(duckdb.Error):
            connection.unregister(name)


def check_results(tables: Mapping[str, pl.DataFrame]) -> None:
    """Compare names and columns with `mlm_ops.results.tables.TABLES`; all faults together."""
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
    """Keep all that the block writes, or nothing of it."""
    try:
        with transaction(connection):
            yield
    except (duckdb.Error, pl.exceptions.PolarsError) as error:
        raise error_class(error)(f"The results of {what} could not be written: {why_it_failed(error)}") from error
