"""Copy the rows of one table of a run to a file in stored order, and read the file piece by piece.

A table of single groups may have more rows than memory has room for, and a reader who takes their time must not keep
the database open, because nobody else can write to it meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from mlm_ops.analyses.store.runs import in_todays_columns
from mlm_ops.analyses.store.version import VIEWS_OF_LISTS
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.faults import error_class, why_it_failed
from mlm_ops.warehouse.ownership import RESULTS, find_relations
from mlm_ops.warehouse.sql import literal, qualified

#: Rows that are read at once; the file is written in groups of as many, so that each is read alone.
PIECE = 8_192
#: What DuckDB may keep in memory while it copies.
MEMORY = "128MB"


def models_of_rows(connection: Connection, table: str, run_id: str, analysis: str) -> list[str | None]:
    """The models that a table of a run has rows of, as they are stored; None stands for rows of no single model.

    Raises
    ------
    StoreError
        The rows cannot be read.
    """
    relations = find_relations(connection, RESULTS)
    if table not in relations:
        return []  # it came after the mlm-ops that wrote the store
    stored = next((lists for lists, view in VIEWS_OF_LISTS.items() if view == table and lists in relations), table)
    query = f"select model from {_rows(stored, run_id, analysis)} group by model order by min(rowid)"
    with _unread_rows(table):
        return [model for (model,) in connection.execute(query).fetchall()]


def copy_rows(
    connection: Connection, table: str, run_id: str, analysis: str, models: Sequence[str] | None, path: Path
) -> int:
    """Copy the rows of a run to a Parquet file, and return how many there are.

    Parameters
    ----------
    models
        The models whose rows are copied, beside those of no single model; None copies all.

    The connection copies with one thread and little memory from then on.

    Raises
    ------
    StoreError
        The rows cannot be read, or the file cannot be written.
    """
    rows = _rows(table, run_id, analysis)
    if models is not None:
        rows += f" and (model is null or model in ({', '.join(map(literal, models))}))"
    with _unread_rows(table):
        # two threads would hold back what the other has to write first, and without a bound every block that was read
        connection.execute(f"set threads = 1; set memory_limit = {literal(MEMORY)}")
        copied = connection.execute(
            f"copy (select * from {rows}) to {literal(str(path))} (format parquet, row_group_size {PIECE})"
        ).fetchall()
    return int(copied[0][0])


@contextmanager
def _unread_rows(table: str) -> Iterator[None]:
    """Name the table whose rows cannot be read, and say why."""
    try:
        yield
    except duckdb.Error as error:
        raise error_class(error)(f"The rows of table {table} cannot be read: {why_it_failed(error)}") from error


def _rows(table: str, run_id: str, analysis: str) -> str:
    """The rows of one run; without a join, which would lose their order and read the rows of other runs too."""
    return f"{qualified(RESULTS, table)} where run_id = {literal(run_id)} and analysis = {literal(analysis)}"


def pieces(path: Path, table: str) -> Iterator[pl.DataFrame]:
    """Read the rows of a file that `copy_rows` wrote, so many at a time, in the columns of today."""
    rows = pl.scan_parquet(path)
    at = 0
    while (piece := rows.slice(at, PIECE).collect()).height:
        yield in_todays_columns(piece, table)
        at += piece.height
