"""Build the published copy of a results store: a file of its own with the rows of the published tables."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import duckdb

from mlm_ops.analyses.store.layout import create_results, fill_renamed, version_claim
from mlm_ops.analyses.store.published_copy import PUBLISHED, mark_source
from mlm_ops.analyses.store.schema import RESULT_TABLES
from mlm_ops.analyses.store.version import UNPUBLISHED
from mlm_ops.moments.storage import transaction
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.ownership import RESULTS, find_relations
from mlm_ops.warehouse.sql import identifier, literal, qualified

#: The storage version of the published copy, which DuckDB 1.2 and later can read.
PUBLISHED_STORAGE = "v1.2.0"


def build_copy(
    connection: Connection,
    building: Path,
    earlier: Path | None,
    names: tuple[str, str],
    latest_only: Mapping[str, str],
    store: str | None,
) -> bool:
    """Write a copy to the file `building`: all rows, or to those of an earlier copy the rows of the runs since.

    Rows are added to an earlier copy, never removed from it, as a file keeps for a while what was removed.

    Parameters
    ----------
    names
        By which the store and the copy are attached.
    store
        The store's file, by which the copy says whose it is.

    Returns
    -------
    bool
        Whether it is complete: an earlier copy cannot be continued that has another version, other tables, columns or
        comments than today's, or rows that the store has changed, removed or no longer publishes.
    """
    source, target = names
    connection.execute(f"use {identifier(source)}")
    connection.execute(f"detach database if exists {target}")
    # an attempt before may have left a log, which DuckDB would apply to the new file
    for left in (building, building.with_name(f"{building.name}.wal")):
        left.unlink(missing_ok=True)
    if earlier is None:
        building.write_bytes(_empty_copy())
    else:
        shutil.copyfile(earlier, building)
    connection.execute(f"attach {literal(str(building))} as {target}")
    connection.execute(f"use {target}")
    present: list[tuple[str, str]] = []
    if earlier is not None:
        present = connection.execute(f"select run_id, analysis from {qualified(target, RESULTS, 'runs')}").fetchall()
        is_continued = _layout(connection) == _empty_layout() and _has_rows_of_store(
            connection, source, target, latest_only, present
        )
        if not is_continued:
            return False
    # in one transaction: each alone would first be written to the log of the new file
    with transaction(connection):
        _copy_results(connection, source, target, latest_only, present)
        mark_source(connection, version_claim(PUBLISHED), store)
    connection.execute(f"checkpoint {target}")
    return True


def _layout(connection: Connection) -> list[tuple[object, ...]]:
    """The version of the current database, and every column and view of it, with what its comment says.

    The comment on the table of the version differs from store to store.
    """
    versions: list[tuple[object, ...]] = connection.execute(f"from {RESULTS}.store_version").fetchall()
    rows: list[tuple[object, ...]] = connection.execute(
        "select table_name, column_name, data_type, comment from duckdb_columns()"
        " where database_name = current_database() union all select view_name, null, sql, comment from duckdb_views()"
        " where database_name = current_database() and not internal union all select table_name, null, null, comment"
        " from duckdb_tables() where database_name = current_database() and table_name <> 'store_version' order by all"
    ).fetchall()
    return versions + rows


@cache
def _empty_layout() -> list[tuple[object, ...]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlm_published.duckdb"
        path.write_bytes(_empty_copy())
        with duckdb.connect(str(path), read_only=True) as connection:
            return _layout(connection)


@cache
def _empty_copy() -> bytes:
    """A published copy without rows: one is made in a process, because seven hundred comments take a quarter second."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.duckdb"
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute(f"attach {literal(str(path))} as empty (storage_version {literal(PUBLISHED_STORAGE)})")
            connection.execute("use empty")
            with transaction(connection):
                create_results(connection, PUBLISHED)
            connection.execute("use memory")
            connection.execute("detach empty")
        return path.read_bytes()


#: The condition for rows of runs that are listed, whose ids and analyses are two parameters.
_LISTED = "(run_id, analysis) in (select (r, a) from (select unnest(?::varchar[]) as r, unnest(?::varchar[]) as a))"


def _listed(runs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The parameters of `_LISTED`: the ids of runs, and their analyses."""
    keys = list(runs)
    return [[run_id for run_id, _ in keys], [analysis for _, analysis in keys]]


def _published_rows(name: str, latest_only: Mapping[str, str]) -> tuple[str, list[list[str]]]:
    """The condition for rows of a table that are published, and its parameters."""
    # table drift compares runs, so it has nothing to publish of these analyses
    latest = [] if name == "drift" else [(run_id, analysis) for analysis, run_id in latest_only.items()]
    return f"(not list_contains(?::varchar[], analysis) or {_LISTED})", [list(latest_only), *_listed(latest)]


def _published_tables(connection: Connection, source: str) -> list[str]:
    """The tables of a store that are published; one that an earlier mlm-ops wrote has none that came since."""
    present = find_relations(connection, RESULTS, source)
    return [name for name in RESULT_TABLES if name in present and name not in UNPUBLISHED]


def _has_rows_of_store(
    connection: Connection,
    source: str,
    target: str,
    latest_only: Mapping[str, str],
    present: Sequence[tuple[str, str]],
) -> bool:
    """Whether the rows of a copy are those that `source` publishes of the same runs, value by value.

    Compared are the number of rows and the sum of their hashes, for which each table is read once.
    """
    tables = _published_tables(connection, source)
    for name in RESULT_TABLES:
        copied = qualified(target, RESULTS, name)
        if name not in tables:
            if connection.execute(f"select 1 from {copied} limit 1").fetchall():
                return False
            continue
        own = qualified(source, RESULTS, name)
        columns = ", ".join(map(identifier, connection.sql(f"from {own}").columns))
        published, values = _published_rows(name, latest_only)
        # a sum, as equal rows would cancel each other in a bitwise one
        facts = f"select count(*), sum(hash({columns}))"
        query = f"{facts} from {own} where {published} and {_LISTED}"
        expected = connection.execute(query, [*values, *_listed(present)]).fetchall()
        if connection.execute(f"{facts} from {copied}").fetchall() != expected:
            return False
    return True


def _copy_results(
    connection: Connection,
    source: str,
    target: str,
    latest_only: Mapping[str, str],
    present: Sequence[tuple[str, str]],
) -> None:
    """Copy the rows of the published tables of `source` to `target`, the current database.

    Parameters
    ----------
    latest_only
        The latest run of every analysis whose earlier runs are not published.
    present
        The id and the analysis of every run that `target` has already.
    """
    for name in _published_tables(connection, source):
        own, copied = qualified(source, RESULTS, name), qualified(target, RESULTS, name)
        published, values = _published_rows(name, latest_only)
        connection.execute(
            f"insert into {copied} by name from {own} where {published} and not {_LISTED}", [*values, *_listed(present)]
        )
    fill_renamed(connection)


def latest_only_runs(connection: Connection) -> dict[str, str]:
    """Return the latest run of every analysis whose earlier runs are not published."""
    rows = connection.execute(
        f"select analysis, run_id from {RESULTS}.latest_runs where coalesce(try_cast(json_extract_string("
        "if(json_valid(analysis_text), analysis_text, '{}'), '$.min_publish_n') as bigint), 1) > 1"
    ).fetchall()
    return dict(rows)
