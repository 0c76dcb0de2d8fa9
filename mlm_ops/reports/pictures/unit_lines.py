"""How do units differ around the average line? The line of each unit, and the average."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import (
    INTERCEPT,
    UnitNumbers,
    coefficients,
    deviations,
    groups_of,
    model_of,
    outcome_of,
    unit_numbers,
)
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import Spec, colour_of
from mlm_ops.reports.pictures.words import figure, model_text, short, term_label, term_text, unit, unit_name, units
from mlm_ops.results.words import count

_COLUMNS = ["model", "group", "unit", "n", "term", "x_low", "x_high", "intercept", "slope"]
_KNOWN = "x_low is not null and x_high is not null and intercept is not null and slope is not null"


def unit_lines(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each slope of one model that varies over units; where none does, of the first alone."""
    pictures = list(lines_of(tables, selection, _COLUMNS, _KNOWN))
    varying = [picture for picture in pictures if picture[0].frame["slope"].n_unique() > 1]
    for rows, group, term in (varying if selection.term is None else pictures) or pictures[:1]:
        yield _picture(tables, rows.sorted_by("slope", "unit"), group, term)


def lines_of(
    tables: Tables, selection: Selection, columns: list[str], condition: str
) -> Iterator[tuple[Rows, str, str]]:
    """Rows of table `unit_lines` of one model, term by term."""
    model = model_of(tables, "unit_lines", selection, condition)
    if model is None:
        return
    frame = table(tables, "unit_lines").filter(pl.col("model") == model)
    for group in selection.groups(groups_of(tables, "unit_lines", {"model": model})):
        for term in selection.terms(sorted(set(frame.filter(pl.col("group") == group)["term"]))):
            equal = {"model": model, "group": group, "term": term}
            rows = select(tables, "unit_lines", columns, equal=equal, condition=condition)
            if rows.frame.height > 1:
                yield rows, group, term


def average_line(tables: Tables, rows: pl.DataFrame, term: str) -> tuple[float, float, bool]:
    """Intercept and slope of the average line, and whether they are fixed effects: else the means of the units'.

    With more predictors in the model its intercept and slope are those where the others are zero.
    """
    estimates = coefficients(tables, rows["model"][0])
    if set(estimates) == {INTERCEPT, term}:
        return estimates[INTERCEPT], estimates[term], True
    return *rows.select(pl.col("intercept", "slope").mean()).row(0), False


def _picture(tables: Tables, rows: Rows, group: str, term: str) -> Picture:
    numbers, model = rows.frame, rows.frame["model"][0]
    intercept, slope, is_fixed = average_line(tables, numbers, term)
    spreads = deviations(tables, model, group)
    kinds = ((INTERCEPT, "of intercepts"), (term, "of slopes"))
    parts = [f"{figure(spreads[name])} {what}" for name, what in kinds if name in spreads]
    spread = f"; the standard deviation is {' and '.join(parts)}" if parts else ""
    which = "has the fixed effects" if is_fixed else f"is the mean of the lines of {units(group)}"
    n, lines = numbers.height, thin.every(numbers)
    some = f" Of {count(n)} {units(group)} every k-th is drawn." if lines.height < n else ""
    least, greatest = numbers["slope"][0], numbers["slope"][-1]
    range_ = (
        f"Slopes of {term_text(term)} run from {figure(least)} to {figure(greatest)} over {count(n)} {units(group)}"
    )
    if least == greatest:
        range_ = f"The slope of {term_text(term)} is {figure(slope)} in each of {count(n)} {units(group)}"
    return Picture(
        key="unit_lines",
        question=f"How do {units(group)} differ around the average line?",
        answer=f"{range_}{spread}.",
        reading=f"Model {model_text(model)}: a line is one {unit(group)}, over one standard deviation of its own "
        f"values to each side; the thick line {which}.{some}",
        spec=_spec(lines.to_dicts(), (intercept, slope), term, outcome_of(tables, model), unit_numbers(tables)),
        numbers=numbers,
        sql=rows.sql,
    )


def _spec(
    lines: list[dict[str, Any]],
    average: tuple[float, float],
    term: str,
    outcome: str | None,
    number: UnitNumbers,
) -> Spec:
    segments = []
    for row in lines:
        line = f"{figure(row['intercept'])} and {figure(row['slope'])} × {term_text(term)}"
        read = f"{unit_name(row['group'], row['unit'])}: {line}"
        ends = {f"y_{end}": row["intercept"] + row["slope"] * row[f"x_{end}"] for end in ("low", "high")}
        hover = marks.hover(read, number.get((row["group"], row["unit"])))
        segments.append({"x_low": row["x_low"], "x_high": row["x_high"], **ends, "hover": hover})
    left, right = min(row["x_low"] for row in segments), max(row["x_high"] for row in segments)
    thick = [{"here": at, "to": average[0] + average[1] * at} for at in (left, right)]
    across = marks.axis_range([left, right])
    up = marks.axis_range(
        [*[row[end] for row in segments for end in ("y_low", "y_high")], *[end["to"] for end in thick]]
    )
    x, y = (
        marks.axis(across, short(term_label(term))),
        marks.axis(up, f"predicted {short(term_label(outcome)) if outcome else 'outcome'}"),
    )
    ends = {
        "x": marks.field("x_low", x),
        "x2": {"field": "x_high"},
        "y": marks.field("y_low", y),
        "y2": {"field": "y_high"},
    }
    colour = colour_of(term)
    at, to = marks.field("here", x), marks.field("to", y)
    label = [{**thick[1], "text": f"average {figure(average[1])}"}]
    layers = [
        marks.rules(segments, ends, "@grey", width=1, strokeOpacity=0.55),
        marks.line(thick, at, to, colour, width=4),
        marks.texts(label, at, to, colour=colour, align="right", dy=-12, dx=-2, fontSize=13, fontWeight="bold"),
    ]
    return marks.chart(layers, 280)
