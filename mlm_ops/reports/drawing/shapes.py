"""Write the shapes of a picture that needs no Vega as SVG, as raw as Vega's own, for `svg.tidy`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from mlm_ops.reports.pictures.theme import Spec, styled

#: What of a shape is no attribute.
_NO_ATTRIBUTES = frozenset({"tag", "text", "hover", "inside"})


def raw_svg(spec: Spec, *, dark: bool, ground: bool) -> str:
    """The shapes of a specification with their colours, on a ground where it is drawn too.

    Parameters
    ----------
    spec
        With ``width``, ``height`` and ``shapes``: each a ``tag``, attributes of SVG, and ``text``, ``hover`` or, of a
        group, the shapes ``inside``.
    dark
        Whether colours are those for a dark ground.
    ground
        Whether the ground is drawn.
    """
    painted = styled(spec, dark=dark)
    width, height = painted["width"], painted["height"]
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    below = {"tag": "rect", "width": width, "height": height, "fill": painted["config"]["background"]}
    shapes = [*([below] if ground else []), *painted["shapes"]]
    return f'<svg xmlns="http://www.w3.org/2000/svg"{attribute_text(size)}>{_elements(shapes)}</svg>'


def _elements(shapes: Sequence[Mapping[str, Any]]) -> str:
    parts = []
    for shape in shapes:
        attributes = {key: str(value) for key, value in shape.items() if key not in _NO_ATTRIBUTES}
        if "hover" in shape:
            attributes["aria-label"] = shape["hover"]
        inside = escape(shape.get("text", "")) + _elements(shape.get("inside", ()))
        parts.append(f"<{shape['tag']}{attribute_text(attributes)}>{inside}</{shape['tag']}>")
    return "".join(parts)


def attribute_text(values: Mapping[str, str]) -> str:
    """Attributes of an element as SVG has them, each with a space before."""
    return "".join(f" {key}={quoteattr(value)}" for key, value in values.items())
