"""Make the table of an analysis' rows with their centered columns in Polars, lazily and by its streaming engine.

Of the rows that the models use, the columns that are centered and those of the groups leave DuckDB as Parquet. Polars
writes the new columns as Parquet, and DuckDB puts them beside the rows.
"""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.analyses.centered import CenteredColumn, RowsToCenter, rows_to_center, write_by_sql
from mlm_ops.errors import DataError, StoreError
from mlm_ops.language.model import GroupingFactor
from mlm_ops.logs import Event, tell
from mlm_ops.plugins.polars import CenteringNamespace
from mlm_ops.warehouse.connection import database_path, free_name
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.ownership import replace_table
from mlm_ops.warehouse.sql import file_literal, identifier, literal
from mlm_ops.warehouse.types import ROUNDED

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.analyses.file.analysis import Analysis

#: Types whose values Polars reads from Parquet as they are; numbers to center it reads as the double that SQL makes of
#: them, too.
_KEYS = re.compile(
    r"BOOLEAN|U?(TINY|SMALL|BIG)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\([^)]*\)|VARCHAR|ENUM\(.*\)|UUID|BLOB|DATE|TIME"
    r"|TIMESTAMP(_S|_MS|_NS| WITH TIME ZONE)?",
    re.IGNORECASE | re.DOTALL,
)
_ROW = "row"


def create_centered_in_polars(connection: duckdb.DuckDBPyConnection, analysis: Analysis, table: str) -> str | None:
    """Create `table` by Polars: the same rows and columns as `mlm_ops.analyses.centered.create_centered` makes.

    Returns
    -------
    str or None
        Why SQL made the table instead, in one sentence, which is logged too.

    Raises
    ------
    StoreError
        A table or view of that name was not made by mlm-ops, or the analysis reads it, or there is no place for the
        files. Nothing is then changed.
    DataError
        Polars fails; the table is then as it was.
    """
    started, rows = time.perf_counter(), rows_to_center(connection, analysis, table)
    obstacle = why_not_in_polars(rows)
    if obstacle is not None or not rows.columns:
        write_by_sql(connection, rows)
    else:
        with _folder_beside(connection, rows.claim.table[-1]) as folder:
            _write_by_polars(connection, rows, folder)
    seconds = time.perf_counter() - started
    message = obstacle or f"Polars centered the rows of {table} in {seconds:.2f} s"
    tell(Event.CENTERED, message, table=table, steps="polars" if obstacle is None else "sql", seconds=seconds)
    return obstacle


def why_not_in_polars(rows: RowsToCenter) -> str | None:
    """Say why Polars cannot center these rows, in one sentence; None where it can."""
    keys = dict.fromkeys(key for group in rows.groups for key in group)
    types_by_column = [*((key, _KEYS) for key in keys), *((column, ROUNDED) for column in rows.values)]
    for column, types in types_by_column:
        if types.fullmatch(rows.source.types[column]) is None:
            return (
                f"SQL centered the rows instead of Polars, which cannot read column {column!r} of type "
                f"{rows.source.types[column]} without loss."
            )
    return None


@dataclass(frozen=True)
class _Aliases:
    """The names under which columns travel, because a column may be called anything.

    Attributes
    ----------
    values
        By the columns that are centered.
    keys
        By the columns of the groups.
    new
        By the new columns.
    """

    values: dict[str, str]
    keys: dict[str, str]
    new: dict[str, str]

    def mean(self, column: str, group: GroupingFactor) -> str:
        """The column with the means of a group."""
        return "_".join(["mean", self.values[column], *(self.keys[key] for key in group)])


def _aliases(rows: RowsToCenter) -> _Aliases:
    keys = dict.fromkeys(key for group in rows.groups for key in group)
    return _Aliases(
        {column: f"value_{i}" for i, column in enumerate(rows.values)},
        {key: f"key_{i}" for i, key in enumerate(keys)},
        {column.name: f"new_{i}" for i, column in enumerate(rows.columns)},
    )


def _write_by_polars(connection: duckdb.DuckDBPyConnection, rows: RowsToCenter, folder: Path) -> None:
    """Take the rows to Polars and back."""
    aliases, rows_file, centered_file = _aliases(rows), folder / "rows.parquet", folder / "centered.parquet"
    # a column of a user may be called rowid
    place = identifier(rows.unused_name(_ROW))
    numbered_rows = f"select *, row_number() over () as {place} from {rows.relation}"
    kept = f"temp.{free_name('rows_to_center')}"
    connection.execute(f"create temp table {kept} as {numbered_rows}")
    try:
        columns = ", ".join(f"{identifier(c)} as {alias}" for c, alias in (aliases.keys | aliases.values).items())
        target = literal(str(rows_file))
        connection.execute(f"copy (select {place} as {_ROW}, {columns} from {kept}) to {target} (format parquet)")
        try:
            frame = _center_lazily(pl.scan_parquet(rows_file, glob=False), rows, aliases)
            frame.sink_parquet(centered_file, engine="streaming", maintain_order=True, compression="snappy")
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = why_it_failed(error).removesuffix(".")
            raise DataError(
                f"Polars cannot center the rows of {rows.source.table}: {reason}. Write steps: sql in the analysis "
                "file to center them by SQL."
            ) from error
        new = ", ".join(f"new.{alias} as {identifier(name)}" for name, alias in aliases.new.items())
        in_order = (
            f"case when own.{place} = new.{_ROW} then true else error('The rows came back in another order.') end"
        )
        beside = f"{kept} as own positional join read_parquet({file_literal(centered_file)}) as new"
        replace_table(
            connection, rows.claim, f"as select own.* exclude ({place}), {new} from {beside} where {in_order}"
        )
    finally:
        connection.execute(f"drop table if exists {kept}")


def _center_lazily(frame: pl.LazyFrame, rows: RowsToCenter, aliases: _Aliases) -> pl.LazyFrame:
    """Return the new columns, row by row.

    Means are taken of deviations from a number near the grand mean, because sums of numbers far from zero lose digits,
    and in passes of their own: the rows then stream past the groups' means, and memory holds no whole column.
    """
    raw = {column: pl.col(alias) for column, alias in aliases.values.items()}
    near = {column: mean if math.isfinite(mean) else 0.0 for column, mean in _means(frame, raw).items()}
    deviations = {column: _mlm(value).center(at=near[column]) for column, value in raw.items()}
    grand = _means(frame, deviations)
    frame_with_means = frame
    for group in rows.groups:
        keys = [aliases.keys[key] for key in group]
        means = (_mlm(value).mean().alias(aliases.mean(column, group)) for column, value in deviations.items())
        by_group = frame.group_by(keys).agg(means).collect(engine="streaming")
        frame_with_means = frame_with_means.join(by_group.lazy(), on=keys, how="left", maintain_order="left")

    def expression(new: CenteredColumn) -> pl.Expr:
        deviation = _mlm(deviations[new.column])
        if new.at is not None:
            return _mlm(raw[new.column]).center(at=new.at)
        if new.kind == "center":
            return deviation.center(at=grand[new.column])
        mean = pl.col(aliases.mean(new.column, new.group))
        if new.kind == "within":
            return deviation.center(at=mean)
        return mean - pl.col(aliases.mean(new.column, new.higher)) if new.higher else mean + near[new.column]

    return frame_with_means.select(_ROW, *(expression(new).alias(aliases.new[new.name]) for new in rows.columns))


def _mlm(expression: pl.Expr) -> CenteringNamespace:
    """The centering expressions, as ``.mlm`` has them."""
    return CenteringNamespace(expression)


def _means(frame: pl.LazyFrame, expressions: dict[str, pl.Expr]) -> dict[str, float]:
    """The means of expressions over all rows; of no rows zero."""
    means = frame.select(_mlm(value).mean().alias(str(i)) for i, value in enumerate(expressions.values()))
    return {
        column: 0.0 if mean is None else mean
        for column, mean in zip(expressions, means.collect(engine="streaming").row(0), strict=True)
    }


@contextmanager
def _folder_beside(connection: duckdb.DuckDBPyConnection, table: str) -> Iterator[Path]:
    """Yield a folder beside the database file for the Parquet files of a table, and remove it whatever happens.

    A killed process leaves its folder behind; the next run removes it, as DuckDB lets one process write at a time.
    """
    database = database_path(connection)
    if database is None:
        with TemporaryDirectory(prefix="mlm_") as folder:
            yield Path(folder)
        return
    place = Path(database).absolute()
    beside = place.with_name(f".{place.name}.{re.sub(r'[^a-zA-Z0-9_]', '_', table)}.polars")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(mode=0o700)
    except OSError as error:
        raise StoreError(
            f"Polars has no folder for its files: cannot make {beside} ({error.strerror}). Remove what is there, or "
            "write steps: sql in the analysis file."
        ) from error
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)
