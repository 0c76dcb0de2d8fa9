"""What would ignoring the groups have cost? Standard errors of least squares as shares of the model's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import groups_of, model_of
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import figure, labels, model_text, percent, term_label, term_text, units

TERMS = 15
_COLUMNS = ["model", "term", "std_error", "naive_std_error", "robust_std_error", "std_error_ratio"]
_KNOWN = "std_error > 0 and naive_std_error is not null and std_error_ratio is not null"
_MODEL = "multilevel"
#: Words, column with the share, shape and colour of each kind of error.
_KINDS = {
    "least squares": ("naive_share", "triangle-up", "@soft"),
    _MODEL: ("share", "circle", "@ink"),
    "least squares, robust": ("robust_share", "diamond", "@grey"),
}


def standard_errors(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """One picture, of one model with grouping factors."""
    model = model_of(tables, "standard_errors", selection, _KNOWN)
    if model is None:
        return
    shares = {"naive_share": "naive_std_error / std_error", "robust_share": "robust_std_error / std_error"}
    rows = select(tables, "standard_errors", _COLUMNS, equal={"model": model}, condition=_KNOWN, derived=shares)
    rows = rows.sorted_by("std_error_ratio", "term", descending=[True, False])
    numbers, smallest = rows.frame, rows.frame.head(TERMS)
    groups = groups_of(tables, "random_effects", {"model": model})
    first = numbers.to_dicts()[0]
    yield Picture(
        key="standard_errors",
        question=f"What would ignoring the {units(groups[0]) if len(groups) == 1 else 'groups'} have cost?",
        answer=f"In {model_text(model)}, the standard error of {term_text(first['term'])} is "
        f"{figure(first['std_error'])}; least squares that takes rows as independent gives "
        f"{figure(first['naive_std_error'])}, "
        f"{percent(first['naive_share'])} of it.",
        reading="Each coefficient's standard errors as shares of the multilevel model's, the dot. A triangle to the "
        "left of it: ignoring the groups makes the coefficient look more certain than it is."
        + (f" The {TERMS} coefficients with the smallest shares are drawn." if numbers.height > TERMS else ""),
        spec=_spec(smallest),
        numbers=numbers,
        sql=rows.sql,
    )


def _spec(numbers: pl.DataFrame) -> Spec:
    names = labels([*map(term_label, numbers["term"])], lines=2)
    rows = []
    for row, name in zip(numbers.to_dicts(), names, strict=True):
        values = {column: row[column] for column in ("std_error", "naive_share", "robust_share")}
        rows.append({**values, "label": name, "share": 1.0, "term": row["term"]})
    ends = [row[column] for row in rows for column in ("naive_share", "robust_share")]
    along = marks.axis_range([0.0, 1.0, *ends])
    along = marks.AxisRange(along.low, along.high, along.ticks, ".0%")
    x, y = marks.axis(along, "share of the multilevel standard error"), marks.places(names)
    label = marks.field("label", y)
    span = {"x": marks.field("naive_share", x), "x2": {"field": "share"}, "y": label}
    layers = [marks.reference("x", x, 1.0, dashed=True), marks.rules(rows, span, "@grey", width=1.5)]
    kinds = {words: kind for words, kind in _KINDS.items() if any(row[kind[0]] is not None for row in rows)}
    colour = marks.coded("kind", {words: colour for words, (_, _, colour) in kinds.items()}, legend=True)
    shape = {"field": "kind", "type": "nominal", "legend": {"title": None, "columns": 2}}
    shape["scale"] = {"domain": list(kinds), "range": [mark for _, mark, _ in kinds.values()]}
    colour["legend"] |= {"columns": 2}
    # the model's dots first: others that lie upon them are seen
    for words, (column, _, _) in sorted(kinds.items(), key=lambda kind: kind[0] != _MODEL):
        dots = [
            {
                "label": row["label"],
                column: row[column],
                "kind": words,
                "hover": marks.hover(
                    f"{term_text(row['term'])}, {words}: {percent(row[column])} of {figure(row['std_error'])}"
                ),
            }
            for row in rows
            if row[column] is not None
        ]
        look: dict[str, Any] = {"size": 70} if words == _MODEL else {"size": 100, "stroke": "@ground", "strokeWidth": 1}
        points = marks.points(dots, marks.field(column, x), label, colour, **look)
        points["encoding"]["shape"] = shape
        layers.append(points)
    return marks.chart(layers, 96 + 28 * len(rows))
