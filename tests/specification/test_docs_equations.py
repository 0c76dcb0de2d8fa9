"""Every example of docs/equations.md: what it says is printed is printed, and its notations are one model."""

from __future__ import annotations

import re

import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.level_equations import parse_model
from tests.specification.examples import ROOT, blocks, check_printed, page

MODELS = [text for _, text in blocks("equations", "yaml")]
ROWS = re.findall(r"^\| (`y ~ .*?) \| (.*?) \| `(.*)` \|$", page("equations"), flags=re.MULTILINE)


def test_what_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_printed(blocks("equations", "python", "text"))


@pytest.mark.parametrize("block", MODELS)
def test_models_of_an_analysis(block: str) -> None:
    indented = "".join(f"    {line}\n" for line in block.splitlines())
    model = parse_analysis(f"analysis: a\ndata: t\nlevels: school\nmodels:\n  m:\n{indented}").compiled_models["m"]
    assert model.random


def test_three_levels() -> None:
    (block,) = [text for text in MODELS if "schoolid" in text]
    text = block.partition("\n")[2]
    assert parse_model(text, ("childid", "schoolid")).text == (
        "math ~ 1 + year + female + lowinc + year:female + year:lowinc + year:female:lowinc + (1 + year | childid) + "
        "(1 + year + female | schoolid)"
    )


@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_the_table_is_one_model(row: tuple[str, str, str]) -> None:
    level_1, level_2, formula = row
    lines = "".join(f"\n  {line}" for line in re.findall(r"`(.*?)`", level_2))
    model = parse_model(f"level 1: {level_1.strip('`')}\nlevel 2:{lines}", ("g",))
    assert model == parse_formula(formula.replace("\\|", "|"), ("g",))


def test_the_table_was_found() -> None:
    assert len(ROWS) == 7
