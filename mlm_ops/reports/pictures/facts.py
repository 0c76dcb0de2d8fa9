"""Look up facts of an analysis in its result tables, beside the rows that are drawn: models, outcomes, units, terms."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from mlm_ops.reports.pictures.rows import Selection, Tables, table
from mlm_ops.reports.pictures.words import factors

INTERCEPT = "(Intercept)"
#: The number of a unit, by its grouping factor and its name.
UnitNumbers = dict[tuple[str, str], int]


def models_in_order(tables: Tables) -> list[str]:
    """The analysis' models in the order of its file, or by name if the tables do not have that order."""
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
    models = set(rows["model"])
    if selection.model is not None:
        return selection.model if selection.model in models else None
    order = models_in_order(tables)
    return max(models, key=lambda model: (order.index(model) if model in order else -1, model), default=None)


def shown_models(tables: Tables, there: Collection[str], most: int) -> list[str]:
    """The models that have a place, in order: all, or the first, the last and those that are compared."""
    models = [model for model in models_in_order(tables) if model in there]
    if len(models) <= most:
        return models
    pairs = table(tables, "comparisons")
    compared = set() if pairs.is_empty() else {*pairs["model"], *pairs["reference_model"]}
    others = [model for model in models[1:-1] if model in compared][: most - 2]
    return [models[0], *others, models[-1]]


def coefficients_in_order(tables: Tables, models: Sequence[str]) -> list[str]:
    """The terms of models as a table of them is read: predictors before their products, level 1 first, by symbol."""
    frame = table(tables, "fixed_effects")
    if frame.is_empty():
        return []
    rank: dict[str, tuple[Any, ...]] = {}
    for row in frame.filter(pl.col("model").is_in(list(models))).iter_rows(named=True):
        symbol = [int(digits) for digits in re.findall(r"\d+", row["symbol"] or "")]
        first = models.index(row["model"])
        key = (len(factors(row["term"])), row["level"] or 0, first, symbol, row["term"])
        rank[row["term"]] = min(rank.get(row["term"], key), key)
    return sorted(rank, key=lambda term: rank[term])


def coefficients(tables: Tables, model: str) -> dict[str, float]:
    """The estimates of a model's fixed effects by term; none where they are unknown."""
    frame = table(tables, "fixed_effects")
    if frame.is_empty():
        return {}
    return dict(frame.filter(pl.col("model") == model).drop_nulls("estimate").select("term", "estimate").iter_rows())


def moderated_terms(tables: Tables) -> set[tuple[str, str]]:
    """The models and terms that are parts of a product: their coefficients hold where its other terms are zero."""
    frame = table(tables, "fixed_effects")
    pairs = frame.select("model", "term").unique().rows() if not frame.is_empty() else []
    return {(model, part) for model, term in pairs for part in factors(term) if part != term}


def random_coefficients(tables: Tables, selection: Selection) -> Iterator[tuple[str, str, str]]:
    """Model, grouping factor and term of the selected random coefficients of one model, the intercept first."""
    model = model_of(tables, "random_effects", selection, "estimate is not null")
    if model is None:
        return
    frame = table(tables, "random_effects").filter((pl.col("model") == model) & pl.col("estimate").is_not_null())
    for group in selection.groups(groups_of(tables, "random_effects", {"model": model})):
        terms = set(frame.filter(pl.col("group") == group)["term"])
        for term in selection.terms(sorted(terms, key=lambda term: (term != INTERCEPT, term))):
            yield model, group, term


def deviations(tables: Tables, model: str, group: str) -> dict[str, float]:
    """The standard deviations of a model's random coefficients of a grouping factor by term, where they are known."""
    frame = table(tables, "variance_components")
    if frame.is_empty():
        return {}
    diagonal = frame.filter((pl.col("model") == model) & (pl.col("group") == group) & pl.col("other").is_null())
    return dict(diagonal.drop_nulls(["term", "std_dev"]).select("term", "std_dev").iter_rows())


def grand_means(tables: Tables, group: str) -> dict[str, float]:
    """The means of variables over all rows."""
    frame = table(tables, "decomposition")
    if frame.is_empty():
        return {}
    means = frame.filter(pl.col("group") == group).drop_nulls("mean").sort("variable", "mean")
    return dict(means.select("variable", "mean").iter_rows())


def outcome_of(tables: Tables, model: str) -> str | None:
    """The outcome of a model, as table `groups` names it; None if the model's formula does not show it."""
    models, units_ = table(tables, "models"), table(tables, "groups")
    if models.is_empty() or units_.is_empty():
        return None
    formula = next(iter(models.filter(pl.col("model") == model)["formula"].drop_nulls()), "")
    there = sorted(set(units_["variable"]), key=len, reverse=True)
    left = r"\s*(?:level 1:\s*)?[`\"']?{}[`\"']?\s*~"
    return next((name for name in there if re.match(left.format(re.escape(name)), formula)), None)


def outcomes(tables: Tables) -> set[str]:
    """The outcomes of all models."""
    return {name for model in models_in_order(tables) if (name := outcome_of(tables, model)) is not None}


def groups_of(tables: Tables, name: str, equal: Mapping[str, str]) -> list[str]:
    """The grouping factors of the rows of a table, by name."""
    frame = table(tables, name)
    if frame.is_empty():
        return []
    for column, value in equal.items():
        frame = frame.filter(pl.col(column) == value)
    return sorted(set(frame["group"].drop_nulls()))


def unit_numbers(tables: Tables) -> UnitNumbers:
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
