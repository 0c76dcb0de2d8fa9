"""How far are estimates drawn to the average? From least squares in each unit alone to the model's estimate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import INTERCEPT, UnitNumbers, unit_numbers
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, table
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.unit_lines import average_line, lines_of
from mlm_ops.reports.pictures.words import (
    figure,
    listing,
    model_text,
    short,
    term_label,
    term_text,
    unit,
    unit_name,
    units,
)
from mlm_ops.results.words import count

#: Of more units, the longest arrows and as many others are drawn.
MOST, LONGEST = 200, 100
#: Own estimates farther out than so many times the range of the model's are left out of the picture.
_REACH = 3.0
_COLUMNS = ["model", "group", "unit", "n", "term", "intercept", "slope", "own_intercept", "own_slope"]
_KNOWN = "intercept is not null and slope is not null and own_intercept is not null and own_slope is not null"
_POINTS = ("intercept", "slope")
_KINDS = {"least squares alone": "@ground", "in the model": "@between"}


def shrinkage(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each slope that varies over units, of one model."""
    for rows, group, term in lines_of(tables, selection, _COLUMNS, _KNOWN):
        if rows.frame["slope"].n_unique() > 1:
            yield _picture(tables, rows.sorted_by("unit"), group, term)


def _picture(tables: Tables, rows: Rows, group: str, term: str) -> Picture:
    numbers = rows.frame
    length: Any = pl.lit(0.0)
    near: Any = pl.lit(value=True)
    for name in _POINTS:
        low, high = thin.ends(numbers[name])
        width = (high - low) or 1.0
        length = length + ((pl.col(f"own_{name}") - pl.col(name)) / width) ** 2
        near = near & pl.col(f"own_{name}").is_between(low - _REACH * width, high + _REACH * width)
    by_length = numbers.with_columns(length=length).sort("length", "unit", descending=[True, False])
    inside = by_length.filter(near)
    rest = thin.every(inside.slice(LONGEST), MOST - LONGEST)
    arrows = inside if inside.height <= MOST else pl.concat([inside.head(LONGEST), rest])
    far = by_length.height - inside.height
    notes = [f" {count(far)} {units(group)} lie farther out than the picture reaches."] if far else []
    if arrows.height < inside.height:
        notes.append(f" The {LONGEST} longest arrows and every k-th of the others are drawn.")
    intercept, slope, is_fixed = average_line(tables, numbers, term)
    average = (intercept, slope) if is_fixed else None
    goal = "average" if is_fixed else f"line that their {unit(group)} is expected to have"
    return Picture(
        key="shrinkage",
        question=f"How far are estimates drawn to the {goal}?",
        answer=_answer(tables, numbers, group, term),
        reading=f"Model {model_text(numbers['model'][0])}: from an open circle, least squares in one {unit(group)} "
        f"alone, to the model's estimate, the dot. {_goal(group, is_fixed=is_fixed)} Long lines: few rows or little "
        "variation "
        f"of their own.{''.join(notes)}",
        spec=_spec(arrows.sort("unit").to_dicts(), average, term, unit_numbers(tables)),
        numbers=numbers,
        sql=rows.sql,
    )


def _goal(group: str, *, is_fixed: bool) -> str:
    """Where the estimates are drawn: with more predictors, each to a line of its own, and there is no cross."""
    if is_fixed:
        return "The cross is the average: the fixed effects."
    return f"By the other predictors in the model, {units(group)} differ in the line to which they are drawn."


def _answer(tables: Tables, numbers: pl.DataFrame, group: str, term: str) -> str:
    """The reliabilities, else the ranges of both estimates."""
    frame = table(tables, "variance_components")
    if not frame.is_empty():
        rows = frame.filter(
            (pl.col("model") == numbers["model"][0])
            & (pl.col("group") == group)
            & pl.col("reliability_hlm").is_not_null()
        )
        reliabilities = dict(rows.select("term", "reliability_hlm").iter_rows())
        parts = [
            f"{figure(reliabilities[name])} for {term_text(name)}"
            for name in (INTERCEPT, term)
            if name in reliabilities
        ]
        if parts:
            own_estimates = f"The mean reliability of the own estimates of {units(group)}"
            return f"{own_estimates} is {listing(parts)}: that share of a departure is kept, on average."
    alone, model = ([figure(end) for end in thin.ends(numbers[column])] for column in ("own_slope", "slope"))
    return (
        f"Slopes of single {units(group)} run from {alone[0]} to {alone[1]}, the model's from {model[0]} to {model[1]}."
    )


def _spec(units_: list[dict[str, Any]], average: tuple[float, float] | None, term: str, number: UnitNumbers) -> Spec:
    dots = []
    for row in units_:
        label = f"{unit_name(row['group'], row['unit'])}, {count(row['n'])} rows"
        slopes = f"slope {figure(row['own_slope'])} alone, {figure(row['slope'])} in the model"
        hover = marks.hover(f"{label}: {slopes}", number.get((row["group"], row["unit"])))
        dots.append(
            {
                **{f"{prefix}{name}": row[f"{prefix}{name}"] for prefix in ("", "own_") for name in _POINTS},
                "hover": hover,
            }
        )
    across = marks.axis_range([row[name] for row in dots for name in ("intercept", "own_intercept")])
    up = marks.axis_range([row[name] for row in dots for name in ("slope", "own_slope")])
    x, y = marks.axis(across, "intercept"), marks.axis(up, f"slope of {short(term_label(term))}")
    own_x, own_y = marks.field("own_intercept", x), marks.field("own_slope", y)
    dot_x, dot_y = marks.field("intercept", x), marks.field("slope", y)
    # a unit is found with all of its marks, and is read at its dot
    ends = [{**row, "hover": f"{row['hover'].partition(marks.UNIT_END)[0]}{marks.UNIT_END}"} for row in dots]
    arrows = {"x": own_x, "x2": {"field": "intercept"}, "y": own_y, "y2": {"field": "slope"}}
    alone, model = ([{**row, "kind": kind} for row in rows] for kind, rows in zip(_KINDS, (ends, dots), strict=True))
    fill = marks.coded("kind", _KINDS, legend=True)
    fill["legend"] |= {"symbolStrokeColor": "@grey", "symbolStrokeWidth": 1.2}
    layers = [
        marks.rules(ends, arrows, "@grey", width=1, strokeOpacity=0.7),
        marks.layer("point", alone, {"x": own_x, "y": own_y, "fill": fill}, size=24, stroke="@grey", strokeWidth=1.2),
        marks.layer("point", model, {"x": dot_x, "y": dot_y, "fill": fill}, size=26, strokeWidth=0),
    ]
    if average is not None:
        cross = [{"here": average[0], "to": average[1]}]
        here, to = marks.field("here", x), marks.field("to", y)
        layers.append(marks.points(cross, here, to, "@ink", size=170, shape="cross", stroke="@ground"))
    return marks.chart(layers, 300)
