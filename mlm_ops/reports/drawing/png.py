"""Draw a picture as a PNG, of the same SVG that pages show."""

from __future__ import annotations

from mlm_ops.reports.drawing.svg import Ground, converter, draw_svg
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.theme import FONT


def draw_png(picture: Picture, scale: float = 2.0, *, ground: Ground = "light") -> bytes:
    """Draw a picture, with so many pixels a unit of its width; its font is the one that vl-convert bundles."""
    drawing = draw_svg(picture, ground=ground, titles=False).replace("system-ui, 'Liberation Sans'", f"'{FONT}'", 1)
    image: bytes = converter().svg_to_png(drawing, scale=scale)
    return image
