"""What the text says of a parameter holds: equal(), fixed means, NA*, starting values; or a sentence says why not."""

from __future__ import annotations

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import FormulaError
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.syntax import parse_sem
from tests.structural.cases import data

BETWEEN = "\nlevel: 2\n f =~ y1 + y2 + y3"
#: lavaan 0.6-14: sem(text, Demo.twolevel, cluster = "cluster", fixed.x = FALSE); logLik, and free parameters less the
#: constraints. Where equal() names a parameter with a label of its own lavaan does nothing; the value is that of "lab".
EQUAL = [
    ('level: 1\n f =~ y1 + y2 + equal("f=~y2")*y3' + BETWEEN, -12514.121797, 14),
    ('level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n f =~ y1 + equal("f=~y2")*y2 + y3', -12513.841032, 14),
    ('level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n f =~ y1 + y2 + equal("f=~y2.l2")*y3', -12516.487014, 14),
    ('level: 1\n f =~ y1 + lab*y2 + equal("lab")*y3' + BETWEEN, -12514.121797, 14),
    ('level: 1\n f =~ y1 + lab*y2 + equal("f=~y2")*y3' + BETWEEN, -12514.121797, 14),
    ('level: 1\n f =~ y1 + y2 + y3\n y1 ~~ equal("y2~~y2")*y1' + BETWEEN, -12514.770646, 14),
    ('level: 1\n f =~ y1 + y2 + y3\n f ~ x1 + equal("f ~ x1")*x2' + BETWEEN, -19219.908124, 21),
    ('level: 1\n f =~ y1 + y2 + equal("f=~y1")*y3' + BETWEEN, -12530.770035, 14),
    ("level: 1\n f =~ y1 + 0.8*y2 + a*y2 + a*y3" + BETWEEN, -12515.599665, 13),
]


@pytest.mark.parametrize(("text", "log_likelihood", "n_parameters"), EQUAL)
def test_equal_is_lavaans_equality(text: str, log_likelihood: float, n_parameters: int) -> None:
    found = mlm.sem(text, data("demo_twolevel"), cluster="cluster")
    # lavaan's search ends up to 3e-6 below its maximum, and no higher
    assert log_likelihood - 1e-6 < found.estimate.log_likelihood < log_likelihood + 5e-6
    assert found.estimate.n_parameters == n_parameters


def test_equal_parameters_are_equal_in_the_table_and_in_mplus() -> None:
    found = mlm.sem(EQUAL[0][0], data("demo_twolevel"), cluster="cluster")
    loadings = found.parameters.filter((pl.col("op") == "=~") & (pl.col("level") == 1))
    assert loadings["estimate"][1] == loadings["estimate"][2]
    assert "f_w BY y2* (equal0);\n  f_w BY y3* (equal0);" in found.equations("mplus")


def test_a_mean_fixed_within_clusters_stays() -> None:
    """lavaan 0.6-14: logLik -8241.585233, mean of y1 between clusters -4.985 (std. error 0.074)."""
    rows = data("demo_twolevel")
    text = "level: 1\n y1 ~ x1\n y1 ~ 5*1\nlevel: 2\n y1 ~ w1"
    for moved in (0.0, 1e6):
        found = mlm.sem(text, rows.with_columns(pl.col("y1", "x1") + moved), cluster="cluster")
        means = found.parameters.filter(op="~1", lhs="y1")
        assert found.estimate.log_likelihood == pytest.approx(-8241.585233, abs=1e-6)
        assert means["estimate"][0] == 5.0
        if not moved:
            assert means["estimate"][1] == pytest.approx(-4.985, abs=6e-4)
            assert means["std_error"][1] == pytest.approx(0.074, abs=6e-4)
    assert found.equations("mplus").startswith(
        "! Mplus has no mean of y1 within clusters: its mean between is larger by 5."
    )


def test_a_mean_freed_within_clusters_is_free() -> None:
    text = "level: 1\n y1 ~ x1\n y1 ~ NA*1\nlevel: 2\n y1 ~ w1\n y1 ~ 0*1"
    found = mlm.sem(text, data("demo_twolevel"), cluster="cluster")
    # the same model as with the mean between clusters
    assert found.estimate.log_likelihood == pytest.approx(-8241.585233, abs=1e-6)
    assert found.parameters.filter(op="~1", lhs="y1")["estimate"].to_list() == [pytest.approx(0.015, abs=6e-4), 0.0]


NOT_BOTH = [
    (
        "level: 1\n f =~ start(0.8)*y1 + y2 + y3" + BETWEEN,
        "f =~ y1 is the first loading of its factor and fixed to 1, and has a starting value. Got start(0.8); write "
        "NA* before it to free it, or drop start().",
    ),
    (
        "level: 1\n y1 ~ x1\n y1 ~ start(2)*1\nlevel: 2\n y1 ~ w1",
        "y1 ~ 1 is the mean of a variable at both levels, which belongs to level 2, and fixed to 0, and has a starting "
        "value. Got start(2); write NA* before it to free it, or drop start().",
    ),
    ("level: 1\n f =~ NA*1*y1 + y2" + BETWEEN, "f =~ y1 is fixed to 1 and freed by NA* too; keep one."),
    (
        "level: 1\n y1 ~ 2*x1 + start(1)*x1\nlevel: 2\n y1 ~ w1",
        "y1 ~ x1 is fixed to 2 and given the starting value 1 too; keep one.",
    ),
    (
        "level: 1\n y1 ~ start(1)*x1\n y1 ~ start(2)*x1\nlevel: 2\n y1 ~ w1",
        "y1 ~ x1 has two different starting values. Got 1 and 2; keep one.",
    ),
    (
        "level: 1\n f =~ NA*y1 + a*y1 + y2\n f ~~ 1*f\nlevel: 2\n f =~ a*y1 + y2",
        "f =~ y1 is freed by NA* and equal to f =~ y1, which is fixed to 1. Free that one by NA* too, or drop "
        "NA* here.",
    ),
    (
        'level: 1\n f =~ y1 + y2 + equal("f=~y4")*y3' + BETWEEN,
        "equal() of f =~ y3 names no label and no parameter of the model. Got 'f=~y4'. Did you mean 'f=~y3'? A "
        'parameter is named as it is written, as in equal("f=~y2"), at level 2 with .l2 behind.',
    ),
    (
        "level: 1\n y1 ~ prior(2)*x1\nlevel: 2\n y1 ~ w1",
        "Unknown modifier prior(). Expected one of start(), equal(), label(), rv(), c().",
    ),
    (
        "level: 1\n y1 ~ -NA*x1\nlevel: 2\n y1 ~ w1",
        "A modifier is a number, NA, a label, start(), equal(), label(), rv() or c(). Got 'NA'.",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), NOT_BOTH)
def test_contradictions_are_refused_by_name(text: str, sentence: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parameter_table(parse_sem(text))
    assert str(caught.value).split("\n")[0] == sentence


def test_definitions_have_rs_precedence() -> None:
    """d := 2^-1*a is half of a, and a^-1/2 half of its reciprocal."""
    text = "level: 1\n y1 ~ a*x1\nlevel: 2\n y1 ~ w1\nd := 2^-1*a\ne := a^-1/2\nf := -a^2"
    found = mlm.sem(text, data("demo_twolevel"), cluster="cluster").parameters
    a = found.filter(label="a")["estimate"][0]
    assert found.filter(op=":=")["estimate"].to_list() == pytest.approx([a / 2, 1 / a / 2, -(a**2)], rel=1e-14)


def test_an_error_in_a_definition_stands_under_its_place() -> None:
    with pytest.raises(FormulaError) as caught:
        parse_sem("level: 1\n y ~ a*x\nlevel: 2\n y ~ w\nd := a + sin(a)  # no")
    lines = str(caught.value).split("\n")
    assert lines[0] == "A definition is made of labels, numbers, + - * / ^ and log, exp, sqrt, abs."
    assert lines[1][lines[2].index("^") :].startswith("sin(a)")
