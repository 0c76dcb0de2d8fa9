"""Which tables and views of a database are ours: a comment marks them, and nothing else is replaced or dropped.

A table of an earlier mlm-ops has no mark yet. It is taken for ours where its columns, or what lies beside it, say so:
never by its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlm_ops.errors import StoreError
from mlm_ops.warehouse.sql import literal, qualified

if TYPE_CHECKING:
    import duckdb

#: How the comment of everything that is ours begins.
PREFIX = "mlm-ops: "


@dataclass(frozen=True)
class Relation:
    """A table or view that is there.

    Attributes
    ----------
    database, schema, name
        As the database writes them.
    kind
        ``table`` or ``view``.
    comment
        What was said of it by COMMENT ON.
    sql
        Its definition.
    """

    database: str
    schema: str
    name: str
    kind: str
    comment: str | None
    sql: str

    @property
    def shown(self) -> str:
        """Its name as a person writes it."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Claim:
    """A name that something of ours takes, and by what it is known to be ours.

    Attributes
    ----------
    table
        Schema and name, perhaps with the database before them.
    mark
        What the comment says after `PREFIX`: what the table holds, and whose it is.
    remedy
        What to do where the name is taken.
    earlier
        Whether a table without a mark is one that an earlier mlm-ops made; by default none is.
    """

    table: tuple[str, ...]
    mark: str
    remedy: str
    earlier: Callable[[Relation], bool] = lambda _: False

    @property
    def comment(self) -> str:
        """The comment of what is made."""
        return PREFIX + self.mark

    @property
    def quoted(self) -> str:
        """The name in SQL."""
        return qualified(*self.table)


def with_schema(connection: duckdb.DuckDBPyConnection, parts: tuple[str, ...]) -> tuple[str, ...]:
    """The parts of a table's name, the current schema before one that stands alone."""
    if len(parts) > 1:
        return parts
    return (str(connection.execute("select current_schema()").fetchall()[0][0]), *parts)


def find_relations(
    connection: duckdb.DuckDBPyConnection, schema: str, database: str | None = None
) -> dict[str, Relation]:
    """Tables and views of a schema by name in lower case: DuckDB's names do not depend on case."""
    database_sql = "current_database()" if database is None else literal(database)
    rows = connection.execute(
        "select database_name, schema_name, table_name, 'table', comment, sql from duckdb_tables()"
        f" where database_name = {database_sql} and lower(schema_name) = lower({literal(schema)}) union all"
        " select database_name, schema_name, view_name, 'view', comment, sql from duckdb_views()"
        f" where database_name = {database_sql} and lower(schema_name) = lower({literal(schema)}) and not internal"
    ).fetchall()
    return {row[2].lower(): Relation(*row) for row in rows}


def columns_of(connection: duckdb.DuckDBPyConnection, relation: Relation) -> list[str]:
    """Names of its columns, in order."""
    names = qualified(relation.database, relation.schema, relation.name)
    return [row[0] for row in connection.execute(f"describe {names}").fetchall()]


def check_ours(
    connection: duckdb.DuckDBPyConnection, claim: Claim, relations: Mapping[str, Relation] | None = None
) -> bool:
    """Refuse a name that something else has; tell whether the table is there, ours and marked.

    Parameters
    ----------
    present
        What `find_relations` says of the schema, where it was asked already.

    Raises
    ------
    StoreError
        A table or view has the name that was not made by mlm-ops, or by another analysis.
    """
    *place, schema, name = claim.table
    relation = (find_relations(connection, schema, *place) if relations is None else relations).get(name.lower())
    if relation is None:
        return False
    if relation.comment == claim.comment:
        return True
    if relation.comment is None or not relation.comment.startswith(PREFIX):
        if claim.earlier(relation):
            return False
        raise StoreError(
            f"{relation.shown} is a {relation.kind} that mlm-ops did not make, and the {claim.mark} would take its place. "
            f"{claim.remedy}"
        )
    raise StoreError(
        f"{relation.shown} holds the {relation.comment.removeprefix(PREFIX)}, and the {claim.mark} would take its place. "
        f"{claim.remedy}"
    )


def adopt(connection: duckdb.DuckDBPyConnection, claim: Claim) -> None:
    """Check a table that may be there, and mark one of an earlier mlm-ops.

    Raises
    ------
    StoreError
        As `check_ours`.
    """
    *place, schema, name = claim.table
    relation = find_relations(connection, schema, *place).get(name.lower())
    if relation is not None and not check_ours(connection, claim):
        _mark(connection, relation.kind, claim)


def replace_table(connection: duckdb.DuckDBPyConnection, claim: Claim, body: str) -> None:
    """Make a table of a query, or make it anew where it is ours.

    Raises
    ------
    StoreError
        As `check_ours`. Nothing is then changed.
    """
    check_ours(connection, claim)
    connection.execute(f"create or replace table {claim.quoted} {body}")
    _mark(connection, "table", claim)


def replace_view(
    connection: duckdb.DuckDBPyConnection, claim: Claim, query: str, relations: Mapping[str, Relation] | None = None
) -> None:
    """Make a view, or make it anew where it is ours.

    Raises
    ------
    StoreError
        As `check_ours`. Nothing is then changed.
    """
    check_ours(connection, claim, relations)
    connection.execute(f"create or replace view {claim.quoted} as {query}")
    _mark(connection, "view", claim)


def drop(connection: duckdb.DuckDBPyConnection, claim: Claim) -> None:
    """Remove a table or view that is ours.

    Raises
    ------
    StoreError
        As `check_ours`. Nothing is then changed.
    """
    *place, schema, name = claim.table
    check_ours(connection, claim)
    if (relation := find_relations(connection, schema, *place).get(name.lower())) is not None:
        connection.execute(f"drop {relation.kind} {claim.quoted}")


def _mark(connection: duckdb.DuckDBPyConnection, kind: str, claim: Claim) -> None:
    connection.execute(f"comment on {kind} {claim.quoted} is {literal(claim.comment)}")


def check_not_read(connection: duckdb.DuckDBPyConnection, claim: Claim, relation: str) -> None:
    """Refuse to replace a table by what is read from it, also through views: it would lose rows at every run.

    Parameters
    ----------
    relation
        What stands after FROM.

    Raises
    ------
    StoreError
        The query reads the table.
    """
    schema, name = (part.lower() for part in claim.table[-2:])
    plan = connection.execute(f"explain (format json) select * from {relation}").fetchall()[0][1]
    for table in _scanned_tables(json.loads(plan)):
        # database.schema.name, quoted where it has to be; DuckDB 1.4 writes the name alone
        text = table.replace('"', "").lower()
        if text == name or f".{text}".endswith(f".{schema}.{name}"):
            raise StoreError(
                f"{'.'.join(claim.table)} is read by the data, and the {claim.mark} would take its place: rows would "
                f"be lost at every run. {claim.remedy}"
            )


def _scanned_tables(plan: Any) -> Iterator[str]:
    """Tables in a plan as EXPLAIN writes it, views resolved."""
    for node in plan if isinstance(plan, list) else [plan]:
        if table := node.get("extra_info", {}).get("Table"):
            yield str(table)
        yield from _scanned_tables(node.get("children", []))
