"""A fit's pictures: those of an analysis of the same model, chosen by key, term and group."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.errors import MlmError
from mlm_ops.reports import PICTURES, Selection

HSB = Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv"
FORMULA = "mathach ~ within(ses) * sector + within(ses) * between(ses) + (1 + within(ses) | school)"
ANALYSIS = f"""
analysis: one
data: main.students
levels: school
models:
  slopes: {FORMULA}
diagnostics: slopes
simple_slopes:
  slopes: [{{slope: within(ses), at: sector}}, {{slope: within(ses), at: between(ses)}}]
sem:
  latent: "contextual: mathach ~ ses"
"""
#: Pictures of several models or runs, and of structural models.
OF_OTHERS = ("steps", "ladder_steps", "path", "history", "keys")
OF_ROWS = ("qq_rows", "binned")
OF_TABLES = [key for key in PICTURES if key not in (*OF_OTHERS, *OF_ROWS)]


@pytest.fixture(scope="module")
def students() -> pl.DataFrame:
    return pl.read_csv(HSB)


@pytest.fixture(scope="module")
def fit(students: pl.DataFrame) -> mlm.Fit:
    return mlm.fit(FORMULA, students)


@pytest.fixture(scope="module")
def structural(students: pl.DataFrame) -> mlm.SemFit:
    return mlm.sem("contextual: mathach ~ ses", students, cluster="school")


@pytest.fixture(scope="module")
def stored(students: pl.DataFrame, fit: mlm.Fit, structural: mlm.SemFit) -> dict[str, pl.DataFrame]:
    """Tables of an analysis of the same model, which is called by its formula as a fit is."""
    connection = duckdb.connect()
    connection.register("students", students)
    tables = fit_analysis(parse_analysis(ANALYSIS), connection).tables
    named = pl.col("model").replace({"slopes": fit.model.text, "latent": structural.model.text})
    return {name: frame.with_columns(named) for name, frame in tables.items()}


@pytest.mark.parametrize("key", [*OF_TABLES, *OF_ROWS])
def test_a_fit_has_the_pictures_of_its_tables(
    key: str, fit: mlm.Fit, stored: dict[str, pl.DataFrame], students: pl.DataFrame
) -> None:
    """Question, answer, what is drawn and the numbers, to the last digit."""
    first = next(PICTURES[key](stored, Selection()))
    picture = fit.picture(key, data=students if key in OF_ROWS else None)
    for part in ("key", "question", "answer", "reading", "sql"):
        assert getattr(picture, part) == getattr(first, part), part
    if key in OF_ROWS:
        # DuckDB adds rows up in the order in which its threads come to them
        assert_frame_equal(picture.numbers, first.numbers, rel_tol=1e-11, abs_tol=1e-11)
    else:
        assert picture.spec == first.spec
        assert picture.numbers.equals(first.numbers)


@pytest.mark.parametrize("key", ["group_sizes", "decomposition", "path"])
def test_a_structural_fit_has_those_of_its_variables(
    key: str, structural: mlm.SemFit, stored: dict[str, pl.DataFrame]
) -> None:
    picture, first = structural.picture(key), next(PICTURES[key](stored, Selection()))
    assert picture.question == first.question
    # the stored analysis has more variables than the fit, and DuckDB adds rows up in the order of its threads
    names = [name for name, kind in picture.numbers.schema.items() if not kind.is_numeric()]
    same = first.numbers.join(picture.numbers, on=names, how="semi", nulls_equal=True)
    assert_frame_equal(picture.numbers, same, check_row_order=False, rel_tol=1e-9, abs_tol=1e-9)


def test_terms_and_groups_are_chosen(fit: mlm.Fit) -> None:
    level, slope = fit.picture("caterpillar"), fit.picture("caterpillar", term="within(ses)", group="school")
    assert level.question == "Which schools depart in level?"
    assert slope.question == "Which schools depart in the slope of within(ses)?"
    effects = fit.random_effects.filter(term="within(ses)").sort("estimate", "unit")
    assert slope.numbers["estimate"].equals(effects["estimate"])
    pairs = fit.picture("caterpillar", term="within(ses)", pairwise=True).numbers
    assert (pairs["conf_high"] - pairs["estimate"]).to_list() == pytest.approx(list(1.39 * pairs["std_error"]))
    assert fit.picture("simple_slopes", term="within(ses)", at="sector").numbers["moderator"].unique().to_list() == [
        "sector"
    ]
    other = fit.picture("simple_slopes", term="within(ses)", at={"between(ses)": [-1, 1]}).numbers
    assert other["moderator_value"].unique().sort().to_list() == ["-1", "1"]
    curves = fit.curves("between(ses)", "within(ses)").filter(kind="simple_slope")
    family = fit.picture("simple_slopes", term="between(ses)").numbers
    assert sorted(family["estimate"]) == sorted(curves["estimate"])


LIST = ", ".join(OF_TABLES)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda fit: fit.picture("caterpilar"),
            f"There is no picture 'caterpilar'. Did you mean 'caterpillar'? This fit has: {LIST}.",
        ),
        (
            lambda fit: fit.picture("steps"),
            "This fit has no picture steps. It shows several models, or several runs: mlm report draws it of an "
            f"analysis. This fit has: {LIST}.",
        ),
        (
            lambda fit: fit.picture("qq_rows"),
            "This fit has no picture qq_rows. It shows residuals of rows, which a fit does not hold: give the fit's "
            f"rows as data. This fit has: {LIST}.",
        ),
        (
            lambda fit: fit.picture("caterpillar", term="ses"),
            "The picture caterpillar has no term 'ses'. It has: (Intercept), within(ses).",
        ),
        (
            lambda fit: fit.picture("caterpillar", term="withn(ses)"),
            "The picture caterpillar has no term 'withn(ses)'. Did you mean 'within(ses)'? It has: (Intercept), "
            "within(ses).",
        ),
        (
            lambda fit: fit.picture("caterpillar", group="class"),
            "The picture caterpillar has no group 'class'. It has: school.",
        ),
        (
            lambda fit: fit.picture("variance", term="within(ses)"),
            "The picture variance is not of a single term. Leave out term.",
        ),
        (
            lambda fit: fit.picture("shrinkage", pairwise=True),
            "pairwise is an option of the picture caterpillar. Leave it out for shrinkage.",
        ),
        (
            lambda fit: fit.picture("forest", at="sector"),
            "at is an option of the pictures simple_slopes and johnson_neyman, beside a term, the slope. Got at for "
            "forest without a term.",
        ),
        (
            lambda fit: fit.picture(3),
            "key is not understood. Got 3; expected the key of a picture, such as caterpillar.",
        ),
    ],
)
def test_what_a_fit_has_not_is_said(call: Callable[[Any], Any], sentence: str, fit: mlm.Fit) -> None:
    with pytest.raises(MlmError) as refusal:
        call(fit)
    assert str(refusal.value) == sentence


def test_a_structural_fit_says_which_it_has(structural: mlm.SemFit) -> None:
    with pytest.raises(MlmError) as refusal:
        structural.picture("caterpillar")
    assert str(refusal.value).startswith(
        "This fit has no picture caterpillar. This fit has: group_sizes, decomposition"
    )


def test_a_regression_has_no_pictures_of_units(students: pl.DataFrame) -> None:
    alone = mlm.fit("mathach ~ ses", students)
    with pytest.raises(MlmError, match=r"^This fit has no picture caterpillar\. This fit has: forest\.$"):
        alone.picture("caterpillar")


def test_it_is_drawn(fit: mlm.Fit) -> None:
    shown = fit.picture("caterpillar")._repr_mimebundle_()
    assert Xml.fromstring(shown["image/svg+xml"]).get("role") == "img"
    assert shown["text/plain"] == fit.picture("caterpillar").answer


def test_without_the_extra_it_says_what_to_install(fit: mlm.Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    picture = fit.picture("caterpillar")
    with pytest.raises(MlmError) as refusal:
        picture.svg()
    assert str(refusal.value) == (
        "Pictures need the package vl-convert-python. Install it with: pip install 'mlm-ops[report]'."
    )


@pytest.mark.parametrize("key", OF_TABLES)
def test_no_text_ends_outside_the_picture(key: str, fit: mlm.Fit) -> None:
    """Letters of the pictures' font are half as wide as high, and more: a text that ends outside by this is cut."""
    root = Xml.fromstring(fit.picture(key).svg())
    width = float(root.get("width", "0"))
    ends = [
        (x + 0.5 * size * len(text), text) for x, size, text in _texts(root, 0.0) if x + 0.5 * size * len(text) > width
    ]
    assert ends == []


def _texts(node: Xml.Element, x: float, anchor: str = "start") -> Iterator[tuple[float, float, str]]:
    """Where each text begins that is written to the right, its size, and its letters; an anchor is inherited."""
    move = re.match(r"translate\(([-\d.]+)", node.get("transform", ""))
    x, anchor = x + (float(move[1]) if move else 0.0), node.get("text-anchor", anchor)
    if node.tag.endswith("text") and anchor == "start" and "rotate" not in node.get("transform", ""):
        size = float((node.get("font-size") or "11").removesuffix("px"))
        yield x + float(node.get("x", "0")), size, "".join(node.itertext())
    for child in node:
        yield from _texts(child, x, anchor)
