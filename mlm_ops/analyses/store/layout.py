"""Create schema ``mlm``: its tables, the views of the latest runs, and their comments.

The texts of the comments are those of `results.tables.descriptions`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlm_ops.analyses.store.checks import check_tables
from mlm_ops.analyses.store.kept_runs import number_runs
from mlm_ops.analyses.store.published_copy import STORE
from mlm_ops.analyses.store.schema import RENAMED, RESULT_TABLES, TABLES_AND_VIEWS
from mlm_ops.analyses.store.tables import claim_of, create_table, describe_columns
from mlm_ops.analyses.store.version import (
    LATEST,
    LATEST_FIRST,
    STORE_VERSION,
    VIEWS_OF_LISTS,
    check_version,
    columns_by_table,
)
from mlm_ops.errors import StoreError
from mlm_ops.results.tables.descriptions import COLUMNS, ROWS, VERSION_OF_STORE
from mlm_ops.results.tables.effects import SEPARATOR
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.ownership import (
    RESULTS,
    Claim,
    Relation,
    check_ours,
    columns_of,
    drop,
    find_relations,
    replace_view,
    view_queries,
)
from mlm_ops.warehouse.sql import identifier, literal, qualified

_VERSION = "store_version"
#: What to do if something else has the name of a view.
_REMEDY = "Rename it, or use another database file."
#: The query of each view.
_VIEWS = {
    "influence": 'select run_id, analysis, model, "group", unit, unnest(string_split(symbols, '
    f"{literal(SEPARATOR)})) as symbol, unnest(changes) as change from {RESULTS}.influence_lists",
    f"{LATEST}runs": f"select * from {RESULTS}.runs where status in ('finished', 'empty') qualify row_number() over"
    f" (partition by analysis order by {LATEST_FIRST}) = 1",
} | {
    f"{LATEST}{name}": f"select * from {qualified(RESULTS, name)}"
    f" where (run_id, analysis) in (select (run_id, analysis) from {RESULTS}.{LATEST}runs)"
    for name in TABLES_AND_VIEWS
    if name != "runs"
}
#: What the comment of every column says.
_TEXTS = {(_VERSION, "version"): VERSION_OF_STORE} | {
    (relation, column): COLUMNS[column]
    for name, columns in TABLES_AND_VIEWS.items()
    for relation in (name, f"{LATEST}{name}")
    for column in columns
}


def check_store(connection: Connection) -> bool:
    """Return whether the current database has a results store, and check it.

    Raises
    ------
    StoreError
        It has one of another version, or a schema ``mlm`` that mlm-ops did not make.
    """
    tables = {
        str(name)
        for (name,) in connection.execute(
            "select table_name from duckdb_tables() where database_name = current_database() and schema_name = ?",
            [RESULTS],
        ).fetchall()
    }
    if "store_version" in tables:
        columns = columns_by_table(connection, RESULTS)
        check_version(connection, RESULTS, columns)
        check_tables(connection, RESULTS, RESULT_TABLES, columns)
        return True
    foreign = sorted(tables & TABLES_AND_VIEWS.keys())
    if foreign:
        raise StoreError(
            f"The schema {RESULTS} of this database was not made by mlm-ops: it has {', '.join(foreign)} and no"
            " store_version. Use another database file."
        )
    return False


def create_results(connection: Connection, whose: str = STORE) -> None:
    """Create schema ``mlm`` with its tables, views and comments, or update existing ones.

    Raises
    ------
    StoreError
        As `check_store`; or a table or view that mlm-ops did not make has one of these names.
    """
    if _VERSION in (present := find_relations(connection, RESULTS)):
        for name, columns in RESULT_TABLES.items():
            check_ours(connection, claim_of(connection, RESULTS, name, columns, "results"), present)
    if not check_store(connection):
        connection.execute(f"create schema if not exists {RESULTS}")
        connection.execute(f"create table {RESULTS}.{_VERSION} as select {STORE_VERSION}::bigint as version")
    version = version_claim(whose)
    connection.execute(f"comment on table {version.quoted} is {literal(version.comment)}")
    present = find_relations(connection, RESULTS)
    for name, columns in RESULT_TABLES.items():
        create_table(connection, RESULTS, name, columns, "results", present, ROWS[name])
    number_runs(connection, RESULTS)
    fill_renamed(connection)
    if (earlier := present.get("influence")) is not None and earlier.kind == "table":
        _move_influences(connection, present)
        del present["influence"]
    _create_views(connection, present)
    describe_columns(connection, RESULTS, _TEXTS)


def version_claim(whose: str) -> Claim:
    """Claim the table of the version, whose mark says whether the database is a store or a published copy."""
    return Claim((RESULTS, _VERSION), whose, "", description=ROWS[_VERSION])


def _create_views(connection: Connection, present: Mapping[str, Relation]) -> None:
    """Create the views of the latest runs, but those that are as they would be made.

    To replace a view takes a millisecond, and to describe its columns anew ten.
    """
    columns, queries = columns_by_table(connection, RESULTS), view_queries(connection, RESULTS)
    for name, query in _VIEWS.items():
        claim, relation = _view_claim(connection, name), present.get(name)
        is_current = (
            relation is not None
            and relation.comment == claim.comment
            and queries.get(name, "").endswith(f" AS {_as_stored(connection, query)};")
            and list(columns[name].items()) == list(columns.get(name.removeprefix(LATEST), {}).items())
        )
        if not is_current:
            replace_view(connection, claim, query, present)


def _as_stored(connection: Connection, query: str) -> str:
    """The query in the words in which DuckDB keeps it."""
    rows = connection.execute("select json_deserialize_sql(json_serialize_sql(?))", [query]).fetchall()
    return str(rows[0][0])


def fill_renamed(connection: Connection) -> None:
    """Give rows that an earlier mlm-ops wrote their values under the new names of columns, too."""
    for name, columns in RENAMED.items():
        table = qualified(RESULTS, name)
        for new, old in columns.items():
            gap = f"{identifier(new)} is null and {identifier(old)} is not null"
            if connection.execute(f"select 1 from {table} where {gap} limit 1").fetchall():
                connection.execute(f"update {table} set {identifier(new)} = {identifier(old)} where {gap}")


def _move_influences(connection: Connection, present: Mapping[str, Relation]) -> None:
    """Move the influences that an earlier mlm-ops wrote, a row each, to lists, run by run to spare memory.

    The table is dropped, so that one without a mark has to have the columns of influences and no more.

    Raises
    ------
    StoreError
        The table was not made by mlm-ops.
    """
    names = TABLES_AND_VIEWS["influence"].keys()
    claim = Claim(
        (RESULTS, "influence"), "results", _REMEDY, lambda relation: set(columns_of(connection, relation)) == names
    )
    check_ours(connection, claim, present)
    for run in connection.execute(f"select distinct run_id, analysis from {claim.quoted}").fetchall():
        connection.execute(
            f"""
            insert into {qualified(RESULTS, "influence_lists")} by name
            select run_id, analysis, model, "group", unit, string_agg(symbol, {literal(SEPARATOR)} order by rowid) as
                   symbols, list(change order by rowid) as changes
            from {claim.quoted} where run_id = ? and analysis = ? group by run_id, analysis, model, "group", unit
            order by min(rowid)""",
            list(run),
        )
    drop(connection, claim)


def _view_claim(connection: Connection, name: str) -> Claim:
    """Claim a view; one of an earlier mlm-ops, which left no mark, is recognised by what it reads."""
    lists = next((lists for lists, view in VIEWS_OF_LISTS.items() if view == name), None)
    mark = "results of the latest runs"
    if lists is not None:
        mark, reads, description = "results", lists, ROWS[name]
    elif name == f"{LATEST}runs":
        reads, description = "runs", "The latest run of each analysis"
    else:
        reads = f"{LATEST}runs"
        description = f"The latest run of each analysis: {ROWS[name.removeprefix(LATEST)]}"

    def is_earlier(relation: Relation) -> bool:
        query = view_queries(connection, RESULTS)[name] if relation.kind == "view" else ""
        return f"{RESULTS}.{reads}" in query.replace('"', "")

    return Claim((RESULTS, name), mark, _REMEDY, is_earlier, description)
