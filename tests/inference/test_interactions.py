"""Simple slopes, regions of significance and contrasts: against predictions, refits with shifted moderators, and roots.

A simple slope at w is the coefficient of the predictor in the same model with the moderator centered at w: the refit
has the same likelihood, so that estimate, error and df agree to 1e-6, as closely as two optimisations do.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.errors import AnalysisError, MlmError
from mlm_ops.inference.fixed.tests import holm
from mlm_ops.results.fit import Fit
from tests.specification.reference import reference

HSB = str(reference.HERE / "data" / "hsb.csv")
SLOPES = "mathach ~ within(ses) * sector + within(ses) * between(ses) + (1 + within(ses) | school)"


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return mlm.fit(SLOPES, HSB)


def row(table: pl.DataFrame, **wanted: Any) -> dict[str, Any]:
    return table.filter(**wanted).row(0, named=True)


@pytest.mark.parametrize("value", [-0.5, 0.25])
def test_a_slope_is_the_coefficient_with_the_moderator_centered_there(fitted: Fit, value: float) -> None:
    shifted = mlm.fit(SLOPES.replace("between(ses)", f"center(between(ses), at={value})"), HSB)
    # sector at its share of public schools
    public = 90 / 160
    expected = shifted.contrasts({"slope": {"within(ses)": 1, "within(ses):sector[Public]": public}})
    found = row(fitted.simple_slopes("within(ses)", {"between(ses)": value}), kind="slope")
    for name in ("estimate", "std_error", "df", "p_value", "conf_low", "conf_high"):
        assert found[name] == pytest.approx(expected[name][0], rel=1e-5)


def test_levels_of_a_factor_are_the_default(fitted: Fit) -> None:
    table = fitted.simple_slopes("within(ses)", "sector").filter(kind="slope")
    assert table["at"].to_list() == ["sector = Catholic", "sector = Public"]
    gamma = dict(fitted.fixed_effects.select("term", "estimate").iter_rows())
    mean = pl.read_csv(HSB).group_by("school").agg(pl.col("ses").mean())["ses"].mean()
    catholic = gamma["within(ses)"] + gamma["within(ses):between(ses)"] * mean
    assert table["estimate"][0] == pytest.approx(catholic, rel=1e-10)
    assert table["estimate"][1] == pytest.approx(catholic + gamma["within(ses):sector[Public]"], rel=1e-10)


def test_intercepts_are_predictions_where_the_predictor_is_zero(fitted: Fit) -> None:
    found = row(fitted.simple_slopes("within(ses)", {"sector": "Public", "between(ses)": 0.5}), kind="intercept")
    gamma = dict(fitted.fixed_effects.select("term", "estimate").iter_rows())
    expected = gamma["(Intercept)"] + gamma["sector[Public]"] + 0.5 * gamma["between(ses)"]
    assert found["estimate"] == pytest.approx(expected, rel=1e-12)
    tau = fitted.estimate.tau[0]
    assert found["range_high"] - expected == pytest.approx(1.959963985 * np.sqrt(tau[0, 0]), rel=1e-9)


def test_ranges_cover_the_slopes_of_groups(fitted: Fit) -> None:
    found = row(fitted.simple_slopes("within(ses)", "sector"), kind="slope")
    assert found["range_high"] - found["estimate"] == pytest.approx(1.959963985 * np.sqrt(fitted.estimate.tau[0][1, 1]))
    assert row(fitted.simple_slopes("between(ses)", "within(ses)"), kind="slope")["range_low"] is None


def test_numbers_default_to_one_deviation_around_their_mean(fitted: Fit) -> None:
    at = fitted.simple_slopes("within(ses)", "between(ses)").filter(kind="slope")["at"].to_list()
    means = pl.read_csv(HSB).group_by("school").agg(pl.col("ses").mean())["ses"]
    low, middle, high = (means.mean() + k * means.std() for k in (-1, 0, 1))
    expected = [(low, "mean - 1 SD"), (middle, "mean"), (high, "mean + 1 SD")]
    assert at == [f"between(ses) = {value:.4g} ({words})" for value, words in expected]


def test_zero_and_one_default_to_these_values() -> None:
    data = pl.read_csv(HSB).with_columns(girl=(pl.col("sex") == "Female").cast(pl.Int64))
    table = mlm.fit("mathach ~ ses * girl + (1 | school)", data).simple_slopes("ses", "girl")
    assert table["at"].unique(maintain_order=True).to_list() == ["girl = 0", "girl = 1"]


def test_a_factors_contrasts_have_slopes_too(fitted: Fit) -> None:
    table = fitted.simple_slopes("sector", {"within(ses)": [0.0, 1.0]}).filter(kind="slope")
    gamma = dict(fitted.fixed_effects.select("term", "estimate").iter_rows())
    change = table["estimate"][1] - table["estimate"][0]
    assert table["predictor"].to_list() == ["sector[Public]"] * 2
    assert change == pytest.approx(gamma["within(ses):sector[Public]"], rel=1e-10)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "none"])
def test_regions_end_where_p_is_the_level(df: Any) -> None:
    table = mlm.fit(SLOPES, HSB, df=df).johnson_neyman("within(ses)", "between(ses)")
    assert table["significant"].to_list() == [True, False, True]
    assert table["direction"].to_list() == ["negative", None, "positive"]
    assert (table["low"][0], table["high"][2]) == (None, None)
    ends = table["high"].to_list()[:2]
    slopes = mlm.fit(SLOPES, HSB, df=df).simple_slopes("within(ses)", {"between(ses)": ends}).filter(kind="slope")
    np.testing.assert_allclose(slopes["p_value"], 0.05, rtol=1e-7)
    assert table["share"].sum() == pytest.approx(1)


def test_roots_of_a_constant_critical_value_are_those_of_the_quadratic() -> None:
    fitted = mlm.fit("mathach ~ within(ses) * between(ses) + (1 | school)", HSB, df="none")
    table = fitted.johnson_neyman("within(ses)", "between(ses)", level=0.9)
    a, b = fitted.estimate.gamma[1], fitted.estimate.gamma[3]
    v = fitted.vcov
    t2 = 1.6448536269514722**2
    roots = np.roots([b**2 - t2 * v[3, 3], 2 * (a * b - t2 * v[1, 3]), a**2 - t2 * v[1, 1]])
    np.testing.assert_allclose(sorted(table["high"].drop_nulls()), sorted(roots.real), rtol=1e-8)


def noise(effect: float, product: float) -> pl.DataFrame:
    """x, w and their product explain y with these coefficients; x is orthogonal to all else."""
    draw = np.random.default_rng(5)
    x, w = np.tile([-1.0, 1.0], 300), np.repeat(np.linspace(-1, 1, 60), 10)
    y = effect * x + product * x * w + draw.normal(size=600) + np.repeat(draw.normal(size=60), 10) * 0.5
    return pl.DataFrame({"y": y, "x": x, "w": w, "g": np.repeat(np.arange(60), 10)})


def test_no_crossing_has_a_note() -> None:
    formula = "y ~ x * w + (1 | g)"
    nowhere = mlm.fit(formula, noise(0.0, 0.0)).johnson_neyman("x", "w")
    assert nowhere.select("low", "high", "significant", "note").rows() == [(None, None, False, "nowhere")]
    # y minus its product with w: the slope is one line far from zero, and its error does not catch up
    data = noise(9.0, 0.0)
    x, w = data["x"].to_numpy(), data["w"].to_numpy()
    found = mlm.fit(formula, data).estimate.gamma
    level = data.with_columns(y=pl.Series(data["y"].to_numpy() - found[3] * x * w))
    table = mlm.fit(formula, level).johnson_neyman("x", "w")
    # a slope of exactly zero for the product: far out its error grows without bounds
    assert table["significant"].to_list() == [False, True, False]
    assert table["direction"].to_list() == [None, "positive", None]
    assert table["high"][1] == pytest.approx(-table["low"][1], rel=0.02)


def test_a_narrow_gap_is_found() -> None:
    """A steep line: the slope is zero near w = 1000 and differs from it a little to either side."""
    data = noise(1.0, 40.0).with_columns(w=pl.col("w") + 1000)
    table = mlm.fit("y ~ x * w + (1 | g)", data).johnson_neyman("x", "w")
    assert table["significant"].to_list() == [True, False, True]
    assert table["high"][1] - table["low"][1] < 0.02


def test_the_region_that_holds_the_data_has_a_note(fitted: Fit) -> None:
    by_mean, by_student = (
        fitted.johnson_neyman(*pair).select("share", "significant", "note").rows()
        for pair in (("within(ses)", "between(ses)"), ("between(ses)", "within(ses)"))
    )
    assert by_mean == [
        (0.0, True, "no unit lies here"),
        (0.0, False, "no unit lies here"),
        (1.0, True, "everywhere in the data"),
    ]
    assert by_student == [
        (None, True, None),
        (None, False, None),
        (None, True, "everywhere within two standard deviations of the moderator's mean"),
    ]


def test_a_region_with_some_of_the_units_has_no_note() -> None:
    """The slope of x is 2w: it differs from zero on both sides of w = 0, where units are, and is not known between."""
    table = mlm.fit("y ~ x * w + (1 | g)", noise(0.0, 2.0)).johnson_neyman("x", "w")
    assert table["direction"].to_list() == ["negative", None, "positive"]
    assert table["note"].to_list() == [None, None, None]
    assert table["share"].min() > 0


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_a_moderator_at_a_million_gives_the_same(df: Any) -> None:
    """On the user's scale variances of 1e12 would cancel: errors would be off by 5e-4."""
    data = pl.read_csv(HSB).with_columns(w=pl.col("ses").mean().over("school"))
    formula = "mathach ~ within(ses) * w + (within(ses) | school)"
    near, far = (mlm.fit(formula, data.with_columns(pl.col("w") + shift), df=df) for shift in (0.0, 1e6))
    for name in ("estimate", "std_error", "df"):
        ours, theirs = (fit.simple_slopes("within(ses)", "w")[name] for fit in (far, near))
        np.testing.assert_allclose(ours, theirs, rtol=1e-8)
    ours, theirs = (fit.johnson_neyman("within(ses)", "w")["high"].drop_nulls() for fit in (far, near))
    np.testing.assert_allclose(ours - 1e6, theirs, rtol=1e-6)


def test_contrasts_with_holm(fitted: Fit) -> None:
    wanted = {"contextual": {"between(ses)": 1, "within(ses)": -1}, "public": {"sector[Public]": 1}}
    table = fitted.contrasts(wanted)
    for i, weights in enumerate(([0, -1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0])):
        test = fitted.test([weights]).row(0, named=True)
        assert table["statistic"][i] ** 2 == pytest.approx(test["statistic"], rel=1e-9)
        assert table["p_value"][i] == pytest.approx(test["p_value"], rel=1e-6)
    assert table["combination"][0] == "+1 between(ses) -1 within(ses)"
    assert table["p_adjusted"].to_list() == pytest.approx([2 * table["p_value"][0], table["p_value"][1]])


def test_holm_equals_rs() -> None:
    """R: p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.005, 0.5), "holm")."""
    found = holm(np.array([0.01, 0.02, 0.03, 0.04, 0.005, 0.5]))
    assert found == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.03, 0.5])


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (lambda f: f.simple_slopes("within(ses)", "sectr"), "Did you mean 'sector'"),
        (lambda f: f.simple_slopes("ses", "sector"), "does not occur in the model. Got 'ses'"),
        (lambda f: f.simple_slopes("between(ses)", "sector"), "sector does not moderate between(ses)"),
        (lambda f: f.simple_slopes("within(ses)", "within(ses)"), "does not moderate itself"),
        (lambda f: f.simple_slopes("within(ses)", {"sector": ["Prvate"]}), "no such level. Got 'Prvate'"),
        (lambda f: f.simple_slopes("within(ses)", {"between(ses)": "high"}), "takes numbers. Got 'high'"),
        (lambda f: f.simple_slopes("within(ses)", []), "need a moderator"),
        (
            lambda f: f.johnson_neyman("within(ses)", "sector"),
            "Regions of significance need a moderator that is a number",
        ),
        (
            lambda f: f.johnson_neyman("within(ses)", "between(ses)", 95),
            "Got 95; expected a number between 0 and 1, such",
        ),
        (lambda f: f.contrasts({"a": {"sectr": 1}}), "No such term or coefficient. Got 'sectr'"),
        (lambda f: f.contrasts({"a": {"sector[Public]": "x"}}), "is no number. Got 'x'"),
        (lambda f: f.contrasts({"a": {"sector[Public]": 0}}), "is zero, so there is nothing to test"),
        (lambda f: f.contrasts({}), "no contrast to test"),
    ],
)
def test_bad_questions_are_sentences(fitted: Fit, question: Any, sentence: str) -> None:
    with pytest.raises(MlmError, match=r"\.$") as caught:
        question(fitted)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("predictor", "power"), [("ses", " + I(ses**2)"), ("poly(ses, 2)", "")])
def test_a_curved_effect_has_no_simple_slope(predictor: str, power: str) -> None:
    fitted = mlm.fit(f"mathach ~ {predictor} * sector{power} + (1 | school)", HSB)
    with pytest.raises(MlmError, match=r"has no simple slope, as the effect is curved: the model has (I|poly)\("):
        fitted.simple_slopes(predictor, "sector")


FILE = """
analysis: hsb
data: read_csv('{data}')
models:
  slopes: {formula}
{asked}
"""


def analysis(tmp_path: Any, asked: str) -> Any:
    path = tmp_path / "hsb.yaml"
    path.write_text(FILE.format(data=HSB, formula=SLOPES, asked=asked).replace("read_csv", "select * from read_csv"))
    return read_analysis(path, allow_files=True)


def test_an_analysis_file_has_slopes_and_contrasts(tmp_path: Any) -> None:
    asked = """
simple_slopes:
  slopes:
    - {slope: within(ses), at: sector}
    - {slope: within(ses), at: {between(ses): [-1, 1]}}
contrasts:
  slopes:
    contextual: {between(ses): 1, within(ses): -1}
"""
    result = fit_analysis(analysis(tmp_path, asked), duckdb.connect())
    assert result.tables["simple_slopes"]["at"].to_list()[-1] == "between(ses) = 1"
    assert result.tables["simple_slopes"].height == 8
    assert result.tables["johnson_neyman"]["moderator"].to_list() == ["between(ses)"] * 3
    assert result.tables["contrasts"]["model"].to_list() == ["slopes"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("simple_slopes: {slope: [{slope: within(ses), at: sector}]}", "simple_slopes names no model of this file"),
        ("simple_slopes: {slopes: [{slope: within(ses), at: sectr}]}", "The moderator does not occur in the model."),
        ("simple_slopes: {slopes: {slope: ses, at: sector}}", "The slope does not occur in the model."),
        ("simple_slopes: {slopes: {slope: between(ses), at: sector}}", "sector does not moderate between(ses)"),
        ("simple_slopes: {slopes: {slope: within(ses)}}", "expected the keys slope and at"),
        ("simple_slopes: within(ses)", "simple_slopes is a mapping of models to slopes"),
        ("contrasts: {slopes: {a: within(ses)}}", "contrasts.slopes.a is a mapping of coefficients to weights"),
        ("contrasts: {slopes: {a: {within(ses): x}}}", "expected numbers"),
        ("contrasts: {slops: {a: {within(ses): 1}}}", "contrasts names no model of this file: 'slops'"),
    ],
)
def test_bad_requests_are_refused_before_any_query(tmp_path: Any, asked: str, sentence: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        analysis(tmp_path, asked)
    assert sentence in str(caught.value)
