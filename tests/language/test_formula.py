"""The formula: terms against formulaic, an independent implementation; random parts against lme4's rules."""

from __future__ import annotations

import pytest
from formulaic.parser import DefaultFormulaParser
from hypothesis import given, settings
from hypothesis import strategies as st

from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import Between, Center, Column, Factor, Function, RandomBlock, Term, Within


def _term_sets(formula: str) -> list[frozenset[str]]:
    return [frozenset(t.name.split(":")) - {"(Intercept)"} for t in parse_formula(formula).fixed]


_names = st.sampled_from(["a", "b", "c", "d"])
_sums = st.recursive(
    _names,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", ":", " * "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=6,
)


@given(_sums, st.sampled_from(["", " + 0", " - 1", " + 1"]))
@settings(max_examples=200, deadline=None)
def test_terms_are_those_of_formulaic(sum_of_terms: str, intercept: str) -> None:
    text = sum_of_terms + intercept
    oracle = DefaultFormulaParser(include_intercept=True).get_terms(text)
    expected = {frozenset(str(f) for f in term.factors if str(f) != "1") for term in oracle}
    assert set(_term_sets(f"y ~ {text}")) == expected


@pytest.mark.parametrize(
    ("formula", "terms"),
    [
        ("y ~ b:a + a", ["(Intercept)", "a", "b:a"]),
        ("y ~ (a + b + c)^2 - a:c", ["(Intercept)", "a", "b", "c", "a:b", "b:c"]),
        ("y ~ a / b", ["(Intercept)", "a", "a:b"]),
        ("y ~ 0 + within(x) * w", ["within(x)", "w", "within(x):w"]),
        ("y ~ `odd name` + I(x**2) + log(x + 1)", ["(Intercept)", "`odd name`", "I(x**2)", "log(x + 1)"]),
    ],
)
def test_terms_in_order(formula: str, terms: list[str]) -> None:
    model = parse_formula(formula, levels=("school",))
    assert [t.name for t in model.fixed] == terms


def test_variables() -> None:
    model = parse_formula("log(y) ~ within(x, school) + between(x) + center(z, at=-5) + C(k, ref='b') + (1 | school)")
    assert model.outcome == Function("log", (Column("y"),))
    assert [t.variables[0] for t in model.fixed[1:]] == [
        Within(Column("x"), ("school",)),
        Between(Column("x")),
        Center(Column("z"), at=-5.0),
        Factor("k", "b"),
    ]
    assert model.default_group == ("school",)


ONE, X, Z = Term(), Term((Column("x"),)), Term((Column("z"),))


@pytest.mark.parametrize(
    ("random", "blocks"),
    [
        ("(x | g)", [RandomBlock((ONE, X), ("g",))]),
        ("(0 + x | g)", [RandomBlock((X,), ("g",))]),
        ("(x + z || g)", [RandomBlock((ONE,), ("g",)), RandomBlock((X,), ("g",)), RandomBlock((Z,), ("g",))]),
        ("(1 | a/b)", [RandomBlock((ONE,), ("a",)), RandomBlock((ONE,), ("a", "b"))]),
        ("(x | a:b)", [RandomBlock((ONE, X), ("a", "b"))]),
        ("(1 | a/b/c)", [RandomBlock((ONE,), g) for g in [("a",), ("a", "b"), ("a", "b", "c")]]),
    ],
)
def test_random_parts(random: str, blocks: list[RandomBlock]) -> None:
    assert list(parse_formula(f"y ~ 1 + {random}").random) == blocks
