"""Draw a picture as SVG text that is safe in a page: own ids, titles, two decimals, nothing of the machine in it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal
from xml.etree import ElementTree as Xml
from xml.sax.saxutils import escape

from mlm_ops.errors import MlmError
from mlm_ops.reports.drawing.shapes import attribute_text, raw_svg
from mlm_ops.reports.pictures.marks import UNIT_END
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.theme import COLOURS

Ground = Literal["page", "light", "dark"]
Element = Xml.Element

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
#: Attributes that hold numbers.
_NUMBERS = frozenset(
    {"d", "transform", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "stroke-width", "opacity"}
    | {"fill-opacity", "stroke-opacity", "stroke-dasharray", "font-size", "viewBox"}
)
#: What says nothing that a reader of the drawing needs: its own roles, fonts, and defaults of SVG.
_DROPPED = frozenset({"class", "role", "font-family", "pointer-events", "stroke-miterlimit", "version"})
_DEFAULTS = {
    "opacity": "1",
    "stroke-width": "1",
    "text-anchor": "start",
    "stroke": "none",
    "transform": "translate(0,0)",
}
_COLOURS = frozenset({"fill", "stroke"})
_TEXTS = frozenset({"text", "tspan"})
_INHERITED = frozenset(
    {"fill", "stroke", "stroke-width", "fill-opacity", "stroke-opacity", "stroke-dasharray"}
    | {"font-size", "font-weight", "text-anchor", "paint-order"}
)
#: Names that every object has in the language of Vega, and a character without width that makes another name of one.
_MEMBERS = frozenset({"constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "valueOf"}) | frozenset(
    {"toLocaleString", "toString", "__proto__"}
)
_UNSEEN = "\u200b"
_DECIMALS = re.compile(r"-?\d*\.\d+(?:e-?\d+)?|-?\d+e-?\d+")
#: A circle as Vega writes it: two arcs around the origin.
_CIRCLE = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_VARIABLES = {light: f"var(--{name[1:].replace('_', '-')},{light})" for name, (light, _) in COLOURS.items()}


def draw_svg(picture: Picture, *, ground: Ground = "light", name: str | None = None, titles: bool = True) -> str:
    """Draw a picture.

    Parameters
    ----------
    picture
        What is drawn.
    ground
        Colours for a light or a dark ground, which is drawn too; or "page": no ground, and each colour a CSS variable
        (``--between``) with the light one as its default.
    name
        What the ids in it begin with; by default the picture's key.
    titles
        Whether marks have hover texts and the numbers of their units (``data-u``).

    Raises
    ------
    MlmError
        The package vl-convert-python is not installed, and the picture needs it (`Picture.is_plain`).
    """
    if picture.is_plain:
        text = raw_svg(picture.spec, dark=ground == "dark", ground=ground != "page")
    else:
        text = _drawn_by_vega(picture, ground)
    colours = _VARIABLES if ground == "page" else {}
    return tidy(text, f"{picture.question} {picture.answer}", name or picture.key, colours, titles=titles)


def _drawn_by_vega(picture: Picture, ground: Ground) -> str:
    spec = _with_titles(picture.painted_spec(dark=ground == "dark"))
    if ground == "page":
        spec["config"] = {**spec["config"], "background": None}
    text: str = converter().vegalite_to_svg(
        spec, allowed_base_urls=[], format_locale="en-US", time_format_locale="en-US"
    )
    return text


def _with_titles(node: Any) -> Any:
    """The specification, its titles other than names that Vega takes for its own."""
    if isinstance(node, dict):
        return {
            key: value if key == "data" else f"{value}{_UNSEEN}" if _is_member(key, value) else _with_titles(value)
            for key, value in node.items()
        }
    return [_with_titles(value) for value in node] if isinstance(node, list) else node


def _is_member(key: str, value: Any) -> bool:
    return key == "title" and isinstance(value, str) and value in _MEMBERS


def converter() -> ModuleType:
    """The package that turns specifications into drawings, imported when first needed."""
    try:
        import vl_convert
    except ImportError as error:
        raise MlmError(
            "Pictures need the package vl-convert-python. Install it with: pip install 'mlm-ops[report]'."
        ) from error
    return vl_convert


def tidy(text: str, label: str, name: str, colours: Mapping[str, str], *, titles: bool = True) -> str:
    """The drawing as one element with a role and a label, whose inner ones are gone.

    Parameters
    ----------
    text
        SVG as Vega writes it.
    label
        What is said of the whole picture.
    name
        What its ids begin with.
    colours
        What stands instead of a colour.
    """
    root = Xml.fromstring(text)
    ids = {node.get("id", ""): f"{name}-{place}" for place, node in enumerate(root.iterfind(".//*[@id]"), start=1)}
    size = {key: root.get(key, "") for key in ("viewBox", "width", "height")}
    head = {"xmlns": _SVG[1:-1], "role": "img", "aria-label": label, **size}
    head |= {"font-family": "system-ui, 'Liberation Sans', sans-serif", "fill": "none", "stroke-linejoin": "round"}
    write = _Writer(ids, colours, titles=titles)
    return f"<svg{attribute_text(head)}>{''.join(write.node(child) for child in root)}</svg>\n"


@dataclass
class _Markup:
    """An element as it is written."""

    tag: str
    attributes: dict[str, str]
    text: str
    children: list[_Markup]


def _text(part: _Markup) -> str:
    inside = part.text + "".join(map(_text, part.children))
    start = f"<{part.tag}{attribute_text(part.attributes)}"
    return f"{start}>{inside}</{part.tag}>" if inside else f"{start}/>"


def _shared(children: Sequence[_Markup]) -> dict[str, str]:
    """What all marks of a group say alike and may inherit from it: said once, hundreds of marks are half as long."""
    if len(children) < 2 or any(child.tag == "g" for child in children):
        return {}
    first = children[0].attributes
    return {
        key: value
        for key, value in first.items()
        if key in _INHERITED and all(child.attributes.get(key) == value for child in children)
    }


def _circle(radius: str, attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a circle instead of those of its path."""
    others = {key: value for key, value in attributes.items() if key not in ("d", "transform")}
    x, _, y = attributes.get("transform", "translate(0,0)")[len("translate(") : -1].partition(",")
    return {"cx": x, "cy": y, "r": radius, **others}


class _Writer:
    """Writes the elements of a drawing anew."""

    def __init__(self, ids: Mapping[str, str], colours: Mapping[str, str], *, titles: bool) -> None:
        self._ids, self._colours, self._titles = ids, colours, titles

    def node(self, node: Element) -> str:
        return "".join(map(_text, self._parts(node)))

    def _parts(self, node: Element) -> list[_Markup]:
        """What is drawn of an element: nothing of what is not seen, the children alone of a group that says nothing."""
        tag = node.tag.removeprefix(_SVG)
        if node.get("display") == "none" or (tag == "path" and not node.get("d")):
            return []
        title, number = self._title(node)
        children = [part for child in node for part in self._parts(child)]
        attributes = {**number, **self._attributes(node, tag)}
        if tag == "path" and _is_unseen(attributes):
            return []
        if tag == "path" and (circle := _CIRCLE.fullmatch(attributes["d"])):
            tag, attributes = "circle", _circle(circle[1], attributes)
        text = escape(node.text) if tag in _TEXTS and node.text else ""
        if tag != "g":
            return [_Markup(tag, attributes, title + text, children)]
        common = _shared(children)
        for child in children:
            child.attributes = {key: value for key, value in child.attributes.items() if key not in common}
        attributes |= common
        return [_Markup(tag, attributes, "", children)] if children and attributes else children

    def _title(self, node: Element) -> tuple[str, dict[str, str]]:
        """The hover text as an element, and the number of the unit as an attribute."""
        number, ours, text = node.get("aria-label", "").partition(UNIT_END)
        # what Vega itself says of axes and legends begins with no number and has no end of one
        if not self._titles or not ours or not re.fullmatch(r"\d*", number):
            return "", {}
        title = f"<title>{escape(text)}</title>" if text else ""
        return title, {"data-u": number} if number else {}

    def _attributes(self, node: Element, tag: str) -> dict[str, str]:
        attributes: dict[str, str] = {}
        for key, value in node.attrib.items():
            if key in _DROPPED or key.startswith(("aria-", _LINK)) or _DEFAULTS.get(key) == value:
                continue
            if key == "id":
                attributes[key] = self._ids[value]
            elif key == "clip-path":
                attributes[key] = re.sub(r"#([^)]+)", lambda match: f"#{self._ids.get(match[1], match[1])}", value)
            else:
                number = _DECIMALS.sub(_two_decimals, value) if key in _NUMBERS else value
                attributes[key] = self._colours.get(number, number) if key in _COLOURS else number
        if tag == "text" and "stroke" in attributes:
            attributes["paint-order"] = "stroke"
        return attributes


def _is_unseen(attributes: Mapping[str, str]) -> bool:
    """Whether a path has neither a fill nor a stroke, as grounds of Vega's groups have not."""
    return all(attributes.get(key, "none") in ("none", "transparent") for key in ("fill", "stroke"))


def _two_decimals(match: re.Match[str]) -> str:
    text = f"{float(match[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
