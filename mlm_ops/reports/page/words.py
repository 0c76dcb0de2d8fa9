"""Write what the page says beside its pictures: sentences about an analysis' rows, units and outcome."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from mlm_ops.reports.pictures.facts import outcome_of
from mlm_ops.reports.pictures.rows import Tables, table
from mlm_ops.reports.pictures.words import term_text
from mlm_ops.results.words import counts

#: How a formula of several levels begins.
_FIRST_LEVEL = re.compile(r"^\s*level\s*1\s*:\s*", re.IGNORECASE)


def rows_of(tables: Tables, name: str, **equal: object) -> list[dict[str, Any]]:
    """The rows of a table with these values, none where the table is missing."""
    frame = table(tables, name)
    if frame.is_empty() or not set(equal) <= set(frame.columns):
        return []
    for column, value in equal.items():
        frame = frame.filter(pl.col(column) == value)
    return frame.to_dicts()


def outcome(tables: Tables, model: str) -> str:
    """The outcome of a model as its formula has it."""
    name = outcome_of(tables, model)
    if name is None:
        formula = next((row["formula"] or "" for row in rows_of(tables, "models", model=model)), "")
        left, tilde, _ = _FIRST_LEVEL.sub("", formula).partition("~")
        name = left.strip() if tilde else ""
    return term_text(name) if name else "the outcome"


def group_counts(tables: Tables) -> dict[str, int]:
    """The grouping factors of all models and how many units each has, the one with most units first."""
    sizes: dict[str, int] = {}
    for row in rows_of(tables, "fit_statistics"):
        sizes |= counts(row["n_groups"])
    for row in rows_of(tables, "decomposition"):
        sizes.setdefault(row["group"], row["n_units"])
    return dict(sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0])))


def plural(number: int, one: str, many: str) -> str:
    """The word for so many things.

    >>> plural(1, "model", "models"), plural(7, "model", "models")
    ('model', 'models')
    """
    return one if number == 1 else many
