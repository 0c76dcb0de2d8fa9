"""Which coefficients differ from zero? If no term is in two models, one row per coefficient, in standard errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows
from mlm_ops.reports.pictures.theme import Spec, colour_of
from mlm_ops.reports.pictures.words import figure, interval, labels, listing, model_text, of, term_label, term_text

TERMS = 30
#: Pixels of a row.
_ROW = 27


def coefficients_alone(rows: Rows, terms: Sequence[str]) -> Iterator[Picture]:
    """One picture of these terms' rows of table ``fixed_effects``, each of one model; none without standard errors."""
    numbers = rows.frame.filter(pl.col("term").is_in(list(terms)) & (pl.col("std_error") > 0))
    numbers = numbers.filter(pl.col("estimate").is_not_null()).sort(
        pl.col("term").replace_strict({term: place for place, term in enumerate(terms)}, return_dtype=pl.Int64)
    )
    estimates = numbers.to_dicts()
    if not estimates:
        return
    models = list(dict.fromkeys(row["model"] for row in estimates))
    whose = f"Model {model_text(models[0])}" if len(models) == 1 else "Each in its own model"
    more = f" The first {TERMS} of {len(estimates)} are drawn." if len(estimates) > TERMS else ""
    yield Picture(
        key="forest",
        question="Which coefficients differ from zero?",
        answer=_answer(estimates, models),
        reading=f"{whose}, each coefficient divided by its standard error, so that all have one scale: dots are "
        f"estimates, lines 95% intervals, numbers the estimates themselves.{more}",
        spec=_spec(estimates[:TERMS]),
        numbers=numbers,
        sql=rows.sql,
    )


def _answer(estimates: Sequence[dict[str, Any]], models: Sequence[str]) -> str:
    known = [row for row in estimates if row["conf_low"] is not None and row["conf_high"] is not None]
    away = [row for row in known if row["conf_low"] > 0 or row["conf_high"] < 0]
    far = max(estimates, key=lambda row: (abs(row["estimate"]) / row["std_error"], row["term"]))
    where = f"In {listing(map(model_text, models))}, " if len(models) <= 2 else f"In {len(models)} models, "
    most = f"{term_text(far['term'])} differs most for its standard error: {figure(far['estimate'])}"
    return (
        f"{where}{of(len(away), len(known), 'intervals of coefficients')} exclude zero; {most}"
        f"{interval(far['conf_low'], far['conf_high'])}."
    )


def _spec(estimates: Sequence[dict[str, Any]]) -> Spec:
    rows = []
    names = labels([term_label(row["term"]) for row in estimates], lines=2)
    for row, name in zip(estimates, names, strict=True):
        text = f"{figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])}"
        ends = {
            end: None if row[column] is None else row[column] / row["std_error"]
            for end, column in (("low", "conf_low"), ("high", "conf_high"), ("middle", "estimate"))
        }
        read = marks.hover(f"{term_text(row['term'])} in {model_text(row['model'])}: {text}")
        more = {"text": figure(row["estimate"]), "colour": colour_of(row["term"]), "hover": read}
        rows.append({"estimate": row["estimate"], "label": name, **ends, **more})
    along = marks.axis_range([0.0, *(row[end] for row in rows for end in ("low", "high", "middle"))])
    x, label = marks.axis(along, "standard errors from zero"), marks.field("label", marks.places(names))
    middle = marks.field("middle", x)
    layers = [marks.reference("x", x, 0.0)]
    for colour in dict.fromkeys(row["colour"] for row in rows):
        part = [
            {key: value for key, value in row.items() if key != "colour"} for row in rows if row["colour"] == colour
        ]
        spans = marks.without_hover(row for row in part if row["low"] is not None)
        ends = {"x": marks.field("low", x), "x2": {"field": "high"}, "y": label}
        layers += [marks.rules(spans, ends, colour), marks.points(part, middle, label, colour, size=44)]
    texts = [{name: row[name] for name in ("label", "middle", "text")} for row in rows]
    layers.append(marks.texts(texts, middle, label, dy=-9))
    return marks.chart([layer for layer in layers if layer["data"]["values"]], 44 + _ROW * len(rows))
