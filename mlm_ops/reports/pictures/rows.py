"""Select the rows of result tables that a picture shows, as a frame and as SQL that selects the same rows in the store.

Every picture is a function of the same kind, ``(tables, selection) -> Iterator[Picture]``: it yields one picture for
each model, term or grouping factor that is selected and that the tables have, and none where they have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlm_ops.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    from mlm_ops.reports.pictures.picture import Picture

#: Result tables of one analysis by name, each of its latest run; a missing one counts as one without rows.
Tables = Mapping[str, pl.DataFrame]


@dataclass(frozen=True)
class Selection:
    """Which pictures of the tables are wanted; by default, all of the model with the most results.

    Attributes
    ----------
    model
        The model; of pictures of one model, by default the last that has what they show.
    group
        The grouping factor; by default each.
    term
        The coefficient or variable; by default each.
    pairwise
        Whether intervals of units are of 1.39 standard errors, for looking at pairs of units.
    runs
        How many of the last runs pictures over the runs show.
    """

    model: str | None = None
    group: str | None = None
    term: str | None = None
    pairwise: bool = False
    runs: int = 60

    def terms(self, there: Sequence[str]) -> list[str]:
        """Those terms that are wanted of those that are there."""
        return [term for term in there if self.term in (None, term)]

    def groups(self, there: Sequence[str]) -> list[str]:
        """Those grouping factors that are wanted of those that are there."""
        return [group for group in there if self.group in (None, group)]


#: The kind of function that every picture is.
Draft = Callable[[Tables, Selection], "Iterator[Picture]"]


@dataclass(frozen=True)
class Rows:
    """Rows of result tables, and the SQL over the store that gives the same ones."""

    frame: pl.DataFrame
    sql: str

    def sorted_by(self, *keys: Any, descending: bool | list[bool] = False) -> Rows:
        """The same rows in the order in which they are shown; those alike stay in the order of the SQL."""
        return Rows(self.frame.sort(*keys, descending=descending, nulls_last=True, maintain_order=True), self.sql)


def table(tables: Tables, name: str) -> pl.DataFrame:
    """A result table; an empty frame without columns where it is missing."""
    return tables.get(name, pl.DataFrame())


def select(
    tables: Tables,
    name: str,
    columns: Sequence[str],
    *,
    equal: Mapping[str, str] | None = None,
    condition: str | None = None,
    distinct: bool = False,
    derived: Mapping[str, str] | None = None,
) -> Rows:
    """Rows of one table, in the order of their columns.

    Parameters
    ----------
    columns
        Columns of the table; those that an older store lacks are null.
    equal
        The values that other columns have; names from the data stand here and nowhere else.
    condition
        More that holds of the rows, as SQL.
    distinct
        Whether rows alike are one, as where each model repeats what holds of the analysis.
    derived
        Further columns by name, as SQL over the table's.
    """
    frame, derived = table(tables, name), derived or {}
    if frame.is_empty():
        return Rows(pl.DataFrame(), "")
    owner = whose(frame)
    frame = frame.with_columns(pl.lit(None, pl.Float64).alias(c) for c in columns if c not in frame.columns)
    for column, value in (equal or {}).items():
        frame = frame.filter(pl.col(column) == value)
    rows = frame if condition is None else frame.filter(pl.sql_expr(condition))
    rows = rows.select(*columns, *(pl.sql_expr(text).alias(new) for new, text in derived.items()))
    rows = rows.unique() if distinct else rows
    parts = [*map(identifier, columns), *(f"{text} as {identifier(new)}" for new, text in derived.items())]
    lines = [f"select {'distinct ' if distinct else ''}{', '.join(parts)}", f"from {stored(frame, name)}"]
    conditions = [f"{identifier(c)} = {literal(value)}" for c, value in {**owner, **(equal or {})}.items()]
    conditions += [] if condition is None else [condition]
    lines += [f"where {' and '.join(conditions)}"] if conditions else []
    order = [column for column in columns if frame.schema[column] == pl.String] or list(columns[:1])
    lines.append(f"order by {', '.join(map(identifier, order))}")
    return Rows(rows.sort(rows.columns, nulls_last=True), "\n".join(lines))


def whose(frame: pl.DataFrame) -> dict[str, str]:
    """The analysis of the rows, for conditions; nothing for rows of a fit, which have no analysis."""
    return {"analysis": frame["analysis"][0]} if "analysis" in frame.columns and frame.height else {}


def stored(frame: pl.DataFrame, name: str) -> str:
    """The table's name in SQL: of its latest rows in the store, or of a fit's."""
    return f"mlm.latest_{name}" if "analysis" in frame.columns else identifier(name)
