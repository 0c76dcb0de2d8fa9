"""A centering mode is a class in `language.model`; the rest of the package reads its attributes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mlm_ops
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import CENTERINGS, Centering, GrandMean, GroupMean, label, walk

PACKAGE = Path(mlm_ops.__file__).parent


@pytest.mark.parametrize(
    ("text", "keeps_value", "mean", "groups"),
    [
        ("within(x)", True, GroupMean(None, None), ()),
        ("within(x, school)", True, GroupMean(("school",), None), (("school",),)),
        ("between(x, school, over=room)", False, GroupMean(("school",), ("room",)), (("school",), ("room",))),
        ("between(x)", False, GroupMean(None, None), ()),
        ("center(x)", True, GrandMean(None), ()),
        ("center(x, over=school)", True, GrandMean(("school",)), (("school",),)),
        ("center(x, at=50)", True, 50.0, ()),
        ("within(between(x, room), school)", True, GroupMean(("school",), None), (("school",),)),
    ],
)
def test_attributes_of_a_mode(
    text: str, keeps_value: bool, mean: GroupMean | GrandMean | float, groups: tuple[tuple[str, ...], ...]
) -> None:
    (variable,) = parse_formula(f"y ~ {text} + (1 | g)").predictors
    assert isinstance(variable, Centering)
    assert (variable.keeps_value, variable.mean, variable.named_groups) == (keeps_value, mean, groups)
    assert label(variable) == text
    assert CENTERINGS[variable.word] is type(variable)
    assert len(list(walk(variable))) == 2 + text.count("(") - 1


def test_modes_are_told_apart_nowhere_else() -> None:
    """Other files that name a mode: deviations from group means, versions of a model, symbols, reference values."""
    names = {mode.__name__ for mode in CENTERINGS.values()}
    names_by_file = {
        str(path.relative_to(PACKAGE)): modes
        for path in PACKAGE.rglob("*.py")
        if "structural" not in path.parts
        and (modes := sorted({n.id for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)} & names))
    }
    assert names_by_file.pop("language/model.py") == sorted(names)
    assert names_by_file == {
        "inference/effect_sizes/contextual.py": ["Within"],
        # a model raw, and centered in every way
        "language/recentering.py": ["Between", "Center", "Within"],
        "results/equations/centered.py": ["Between", "Within"],
        # reference values: in the centered table, and outside the data
        "analyses/centered.py": ["Center"],
        "moments/needs.py": ["Center"],
        "results/notes.py": ["Center"],
    }
