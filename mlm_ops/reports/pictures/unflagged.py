"""Have the other estimates changed over the runs? Every unflagged estimate in a row on the scale of its error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows
from mlm_ops.reports.pictures.series import Quantity
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import figure, labels, model_text, short, upper_first
from mlm_ops.results.words import count
from mlm_ops.warehouse.sql import identifier, literal

#: Rows of the picture, and pixels of one.
MOST, _ROW = 30, 36
#: How far two standard errors reach, in rows; and the share of an estimate that stands for them where none is known.
_REACH, _SHARE = 0.28, 0.1
#: The most labels of runs; characters of a name.
_DATES, _NAME = 5, 48
_COLUMNS = ("quantity", "finished", "run_id", "model", "estimate", "std_error")
Row = dict[str, Any]
Reference = tuple[str, float | None]


def run_labels(finished: Sequence[str]) -> list[str]:
    """A label for each run, each another: its day, or day and time where a day has several."""
    days, minutes = ([text[part] for text in finished] for part in (slice(10), slice(5, 16)))
    return days if len(set(days)) == len(days) else labels(minutes)


def together(
    series: Sequence[tuple[Quantity, Rows]], references: Sequence[Reference], n_flagged: int, analysis: str, runs: str
) -> Picture:
    """The picture of quantities that no run has flagged.

    Parameters
    ----------
    series
        Each quantity, with a row a run.
    references
        What each is held against, in words and as a number.
    n_flagged
        How many others have pictures of their own.
    analysis, runs
        The analysis as a literal of SQL, and the SQL of its runs that are shown.
    """
    frames = [_numbers(quantity, rows.frame) for quantity, rows in series]
    drawn = list(zip(series, frames, references, strict=True))[:MOST]
    more = f" The first {MOST} of {count(len(series))} are drawn." if len(series) > MOST else ""
    where = references[0][0]
    whose = "other numbers" if n_flagged else "numbers"
    return Picture(
        key="history",
        question=f"Have the {whose} of the model changed over the runs?",
        answer=_answer(frames, references, n_flagged),
        reading=f"Model {model_text(frames[0]['model'][0])}, a row a number with its latest estimate: dots are its "
        f"estimates, run after run, the line that of the {where}. The band reaches two standard errors of the latest "
        f"estimate to each side, or a tenth of it where no standard error is known.{more}",
        spec=_spec([(quantity, frame, value) for (quantity, _), frame, (_, value) in drawn]),
        numbers=pl.concat(frames),
        sql=_sql([quantity for quantity, _ in series], analysis, runs),
    )


def _numbers(quantity: Quantity, frame: pl.DataFrame) -> pl.DataFrame:
    unknown = [] if "std_error" in frame.columns else [pl.lit(None, pl.Float64).alias("std_error")]
    return frame.with_columns(pl.lit(quantity.name).alias("quantity"), *unknown).select(_COLUMNS)


def _sql(quantities: Sequence[Quantity], analysis: str, runs: str) -> str:
    parts = []
    for place, quantity in enumerate(quantities):
        error = quantity.columns.get("std_error", "null::double")
        conditions = [f"analysis = {analysis}", *quantity.conditions()]
        parts.append(
            f"  select {place} as place, {literal(quantity.name)} as quantity, run_id, model, "
            f"{quantity.columns['estimate']} as estimate, {error} as std_error\n"
            f"  from mlm.{quantity.table} where {' and '.join(conditions)}"
        )
    union = "\n  union all\n".join(parts)
    shown = ", ".join(map(identifier, _COLUMNS[2:]))
    return "\n".join(
        [
            f"with r as (\n{runs}\n), e as (\n{union}\n)",
            "select quantity, strftime(r.finished_at at time zone 'UTC', '%Y-%m-%d %H:%M') as finished, " + shown,
            "from e join r using (run_id)",
            "order by place, r.sequence nulls first, r.finished_at, run_id",
        ]
    )


def _scale(frame: pl.DataFrame, value: float | None) -> tuple[float, float]:
    """The estimate that a row is held against, and what two standard errors are in it."""
    last, error = frame["estimate"].drop_nulls()[-1], frame["std_error"].drop_nulls()
    middle = frame["estimate"].drop_nulls()[0] if value is None else value
    width = 2.0 * float(error[-1]) if len(error) and error[-1] > 0 else _SHARE * abs(last)
    return middle, width or 1.0


def _answer(frames: Sequence[pl.DataFrame], references: Sequence[Reference], n_flagged: int) -> str:
    """The number that has moved most for its standard error."""
    moves = []
    for frame, (where, value) in zip(frames, references, strict=True):
        if frame["estimate"].drop_nulls().is_empty():
            continue
        middle, width = _scale(frame, value)
        last = float(frame["estimate"].drop_nulls()[-1])
        moves.append((abs(last - middle) / width, frame["quantity"][0], where, middle, last))
    n, runs = count(len(frames)), max(frame.height for frame in frames)
    others = "the other " if n_flagged else ""
    verdict = f"None of {others}{n} numbers is flagged in {count(runs)} runs"
    size, name, where, middle, last = max(moves, key=lambda move: move[0], default=(0.0, "", "", 0.0, 0.0))
    if size < 1e-9:
        return f"{verdict}; in the latest run they are what they were."
    return (
        f"{verdict}; {name} has moved most for its standard error: {figure(middle)} in the {where}, now {figure(last)}."
    )


def _spec(series: Sequence[tuple[Quantity, pl.DataFrame, float | None]]) -> Spec:
    longest = max((frame for _, frame, _ in series), key=lambda frame: frame.height)
    finished = dict(zip(longest["run_id"], run_labels(list(longest["finished"])), strict=True))
    along = marks.along_names(list(finished.values()), _DATES)
    deep = marks.AxisRange(-0.75, len(series) - 0.5, (), "d")
    y = {**marks.hidden(deep), "scale": {**deep.scale, "reverse": True}}
    dots, bands, names, values = [], [], [], []
    for place, (quantity, frame, value) in enumerate(series):
        known = [row for row in frame.to_dicts() if row["estimate"] is not None and row["run_id"] in finished]
        if not known:
            continue
        middle, width = _scale(frame, value)
        bands.append({"top": place - _REACH, "bottom": place + _REACH, "middle": place})
        names.append({"here": place - 0.5, "text": short(upper_first(quantity.name), _NAME)})
        values.append({"here": place - 0.5, "text": figure(known[-1]["estimate"])})
        for row in known:
            # what lies farther out than the row is drawn at its edge, as no test has flagged it
            step = max(-1.5, min(1.5, (row["estimate"] - middle) / width))
            read = f"{quantity.name}, {row['finished']} UTC: {figure(row['estimate'])}"
            look = {"colour": quantity.colour, "hover": marks.hover(read)}
            label = finished[row["run_id"]]
            dots.append({"estimate": row["estimate"], "label": label, "at": place - _REACH * step, **look})
    left, right = {"value": 0}, {"value": "width"}
    label, at, here = marks.field("label", along), marks.field("at", y), marks.field("here", y)
    ends = {"x": left, "x2": right, "y": marks.field("top", y), "y2": {"field": "bottom"}}
    layers = [
        marks.bars(bands, ends, "@grid"),
        marks.rules(bands, {"x": left, "x2": right, "y": marks.field("middle", y)}, "@grey", width=1),
        *(
            marks.points([_bare(row) for row in dots if row["colour"] == colour], label, at, colour, size=30)
            for colour in dict.fromkeys(row["colour"] for row in dots)
        ),
        marks.texts(names, left, here, align="left"),
        marks.texts(values, right, here, align="right"),
    ]
    return marks.chart(layers, 40 + _ROW * len(series))


def _bare(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "colour"}
