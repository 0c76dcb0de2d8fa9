"""What does centering do? The same units with raw values, minus the grand mean, and minus their own mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import UnitNumbers, grand_means, groups_of, outcomes, unit_numbers
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import figure, labels, term_text, unit_name, units

UNITS = 9
_PANEL = 104
_COLUMNS = ["group", "unit", "n", "variable", "mean", "std_dev"]
_ENDS = {"low": "mean - std_dev", "high": "mean + std_dev"}
_KNOWN = "std_dev is not null and mean is not null"


def centering(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each predictor that varies within units, of each grouping factor."""
    for group in selection.groups(groups_of(tables, "groups", {})):
        frame = table(tables, "groups").filter((pl.col("group") == group) & (pl.col("std_dev") > 0))
        predictors = sorted(set(frame["variable"]) - outcomes(tables))
        for variable in selection.terms(predictors):
            equal = {"group": group, "variable": variable}
            rows = select(tables, "groups", _COLUMNS, equal=equal, condition=_KNOWN, derived=_ENDS)
            if rows.frame.height > 2:
                yield _picture(tables, rows.sorted_by("mean", "unit"), group, variable)


def _picture(tables: Tables, rows: Rows, group: str, variable: str) -> Picture:
    n = rows.frame.height
    some = min(UNITS, n)
    examples = rows.frame[[round(place * (n - 1) / (some - 1)) for place in range(some)]]
    sizes = pl.col("mean") * pl.col("n")
    weighted = float(rows.frame.select(sizes.sum() / pl.col("n").sum()).item())
    middle = grand_means(tables, group).get(variable, weighted)
    return Picture(
        key="centering",
        question=f"What does centering do to {term_text(variable)}?",
        answer=f"Subtracting the grand mean, {figure(middle)}, shifts all {units(group)} alike; subtracting the mean "
        "of each leaves nothing between them.",
        reading=f"{some} {units(group)}, from the lowest mean of {term_text(variable)} to the highest: dots are means, "
        "lines reach one standard deviation to each side.",
        spec=_spec(examples.to_dicts(), middle, unit_numbers(tables)),
        numbers=rows.frame,
        sql=rows.sql,
    )


def _spec(examples: list[dict[str, Any]], middle: float, number: UnitNumbers) -> Spec:
    names = labels([row["unit"] for row in examples], 12)
    subtracted = {
        "raw": [0.0] * len(examples),
        "− grand mean": [middle] * len(examples),
        "− mean of each": [row["mean"] for row in examples],
    }
    panels = []
    for values in subtracted.values():
        rows = []
        for row, name, value in zip(examples, names, values, strict=True):
            read = f"{unit_name(row['group'], row['unit'])}: mean {figure(row['mean'] - value)}"
            hover = marks.hover(read, number.get((row["group"], row["unit"])))
            ends = {"here": row["mean"] - value, "left": row["low"] - value, "right": row["high"] - value}
            rows.append({"label": name, **ends, "hover": hover})
        panels.append(rows)
    columns = zip(subtracted, panels, _ranges(panels), strict=True)
    return {"hconcat": [_panel(title, rows, along, names) for title, rows, along in columns], "spacing": 10}


def _ranges(panels: list[list[dict[str, Any]]]) -> list[marks.AxisRange]:
    """The axis of each panel, all equally wide: a standard deviation is as long in each. The first may lack zero."""
    ends = [[row[end] for row in rows for end in ("left", "right")] for rows in panels]
    sides = [(min(values), max(values)) for values in (ends[0], *([0.0, *values] for values in ends[1:]))]
    half = max(high - low for low, high in sides) / 2
    return [
        marks.axis_range([(low + high) / 2 - half, (low + high) / 2 + half], ticks=4, width=_PANEL)
        for low, high in sides
    ]


def _panel(title: str, rows: list[dict[str, Any]], along: marks.AxisRange, names: list[str]) -> Spec:
    x, label = marks.axis(along, None), marks.field("label", marks.places(names, labels=title == "raw"))
    across = {"x": marks.field("left", x), "x2": {"field": "right"}, "y": label}
    layers = [
        *([marks.reference("x", x, 0.0)] if along.low < 0.0 < along.high else []),
        marks.rules(marks.without_hover(rows), across, "@within", width=3),
        marks.points(rows, marks.field("here", x), label, "@between", size=60),
    ]
    heading = {"text": title, "anchor": "middle", "frame": "group", "fontSize": 12, "color": "@ink", "offset": 6}
    return {"title": heading, "width": _PANEL, "height": 20 * len(rows), "layer": layers}
