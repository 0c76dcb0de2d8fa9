"""Which steps fit better? How far the AIC falls from each model to the one that it is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import models_in_order
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import chance, figure, minus, model_text, of, short
from mlm_ops.results.words import cell

PAIRS = 20
#: Characters of a model, of which two stand in a line.
_NAME = 30


def model_comparison(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """One picture, of the pairs in table ``comparisons``: criteria are compared from there alone."""
    columns = ["model", "reference_model", "statistic", "df", "p_value", "p_value_mixture", "delta_aic", "estimator"]
    rows = select(tables, "comparisons", columns, condition="delta_aic is not null")
    if rows.frame.is_empty():
        return
    place = {model: number for number, model in enumerate(models_in_order(tables))}
    order = [pl.col(c).replace_strict(place, default=len(place), return_dtype=pl.Int64) for c in columns[:2]]
    numbers = rows.sorted_by(*order).frame
    pairs = numbers.head(PAIRS).to_dicts()
    yield Picture(
        key="steps",
        question="Which steps fit better?",
        answer=_answer(numbers.to_dicts()),
        reading=(
            "A line is a step from a smaller model to a larger one: to the left of zero the AIC falls, so that the "
            "larger one fits better for its size. p is that of the likelihood ratio"
            + (f". The first {PAIRS} steps are drawn." if len(pairs) < numbers.height else ".")
        ),
        spec=_spec(pairs),
        numbers=numbers,
        sql=rows.sql,
    )


def _p(pair: dict[str, Any]) -> float | None:
    mixture: float | None = pair["p_value_mixture"]
    return pair["p_value"] if mixture is None else mixture


def _answer(pairs: list[dict[str, Any]]) -> str:
    falls = [pair for pair in pairs if pair["delta_aic"] < 0]
    least = min(pairs, key=lambda pair: (abs(pair["delta_aic"]), pair["model"], pair["reference_model"]))
    step = f"from {model_text(least['reference_model'])} to {model_text(least['model'])}"
    ratio = "" if least["statistic"] is None else f" (likelihood ratio {figure(least['statistic'])}{chance(_p(least))})"
    change = f"the AIC differs by {minus(cell('delta_aic', least['delta_aic']))}{ratio}"
    if len(pairs) == 1:
        return f"{step[0].upper()}{step[1:]} {change}."
    return f"The AIC falls in {of(len(falls), len(pairs), 'steps')}. It moves least {step}: {change}."


def _spec(pairs: list[dict[str, Any]]) -> Spec:
    rows = []
    for place, pair in enumerate(pairs):
        value = minus(cell("delta_aic", pair["delta_aic"]))
        read = (
            f"{model_text(pair['model'])} against {model_text(pair['reference_model'])}: ΔAIC {value}{chance(_p(pair))}"
        )
        text = f"{value}{chance(_p(pair))}"
        step = f"{short(pair['reference_model'], _NAME)} → {short(pair['model'], _NAME)}"
        rows.append({**pair, "place": place, "text": text, "step": step, "hover": marks.hover(read)})
    changes = [pair["delta_aic"] for pair in pairs]
    least, most = min(*changes, 0.0), max(*changes, 0.0)
    room = 0.42 * (most - least)  # for the numbers at the free ends, where ticks would say nothing
    along = marks.axis_range([least - room if least < 0 else least, most + room if most > 0 else most])
    ticks = tuple(tick for tick in along.ticks if least - room / 4 <= tick <= most + room / 4)
    along = marks.AxisRange(along.low, along.high, ticks, along.format)
    x = marks.axis(along, "change in AIC")
    y = {"type": "ordinal", "scale": {"domain": list(range(len(rows)))}, "axis": None}
    level = marks.field("place", y)
    change = marks.field("delta_aic", x)
    names = marks.texts(
        [{"place": d["place"], "text": d["step"]} for d in rows], {"value": 0}, level, align="left", dy=-12
    )
    ends = [{k: d[k] for k in ("place", "delta_aic", "text")} for d in rows]
    falls, rises = [[d for d in ends if (d["delta_aic"] < 0) is side] for side in (True, False)]
    layers = [
        marks.rules(rows, {"x": change, "x2": {"datum": 0}, "y": level}, "@ink", width=2, yOffset=5),
        marks.points(rows, change, level, "@ink", size=60, yOffset=5),
        names,
        *[
            marks.texts(part, change, level, align=align, dx=dx, dy=5)
            for part, align, dx in ((falls, "right", -8), (rises, "left", 8))
            if part
        ],
        marks.reference("x", x, 0.0),
    ]
    return marks.chart(layers, 60 + 38 * len(rows))
