"""Do the estimates depend on the model? Each term's estimates over very many models, in order, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import moderated_terms
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Tables
from mlm_ops.reports.pictures.theme import WIDTH, Spec, colour_of
from mlm_ops.reports.pictures.words import figure, interval, model_text, of, short, term_label, term_text
from mlm_ops.results.words import count

#: Of more models, estimates are drawn in order and without the models' names.
MODELS = 40
#: Terms with a panel: those that most models have.
TERMS = 6
#: Pixels for the numbers of an axis, so that all panels begin in one line.
_AXIS = 44
Row = dict[str, Any]


def specification_curve(tables: Tables, rows: Rows, terms: Sequence[str]) -> Picture:
    """The picture of these terms' rows of table ``fixed_effects``, whatever models they are of."""
    estimates = rows.frame.filter(pl.col("estimate").is_not_null() & pl.col("term").is_in(list(terms)))
    sizes = Counter(estimates["term"])
    most_common = sorted(sorted(terms, key=lambda term: -sizes[term])[:TERMS], key=list(terms).index)
    numbers = estimates.filter(pl.col("term").is_in(most_common)).sort("term", "estimate", "model")
    moderated = moderated_terms(tables)
    panels = []
    for term in most_common:
        panel = [
            {**row, "moderated": (row["model"], term) in moderated} for row in numbers.filter(term=term).to_dicts()
        ]
        panels += [panel] if panel else []
    left_out = len(terms) - len(most_common)
    more = f" The {len(most_common)} terms that most models have are shown." if left_out > 0 else ""
    return Picture(
        key="forest",
        question="Do the estimates depend on the model?",
        answer=_answer(max(panels, key=len)),
        reading=f"A panel is a predictor: its estimates in all {count(numbers['model'].n_unique())} models, in order, "
        "with the band of their 95% intervals. An open dot is a slope where its moderators are zero or at their "
        f"reference, which is another quantity than without them.{more}",
        spec={"vconcat": [_panel(panel) for panel in panels], "spacing": 10},
        numbers=numbers,
        sql=rows.sql,
    )


def _answer(panel: list[Row]) -> str:
    """The ends and the signs of the term that most models have."""
    alone = [row for row in panel if not row["moderated"]] or panel
    where = "" if alone is not panel or not panel[0]["moderated"] else ", where its moderators are zero,"
    low, high = alone[0], alone[-1]
    away_from_zero = [
        row for row in alone if row["conf_low"] is not None and (row["conf_low"] > 0 or row["conf_high"] < 0)
    ]
    ends = [
        f"{figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])} in {model_text(row['model'])}"
        for row in (low, high)
    ]
    models = "models without its interactions" if len(alone) < len(panel) else "models"
    return (
        f"Over {count(len(alone))} {models}, {term_text(low['term'])}{where} runs from {' to '.join(ends)}. "
        f"{of(len(away_from_zero), len(alone), 'intervals')} exclude zero."
    )


def _panel(panel: list[Row]) -> Spec:
    term, n = panel[0]["term"], len(panel)
    rows = [
        {**{name: row[name] for name in ("estimate", "conf_low", "conf_high", "moderated")}, "place": place}
        for place, row in enumerate(panel, start=1)
    ]
    rows = thin.every(pl.DataFrame(rows, infer_schema_length=None)).to_dicts()
    up = marks.axis_range([0.0, *(row[end] for row in rows for end in ("estimate", "conf_low", "conf_high"))], ticks=4)
    x = marks.hidden(marks.AxisRange(0.0, n + 1.0, (), "d"))
    y = marks.axis(up, None, minExtent=_AXIS, maxExtent=_AXIS)
    place, value, colour = marks.field("place", x), marks.field("estimate", y), colour_of(term)
    band = [
        {name: row[name] for name in ("place", "conf_low", "conf_high")} for row in rows if row["conf_low"] is not None
    ]
    filled, open_ = (
        [{name: row[name] for name in ("place", "estimate")} for row in rows if row["moderated"] is side]
        for side in (False, True)
    )
    layers = [
        marks.band(band, place, marks.field("conf_low", y), "conf_high", colour, opacity=0.2),
        marks.reference("y", y, 0.0),
        marks.points(filled, place, value, colour, size=12),
        marks.points(open_, place, value, colour, size=16, fill="@ground", stroke=colour, strokeWidth=1),
    ]
    title = {
        "text": f"{short(term_label(term), 44)}, {count(n)} models",
        "anchor": "start",
        "frame": "bounds",
        "fontSize": 12,
    }
    return {
        "title": {**title, "offset": 4, "color": colour},
        "width": WIDTH - _AXIS - 16,
        "height": 96,
        "layer": [layer for layer in layers if layer["data"]["values"]],
    }
