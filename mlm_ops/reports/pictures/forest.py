"""Do the estimates move as the model grows? One panel per term, one row per model, estimates with intervals.

Where no term stands in two models there is nothing to compare: then a row a term, in one picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, specification_curve
from mlm_ops.reports.pictures.coefficients_alone import coefficients_alone
from mlm_ops.reports.pictures.facts import (
    INTERCEPT,
    coefficients_in_order,
    models_in_order,
    moderated_terms,
    shown_models,
)
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select
from mlm_ops.reports.pictures.theme import WIDTH, Spec, colour_of
from mlm_ops.reports.pictures.words import figure, interval, labels, listing, model_text, short, term_label, term_text

MODELS, TERMS = 12, 15
#: Pixels for the names of models; terms that are named as left out.
_NAMES, _NAMED = 150, 8
_COLUMNS = ["model", "term", "level", "estimate", "std_error", "conf_low", "conf_high"]


def forest(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """One picture, of all predictors or the one that is selected."""
    rows = select(tables, "fixed_effects", _COLUMNS, condition=f"term <> '{INTERCEPT}'")
    if rows.frame.is_empty():
        return
    models = shown_models(tables, set(rows.frame["model"]), MODELS)
    terms = selection.terms(coefficients_in_order(tables, models_in_order(tables)))
    terms = [term for term in terms if term != INTERCEPT]
    if rows.frame["model"].n_unique() > specification_curve.MODELS and terms:
        yield specification_curve.specification_curve(tables, rows, terms)
        return
    sizes = dict(rows.frame.filter(pl.col("model").is_in(models)).group_by("term").len().iter_rows())
    repeated = [term for term in terms if sizes.get(term, 0) > 1]
    if len(terms) > 1 and not repeated:
        yield from coefficients_alone(rows, terms)
        return
    # a term of one model alone has nothing to be compared with
    alone = [term for term in terms if term not in repeated] if len(terms) > 1 else []
    terms = repeated if len(terms) > 1 else terms
    panel_terms = terms[:TERMS]
    place = {model: number for number, model in enumerate(models)}
    numbers = rows.frame.filter(pl.col("model").is_in(models) & pl.col("term").is_in(panel_terms))
    if numbers.is_empty():
        return
    moderated = moderated_terms(tables)
    estimates = [{**row, "moderated": (row["model"], row["term"]) in moderated} for row in numbers.to_dicts()]
    estimates.sort(key=lambda row: (panel_terms.index(row["term"]), place[row["model"]]))
    panels = [[row for row in estimates if row["term"] == term] for term in panel_terms]
    yield Picture(
        key="forest",
        question="Do the estimates move as the model grows?",
        answer=_answer([panel for panel in panels if panel]),
        reading=_reading(
            len(terms) - len(panel_terms), len(set(rows.frame["model"])) - len(models), [*map(term_text, alone)]
        ),
        spec=_spec([panel for panel in panels if panel], dict(zip(models, labels(models, lines=2), strict=True))),
        numbers=pl.DataFrame(estimates, schema={**numbers.schema, "moderated": pl.Boolean}).drop("moderated"),
        sql=rows.sql,
    )


def _answer(panels: Sequence[Sequence[dict[str, Any]]]) -> str:
    moves = []
    for panel in panels:
        alone = [row for row in panel if not row["moderated"] and row["estimate"] is not None and row["std_error"]]
        pairs = [
            (abs(b["estimate"] - a["estimate"]) / a["std_error"], a, b) for a in alone for b in alone if a is not b
        ]
        # the pair farthest apart, from the earlier model to the later
        ordered = [(size, a, b) for size, a, b in pairs if alone.index(a) < alone.index(b)]
        moves += [max(ordered, key=lambda pair: pair[0])] if ordered else []
    if not moves:
        row = panels[0][0]
        where = ", where its moderators are zero or at their reference" if row["moderated"] else ""
        several = " In other models each coefficient has a product of it beside it." if len(panels) > 1 else ""
        return f"In {model_text(row['model'])}, {term_text(row['term'])} is {_estimate(row)}{where}.{several}"
    _, first, last = max(moves, key=lambda move: move[0])
    ends = f"{_estimate(first)} in {model_text(first['model'])} and {_estimate(last)} in {model_text(last['model'])}"
    if len(moves) == 1:
        return f"{term_text(first['term'])} is {ends}."
    most = f"{term_text(first['term'])} moves most for its standard error"
    return f"Over the models without its interactions, {most}: {ends}."


def _estimate(row: dict[str, Any]) -> str:
    return f"{figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])}"


def _reading(terms: int, models: int, alone: Sequence[str]) -> str:
    left_out = [f"{count} further {what}" for count, what in ((terms, "terms"), (models, "models")) if count > 0]
    more = f" In the table, not in the picture: {' and '.join(left_out)}." if left_out else ""
    more += f" Of one model alone, and not drawn: {listing(alone)}." if 0 < len(alone) <= _NAMED else ""
    more += f" {len(alone)} terms of one model alone are not drawn." if len(alone) > _NAMED else ""
    return (
        "A panel is a predictor with a scale of its own, a row a model: dots are estimates, lines 95% intervals. An "
        "open dot is a slope where its moderators are zero or at their reference, which is another quantity than "
        f"without them.{more}"
    )


def _spec(panels: Sequence[Sequence[dict[str, Any]]], names: dict[str, str]) -> Spec:
    return {"vconcat": [_panel(panel, names) for panel in panels], "spacing": 12}


def _panel(panel: Sequence[dict[str, Any]], names: dict[str, str]) -> Spec:
    rows = []
    for row in panel:
        if row["estimate"] is None:
            continue
        read = f"{term_text(row['term'])} in {model_text(row['model'])}: {_estimate(row)}"
        rows.append({**row, "label": names[row["model"]], "text": figure(row["estimate"]), "hover": marks.hover(read)})
    ends = [row[end] for row in rows for end in ("conf_low", "conf_high", "estimate")]
    along = marks.axis_range([*ends, 0.0], width=WIDTH - _NAMES - 28)
    x = marks.axis(along, None)
    # as wide as the longest label may be, in each panel: the zeros and axes of all stand in one line
    y = marks.places([row["label"] for row in rows], minExtent=_NAMES, maxExtent=_NAMES)
    colour = colour_of(panel[0]["term"])
    value, name = marks.field("estimate", x), marks.field("label", y)
    intervals = {"x": marks.field("conf_low", x), "x2": {"field": "conf_high"}, "y": name}
    filled, open_ = ([row for row in rows if row["moderated"] is side] for side in (False, True))
    layers = [
        marks.reference("x", x, 0.0),
        marks.rules([row for row in rows if row["conf_low"] is not None], intervals, colour),
        marks.points(filled, value, name, colour, size=44),
        marks.points(open_, value, name, colour, size=44, filled=True, fill="@ground", stroke=colour, strokeWidth=1.8),
        marks.texts([{k: row[k] for k in ("label", "estimate", "text")} for row in rows], value, name, dy=-9),
    ]
    title = {
        "text": short(term_label(panel[0]["term"]), 60),
        "anchor": "start",
        "frame": "bounds",
        "fontSize": 12,
        "offset": 4,
    }
    return {
        "title": {**title, "color": colour},
        "width": WIDTH - _NAMES - 28,
        "height": 27 * len(rows),
        "layer": [layer for layer in layers if layer["data"]["values"]],
    }
