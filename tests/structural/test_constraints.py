"""Constraints hold: against lavaan, the same model by labels, and closed forms; Wald tests; sentences."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import FormulaError, IdentificationError, MlmError
from tests.structural.cases import data, fitted
from tests.structural.test_missing import with_holes
from tests.structural.test_quadrature import some_rows
from tests.structural.test_slopes import chain_rows

#: lavaan 0.6-14, fixed.x = FALSE: logLik, free parameters less constraints, chi-square by an unrestricted model whose
#: own search ends up to 4e-4 below the maximum.
EQUAL = [
    ("level: 1\n fw =~ y1 + a*y2 + b*y3\nlevel: 2\n fb =~ y1 + y2 + y3\n a == 2*b", -12566.544824, 14, 105.684633),
    (
        "level: 1\n fw =~ y1 + y2 + y3\n fw ~ a*x1 + b*x2 + x3\nlevel: 2\n fb =~ y1 + y2 + y3\n fb ~ w1 + w2\na == 2*b",
        -23331.0610081,
        33,
        50.4733896,
    ),
    ("a == 2*b\nlevel: 1\n y1 ~ a*x1 + b*x2\nlevel: 2\n y1 ~ w1 + w2", -11974.7900317, 16, 29.8933177),
]


def fit(text: str, rows: pl.DataFrame | None = None) -> mlm.SemFit:
    return mlm.sem(text, data("demo_twolevel") if rows is None else rows, cluster="cluster")


def of_label(found: mlm.SemFit, label: str, column: str = "estimate") -> float:
    return float(found.parameters.filter((pl.col("label") == label) & (pl.col("op") != ":="))[column][0])


@pytest.mark.parametrize(("text", "log_likelihood", "n_parameters", "chi_square"), EQUAL)
def test_a_linear_equality_is_lavaans(text: str, log_likelihood: float, n_parameters: int, chi_square: float) -> None:
    found = fit(text)
    statistics = found.fit_statistics.row(0, named=True)
    # lavaan's search ends up to 1e-6 below its maximum
    assert found.estimate.log_likelihood == pytest.approx(log_likelihood, abs=2e-6)
    assert statistics["n_parameters"] == n_parameters
    assert statistics["chi_square"] == pytest.approx(chi_square, abs=5e-4)
    assert of_label(found, "a") == pytest.approx(2 * of_label(found, "b"), rel=1e-12)
    assert of_label(found, "a", "std_error") == pytest.approx(2 * of_label(found, "b", "std_error"), rel=1e-9)
    assert found.converged


SLOPES = "level: 1\n y1 ~ {}*x1 + {}*x2\nlevel: 2\n y1 ~ w1 + w2"


def test_an_equality_is_the_same_model_as_one_label() -> None:
    ours, labelled = fit(SLOPES.format("a", "b") + "\na == b"), fit(SLOPES.format("a", "a"))
    assert ours.estimate.log_likelihood == pytest.approx(labelled.estimate.log_likelihood, abs=1e-9)
    assert ours.estimate.n_parameters == labelled.estimate.n_parameters
    for column in ("estimate", "std_error"):
        assert of_label(ours, "a", column) == pytest.approx(of_label(labelled, "a", column), rel=1e-7)
    for measure in ("scaling_factor", "chi_square_scaled"):
        theirs = labelled.fit_statistics[measure][0]
        assert ours.fit_statistics[measure][0] == pytest.approx(theirs, rel=1e-6)
    robust = [mlm.sem(f.model.text, data("demo_twolevel"), "cluster", robust=True) for f in (ours, labelled)]
    assert of_label(robust[0], "a", "std_error") == pytest.approx(of_label(robust[1], "a", "std_error"), rel=1e-7)


@pytest.mark.parametrize(
    "text", ["a/b == 2", "a^2 == 4*b^2\n b > 0", "exp(a) == exp(b)^2", "d := a/b\n log(d) == log(2)"]
)
def test_nonlinear_equalities_that_say_the_same(text: str) -> None:
    ours, linear = fit(SLOPES.format("a", "start(0.3)*b") + "\n" + text), fit(SLOPES.format("a", "b") + "\na == 2*b")
    assert ours.converged
    assert ours.estimate.log_likelihood == pytest.approx(linear.estimate.log_likelihood, abs=1e-8)
    assert ours.estimate.n_parameters == linear.estimate.n_parameters
    # second derivatives of the equations are by differences, good to 1e-7
    assert of_label(ours, "a", "std_error") == pytest.approx(of_label(linear, "a", "std_error"), rel=1e-6)


def test_a_product_that_is_fixed_has_the_profile_of_its_parts() -> None:
    """Search over b alone, a being its reciprocal share, by models that fix both."""
    ours = fit(SLOPES.format("a", "b") + "\na*b == 0.1")
    a, b = of_label(ours, "a"), of_label(ours, "b")
    assert a * b == pytest.approx(0.1, rel=1e-12)
    profile = [fit(SLOPES.format(0.1 / (b + d), b + d)).estimate.log_likelihood for d in (-0.01, 0.0, 0.01)]
    assert profile[1] == pytest.approx(ours.estimate.log_likelihood, abs=1e-8)
    assert profile[1] > max(profile[0], profile[2])


def test_equality_identifies_a_factor() -> None:
    """Loadings whose mean is one: another unit of the factor, and the same likelihood."""
    between = "\nlevel: 2\n fb =~ y1 + y2 + y3"
    marker = fit("level: 1\n fw =~ y1 + y2 + y3" + between)
    effects = fit("level: 1\n fw =~ NA*y1 + a*y1 + b*y2 + c*y3" + between + "\na + b + c == 3")
    assert effects.estimate.log_likelihood == pytest.approx(marker.estimate.log_likelihood, abs=1e-8)
    assert effects.estimate.n_parameters == marker.estimate.n_parameters
    assert sum(of_label(effects, name) for name in "abc") == pytest.approx(3, rel=1e-12)
    with pytest.raises(IdentificationError, match="The model is not identified"):
        fit("level: 1\n fw =~ NA*y1 + a*y1 + b*y2 + c*y3" + between)


def test_constraints_on_means_hold_far_from_zero() -> None:
    rows = data("demo_twolevel").with_columns(y1=pl.col("y1") + 1e4, y2=pl.col("y2") + 1e4)
    text = "level: 1\n y1 ~~ y2\nlevel: 2\n y1 ~~ y2\n y1 ~ m1*1\n y2 ~ m2*1"
    means = fit(text + "\nm1 == m2", rows).parameters.filter((pl.col("op") == "~1") & (pl.col("level") == 2))
    assert means["estimate"][0] == pytest.approx(means["estimate"][1], rel=1e-12)
    assert fit(text + "\nm1 == m2", rows).estimate.log_likelihood == pytest.approx(
        fit(text.replace("m2", "m1"), rows).estimate.log_likelihood, abs=1e-6
    )


def test_inequalities_that_hold_anyway_change_nothing() -> None:
    free, bounded = fit(SLOPES.format("a", "b")), fit(SLOPES.format("a", "b") + "\na > 0\nb < 1\na > b")
    assert bounded.estimate.log_likelihood == pytest.approx(free.estimate.log_likelihood, abs=1e-9)
    assert bounded.estimate.active == ()
    assert bounded.fit_statistics["n_parameters"][0] == free.fit_statistics["n_parameters"][0]


def test_an_inequality_that_binds_is_an_equality() -> None:
    bounded, equal = (
        fit(SLOPES.format("a", "b") + "\na < 0.3\nb < a"),
        fit(SLOPES.format("a", "b") + "\na == .3\nb == a"),
    )
    assert bounded.estimate.log_likelihood == pytest.approx(equal.estimate.log_likelihood, abs=1e-8)
    assert [c.text for c in bounded.estimate.active] == ["a < 0.3", "b < a"]
    assert any(note.startswith("at its limit: a < 0.3, b < a; standard errors are along it") for note in bounded.notes)
    assert bounded.fit_statistics["n_parameters"][0] == equal.fit_statistics["n_parameters"][0] + 2


def test_one_equality_is_the_square_of_z() -> None:
    found = fit(SLOPES.format("a", "b"))
    test = found.wald("a == 0").row(0, named=True)
    row = found.parameters.filter(label="a").row(0, named=True)
    assert test["statistic"] == pytest.approx(row["statistic"] ** 2, rel=1e-10)
    assert test["df"] == 1
    # of the difference, by the covariance matrix
    names = found.estimate.table.names()
    slopes = np.array([(name == "a") - (name == "b") for name in names], dtype=float)
    z = slopes @ found.estimate.theta / np.sqrt(slopes @ found.vcov @ slopes)
    assert found.wald("a == b")["statistic"][0] == pytest.approx(z**2, rel=1e-10)
    both = found.wald("a == b; b == 0.4").row(0, named=True)
    assert both["df"] == 2
    assert both["statistic"] > found.wald("a == b")["statistic"][0]
    # one-sided: the estimates speak for a > b
    sides = [found.wald(text)["p_value"][0] for text in ("a > b", "a < b")]
    assert sides[0] > 0.5
    assert sum(sides) == pytest.approx(1, abs=1e-12)
    assert sides[1] == pytest.approx(found.wald("a == b")["p_value"][0] / 2, rel=1e-9)


BAD = [
    (
        "a == c",
        FormulaError,
        "The constraint 'a == c' names 'c', which is no label and no definition of the model. Names: a, b.",
    ),
    ("a == 1\na == 2", IdentificationError, "No values fulfil the constraint 'a == 2' together with those before it."),
    ("a^2 == -1", IdentificationError, "No values fulfil the constraint 'a^2 == -1'. Leave one out, or change it."),
    ("a == b\n2*a == 2*b", IdentificationError, "The constraint '2*a == 2*b' follows from those before it. Leave it"),
    ("1 == 1", IdentificationError, "The constraint '1 == 1' restricts no free parameter. Leave it out, or free what"),
    ("a > 1\na < 0", IdentificationError, "No values were found that fulfil 'a > 1', 'a < 0'. Leave one out, change"),
    ("a ==", FormulaError, "A constraint has two sides, as in a == 2*b. Got nothing before the end of the line."),
    ("a == sin(b)", FormulaError, "A constraint is made of labels, definitions, numbers, + - * / ^ and log, exp,"),
]


@pytest.mark.parametrize(("text", "error", "sentence"), BAD)
def test_bad_constraints_are_refused_in_a_sentence(text: str, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as caught:
        fit(SLOPES.format("a", "b") + "\n" + text)
    assert str(caught.value).startswith(sentence)


def test_bad_wald_tests_are_refused_in_a_sentence() -> None:
    found = fit(SLOPES.format("a", "b"))
    for text, sentence in (
        ("", "constraints is not understood. Got nothing; expected the text of constraints, as in a == 2*b."),
        ("# a == b", "A Wald test needs at least one constraint, as in a == 2*b. Got none."),
        ("a > 0; b > 0", "A Wald test takes equalities, or one inequality alone."),
        ("a == b; 2*a == 2*b", "A Wald test needs constraints that the data could break, none of which follows"),
        ("y1 ~ x1", "Expected a constraint, as in a == 2*b or a > 0."),
        ("a == c", "The constraint 'a == c' names 'c', which is no label"),
    ):
        with pytest.raises(MlmError) as caught:
            found.wald(text)
        assert str(caught.value).startswith(sentence)


def test_constraints_stand_in_equations_and_in_mplus() -> None:
    found = fit(SLOPES.format("a", "b") + "\nd := a - b\na == 2*b\nd < 1")
    assert found.equations().endswith("\nConstrained\na = 2*b\nd < 1")
    assert found.equations("markdown").endswith("**Constrained**\n\n- `a = 2*b`\n- `d < 1`")
    assert r"\text{d} &< \text{1}" in found.equations("latex")
    assert found.equations("mplus").endswith("MODEL CONSTRAINT:\n  NEW(d);\n  d = a - b;\n  a = 2*b;\n  d < 1;")
    assert "&lt;</mo>" in found.equations("mathml")


def test_a_constrained_model_is_compared_with_a_free_one() -> None:
    """The likelihood ratio of one equality, near its Wald test."""
    free, equal = fit(SLOPES.format("a", "b")), fit(SLOPES.format("a", "b") + "\na == b")
    ratio = equal.compare(free).row(0, named=True)
    assert ratio["df"] == 1
    assert ratio["statistic"] == pytest.approx(free.wald("a == b")["statistic"][0], rel=0.02)
    assert fitted("sem_demo").estimate.active == ()


BESIDE = {
    "observed slopes": (
        'level: 1\n y ~ rv("s")*x + rv("r")*m\n x ~~ m\nlevel: 2\n y ~ w\n y ~~ s + r\n s ~~ r\n s ~ {}*1\n r ~ {}*1',
        chain_rows(),
        "listwise",
    ),
    "variances of slopes": (
        'level: 1\n y ~ rv("s")*x + rv("r")*m\n x ~~ m\nlevel: 2\n s ~~ {}*s\n r ~~ {}*r\n s ~~ r',
        chain_rows(),
        "listwise",
    ),
    "missing cells": ("level: 1\n y ~ {}*m + {}*x\nlevel: 2\n y ~ m + w\n z ~ y", with_holes(), "ml"),
    "a latent-centred slope": (
        'level: 1\n y ~ rv("s")*x + v\nlevel: 2\n y ~ {}*x + w\n y ~~ s\n s ~ {}*1',
        some_rows(60),
        "listwise",
    ),
}


@pytest.mark.parametrize("name", BESIDE)
def test_an_equality_is_one_label_beside_slopes_and_missing_cells(name: str) -> None:
    text, rows, missing = BESIDE[name]
    ours = mlm.sem(text.format("a", "b") + "\na == b", rows, cluster="g", missing=missing)
    labelled = mlm.sem(text.format("a", "a"), rows, cluster="g", missing=missing)
    assert ours.converged
    assert ours.estimate.log_likelihood == pytest.approx(labelled.estimate.log_likelihood, abs=1e-6)
    assert ours.estimate.n_parameters == labelled.estimate.n_parameters
    for column in ("estimate", "std_error"):
        assert of_label(ours, "a", column) == pytest.approx(of_label(labelled, "a", column), rel=1e-6)


def test_an_inequality_that_binds_beside_a_latent_centred_slope_is_an_equality() -> None:
    text, rows, _ = BESIDE["a latent-centred slope"]
    bounded, equal = (
        mlm.sem(text.format("a", "b") + constraint, rows, cluster="g") for constraint in ("\na < .3", "\na == .3")
    )
    assert bounded.estimate.log_likelihood == pytest.approx(equal.estimate.log_likelihood, abs=1e-6)
    assert [c.text for c in bounded.estimate.active] == ["a < .3"]
    assert any(note.startswith("at its limit: a < .3; standard errors are along it") for note in bounded.notes)


def test_a_variance_on_a_bound_beside_constraints() -> None:
    """The variance of y between clusters is zero; labels and constraints end at the same bound."""
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(40), 5)
    x, z = rng.normal(size=(2, 200))
    y = 0.4 * x + 0.5 * z + rng.normal(size=200)
    y = y - 0.9 * pl.DataFrame({"g": group, "y": y}).select(pl.col("y").mean().over("g")).to_series().to_numpy()
    rows = pl.DataFrame({"cluster": group, "x": x, "z": z, "y": y})
    text = "level: 1\n y ~ a*x + {}*z\nlevel: 2\n y ~~ y"
    ours, labelled = fit(text.format("b") + "\na == b", rows), fit(text.format("a"), rows)
    assert ours.singular
    assert labelled.singular
    assert ours.converged
    assert ours.estimate.log_likelihood == pytest.approx(labelled.estimate.log_likelihood, abs=1e-8)
    assert of_label(ours, "a", "std_error") == pytest.approx(of_label(labelled, "a", "std_error"), rel=1e-7)
