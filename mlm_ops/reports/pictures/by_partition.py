"""How does an estimate differ over partitions? Each with its interval; for very many, a band and the extremes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, table
from mlm_ops.reports.pictures.series import KEYS, Quantity, quantities
from mlm_ops.reports.pictures.theme import WIDTH, Spec
from mlm_ops.reports.pictures.words import figure, interval, labels, model_text, of, short, shown
from mlm_ops.results.words import count
from mlm_ops.warehouse.sql import literal

#: Keys that are drawn one by one; and those whose names are read, a row each.
MOST, ROWS = 60, 24
#: Names below the picture where not all can be read.
_NAMES = 5
_KINDS = ("interval excludes the middle", "interval includes it")
Row = dict[str, Any]


def by_partition(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each coefficient, each variance and the ICC of one model, where there are two keys or more."""
    runs = table(tables, f"{KEYS}runs")
    if runs.height < 2:
        return
    latest = {
        name: table(tables, f"{KEYS}{name}") for name in ("fixed_effects", "variance_components", "fit_statistics")
    }
    models = table(tables, f"{KEYS}models")
    if not models.is_empty():
        latest["models"] = models.sort("position", "model").unique("model", keep="first", maintain_order=True)
    analysis = str(runs["analysis"].min()).partition("[")[0]
    for quantity in quantities(tables, KEYS, latest, selection):
        rows = _rows(tables, quantity, analysis)
        if rows.frame.height > 1:
            yield _picture(rows, quantity, analysis)


def _rows(tables: Tables, quantity: Quantity, analysis: str) -> Rows:
    """What is shown, a row a key in their order, and the SQL of it."""
    begin = len(analysis) + 1
    key = pl.col("analysis").str.slice(begin, pl.col("analysis").str.len_chars() - begin - 1).alias("key")
    frame = quantity.shown(table(tables, quantity.table_of(KEYS))).filter(pl.col("estimate").is_not_null())
    frame = frame.select(key, "model", *quantity.columns)
    of_analysis = f"starts_with(analysis, {literal(f'{analysis}[')}) and ends_with(analysis, ']')"
    values = ", ".join(f"{text} as {name}" for name, text in quantity.columns.items())
    value = quantity.columns["estimate"]
    sql = "\n".join(
        [
            f"select substring(analysis, {begin + 1}, length(analysis) - {begin + 1}) as key, model, {values}",
            f"from mlm.latest_{quantity.table}",
            f"where {' and '.join([of_analysis, *quantity.conditions(), f'{value} is not null'])}",
            "order by key",
        ]
    )
    order = sorted(range(frame.height), key=lambda place: natural(frame["key"][place]))
    return Rows(frame[order], sql)


def natural(text: str) -> list[tuple[int, int, str]]:
    """Sorts texts with numbers as people do: wave 2 before wave 10.

    >>> sorted(["wave 10", "wave 2", "a"], key=natural)
    ['a', 'wave 2', 'wave 10']
    """
    parts = re.split(r"([0-9]+)", text)
    return [(1, int(part), part) if place % 2 else (0, 0, part) for place, part in enumerate(parts)]


def _picture(rows: Rows, quantity: Quantity, analysis: str) -> Picture:
    estimates = [{"conf_low": None, "conf_high": None, **row} for row in rows.frame.to_dicts()]
    middle = sorted(row["estimate"] for row in estimates)[(len(estimates) - 1) // 2]
    for place, row in enumerate(estimates):
        has_interval = row["conf_low"] is not None and row["conf_high"] is not None
        row["apart"] = has_interval and not row["conf_low"] <= middle <= row["conf_high"]
        row["place"] = place
    many = len(estimates) > MOST
    texts = ["dots are estimates, dashed is the one in the middle of all."]
    if any(row["conf_low"] is not None for row in estimates):
        texts = ["dots are estimates, lines 95% intervals; dashed is the estimate in the middle of all."]
        texts.append("Coloured are keys whose interval excludes it: of keys that do not differ, about one in twenty.")
    if many:
        texts.append(f"The band and the line are means of neighbouring keys, in at most {thin.BINS} bins; dots are the")
        texts.append(f"{thin.EXTREMES} lowest and the {thin.EXTREMES} highest estimates.")
    return Picture(
        key="keys",
        question=f"How does {quantity.name} differ over the keys of {shown(analysis)}?",
        answer=_answer(estimates, quantity, middle),
        reading=f"Model {model_text(estimates[0]['model'])}, fitted to the rows of each key alone: {' '.join(texts)}",
        spec=(_band if many else _across if len(estimates) > ROWS or _all_fit(estimates) else _down)(
            estimates, quantity, middle
        ),
        numbers=rows.frame,
        sql=rows.sql,
    )


def _answer(estimates: list[Row], quantity: Quantity, middle: float) -> str:
    low, high = (pick(estimates, key=lambda row: (row["estimate"], row["place"])) for pick in (min, max))
    ends = " to ".join(
        f"{figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])} in {shown(row['key'])}"
        for row in (low, high)
    )
    with_interval = [row for row in estimates if row["conf_low"] is not None]
    share = of(sum(row["apart"] for row in with_interval), len(with_interval), "intervals")
    verdict = f" {share} exclude the estimate in the middle, {figure(middle)}." if with_interval else ""
    return f"Over {count(len(estimates))} keys {quantity.name} runs from {ends}.{verdict}"


def _marked(rows: list[Row], names: dict[int, str]) -> list[Row]:
    dots = []
    for row in rows:
        read = f"{shown(row['key'])}: {figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])}"
        values = {name: row[name] for name in ("estimate", "conf_low", "conf_high", "place")}
        values["kind"] = _KINDS[0 if row["apart"] else 1]
        dots.append({**values, "label": names.get(row["place"], ""), "hover": marks.hover(read)})
    return dots


def _all_fit(estimates: list[Row]) -> bool:
    """Whether all names stand beside each other below the picture."""
    return max(len(shown(row["key"])) * 6.5 + 8 for row in estimates) * len(estimates) < WIDTH - 50


def _dots(dots: list[Row], at: Spec, value: Spec, along: str, quantity: Quantity, middle: float) -> list[Spec]:
    """Intervals and dots over the names (``along`` is x) or beside them (y), and the middle dashed."""
    across = "y" if along == "x" else "x"
    legend = any(row["conf_low"] is not None for row in dots)
    kinds = marks.coded("kind", dict(zip(_KINDS, (quantity.colour, "@grey"), strict=True)), legend=legend)
    ends = {along: at, across: {"field": "conf_low", **value}, f"{across}2": {"field": "conf_high"}}
    intervals = marks.without_hover(row for row in dots if row["conf_low"] is not None)
    estimate = {"field": "estimate", **value}
    x, y = (at, estimate) if along == "x" else (estimate, at)
    layers = [
        marks.reference(across, value, middle, dashed=True),
        marks.rules(intervals, ends, kinds, width=1.5, strokeOpacity=0.6),
        marks.points(dots, x, y, kinds if legend else quantity.colour, size=36),
    ]
    return [layer for layer in layers if layer["data"]["values"]]


def _value(estimates: list[Row], title: str | None = None) -> Spec:
    ends = [row[end] for row in estimates for end in ("estimate", "conf_low", "conf_high")]
    return marks.axis(marks.axis_range(ends, ticks=5), title)


def _across(estimates: list[Row], quantity: Quantity, middle: float) -> Spec:
    names = labels([row["key"] for row in estimates], 14)
    dots = _marked(estimates, dict(enumerate(names)))
    title = f"dashed: the middle, {figure(middle)}"
    x = marks.along_names(names, len(estimates) if _all_fit(estimates) else _NAMES, title)
    return marks.chart(_dots(dots, marks.field("label", x), _value(estimates), "x", quantity, middle), 170)


def _down(estimates: list[Row], quantity: Quantity, middle: float) -> Spec:
    names = labels([row["key"] for row in estimates])
    dots = _marked(estimates, dict(enumerate(names)))
    y, x = marks.field("label", marks.places(names)), _value(estimates, f"dashed: the middle, {figure(middle)}")
    return marks.chart(_dots(dots, y, x, "y", quantity, middle), 40 + 18 * len(estimates))


def _band(estimates: list[Row], quantity: Quantity, middle: float) -> Spec:
    frame = pl.DataFrame(estimates, infer_schema_length=None).with_columns(pl.col("place").cast(pl.Float64))
    ends = {"estimate": "middle", "conf_low": "low", "conf_high": "high"}
    bins = thin.binned(frame, list(ends)).rename(ends).to_dicts()
    far = thin.extremes(frame.sort("estimate", "place")).to_dicts()
    dots = _marked(far, {})
    across = marks.AxisRange(-0.02 * len(estimates), 1.02 * len(estimates), (), "d")
    x = marks.axis(across, f"keys in order, from {short(estimates[0]['key'])} to {short(estimates[-1]['key'])}")
    y, place = _value(estimates), marks.field("place", x)
    band = [row for row in bins if row["low"] is not None]
    layers = [
        *([marks.band(band, place, marks.field("low", y), "high", "@grey", opacity=0.3)] if band else []),
        marks.line(bins, place, marks.field("middle", y), "@grey", width=1.2),
        *_dots(dots, place, y, "x", quantity, middle),
    ]
    return marks.chart(layers, 200)
