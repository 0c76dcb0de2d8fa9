"""Rename a warehouse database that a crash has damaged, and begin a new one with the history that can be recovered.

The next run makes the tables again from their sources. The history of results is in no source: it is taken from the
database without its write-ahead log, if that can be read, and from the published copy.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb

from mlm_ops.analyses.store.published_copy import is_of_another
from mlm_ops.analyses.store.runs import restore_runs
from mlm_ops.errors import StoreError
from mlm_ops.warehouse.connection import Connection, is_database_file
from mlm_ops.warehouse.faults import is_damage
from mlm_ops.warehouse.ownership import find_relations
from mlm_ops.warehouse.replacing import locked, set_aside
from mlm_ops.warehouse.sql import identifier, literal, qualified


def recover(database: Path, results: Path, *, found_damaged: bool = False) -> str | None:
    """Rename a damaged database and begin a new one with the history that can be recovered.

    Parameters
    ----------
    database, results
        The warehouse database, and the published copy.
    found_damaged
        Whether a run met damage that opening the database does not show.

    Returns
    -------
    str or None
        One sentence that says what was done; None if the database is not damaged, or is open in another process.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    if not database.exists() or not is_database_file(database):
        return None
    with locked(database, "repaired"):
        # the damage that a run met may be in another file, such as one that it reads
        if not _is_damaged(database) and not (found_damaged and not _is_readable(database)):
            return None
        log = database.with_name(database.name + ".wal")
        damaged_file, has_log = set_aside(database, "damaged"), log.exists()
        if has_log:
            # DuckDB looks for the log by the database's name
            log.rename(damaged_file.with_name(damaged_file.name + ".wal"))
        if has_log and not found_damaged:
            _keep_without_log(damaged_file, database)
        count = _restore(database, results)
    sentence = f"{database} was damaged and was renamed to {damaged_file.name}; a new one is made from the sources"
    return f"{sentence} with the history of {count} run{'s' * (count != 1)}." if count else f"{sentence}."


def _is_damaged(database: Path) -> bool:
    try:
        duckdb.connect(str(database)).close()
    except duckdb.Error as error:
        return is_damage(error)
    return False


def _is_readable(database: Path) -> bool:
    """Whether every row of every table can be read."""
    try:
        with duckdb.connect(str(database)) as connection:
            for table in _tables(connection):
                connection.execute(f"select bit_xor(hash(rows)) from {table} as rows").fetchall()
    except duckdb.Error:
        return False
    return True


def _keep_without_log(aside: Path, database: Path) -> None:
    """Begin with a copy of the database without its write-ahead log, if every row of it can be read."""
    shutil.copyfile(aside, database)
    if not _is_readable(database):
        for path in (database, database.with_name(database.name + ".wal")):
            path.unlink(missing_ok=True)


def _tables(connection: Connection) -> list[str]:
    schemas = connection.execute(
        "select distinct schema_name from duckdb_schemas() where database_name = current_database() and not internal"
    ).fetchall()
    return [
        qualified(relation.schema, relation.name)
        for (schema,) in [*schemas, ("main",)]
        for relation in find_relations(connection, schema).values()
        if relation.kind == "table"
    ]


def _restore(database: Path, results: Path) -> int:
    """Copy the published runs that the database lacks into it; return how many runs it then has.

    Those of another database, which is published to the same file, are left there.
    """
    with duckdb.connect(str(database)) as connection:
        if not results.exists():
            return 0
        try:
            if is_of_another(connection, results):
                return 0
            connection.execute(f"attach {literal(str(results))} as {identifier('mlm_copy')} (read_only)")
            return restore_runs(connection, "mlm_copy")
        except (duckdb.Error, StoreError):
            # the published copy cannot be read either; the next publication renames it
            return 0
