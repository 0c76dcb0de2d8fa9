"""Read the latest results of a store as they are, quickly: without the engine, and without pyarrow.

`store.runs.read_latest` reads one table in the columns of today, for programs; this reads all that a report shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from mlm_ops.analyses.store.version import REMEDY, check_version, columns_by_table
from mlm_ops.errors import StoreError
from mlm_ops.warehouse.connection import Connection, OnWait, using
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.ownership import RESULTS
from mlm_ops.warehouse.sql import identifier, literal, qualified

Results = dict[str, pl.DataFrame]

#: What the names of views of the latest results begin with.
VIEW = "latest_"
#: A table of single groups that stays in the warehouse.
_UNPUBLISHED = "influence"
_KINDS: dict[str, pl.DataType] = {
    "VARCHAR": pl.String(),
    "DOUBLE": pl.Float64(),
    "BIGINT": pl.Int64(),
    "BOOLEAN": pl.Boolean(),
    "TIMESTAMP WITH TIME ZONE": pl.Datetime("us"),
}
#: Rows that are handed over at once.
_BATCH = 20_000


def read_latest_results(path: Path, analysis: str | None = None, *, on_wait: OnWait | None = None) -> Results:
    """Read every published table of the latest finished runs, in one connection that is closed again.

    Parameters
    ----------
    path
        A store, or a published copy of one; it is opened read-only.
    analysis
        Of which analysis; by default of all.
    on_wait
        Called once if another process has the file open.

    Returns
    -------
    dict
        Frames by the names of their tables; a table that the mlm-ops that wrote the store did not have is missing.

    Raises
    ------
    StoreError
        There are no results, the store has another version, or it was changed by hand.
    """
    with using(path, read_only=True, on_wait=on_wait) as connection:
        columns = columns_by_table(connection, RESULTS)
        if "store_version" not in columns:
            raise StoreError(f"There are no results in {path}: it has no schema {RESULTS} of mlm-ops.")
        check_version(connection, RESULTS)
        views = {name.removeprefix(VIEW): kinds for name, kinds in columns.items() if name.startswith(VIEW)}
        views.pop(_UNPUBLISHED, None)
        return {name: _read(connection, name, kinds, analysis) for name, kinds in sorted(views.items())}


def _read(connection: Connection, name: str, kinds: dict[str, str], analysis: str | None) -> pl.DataFrame:
    chosen = [
        f"timezone('UTC', {identifier(column)})" if kind.startswith("TIMESTAMP WITH") else identifier(column)
        for column, kind in kinds.items()
    ]
    of = "" if analysis is None else f" where analysis = {literal(analysis)}"
    query = f"select {', '.join(chosen)} from {qualified(RESULTS, VIEW + name)}{of}"
    schema = {column: _KINDS.get(kind, pl.String()) for column, kind in kinds.items()}
    try:
        frames = list(_batches(connection, query, schema))
        frame = pl.concat(frames) if frames else pl.DataFrame(schema=schema)
    except (duckdb.ProgrammingError, pl.exceptions.PolarsError, TypeError) as error:
        raise StoreError(f"The view {RESULTS}.{VIEW}{name} cannot be read: {first_line(error)} {REMEDY}") from error
    times = [column for column, kind in schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(pl.col(times).dt.replace_time_zone("UTC")) if times else frame


def _batches(connection: Connection, query: str, schema: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
    rows = connection.execute(query)
    while batch := rows.fetchmany(_BATCH):
        yield pl.DataFrame(batch, schema=schema, orient="row")
