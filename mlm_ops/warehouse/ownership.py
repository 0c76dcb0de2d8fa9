"""Replace and drop only tables and views that mlm-ops made; a comment on each marks them ("ours" in this module).

A comment is ``mlm-ops: mark``, or ``mlm-ops: mark | description``: the mark says whose the table is, the description is
for readers of the database and may change from version to version.

A table that an earlier mlm-ops made has no mark yet. It is recognised by its columns or by the tables beside it, never
by its name.
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

#: The schemas of the results store, and of the rows of a run that is not finished.
RESULTS, STAGING = SCHEMAS = ("mlm", "mlm_staging")
#: What the names of an analysis' own tables end in, after the analysis' name: of moments, what describes them, and rows
#: with their within/between split, those that Polars made beside the ones of SQL too.
MOMENTS, DESCRIPTION, CENTERED, CENTERED_IN_POLARS = TABLE_SUFFIXES = (
    "_moments",
    "_moments_description",
    "_centered",
    "_centered_in_polars",
)
#: The beginning of the comment on every table and view that mlm-ops made.
PREFIX = "mlm-ops: "
#: What stands between the mark and the description of a table that has one.
_SEPARATOR = " | "


@dataclass(frozen=True)
class Relation:
    """A table or view of the database.

    Attributes
    ----------
    database, schema, name
        Its name, as the database spells it.
    kind
        ``table`` or ``view``.
    comment
        The text that COMMENT ON gave it.
    """

    database: str
    schema: str
    name: str
    kind: str
    comment: str | None

    @property
    def shown(self) -> str:
        """Schema and name, for a message."""
        return f"{self.schema}.{self.name}"

    def is_marked(self, mark: str) -> bool:
        """Whether mlm-ops made it and gave it this mark, with whatever description."""
        comment, marked = self.comment or "", PREFIX + mark
        return comment == marked or comment.startswith(marked + _SEPARATOR)


@dataclass(frozen=True)
class Claim:
    """The name of a table or view that mlm-ops is going to make, and how to recognise its own from an earlier run.

    Attributes
    ----------
    table
        Schema and name, perhaps with the database before them.
    mark
        The comment after `PREFIX`: what the table contains, and for which analysis.
    remedy
        What to do if something else has the name.
    earlier
        Whether a table without a mark was made by an earlier mlm-ops; by default none was.
    description
        What the rows of the table are, for readers of the database.
    """

    table: tuple[str, ...]
    mark: str
    remedy: str
    earlier: Callable[[Relation], bool] = lambda _: False
    description: str = ""

    @property
    def comment(self) -> str:
        """The comment that marks and describes the table."""
        return PREFIX + self.mark + (_SEPARATOR + self.description if self.description else "")

    @property
    def quoted(self) -> str:
        """The name in SQL."""
        return qualified(*self.table)


def with_schema(connection: duckdb.DuckDBPyConnection, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of a table's name; a name without a schema gets the current one."""
    if len(parts) > 1:
        return parts
    return (str(connection.execute("select current_schema()").fetchall()[0][0]), *parts)


def find_relations(
    connection: duckdb.DuckDBPyConnection, schema: str, database: str | None = None
) -> dict[str, Relation]:
    """Return the tables and views of a schema by name in lower case, because DuckDB ignores the case of names."""
    database_sql = "current_database()" if database is None else literal(database)
    rows = connection.execute(
        "select database_name, schema_name, table_name, 'table', comment from duckdb_tables()"
        f" where database_name = {database_sql} and lower(schema_name) = lower({literal(schema)}) union all"
        " select database_name, schema_name, view_name, 'view', comment from duckdb_views()"
        f" where database_name = {database_sql} and lower(schema_name) = lower({literal(schema)}) and not internal"
    ).fetchall()
    return {row[2].lower(): Relation(*row) for row in rows}


def view_queries(connection: duckdb.DuckDBPyConnection, schema: str) -> dict[str, str]:
    """Return the statement that makes each view of a schema, by the view's name in lower case.

    It is not part of a `Relation`, as DuckDB writes those of all views in the database anew, which takes a while.
    """
    rows = connection.execute(
        "select lower(view_name), sql from duckdb_views() where database_name = current_database()"
        f" and lower(schema_name) = lower({literal(schema)}) and not internal"
    ).fetchall()
    return dict(rows)


def columns_of(connection: duckdb.DuckDBPyConnection, relation: Relation) -> list[str]:
    """Return the names of a relation's columns, in order."""
    names = qualified(relation.database, relation.schema, relation.name)
    return [row[0] for row in connection.execute(f"describe {names}").fetchall()]


def check_ours(
    connection: duckdb.DuckDBPyConnection, claim: Claim, relations: Mapping[str, Relation] | None = None
) -> bool:
    """Refuse a name that something else has; return whether the table exists and has our mark.

    Parameters
    ----------
    relations
        The result of `find_relations` for the schema, if it is at hand.

    Raises
    ------
    StoreError
        A table or view has the name that mlm-ops did not make, or made for another analysis.
    """
    *place, schema, name = claim.table
    relation = (find_relations(connection, schema, *place) if relations is None else relations).get(name.lower())
    if relation is None:
        return False
    if relation.is_marked(claim.mark):
        return True
    if relation.comment is None or not relation.comment.startswith(PREFIX):
        if claim.earlier(relation):
            return False
        raise StoreError(
            f"{relation.shown} is a {relation.kind} that mlm-ops did not make, and the {claim.mark} would take its "
            f"place. {claim.remedy}"
        )
    mark = relation.comment.removeprefix(PREFIX).partition(_SEPARATOR)[0]
    raise StoreError(f"{relation.shown} holds the {mark}, and the {claim.mark} would take its place. {claim.remedy}")


def adopt(connection: duckdb.DuckDBPyConnection, claim: Claim, relations: Mapping[str, Relation] | None = None) -> None:
    """Check a table if it exists, and mark it if an earlier mlm-ops made it.

    Parameters
    ----------
    relations
        The result of `find_relations` for the schema, if it is at hand.

    Raises
    ------
    StoreError
        As `check_ours`.
    """
    *place, schema, name = claim.table
    relations = find_relations(connection, schema, *place) if relations is None else relations
    relation = relations.get(name.lower())
    if relation is not None and not check_ours(connection, claim, relations):
        _mark(connection, relation.kind, claim)


def replace_table(
    connection: duckdb.DuckDBPyConnection, claim: Claim, body: str, relations: Mapping[str, Relation] | None = None
) -> None:
    """Create a table from a query, or replace one that is ours.

    Parameters
    ----------
    relations
        The result of `find_relations` for the schema, if it is at hand.

    Raises
    ------
    StoreError
        As `check_ours`. Nothing is then changed.
    """
    check_ours(connection, claim, relations)
    connection.execute(f"create or replace table {claim.quoted} {body}")
    _mark(connection, "table", claim)


def replace_view(
    connection: duckdb.DuckDBPyConnection, claim: Claim, query: str, relations: Mapping[str, Relation] | None = None
) -> None:
    """Create a view, or replace one that is ours.

    Raises
    ------
    StoreError
        As `check_ours`. Nothing is then changed.
    """
    check_ours(connection, claim, relations)
    connection.execute(f"create or replace view {claim.quoted} as {query}")
    _mark(connection, "view", claim)


def drop(connection: duckdb.DuckDBPyConnection, claim: Claim) -> None:
    """Drop a table or view that is ours, if it exists.

    Raises
    ------
    StoreError
        As `check_ours`. Nothing is then changed.
    """
    *place, schema, name = claim.table
    relations = find_relations(connection, schema, *place)
    check_ours(connection, claim, relations)
    if (relation := relations.get(name.lower())) is not None:
        connection.execute(f"drop {relation.kind} {claim.quoted}")


def _mark(connection: duckdb.DuckDBPyConnection, kind: str, claim: Claim) -> None:
    connection.execute(f"comment on {kind} {claim.quoted} is {literal(claim.comment)}")


def check_not_read(connection: duckdb.DuckDBPyConnection, claim: Claim, relation: str) -> None:
    """Refuse to replace a table by a query that reads it, also through views: it would lose rows at every run.

    Parameters
    ----------
    relation
        The text after FROM.

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
    """Yield the tables in a plan of EXPLAIN, in which views are resolved."""
    for node in plan if isinstance(plan, list) else [plan]:
        if table := node.get("extra_info", {}).get("Table"):
            yield str(table)
        yield from _scanned_tables(node.get("children", []))
