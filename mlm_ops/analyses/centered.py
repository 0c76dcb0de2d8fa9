"""Make the table of an analysis' rows with centered columns, and compare its group means with the moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlm_ops.analyses.rows import open_rows
from mlm_ops.errors import DataError
from mlm_ops.inference.effect_sizes.decomposition import numbers_in, pool_number
from mlm_ops.language.model import Centering, Column, GroupingFactor, walk
from mlm_ops.moments.needs import find_needs
from mlm_ops.moments.record import Moments
from mlm_ops.warehouse.ownership import (
    STAGING,
    Claim,
    Relation,
    check_not_read,
    check_ours,
    columns_of,
    find_relations,
    replace_table,
    with_schema,
)
from mlm_ops.warehouse.source import (
    open_source,
    quoted_table,
    table_parts,
)
from mlm_ops.warehouse.sql import category, identifier, literal, qualified, render

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.analyses.file.analysis import Analysis


def centered_columns(analysis: Analysis) -> tuple[tuple[str, ...], GroupingFactor]:
    """Return the columns that the analysis centers, and the grouping factor that they are centered in.

    That is the lowest of the analysis' levels, named by the columns of all levels together; without levels, the first
    grouping factor of its models.
    """
    models = analysis.compiled_models.values()
    nodes = (node for model in models for v in model.variables for node in walk(v))
    columns = dict.fromkeys(
        node.of.name for node in nodes if isinstance(node, Centering) and isinstance(node.of, Column)
    )
    groups = [tuple(reversed(analysis.level_columns)), *(group for model in models for group in model.all_groups)]
    return tuple(columns), next((group for group in groups if group), ())


def split_of(column: str) -> tuple[str, str, str]:
    """Names of a centered column: the means of its groups, the deviations from them, and those from the grand mean."""
    return f"between_{column}", f"within_{column}", f"center_{column}"


def create_centered(connection: duckdb.DuckDBPyConnection, analysis: Analysis, table: str) -> None:
    """Create `table`: the analysis' rows with between_x, within_x and center_x of every column that it centers.

    The rows are those that the models use: complete on all columns of the analysis.

    Raises
    ------
    StoreError
        A table or view of that name was not made by mlm-ops, or the analysis reads it. Nothing is then changed.
    """
    source = open_rows(analysis, connection)
    claim = _claim(connection, analysis, table, list(source.types))
    check_ours(connection, claim)
    check_not_read(connection, claim, source.relation)
    columns, group = centered_columns(analysis)
    # refuses columns that the source does not have, so it comes first
    complete = find_needs(source, list(analysis.compiled_models.values()), keys=analysis.keys).complete
    columns = tuple(c for c in columns if source.is_numeric(c))
    columns_by_lower_name = {name.lower(): name for name in source.types}
    new_columns = [name for column in columns for name in split_of(column)]
    if clash := next(
        (columns_by_lower_name[name.lower()] for name in new_columns if name.lower() in columns_by_lower_name), None
    ):
        raise DataError(
            f"{source.table[0].upper()}{source.table[1:]} has a column {clash!r}, and the table with centered columns "
            "would have another. Rename it in a view or SELECT."
        )
    relation = source.relation
    if columns:
        rows = f"(select * from {relation} where {complete}) as complete_rows"
        relation = f"({render('centered', relation=rows, columns=list(columns), group=list(group))}) as centered"
    replace_table(connection, claim, f"as select * from {relation}")


def _claim(connection: duckdb.DuckDBPyConnection, analysis: Analysis, table: str, rows: list[str]) -> Claim:
    """Claim the name of the centered table; one that an earlier mlm-ops made has no mark."""

    def is_earlier(relation: Relation) -> bool:
        """Whether the columns are those of a centered table, and Dagster ran the analysis before tables were marked."""
        columns = set(columns_of(connection, relation))
        centered = {c for c in columns if columns.issuperset(split_of(c))}
        new_columns = {name for c in centered for name in split_of(c)}
        return relation.kind == "table" and columns - new_columns <= set(rows) and _was_staged(connection, analysis)

    remedy = "Rename one of the two: the table, or the analysis."
    table_name = with_schema(connection, table_parts(table))
    return Claim(table_name, f"centered rows of the analysis {analysis.analysis}", remedy, is_earlier)


def _was_staged(connection: duckdb.DuckDBPyConnection, analysis: Analysis) -> bool:
    """Whether the staging tables, not yet marked, have rows of the analysis from a Dagster run."""
    checksums = find_relations(connection, STAGING).get("checksums")
    if checksums is None or checksums.comment is not None:
        return False
    staged_rows = f"{qualified(checksums.schema, checksums.name)} where analysis = {literal(analysis.analysis)}"
    return bool(connection.execute(f"select 1 from {staged_rows} limit 1").fetchall())


def disagreement(connection: duckdb.DuckDBPyConnection, table: str, moments: Moments, group: GroupingFactor) -> float:
    """Return the largest difference between the group means in the table and in the moments, in standard deviations.

    Parameters
    ----------
    group
        The grouping factor that the table was centered in.

    Returns
    -------
    float
        Of the order of 1e-14 where both were made of the same rows; infinite where their units differ; zero where the
        table has no centered columns.
    """
    names = [name for name in open_source(table, connection).types if name.startswith("between_")]
    columns = {name: Column(name.removeprefix("between_")) for name in names}
    numbers = {name: number for name in names for number in numbers_in((columns[name],), moments)}
    if not numbers:
        return 0.0
    label = " || ':' || ".join(category(key) for key in group)
    means = ", ".join(f"any_value({identifier(name)})" for name in numbers)
    keys = ", ".join(identifier(key) for key in group)
    rows = connection.execute(f"select {label}, {means} from {quoted_table(table)} group by {keys}").fetchall()
    table_means = {row[0]: row[1:] for row in rows}
    labels = moments.units_of(group)[1]
    if set(table_means) != set(labels.tolist()):
        return float("inf")
    means_in_order = np.array([table_means[unit] for unit in labels], dtype=float)
    worst = 0.0
    for number, column_means in zip(numbers.values(), means_in_order.T, strict=True):
        pooled = pool_number(number, group, moments)
        grand = np.average(pooled.mean, weights=pooled.n)
        spread = np.sqrt((pooled.scatter + pooled.n * (pooled.mean - grand) ** 2).sum() / pooled.n.sum())
        worst = max(worst, float(np.abs(column_means - (pooled.mean + number.center)).max() / spread))
    return worst
