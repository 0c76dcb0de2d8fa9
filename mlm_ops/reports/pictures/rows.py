"""Select what a picture shows of the result tables, as a frame and as the SQL that gives the same rows of the store.

Every picture is a function of the same kind, ``(tables, selection) -> Iterator[Picture]``: it yields one picture for
each model, term or grouping factor that is selected and that the tables have, and none where they have none.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
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
    """Which of the pictures that tables have are wanted; the default is all of the model that is told most about.

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
    """

    model: str | None = None
    group: str | None = None
    term: str | None = None
    pairwise: bool = False

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
    **derived: str,
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
    frame = table(tables, name)
    if frame.is_empty():
        return Rows(pl.DataFrame(), "")
    owner = whose(frame)
    frame = frame.with_columns(pl.lit(None, pl.Float64).alias(c) for c in columns if c not in frame.columns)
    for column, value in (equal or {}).items():
        frame = frame.filter(pl.col(column) == value)
    chosen = frame if condition is None else frame.filter(pl.sql_expr(condition))
    chosen = chosen.select(*columns, *(pl.sql_expr(text).alias(new) for new, text in derived.items()))
    chosen = chosen.unique() if distinct else chosen
    parts = [*map(identifier, columns), *(f"{text} as {identifier(new)}" for new, text in derived.items())]
    lines = [f"select {'distinct ' if distinct else ''}{', '.join(parts)}", f"from {stored(frame, name)}"]
    conditions = [f"{identifier(c)} = {literal(value)}" for c, value in {**owner, **(equal or {})}.items()]
    conditions += [] if condition is None else [condition]
    lines += [f"where {' and '.join(conditions)}"] if conditions else []
    order = [column for column in columns if frame.schema[column] == pl.String] or list(columns[:1])
    lines.append(f"order by {', '.join(map(identifier, order))}")
    return Rows(chosen.sort(chosen.columns, nulls_last=True), "\n".join(lines))


def whose(frame: pl.DataFrame) -> dict[str, str]:
    """The analysis that the rows are of, for conditions; nothing of a fit's, which are of none."""
    return {"analysis": frame["analysis"][0]} if "analysis" in frame.columns and frame.height else {}


def stored(frame: pl.DataFrame, name: str) -> str:
    """The table's name in SQL: of its latest rows in the store, or of a fit's."""
    return f"mlm.latest_{name}" if "analysis" in frame.columns else identifier(name)


def models_in_order(tables: Tables) -> list[str]:
    """The analysis' models as its file has them; by name where the tables do not tell."""
    models = table(tables, "models")
    if not models.is_empty() and "position" in models.columns:
        return list(models.sort("position", "model", nulls_last=True)["model"])
    frames = [models, table(tables, "fixed_effects")]
    return sorted({name for frame in frames if "model" in frame.columns for name in frame["model"]})


def model_of(tables: Tables, name: str, selection: Selection, condition: str | None = None) -> str | None:
    """The model whose rows of a table are shown: the selected one, else the last that has any; None where none has."""
    frame = table(tables, name)
    if frame.is_empty():
        return None
    rows = frame if condition is None else frame.filter(pl.sql_expr(condition))
    there = set(rows["model"])
    if selection.model is not None:
        return selection.model if selection.model in there else None
    ordered = models_in_order(tables)
    return max(there, key=lambda model: (ordered.index(model) if model in ordered else -1, model), default=None)


def shown_models(tables: Tables, there: Collection[str], most: int) -> list[str]:
    """The models that have a place, in order: all, or the first, the last and those that are compared."""
    models = [model for model in models_in_order(tables) if model in there]
    if len(models) <= most:
        return models
    pairs = table(tables, "comparisons")
    compared = set() if pairs.is_empty() else {*pairs["model"], *pairs["reference_model"]}
    chosen = [model for model in models[1:-1] if model in compared][: most - 2]
    return [models[0], *chosen, models[-1]]


def coefficients_in_order(tables: Tables, models: Sequence[str]) -> list[str]:
    """The terms of models as a table of them is read: predictors before their products, level 1 first, by symbol."""
    frame = table(tables, "fixed_effects")
    if frame.is_empty():
        return []
    rank: dict[str, tuple[Any, ...]] = {}
    for row in frame.filter(pl.col("model").is_in(list(models))).iter_rows(named=True):
        symbol = [int(digits) for digits in re.findall(r"\d+", row["symbol"] or "")]
        first = models.index(row["model"])
        key = (row["term"].count(":"), row["level"] or 0, first, symbol, row["term"])
        rank[row["term"]] = min(rank.get(row["term"], key), key)
    return sorted(rank, key=lambda term: rank[term])


def unit_numbers(tables: Tables) -> dict[tuple[str, str], int]:
    """A number for each unit of each grouping factor, the same in all pictures of the tables."""
    frames = [
        frame.select("group", "unit").drop_nulls().unique()
        for name in ("groups", "random_effects", "unit_lines", "diagnostics")
        if not (frame := table(tables, name)).is_empty()
    ]
    if not frames:
        return {}
    pairs = pl.concat(frames).unique().sort("group", "unit")
    return {pair: place for place, pair in enumerate(pairs.iter_rows(), start=1)}


def value_column(tables: Tables) -> str:
    """The column of `diagnostics` that holds where on the axis of its term a finding lies: its name changed once."""
    return "value" if "value" in table(tables, "diagnostics").columns else "at"


def groups_of(tables: Tables, name: str, equal: Mapping[str, str]) -> list[str]:
    """The grouping factors that rows of a table are of, by name."""
    frame = table(tables, name)
    if frame.is_empty():
        return []
    for column, value in equal.items():
        frame = frame.filter(pl.col(column) == value)
    return sorted(set(frame["group"].drop_nulls()))
