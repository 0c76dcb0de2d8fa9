"""Where along its moderator does a slope differ from zero? The slope with its band, and where the units lie."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks, thin
from mlm_ops.reports.pictures.facts import groups_of, unit_numbers
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Rows, Selection, Tables, select, table
from mlm_ops.reports.pictures.simple_slopes import curves_of
from mlm_ops.reports.pictures.theme import Spec, colour_of
from mlm_ops.reports.pictures.words import figure, model_text, percent, short, term_label, term_text, unit_name

#: The least width of a region that has its verdict written, as a share of the picture's.
_WRITTEN = 0.35
_COLUMNS = ["model", "term", "moderator", "x", "estimate", "conf_low", "conf_high"]


def johnson_neyman(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """A picture for each slope and moderator that one model was asked for."""
    for model, term, moderator in curves_of(tables, selection, "johnson_neyman"):
        equal = {"model": model, "term": term, "moderator": moderator, "kind": "johnson_neyman"}
        yield _picture(tables, select(tables, "curves", _COLUMNS, equal=equal).sorted_by("x"), term, moderator)


def _picture(tables: Tables, rows: Rows, term: str, moderator: str) -> Picture:
    model = rows.frame["model"][0]
    regions = _regions(tables, model, term, moderator)
    unit_ticks = _units(tables, moderator)
    sentence = " Ticks are units." if unit_ticks else ""
    outside = sum(not rows.frame["x"][0] <= row["mean"] <= rows.frame["x"][-1] for row in unit_ticks)
    sentence += f" The curve ends at 2.5 standard deviations; {outside} of them lie beyond." if outside else ""
    return Picture(
        key="johnson_neyman",
        question=f"Where along {term_text(moderator)} does the slope of {term_text(term)} differ from zero?",
        answer=_answer(regions, term, moderator),
        reading=f"Model {model_text(model)}: the slope of {term_text(term)} along {term_text(moderator)} with a "
        "pointwise 95% band. "
        f"Dashed lines bound the regions where the slope differs from zero.{sentence}",
        spec=_spec(rows.frame, regions, unit_ticks, (term, moderator), colour_of(term)),
        numbers=rows.frame,
        sql=rows.sql,
    )


def _regions(tables: Tables, model: str, term: str, moderator: str) -> list[dict[str, Any]]:
    frame = table(tables, "johnson_neyman")
    if frame.is_empty():
        return []
    rows = frame.filter((pl.col("model") == model) & (pl.col("predictor") == term) & (pl.col("moderator") == moderator))
    return rows.sort("low", "high", nulls_last=False).to_dicts()


def _answer(regions: list[dict[str, Any]], term: str, moderator: str) -> str:
    """What holds in each region that units lie in; in all of them where none does."""
    inhabited = [region for region in regions if region["share"]] or regions
    if not inhabited:
        return f"The regions of {term_text(moderator)} are not known."
    sentences = []
    for region in inhabited:
        low, high = region["low"], region["high"]
        between = f"between {figure(low or 0.0)} and {figure(high or 0.0)}"
        where = between if low is not None and high is not None else f"above {figure(low)}" if low is not None else ""
        where = where or (f"below {figure(high)}" if high is not None else "at every value")
        verdict = (
            f"is {region['direction']} and differs from zero"
            if region["significant"]
            else "is not distinguishable from zero"
        )
        share = "" if region["share"] is None else f" ({percent(region['share'])} of the units lie there)"
        sentences.append(
            f"{where} of {term_text(moderator)} it {verdict}{share}"
            if low is None and high is None
            else f"{where} it {verdict}{share}"
        )
    return f"The slope of {term_text(term)} along {term_text(moderator)}: {'; '.join(sentences)}."


def _units(tables: Tables, moderator: str) -> list[dict[str, Any]]:
    """Where units lie along the moderator: their means of its variable, where table `groups` has that."""
    frame = table(tables, "groups")
    if frame.is_empty():
        return []
    inner = re.fullmatch(r"between\((.+)\)", moderator)
    name = inner[1] if inner else moderator
    means = frame.filter((pl.col("variable") == name) & pl.col("mean").is_not_null())
    if not inner:
        # a predictor that varies within units has no one value there
        means = means.filter(pl.col("std_dev").is_null())
    number, groups = unit_numbers(tables), groups_of({"groups": means}, "groups", {})
    rows = thin.every(means.filter(pl.col("group") == groups[0]).sort("mean", "unit")).to_dicts() if groups else []
    return [
        {
            "mean": row["mean"],
            "hover": marks.hover(
                f"{unit_name(row['group'], row['unit'])}: {figure(row['mean'])}",
                number.get((row["group"], row["unit"])),
            ),
        }
        for row in rows
    ]


def _spec(
    curve: pl.DataFrame,
    regions: list[dict[str, Any]],
    unit_ticks: list[dict[str, Any]],
    names: tuple[str, str],
    colour: str,
) -> Spec:
    across = marks.axis_range(curve["x"], pad=0.02)
    up = marks.axis_range([*curve["conf_low"], *curve["conf_high"], 0.0], pad=0.06)
    x, y = marks.axis(across, short(term_label(names[1]))), marks.axis(up, f"slope of {short(term_label(names[0]))}")
    rows = curve.select("x", "estimate", "conf_low", "conf_high").to_dicts()
    at = marks.field("x", x)
    bounds = {bound for region in regions for bound in (region["low"], region["high"]) if bound is not None}
    ticks = [row for row in unit_ticks if across.low <= row["mean"] <= across.high]
    verdicts = list(_verdicts(regions, across, up))
    layers = [
        marks.band(rows, at, marks.field("conf_low", y), "conf_high", colour),
        marks.reference("y", y, 0.0),
        *[
            marks.reference("x", x, bound, colour="@flag", dashed=True)
            for bound in sorted(bounds)
            if across.low < bound < across.high
        ],
        marks.line(rows, at, marks.field("estimate", y), colour, width=3),
    ]
    if verdicts:
        layers.append(marks.texts(verdicts, marks.field("middle", x), marks.field("top", y), fontStyle="italic"))
    if ticks:
        # along the lower edge, where the band does not reach
        foot = up.low + 0.035 * (up.high - up.low)
        rows = [{**row, "from": up.low, "to": foot} for row in ticks]
        edge = {"x": marks.field("mean", x), "y": marks.field("from", y), "y2": {"field": "to"}}
        layers.append(marks.rules(rows, edge, "@between", strokeOpacity=0.6, width=1.0))
    return marks.chart(layers, 280)


def _verdicts(regions: list[dict[str, Any]], across: marks.AxisRange, up: marks.AxisRange) -> Iterator[dict[str, Any]]:
    """What holds of the slope in each region that is wide enough for the words, along the upper edge."""
    for region in regions:
        low = across.low if region["low"] is None else max(region["low"], across.low)
        high = across.high if region["high"] is None else min(region["high"], across.high)
        if high - low >= _WRITTEN * (across.high - across.low):
            words = "differs from zero" if region["significant"] else "not distinguishable"
            top = up.high - 0.03 * (up.high - up.low)
            yield {"middle": (low + high) / 2, "top": top, "text": words}
