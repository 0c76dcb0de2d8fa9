"""Texts: formulas, level equations, structural models, analysis files; correct ones, broken in a few places."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.structures import parse_residual
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.ready_models import expand_ready_model
from mlm_ops.structural.language.syntax import parse_sem
from tests.fuzz.check import faults, mutated

PIECES = [
    *"~+-*/:|()[]{}^,.=<>`'\"#\\ \n\t0129xyg_@$%&!?;é",
    *("within(", "between(", "center(", "C(", "poly(", "I(", "log(", "random", "level 1:", "level 2:", "ref=", "over="),
    *(" | ", " || ", "**", "1e308", "1e-400", "99999999999999999999", "-1", "0 + ", "\0", "\u202e", "\ud800", "\u0661"),
    *(
        "=~",
        "~~",
        ":=",
        "~1",
        "equal(",
        "start(",
        "NA*",
        "rv(",
        "null",
        "true",
        "- ",
        ": ",
        "&a ",
        "*a",
        "!!python/",
        "<<: ",
    ),
]
FORMULAS = [
    "y ~ x + (1 | g)",
    "y ~ 0 + within(x, g) * between(x, g) + center(w, at=3) + (1 + x || g/h)",
    "log(y) ~ poly(x, 3) + C(f, ref='b') + I(x**2 / (1 - w)) + (0 + x | g:h)",
    "y ~ (a + b + c)^2 - a:b + within(between(x, h), g) + (1 | g) + (1 | h)",
]
LEVELS = [
    "level 1: y ~ within(x)\nlevel 2:\n  intercept: between(x) + w + random\n  within(x): w + random",
    "level 1: y ~ x\nlevel 2:\n  intercept: 0 + w\nlevel 3:\n  intercept: random(block=1)\n  w: random(diagonal)",
]
SEMS = [
    "level: 1\n f =~ y1 + a*y2 + start(0.5)*y3\n y1 ~~ y2\nlevel: 2\n f =~ y1 + y2\n y1 ~ 0*1\n c := a^2 / (1 - a)",
    "contextual: y ~ x",
    "mediation 1-1-1: x -> m -> y",
    "cfa: f =~ y1 + y2 + y3",
    "mediation 1-1-1 random: x -> m -> y by first(w) | z + between(v)",
    "mediation 2-1-1-1: x -> m -> n -> y | within(z)",
    "contextual: y ~ (f =~ x1 + x2) + u",
    "cfa scalar: f =~ NA*y1 + a*y2 + y3; f ~~ 1*f | w",
    "growth: y ~ time + time2 by w",
]
ANALYSES = [
    "analysis: a\ndata: t\nlevels: [h, g]\nmodels:\n  m: y ~ x + (1 | g)\n  n: {formula: y ~ x, estimator: ml}\n"
    "compare: [m, n]\nhistory: {keep_runs: 3, alpha: 0.01}\nmin_publish_n: 5\ncovariance: {g: diagonal}\n",
    "analysis: a\ndata: select * from t\nwhere: x > 3\nlevels: g\nmodels:\n  m:\n    level 1: y ~ x\n    level 2:\n"
    "      intercept: w + random\nsimple_slopes: {m: [{slope: x, at: w}]}\ncontrasts: {m: {c: {x: 1, w: -1}}}\n",
    "analysis: a\ndata: t.csv\nmodels: {m: y ~ x + (1 | g)}\nstrategy: build_up\nstart: m\n"
    "candidates: {fixed: [w, z]}\nkeep: p < 0.05\nsem: {s: {model: 'contextual: y ~ x', cluster: g}}\n",
]


def texts(of: list[str], n: int, seed: int) -> Iterator[str]:
    """So many broken texts."""
    chance = random.Random(seed)
    for _ in range(n):
        yield mutated(chance.choice(of), PIECES, chance)


def large(part: str, join: str, sizes: tuple[int, ...] = (100, 3_000, 30_000)) -> Iterator[str]:
    """One part over and over: what takes quadratic time is seen."""
    for size in sizes:
        yield join.join(part.format(i=i) for i in range(size))


def formula(text: str) -> None:
    parse_model(text, ("g",))


def structural(text: str) -> None:
    parameter_table(parse_sem(expand_ready_model(text)))


def analysis(text: str) -> None:
    _ = parse_analysis(text).models_to_scan


def residual(text: str) -> None:
    parse_residual(text)


KINDS = {
    "formula": (FORMULAS, formula),
    "levels": (LEVELS, formula),
    "sem": (SEMS, structural),
    "analysis": (ANALYSES, analysis),
    "residual": (["by(sex) + ar1(t) + fixed(w)"], residual),
}


@pytest.mark.parametrize("kind", KINDS)
def test_some_broken_texts(kind: str) -> None:
    of, read = KINDS[kind]
    assert faults(texts(of, 150, 1), read) == []


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", KINDS)
def test_broken_texts(kind: str) -> None:
    of, read = KINDS[kind]
    assert faults(texts(of, 4_000, 2), read) == []


@pytest.mark.fuzz
@pytest.mark.parametrize(
    "text",
    [
        *large("x{i}", " + "),
        *large("x{i}", " * "),
        *large("x{i}", ":"),
        *large("(1 | g{i})", " + "),
        *large("(", ""),
        *large("-", " "),
        *large("x{i} - x{i}", " + "),
        *large(" ", ""),
        *large("`", ""),
    ],
    ids=str.__len__,
)
def test_long_formulas(text: str) -> None:
    assert faults([f"y ~ {text}", f"y ~ x + (1 | {text})", f"y ~ x{text}"], formula) == []


HEAD = "analysis: a\ndata: t\nmodels: {m: y ~ x + (1 | g)}\n"


def long_analyses(size: int) -> dict[str, str]:
    """Files with many keys, names or parts."""
    many = range(size)
    return {
        "keys": HEAD + "".join(f"k{i}: 1\n" for i in many),
        "levels": HEAD + f"levels: [{', '.join(f'l{i}' for i in many)}]\n",
        "models": "analysis: a\ndata: t\nmodels:\n" + "".join(f"  m{i}: y ~ x\n" for i in many),
        "broken models": "analysis: a\ndata: t\nmodels:\n" + "".join(f"  m{i}: {{x: 1}}\n" for i in many),
        "compare": HEAD + f"compare: [{', '.join(f'q{i}' for i in many)}]\n",
        "covariance": HEAD + f"covariance: {{{', '.join(f'k{i}: diagonal' for i in many)}}}\n",
        "candidates": HEAD
        + f"strategy: build_up\nstart: m\ncandidates: {{fixed: [{', '.join(f'z{i}' for i in many)}]}}\n",
        "residual": HEAD + f"residual: '{' + '.join(f'by(x{i})' for i in many)}'\n",
        "equations": "analysis: a\ndata: t\nlevels: g\nmodels:\n  m:\n    level 1: 'y ~ "
        + " + ".join(f"x{i}" for i in many)
        + "'\n    level 2:\n"
        + "".join(f"      x{i}: w + random\n" for i in many),
        "nested": HEAD + "covariance: " + "[" * size + "]" * size,
        "digits": HEAD + "min_publish_n: " + "9" * size,
    }


@pytest.mark.parametrize("what", long_analyses(1))
def test_analyses_of_some_length(what: str) -> None:
    assert faults([long_analyses(300)[what]], analysis) == []


@pytest.mark.fuzz
@pytest.mark.parametrize("what", long_analyses(1))
def test_long_analyses(what: str) -> None:
    assert faults([long_analyses(size)[what] for size in (3_000, 50_000)], analysis) == []
