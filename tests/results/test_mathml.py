"""MathML: well-formed whatever the names are, and the symbols of the LaTeX writer in its order."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mlm_ops as mlm
from mlm_ops.language.options import EquationForm, EquationFormat
from mlm_ops.results.equations import WRITERS
from mlm_ops.results.equations.statements import (
    Association,
    Distribution,
    Equation,
    Heading,
    Symbol,
    VariableName,
    Vector,
)
from mlm_ops.results.equations.writers import GREEK
from mlm_ops.results.words import visible
from tests.specification.reference import reference

MATH = "{http://www.w3.org/1998/Math/MathML}"
#: Elements and attributes of MathML Core that we use; nothing of it links to anything or runs.
ELEMENTS = {"math", "mtable", "mtr", "mtd", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msub", "msup", "msubsup"}
ATTRIBUTES = {"display", "class", "columnspan", "width", "form", "separator", "stretchy", "lspace", "rspace"}
#: Two and three levels, crossed factors, a T with empty cells, slopes of a factor, no groups; with options of the fit.
CASES: dict[str, dict[str, Any]] = {
    "hsb_cross_level": {},
    "sim3_nested": {},
    "penicillin_reml": {},
    "slopes5_blocks": {},
    "machines_factor_slopes": {},
    "ols_hsb": {},
    "nlme_simar1_both": {"residual": "by(arm) + ar1(t)"},
    "nlme_simw_varfixed": {"residual": "fixed(v)"},
    "weights_ri": {"weights": "w"},
}


@cache
def fit(name: str) -> mlm.Fit:
    return mlm.fit(
        reference.case(name)["formula"], reference.table(name), connection=reference.connection(), **CASES[name]
    )


def latex_text(latex: str) -> str:
    """What a reader of the LaTeX sees, letter by letter and without blanks."""
    for command, letter in {r"\sigma^2": "σ2", r"\sim": "∼", r"\top": "⊤", r"\prime": "′"}.items():
        latex = latex.replace(command, letter)
    for name, letter in GREEK.items():
        latex = re.sub(rf"\\{name}(?![a-z])", letter, latex)
    latex = re.sub(r"\\(begin|end)\{\w+\*?\}", lambda m: "()"[m[1] == "end"] if "pmatrix" in m[0] else "", latex)
    latex = re.sub(r"\\(text|boldsymbol|operatorname|quad|,)", "", latex).replace("\\\\", "")
    latex = re.sub(r"(?<!\\)[{}&^_]", "", latex)
    return re.sub(r"\s|\\", "", latex).replace("-", "−")


def mathml_text(text: str) -> str:
    """The same of MathML; subscripts and superscripts stand in the order of LaTeX, foot first but for sigma2."""
    root = ElementTree.fromstring(text)
    for scripts in root.iter(f"{MATH}msubsup"):
        base, foot, head = scripts
        if base.tag == f"{MATH}mtext" or base.text == "σ":
            scripts[:] = [base, head, foot]
    # bold letters to plain ones
    joined = unicodedata.normalize("NFKC", "".join(root.itertext()))
    return re.sub(r"[\s⁢⁡]", "", joined).replace("-", "−")


@pytest.mark.parametrize("estimates", [False, True])
@pytest.mark.parametrize("form", get_args(EquationForm))
@pytest.mark.parametrize("case", CASES)
def test_symbols_are_those_of_latex_in_its_order(case: str, form: Any, estimates: bool) -> None:
    fitted = fit(case)
    mathml = fitted.equations(form, "mathml", estimates=estimates)
    assert mathml_text(mathml) == latex_text(fitted.equations(form, "latex", estimates=estimates))
    root = ElementTree.fromstring(mathml)
    assert {element.tag.removeprefix(MATH) for element in root.iter()} <= ELEMENTS
    assert {name for element in root.iter() for name in element.attrib} <= ATTRIBUTES
    # two columns, so that the signs stand under each other
    assert {len(row) for row in root[0]} == {2}


@cache
def structural() -> mlm.SemFit:
    rng = np.random.default_rng(7)
    g = np.arange(300) % 30
    x = rng.normal(size=300) + rng.normal(size=30)[g]
    m = 0.5 * x + rng.normal(size=300) + rng.normal(size=30)[g]
    y = 0.4 * m + rng.normal(size=300) + rng.normal(size=30)[g]
    text = """
        level: 1
          m ~ a*x
          y ~ b*m + x
        level: 2
          m ~ x
          y ~ m + x
        indirect := a*b
    """
    return mlm.sem(text, pl.DataFrame({"x": x, "m": m, "y": y, "g": g}), cluster="g")


def test_structural_models_have_it_too() -> None:
    fitted = structural()
    mathml = fitted.equations("mathml")
    assert mathml_text(mathml) == latex_text(fitted.equations("latex"))
    headings = [row[0][0].text for row in ElementTree.fromstring(mathml)[0] if len(row) == 1]
    assert headings == ["Level 1 (within clusters)", "Level 2 (between clusters)", "Defined"]


@settings(max_examples=60, deadline=None)
@given(name=st.text(min_size=1, max_size=30), stratum=st.text(max_size=8))
def test_any_name_is_text_and_the_document_well_formed(name: str, stratum: str) -> None:
    page = [
        Heading(name),
        Equation(
            VariableName(name, "ij", "W"),
            ((Symbol("beta", "0", "j"), VariableName(name, "i'j")), (Symbol("e", of=name),)),
            1,
        ),
        Vector(Symbol("x", "", "ij", True, True), ((VariableName(name),),), name),
        Distribution((Symbol("e", "", "ij"),), (Symbol("sigma2", stratum),), note=name),
        Association("Cov", Symbol("e", of=name), Symbol("u"), Symbol("psi", "12"), name),
    ]
    root = ElementTree.fromstring(WRITERS["mathml"].page(page))
    assert {element.tag.removeprefix(MATH) for element in root.iter()} <= ELEMENTS
    texts = [element.text or "" for element in root.iter(f"{MATH}mtext")]
    # what is put down is what is read, whatever it looks like
    assert texts.count(visible(name)) >= 6


def test_a_hostile_name() -> None:
    name = "</math><script>alert(1)</script>&\x1b[2J\u202e\ufffe"
    data = pl.DataFrame({"y": [1.0, 2.5, 3.0, 4.5, 5.0, 7.0] * 4, name: [0.1, 1.0, 2.0, 0.5, 3.0, 2.5] * 4})
    text = mlm.fit(f"y ~ `{name}`", data).equations(format="mathml")
    assert "&lt;/math&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;�[2J��" in text
    ElementTree.fromstring(text)


def test_the_formats_stand_once() -> None:
    assert get_args(EquationFormat) == tuple(WRITERS)


def test_no_style_and_nothing_from_elsewhere() -> None:
    text = Path(WRITERS["mathml"].__class__.__module__.replace(".", "/") + ".py").read_text()
    assert "style=" not in text
    assert set(re.findall(r"https?://[^\"]+", text)) == {"http://www.w3.org/1998/Math/MathML"}
