"""Does a predictor work alike within and between groups? Units at their means, and both slopes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import (
    INTERCEPT,
    UnitNumbers,
    coefficients,
    grand_means,
    models_in_order,
    moderated_terms,
    outcome_of,
    unit_numbers,
)
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, stored, table, whose
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import (
    figure,
    interval,
    model_text,
    short,
    term_label,
    term_text,
    unit,
    unit_name,
    units,
)
from mlm_ops.warehouse.sql import literal

#: Bins to a side that stand for the dots of very many units.
CELLS = 60


def two_slopes(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each predictor whose mean stands in a model beside it, of one model.

    That is the selected model where it has the two slopes without interactions of them, else the last that has them.
    """
    effects, units_ = table(tables, "contextual_effects"), table(tables, "groups")
    if effects.is_empty() or units_.is_empty():
        return
    pairs = sorted({(row["group"], row["predictor"]) for row in effects.to_dicts()})
    for group, predictor in pairs:
        if selection.group not in (None, group) or selection.term not in (None, predictor):
            continue
        candidates = effects.filter((pl.col("group") == group) & (pl.col("predictor") == predictor)).to_dicts()
        effect = _preferred(tables, candidates, selection)
        outcome = outcome_of(tables, effect["model"])
        if outcome is None or effect["within"] is None or effect["between"] is None:
            continue
        rows = _rows(units_, group, predictor, outcome)
        if rows.frame.height > 1:
            yield _picture(tables, rows, effect, outcome)


def _preferred(tables: Tables, effects: list[dict[str, Any]], selection: Selection) -> dict[str, Any]:
    order, moderated = models_in_order(tables), moderated_terms(tables)

    def rank(effect: dict[str, Any]) -> tuple[Any, ...]:
        model = effect["model"]
        place = order.index(model) if model in order else -1
        return not _is_moderated(tables, effect, moderated), model == selection.model, place, model

    return max(effects, key=rank)


def _is_moderated(tables: Tables, effect: dict[str, Any], moderated: set[tuple[str, str]]) -> bool:
    return any((effect["model"], term) in moderated for term in _terms(tables, effect).values())


def _terms(tables: Tables, effect: dict[str, Any]) -> dict[str, str]:
    """The names of the coefficients that are the two slopes, where each is one."""
    estimates = coefficients(tables, effect["model"])
    return {
        side: next(term for term in sorted(estimates) if estimates[term] == effect[side])
        for side in ("within", "between")
        if effect[side] in estimates.values()
    }


def _rows(units_: pl.DataFrame, group: str, predictor: str, outcome: str) -> Rows:
    """The means of both variables in each unit, side by side."""
    means = units_.filter(pl.col("group") == group)
    x = means.filter(pl.col("variable") == predictor).select("group", "unit", "n", x_mean="mean", x_std_dev="std_dev")
    y = means.filter(pl.col("variable") == outcome).select("unit", y_mean="mean")
    frame = x.join(y, on="unit", how="inner").drop_nulls(["x_mean", "y_mean"]).sort("x_mean", "unit")
    name = stored(units_, "groups")
    analysis = "".join(f"x.{c} = {literal(value)} and y.{c} = x.{c} and " for c, value in whose(units_).items())
    sql = (
        'select x."group", x.unit, x.n, x.mean as x_mean, x.std_dev as x_std_dev, y.mean as y_mean\n'
        f'from {name} as x join {name} as y on x.unit = y.unit and x."group" = y."group"\n'
        f'where {analysis}x."group" = {literal(group)} and x.variable = {literal(predictor)} '
        f"and y.variable = {literal(outcome)}\nand x.mean is not null and y.mean is not null\norder by x.unit"
    )
    return Rows(frame, sql)


def _picture(tables: Tables, rows: Rows, effect: dict[str, Any], outcome: str) -> Picture:
    group, x, y = effect["group"], term_text(effect["predictor"]), term_text(outcome)
    terms = _terms(tables, effect)
    slopes = {
        side: f"{figure(effect[side])}{_interval(tables, effect['model'], terms.get(side))}"
        for side in ("within", "between")
    }
    at_zero = _is_moderated(tables, effect, moderated_terms(tables))
    where = ", where their moderators are zero or at their reference" if at_zero else ""
    difference = f"{figure(effect['estimate'])}{interval(effect['conf_low'], effect['conf_high'])}"
    line = _line(tables, rows.frame, effect, terms, outcome)
    through = "" if line[2] else " Both lines run through the mean of all rows."
    thinned = rows.frame.height > thin.MOST_UNITS
    some = f" Dots are counted in {CELLS} × {CELLS} cells, and every k-th segment is drawn." if thinned else ""
    return Picture(
        key="two_slopes",
        question=f"Does {x} work alike within and between {units(group)}?",
        answer=f"Within {units(group)}, rows that differ by 1 in {x} differ by {slopes['within']} in {y}; "
        f"means of {units(group)} that differ by 1 in {x} differ by {slopes['between']}"
        f"{where}. The contextual effect, the difference of the two, is {difference}.",
        reading=f"Model {model_text(effect['model'])}: each dot is one {unit(group)} at its means, with a line of the "
        f"slope within over one standard deviation to each side; the blue line has the slope between.{through}{some}",
        spec=_spec(rows.frame, effect, line, (effect["predictor"], outcome), unit_numbers(tables)),
        numbers=rows.frame,
        sql=rows.sql,
    )


def _interval(tables: Tables, model: str, term: str | None) -> str:
    if term is None:
        return ""
    row = table(tables, "fixed_effects").filter((pl.col("model") == model) & (pl.col("term") == term)).to_dicts()[0]
    return interval(row["conf_low"], row["conf_high"])


def _line(
    tables: Tables, rows: pl.DataFrame, effect: dict[str, Any], terms: dict[str, str], outcome: str
) -> tuple[float, float, bool]:
    """A point that both lines run through, and whether it lies on the model's own line.

    It does where the model has no other terms; else the mean of all rows stands for the values of the others.
    """
    means = grand_means(tables, effect["group"])
    weighted = rows.select(((pl.col(c) * pl.col("n")).sum() / pl.col("n").sum()) for c in ("x_mean", "y_mean")).row(0)
    x = means.get(effect["predictor"], weighted[0])
    y = means.get(outcome, weighted[1])
    estimates = coefficients(tables, effect["model"])
    simple = {INTERCEPT, f"within({effect['predictor']})", f"between({effect['predictor']})"}
    if set(estimates) == simple and set(terms.values()) == simple - {INTERCEPT}:
        return x, estimates[INTERCEPT] + effect["between"] * x, True
    return x, y, False


def _spec(
    rows: pl.DataFrame,
    effect: dict[str, Any],
    line: tuple[float, float, bool],
    names: tuple[str, str],
    number: UnitNumbers,
) -> Spec:
    within, between = effect["within"], effect["between"]
    segments = [
        {
            "left": row["x_mean"] - row["x_std_dev"],
            "right": row["x_mean"] + row["x_std_dev"],
            "low": row["y_mean"] - within * row["x_std_dev"],
            "high": row["y_mean"] + within * row["x_std_dev"],
        }
        for row in thin.every(rows.filter(pl.col("x_std_dev") > 0)).to_dicts()
    ]
    x0, y0, _ = line
    first, last = float(rows["x_mean"][0]), float(rows["x_mean"][-1])
    spread = rows.select(pl.col("x_std_dev").median()).item() or (last - first) / 4
    thick = [
        {"series": "between", "x": at, "y": y0 + between * (at - x0), "slope": between} for at in (first, last)
    ] + [{"series": "within", "x": x0 + step, "y": y0 + within * step, "slope": within} for step in (-spread, spread)]
    across = marks.axis_range([*rows["x_mean"], *[end[side] for end in segments for side in ("left", "right")]])
    up = marks.axis_range(
        [*rows["y_mean"], *[end[side] for end in segments for side in ("low", "high")], *[end["y"] for end in thick]]
    )
    x, y = marks.axis(across, short(term_label(names[0]))), marks.axis(up, short(term_label(names[1])))
    ends = {"x": marks.field("left", x), "x2": {"field": "right"}, "y": marks.field("low", y), "y2": {"field": "high"}}
    layers = [
        marks.rules(segments, ends, "@within", width=1, strokeOpacity=0.35),
        _dots(rows, effect["group"], x, y, number),
    ]
    at, to = marks.field("x", x), marks.field("y", y)
    # named in a legend: beside a line dots lie, wherever it ends
    words = {side: f"{side} {figure(effect[side])}" for side in ("within", "between")}
    colours = {words[side]: f"@{side}" for side in words}
    for side in words:
        pair = [{**row, "series": words[side]} for row in thick if row["series"] == side]
        colour = marks.coded("series", colours, legend=True, symbol="stroke")
        colour["legend"] |= {"labelFontSize": 13, "symbolStrokeWidth": 4}
        layers.append(marks.line(pair, at, to, colour, width=4))
    return marks.chart(layers, 340)


def _dots(rows: pl.DataFrame, group: str, x: Spec, y: Spec, number: UnitNumbers) -> Spec:
    """A dot each unit; of very many, one for each cell of a grid, the larger the more units lie there."""
    if rows.height <= thin.MOST_UNITS:
        dots = [
            {
                "x_mean": row["x_mean"],
                "y_mean": row["y_mean"],
                "hover": marks.hover(
                    f"{unit_name(group, row['unit'])}: {figure(row['x_mean'])}, {figure(row['y_mean'])}",
                    number.get((group, row["unit"])),
                ),
            }
            for row in rows.to_dicts()
        ]
        return marks.points(dots, marks.field("x_mean", x), marks.field("y_mean", y), "@between", size=22)
    cells = rows.select(thin.cell(rows["x_mean"], CELLS), thin.cell(rows["y_mean"], CELLS))
    counts = cells.group_by("x_mean", "y_mean").agg(pl.len().alias("count")).sort("x_mean", "y_mean").to_dicts()
    dots = [{"x": row["x_mean"], "y": row["y_mean"], "count": row["count"]} for row in counts]
    layer = marks.points(dots, marks.field("x", x), marks.field("y", y), "@between", fillOpacity=0.7)
    most = max(row["count"] for row in dots)
    layer["encoding"]["size"] = {
        "field": "count",
        "type": "quantitative",
        "legend": None,
        "scale": {"domain": [1, max(most, 2)], "range": [8, 60]},
    }
    return layer
