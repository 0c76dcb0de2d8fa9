"""What is drawn: marks where their values are, well-formed whatever names there are, the same bytes each time."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlm_ops.errors import MlmError
from mlm_ops.reports import PICTURES, Selection, draw_png, draw_svg, save_picture
from mlm_ops.reports.drawing.svg import tidy
from mlm_ops.reports.pictures.facts import unit_numbers
from mlm_ops.reports.pictures.picture import Picture
from mlm_ops.reports.pictures.theme import COLOURS
from tests.reports.stores import Store

_SVG = "{http://www.w3.org/2000/svg}"
#: Pixels; axes have their labels to two decimals of a pixel, marks too.
HALF = 0.5


def elements(svg: str) -> Iterator[tuple[Xml.Element, float, float]]:
    """Every element with the place of its origin."""

    def walk(node: Xml.Element, x: float, y: float) -> Iterator[tuple[Xml.Element, float, float]]:
        moved = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", node.get("transform", ""))
        if moved:
            x, y = x + float(moved[1]), y + float(moved[2])
        yield node, x + float(node.get("cx", "0")), y + float(node.get("cy", "0"))
        for child in node:
            yield from walk(child, x, y)

    return walk(Xml.fromstring(svg), 0.0, 0.0)


def number(text: str | None) -> float | None:
    try:
        return float((text or "").replace("−", "-").replace(",", ""))
    except ValueError:
        return None


def scale(svg: str, along: str, near: float | None = None) -> tuple[float, float]:
    """Value at pixel 0 and value a pixel of an axis, through its tick labels; of panels the one below a height."""
    labels = [(number(node.text), x, y) for node, x, y in elements(svg) if node.tag == _SVG + "text"]
    ticks = [(value, x, y) for value, x, y in labels if value is not None]
    across = along == "x"
    rows: dict[float, list[tuple[float, float]]] = {}
    for value, x, y in ticks:
        # Vega draws axes half a pixel aside, so that their lines are sharp
        rows.setdefault(y if across else x, []).append((value, (x if across else y) - 0.5))
    if near is None:
        labels_of_axis = max(rows.values(), key=len) if across else rows[min(rows)]
    else:
        labels_of_axis = rows[min(row for row, labels_ in rows.items() if row > near and len(labels_) > 1)]
    assert len(labels_of_axis) > 1, rows
    slope, start = np.polyfit([pixel for _, pixel in labels_of_axis], [value for value, _ in labels_of_axis], 1)
    return float(start), float(slope)


class TestGeometry:
    """Coordinates read back through the ticks are the values: what is drawn is what is told."""

    def test_caterpillar(self, hsb: Store):
        picture = hsb.picture("caterpillar")
        svg = picture.svg()
        start, slope = scale(svg, "y")
        numbers = {number: pair[1] for pair, number in unit_numbers(hsb.tables).items()}
        ends = {row["unit"]: (row["conf_low"], row["conf_high"]) for row in picture.numbers.to_dicts()}
        rules = [(node, y) for node, _, y in elements(svg) if node.get("data-u") and node.tag == _SVG + "line"]
        assert len(rules) == 160
        # labels stand below their ticks by a constant: zero's line tells it
        shift = _zero_line(svg) - (0 - start) / slope
        for node, y in rules:
            pixels = sorted((y, y + float(node.get("y2", "0"))), reverse=True)
            expected = [(value - start) / slope + shift for value in ends[numbers[int(node.get("data-u", ""))]]]
            assert np.abs(np.array(pixels) - expected).max() < HALF

    def test_forest(self, hsb: Store):
        picture = hsb.picture("forest")
        svg = picture.svg()
        intervals = 0
        rows = {f"{row['term']} in “{row['model']}”": row for row in picture.numbers.to_dicts()}
        for node, x, y in elements(svg):
            title = node.find(_SVG + "title")
            if title is None or node.tag != _SVG + "line":
                continue
            row = rows[str(title.text).partition(": ")[0]]
            start, slope = scale(svg, "x", near=y)
            low, high = sorted((x, x + float(node.get("x2", "0"))))
            assert abs(low - (row["conf_low"] - start) / slope) < HALF
            assert abs(high - (row["conf_high"] - start) / slope) < HALF
            intervals += 1
        assert intervals == picture.numbers.height == 10

    def test_two_slopes(self, hsb: Store):
        """Means as they are, not around the grand mean, as moments are kept."""
        picture = hsb.picture("two_slopes")
        svg = picture.svg()
        (x0, dx), (y0, dy) = scale(svg, "x"), scale(svg, "y")
        dots = [(int(node.get("data-u", "0")), x, y) for node, x, y in elements(svg) if node.get("data-u")]
        numbers = {number: pair[1] for pair, number in unit_numbers(hsb.tables).items()}
        means = {row["unit"]: (row["x_mean"], row["y_mean"]) for row in picture.numbers.to_dicts()}
        assert len(dots) == 160
        places = np.array([[x, y] for _, x, y in dots])
        expected = np.array([means[numbers[unit]] for unit, _, _ in dots])
        # a label's baseline is below its tick by the same for all
        offset = np.median(places[:, 1] - (expected[:, 1] - y0) / dy)
        assert abs(offset + 3.0) < 1.0
        assert np.abs(places[:, 0] - (expected[:, 0] - x0) / dx).max() < HALF
        assert np.abs(places[:, 1] - (expected[:, 1] - y0) / dy - offset).max() < HALF
        assert expected[:, 1].mean() == pytest.approx(12.6, abs=0.2)


def _zero_line(svg: str) -> float:
    ink = COLOURS["@ink"][0]
    (y,) = [y for node, _, y in elements(svg) if node.tag == _SVG + "line" and node.get("stroke") == ink]
    return y


class TestSvg:
    def test_one_image_with_a_label_and_titles(self, store: Store):
        for picture in store.pictures(of_every_model=False):
            svg = picture.svg()
            root = Xml.fromstring(svg)
            assert (root.get("role"), root.get("aria-label")) == ("img", f"{picture.question} {picture.answer}")
            inside = [node for node in root.iter() if node is not root]
            assert not [name for node in inside for name in node.attrib if name.startswith("aria") or name == "role"]
            assert not [name for node in inside for name in node.attrib if name in ("font-family", "style", "class")]
            ids = [node.get("id") for node in inside if node.get("id")]
            assert all(re.fullmatch(rf"{picture.key}-\d+", str(name)) for name in ids)
            assert len(svg) < 100_000, picture.key
            assert float(root.get("width", "0")) <= 421, picture.key
            sizes = [float(node.get("font-size", "").removesuffix("px")) for node in inside if node.get("font-size")]
            assert min(sizes) >= 11
            numbers = [value for node in inside for name, value in node.attrib.items() if name != "data-u"]
            assert not [value for value in numbers if re.search(r"\.\d{3}", value)]

    def test_at_most_six_ticks_an_axis(self, store: Store):
        def axes(node: object) -> Iterator[list[float]]:
            if isinstance(node, dict):
                if "axis" in node and isinstance(node["axis"], dict):
                    yield node["axis"].get("values", [])
                for value in node.values():
                    yield from axes(value)
            elif isinstance(node, list):
                for value in node:
                    yield from axes(value)

        for picture in store.pictures():
            assert max((len(values) for values in axes(picture.spec)), default=0) <= 6, picture.key

    def test_in_a_page_colours_are_variables_and_there_is_no_ground(self, hsb: Store):
        svg = draw_svg(hsb.picture("decomposition"), ground="page", name="decomposition-1")
        assert 'fill="var(--between,#1b65a9)"' in svg
        assert not re.search(r'(?:fill|stroke)="#', svg)
        dark = hsb.picture("decomposition").svg(dark=True)
        assert COLOURS["@ground"][1] in dark
        assert COLOURS["@between"][1] in dark

    def test_titles_may_be_left_out(self, hsb: Store):
        picture = hsb.picture("caterpillar")
        with_titles, without = picture.svg(), draw_svg(picture, titles=False)
        assert with_titles.count("<title>") == 160
        assert "<title>" not in without
        assert "data-u" not in without

    def test_ids_are_our_own(self):
        """Those of Vega are counters, alike in every drawing; a unit named as one is left alone."""
        raw = (
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" width="1" height="1"><defs><clipPath id="clip0">'
            '<rect width="1.23456" height="1"/></clipPath></defs><g clip-path="url(#clip0)"><path d="M0,0h1" '
            'stroke="red" aria-label="7|url(#clip0)"/><text font-size="11px">url(#clip0)</text></g></svg>'
        )
        drawing = tidy(raw, "label", "binned-2", {})
        assert 'id="binned-2-1"' in drawing
        assert 'clip-path="url(#binned-2-1)"' in drawing
        assert '<path data-u="7" d="M0,0h1" stroke="red"><title>url(#clip0)</title></path>' in drawing
        assert '<text font-size="11px">url(#clip0)</text>' in drawing
        assert 'width="1.23"' in drawing


#: Text that has broken drawings, pages or terminals.
HOSTILE = [
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "a.b",
    "[x]",
    "datum",
    "{{7*7}}",
    "${7*7}",
    "\x1b[2J",
    "a\u202eb",
    "url(#clip0)",
    "__proto__",
    "n" * 200,
    "",
    "@within",
    "7|x",
    "\ud800",
    "\ufffe\x00",
    "x\ny",
    "'; drop table mlm.runs; --",
]


def _renamed(hsb: Store, names: Sequence[str]) -> dict[str, pl.DataFrame]:
    """The tables of few units, with names, in turn, where those of users stand."""
    few = hsb.tables["groups"]["unit"].unique().sort()[:12]
    # a lone half of a pair is no text that a column can hold
    ses, sector, level, group, model, unit = (name.encode("utf-8", "replace").decode() for name in names[:6])
    others = {"ses": ses, "within(ses)": f"within({ses})", "between(ses)": f"between({ses})", few[0]: unit}
    others |= {"sector[Public]": f"{sector}[{level}]", "Public": level, "school": group, "slopes_as_outcomes": model}
    columns = (
        "term",
        "other",
        "variable",
        "predictor",
        "moderator",
        "moderator_value",
        "level",
        "group",
        "model",
        "unit",
        "lhs",
        "rhs",
    )
    tables = {}
    for table, frame in hsb.tables.items():
        is_few = pl.col("unit").is_in(few.implode()) | pl.col("unit").is_null()
        rows = frame.filter(is_few) if "unit" in frame.columns else frame
        texts = [c for c in columns if c in frame.columns and frame.schema[c] == pl.String]
        tables[table] = rows.with_columns(pl.col(texts).replace(others))
    return tables


#: Pictures that have names in all the places where pictures have any: axes, titles, labels, legends, hover texts.
NAMED = ("centering", "forest", "simple_slopes", "t_matrix", "influence", "path")


@settings(max_examples=6, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=6, max_size=6, unique=True))
@example(["m" * 30 + "\U00010c92" * 9, "\U0001f600" * 40, "\U00010c92", "語" * 40, "W" * 60, "a\u0301" * 30])
def test_whatever_names_there_are_the_drawing_is_well_formed(hsb: Store, names: list[str]) -> None:
    _check_drawings(hsb, names, NAMED)


@pytest.mark.parametrize("turn", range(0, len(HOSTILE), 5))
def test_hostile_names_are_text(hsb: Store, turn: int) -> None:
    assert _check_drawings(hsb, [*HOSTILE, *HOSTILE][turn : turn + 6], PICTURES) >= len(PICTURES) - 6


def _check_drawings(hsb: Store, names: Sequence[str], keys: Iterable[str]) -> int:
    """How many pictures there are, each a drawing of known elements alone."""
    tables, drawings = _renamed(hsb, names), 0
    for key in keys:
        picture = next(PICTURES[key](tables, Selection()), None)
        if picture is None:
            continue
        nodes = list(Xml.fromstring(picture.svg()).iter())
        tags = {node.tag.removeprefix(_SVG) for node in nodes}
        assert tags <= {"svg", "g", "rect", "path", "line", "text", "tspan", "title", "circle", "ellipse"}
        attributes = {attribute for node in nodes for attribute in node.attrib}
        assert not [attribute for attribute in attributes if attribute.startswith("on") or "href" in attribute]
        drawings += 1
    return drawings


_HASHES = """
import hashlib, pickle, sys
from mlm_ops.reports import PICTURES, Selection
tables = pickle.load(open(sys.argv[1], "rb"))
tables = {name: frame.sample(fraction=1.0, shuffle=True, seed=int(sys.argv[2])) for name, frame in tables.items()}
digest = hashlib.sha256()
for draft in PICTURES.values():
    for picture in draft(tables, Selection()):
        digest.update(repr((picture.question, picture.answer, picture.reading, picture.sql)).encode())
        digest.update(picture.numbers.write_json().encode())
        digest.update(picture.svg().encode())
        digest.update(picture.png(1.0))
print(digest.hexdigest())
"""


def test_three_processes_draw_the_same_bytes(hsb: Store, tmp_path: Path) -> None:
    """With other hashes, other numbers of threads, and rows in other orders."""
    path = tmp_path / "tables.pickle"
    path.write_bytes(pickle.dumps(hsb.tables))
    digests = set()
    for seed, threads in ((1, "1"), (2, "2"), (3, "1")):
        environment = {**os.environ, "PYTHONHASHSEED": str(seed), "POLARS_MAX_THREADS": threads}
        command = [sys.executable, "-c", _HASHES, str(path), str(seed)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


class TestFiles:
    def test_every_kind_of_file(self, hsb: Store, tmp_path: Path):
        picture = hsb.picture("decomposition")
        starts = {".svg": b"<svg ", ".png": b"\x89PNG", ".pdf": b"%PDF", ".html": b"<!doctype html>"}
        for ending, start in starts.items():
            path = picture.save(tmp_path / f"picture{ending}")
            assert path.read_bytes().startswith(start)
        assert picture.answer in (tmp_path / "picture.html").read_text()

    def test_other_endings_are_refused(self, hsb: Store, tmp_path: Path):
        with pytest.raises(MlmError) as raised:
            save_picture(hsb.picture("decomposition"), tmp_path / "picture.jpg")
        assert str(raised.value) == (
            "A picture is saved as .svg, .png, .pdf or .html. Got picture.jpg; give it one of these endings."
        )

    def test_a_folder_that_is_not_there_is_made(self, hsb: Store, tmp_path: Path):
        path = tmp_path / "new" / "picture.svg"
        assert hsb.picture("decomposition").save(path) == path
        assert [file.name for file in path.parent.iterdir()] == ["picture.svg"]

    def test_a_folder_that_cannot_be_written(self, hsb: Store, tmp_path: Path):
        (tmp_path / "file").write_text("")
        with pytest.raises(MlmError) as raised:
            hsb.picture("decomposition").save(tmp_path / "file" / "picture.svg")
        assert str(raised.value).startswith(f"The folder {tmp_path / 'file'} for picture.svg cannot be created: ")

    def test_a_png_is_as_large_as_it_is_asked_for(self, hsb: Store):
        png = draw_png(hsb.picture("decomposition"), 3.0)
        assert int.from_bytes(png[16:20], "big") == 3 * 420

    def test_notebooks_show_the_picture_or_its_answer(self, hsb: Store):
        picture = hsb.picture("decomposition")
        bundle = picture._repr_mimebundle_()
        assert bundle == {"image/svg+xml": picture.svg(), "text/plain": picture.answer}

    def test_the_painted_spec_is_vega_lite(self, hsb: Store):
        spec = hsb.picture("decomposition").painted_spec()
        assert spec["$schema"] == "https://vega.github.io/schema/vega-lite/v6.json"
        assert "@between" not in repr(spec)


def test_without_the_extra_a_sentence_says_what_to_install(hsb: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    picture: Picture = hsb.picture("decomposition")
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    for draw in (picture.svg, picture.png):
        with pytest.raises(MlmError) as raised:
            draw()
        assert str(raised.value) == (
            "Pictures need the package vl-convert-python. Install it with: pip install 'mlm-ops[report]'."
        )
    assert picture.numbers.height == 2


def test_contrast_of_the_colours() -> None:
    """Texts 4.5 and marks 3 to 1 against their ground, after WCAG 2; pale fills are labelled or have a rim."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for ground in (0, 1):
        base = luminance(COLOURS["@ground"][ground])
        for name, colours in COLOURS.items():
            lighter, darker = sorted((base, luminance(colours[ground])), reverse=True)
            contrast = (lighter + 0.05) / (darker + 0.05)
            if name in ("@ink", "@soft", "@within", "@between", "@interaction", "@upper", "@flag"):
                assert contrast >= 4.5, (name, ground, contrast)
            elif name == "@grey":
                assert contrast >= 3, (name, ground, contrast)
    assert len({colour for pair in COLOURS.values() for colour in pair}) == 2 * len(COLOURS)
