"""Make the table of an analysis' rows with their centered columns, by SQL, and say which columns these are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import polars_table
from mlm_ops.errors import DataError
from mlm_ops.language.model import Center, Centering, Column, GroupingFactor, Variable, number_text, walk
from mlm_ops.moments.needs import Needs, find_needs
from mlm_ops.warehouse.ownership import (
    STAGING,
    Claim,
    Relation,
    check_not_read,
    check_ours,
    columns_of,
    drop,
    find_relations,
    replace_table,
    with_schema,
)
from mlm_ops.warehouse.relation import table_parts
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import identifier, literal, qualified, render

if TYPE_CHECKING:
    import duckdb

    from mlm_ops.analyses.file.analysis import Analysis


@dataclass(frozen=True)
class CenteredColumn:
    """One column of the centered table.

    Attributes
    ----------
    name
        Its name in the table.
    column
        The column of the rows that it is made of.
    kind
        ``between``: the group's mean; ``within``: the value minus that; ``center``: the value minus the grand mean, or
        minus `at`.
    group
        Columns that name the group together; none where nothing but the grand mean or `at` is taken.
    higher
        Of ``between``: columns of the group one level higher, whose mean is subtracted from the group's.
    at
        Of ``center``: the reference value.
    """

    name: str
    column: str
    kind: Literal["between", "within", "center"]
    group: GroupingFactor = ()
    higher: GroupingFactor = ()
    at: float | None = None

    @property
    def is_group_mean(self) -> bool:
        """Whether the column has means of groups, and not their deviations from the groups above."""
        return self.kind == "between" and not self.higher


@dataclass(frozen=True)
class RowsToCenter:
    """The rows of an analysis that are to be centered, and the table to make of them.

    Attributes
    ----------
    claim
        The name of the table.
    source
        All rows of the analysis.
    relation
        Those that the models use, as the text after FROM.
    columns
        The new columns.
    """

    claim: Claim
    source: Source
    relation: str
    columns: tuple[CenteredColumn, ...]

    @property
    def values(self) -> tuple[str, ...]:
        """The columns that are centered, each once."""
        return tuple(dict.fromkeys(new.column for new in self.columns))

    def unused_name(self, word: str) -> str:
        """A name that no column has."""
        return word.ljust(max(map(len, self.source.types)) + 1, "_")

    @property
    def groups(self) -> tuple[GroupingFactor, ...]:
        """The groups whose means are taken, each once."""
        return tuple(dict.fromkeys(g for new in self.columns for g in (new.group, new.higher) if g))


def split_of(column: str) -> tuple[str, str, str]:
    """Names of a centered column: the means of its groups, the deviations from them, and those from the grand mean."""
    return f"between_{column}", f"within_{column}", f"center_{column}"


def levels_to_center(analysis: Analysis) -> tuple[GroupingFactor, ...]:
    """Return the grouping factors that the analysis centers in, lowest first.

    They are its levels, each named by its column and those of all levels above; without levels, the first grouping
    factor of its models.
    """
    columns = analysis.level_columns
    if columns:
        return tuple(tuple(reversed(columns[i:])) for i in range(len(columns)))
    groups = (group for model in analysis.compiled_models.values() for group in model.all_groups)
    return tuple(group for group in (next((group for group in groups if group), ()),) if group)


def centered_columns(analysis: Analysis, source: Source, needs: Needs) -> tuple[CenteredColumn, ...]:
    """Return the new columns of the centered table, of the outcomes and predictors of the models that are numbers.

    Of each there are those of `split_of`, for the lowest level; for each level above the mean of its groups and the
    deviation of the groups below from it; and the deviation from each reference value of the models. A column is left
    out if the rows have one of its name, unless a formula centers it.

    Raises
    ------
    DataError
        A column that a formula centers would have the name of a column of the rows.
    """
    nodes = [node for variable in needs.variables for node in walk(variable)]
    by_formula = {node.of.name for node in nodes if isinstance(node, Centering) and isinstance(node.of, Column)}
    numbers = [v.name for v in (*needs.numbers, *nodes) if isinstance(v, Column) and source.is_numeric(v.name)]
    columns = sorted(dict.fromkeys(numbers), key=lambda column: column not in by_formula)
    levels = levels_to_center(analysis)
    names = {name.lower(): name for name in source.types}
    new_columns: list[CenteredColumn] = []
    for column in columns:
        for new in _lowest(column, levels):
            if new.name.lower() not in names:
                names[new.name.lower()] = new.name
                new_columns.append(new)
            elif column in by_formula:
                raise DataError(
                    f"{source.table[0].upper()}{source.table[1:]} has a column {names[new.name.lower()]!r}, and the "
                    "table with centered columns would have another. Rename it in a view or SELECT."
                )
    for new in (new for column in columns for new in (*_higher(column, levels), *_references(column, nodes))):
        if new.name.lower() not in names:
            names[new.name.lower()] = new.name
            new_columns.append(new)
    return tuple(new_columns)


def _lowest(column: str, levels: Sequence[GroupingFactor]) -> Iterator[CenteredColumn]:
    """The split at the lowest level; where rows have no groups, the deviation from the grand mean alone."""
    between, within, center = split_of(column)
    if levels:
        yield CenteredColumn(between, column, "between", levels[0])
        yield CenteredColumn(within, column, "within", levels[0])
    yield CenteredColumn(center, column, "center")


def _higher(column: str, levels: Sequence[GroupingFactor]) -> Iterator[CenteredColumn]:
    """The split of the lower level's means; a group's own column is the last of its columns."""
    for below, group in pairwise(levels):
        yield CenteredColumn(f"{below[-1]}_within_{group[-1]}_{column}", column, "between", below, group)
        yield CenteredColumn(f"between_{group[-1]}_{column}", column, "between", group)


def _references(column: str, nodes: Sequence[Variable]) -> Iterator[CenteredColumn]:
    values = [node.at for node in nodes if isinstance(node, Center) and node.of == Column(column)]
    for value in dict.fromkeys(value for value in values if value is not None):
        yield CenteredColumn(f"center_{column}_at_{number_text(value)}", column, "center", at=value)


def rows_to_center(connection: duckdb.DuckDBPyConnection, analysis: Analysis, table: str) -> RowsToCenter:
    """Return the rows that the models use, those complete on all columns of the analysis, and what to make of them.

    Raises
    ------
    StoreError
        A table or view of that name was not made by mlm-ops, or the analysis reads it. Nothing is then changed.
    """
    source = open_rows(analysis, connection)
    claim = _claim(connection, analysis, table, list(source.types))
    check_ours(connection, claim)
    # the table of Polars is dropped where SQL alone makes one
    for name in (claim, _claim(connection, analysis, polars_table(analysis), [])):
        check_not_read(connection, name, source.relation)
    # refuses columns that the source does not have, so it comes first
    needs = find_needs(source, analysis.models_to_scan, analysis.level_columns, analysis.keys)
    columns = centered_columns(analysis, source, needs)
    relation = (
        f"(select * from {source.relation} where {needs.complete}) as complete_rows" if columns else source.relation
    )
    return RowsToCenter(claim, source, relation, columns)


def create_centered(connection: duckdb.DuckDBPyConnection, analysis: Analysis, table: str) -> None:
    """Create `table` by SQL: the analysis' rows with the columns of `centered_columns`.

    Raises
    ------
    StoreError
        A table or view of that name was not made by mlm-ops, or the analysis reads it. Nothing is then changed.
    """
    write_by_sql(connection, rows_to_center(connection, analysis, table))


def write_by_sql(connection: duckdb.DuckDBPyConnection, rows: RowsToCenter) -> None:
    """Create the table by the macros of ``sql/macros/centering``.

    Values are taken from a number near their mean before they are summed: sums of numbers far from zero lose digits.
    """
    if not rows.columns:
        replace_table(connection, rows.claim, f"as select * from {rows.relation}")
        return
    near = _near_means(connection, rows)
    names = {column: rows.unused_name(f"value_{i}") for i, column in enumerate(rows.values)}
    values = ", ".join(
        f"{render('number', expression=identifier(c))} - {literal(near[c])} as {identifier(names[c])}" for c in names
    )
    new = ", ".join(f"{_sql(c, names[c.column], near[c.column])} as {identifier(c.name)}" for c in rows.columns)
    helpers = ", ".join(map(identifier, names.values()))
    shifted_rows = f"(select *, {values} from {rows.relation}) as shifted_rows"
    replace_table(connection, rows.claim, f"as select * exclude ({helpers}), {new} from {shifted_rows}")


def _near_means(connection: duckdb.DuckDBPyConnection, rows: RowsToCenter) -> dict[str, float]:
    """The mean of each column that is centered, up to rounding; zero where it is too large for a double."""
    means = ", ".join(f"avg({render('value', column=column)})" for column in rows.values)
    (values,) = connection.execute(f"select {means} from {rows.relation}").fetchall()
    return {
        column: mean if mean is not None and math.isfinite(mean) else 0.0
        for column, mean in zip(rows.values, values, strict=True)
    }


def _sql(new: CenteredColumn, value: str, near: float) -> str:
    """A new column in SQL; `value` is the name of its column minus `near`."""
    match new.kind:
        case "between" if new.higher:
            means = (render("between", column=value, group=list(group)) for group in (new.group, new.higher))
            return " - ".join(means)
        case "between":
            return f"{literal(near)} + {render('between', column=value, group=list(new.group))}"
        case "within":
            return render("within", column=value, group=list(new.group))
    return render("center", column=value) if new.at is None else render("center", column=new.column, at=new.at)


def drop_table_of_polars(connection: duckdb.DuckDBPyConnection, analysis: Analysis) -> None:
    """Drop the table that Polars made beside the one of SQL, of an analysis that has no longer ``steps: both``."""
    claim = _claim(connection, analysis, polars_table(analysis), [])
    relation = find_relations(connection, claim.table[-2]).get(claim.table[-1].lower())
    if relation is not None and relation.comment == claim.comment:
        drop(connection, claim)


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
    if table == polars_table(analysis):
        return Claim(table_name, f"rows of the analysis {analysis.analysis} that Polars centered", remedy)
    return Claim(table_name, f"centered rows of the analysis {analysis.analysis}", remedy, is_earlier)


def _was_staged(connection: duckdb.DuckDBPyConnection, analysis: Analysis) -> bool:
    """Whether the staging tables, not yet marked, have rows of the analysis from a Dagster run."""
    checksums = find_relations(connection, STAGING).get("checksums")
    if checksums is None or checksums.comment is not None:
        return False
    staged_rows = f"{qualified(checksums.schema, checksums.name)} where analysis = {literal(analysis.analysis)}"
    return bool(connection.execute(f"select 1 from {staged_rows} limit 1").fetchall())
