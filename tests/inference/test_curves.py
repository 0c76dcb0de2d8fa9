"""Curves of interactions: at shared points the numbers of simple slopes, and contrasts written out by hand."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.errors import MlmError
from mlm_ops.results.fit import Fit
from tests.specification.reference import reference

HSB = str(reference.HERE / "data" / "hsb.csv")
FORMULA = "mathach ~ within(ses) * sector + within(ses) * between(ses) + (1 + within(ses) | school)"
#: The same combination of the same numbers.
TOLERANCE = 1e-12
NUMBERS = ("estimate", "std_error", "df", "conf_low", "conf_high")


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return mlm.fit(FORMULA, HSB)


def assert_same_numbers(actual: pl.DataFrame, expected: pl.DataFrame) -> None:
    assert actual.height == expected.height > 0
    for name in NUMBERS:
        np.testing.assert_allclose(actual[name], expected[name], rtol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("at", ["sector", "between(ses)", ["sector", "between(ses)"], {"between(ses)": [-0.3, 0.6]}])
def test_the_outcome_where_the_term_is_zero_is_the_simple_intercept(fitted: Fit, at: object) -> None:
    slopes = fitted.simple_slopes("within(ses)", at)
    curves = fitted.curves("within(ses)", at).filter(kind="simple_slope")
    middle = curves.filter(x=0.0)
    intercepts = slopes.filter(kind="intercept")
    assert_same_numbers(middle, intercepts)
    assert middle["moderator"].to_list() == intercepts["moderator"].to_list()
    assert curves.height == 21 * intercepts.height
    for words, slope in zip(middle["moderator_value"], slopes.filter(kind="slope")["estimate"], strict=True):
        line = curves.filter(moderator_value=words)
        np.testing.assert_allclose(np.diff(line["estimate"]) / np.diff(line["x"]), slope, rtol=1e-10)


def test_points_reach_two_deviations_around_the_mean(fitted: Fit) -> None:
    rows = pl.read_csv(HSB)
    deviation = (rows["ses"] - rows.select(pl.col("ses").mean().over("school")).to_series()).to_numpy()
    x = fitted.curves("within(ses)", "sector").filter(moderator_value="Public")["x"].to_numpy()
    np.testing.assert_allclose(x, np.linspace(-2, 2, 21) * deviation.std(ddof=1), rtol=1e-10)
    means = rows.group_by("school").agg(pl.col("ses").mean())["ses"].to_numpy()
    x = fitted.curves("within(ses)", "between(ses)").filter(kind="johnson_neyman")["x"].to_numpy()
    np.testing.assert_allclose(x, means.mean() + np.linspace(-2.5, 2.5, 41) * means.std(ddof=1), rtol=1e-10)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "none"])
def test_the_slope_along_the_moderator_is_the_simple_slope_there(df: str) -> None:
    ours = mlm.fit("mathach ~ within(ses) * between(ses) + (1 | school)", HSB, df=df)
    line = ours.curves("within(ses)", "between(ses)").filter(kind="johnson_neyman")
    some = line[::8]
    slopes = ours.simple_slopes("within(ses)", {"between(ses)": some["x"].to_list()}).filter(kind="slope")
    if df == "none":
        assert line["df"].null_count() == 41
        some, slopes = some.with_columns(df=0.0), slopes.with_columns(df=0.0)
    assert_same_numbers(some, slopes)
    assert line["moderator_value"].null_count() == 41
    assert set(line["moderator"]) == {"between(ses)"}
    assert set(line["term"]) == {"within(ses)"}


def test_contrasts_by_hand(fitted: Fit) -> None:
    """``l' gamma`` and ``sqrt(l' V l)`` with l written out, as emmeans takes them."""
    gamma, v = fitted.fixed_effects["estimate"].to_numpy(), fitted.vcov
    assert fitted.fixed_effects["term"].to_list() == [
        "(Intercept)",
        "within(ses)",
        "sector[Public]",
        "between(ses)",
        "within(ses):sector[Public]",
        "within(ses):between(ses)",
    ]
    mean = pl.read_csv(HSB).group_by("school").agg(pl.col("ses").mean())["ses"].mean()
    for row in fitted.curves("within(ses)", "sector").iter_rows(named=True):
        x, public = row["x"], float(row["moderator_value"] == "Public")
        contrast = np.array([1.0, x, public, mean, x * public, x * mean])
        assert row["estimate"] == pytest.approx(contrast @ gamma, rel=1e-10)
        assert row["std_error"] == pytest.approx(np.sqrt(contrast @ v @ contrast), rel=1e-8)


def test_what_is_zero_or_one_has_two_points(fitted: Fit) -> None:
    of_factor = fitted.curves("sector", "within(ses)")
    outcome = of_factor.filter(kind="simple_slope")
    assert outcome["x"].to_list() == [0.0, 1.0] * 3
    assert set(of_factor["term"]) == {"sector[Public]"}
    rows = pl.read_csv(HSB)
    ours = mlm.fit("mathach ~ female * ses + (1 | school)", rows)
    lines = ours.curves("female", {"ses": [0.0, 1.0]}).filter(kind="simple_slope")
    assert lines.select("moderator_value", "x").rows() == [("0", 0.0), ("0", 1.0), ("1", 0.0), ("1", 1.0)]


def test_of_several_moderators_and_of_few_values_there_is_no_slope_curve(fitted: Fit) -> None:
    for at in ("sector", ["sector", "between(ses)"]):
        assert set(fitted.curves("within(ses)", at)["kind"]) == {"simple_slope"}
    with pytest.raises(MlmError, match="does not moderate"):
        fitted.curves("between(ses)", "sector")


def test_robust_errors_are_those_of_the_fit() -> None:
    ours = mlm.fit("mathach ~ within(ses) * between(ses) + (1 | school)", HSB, robust="CR2")
    assert_same_numbers(
        ours.curves("within(ses)", "between(ses)").filter(kind="simple_slope", x=0.0),
        ours.simple_slopes("within(ses)", "between(ses)").filter(kind="intercept"),
    )


def test_what_the_data_do_not_determine_is_null() -> None:
    rows = pl.DataFrame({"x": np.tile(np.arange(6.0), 20), "g": np.repeat(np.arange(20), 6)})
    rows = rows.with_columns(f=(pl.col("g") % 3).cast(pl.String))
    # where f is 2 the predictor is always zero
    rows = rows.with_columns(x=pl.when(f="2").then(0.0).otherwise("x"), y=np.random.default_rng(1).normal(size=120))
    line = mlm.fit("y ~ x * f + (1 | g)", rows, df="none").curves("x", "f")
    assert line.filter(moderator_value="1")["estimate"].null_count() == 0
    unknown = line.filter(moderator_value="2")
    assert unknown.filter(pl.col("x") != 0)["estimate"].null_count() == 21


def test_the_columns_that_say_what_moderators_are_held_at(fitted: Fit) -> None:
    of_factor = fitted.simple_slopes("within(ses)", "sector").filter(kind="slope")
    columns = ("setting", "moderator", "value", "level", "at")
    assert of_factor.select(columns).rows() == [
        ("sector = Catholic", "sector", None, "Catholic", "sector = Catholic"),
        ("sector = Public", "sector", None, "Public", "sector = Public"),
    ]
    of_number = fitted.simple_slopes("within(ses)", {"between(ses)": [-0.25]}).filter(kind="slope")
    text = "between(ses) = -0.25"
    assert of_number.select(columns).rows() == [(text, "between(ses)", -0.25, None, text)]
    several = fitted.simple_slopes("within(ses)", {"sector": "Public", "between(ses)": 0.5}).filter(kind="slope")
    text = "sector = Public, between(ses) = 0.5"
    assert several.select(columns).rows() == [(text, "sector, between(ses)", None, "Public, 0.5", text)]
    assert fitted.simple_slopes("within(ses)", "between(ses)")["value"].null_count() == 0


def test_an_analysis_has_the_curves_of_its_questions() -> None:
    text = (
        f"analysis: a\ndata: rows\nmodels:\n  null: mathach ~ 1 + (1 | school)\n  m: {FORMULA}\n"
        "simple_slopes: {m: [{slope: within(ses), at: sector}, {slope: within(ses), at: between(ses)}]}\n"
    )
    with duckdb.connect() as connection:
        connection.execute(f"create table rows as from '{HSB}'")
        result = fit_analysis(parse_analysis(text), connection)
    curves = result.tables["curves"]
    ours = result.fits["m"]
    expected = pl.concat([ours.curves("within(ses)", at) for at in ("sector", "between(ses)")])
    assert curves.drop("model").equals(expected)
    assert set(curves["model"]) == {"m"}
    assert result.tables["models"].select("model", "position").rows() == [("null", 1), ("m", 2)]
    for table in ("groups", "decomposition"):
        assert result.tables[table]["model"].null_count() == result.tables[table].height
    assert result.tables["groups"].drop("model").equals(ours.groups())
    assert result.tables["decomposition"].drop("model").equals(ours.decomposition())
