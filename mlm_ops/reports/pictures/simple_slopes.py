"""For whom does a predictor matter more? The outcome along it at each value of its moderator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import model_of, outcome_of
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select, table
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import figure, interval, labels, model_text, short, shown, term_label, term_text

LINES = 5
#: A hue and a dash for each line, so that they differ without colours too.
_LOOKS = (
    ("@between", [1, 0]),
    ("@within", [7, 4]),
    ("@interaction", [2, 3]),
    ("@upper", [10, 3, 2, 3]),
    ("@ink", [4, 2]),
)
_COLUMNS = ["model", "term", "moderator", "moderator_value", "x", "estimate", "conf_low", "conf_high"]
_KIND = {"kind": "simple_slope"}


def simple_slopes(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each slope and moderator that one model was asked for."""
    for model, term, moderator in curves_of(tables, selection, "simple_slope"):
        equal = {"model": model, "term": term, "moderator": moderator, **_KIND}
        rows = select(tables, "curves", _COLUMNS, equal=equal).sorted_by("moderator_value", "x")
        yield _picture(tables, rows, term, moderator)


def curves_of(tables: Tables, selection: Selection, kind: str) -> Iterator[tuple[str, str, str]]:
    """Model, term and moderator of each family of curves of a kind, of one model."""
    model = model_of(tables, "curves", selection, f"kind = '{kind}'")
    if model is None:
        return
    curves = table(tables, "curves").filter((pl.col("model") == model) & (pl.col("kind") == kind))
    pairs = curves.select("term", "moderator").drop_nulls().unique().sort("term", "moderator")
    for term, moderator in pairs.iter_rows():
        if selection.term in (None, term):
            yield model, term, moderator


def _picture(tables: Tables, rows: Rows, term: str, moderator: str) -> Picture:
    numbers = rows.frame
    model = numbers["model"][0]
    slopes = _slopes(tables, model, term, moderator)
    values = numbers["moderator_value"].unique().to_list()
    numeric = {text: row["value"] for text, row in slopes.items() if row["value"] is not None}
    values.sort(key=lambda text: (numeric.get(text, 0.0), text))
    texts = [
        f"{figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])} at {shown(text)}"
        for text in values
        if (row := slopes.get(text)) is not None
    ]
    outcome = outcome_of(tables, model)
    answer = (
        f"The slope of {term_text(term)} is {'; '.join(texts)}"
        if texts
        else f"{len(values)} lines along {term_text(term)}"
    )
    more = f" The first {LINES} of {len(values)} lines are drawn." if len(values) > LINES else ""
    return Picture(
        key="simple_slopes",
        question=f"For whom does {term_text(term)} matter more?",
        answer=f"{answer}{'' if texts else f', for the values of {term_text(moderator)}'}.",
        reading=f"Model {model_text(model)}: a line for each value of {term_text(moderator)}, with all else at its "
        f"mean. Bands are pointwise 95% intervals of the lines, not of units or rows.{more}",
        spec=_spec(numbers, values[:LINES], term, outcome),
        numbers=numbers,
        sql=rows.sql,
    )


def _slopes(tables: Tables, model: str, term: str, moderator: str) -> dict[str, dict[str, Any]]:
    """The slopes by the value of the moderator that they hold at."""
    frame = table(tables, "simple_slopes")
    if frame.is_empty():
        return {}
    setting = "setting" if "setting" in frame.columns else "at"
    slopes = frame.filter((pl.col("model") == model) & (pl.col("predictor") == term) & (pl.col("kind") == "slope"))
    start = f"{moderator} = "
    rows = [row for row in slopes.to_dicts() if (row[setting] or "").startswith(start)]
    return {row[setting].removeprefix(start): {"value": None, **row} for row in rows}


def _spec(numbers: pl.DataFrame, values: list[str], term: str, outcome: str | None) -> Spec:
    curves = numbers.filter(pl.col("moderator_value").is_in(values))
    x = marks.axis(marks.axis_range(curves["x"], pad=0.02), short(term_label(term)))
    up = marks.axis_range([*curves["conf_low"], *curves["conf_high"]])
    y = marks.axis(up, f"predicted {short(term_label(outcome)) if outcome else 'outcome'}")
    at, estimate = marks.field("x", x), marks.field("estimate", y)
    bands, lines, ends = [], [], []
    for place, (value, label) in enumerate(zip(values, labels(values), strict=True)):
        colour, dash = _LOOKS[place]
        curve = curves.filter(pl.col("moderator_value") == value).select("x", "estimate", "conf_low", "conf_high")
        rows = [{**row, "hover": marks.hover(shown(value))} for row in curve.to_dicts()]
        bands.append(marks.band(curve.to_dicts(), at, marks.field("conf_low", y), "conf_high", colour, opacity=0.15))
        lines.append(marks.line(rows, at, estimate, colour, width=2.5, strokeDash=dash))
        ends.append({"rows": curve.to_dicts(), "text": label, "colour": colour})
    return marks.chart([*bands, *lines, *_names(ends, at, y, up)], 280)


def _names(ends: list[dict[str, Any]], at: Spec, y: Spec, up: marks.AxisRange) -> list[Spec]:
    """The name of each line at that end where the lines lie farther apart, none nearer to another than it is high."""
    spread = {
        place: max(end["rows"][place]["estimate"] for end in ends) - min(end["rows"][place]["estimate"] for end in ends)
        for place in (0, -1)
    }
    left = spread[0] > spread[-1]
    place = 0 if left else -1
    step = 0.06 * (up.high - up.low)
    height = up.low - step
    texts = []
    for end in sorted(ends, key=lambda end: end["rows"][place]["estimate"]):
        # above its line: the text's middle half its height over it
        height = max(end["rows"][place]["estimate"] + 0.6 * step, height + step)
        row = {"here": end["rows"][place]["x"], "to": height, "text": end["text"]}
        look: dict[str, Any] = {
            "align": "left" if left else "right",
            "dx": 2 if left else -2,
            "fontSize": 12,
            "fontWeight": "bold",
        }
        texts.append(marks.texts([row], {**at, "field": "here"}, marks.field("to", y), colour=end["colour"], **look))
    return texts
