"""Make fragments of Vega-Lite specifications: axes with few ticks, points, rules, bands, bars, lines, texts.

Data are values of columns with fixed names. A row's ``hover`` is what is read when one points at its mark; it begins
with the number of its unit (`hover`), which the drawing makes ``data-u`` of.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlm_ops.reports.pictures.theme import TEXT, WIDTH, Spec

Row = Mapping[str, Any]
#: The end of a line of a label, in Vega's language.
LINE_END = r"\n"
#: Between the number of a unit and the text, in a row's ``hover``.
UNIT_END = "|"
#: The most ticks of an axis.
TICKS = 6
#: Pixels of a digit of the smallest text, and between two numbers of an axis.
DIGIT, _APART = 6.1, 8.0


@dataclass(frozen=True)
class AxisRange:
    """What an axis covers, and where its ticks stand."""

    low: float
    high: float
    ticks: tuple[float, ...]
    format: str

    @property
    def scale(self) -> Spec:
        """The scale as a specification has it."""
        return {"domain": [self.low, self.high], "nice": False, "zero": False}


def axis_range(
    values: Iterable[float | None], *, pad: float = 0.04, ticks: int = TICKS, width: float = WIDTH - 60
) -> AxisRange:
    """An axis that covers values with a little room, and ticks at round numbers.

    Parameters
    ----------
    ticks
        The most of them.
    width
        Pixels of the axis: there are no more ticks than numbers stand beside each other on it.
    """
    numbers = [value for value in values if value is not None and math.isfinite(value)] or [0.0]
    low, high = min(numbers), max(numbers)
    size = (high - low) or abs(high) or 1.0
    low, high = low - pad * size, high + pad * size
    for most in range(ticks, 0, -1):
        step, places = _step(low, high, most)
        style = f",.{places}f" if places <= 4 and max(abs(low), abs(high)) < 1e7 else ".2~e"
        at = tuple(round(k * step, places) + 0.0 for k in _multiples(low, high, step))
        longest = max((len(f"{value:{style.replace('~', '')}}") for value in at), default=0)
        if most <= 2 or (longest * DIGIT + _APART) * (high - low) <= step * width:
            break
    return AxisRange(low, high, at, style)


def _step(low: float, high: float, ticks: int) -> tuple[float, int]:
    """The least of 1, 2, 2.5, 5 times a power of ten with at most so many multiples, and its decimals."""
    power = math.floor(math.log10((high - low) / ticks))
    steps = ((factor * 10.0**place, max(0, more - place)) for place in (power, power + 1) for factor, more in _FACTORS)
    return next(step for step in steps if len(_multiples(low, high, step[0])) <= ticks)


_FACTORS = ((1, 0), (2, 0), (2.5, 1), (5, 0))


def _multiples(low: float, high: float, step: float) -> range:
    """The whole numbers whose multiples of the step lie between; a little more room than rounding takes."""
    return range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)


def axis(along: AxisRange, title: str | None, **more: Any) -> Spec:
    """The axis and scale of a position, to be merged with its field."""
    look = {"title": title, "values": list(along.ticks), "format": along.format, **more}
    return {"type": "quantitative", "scale": along.scale, "axis": look}


def places(names: Sequence[str], **more: Any) -> Spec:
    """The axis and scale of labels in rows, in their order from the top; each label once, of one line or of two."""
    lines = {"labelExpr": f"split(datum.label, '{LINE_END}')"} if any("\n" in name for name in names) else {}
    look = {"title": None, "ticks": False, "grid": False, **lines, **more}
    return {"type": "ordinal", "scale": {"domain": list(names)}, "axis": look}


def along_names(names: Sequence[str], most: int, title: str | None = None) -> Spec:
    """The axis and scale of names beside each other, each once; of many every k-th is written, with the last."""
    step = max(1, math.ceil(len(names) / most))
    look = {"title": title, "grid": False, "labelAngle": 0, "values": [*names[::-1][::step]][::-1]}
    return {"type": "ordinal", "scale": {"type": "point", "domain": list(names), "padding": 0.6}, "axis": look}


def hidden(along: AxisRange) -> Spec:
    """A scale without an axis."""
    return {"type": "quantitative", "scale": along.scale, "axis": None}


def field(name: str, position: Spec) -> Spec:
    """A field of the data at a position."""
    return {"field": name, **position}


def hover(text: str, number: int | None = None) -> str:
    """What is read of a mark, with the number of its unit before; without a text the mark has the number alone."""
    return f"{'' if number is None else number}{UNIT_END}{text}"


def without_hover(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of marks that stand beside others of the same rows, where one hover text of both is enough."""
    return [{name: value for name, value in row.items() if name != "hover"} for row in rows]


def layer(kind: str, rows: Sequence[Row], encoding: Spec, **mark: Any) -> Spec:
    """One layer: marks of a kind, a row of the data each (a line or an area takes all of one ``series``)."""
    has_hover = any("hover" in row for row in rows)
    channels = {**encoding, **({"description": {"field": "hover"}} if has_hover else {})}
    return {
        "data": {"values": [dict(row) for row in rows]},
        "mark": {"type": kind, "aria": has_hover, **mark},
        "encoding": channels,
    }


def points(rows: Sequence[Row], x: Spec, y: Spec, colour: Any = "@ink", *, size: float = 36, **mark: Any) -> Spec:
    """Dots, or other shapes."""
    return layer(
        "point", rows, {"x": x, "y": y, **tint(colour)}, **{"filled": True, "opacity": 1, "size": size, **mark}
    )


def rules(rows: Sequence[Row], position: Spec, colour: Any = "@ink", *, width: float = 2, **mark: Any) -> Spec:
    """Segments: ``position`` has three or four of x, x2, y, y2."""
    return layer("rule", rows, {**position, **tint(colour)}, **{"strokeWidth": width, **mark})


def bars(rows: Sequence[Row], position: Spec, colour: Any, **mark: Any) -> Spec:
    """Rectangles between x and x2, or y and y2."""
    return layer("bar", rows, {**position, **tint(colour)}, **mark)


def band(rows: Sequence[Row], x: Spec, low: Spec, high: str, colour: Any, *, opacity: float = 0.25) -> Spec:
    """The area between two curves."""
    encoding = {"x": x, "y": low, "y2": {"field": high}, **tint(colour)}
    return layer("area", rows, encoding, opacity=opacity)


def line(rows: Sequence[Row], x: Spec, y: Spec, colour: Any = "@ink", *, width: float = 2, **mark: Any) -> Spec:
    """A line through the rows in order of x."""
    return layer("line", rows, {"x": x, "y": y, **tint(colour)}, **{"strokeWidth": width, **mark})


def reference(along: str, position: Spec, value: float, *, colour: str = "@ink", dashed: bool = False) -> Spec:
    """A line across the whole picture at a value of x or y."""
    mark = {"strokeDash": [4, 3]} if dashed else {}
    return rules([{"here": value}], {along: {"field": "here", **position}}, colour, width=1, **mark)


def texts(rows: Sequence[Row], x: Spec, y: Spec, *, colour: Any = "@ink", halo: bool = True, **mark: Any) -> Spec:
    """The ``text`` of each row, with a rim of the ground's colour so that it can be read upon other marks."""
    rim = {"stroke": "@ground", "strokeWidth": 3} if halo else {}
    encoding = {"x": x, "y": y, "text": {"field": "text"}, **tint(colour, "fill")}
    return layer("text", rows, encoding, **{"fontSize": TEXT, **rim, **mark})


def tint(colour: Any, channel: str = "color") -> Spec:
    """A colour by its name, or a channel that looks it up (`coded`)."""
    return {channel: {"value": colour} if isinstance(colour, str) else colour}


def coded(name: str, colours: Mapping[str, str], *, legend: bool = False, symbol: str = "circle") -> Spec:
    """A colour by the value of a field, one of our own words; with a legend of these words."""
    words = {"title": None, "symbolType": symbol} if legend else None
    scale = {"domain": list(colours), "range": list(colours.values())}
    return {"field": name, "type": "nominal", "scale": scale, "legend": words, "sort": None}


def chart(layers: Sequence[Spec], height: int, **more: Any) -> Spec:
    """Layers over each other, as wide as every picture."""
    return {
        "width": WIDTH,
        "height": height,
        "autosize": {"type": "fit", "contains": "padding"},
        **more,
        "layer": [*layers],
    }
