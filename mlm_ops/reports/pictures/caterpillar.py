"""Which units depart from the average? Their random effects in order, with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import INTERCEPT, UnitNumbers, deviations, random_coefficients, unit_numbers
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import departure, figure, interval, of, short, unit_name, units

#: Half the width, in standard errors, of intervals of which two overlap as often as two units do not differ
#: (Goldstein and Healy 1995, Journal of the Royal Statistical Society A 158, 175-177).
PAIRWISE = 1.39
_PAIRWISE_ENDS = {
    "conf_low": f"estimate - {PAIRWISE} * std_error",
    "conf_high": f"estimate + {PAIRWISE} * std_error",
}
_COLUMNS = ["model", "group", "unit", "term", "estimate", "std_error", "conf_low", "conf_high"]
_KNOWN = "std_error is not null and estimate is not null"
#: The room for the extremes at each side of the band, as a share of the ranks.
_BESIDE = 0.12
_COLOURS = {"interval excludes zero": "@between", "interval includes zero": "@grey"}


def caterpillar(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each random coefficient of each grouping factor of one model."""
    ends = _PAIRWISE_ENDS if selection.pairwise else {}
    columns = _COLUMNS[:6] if selection.pairwise else _COLUMNS
    for model, group, term in random_coefficients(tables, selection):
        equal = {"model": model, "group": group, "term": term}
        rows = select(tables, "random_effects", columns, equal=equal, condition=_KNOWN, derived=ends)
        if not rows.frame.is_empty():
            yield _picture(tables, rows.sorted_by("estimate", "unit"), group, term, pairwise=selection.pairwise)


def _picture(tables: Tables, rows: Rows, group: str, term: str, *, pairwise: bool) -> Picture:
    numbers = rows.frame
    excluded, included = _COLOURS
    excludes_zero = (pl.col("conf_low") > 0) | (pl.col("conf_high") < 0)
    zero = pl.when(excludes_zero).then(pl.lit(excluded)).otherwise(pl.lit(included))
    ranks = numbers.with_columns(place=pl.int_range(pl.len()) + 1, zero=zero)
    n_apart = ranks.filter(excludes_zero).height
    deviation = deviations(tables, numbers["model"][0], group).get(term)
    spread = "" if deviation is None else f"; the standard deviation of the effects is {figure(deviation)}"
    thinned = numbers.height > thin.MOST_UNITS
    what = (
        "Lines are ±1.39 standard errors, for two units at a time: where those of two overlap, they are not "
        "distinguishable at 5% on average. "
        if pairwise
        else "Lines are 95% intervals of each unit alone, not for comparing two of them. "
    )
    shape = (
        f"The line and the band are means of {thin.BINS} bins; the {thin.EXTREMES} at each end are drawn one by one. "
        if thinned
        else ""
    )
    return Picture(
        key="caterpillar",
        question=f"Which {units(group)} depart in {departure(term)}?",
        answer=f"{of(n_apart, numbers.height, 'intervals')} exclude zero{spread}.",
        reading=f"Effects of {units(group)} in order, as departures from the average. "
        f"{what}{shape}This is no ranking: estimates are drawn to the average, and their order is uncertain.",
        spec=(_binned if thinned else _spec)(ranks, unit_numbers(tables), group, term, pairwise=pairwise),
        numbers=numbers,
        sql=rows.sql,
    )


def _marked(rows: pl.DataFrame, number: UnitNumbers, *, pairwise: bool) -> list[dict[str, Any]]:
    effects = []
    for row in rows.to_dicts():
        read = f"{unit_name(row['group'], row['unit'])}: {figure(row['estimate'])}"
        read += "" if pairwise else interval(row["conf_low"], row["conf_high"])
        values = {name: row[name] for name in ("place", "estimate", "conf_low", "conf_high", "zero")}
        effects.append({**values, "hover": marks.hover(read, number.get((row["group"], row["unit"])))})
    return effects


def _axes(rows: pl.DataFrame, group: str, term: str, beside: float = 0.0) -> tuple[Spec, Spec]:
    """Ranks, with room beside them as a share of all, and effects."""
    n = rows.height
    across = marks.AxisRange(-beside * n, n + 1.0 + beside * n, (), "d")
    x = marks.axis(across, f"{short(units(group), 40)}, in order")
    title = "departure in level" if term == INTERCEPT else "departure in slope"
    return x, marks.axis(marks.axis_range([*rows["conf_low"], *rows["conf_high"], 0.0]), title)


def _spec(rows: pl.DataFrame, number: UnitNumbers, group: str, term: str, *, pairwise: bool) -> Spec:
    x, y = _axes(rows, group, term)
    effects, size = _marked(rows, number, pairwise=pairwise), max(8.0, min(36.0, 2400 / rows.height))
    place, estimate = marks.field("place", x), marks.field("estimate", y)
    colour = marks.coded("zero", _COLOURS, legend=True)
    ends = {"x": place, "y": marks.field("conf_low", y), "y2": {"field": "conf_high"}}
    bare = marks.without_hover(effects)
    layers = [
        marks.reference("y", y, 0.0),
        marks.rules(effects, ends, colour, width=max(0.8, min(2.0, 180 / rows.height)), strokeOpacity=0.6),
        marks.points(bare, place, estimate, colour, size=size),
    ]
    return marks.chart(layers, 240)


def _binned(rows: pl.DataFrame, number: UnitNumbers, group: str, term: str, *, pairwise: bool) -> Spec:
    x, y = _axes(rows, group, term, _BESIDE)
    bins = thin.binned(rows, ["estimate", "conf_low", "conf_high"]).rename(
        {"estimate": "middle", "conf_low": "low", "conf_high": "high"}
    )
    place = marks.field("place", x)
    ends = {"x": place, "y": marks.field("conf_low", y), "y2": {"field": "conf_high"}}
    effects = _marked(thin.extremes(rows), number, pairwise=pairwise)
    colour = marks.coded("zero", _COLOURS, legend=True)
    # one beside another, outside of the band: at their ranks they would hide each other
    step, n = _BESIDE * rows.height / (thin.EXTREMES + 1), rows.height
    for order, row in enumerate(effects):
        low = order < thin.EXTREMES
        row["place"] = (order - thin.EXTREMES) * step if low else n + (order - thin.EXTREMES + 1) * step
    layers = [
        marks.band(bins.to_dicts(), place, marks.field("low", y), "high", "@grey", opacity=0.35),
        marks.line(bins.to_dicts(), place, marks.field("middle", y), "@ink", width=1.5),
        marks.reference("y", y, 0.0),
        marks.rules(effects, ends, colour, width=1.5),
        marks.points(effects, place, marks.field("estimate", y), colour, size=20),
    ]
    return marks.chart(layers, 240)
