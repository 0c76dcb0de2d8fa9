"""Predictions against lme4's fitted values, and predictions for rows that the fit has not seen."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mlm_ops.errors import DataError, MlmError
from mlm_ops.results.fitting import fit
from tests.specification.reference import reference


@pytest.mark.parametrize("name", reference.names("lmer"))
def test_fitted_values_are_those_of_lme4(name: str) -> None:
    """The first five rows that the fit used, found again by their content, as SQL keeps no order."""
    case = reference.case(name)
    estimator = case["estimator"].lower()
    table, connection = reference.table(name), reference.connection()
    fitted = fit(case["formula"], table, connection=connection, estimator=estimator, weights=case["weights"])
    rows = reference.connection().sql(f"select * from {name}").pl()
    csv = reference.connection().read_csv(str(reference.HERE / "data" / f"{case['data']}.csv")).pl()
    marginal, conditional = fitted.predict(rows, "marginal"), fitted.predict(rows)
    both = marginal.with_columns(conditional["prediction"].alias("conditional"), conditional["new_group"])
    outcome = fitted.model.outcome_name
    usable = both.filter(pl.col("prediction").is_not_null() & pl.col(outcome).is_not_null())
    found = csv.join(usable.unique(csv.columns), on=csv.columns, nulls_equal=True, maintain_order="left").head(5)
    assert not usable["new_group"].any()
    np.testing.assert_allclose(found["prediction"], case["check_rows"]["fixed"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["conditional"], case["check_rows"]["fitted"], rtol=1e-6, atol=1e-6)


def _data() -> pl.DataFrame:
    random = np.random.default_rng(1)
    g = np.repeat(np.arange(20), 10)
    x = random.normal(size=200) + random.normal(size=20)[g] + 5
    sex = random.choice(["f", "m"], 200)
    y = 1 + 2 * x + (sex == "m") + random.normal(size=20)[g] + random.normal(size=200)
    return pl.DataFrame({"y": y, "x": x, "sex": sex, "g": g, "flag": g % 2 == 0, "year": 1990 + g % 3})


def test_known_groups_are_centered_with_the_fitted_means() -> None:
    data = _data()
    fitted = fit("y ~ within(x, g) + between(x, g) + center(x) + (within(x, g) | g)", data)
    alone, among = fitted.predict(data.head(1)), fitted.predict(data)
    assert alone["prediction"][0] == pytest.approx(among["prediction"][0], abs=1e-12)


def test_new_groups_are_centered_with_the_means_of_their_rows() -> None:
    data = _data()
    fitted = fit("y ~ within(x) + between(x) + (within(x) | g)", data)
    rows = pl.DataFrame({"x": [4.0, 6.0, 5.0], "g": [77, 77, 0]})
    predicted = fitted.predict(rows)
    assert predicted["new_group"].to_list() == [True, True, False]
    intercept, within, between = fitted.estimate.gamma
    expected = [intercept + within * d + between * 5 for d in (-1, 1)]
    np.testing.assert_allclose(predicted["prediction"][:2], expected, rtol=1e-12)
    np.testing.assert_allclose(fitted.predict(rows, "marginal")["prediction"][:2], expected, rtol=1e-12)


def test_a_new_class_of_a_known_school_keeps_the_school() -> None:
    fitted = reference.fitted("sim3_nested")
    row = reference.connection().sql("select * from sim3_nested limit 1").pl()
    new = row.with_columns(pl.lit("no such class").alias("class"))
    predicted, fixed = fitted.predict(new), fitted.predict(new, "marginal")
    effects = fitted.random_effects.filter((pl.col("group") == "school") & (pl.col("unit") == str(row["school"][0])))
    school = effects["estimate"][0] + effects["estimate"][1] * row["x"][0]
    assert predicted["new_group"][0]
    assert predicted["prediction"][0] == pytest.approx(fixed["prediction"][0] + school, abs=1e-12)


def test_names_of_groups_match_as_text() -> None:
    fitted = fit("y ~ x + (1 | g)", _data())
    by_type = [fitted.predict(pl.DataFrame({"x": [5.0], "g": [7]}).cast({"g": t})) for t in (pl.Int8, pl.Float64, str)]
    assert len({frame["prediction"][0] for frame in by_type}) == 1
    assert not any(frame["new_group"][0] for frame in by_type)


def test_what_is_missing_or_undefined_is_null() -> None:
    fitted = fit("y ~ log(x) + (1 | g)", _data().filter(pl.col("x") > 0))
    rows = pl.DataFrame({"x": [5.0, None, -1.0, float("nan"), 5.0], "g": [1, 1, 1, 1, None]})
    predicted = fitted.predict(rows)
    assert predicted["prediction"].is_null().to_list() == [False, True, True, True, True]
    assert predicted["new_group"].to_list() == [False] * 5
    marginal = fitted.predict(rows, "marginal")
    assert marginal["std_error"].is_null().to_list() == [False, True, True, True, False]


def test_every_kind_of_variable() -> None:
    """Rows of the fit come out as the fit has them: their residuals are orthogonal to every fixed column."""
    data = _data()
    fitted = fit(
        "y ~ sex * x + I((x - 5)**2 / 2 + 1) + exp(-x) + sqrt(abs(x)) + flag + C(year, ref='1991')"
        " + center(x, over=g):sex + center(x, at=5):flag + within(sex, g)",
        data,
        estimator="ml",
    )
    marginal = fitted.predict(data, "marginal")
    residual = (data["y"] - marginal["prediction"]).to_numpy()
    assert residual @ residual == pytest.approx(fitted.estimate.sigma2 * (200 - len(fitted.estimate.gamma)), rel=1e-9)
    assert residual.sum() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("options", [{}, {"df": "kenward-roger"}, {"robust": "CR2"}, {"robust": "CR1S", "df": "none"}])
def test_standard_errors_are_by_the_covariance_matrix_of_the_coefficients(options: dict[str, str]) -> None:
    """Robust errors and those of Kenward and Roger too; a predictor a million away leaves ten digits."""
    data = _data()
    fitted = fit("y ~ x + sex + (x | g)", data, **options)
    x = np.column_stack((np.ones(200), data["x"], data["sex"] == "m"))
    expected = np.sqrt(np.einsum("ni,ij,nj->n", x, fitted.vcov, x))
    np.testing.assert_allclose(fitted.predict(data, "marginal")["std_error"], expected, rtol=1e-9)
    far = data.with_columns(pl.col("x") + 1e6)
    there = fit("y ~ x + sex + (x | g)", far, **options).predict(far, "marginal")
    np.testing.assert_allclose(there["std_error"], expected, rtol=1e-6)


def test_rows_from_anywhere_with_their_columns() -> None:
    data = _data()
    fitted = fit("y ~ x + (1 | g)", data)
    connection = reference.connection()
    connection.register("rows_to_predict", data.to_arrow())
    expected = fitted.predict(data)["prediction"]
    for given in (data.lazy(), data.to_arrow(), connection.sql("from rows_to_predict")):
        assert fitted.predict(given)["prediction"].equals(expected)
    by_name = fitted.predict("rows_to_predict", connection=connection)
    assert by_name["prediction"].equals(expected)
    assert by_name.columns == [*data.columns, "prediction", "new_group"]


def test_faults_are_refused_in_a_sentence() -> None:
    fitted = fit("y ~ x + sex + (1 | g)", _data())
    with pytest.raises(DataError, match=r"no column 'sex', which the prediction needs\. Got x, g"):
        fitted.predict(pl.DataFrame({"x": [1.0], "g": [1]}))
    with pytest.raises(DataError, match=r"Column 'x' of the new rows is not numeric\. Got String"):
        fitted.predict(pl.DataFrame({"x": ["a"], "sex": ["f"], "g": [1]}))
    with pytest.raises(MlmError, match=r"Unknown kind\. Got 'both'; expected one of conditional, marginal"):
        fitted.predict(_data(), "both")
    with pytest.raises(DataError, match=r"The data are not a table\. Got an object"):
        fitted.predict(object())
