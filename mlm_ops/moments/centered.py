"""The within/between split as a table beside the moments, for people and dashboards; and the proof that both agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlm_ops.language.model import Between, Center, Column, Within, walk
from mlm_ops.moments.moments import Moments
from mlm_ops.moments.render import render
from mlm_ops.moments.source import open_source, quoted_table
from mlm_ops.moments.survey import complete_rows
from mlm_ops.sql_text import identifier

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.language.analysis import Analysis


def centered_columns(analysis: Analysis) -> tuple[tuple[str, ...], str]:
    """Numeric columns that the analysis centers, and the grouping column over whose units.

    The lowest of the analysis' levels, or the first grouping factor of its models.
    """
    models = analysis.parsed.values()
    nodes = (node for model in models for v in model.variables for node in walk(v))
    columns = dict.fromkeys(
        node.of.name for node in nodes if isinstance(node, Within | Between | Center) and isinstance(node.of, Column)
    )
    groups = [*analysis.levels, *(g[0] for model in models for g in model.all_groups)]
    return tuple(columns), groups[0] if groups else ""


def create_centered(connection: duckdb.DuckDBPyConnection, analysis: Analysis, table: str) -> None:
    """Make `table`: the analysis' rows with between_x, within_x and center_x of every column that it centers.

    The rows are those that the models see, complete on all the analysis' columns.
    """
    source = open_source(analysis.data, connection, analysis.where)
    columns, group = centered_columns(analysis)
    # refuses columns that are not there, so it comes first
    complete = complete_rows(source, list(analysis.parsed.values()), analysis.keys)
    columns = tuple(c for c in columns if source.is_numeric(c))
    relation = source.relation
    if columns:
        rows = f"(select * from {relation} where {complete}) as complete_rows"
        relation = f"({render('centered', relation=rows, columns=list(columns), group=group)}) as centered"
    connection.execute(f"create or replace table {quoted_table(table)} as select * from {relation}")


def disagreement(connection: duckdb.DuckDBPyConnection, table: str, moments: Moments) -> float:
    """Largest difference between the table's group means and the moments', relative to each column's spread.

    Returns
    -------
    float
        Of the order of 1e-14 where both saw the same rows; infinite where their groups differ.
    """
    columns = [
        name.removeprefix("between_") for name in open_source(table, connection).types if name.startswith("between_")
    ]
    key = moments.schema.keys[0] if len(moments.schema.keys) == 1 else None
    if key is None or not columns:
        return 0.0
    means = ", ".join(f"any_value({identifier('between_' + c)})" for c in columns)
    rows = connection.execute(
        f"select {means} from {quoted_table(table)} group by {identifier(key)} order by {identifier(key)}"
    ).fetchnumpy()
    worst = 0.0
    for column, found in zip(columns, rows.values(), strict=True):
        place = (Column(column),)
        if place in moments.schema.monomials:
            i = moments.schema.monomials.index(place)
            expected = moments.mean[i] + moments.schema.centers[Column(column)]
        elif Column(column) in moments.schema.constants:
            expected = moments.constants[moments.schema.constants.index(Column(column))]
        else:
            continue
        if len(found) != len(expected):
            return float("inf")
        low, high = moments.schema.ranges[Column(column)]
        worst = max(worst, float(np.abs(found - expected).max() / (high - low)))
    return worst
