"""Read the latest results of a store quickly, without the engine and without pyarrow.

`store.runs.read_latest` gives one table the columns of today. The engine's tables say which these are, and importing
the engine takes half a second and 45 MB, a fifth of what a whole report takes; pictures go without a column instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import polars as pl

from mlm_ops.analyses.store.version import LATEST, LATEST_FIRST, REMEDY, UNPUBLISHED, check_version, columns_by_table
from mlm_ops.errors import StoreError
from mlm_ops.warehouse.connection import Connection, OnWait, using
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.ownership import RESULTS
from mlm_ops.warehouse.sql import identifier, literal, qualified

Results = dict[str, pl.DataFrame]

_KINDS: dict[str, pl.DataType] = {
    "VARCHAR": pl.String(),
    "DOUBLE": pl.Float64(),
    "BIGINT": pl.Int64(),
    "BOOLEAN": pl.Boolean(),
    "TIMESTAMP WITH TIME ZONE": pl.Datetime("us"),
}
#: What the names of tables with rows of several runs begin with, and which there are.
SEVERAL = "all_"
_OF_SEVERAL_RUNS = ("runs", "fixed_effects", "variance_components", "fit_statistics", "drift")
_PLACE = f"row_number() over (partition by analysis order by {LATEST_FIRST})"
#: Rows that are handed over at once.
_BATCH = 20_000


def read_latest_results(
    path: Path, *, runs: int = 1, on_wait: OnWait | None = None, of: Callable[[str], bool] | None = None
) -> Results:
    """Read every published table of the latest finished runs, in one connection that is closed again.

    Parameters
    ----------
    path
        A store, or a published copy of one; it is opened read-only.
    runs
        Of how many of the latest finished runs of each analysis its coefficients, variances and changes are read too.
    on_wait
        Called once if another process has the file open.
    of
        Tells of the name of an analysis whether its results are read; by default all are. Runs are those of all.

    Returns
    -------
    dict
        Frames by the names of their tables; a table that the mlm-ops that wrote the store did not have is missing.
        With the prefix `SEVERAL` those of several runs, of analyses that have them.

    Raises
    ------
    StoreError
        There are no results, the store has another version, or it was changed by hand.
    """
    with using(path, read_only=True, on_wait=on_wait) as connection:
        columns = columns_by_table(connection, RESULTS)
        if "store_version" not in columns:
            raise StoreError(f"There are no results in {path}: it has no schema {RESULTS} of mlm-ops.")
        check_version(connection, RESULTS, columns)
        views = {name.removeprefix(LATEST): kinds for name, kinds in columns.items() if name.startswith(LATEST)}
        results, conditions = {}, [] if of is None else [_of(connection, of)]
        for name, kinds in sorted(views.items()):
            if name not in UNPUBLISHED:
                own = [] if name == "runs" else conditions
                results[name] = _read(connection, f"{LATEST}{name}", kinds, own)
        if runs > 1:
            for name in _OF_SEVERAL_RUNS:
                if name in columns and "sequence" in columns["runs"]:
                    results[SEVERAL + name] = _read(connection, name, columns[name], [*conditions, _several(runs)])
        return results


def _of(connection: Connection, of: Callable[[str], bool]) -> str:
    """The condition on rows: of an analysis that is wanted."""
    rows = connection.execute(f"select distinct analysis from {qualified(RESULTS, 'runs')}").fetchall()
    names = ", ".join(literal(name) for (name,) in rows if of(name))
    return f"analysis in ({names})" if names else "false"


def _several(runs: int) -> str:
    """The condition on rows: of one of so many latest finished runs of an analysis that has more than one."""
    columns = f"run_id, analysis, count(*) over (partition by analysis) as n, {_PLACE} as place"
    finished = f"select {columns} from {qualified(RESULTS, 'runs')} where status = 'finished'"
    return f"(run_id, analysis) in (select (run_id, analysis) from ({finished}) where n > 1 and place <= {runs})"


def _read(connection: Connection, relation: str, kinds: dict[str, str], conditions: Sequence[str]) -> pl.DataFrame:
    values = [
        f"timezone('UTC', {identifier(column)})" if kind.startswith("TIMESTAMP WITH") else identifier(column)
        for column, kind in kinds.items()
    ]
    condition = " where " + " and ".join(conditions) if conditions else ""
    query = f"select {', '.join(values)} from {qualified(RESULTS, relation)}{condition}"
    schema = {column: _KINDS.get(kind, pl.String()) for column, kind in kinds.items()}
    try:
        frames = list(_batches(connection, query, schema))
        frame = pl.concat(frames) if frames else pl.DataFrame(schema=schema)
    except (duckdb.ProgrammingError, pl.exceptions.PolarsError, TypeError) as error:
        raise StoreError(f"{RESULTS}.{relation} cannot be read: {first_line(error)} {REMEDY}") from error
    times = [column for column, kind in schema.items() if isinstance(kind, pl.Datetime)]
    return frame.with_columns(pl.col(times).dt.replace_time_zone("UTC")) if times else frame


def _batches(connection: Connection, query: str, schema: dict[str, pl.DataType]) -> Iterator[pl.DataFrame]:
    rows = connection.execute(query)
    while batch := rows.fetchmany(_BATCH):
        yield pl.DataFrame(batch, schema=schema, orient="row")
