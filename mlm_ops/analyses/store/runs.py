"""Write runs to the results store (schema ``mlm`` of a DuckDB file), read the latest, and publish a copy of it.

The columns are those of `store.schema`. Each table has a view ``latest_<table>`` with the rows of the latest finished
run of every analysis.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from mlm_ops.analyses.file.keys import History
from mlm_ops.analyses.store.copying import build_copy, latest_only_runs
from mlm_ops.analyses.store.drift_table import write_drift
from mlm_ops.analyses.store.kept_runs import last_number, number_runs, remove_outdated, remove_runs
from mlm_ops.analyses.store.layout import check_store, create_results, fill_renamed
from mlm_ops.analyses.store.published_copy import (
    check_published_copy,
    is_sound,
    remember_published,
    source_name,
)
from mlm_ops.analyses.store.schema import ORDER, READABLE, RENAMED, RESULT_TABLES, RUNS, TABLES, TABLES_AND_VIEWS
from mlm_ops.analyses.store.tables import all_or_nothing, check_results, insert_frame
from mlm_ops.analyses.store.version import LATEST, LATEST_FIRST, UNPUBLISHED, VIEWS_OF_LISTS
from mlm_ops.errors import DamagedError, StoreError
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.logs import Event, tell, tell_written
from mlm_ops.warehouse.connection import Connection, database_path
from mlm_ops.warehouse.faults import error_class, first_line, why_it_failed
from mlm_ops.warehouse.ownership import RESULTS, find_relations
from mlm_ops.warehouse.replacing import replacing
from mlm_ops.warehouse.sql import identifier, literal, qualified

#: Bytes of a published copy from which adding the runs since costs less than building it: a smaller one is built in a
#: quarter second, and what is added leaves blocks of the file partly empty.
WORTH_CONTINUING = 64 * 2**20


@dataclass(frozen=True)
class Run:
    """One row of ``mlm.runs``: what was fitted, when, and to which data.

    ``n_dropped`` is JSON: how many rows miss a value, by column. ``versions`` is JSON too, by package. Times have a
    time zone, and ``host_time`` is the machine's clock with its offset. ``status`` is ``finished``, or ``empty`` for a
    run that had no rows, after which the analysis has no latest results.
    """

    run_id: str
    analysis: str
    started_at: datetime
    finished_at: datetime
    data: str
    n_rows: int
    n_obs: int
    n_dropped: str
    moments_checksum: str
    engine_version: str
    status: str = "finished"
    analysis_text: str | None = None
    analysis_hash: str | None = None
    versions: str | None = None
    seed: int | None = None
    host_time: str | None = None


def write_run(
    connection: Connection, run: Run, tables: Mapping[str, pl.DataFrame], history: History | None = None
) -> None:
    """Write one run, as `write_runs` does."""
    write_runs(connection, [(run, tables)], history)


def write_runs(
    connection: Connection,
    runs: Sequence[tuple[Run, Mapping[str, pl.DataFrame]]],
    history: History | None = None,
    *,
    beside: Callable[[], None] | None = None,
) -> None:
    """Write runs and their tables, and remove the runs that `history` does not keep, in one transaction.

    Parameters
    ----------
    connection
        An open DuckDB connection that is not inside a transaction.
    runs
        Each run with its result tables by name, each with the column ``model`` and those of `TABLES`. A second run with
        the same ``run_id`` and ``analysis`` (a retried step) replaces the first.
    history
        Which runs of each analysis are kept, and what counts as drift; by default all runs are kept.
    beside
        A function that writes more in the same transaction, such as views of predictions.

    Raises
    ------
    StoreError
        A table or column is not one of the store's, the store has another version, or the database refuses the rows.
        Nothing of the runs is then in the store.
    """
    for _, tables in runs:
        check_results(tables)
    if not runs:
        return
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    start = time.perf_counter()
    what = f"run {runs[0][0].run_id} of {runs[0][0].analysis}{more}"
    with _note_what_is_kept(connection, [run for run, _ in runs]), all_or_nothing(connection, what):
        create_results(connection)
        last = last_number(connection, RESULTS)
        remove_runs(connection, RESULTS, RESULT_TABLES, _stored_keys(connection, [run for run, _ in runs]))
        for name, columns in RESULT_TABLES.items():
            rows = _rows_of(runs, name, last)
            if rows.height:
                insert_frame(connection, qualified(RESULTS, name), rows, columns)
        history = history or History()
        write_drift(connection, RESULTS, {(run.run_id, run.analysis): tables for run, tables in runs}, history)
        remove_outdated(connection, RESULTS, RESULT_TABLES, [run.analysis for run, _ in runs], history)
        if beside is not None:
            beside()
    seconds = (time.perf_counter() - start) / len(runs)
    for run, tables in runs:
        tell_written(run.run_id, run.analysis, [frame.height for frame in tables.values()], seconds)


@contextmanager
def _note_what_is_kept(connection: Connection, runs: Sequence[Run]) -> Iterator[None]:
    """Add to an error whether the runs are in the store all the same: a commit may fail after it was written."""
    try:
        yield
    except StoreError as error:
        if not isinstance(error.__cause__, duckdb.Error):
            raise  # refused before anything was written
        try:
            is_stored = check_store(connection) and len(_stored_keys(connection, runs)) == len(runs)
            addition = "The run was stored all the same." if is_stored else "Nothing of the run was stored."
        except (duckdb.Error, StoreError):
            # DuckDB closes a database that it could not write to
            addition = "Open the database again to see whether the run was stored: mlm show."
        raise type(error)(f"{error} {addition}") from error


def restore_runs(connection: Connection, copy: str) -> int:
    """Copy the runs that the current database lacks from an attached published copy; return how many it then has.

    Tables that are not published cannot be restored.

    Raises
    ------
    StoreError
        The database refuses the rows, or the copy has another store version.
    """
    with all_or_nothing(connection, f"the published runs of {copy}"):
        create_results(connection)
        stored_runs = connection.execute(f"select run_id, analysis from {RESULTS}.runs").fetchall()
        published_runs = qualified(copy, RESULTS, "runs")
        runs = connection.execute(f"select run_id, analysis from {published_runs}").fetchall()
        if missing_runs := [run for run in runs if run not in stored_runs]:
            pairs = ", ".join(f"({literal(run_id)}, {literal(analysis)})" for run_id, analysis in missing_runs)
            for name in find_relations(connection, RESULTS, copy).keys() & (RESULT_TABLES.keys() - UNPUBLISHED):
                rows = f"select * from {qualified(copy, RESULTS, name)} where (run_id, analysis) in ({pairs})"
                connection.execute(f"insert into {qualified(RESULTS, name)} by name {rows}")
            number_runs(connection, RESULTS)
            fill_renamed(connection)
    return len({*stored_runs, *runs})


def write_empty(connection: Connection, runs: Sequence[Run], history: History | None = None) -> None:
    """Write runs that had no rows, after which the earlier results of their analyses are no longer the latest.

    For an analysis without results nothing is written, because it may be named for a partition that never existed.

    Raises
    ------
    StoreError
        As `write_runs`.
    """
    if not runs or not check_store(connection):
        return
    rows = connection.execute(f"select distinct analysis from {RESULTS}.runs where status = 'finished'").fetchall()
    analyses = {analysis for (analysis,) in rows}
    write_runs(connection, [(run, {}) for run in runs if run.analysis in analyses], history)


def _stored_keys(connection: Connection, runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Return run and analysis of those runs that are in the store already; only these are removed from every table."""
    pairs = ", ".join(f"({literal(run.run_id)}, {literal(run.analysis)})" for run in runs)
    query = f"select run_id, analysis from {RESULTS}.runs where (run_id, analysis) in ({pairs})"
    keys: list[tuple[str, str]] = connection.execute(query).fetchall()
    return keys


def _rows_of(runs: Sequence[tuple[Run, Mapping[str, pl.DataFrame]]], name: str, last: int) -> pl.DataFrame:
    """Return the rows of all runs in one table; in table ``runs`` they are numbered from `last` + 1."""
    if name == "runs":
        return pl.DataFrame(
            [asdict(run) | {"sequence": number} for number, (run, _) in enumerate(runs, last + 1)], schema=RUNS
        )
    order = ["model", *TABLES[name]]
    frames = [(run, _ordered(tables[name], order, ORDER.get(name, ()))) for run, tables in runs if name in tables]
    if not frames:
        return pl.DataFrame()
    run_of_row = np.repeat(np.arange(len(frames)), [frame.height for _, frame in frames])
    keys = pl.DataFrame([(run.run_id, run.analysis) for run, _ in frames], ["run_id", "analysis"], orient="row")
    # a column may be of whole numbers in one frame and of reals in another
    return keys[run_of_row].hstack(pl.concat([frame for _, frame in frames], how="vertical_relaxed"))


def _ordered(frame: pl.DataFrame, columns: list[str], by: Sequence[str]) -> pl.DataFrame:
    """Return the frame with its columns in this order, and its rows in the order of some of them."""
    frame = frame if frame.columns == columns else frame.select(columns)
    return frame.sort(by, maintain_order=True) if by else frame


def read_latest(connection: Connection, table: str, *, one_row: bool = False) -> pl.DataFrame:
    """Read the rows of `table` of the latest finished run of each analysis, in the columns of today.

    A report reads the same views by `store.latest`, which knows no columns and so needs no engine.

    Parameters
    ----------
    one_row
        Whether one row of each analysis and model is enough, to see whether there are any.

    Raises
    ------
    StoreError
        There is no such table, or it has lists; there are no results yet, or the store has another version.
    """
    check_table(table)
    if not check_store(connection):
        raise StoreError("There are no results yet.")
    if table not in find_relations(connection, RESULTS):
        # it came after the mlm-ops that wrote the store
        return pl.DataFrame(schema=READABLE[table])
    try:
        view = qualified(RESULTS, f"{LATEST}{table}")
        query = f"select distinct on (analysis, model) * from {view}" if one_row else f"from {view}"
        rows: pl.DataFrame = connection.sql(query).pl()
    except duckdb.ProgrammingError as error:
        raise StoreError(
            f"The view {RESULTS}.{LATEST}{table} cannot be read: {first_line(error)} The next run makes it anew."
        ) from error
    return in_todays_columns(rows, table)


def check_table(table: str) -> None:
    """Refuse a table that no store has.

    Raises
    ------
    StoreError
        There is no such table, or it has lists.
    """
    if (view := VIEWS_OF_LISTS.get(table)) is not None:
        raise StoreError(f"Table {table} has lists of numbers. Read {view} instead, which has a row for each number.")
    if table not in READABLE:
        hint = did_you_mean(table, READABLE)
        raise StoreError(f"The store has no table {table}.{hint} Expected one of {', '.join(READABLE)}.")


def read_runs(connection: Connection) -> pl.DataFrame:
    """Read every run that the store keeps, each analysis' latest first, in the columns of today.

    Raises
    ------
    StoreError
        There are no results yet, or the store has another version.
    """
    if not check_store(connection):
        raise StoreError("There are no results yet.")
    rows = connection.sql(f"from {qualified(RESULTS, 'runs')} order by analysis, {LATEST_FIRST}").pl()
    return in_todays_columns(rows, "runs")


def in_todays_columns(rows: pl.DataFrame, table: str) -> pl.DataFrame:
    """Select the columns that a stored table has today, each of its type.

    A store that an earlier mlm-ops wrote may lack a new column, which is then null, or has it by its old name.
    """
    renamed = RENAMED.get(table, {})
    present = {name: [c for c in (name, renamed.get(name)) if c in rows.columns] for name in READABLE[table]}
    return rows.select(
        (pl.coalesce(present[name]) if present[name] else pl.lit(None)).cast(kind).alias(name)
        for name, kind in READABLE[table].items()
    )


def publish(connection: Connection, destination: Path | str, *, wait: float = 30.0) -> None:
    """Publish a copy of schema ``mlm``, and nothing else, to the file `destination`, which is replaced atomically.

    The copy is built beside the old file and renamed, so that a reader sees the old one or the new one. DuckDB 1.2 and
    later can read it.

    Of an analysis with ``min_publish_n`` only the latest run is published, because the difference between two runs
    reveals the rows that came or went, which may be few.

    Raises
    ------
    StoreError
        There are no results yet, the file cannot be written, or the existing file is no published copy of this store.
    """
    if not check_store(connection):
        raise StoreError(f"There are no results to publish to {destination} yet. Run an analysis first.")
    start, earlier = time.perf_counter(), Path(os.path.realpath(destination))
    # a cursor has its own current database, which the views below need; that of the caller stays as it is
    with (
        _note_where_runs_are(connection),
        replacing(destination, wait=wait, check=lambda path: check_published(connection, path)) as building,
        connection.cursor() as cursor,
    ):
        source = str(_single_value(cursor, "select current_database()"))
        target = "mlm_published"
        latest_only = latest_only_runs(cursor)
        store = source_name(connection, earlier)
        try:
            if not _is_continued(cursor, building, earlier, (source, target), latest_only, store):
                build_copy(cursor, building, None, (source, target), latest_only, store)
        except (duckdb.Error, OSError) as error:
            raise error_class(error)(
                f"The results cannot be published to {destination}: {why_it_failed(error)}"
            ) from error
        finally:
            # on a full disk these fail too, and would hide the first error
            for statement in (f"use {identifier(source)}", f"detach database if exists {target}"):
                with suppress(duckdb.Error):
                    cursor.execute(statement)
        remember_published(earlier, building, store)
    seconds = time.perf_counter() - start
    tell(Event.PUBLISHED, f"published to {destination} in {seconds:.2f} s", path=str(destination), seconds=seconds)


def _is_continued(
    connection: Connection,
    building: Path,
    earlier: Path,
    names: tuple[str, str],
    latest_only: Mapping[str, str],
    store: str | None,
) -> bool:
    """Try to build a copy from an earlier one, if that is worth it, and return whether that was possible."""
    if not is_sound(earlier) or earlier.stat().st_size < WORTH_CONTINUING:
        return False
    try:
        return build_copy(connection, building, earlier, names, latest_only, store)
    except duckdb.InterruptException:
        raise
    except duckdb.Error as error:
        # a damaged block of the earlier copy is no fault of the store, from which the whole copy can be built
        tell(
            Event.NOT_CONTINUED,
            f"{earlier} cannot be continued and is built anew from the store: {first_line(error)}",
            path=str(earlier),
        )
        return False


@contextmanager
def _note_where_runs_are(connection: Connection) -> Iterator[None]:
    """Add to the error of a failed publication where the runs are stored."""
    try:
        yield
    except DamagedError:
        raise  # the store is damaged, so it cannot be promised that it has the runs
    except StoreError as error:
        path = database_path(connection)
        place = Path(path).name if path else "the database in memory"
        raise type(error)(f"{error} The run is kept in {place}, and the next one publishes both.") from error


def check_published(connection: Connection, destination: Path | str) -> None:
    """Refuse a destination whose file is not a published copy of this store, because it would be replaced.

    Raises
    ------
    StoreError
        With the file and what it contains.
    """
    ours = {"store_version", *TABLES_AND_VIEWS, *(f"{LATEST}{name}" for name in TABLES_AND_VIEWS)}
    check_published_copy(Path(os.path.realpath(destination)), RESULTS, lambda name: name in ours, connection)


def _single_value(connection: Connection, query: str) -> object:
    """Return the one value of a query that has one."""
    (row,) = connection.execute(query).fetchall()
    return row[0]
