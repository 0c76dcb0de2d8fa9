"""Name the colours of pictures, for light and dark grounds, and the fonts, axes and legends that all share.

Hue says the level: orange within groups, blue between them (teal a level higher), violet their interactions, ink for
the rest. Strong is explained by predictors, pale varies unexplained. A flag has a hue of its own, and a shape.
"""

from __future__ import annotations

from typing import Any

from mlm_ops.reports.pictures.words import factors

Spec = dict[str, Any]

#: Each colour by its name in a picture's spec: on a light ground, on a dark one. Every one differs from all others, so
#: that a page can tell them apart in an SVG and give each a variable of its own.
COLOURS: dict[str, tuple[str, str]] = {
    "@ground": ("#ffffff", "#161a20"),
    "@ink": ("#1c2127", "#e7eaee"),
    "@soft": ("#555d68", "#aab2bd"),
    "@grid": ("#e4e7ec", "#2c333d"),
    "@within": ("#b3500f", "#f2935a"),
    "@within_pale": ("#f0bf9c", "#7a4526"),
    "@between": ("#1b65a9", "#6bb0f0"),
    "@between_pale": ("#a5c9ea", "#27496b"),
    "@upper": ("#0f766e", "#4fc7bb"),
    "@upper_pale": ("#9fd6cf", "#1f4f4a"),
    "@interaction": ("#6a4fb5", "#b7a3f2"),
    "@grey": ("#7b838e", "#8c95a1"),
    "@grey_pale": ("#dfe3e8", "#3a424d"),
    "@flag": ("#a4094f", "#ff7eb3"),
}

#: Pixels: the width of a picture, and the size of its smallest text.
WIDTH, TEXT = 420, 11
#: Bundled with vl-convert, so that texts are measured alike on every machine.
FONT = "Liberation Sans"
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
#: What holds texts and data of users, where a name of a colour is no colour.
_NO_COLOURS = frozenset({"data", "domain", "values"})
#: What holds one where it is a text, and more colours where it is not.
_TEXTS = frozenset({"title", "text"})

_CONFIG: Spec = {
    "font": FONT,
    "background": "@ground",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "@soft",
        "labelFontSize": TEXT,
        "titleColor": "@soft",
        "titleFontSize": TEXT,
        "titleFontWeight": "normal",
        "titlePadding": 6,
        "gridColor": "@grid",
        "domain": False,
        "tickColor": "@grid",
        "tickSize": 3,
        "labelOverlap": False,
        "labelFlush": False,
        "labelLimit": 0,
        "titleLimit": 0,
    },
    "axisY": {"labelPadding": 4},
    "legend": {
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "labelColor": "@ink",
        "labelFontSize": TEXT,
        "symbolStrokeWidth": 2,
        "columnPadding": 14,
        "offset": 6,
    },
    "text": {"color": "@ink", "fontSize": TEXT},
}


def styled(spec: Spec, *, dark: bool = False) -> Spec:
    """The whole Vega-Lite specification of a picture's own: its colours as numbers, fonts, axes and legends set.

    Parameters
    ----------
    spec
        With names of `COLOURS` where it has a colour.
    dark
        Whether for a dark ground.
    """
    painted = _paint({"config": _CONFIG, **spec}, int(dark))
    return {"$schema": SCHEMA, **painted}


def _paint(node: Any, ground: int) -> Any:
    if isinstance(node, dict):
        texts = {key for key in node if key in _NO_COLOURS or (key in _TEXTS and isinstance(node[key], str))}
        return {key: value if key in texts else _paint(value, ground) for key, value in node.items()}
    if isinstance(node, list):
        return [_paint(value, ground) for value in node]
    return COLOURS[node][ground] if isinstance(node, str) and node in COLOURS else node


def colour_of(term: str) -> str:
    """The hue of a coefficient, by what its name says of its level; ink where that says nothing."""
    if len(factors(term)) > 1:
        return "@interaction"
    if term.startswith(("within(", "between(")):
        return "@within" if term.startswith("within(") else "@between"
    return "@ink"
