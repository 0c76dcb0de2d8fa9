"""The first analysis file: names of columns that a formula takes as they are, and those that need backticks."""

from __future__ import annotations

import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.starter.analysis_file import analysis_text, formulas
from mlm_ops.analyses.starter.guess import Guess
from mlm_ops.language.model import columns_of


def guess_of(outcome: str, x: str, school: str) -> Guess:
    return Guess(
        levels=(school,),
        outcome=outcome,
        varying=(x,),
        constant=(),
        factors=(),
        n_rows=20,
        n_groups=(5,),
        redundant=(),
        balanced=frozenset(),
    )


@pytest.mark.parametrize(
    ("names", "formula"),
    [
        (("y", "x", "g"), "y ~ within(x) + between(x) + (1 | g)"),
        (("größe", "x.1", "g"), "größe ~ within(x.1) + between(x.1) + (1 | g)"),
        (
            ("test score", "1x", "a`b"),
            "`test score` ~ within(`1x`) + between(`1x`) + (1 | `a``b`)",
        ),
    ],
)
def test_names_of_columns(names: tuple[str, str, str], formula: str) -> None:
    guess = guess_of(*names)
    assert formulas(guess)["contextual"] == formula
    analysis = parse_analysis(analysis_text("first", "rows", guess))
    model = analysis.compiled_models["contextual"]
    assert {name for variable in model.variables for name in columns_of(variable)} == set(names[:2])
    assert (model.groups, analysis.level_columns) == (((names[2],),), (names[2],))
