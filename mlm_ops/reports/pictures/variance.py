"""What explains the variance? One bar per model, in parts by level, explained or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mlm_ops.reports.pictures import marks
from mlm_ops.reports.pictures.facts import model_of, shown_models
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.rows import Selection, Tables, select
from mlm_ops.reports.pictures.theme import Spec
from mlm_ops.reports.pictures.words import labels, listing, model_text, percent

MODELS = 12
#: Parts of the total variance by the end of their measure's name, in the bar's order: words, colour, colour of text.
#: Models of three levels have the second rows of a kind; where predictors hold several levels, ``f`` is not divided.
PARTS = {
    "f1": ("within, explained", "@within", "@ground"),
    "f": ("explained", "@interaction", "@ground"),
    "v": ("slopes vary", "@within_pale", "@ink"),
    "residual": ("residual", "@grey_pale", "@ink"),
    "m": ("intercepts vary", "@between_pale", "@ink"),
    "f2": ("between, explained", "@between", "@ground"),
    "m3": ("level 3 varies", "@upper_pale", "@ink"),
    "f3": ("level 3, explained", "@upper", "@ground"),
}
#: Parts of three levels by that of two which they are shown as: slopes over either factor, intercepts over the lower.
_SHOWN_AS = {"v12": "v", "v13": "v", "v23": "v", "v2": "v", "v3": "v", "m2": "m"}
_PREFIX = "rights_sterba_total_"
_IS_TOTAL = f"starts_with(measure, '{_PREFIX}') and not ends_with(measure, '_change') and reference_model is null"
#: The narrowest part that its share is written in, as a share of the bar; and above it, where less would be a line.
_WRITTEN, _ABOVE = 0.07, 0.01


def variance(tables: Tables, selection: Selection) -> Iterator[Picture]:
    """One picture, of all models with such parts."""
    rows = select(tables, "r_squared", ["model", "measure", "estimate"], condition=_IS_TOTAL)
    if rows.frame.is_empty():
        return
    models = shown_models(tables, set(rows.frame["model"]), MODELS)
    numbers = rows.frame.filter(pl.col("model").is_in(models))
    shares = {
        model: {
            row["measure"].removeprefix(_PREFIX): row["estimate"] for row in numbers.to_dicts() if row["model"] == model
        }
        for model in models
    }
    bars = [
        bar
        for model, label in zip(models, labels(models, lines=2), strict=True)
        for bar in _bar(model, label, shares[model])
    ]
    parts = {bar["part"] for bar in bars if bar["end"] > bar["start"]}
    colours = {words: colour for words, colour, _ in PARTS.values() if words in parts}
    model = model_of(tables, "r_squared", selection, _IS_TOTAL) or models[-1]
    yield Picture(
        key="variance",
        question="What explains the variance?",
        answer=_answer(model, shares.get(model, {})),
        reading=_reading(mixed=any("f1" not in parts for parts in shares.values())),
        spec=_spec(bars, colours, labels(models, lines=2)),
        numbers=numbers,
        sql=rows.sql,
    )


def _bar(model: str, label: str, shares: dict[str, float]) -> Iterator[dict[str, Any]]:
    """The segments of a model's bar; negative parts, which no estimator gives but rounding, have no width."""
    parts = [part for shown_part in PARTS for part in sorted(shares) if _SHOWN_AS.get(part, part) == shown_part]
    if "f1" in shares:
        parts.remove("f")  # their sum
    end = 0.0
    for part in parts:
        share, (words, _, ink) = shares[part], PARTS[_SHOWN_AS.get(part, part)]
        start, end = end, end + max(share, 0.0)
        yield {
            "model": model,
            "measure": _PREFIX + part,
            "estimate": share,
            "label": label,
            "start": start,
            "end": end,
            "middle": (start + end) / 2,
            "part": words,
            "text": percent(share) if share >= _WRITTEN else "",
            "ink": ink,
            "hover": marks.hover(f"{model_text(model)}: {words} {percent(share)}"),
        }


def _answer(model: str, share: dict[str, float]) -> str:
    total = f"In {model_text(model)}, predictors account for {percent(share['f'])} of the model's total variance"
    levels = [(f"f{level}", where) for level, where in ((1, "within groups"), (2, "between groups"), (3, "at level 3"))]
    parts = [f"{percent(share[part])} {where}" for part, where in levels if part in share]
    stays = [
        (share["residual"], "stays within groups"),
        (sum(share[part] for part in share if part in ("m", "m2")), "between groups"),
        (share.get("m3", 0.0), "at level 3"),
        (sum(share[part] for part in share if part.startswith("v")), "in slopes that vary"),
    ]
    left = listing(
        f"{percent(value)} {where}" for place, (value, where) in enumerate(stays) if value >= 0.0005 or not place
    )
    return f"{total}{': ' + listing(parts) if parts else ''}. {left}."


def _reading(*, mixed: bool) -> str:
    undivided = " Violet: predictors that vary at several levels, so that their part has no level." if mixed else ""
    return (
        "A bar is a model's own total variance, divided after Rights and Sterba. Orange lies within groups, blue "
        f"between; strong is explained by predictors, pale varies from group to group, grey is left.{undivided}"
    )


def _spec(bars: list[dict[str, Any]], colours: dict[str, str], names: list[str]) -> Spec:
    along = marks.AxisRange(0.0, 1.0, (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "%")
    x, y = marks.axis(along, "share of the model's total variance"), marks.places(names)
    position = {"x": marks.field("start", x), "x2": {"field": "end"}, "y": marks.field("label", y)}
    legend = marks.coded("part", colours, legend=True, symbol="square")
    legend["legend"] |= {"columns": 2}  # three do not fit beside the names of models
    layer = marks.bars(
        [bar for bar in bars if bar["end"] > bar["start"]],
        position,
        legend,
        height={"band": 0.6},
        stroke="@ground",
        strokeWidth=1,
    )
    inked = marks.coded("ink", {"@ground": "@ground", "@ink": "@ink"})
    middle, row = marks.field("middle", x), marks.field("label", y)
    texts = marks.without_hover(bar for bar in bars if bar["text"])
    inside = marks.texts(texts, middle, row, colour=inked, halo=False)
    above = marks.texts(_above(bars), middle, row, halo=False, dy=-18)
    return marks.chart([layer, inside, above], 112 + 38 * len(names), resolve={"scale": {"fill": "independent"}})


def _above(bars: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The shares of parts too narrow for a text, to stand above them; of two that would touch, the greater."""
    texts: list[dict[str, Any]] = []
    for bar in sorted(bars, key=lambda bar: (-bar["estimate"], bar["measure"])):
        beside = [text["middle"] for text in texts if text["label"] == bar["label"]]
        is_free = all(abs(bar["middle"] - middle) >= _WRITTEN for middle in beside)
        if _ABOVE <= bar["estimate"] < _WRITTEN and is_free:
            texts.append({"label": bar["label"], "middle": bar["middle"], "text": percent(bar["estimate"])})
    return texts
