"""Compare a centered table with the moments, and with the same table that was made in another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlm_ops.analyses.centered import CenteredColumn, levels_to_center, rows_to_center
from mlm_ops.analyses.run import centered_table, polars_table
from mlm_ops.inference.effect_sizes.decomposition import numbers_in, pool_number
from mlm_ops.language.model import Column, GroupingFactor, group_name
from mlm_ops.moments.arrays import joined
from mlm_ops.moments.record import Moments
from mlm_ops.warehouse.relation import quoted_table
from mlm_ops.warehouse.source import open_source
from mlm_ops.warehouse.sql import category, identifier, render

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.analyses.file.analysis import Analysis

#: A difference is divided by the standard deviation of the column plus this share of its largest value: where values
#: are thousands of standard deviations from zero, doubles hold the standard deviation itself with fewer digits.
OF_LARGEST = 1e-3
#: Groups or partitions that a sentence names.
MOST_NAMES = 3


@dataclass(frozen=True)
class TableDifference:
    """How far two centered tables of the same rows are apart.

    Attributes
    ----------
    largest
        The largest difference between two cells, in standard deviations of the column that was centered; infinite
        where the rows differ or a cell has no number.
    column
        The new column that has it; None where there is no column, or the rows differ.
    other_rows
        In which rows they differ, in one sentence; None where they do not.
    """

    largest: float
    column: str | None
    other_rows: str | None


def disagreement(
    connection: duckdb.DuckDBPyConnection, table: str, moments: Moments, columns: Sequence[CenteredColumn]
) -> float:
    """Return the largest difference between the group means in the table and in the moments, in standard deviations.

    Parameters
    ----------
    columns
        The new columns of the table.

    Returns
    -------
    float
        Of the order of 1e-14 where both were made of the same rows; infinite where their units differ; zero where the
        table has no group means.
    """
    means = [new for new in columns if new.is_group_mean and any(numbers_in((Column(new.column),), moments))]
    groups = dict.fromkeys(new.group for new in means)
    return max((_of_group(connection, table, moments, group, means) for group in groups), default=0.0)


def _of_group(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    moments: Moments,
    group: GroupingFactor,
    columns: Sequence[CenteredColumn],
) -> float:
    columns = [new for new in columns if new.group == group]
    label = ", ".join(map(category, group))
    means = ", ".join(f"any_value({identifier(new.name)})" for new in columns)
    keys = ", ".join(identifier(key) for key in group)
    rows = connection.execute(f"select {label}, {means} from {quoted_table(table)} group by {keys}").fetchall()
    labels = moments.units_of(group)[1]
    if not rows:
        return float("inf")
    units = joined([np.array(values) for values in zip(*(row[: len(group)] for row in rows), strict=True)])
    table_means = {unit: row[len(group) :] for unit, row in zip(units.tolist(), rows, strict=True)}
    if set(table_means) != set(labels.tolist()):
        return float("inf")
    means_in_order = np.array([table_means[unit] for unit in labels], dtype=float)
    worst = 0.0
    for new, column_means in zip(columns, means_in_order.T, strict=True):
        (number,) = numbers_in((Column(new.column),), moments)
        pooled = pool_number(number, group, moments)
        grand = np.average(pooled.mean, weights=pooled.n)
        spread = np.sqrt((pooled.scatter + pooled.n * (pooled.mean - grand) ** 2).sum() / pooled.n.sum())
        expected = pooled.mean + number.center
        worst = max(worst, _relative(np.abs(column_means - expected).max(), spread, np.abs(expected).max()))
    return worst


def _relative(difference: float, spread: float, largest: float) -> float:
    """A difference in standard deviations; infinite where it is no number."""
    if difference == 0.0:
        return 0.0
    relative = float(difference) / (float(spread) + OF_LARGEST * float(largest))
    return relative if np.isfinite(relative) else float("inf")


def compare_steps(connection: duckdb.DuckDBPyConnection, analysis: Analysis) -> TableDifference:
    """Compare the table that SQL made with the one that Polars made, cell by cell.

    Within a group of the lowest level a new column is one number, or differs from its column by one number. So the
    least and largest of these in each group of both tables bound the difference of every pair of cells, and the tables
    need no key by which their rows could be joined. That the rows themselves are the same is seen from their hashes.

    Raises
    ------
    DataError
        One of the tables does not exist, or lacks a column.
    """
    rows = rows_to_center(connection, analysis, centered_table(analysis))
    tables = centered_table(analysis), polars_table(analysis)
    for table in tables:
        open_source(table, connection).require([*rows.source.types, *(new.name for new in rows.columns)])
    group = next(iter(levels_to_center(analysis)), ())
    if (sentence := _other_rows(connection, analysis, tables, group, list(rows.source.types))) is not None:
        return TableDifference(float("inf"), None, sentence)
    if not rows.columns:
        return TableDifference(0.0, None, None)
    keys = [identifier(key) for key in group]
    bounds = ", ".join(
        f"max(greatest(abs(a.most_{i} - b.least_{i}), abs(b.most_{i} - a.least_{i}))), "
        f"bool_and(a.n = a.n_{i} and b.n = b.n_{i})"
        for i in range(len(rows.columns))
    )
    groups = _side_by_side(tables, keys, ["count(*) as n", *map(_range, range(len(rows.columns)), rows.columns)])
    (values,) = connection.execute(f"select {bounds} from {groups}").fetchall()
    spreads = ", ".join(f"stddev_pop({value}), max(abs({value}))" for value in map(_number, rows.values))
    (scales,) = connection.execute(f"select {spreads} from {quoted_table(tables[0])}").fetchall()
    scale = dict(zip(rows.values, zip(scales[::2], scales[1::2], strict=True), strict=True))
    differences = {
        new.name: _relative(difference, *scale[new.column]) if complete else float("inf")
        for new, difference, complete in zip(rows.columns, values[::2], values[1::2], strict=True)
        if complete is not None  # of no rows
    }
    column = max(differences, key=lambda name: differences[name], default=None)
    return TableDifference(differences.get(column or "", 0.0), column, None)


def _number(column: str) -> str:
    return render("number", expression=identifier(column))


def _range(i: int, new: CenteredColumn) -> str:
    """SQL of a new column in a group: its cells with a value, and the ends of what is one number in all of them."""
    cell = identifier(new.name)
    number = cell if new.kind == "between" else f"{cell} - {_number(new.column)}"
    return f"count({cell}) as n_{i}, min({number}) as least_{i}, max({number}) as most_{i}"


def _side_by_side(tables: Sequence[str], keys: Sequence[str], columns: Sequence[str]) -> str:
    """The groups of two tables beside each other, as `a` and `b`: the text after FROM."""
    columns_sql = ", ".join([*(f"{key} as key_{i}" for i, key in enumerate(keys)), *columns])
    group_by = f" group by {', '.join(keys)}" if keys else ""
    a, b = (
        f"(select {columns_sql} from {quoted_table(table)}{group_by}) as {side}"
        for table, side in zip(tables, "ab", strict=True)
    )
    same = " and ".join(f"a.key_{i} is not distinct from b.key_{i}" for i in range(len(keys)))
    return f"{a} full join {b} on {same}" if keys else f"{a} cross join {b}"


def _other_rows(
    connection: duckdb.DuckDBPyConnection,
    analysis: Analysis,
    tables: Sequence[str],
    group: GroupingFactor,
    columns: Sequence[str],
) -> str | None:
    """Name the partitions, or count the groups, in which the two tables have different rows."""
    keys = [category(analysis.partition)] if analysis.partition else [identifier(key) for key in group]
    hashes = f"sum(hash({', '.join(map(identifier, columns))})) as hashes"
    groups = _side_by_side(tables, keys, ["count(*) as n", hashes])
    differences = f"{groups} where a.n is distinct from b.n or a.hashes is distinct from b.hashes"
    name = "coalesce(a.key_0, b.key_0)" if analysis.partition else "null"
    rows = connection.execute(
        f"select {name}, coalesce(a.n, 0), coalesce(b.n, 0) from {differences} order by 1"
    ).fetchall()
    if not rows:
        return None
    names = ", ".join(str(row[0]) for row in rows[:MOST_NAMES]) + (
        f" and {len(rows) - MOST_NAMES} more" if len(rows) > MOST_NAMES else ""
    )
    where = f" of {len(rows)} groups of {group_name(group)}" if group else ""
    where = f" of {analysis.partition} {names}" if analysis.partition else where
    in_sql, in_polars = (sum(row[side] for row in rows) for side in (1, 2))
    return (
        f"The table that SQL made and that of Polars hold different rows{where}: {in_sql:,} and {in_polars:,}. "
        "Materialize both again."
    )
