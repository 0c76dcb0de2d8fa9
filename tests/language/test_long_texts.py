"""Texts are parsed in time that grows with their length alone, and what is nested too deep has its sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from mlm_ops.errors import FormulaError
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.structures import parse_residual
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.ready_models import expand_ready_model
from mlm_ops.structural.language.syntax import parse_sem

SEM = "level: 1\n y ~ a*x\nlevel: 2\n y ~ w"
LEVELS = "level 1: y ~ x\nlevel 2:\n  intercept: random"


def structural(text: str) -> Any:
    return parameter_table(parse_sem(expand_ready_model(text)))


def levels(text: str) -> Any:
    return parse_model(text, ("g",))


def residual(text: str) -> Any:
    try:
        return parse_residual(text)
    except FormulaError:
        return None  # by(…) twice, said after the whole was read


LONG: dict[str, tuple[Callable[[str], Any], Callable[[int], str]]] = {
    "sem, blanks behind": (structural, lambda n: SEM + " " * n),
    "sem, newlines behind": (structural, lambda n: SEM + "\n" * n),
    "sem, comment signs behind": (structural, lambda n: SEM + "#" * n),
    "sem, comments and a fault": (structural, lambda n: SEM + "#" * n + "\n@"),
    "sem, one line many times": (structural, lambda n: SEM + "\n y ~ w" * n),
    "sem, many variables": (structural, lambda n: SEM + "".join(f"\n y ~ w{i}" for i in range(n))),
    "sem, one outcome many times": (structural, lambda n: f"level: 1\n {'+'.join('y' * n)} ~ {'+'.join('x' * n)}"),
    "sem, parentheses": (structural, lambda n: f"{SEM}\nd := {'(' * n}a{')' * n}"),
    "sem, signs": (structural, lambda n: f"{SEM}\nd := {'-' * n}a"),
    "residual, a long sum": (residual, lambda n: "by(x)" + " + by(x)" * n),
    "sem, a long sum": (structural, lambda n: f"{SEM}\nd := a{'+a' * n}"),
    "sem, many definitions": (structural, lambda n: SEM + "".join(f"\nd{i} := a" for i in range(n))),
    "sem, quotation marks": (structural, lambda n: SEM + '"' * n),
    "ready model, blanks behind": (structural, lambda n: "contextual: y ~ x" + " " * n),
    "ready model, comment signs": (structural, lambda n: "cfa: f =~ a + b + c " + "#" * n),
    "ready model, blanks before": (structural, lambda n: "contextual" + " " * n + "x"),
    "ready model, many mediators": (
        structural,
        lambda n: f"mediation 1-1-1: x -> {' + '.join(f'm{i}' for i in range(n))} -> y",
    ),
    "ready model, many covariates": (
        structural,
        lambda n: f"growth: y ~ t | {' + '.join(f'z{i}' for i in range(n))}",
    ),
    "formula, blanks behind": (parse_formula, lambda n: "y ~ x" + " " * n),
    "formula, comment signs": (parse_formula, lambda n: "y ~ x" + "#" * n),
    "formula, many terms": (parse_formula, lambda n: "y ~ x" + "".join(f" +\n x{i}" for i in range(n))),
    "formula, parentheses": (parse_formula, lambda n: f"y ~ {'(' * n}x{')' * n}"),
    "formula, signs": (parse_formula, lambda n: f"y ~ I({'-' * n}x)"),
    "formula, a long sum in I()": (parse_formula, lambda n: f"y ~ I(x{'+x' * n})"),
    "formula, backticks": (parse_formula, lambda n: "y ~ " + "`" * (2 * n + 1)),
    "level equations, blanks behind": (levels, lambda n: LEVELS + " " * n),
    "level equations, newlines behind": (levels, lambda n: LEVELS + "\n" * n),
    "level equations, blanks and no colon": (levels, lambda n: f"{LEVELS}\n  a{' ' * n}b"),
    "level equations, backticks and no colon": (levels, lambda n: f"{LEVELS}\n  {'`a` ' * n}"),
    "level equations, many terms": (levels, lambda n: LEVELS + "".join(f" + w{i}" for i in range(n))),
}


def seconds(parse: Callable[[str], Any], text: str) -> float:
    message = ""
    start = time.process_time()
    try:
        parse(text)
    except FormulaError as error:
        message = str(error)
    duration = time.process_time() - start
    # a place in a long text, and not all of it
    assert len(message) < 2_000
    return duration


@pytest.mark.parametrize("name", LONG)
def test_ten_thousand_of_anything_are_parsed_at_once(name: str) -> None:
    """Quadratic time was 10 s and more for most of these; linear time is below half a second on a slow machine."""
    parse, text = LONG[name]
    assert seconds(parse, text(10_000)) < 3


@pytest.mark.fuzz
@pytest.mark.parametrize("name", LONG)
def test_ten_times_the_text_takes_about_ten_times_as_long(name: str) -> None:
    parse, text = LONG[name]
    shorter = min(seconds(parse, text(10_000)) for _ in range(3))
    assert seconds(parse, text(100_000)) < 30 * shorter + 0.5


def test_a_long_text_is_shown_around_the_place() -> None:
    with pytest.raises(FormulaError) as error:
        parse_formula("y ~ " + " + ".join(f"x{i}" for i in range(400)) + " + $ + z")
    _, shown, caret = str(error.value).split("\n")
    assert shown.startswith("  … ")
    assert shown[caret.index("^")] == "$"
    assert len(shown) < 510
