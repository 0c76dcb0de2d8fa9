"""The notebook in docs/notebooks runs, its prose has the numbers of other programs, and none of them is typed."""

from __future__ import annotations

import ast
import importlib.util
import re
from html import unescape
from pathlib import Path

import pytest

from tests.specification.examples import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "cross_level_interaction.py"
#: Numbers that are words: the names of parameters, the share that an interval covers.
WORDS = re.compile(r"tau_\d\d|95%|`[^`]*`")


@pytest.fixture(scope="module")
def shown() -> list[str]:
    """What each cell shows, as text; pictures are left as they are."""
    spec = importlib.util.spec_from_file_location("notebook", NOTEBOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    outputs, _ = module.app.run()
    texts = [unescape(output.text) for output in outputs if output is not None]
    return [" ".join(re.sub(r"<(?!/?svg)[^>]+>", " ", text).split()) for text in texts]


def test_it_leads_from_the_file_to_the_answer(shown):
    headings = (
        "The file",
        "alike",
        "Within schools and between",
        "same in every school",
        "What is it",
        "For whom",
        "Where",
    )
    assert len(shown) == len(headings)
    assert [heading for heading, text in zip(headings, shown, strict=True) if heading not in text] == []
    assert [text.count("<svg") for text in shown] == [0, 0, 1, 1, 0, 1, 1]


def test_the_numbers_are_those_of_lme4(shown):
    """Of lme4 1.1 (REML, bobyqa) on the same file: lmer with ave(ses, school), disclim minus its mean over rows.

    The simple slopes are fixef["w"] + fixef["w:disclim"] * (mean ± sd over schools), the p value half and half of
    pchisq with one and two degrees of freedom.
    """
    text = " ".join(shown)
    numbers = [
        "7,185 students in 160 schools",
        "tau_00 = 8.61",
        "sigma² = 39.15",
        "ICC = 0.180",
        "predicted 2.19 points more",
        "predicted 5.87 points more",
        "falls by 10.93 (p = 0.0026;",
        "tau_11 = 0.69",
        "is 2.14 (95% interval",
        "grows by 0.60 (95% interval",
        "t = 4.67 on",
        "falls from 0.69 to 0.41",
        "is worth 1.62 (95% interval",
        "one above it 2.80 (95% interval",
        "There lie 100% of the schools",
    ]
    assert [number for number in numbers if number not in text] == []


def _prose(path: Path) -> list[str]:
    """The texts that the notebook gives to mo.md, without what is computed in them."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    texts = []
    for call in calls:
        if ast.unparse(call.func) == "mo.md":
            pieces = getattr(call.args[0], "values", [call.args[0]])
            texts.append("".join(str(piece.value) for piece in pieces if isinstance(piece, ast.Constant)))
    return texts


def test_no_number_is_typed():
    prose = [text for text in _prose(NOTEBOOK) if text]
    assert len(prose) >= 8
    assert [number for text in prose for number in re.findall(r"\d[\d.,]*", WORDS.sub("", text))] == []
