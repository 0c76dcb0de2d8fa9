"""What readers stumbled over in pictures: numbers of axes that collide, cut names, labels upon marks."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

import polars as pl
import pytest

from mlm_ops.reports.pictures import PICTURES, marks
from mlm_ops.reports.pictures.path_diagram import path_diagram
from mlm_ops.reports.pictures.rows import Selection
from mlm_ops.reports.pictures.series import RUNS, quantities
from mlm_ops.reports.pictures.words import labels, term_text, unit, unit_name, units
from tests.reports.stores import Store
from tests.reports.test_numbers import layers

_SVG = "{http://www.w3.org/2000/svg}"


class TestAxes:
    @pytest.mark.parametrize("width", [104.0, 242.0, 360.0])
    @pytest.mark.parametrize("top", [9.0, 9e3, 6e4, 6e5, 6e6, 6e9])
    def test_numbers_never_touch(self, width: float, top: float):
        """Each is as wide as its characters, and the gap between two is at least that of one."""
        along = marks.axis_range([-top / 3, top], width=width)
        texts = [f"{tick:{along.format.replace('~', '')}}" for tick in along.ticks]
        assert len(texts) >= 1
        if len(texts) > 2:
            step = (along.ticks[1] - along.ticks[0]) / (along.high - along.low) * width
            assert step >= max(map(len, texts)) * marks.DIGIT + 8

    def test_of_large_numbers_a_narrow_panel_has_few(self, hsb: Store):
        """Salaries: 30,000, 40,000 and 50,000 stood upon each other."""
        groups = hsb.tables["groups"].with_columns(
            (pl.col(name) * 10_000 + (40_000 if name == "mean" else 0)).alias(name) for name in ("mean", "std_dev")
        )
        (picture, *_) = PICTURES["centering"]({**hsb.tables, "groups": groups}, Selection(term="ses"))
        for panel in picture.spec["hconcat"]:
            axis = panel["layer"][-1]["encoding"]["x"]["axis"]
            assert 1 <= len(axis["values"]) <= 2


class TestNames:
    def test_a_long_name_stands_in_two_lines(self):
        names = ["mood ~ within(stress)*condition + (1 | person)", "Leadership style[remote], formal"]
        assert labels(names, lines=2) == [
            "mood ~ within(stress)*\ncondition + (1 | person)",
            "Leadership\nstyle[remote], formal",
        ]

    def test_both_lines_are_drawn(self, hsb: Store):
        term = "within(ses):a_long_name_of_a_variable[Catholic]"
        errors = hsb.tables["standard_errors"].with_columns(pl.col("term").replace("within(ses):sector[Public]", term))
        picture = next(PICTURES["standard_errors"]({**hsb.tables, "standard_errors": errors}, Selection()))
        texts = [node.text for node in Xml.fromstring(picture.svg()).iter(f"{_SVG}tspan")]
        assert texts == ["within(ses):a_long_name_", "of_a_variable[Catholic]"]

    @pytest.mark.parametrize(
        ("group", "one", "several", "named"),
        [
            ("Team", "Team", "Teams", "Team 7"),
            ("schoolid", "school", "schools", "school 7"),
            ("Employee ID", "Employee", "Employees", "Employee 7"),
            ("child", "child", "children", "child 7"),
            ("company", "company", "companies", "company 7"),
            ("school:class", "group of school:class", "groups of school:class", "school:class 7"),
        ],
    )
    def test_units_are_called_as_readers_call_them(self, group: str, one: str, several: str, named: str):
        assert (unit(group), units(group), unit_name(group, "7")) == (one, several, named)

    def test_a_backtick_that_is_of_the_name_stays(self):
        assert term_text("within(```x```)") == "within(“`x`”)"
        assert term_text("a`b") == "a`b"


class TestForest:
    def test_terms_of_one_model_alone_are_one_picture(self, hsb: Store):
        """A panel each would be dots without anything to compare them with."""
        alone = {
            name: frame.filter(pl.col("model").is_null() | pl.col("model").is_in(["anova", "slopes_as_outcomes"]))
            if "model" in frame.columns
            else frame
            for name, frame in hsb.tables.items()
        }
        (picture,) = PICTURES["forest"](alone, Selection())
        assert picture.question == "Which coefficients differ from zero?"
        assert picture.answer == (
            "In “slopes_as_outcomes”, 5 of 5 intervals of coefficients exclude zero; between(ses) differs most for its "
            "standard error: 5.33 (95% interval 4.60 to 6.06)."
        )
        rows = {row["estimate"]: row for row in picture.numbers.to_dicts()}
        dots = [row for values in layers(picture.spec) for row in values if "hover" in row]
        assert len(dots) == 5
        for dot in dots:
            row = rows[dot["estimate"]]
            assert dot["middle"] == row["estimate"] / row["std_error"]
            assert dot["low"] == row["conf_low"] / row["std_error"]

    def test_a_term_of_one_model_has_no_panel_beside_those_of_several(self, hsb: Store):
        (picture,) = PICTURES["forest"](hsb.tables, Selection())
        titles = [panel["title"]["text"] for panel in picture.spec["vconcat"]]
        assert titles == ["within(ses)", "sector[Public]", "between(ses)"]
        alone = "Of one model alone, and not drawn: ses, within(ses):sector[Public] and within(ses):between(ses)."
        assert picture.reading.endswith(alone)


def test_the_two_slopes_are_named_in_a_legend(hsb: Store) -> None:
    """Beside a line, wherever it ends, units have dots."""
    picture = next(PICTURES["two_slopes"](hsb.tables, Selection()))
    lines = [layer for layer in picture.spec["layer"] if layer["mark"]["type"] == "line"]
    assert [layer["encoding"]["color"]["scale"]["domain"] for layer in lines] == [["within 2.19", "between 5.87"]] * 2
    assert [layer["data"]["values"][0]["series"] for layer in lines] == ["within 2.19", "between 5.87"]
    assert not [layer for layer in picture.spec["layer"] if layer["mark"]["type"] == "text"]


def test_lines_that_are_parallel_are_shown_once(hsb: Store) -> None:
    rows = hsb.tables["unit_lines"]
    model = rows.filter(pl.col("slope").is_not_null())["model"][0]
    one = rows.filter(model=model).with_columns(slope=pl.lit(2.0))
    frames = [one.with_columns(term=pl.lit(term)) for term in ("a", "b", "c")]
    drafts = list(PICTURES["unit_lines"]({**hsb.tables, "unit_lines": pl.concat(frames)}, Selection(model=model)))
    assert len(drafts) == 1
    varying = [*frames[:2], frames[2].with_columns(slope=pl.int_range(pl.len()).cast(pl.Float64))]
    (picture,) = PICTURES["unit_lines"]({**hsb.tables, "unit_lines": pl.concat(varying)}, Selection(model=model))
    assert picture.answer.startswith("Slopes of c run from ")


def test_a_label_leaves_a_level_arrow_whole(hsb: Store) -> None:
    """The estimate stands above it and the interval below, each with the rim of its letters clear of the line."""
    svg = path_diagram(hsb.tables["sem_parameters"].filter(level=1)).svg()
    (arrow,) = {float(y) for _, y in re.findall(r'd="M([\d.]+),([\d.]+) L', svg)}
    texts = re.findall(r'<text x="[\d.]+" y="([\d.]+)"[^>]*stroke-width="3"[^>]*>([^<]*)<', svg)
    above, below = (float(next(y for y, text in texts if text == wanted)) for wanted in ("2.19", "1.98 to 2.40"))
    # a rim of three pixels to both sides, letters of eight above their baseline
    assert above + 1.5 < arrow
    assert below - 8 - 1.5 > arrow


def test_the_autocorrelation_of_residuals_is_no_variance() -> None:
    components = pl.DataFrame(
        {
            "model": ["ar"] * 2,
            "group": ["residual"] * 2,
            "term": [None, "phi"],
            "other": [None, None],
            "estimate": [1.083, 0.226],
            "std_error": [0.030, 0.021],
            "std_dev": [1.041, None],
        },
        schema_overrides={"other": pl.String},
    )
    effects = pl.DataFrame({"model": ["ar"], "term": ["(Intercept)"], "symbol": ["g"], "level": [1]})
    tables = {"variance_components": components, "fixed_effects": effects}
    found = {one.name: one for one in quantities(tables, RUNS, tables, Selection()) if one.kind == "variance"}
    assert list(found) == ["the residual variance", "the autocorrelation of residuals"]
    row = found["the autocorrelation of residuals"].shown(components).to_dicts()[0]
    assert (row["conf_low"], row["conf_high"]) == pytest.approx((0.226 - 1.96 * 0.021, 0.226 + 1.96 * 0.021), abs=1e-5)
