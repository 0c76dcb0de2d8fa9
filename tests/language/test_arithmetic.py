"""Arithmetic in formulas and in definitions of structural models has R's precedence, whoever evaluates it."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import FormulaError
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.model import Function, label
from mlm_ops.structural.algebra.derived import evaluate_definitions
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.warehouse.sql import expression

VALUES = {"a": 1.5, "b": -2.0, "c": 3.0}
#: Expressions and what R 4.2 makes of them: a <- 1.5; b <- -2; c <- 3; print(eval(parse(text = …)), digits = 17).
IN_R: list[tuple[str, float]] = [
    ("-2^2", -4.0),
    ("2^-1*a", 0.75),
    ("a^-1/2", 0.3333333333333333),
    ("8/-2*3", -12.0),
    ("2^3^2", 512.0),
    ("-2^-2", -0.25),
    ("2^-1^2", 0.5),
    ("-a^2*c", -6.75),
    ("a*-b*c", 9.0),
    ("a/-b/c", 0.25),
    ("a - -b", -0.5),
    ("a--b", -0.5),
    ("- -a", 1.5),
    ("-(-a)", 1.5),
    ("a+-b*c", 7.5),
    ("a*b+c", 0.0),
    ("a+b*c", -4.5),
    ("a-b-c", 0.5),
    ("a-(b-c)", 6.5),
    ("a/b/c", -0.25),
    ("a/(b/c)", -2.25),
    ("a/b*c", -2.25),
    ("a*b/c", -1.0),
    ("2^a*c", 8.485281374238571),
    ("(2^a)^c", 22.627416997969526),
    ("2^(a*c)", 22.627416997969522),
    ("-a*b", 3.0),
    ("-(a*b)", 3.0),
    ("-a/b", 0.75),
    ("-c^2", -9.0),
    ("(-c)^2", 9.0),
    ("c^-2", 0.1111111111111111),
    ("c^-a", 0.19245008972987526),
    ("c^--2", 9.0),
    ("1/-c^2", -0.1111111111111111),
    ("1/c^-2*a", 13.5),
    ("2*-a^2", -4.5),
    ("a*b^2", 6.0),
    ("a*-b^2", -6.0),
    ("-a-b", 0.5),
    ("-a+b", -3.5),
    ("-(a+b)*c", 1.5),
    ("a^2/c-b*-c", -5.25),
    ("+a", 1.5),
    ("+a-+b", 3.5),
    ("2^-b*a", 6.0),
    ("2^-b/4", 1.0),
    ("((a))", 1.5),
    ("1-2*3-4/5", -5.8),
    ("exp(-a)*2", 0.44626032029685964),
    ("log(c)^2", 1.206948960812582),
    ("-abs(b)", -2.0),
    ("sqrt(c*3)^-1*a", 0.5),
    ("exp(-a^2/2)", 0.32465246735834974),
]


def by_definition(text: str) -> float:
    """The value of a definition."""
    model = parse_sem(f"level: 1\n y ~ a*x + b*z + c*u\nlevel: 2\n y ~~ y\nd := {text}")
    with np.errstate(all="ignore"):
        return float(
            evaluate_definitions(parameter_table(model).definitions, {k: np.float64(v) for k, v in VALUES.items()})[0]
        )


def by_sql(text: str, connection: duckdb.DuckDBPyConnection) -> float | None:
    """The value of ``I(text)``, rendered to SQL and run."""
    variable = parse_formula(f"y ~ I({text})").fixed[-1].variables[0]
    assert isinstance(variable, Function)
    columns = ", ".join(f"cast({v} as double) as {k}" for k, v in VALUES.items())
    row = connection.execute(f"select {expression(variable)} from (select {columns})").fetchone()
    assert row is not None
    return row[0]


def expressions(seed: int, depth: int = 4) -> Iterator[str]:
    """Expressions without end, with as few parentheses as their trees need, and some more."""
    rng = random.Random(seed)
    tight = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}

    def tree(depth_left: int) -> tuple[str, int]:
        """Text and how tightly its top binds; a sign binds 3, an atom 9."""
        kind = rng.random()
        if depth_left == 0 or kind < 0.2:
            return rng.choice(["a", "b", "c", "2", "0.5", "3"]), 9
        if kind < 0.4:
            inner, binds = tree(depth_left - 1)
            return ("-" + inner if binds >= 3 else f"-({inner})"), 3
        if kind < 0.5:
            return f"({tree(depth_left - 1)[0]})", 9
        operator = rng.choice("+-*/^")
        (one, first), (two, second) = tree(depth_left - 1), tree(depth_left - 1)
        own = tight[operator]
        # a power joins from the right and takes a sign there; the others join from the left
        one = one if (first > own if operator == "^" else first >= own) else f"({one})"
        two = two if (second >= 3 if operator == "^" else second > own) else f"({two})"
        space = rng.choice(["", " "])
        return f"{one}{space}{operator}{space}{two}", own

    while True:
        yield tree(depth)[0]


def in_python(text: str) -> float | None:
    """Python's value; None where it has none that is real and finite."""
    try:
        value = eval(text.replace("^", "**"), {}, dict(VALUES))
    except (ZeroDivisionError, OverflowError):
        return None
    return None if isinstance(value, complex) or not math.isfinite(value) or abs(value) > 1e100 else float(value)


@pytest.mark.parametrize(("text", "value"), IN_R)
def test_arithmetic_is_that_of_r(text: str, value: float) -> None:
    assert by_definition(text) == pytest.approx(value, rel=1e-14)
    assert by_definition(text.replace("^", "**")) == pytest.approx(value, rel=1e-14)
    with duckdb.connect() as connection:
        assert by_sql(text, connection) == pytest.approx(value, rel=1e-14)


def check_expressions(seed: int, count: int) -> None:
    """Definitions, SQL and Python agree on expressions, and so does what the label of I() says."""
    count_so_far = 0
    with duckdb.connect() as connection:
        for text in expressions(seed):
            value = in_python(text)
            # an intermediate that is infinite or undefined is null in SQL, whatever becomes of it afterwards
            if value is None:
                continue
            count_so_far += 1
            # sums that cancel keep fewer digits than their terms
            assert by_definition(text) == pytest.approx(value, rel=1e-9, abs=1e-9), text
            assert by_sql(text, connection) == pytest.approx(value, rel=1e-9, abs=1e-9), text
            text_of_label = label(parse_formula(f"y ~ I({text})").fixed[-1].variables[0])
            assert in_python(text_of_label[1:]) == pytest.approx(value, rel=1e-9, abs=1e-9), text
            if count_so_far == count:
                return


def test_generated_arithmetic_is_that_of_python() -> None:
    check_expressions(1, 300)


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(2, 12))
def test_much_generated_arithmetic_is_that_of_python(seed: int) -> None:
    check_expressions(seed, 2_000)


def test_a_sign_in_a_divisor_divides_by_what_follows_it_alone() -> None:
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=200), rng.uniform(1, 3, size=200)
    rows = pl.DataFrame({"x": x, "z": z, "y": x + rng.normal(size=200)})
    estimate = mlm.fit("y ~ I(x / -z * 2)", rows).fixed_effects["estimate"][1]
    # least squares by hand
    column = x / -z * 2
    slope = np.polyfit(column, rows["y"].to_numpy(), 1)[0]
    assert estimate == pytest.approx(slope, rel=1e-10)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        # attr(terms(…), "term.labels") of R 4.2
        ("y ~ -a:b", []),
        ("y ~ a*b - a:b", ["a", "b"]),
        ("y ~ -a", []),
        ("y ~ -a + a", ["a"]),
        ("y ~ -a*b", []),
        ("y ~ x - (a + b)", ["x"]),
        ("y ~ -a:b + a*b", ["a", "b", "a:b"]),
    ],
)
def test_a_sign_before_terms_is_that_of_r(text: str, terms: list[str]) -> None:
    assert [term.name for term in parse_formula(text).fixed if term.variables] == terms


@pytest.mark.parametrize("deep", ["(" * 60 + "a" + ")" * 60, "-" * 60 + "a", "^".join("a" * 60)])
def test_deep_expressions_are_refused(deep: str) -> None:
    with pytest.raises(FormulaError, match="The model is nested more than 50 levels deep"):
        by_definition(deep)
    with pytest.raises(FormulaError, match="The formula is nested more than 50 levels deep"):
        parse_formula(f"y ~ I({deep})")


@pytest.mark.parametrize("operator", ["+", "*"])
def test_long_expressions_are_refused(operator: str) -> None:
    long = operator.join("a" * 200)
    with pytest.raises(FormulaError, match="The model joins more than 100 parts here; split it"):
        by_definition(long)
    with pytest.raises(FormulaError, match="The formula joins more than 100 parts here; split it"):
        parse_formula(f"y ~ I({long})")


def test_a_number_beyond_doubles_is_refused() -> None:
    with pytest.raises(FormulaError, match=r"A number is too large. Expected one below 1.8e308."):
        parse_formula("y ~ I(x * 1e999)")
    with pytest.raises(FormulaError, match=r"A number is too large. Expected one below 1.8e308."):
        by_definition("2e999")
