"""Draw a picture as PNG, and save it as SVG, PNG, PDF, or an HTML page with its question, answer and reading."""

from __future__ import annotations

from html import escape
from pathlib import Path

from mlm_ops.reports.drawing.svg import Ground, converter, draw_svg
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.theme import FONT
from mlm_ops.warehouse.replacing import check_kind, new_file

ENDINGS = (".svg", ".png", ".pdf", ".html")
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{question}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:2rem auto;padding:0 1rem}}
svg{{width:100%;height:auto}}</style>
<h1>{question}</h1><p>{answer}</p>{svg}<p>{reading}</p></html>
"""


def draw_png(picture: Picture, scale: float = 2.0, *, ground: Ground = "light") -> bytes:
    """Draw a picture in the font that vl-convert bundles.

    Parameters
    ----------
    scale
        Pixels a unit of the picture's width, 420.
    ground
        As of `svg.draw_svg`.

    Raises
    ------
    MlmError
        The package vl-convert-python is not installed.
    """
    drawing = draw_svg(picture, ground=ground, titles=False).replace("system-ui, 'Liberation Sans'", f"'{FONT}'", 1)
    image: bytes = converter().svg_to_png(drawing, scale=scale)
    return image


def save_picture(picture: Picture, path: Path) -> Path:
    """Write a picture to a file, as its name ends; its folder is made, and an older file replaced at one stroke.

    Raises
    ------
    MlmError
        The name ends otherwise than in .svg, .png, .pdf or .html, the file cannot be written or is another kind of
        file, or the package vl-convert-python is not installed and the file needs it.
    """
    check_kind(path, ENDINGS, "A picture")
    content = _content(picture, path.suffix.lower())
    with new_file(path, ENDINGS, "A picture") as building:
        building.write_bytes(content)
    return path


def _content(picture: Picture, ending: str) -> bytes:
    if ending == ".png":
        return draw_png(picture)
    if ending == ".pdf":
        drawing: bytes = converter().svg_to_pdf(draw_svg(picture, titles=False))
        return drawing
    svg = draw_svg(picture)
    if ending == ".svg":
        return svg.encode()
    texts = {name: escape(getattr(picture, name)) for name in ("question", "answer", "reading")}
    return _PAGE.format(svg=svg, **texts).encode()
