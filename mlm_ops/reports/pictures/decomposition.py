"""How much of each variable lies between groups? One bar per variable, divided into between and within."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import groups_of
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import labels, listing, percent, term_label, term_text, units

VARIABLES = 20
_COLUMNS = ["variable", "group", "n_obs", "n_units", "total_variance", "within_variance", "between_variance", "icc"]
_COLOURS = {"between": "@between", "within": "@within"}
#: The narrowest part that its share is written in.
_WRITTEN = 0.09


def decomposition(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each grouping factor."""
    for group in selection.groups(groups_of(tables, "decomposition", {})):
        equal = {"group": group}
        rows = select(tables, "decomposition", _COLUMNS, equal=equal, condition="icc is not null", distinct=True)
        rows = rows.sorted_by("icc", "variable", descending=[True, False])
        if rows.frame.is_empty():
            continue
        numbers, largest = rows.frame, rows.frame.head(VARIABLES)
        shares = [f"{percent(row['icc'])} of {term_text(row['variable'])}" for row in largest.head(4).to_dicts()]
        others = [term_text(name) for name in numbers["variable"].to_list()[4:]]
        several = f"The shares of the other {len(others)} variables are smaller."
        more = "" if not others else f" {several}" if len(others) > 1 else f" The share of {others[0]} is smaller."
        yield Picture(
            key="decomposition",
            question=f"How much of each variable lies between {units(group)}?",
            answer=f"By analysis of variance, {listing(shares)} {'lies' if len(shares) == 1 else 'lie'} between "
            f"{units(group)}.{more}",
            reading="Blue lies between, orange within, of each variable by itself; the ICC of a model, by maximum "
            "likelihood, may differ a little. A predictor with both parts can have two different slopes."
            + (f" The {VARIABLES} with the largest shares between are drawn." if numbers.height > VARIABLES else ""),
            spec=_spec(largest),
            numbers=numbers,
            sql=rows.sql,
        )


def _spec(numbers: pl.DataFrame) -> Spec:
    names = labels([*map(term_label, numbers["variable"])], lines=2)
    bars = []
    for row, name in zip(numbers.to_dicts(), names, strict=True):
        between = min(max(row["icc"], 0.0), 1.0)
        for part, start, end in (("between", 0.0, between), ("within", between, 1.0)):
            text = percent(end - start)
            read = marks.hover(f"{term_text(row['variable'])}: {text} {part}")
            place = {"label": name, "start": start, "end": end, "middle": (start + end) / 2, "part": part}
            share = text if end - start >= _WRITTEN else ""
            bars.append({"variable": row["variable"], "icc": row["icc"], **place, "text": share, "hover": read})
    bars = [bar for bar in bars if bar["end"] > bar["start"]]
    along = marks.AxisRange(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), ".0%")
    x, y = marks.axis(along, "share of the variance"), marks.places(names)
    legend = marks.coded("part", _COLOURS, legend=True, symbol="square")
    position = {"x": marks.field("start", x), "x2": {"field": "end"}, "y": marks.field("label", y)}
    bare = [{name: bar[name] for name in ("label", "middle", "text")} for bar in bars if bar["text"]]
    middle, label = marks.field("middle", x), marks.field("label", y)
    layers = [
        marks.bars(bars, position, legend, height={"band": 0.7}, stroke="@ground", strokeWidth=1),
        marks.texts(bare, middle, label, colour="@ground", halo=False, fontWeight="bold"),
    ]
    return marks.chart(layers, 74 + 30 * len(names))
