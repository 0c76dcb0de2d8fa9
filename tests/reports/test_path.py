"""Path diagrams: every parameter is drawn with its numbers, no label covers another, nothing outside is needed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import combinations
from typing import Any, get_args
from xml.etree import ElementTree as Xml

import polars as pl
import pytest

from mlm_ops.errors import MlmError
from mlm_ops.reports import PICTURES, Selection, draw_svg, path_diagram
from mlm_ops.reports.drawing.svg import Ground
from mlm_ops.reports.pictures.path_layout import HEIGHT, NODE, Arrow, Box, panel
from mlm_ops.reports.pictures.words import figure
from tests.reports.stores import Store
from tests.reports.test_drawing import HOSTILE
from tests.structural.cases import NAMES, fitted

_SVG = "{http://www.w3.org/2000/svg}"


def shapes(
    nodes: list[dict[str, Any]], x: float = 0.0, y: float = 0.0
) -> Iterator[tuple[dict[str, Any], float, float]]:
    """Every shape, with the place of its group."""
    for node in nodes:
        move = re.fullmatch(r"translate\(([-\d.]+),([-\d.]+)\)", node.get("transform", ""))
        across, down = (float(move[1]), float(move[2])) if move else (0.0, 0.0)
        yield node, x, y
        yield from shapes(node.get("inside", []), x + across, y + down)


@pytest.mark.parametrize("name", NAMES)
class TestReferenceModels:
    def test_every_parameter_is_drawn_with_its_numbers(self, name: str):
        picture = path_diagram(fitted(name).parameters)
        texts = {shape["text"] for shape, *_ in shapes(picture.spec["shapes"]) if shape["tag"] == "text"}
        hovers = [shape["hover"] for shape, *_ in shapes(picture.spec["shapes"]) if "hover" in shape]
        for row in picture.numbers.to_dicts():
            if row["op"] in ("~", "=~") and row["std_error"] is not None:
                assert figure(row["estimate"]) in texts
                assert f"{figure(row['conf_low'])} to {figure(row['conf_high'])}" in texts
            if row["op"] == "~":
                assert any(hover.startswith(f"|slope of {row['lhs']} on {row['rhs']}: ") for hover in hovers)
            if row["op"] == "~~" and row["lhs"] == row["rhs"] and row["estimate"] != 0:
                assert any(text.endswith(f" {figure(row['estimate'])}") for text in texts), row

    def test_no_label_covers_another_or_a_node(self, name: str):
        """By boxes of six pixels a character."""
        picture = path_diagram(fitted(name).parameters)
        boxes, nodes = [], []
        for shape, x, y in shapes(picture.spec["shapes"]):
            if shape["tag"] == "text" and shape.get("text-anchor") == "middle":
                size = float(shape["font-size"].removesuffix("px"))
                width = len(shape["text"]) * 5.6 * size / 11
                boxes.append((Box(x + shape["x"], y + shape["y"] - 4, width, 10.0), shape["text"]))
            elif shape["tag"] in ("rect", "ellipse"):
                middle = (shape["cx"], shape["cy"]) if shape["tag"] == "ellipse" else None
                left, top = middle or (shape["x"] + NODE / 2, shape["y"] + HEIGHT / 2)
                nodes.append(Box(x + left, y + top, NODE, HEIGHT))
        for (one, first), (other, second) in combinations(boxes, 2):
            assert one.overlap(other) == 0, (first, second)
        width, height = picture.spec["width"], picture.spec["height"]
        for box, text in boxes:
            on_nodes = [node for node in nodes if box.overlap(node) > 0]
            # a name stands in its node
            assert len(on_nodes) <= 1, text
            assert not on_nodes or (on_nodes[0].x, on_nodes[0].y) == (box.x, box.y), text
            assert box.x - box.width / 2 >= 0, text
            assert box.x + box.width / 2 <= width, text
            assert box.y + box.height / 2 <= height, text

    def test_answer_and_drawing(self, name: str):
        fit = fitted(name)
        picture = path_diagram(fit.parameters)
        texts = {
            figure(value)
            for column in ("estimate", "conf_low", "conf_high")
            for value in fit.parameters[column].drop_nulls()
        }
        sentence = picture.answer.replace("95% interval", "")
        for variable in sorted({*fit.parameters["lhs"], *fit.parameters["rhs"]}, key=len, reverse=True):
            sentence = re.sub(rf"(?<![\w.−]){re.escape(variable)}(?![\w])", " ", sentence)
        for token in re.findall(r"−?\d(?:[\d,]*\d)?(?:\.\d+)?", sentence):
            assert token in texts, (token, picture.answer)
        assert fit.diagram() == picture.svg()


def test_the_shipped_model_is_read_in_a_sentence(hsb: Store) -> None:
    (picture,) = PICTURES["path"](hsb.tables, Selection())
    assert (picture.question, picture.answer) == (
        "What goes with what, at each level?",
        "Within clusters the slope of mathach on ses is 2.19 (95% interval 1.98 to 2.40), between clusters 6.10 (95% "
        "interval 5.35 to 6.85). contextual (between − within) is 3.90 (95% interval 3.12 to 4.69).",
    )
    texts = [shape["text"] for shape, *_ in shapes(picture.spec["shapes"]) if shape["tag"] == "text"]
    assert texts[-1] == "contextual = between − within: 3.90 (95% interval 3.12 to 4.69)"
    assert list(PICTURES["path"](hsb.tables, Selection(model="anova"))) == []


class TestDrawing:
    def test_it_needs_no_vl_convert(self, hsb: Store, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "vl_convert", None)
        (picture,) = PICTURES["path"](hsb.tables, Selection())
        assert picture.is_plain
        for ground in get_args(Ground):
            root = Xml.fromstring(draw_svg(picture, ground=ground))
            assert root.get("role") == "img"
            assert root.get("aria-label") == f"{picture.question} {picture.answer}"
        assert fitted("ctx_hsb").diagram().startswith("<svg")
        assert not hsb.picture("decomposition").is_plain

    def test_colours_are_the_pages(self, hsb: Store):
        (picture,) = PICTURES["path"](hsb.tables, Selection())
        page, light, dark = (draw_svg(picture, ground=ground) for ground in get_args(Ground))
        assert 'stroke="var(--within,#b3500f)"' in page
        assert not re.search(r'"(#|@)', page)
        assert '<rect width="420" height="' in light
        assert 'fill="#ffffff"' in light
        assert 'fill="#161a20"' in dark
        assert "#ffffff" not in dark
        for svg in (page, light, dark):
            assert not re.search(r"<style|<marker| id=|url\(", svg)

    def test_hover_texts_can_be_left_out(self, hsb: Store):
        (picture,) = PICTURES["path"](hsb.tables, Selection())
        assert "<title>slope of mathach on ses: 2.19 (95% interval 1.98 to 2.40)</title>" in picture.svg()
        assert "<title>" not in draw_svg(picture, titles=False)

    def test_files(self, hsb: Store, tmp_path):
        (picture,) = PICTURES["path"](hsb.tables, Selection())
        for ending, start in (
            (".svg", b"<svg "),
            (".png", b"\x89PNG"),
            (".pdf", b"%PDF"),
            (".html", b"<!doctype html>"),
        ):
            assert picture.save(tmp_path / f"path{ending}").read_bytes().startswith(start)
        with pytest.raises(MlmError) as raised:
            picture.painted_spec()
        assert str(raised.value) == (
            "A path diagram is no Vega-Lite chart, and has no specification of one. Take its svg()."
        )


@pytest.mark.parametrize("turn", range(0, len(HOSTILE), 3))
def test_whatever_names_there_are_the_drawing_is_well_formed(turn: int) -> None:
    names = [name.encode("utf-8", "replace").decode() for name in [*HOSTILE, *HOSTILE][turn : turn + 3]]
    others = dict(zip(("fw", "x1", "y1"), names, strict=True))
    parameters = fitted("sem_demo").parameters.with_columns(pl.col("lhs", "rhs").replace(others))
    nodes = list(Xml.fromstring(path_diagram(parameters).svg()).iter())
    assert {node.tag.removeprefix(_SVG) for node in nodes} <= {"svg", "g", "rect", "path", "text", "title", "ellipse"}
    assert not [name for node in nodes for name in node.attrib if name.startswith("on") or "href" in name]


def model_of(size: int) -> dict[str, pl.DataFrame]:
    """A factor and its indicators, so many variables in all."""
    rows = [("m", 1, "f", "=~", f"y{place}", 0.5, 0.1, 0.3, 0.7) for place in range(size - 1)]
    columns = ["model", "level", "lhs", "op", "rhs", "estimate", "std_error", "conf_low", "conf_high"]
    return {"sem_parameters": pl.DataFrame(rows, schema=columns, orient="row")}


def test_more_than_thirty_variables_are_a_table() -> None:
    """A fit draws them nevertheless, when asked."""
    assert len(list(PICTURES["path"](model_of(30), Selection()))) == 1
    assert list(PICTURES["path"](model_of(31), Selection())) == []
    svg = path_diagram(model_of(31)["sem_parameters"].drop("model")).svg()
    # its indicators, and the ground
    assert (svg.count("<ellipse"), svg.count("<rect")) == (1, 30 + 1)
    assert len(svg) < 100_000


class TestLayout:
    def test_causes_stand_left_of_what_they_lead_to(self):
        layout = panel(["a", "b", "c"], [Arrow("b", "a", ("1",)), Arrow("a", "c", ("1",))], 17)
        assert layout.nodes["b"][0] < layout.nodes["a"][0] < layout.nodes["c"][0]

    def test_feedback_ends(self):
        layout = panel(["a", "b"], [Arrow("a", "b", ("1",)), Arrow("b", "a", ("2",))], 17)
        assert layout.height > 0
        assert layout.curves[0].label.overlap(layout.curves[1].label) == 0

    def test_a_head_points_along_its_line(self):
        layout = panel(["a", "b"], [Arrow("a", "b", ("1",))], 17)
        (curve,) = layout.curves
        tip = layout.nodes["b"][0] - NODE / 2, layout.nodes["b"][1]
        assert curve.head().startswith(f"M{tip[0]:.2f},{tip[1]:.2f} ")
        corners = [tuple(map(float, pair.split(","))) for pair in re.findall(r"[-\d.]+,[-\d.]+", curve.head())]
        assert all(x < tip[0] for x, _ in corners[1:])
