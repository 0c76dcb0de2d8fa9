"""Sort the rows of result tables into reading order, whatever order they come in."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import polars as pl

from mlm_ops.reports.pictures.facts import INTERCEPT, coefficients_in_order, models_in_order
from mlm_ops.reports.pictures.rows import Tables

#: Columns that name models, each in its place in the order of keys.
_MODELS = ("model", "reference_model")


def in_order(tables: Tables) -> dict[str, pl.DataFrame]:
    """The same tables: models as their file has them, coefficients as a table of them is read, the rest by values."""
    places = {model: place for place, model in enumerate(models_in_order(tables))}
    terms = {term: place for place, term in enumerate([INTERCEPT, *coefficients_in_order(tables, list(places))])}
    orders: dict[str, Callable[[dict[str, Any]], Any]] = {
        "fixed_effects": lambda row: terms.get(row["term"], len(terms)),
        "variance_components": lambda row: (row["group"] == "residual", row["group"], _numbers(row.get("symbol"))),
    }
    return {name: _sorted(frame, places, orders.get(name)) for name, frame in tables.items()}


def _sorted(frame: pl.DataFrame, places: dict[str, int], key: Callable[[dict[str, Any]], Any] | None) -> pl.DataFrame:
    frame = frame.sort(frame.columns, nulls_last=True)
    by = [column for column in _MODELS if column in frame.columns]
    if by:
        ranks = [pl.col(column).replace_strict(places, default=len(places), return_dtype=pl.Int64) for column in by]
        frame = frame.sort(ranks, maintain_order=True, nulls_last=True)
    if key is None:
        return frame
    rows = list(enumerate(frame.to_dicts()))
    rows.sort(key=lambda pair: (places.get(pair[1]["model"], len(places)), key(pair[1])))
    return frame[[place for place, _ in rows]]


def _numbers(symbol: str | None) -> list[int]:
    """The numbers of a symbol, so that tau10 comes after tau2."""
    return [int(digits) for digits in re.findall(r"\d+", symbol or "")]
