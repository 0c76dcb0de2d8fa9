"""What did the selection try? One row per candidate: whether the step was taken, how the AIC differs, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select
from mlm_ops.reports.pictures.theme import TEXT, WIDTH, Spec
from mlm_ops.reports.pictures.words import minus, model_text, of, short, shown, term_text
from mlm_ops.results.words import cell

STEPS = 40
_COLUMNS = ["step", "strategy", "phase", "model", "reference_model", "term", "group", "taken", "reason", "delta_aic"]
_KINDS = {"taken": "@ink", "not taken": "@grey"}
#: Pixels a row; where the part with the changes of AIC begins, of texts at its left; characters of a reason.
_ROW, _LEFT, _REASON = 40, 186, 62
Row = dict[str, Any]


def ladder_steps(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """One picture, of the steps of a build-up or tear-down."""
    rows = select(tables, "ladder_steps", _COLUMNS)
    if rows.frame.is_empty():
        return
    numbers = rows.sorted_by("step").frame
    steps = numbers.to_dicts()
    first_steps = steps[:STEPS]
    yield Picture(
        key="ladder_steps",
        question="What did the selection try?",
        answer=_answer(steps),
        reading="A row is a candidate, in the order in which they were tried, each against the model that the step "
        "before ended with: a filled dot where the step was taken, an open one where not, with the reason below. To "
        "the left of zero the AIC is lower with the term. Estimates and p values of a selected model are too good: the "
        "rows chose it" + (f". The first {STEPS} steps are drawn." if len(first_steps) < len(steps) else "."),
        spec=_spec(first_steps),
        numbers=numbers,
        sql=rows.sql,
    )


def _answer(steps: list[Row]) -> str:
    successes = [row for row in steps if row["taken"]]
    is_build_up = steps[0]["strategy"] != "tear_down"
    verb = "added" if is_build_up else "dropped"
    tried = of(len(successes), len(steps), "candidates")
    if not successes:
        return f"{tried} are {verb}: the selection stays with {model_text(steps[0]['reference_model'])}."
    last = successes[-1]
    change = "" if last["delta_aic"] is None else f", with which the AIC differs by {_change(last)}"
    return (
        f"{tried} are {verb}; the last is {_term(last)}{change}. The selection ends with {model_text(last['model'])}."
    )


def _change(row: Row) -> str:
    return minus(cell("delta_aic", row["delta_aic"]))


def _term(row: Row) -> str:
    return term_text(row["term"]) if row["group"] is None else f"{term_text(row['term'])} over {shown(row['group'])}"


def _spec(steps: list[Row]) -> Spec:
    rows = []
    for row in steps:
        text = "" if row["delta_aic"] is None else _change(row)
        kind = "taken" if row["taken"] else "not taken"
        read = f"{_term(row)} ({shown(row['phase'])}): {shown(row['reason'])}"
        name, reason = short(_term(row), 24), short(row["reason"], _REASON)
        values = {column: row[column] for column in ("step", "delta_aic")}
        rows.append({**values, "kind": kind, "text": text, "name": name, "reason": reason, "hover": marks.hover(read)})
    changes = [row["delta_aic"] for row in rows if row["delta_aic"] is not None]
    least, most = min([*changes, 0.0]), max([*changes, 0.0])
    width = (most - least) or 1.0
    # names at the left, numbers at the free ends
    along = marks.axis_range([least - 0.2 * width, most + 0.2 * width], pad=0.0)
    ticks = tuple(tick for tick in along.ticks if least - 0.05 * width <= tick <= most + 0.05 * width)
    along = marks.AxisRange(along.low, along.high, ticks, along.format)
    x = marks.axis(along, "change in AIC with the term")
    x["scale"] = {**x["scale"], "range": [_LEFT, WIDTH - 16]}
    y = {"type": "ordinal", "scale": {"domain": [row["step"] for row in rows]}, "axis": None}
    level, change = marks.field("step", y), marks.field("delta_aic", x)
    fitted = [row for row in rows if row["delta_aic"] is not None]
    ends = [{key: row[key] for key in ("step", "delta_aic", "kind", "text")} for row in fitted]
    colour = marks.coded("kind", _KINDS)
    layers = [
        marks.reference("x", x, 0.0),
        marks.rules(ends, {"x": change, "x2": {"datum": 0}, "y": level}, colour, yOffset=-8),
    ]
    layers += _names(rows, level)
    for side, align, dx in ((True, "right", -9), (False, "left", 9)):
        part = [row for row in ends if (row["delta_aic"] < 0) is side]
        layers.append(marks.texts(part, change, level, align=align, dx=dx, dy=-8))
    for kind, fill in (("taken", "@ink"), ("not taken", "@ground")):
        part = [{key: row[key] for key in ("step", "delta_aic", "hover")} for row in fitted if row["kind"] == kind]
        rim = "@ink" if kind == "taken" else "@grey"
        layers.append(
            marks.points(part, change, level, fill, size=64, fill=fill, stroke=rim, strokeWidth=1.8, yOffset=-8)
        )
    return marks.chart([layer for layer in layers if layer["data"]["values"]], _ROW * len(rows))


def _names(rows: list[Row], level: Spec) -> list[Spec]:
    """The candidates and the reasons, as text at the left."""
    layers = []
    for column, dy, colour, size in (("name", -8, "@ink", TEXT + 1), ("reason", 8, "@soft", TEXT)):
        for kind in _KINDS:
            part = [{"step": row["step"], "text": row[column]} for row in rows if row["kind"] == kind]
            weight: dict[str, Any] = {"fontWeight": "bold"} if column == "name" and kind == "taken" else {}
            place = {"value": 0}
            layers.append(marks.texts(part, place, level, colour=colour, align="left", dy=dy, fontSize=size, **weight))
    return layers
