"""Lay tables out as rows of texts for the page: numbers of pictures, models beside each other, contrasts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

import polars as pl
from markupsafe import Markup, escape

from mlm_ops.errors import MlmError
from mlm_ops.reports.pictures.facts import models_in_order, shown_models
from mlm_ops.reports.pictures.rows import Tables, table
from mlm_ops.reports.pictures.words import model_text, shown, term_label, term_text, units
from mlm_ops.results.criteria import BY_ML_NOTE, NO_CRITERIA_NOTE
from mlm_ops.results.text.centering import remarks, versions_table
from mlm_ops.results.text.side_by_side import SOURCES, side_by_side
from mlm_ops.results.text.tables import cell_table, html_table
from mlm_ops.results.words import count

#: Rows of a table in the page, and models beside each other; the store has them all.
ROWS, MODELS = 400, 12


@dataclass(frozen=True)
class Grid:
    """A table of texts.

    Attributes
    ----------
    heading
        A word a column.
    rows
        Texts, one a column.
    right
        Of each column, whether it holds numbers.
    left_out
        Rows that are in the store and not here.
    alike
        Names and values of columns that say the same in every row, and stand above.
    """

    heading: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[bool, ...]
    left_out: int = 0
    alike: tuple[tuple[str, str], ...] = ()


def grid(frame: pl.DataFrame) -> Grid:
    """A result table as it is read, its first rows where there are very many."""
    names = [name for name, kind in frame.schema.items() if kind == pl.String and frame.height > 2]
    alike = [name for name in names if frame[name].n_unique() == 1 and frame[name][0] is not None]
    cells = cell_table(frame.drop(alike).head(ROWS))
    rows = tuple(tuple(shown(text) if text else "" for text in row) for row in cells.rows)
    above = tuple((name, shown(frame[name][0])) for name in alike)
    return Grid(cells.heading, rows, cells.right, max(frame.height - ROWS, 0), above)


#: The name of a row, as HTML without elements; and where a name may be broken, but not at its ends.
_ROW_NAME = re.compile(r'(?<=<th scope="row">)[^<]+')
_BREAK = re.compile(r"(?<=[^\s(\[])(?=[(\[])|(?<=[:,*._])(?=[^\s:,*._])")


def ladder(tables: Tables) -> tuple[Markup, list[str]] | None:
    """The models side by side, as papers print them, and notes; of very many those that `shown_models` chooses."""
    statistics = table(tables, "fit_statistics")
    if statistics.is_empty() or any(table(tables, name).is_empty() for name in SOURCES[:2]):
        return None
    there = set(statistics["model"])
    models = shown_models(tables, there, MODELS)
    try:
        beside = side_by_side({name: tables[name] for name in SOURCES if name in tables}, models)
    except MlmError:  # results of which only some tables have the models
        return None
    # those about single models stand above, before the pictures
    about_all = [note for note in beside.footnotes if note in (*beside.footnotes[:1], BY_ML_NOTE, NO_CRITERIA_NOTE)]
    notes = [note[:1].upper() + note[1:].rstrip(".") + "." for note in about_all]
    if len(models) < len(there):
        notes.append(f"{count(len(models))} of {count(len(there))} models are shown; the result tables have all.")
    sections = {title: rows for title, rows in beside.sections.items() if rows}
    return Markup(_breakable(html_table(("model", *beside.models), sections, beside.right))), notes


def _breakable(html: str) -> str:
    """Let the names of rows go over several lines at their brackets, colons and points, before they do within words."""
    return _ROW_NAME.sub(lambda name: _BREAK.sub("<wbr>", _row_name(name[0])), html)


def _row_name(html: str) -> str:
    """The name of a row in the words of the page: ``Teams`` for ``units of Team``, a variable without backticks."""
    group = html.removeprefix("units of ")
    return escape(units(unescape(group))) if group != html else escape(term_label(unescape(html)))


def centered(tables: Tables) -> list[tuple[str, Grid, list[str]]]:
    """For each model of the table of centering a heading, its versions beside each other, and sentences about them."""
    frame = table(tables, "centering")
    names = [] if frame.is_empty() else [name for name in models_in_order(tables) if name in set(frame["model"])]
    parts = []
    for name in names:
        rows = frame.filter(pl.col("model") == name)
        cells = versions_table(rows)
        texts = tuple(tuple(term_label(text) if text else "" for text in row) for row in cells.rows)
        parts.append(
            (
                f"Versions of {model_text(name)}",
                Grid(cells.heading, texts, cells.right),
                [*map(term_text, remarks(rows))],
            )
        )
    return parts


def formulas(tables: Tables) -> list[tuple[str, str, str, str]]:
    """Each model's name, formula, stored equations in MathML, and what its intercept means, in order.

    A structural model has no formula, and equations since they are kept.
    """
    frame, structural = table(tables, "models"), table(tables, "sem_fit")
    rows = {} if frame.is_empty() else {row["model"]: row for row in frame.to_dicts()}
    names = [name for name in models_in_order(tables) if name in rows] if rows else []
    mixed = [
        (name, rows[name]["formula"] or "", rows[name].get("mathml") or "", _meaning(rows[name]))
        for name in names[: 5 * MODELS]
    ]
    texts = [] if structural.is_empty() else structural.to_dicts()
    return mixed + [(row["model"], "", row["mathml"], "") for row in texts[: 5 * MODELS] if row.get("mathml")]


def _meaning(row: Mapping[str, Any]) -> str:
    """What the intercept and the variance of the intercepts mean; empty in results of an earlier mlm-ops."""
    symbols = {"intercept_meaning": "Intercept", "intercept_variance_meaning": "Variance of the intercepts"}
    texts = [f"{symbol}: {row[name][:1].lower()}{row[name][1:]}" for name, symbol in symbols.items() if row.get(name)]
    return term_text(" ".join(texts)) if texts else ""
