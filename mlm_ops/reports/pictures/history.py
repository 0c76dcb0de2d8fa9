"""Has an estimate changed over the runs? A flagged one with its intervals; all others share one picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.analyses.store.version import LATEST_FIRST
from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, table, whose
from mlm_ops.reports.pictures.series import RUNS, Quantity, quantities
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.unflagged import run_labels, together
from mlm_ops.reports.pictures.words import figure, interval, model_text, of, upper_first
from mlm_ops.results.words import count
from mlm_ops.warehouse.sql import literal

#: The most labels of dates.
_DATES = 5
_TELLS_APART = ("model", "group", "term", "other")
Row = dict[str, Any]


def history(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """Coefficients, variances and the ICC of one model, where there are two runs or more.

    A picture for each that is flagged in some run or is selected by its term or group, and one of all others together.
    """
    runs = table(tables, f"{RUNS}runs")
    if runs.height < 2:
        return
    order = ["sequence", "finished_at", "run_id"]
    runs = runs.sort(order, nulls_last=False, maintain_order=True).tail(selection.runs)
    latest = {
        name: table(tables, f"{RUNS}{name}") for name in ("fixed_effects", "variance_components", "fit_statistics")
    }
    last = {
        name: frame if frame.is_empty() else frame.filter(run_id=runs["run_id"][-1]) for name, frame in latest.items()
    }
    last["models"] = table(tables, "models")
    series = [(quantity, _rows(tables, runs, quantity)) for quantity in quantities(tables, RUNS, last, selection)]
    series = [(quantity, rows) for quantity, rows in series if rows.frame.height > 1]
    is_selected = (selection.term, selection.group) != (None, None)
    others = [pair for pair in series if not is_selected and not pair[1].frame["flagged"].any()]
    # one alone is read better with its own axis
    others = others if len(others) > 1 else []
    for quantity, rows in series:
        if all(quantity is not other for other, _ in others):
            yield _picture(tables, rows, quantity)
    if others:
        references = [_reference(tables, _estimates(rows), quantity) for quantity, rows in others]
        n_flagged = len(series) - len(others)
        yield together(others, references, n_flagged, literal(whose(runs)["analysis"]), of_latest_runs(runs))


def of_latest_runs(runs: pl.DataFrame) -> str:
    """The SQL of the runs that are shown."""
    ((_, analysis),) = whose(runs).items()
    return (
        f"  select run_id, finished_at, sequence from mlm.runs where analysis = {literal(analysis)} and status = "
        f"'finished'\n  order by {LATEST_FIRST} limit {runs.height}"
    )


def _estimates(rows: Rows) -> list[Row]:
    return [{"conf_low": None, "conf_high": None, **row} for row in rows.frame.to_dicts()]


def _rows(tables: Tables, runs: pl.DataFrame, quantity: Quantity) -> Rows:
    """What is shown, a row a run in their order, and the SQL of it."""
    finished = pl.col("finished_at").dt.strftime("%Y-%m-%d %H:%M").alias("finished")
    drift, columns = table(tables, f"{RUNS}drift"), list(quantity.columns)
    flags = pl.DataFrame(schema={"run_id": pl.String(), "flagged": pl.Boolean()})
    if not drift.is_empty():
        comparisons = quantity.rows(drift.filter(kind=quantity.kind), *_TELLS_APART)
        flags = comparisons.group_by("run_id").agg(pl.col("flagged").any())
    places = runs.select("run_id", finished).with_row_index("place")
    frame = places.join(quantity.shown(table(tables, quantity.table_of(RUNS))), on="run_id", how="inner")
    frame = frame.join(flags, on="run_id", how="left").sort("place")
    frame = frame.select("finished", "run_id", "model", *columns, pl.col("flagged").fill_null(value=False))
    ((_, analysis),) = whose(runs).items()
    of_analysis = f"analysis = {literal(analysis)}"
    conditions = " and ".join([of_analysis, f"kind = {literal(quantity.kind)}", *quantity.conditions(*_TELLS_APART)])
    values = ", ".join(f"{text} as {name}" for name, text in quantity.columns.items())
    sql = "\n".join(
        [
            "with r as (",
            of_latest_runs(runs),
            "), d as (",
            f"  select run_id, bool_or(flagged) as flagged from mlm.drift where {conditions}",
            "  group by run_id",
            "), e as (",
            f"  from mlm.{quantity.table} where {' and '.join([of_analysis, *quantity.conditions()])}",
            ")",
            "select strftime(r.finished_at at time zone 'UTC', '%Y-%m-%d %H:%M') as finished, run_id, model, "
            f"{values}, coalesce(d.flagged, false) as flagged",
            "from e join r using (run_id) left join d using (run_id)",
            "order by r.sequence nulls first, r.finished_at, run_id",
        ]
    )
    return Rows(frame, sql)


def _picture(tables: Tables, rows: Rows, quantity: Quantity) -> Picture:
    estimates = _estimates(rows)
    where, value = _reference(tables, estimates, quantity)
    return Picture(
        key="history",
        question=f"Has {quantity.name} changed over the runs?",
        answer=_answer(estimates, quantity, where, value),
        reading=f"Model {model_text(estimates[0]['model'])}, run after run: dots are estimates, lines 95% intervals, "
        f"dashed the estimate of the {where}. Triangles differ from the run before or from the baseline by more than "
        "chance (all tests of the model together, by Holm).",
        spec=_spec(estimates, quantity, where, value),
        numbers=rows.frame,
        sql=rows.sql,
    )


def _reference(tables: Tables, estimates: list[Row], quantity: Quantity) -> tuple[str, float | None]:
    """What the runs are held against, and its estimate: the baseline of the last comparison, else the first run."""
    drift = table(tables, f"{RUNS}drift")
    if not drift.is_empty():
        comparisons = quantity.rows(drift.filter(kind=quantity.kind, against="baseline"), *_TELLS_APART)
        before = dict(comparisons.select("run_id", "before").drop_nulls().iter_rows())
        for row in reversed(estimates):
            if row["run_id"] in before:
                return "baseline", before[row["run_id"]]
    return "first run", estimates[0]["estimate"]


def _answer(estimates: list[Row], quantity: Quantity, where: str, value: float | None) -> str:
    last = estimates[-1]
    name = upper_first(quantity.name)
    now = (
        "unknown"
        if last["estimate"] is None
        else f"{figure(last['estimate'])}{interval(last['conf_low'], last['conf_high'])}"
    )
    before = "" if value is None else f" and {figure(value)} in the {where}"
    n_flagged = sum(row["flagged"] for row in estimates)
    verdict = f"{of(n_flagged, len(estimates), 'runs')} are flagged" if n_flagged else "no run is flagged"
    return f"{name} is {now} in the latest of {count(len(estimates))} runs{before}; {verdict}."


def _dates(estimates: list[Row]) -> list[str]:
    return run_labels([row["finished"] for row in estimates])


def _spec(estimates: list[Row], quantity: Quantity, where: str, value: float | None) -> Spec:
    dots = []
    for row, label in zip(estimates, _dates(estimates), strict=True):
        if row["estimate"] is None:
            continue
        flag = ", flagged" if row["flagged"] else ""
        read = f"{row['finished']} UTC: {figure(row['estimate'])}{interval(row['conf_low'], row['conf_high'])}{flag}"
        values = {name: row[name] for name in ("estimate", "conf_low", "conf_high", "flagged")}
        dots.append({**values, "label": label, "hover": marks.hover(read)})
    title = None if value is None else f"dashed: the {where}, {figure(value)}"
    # what has no interval is seen beside zero, or every wiggle would look like a jump
    zero = None if any(row["conf_low"] is not None for row in dots) else 0.0
    up = marks.axis_range(
        [*(row[end] for row in dots for end in ("estimate", "conf_low", "conf_high")), value, zero], ticks=5
    )
    x, y = marks.along_names(_dates(estimates), _DATES, title), marks.axis(up, None)
    name, estimate = marks.field("label", x), marks.field("estimate", y)
    ends = {"x": name, "y": marks.field("conf_low", y), "y2": {"field": "conf_high"}}
    plain, flagged = ([row for row in dots if row["flagged"] is side] for side in (False, True))
    intervals = marks.without_hover(row for row in dots if row["conf_low"] is not None)
    layers = [
        *([marks.reference("y", y, 0.0)] if up.low <= 0.0 <= up.high else []),
        *([] if value is None else [marks.reference("y", y, value, dashed=True)]),
        marks.rules(intervals, ends, quantity.colour, width=1.5, strokeOpacity=0.6),
        marks.points(plain, name, estimate, quantity.colour, size=36),
        marks.points(flagged, name, estimate, "@flag", size=80, shape="triangle-up"),
    ]
    return marks.chart([layer for layer in layers if layer["data"]["values"]], 150)
