"""Build the published copy of a results store: a file of its own with the rows of the published tables."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import duckdb

from mlm_ops.analyses.store.layout import create_results, fill_renamed
from mlm_ops.analyses.store.published_copy import PUBLISHED
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
) -> bool:
    """Write a copy to the file `building`: all rows, or to those of an earlier copy the rows of the runs since.

    Rows are added to an earlier copy, never removed from it, as a file keeps for a while what was removed.

    Parameters
    ----------
    names
        By which the store and the copy are attached.

    Returns
    -------
    bool
        Whether it is complete: an earlier copy cannot be continued that has other tables, columns or comments than
        today's, or runs that the store has changed or no longer publishes.
    """
    source, target = names
    connection.execute(f"use {identifier(source)}")
    connection.execute(f"detach database if exists {target}")
    if earlier is None:
        building.write_bytes(_empty_copy())
    else:
        shutil.copyfile(earlier, building)
    connection.execute(f"attach {literal(str(building))} as {target}")
    connection.execute(f"use {target}")
    if earlier is not None and _layout(connection) != _empty_layout():
        return False
    # in one transaction: each alone would first be written to the log of the new file
    with transaction(connection):
        is_complete = _copy_results(connection, source, target, latest_only)
    if is_complete:
        connection.execute(f"checkpoint {target}")
    return is_complete


def _layout(connection: Connection) -> list[tuple[object, ...]]:
    """Every column and view of the current database, with what its comment says."""
    rows: list[tuple[object, ...]] = connection.execute(
        "select table_name, column_name, data_type, comment from duckdb_columns()"
        " where database_name = current_database() union all select view_name, null, sql, comment from duckdb_views()"
        " where database_name = current_database() and not internal union all select table_name, null, null, comment"
        " from duckdb_tables() where database_name = current_database() order by all"
    ).fetchall()
    return rows


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


def _copy_results(connection: Connection, source: str, target: str, latest_only: Mapping[str, str]) -> bool:
    """Copy the rows of the published tables of `source` that `target` lacks to it, the current database.

    Parameters
    ----------
    latest_only
        The latest run of every analysis whose earlier runs are not published.

    Returns
    -------
    bool
        Whether `target` has the rows that it should have; else it had others before.
    """
    there = connection.execute(f"select run_id, analysis from {qualified(target, RESULTS, 'runs')}").fetchall()
    present = [f"{run_id} {analysis}" for run_id, analysis in there]
    is_complete = True
    # a store that an earlier mlm-ops wrote has no table that came since
    for name in find_relations(connection, RESULTS, source).keys() & (RESULT_TABLES.keys() - UNPUBLISHED):
        own, copied = qualified(source, RESULTS, name), qualified(target, RESULTS, name)
        # table drift compares runs, so it has nothing to publish of these analyses
        latest = [] if name == "drift" else list(latest_only.items())
        published = "(not list_contains(?, analysis) or list_contains(?, run_id || ' ' || analysis))"
        values = [list(latest_only), [f"{run_id} {analysis}" for analysis, run_id in latest]]
        since = "" if not present else " and not list_contains(?, run_id || ' ' || analysis)"
        connection.execute(
            f"insert into {copied} by name from {own} where {published}{since}",
            [*values, *([present] if present else [])],
        )
        if present:
            counts = f"select (select count(*) from {own} where {published}), (select count(*) from {copied})"
            expected, got = connection.execute(counts, values).fetchall()[0]
            is_complete = is_complete and expected == got
    if present:
        own, copied = qualified(source, RESULTS, "runs"), qualified(target, RESULTS, "runs")
        columns = ", ".join(map(identifier, connection.sql(f"from {own}").columns))
        others = connection.execute(f"select {columns} from {copied} except select {columns} from {own}").fetchall()
        is_complete = is_complete and not others
    fill_renamed(connection)
    return is_complete


def latest_only_runs(connection: Connection) -> dict[str, str]:
    """Return the latest run of every analysis whose earlier runs are not published."""
    rows = connection.execute(
        f"select analysis, run_id from {RESULTS}.latest_runs where coalesce(try_cast(json_extract_string("
        "if(json_valid(analysis_text), analysis_text, '{}'), '$.min_publish_n') as bigint), 1) > 1"
    ).fetchall()
    return dict(rows)
