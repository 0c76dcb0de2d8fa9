"""The tables of units against R: aggregate(), lmList() and lm() in each unit, predict.merMod() at a line's two ends.

R's numbers are in tests/specification/reference/units. Its models are held at the theta of ours, so that the rest of
the digits does not depend on where two optimisers stop; 1e-8 is then the rounding of sums over some thousand rows.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.results.fit import Fit
from tests.specification.reference import reference

TOLERANCE = 1e-8
LINES = ("hsb_cross_level", "hsb_raw_slope", "hsb_intercepts", "sim_3lev", "insteval_small", "sim_w")


def r_numbers(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((reference.HERE / "units" / f"{name}.json").read_text())
    return content


def fit(name: str) -> Fit:
    theirs = r_numbers(name)
    options: dict[str, Any] = {"weights": "w"} if name == "sim_w" else {}
    return mlm.fit(theirs["formula"], str(reference.HERE / "data" / f"{theirs['data']}.csv"), **options)


def floats(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values])


@pytest.fixture(scope="module", params=LINES)
def case(request: pytest.FixtureRequest) -> tuple[Fit, dict[str, Any]]:
    return fit(request.param), r_numbers(request.param)


def in_order(table: pl.DataFrame, theirs: dict[str, Any]) -> pl.DataFrame:
    """The table's rows in the order of R's units."""
    units = pl.DataFrame({"unit": theirs["units"]})
    actual = units.join(table, on="unit", how="left", maintain_order="left")
    assert actual.height == len(theirs["units"]) == table.height
    return actual


def test_r_was_held_where_our_optimum_is(case: tuple[Fit, dict[str, Any]]) -> None:
    ours, theirs = case
    np.testing.assert_allclose(ours.fixed_effects["estimate"], theirs["fixed"], rtol=TOLERANCE)


def test_groups_are_what_aggregate_finds(case: tuple[Fit, dict[str, Any]]) -> None:
    ours, theirs = case
    group = ours.unit_lines()["group"][0]
    for variable, numbers in theirs["aggregate"].items():
        actual = in_order(ours.groups().filter(group=group, variable=variable), theirs)
        for column in ("n", "mean", "std_dev"):
            np.testing.assert_allclose(
                actual[column].cast(pl.Float64).to_numpy(), floats(numbers[column]), rtol=TOLERANCE, atol=1e-12
            )


def test_own_lines_are_least_squares_in_the_unit(case: tuple[Fit, dict[str, Any]]) -> None:
    ours, theirs = case
    actual = in_order(ours.unit_lines(), theirs)
    for column in ("own_intercept", "own_slope"):
        np.testing.assert_allclose(actual[column].to_numpy(), floats(theirs[column]), rtol=TOLERANCE, atol=TOLERANCE)


def test_lines_are_what_is_predicted_at_their_ends(case: tuple[Fit, dict[str, Any]]) -> None:
    ours, theirs = case
    actual = in_order(ours.unit_lines(), theirs)
    for end in ("low", "high"):
        x = actual[f"x_{end}"].to_numpy()
        np.testing.assert_allclose(x, floats(theirs[f"x_{end}"]), rtol=TOLERANCE, atol=1e-12)
        y = actual["intercept"].to_numpy() + actual["slope"].to_numpy() * x
        np.testing.assert_allclose(y, floats(theirs[f"y_{end}"]), rtol=TOLERANCE)


def test_a_factor_has_a_line_to_each_of_its_levels() -> None:
    theirs = r_numbers("machines")
    ours = fit("machines")
    for level in ("b", "c"):
        actual = in_order(ours.unit_lines().filter(term=f"machine[{level.upper()}]"), theirs)
        np.testing.assert_allclose(actual["intercept"], theirs["y_a"], rtol=TOLERANCE)
        np.testing.assert_allclose(actual["intercept"] + actual["slope"], theirs[f"y_{level}"], rtol=TOLERANCE)
        np.testing.assert_allclose(actual["own_intercept"], theirs["own_a"], rtol=TOLERANCE)
        np.testing.assert_allclose(actual["own_slope"], theirs[f"own_{level}"], rtol=TOLERANCE)


# --- what has no number, and what has no row --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """Eight groups in four regions, of 1, 2, 3 and more rows; x does not vary in group c, w not in any."""
    generator = np.random.default_rng(3)
    sizes = {"a": 1, "b": 2, "c": 5, "d": 3, "e": 9, "f": 9, "g": 9, "h": 9}
    g = np.repeat(list(sizes), list(sizes.values()))
    x = np.where(g == "c", 2.0, generator.normal(size=len(g)))
    w = np.array([ord(name) % 5 for name in g]) / 3
    region = np.array([ord(name) % 4 for name in g])
    y = 1 + x + w + generator.normal(size=len(g)) + 0.8 * np.array([ord(name) % 3 for name in g])
    return pl.DataFrame({"g": g, "region": region, "x": x, "w": w, "y": y, "t": np.arange(len(g)) % 9})


def test_a_unit_of_one_row_has_no_deviation_and_no_line_of_its_own(rows: pl.DataFrame) -> None:
    ours = mlm.fit("y ~ x + w + (1 | g)", rows)
    alone = ours.groups().filter(unit="a")
    assert alone["n"].to_list() == [1, 1, 1]
    assert alone["std_dev"].null_count() == 3
    assert ours.groups().filter(variable="w")["std_dev"].null_count() == 8
    lines = {row["unit"]: row for row in ours.unit_lines().iter_rows(named=True)}
    assert [lines["a"][name] for name in ("x_low", "x_high", "own_intercept", "own_slope")] == [None] * 4
    assert lines["a"]["intercept"] is not None
    # two rows have a line through them, which is not least squares; in c the predictor does not vary
    assert [lines[unit]["own_slope"] is None for unit in "abcdefgh"] == [True] * 3 + [False] * 5
    assert lines["c"]["x_low"] == lines["c"]["x_high"] == 2.0


def test_variables_are_the_numbers_of_the_model_the_outcome_first(rows: pl.DataFrame) -> None:
    actual = mlm.fit("log(y + 20) ~ within(x) + between(x) + w + C(region) + (1 | g)", rows, df="none").groups()
    assert actual["variable"].unique(maintain_order=True).to_list() == ["log(y + 20)", "x", "w"]
    assert actual["group"].unique().to_list() == ["g"]


def test_every_grouping_factor_has_rows_and_the_lowest_has_lines(rows: pl.DataFrame) -> None:
    nested = mlm.fit("y ~ x + (1 | region) + (1 | g)", rows, df="none")
    assert dict(nested.groups().filter(variable="x").group_by("group").len().iter_rows()) == {"g": 8, "region": 4}
    upper = rows.group_by("region").agg(pl.len().alias("n"), pl.col("x").mean().alias("mean"), pl.col("x").std())
    actual = nested.groups().filter(group="region", variable="x").sort("unit")
    expected = upper.sort("region")
    assert actual["n"].to_list() == expected["n"].to_list()
    np.testing.assert_allclose(actual["mean"], expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(actual["std_dev"], expected["x"], rtol=1e-12)
    assert nested.unit_lines()["group"].unique().to_list() == ["g"]


def test_no_groups_no_rows(rows: pl.DataFrame) -> None:
    flat = mlm.fit("y ~ x", rows)
    assert flat.groups().is_empty()
    assert flat.unit_lines().is_empty()
    centered = mlm.fit("y ~ within(x)", rows, levels="g")
    assert centered.groups().is_empty()
    assert centered.unit_lines().is_empty()
    split = mlm.fit("within(y, g) ~ within(x, g)", rows, levels=["g", "region"])
    assert split.unit_lines().is_empty()


def test_no_line_where_the_effect_is_a_curve_or_no_predictor_varies_in_the_units(rows: pl.DataFrame) -> None:
    assert mlm.fit("y ~ w + (1 | g)", rows).unit_lines().is_empty()
    curved = mlm.fit("y ~ x + I(x**2) + t + (1 | g)", rows, df="none").unit_lines()
    assert curved["term"].unique().to_list() == ["t"]
    assert mlm.fit("y ~ poly(x, 2) + (1 | g)", rows).unit_lines().is_empty()


def test_terms_are_the_slopes_that_vary_or_all_predictors(rows: pl.DataFrame) -> None:
    every = mlm.fit("y ~ x + t + w + (1 | g)", rows, df="none").unit_lines()
    assert every["term"].unique(maintain_order=True).to_list() == ["x", "t"]
    assert every.group_by("term").agg(pl.col("slope").n_unique())["slope"].to_list() == [1, 1]
    varying = mlm.fit("y ~ x + t + w + (1 + t | g)", rows, df="none").unit_lines()
    assert varying["term"].unique().to_list() == ["t"]
    # the slope of what is constant in a unit, or of a product, is part of the lines along what varies
    unequal = mlm.fit("y ~ x + (1 + w | g)", rows, df="none")
    assert unequal.unit_lines()["term"].unique().to_list() == ["x"]
    effects = unequal.random_effects.pivot("term", index="unit", values="estimate")
    w = rows.group_by("g", maintain_order=True).agg(pl.col("w").first())["w"]
    expected = effects["(Intercept)"] + effects["w"] * w + unequal.fixed_effects["estimate"][0]
    np.testing.assert_allclose(unequal.unit_lines()["intercept"], expected, rtol=1e-10)
    # a slope that varies and has no coefficient in the fixed part varies around zero
    around = mlm.fit("y ~ 1 + (0 + t | g)", rows, df="none")
    np.testing.assert_allclose(around.unit_lines()["slope"], around.random_effects["estimate"], rtol=1e-12)


def test_lines_are_predictions_for_the_units_own_rows(rows: pl.DataFrame) -> None:
    """Where no other predictor varies in the units, the line runs through what is predicted for each row."""
    ours = mlm.fit("y ~ within(x, g) * w + between(x, g) + (1 + within(x, g) | g) + (1 | region)", rows, df="none")
    means = rows.with_columns(deviation=pl.col("x") - pl.col("x").mean().over("g"))
    predicted = ours.predict(means).join(ours.unit_lines(), left_on="g", right_on="unit", maintain_order="left")
    line = predicted["intercept"] + predicted["slope"] * predicted["deviation"]
    np.testing.assert_allclose(line, predicted["prediction"], rtol=1e-10)


def test_far_from_zero_no_digits_are_lost(rows: pl.DataFrame) -> None:
    near = mlm.fit("y ~ x + w + (1 | g)", rows).unit_lines()
    far = mlm.fit("y ~ x + w + (1 | g)", rows.with_columns(pl.col("x") + 1e6)).unit_lines()
    np.testing.assert_allclose(far["own_slope"].drop_nulls(), near["own_slope"].drop_nulls(), rtol=1e-8)
    np.testing.assert_allclose(far["x_low"].drop_nulls() - 1e6, near["x_low"].drop_nulls(), atol=1e-9)


def test_robust_errors_and_df_change_no_line(rows: pl.DataFrame) -> None:
    plain = mlm.fit("y ~ x + (1 | g)", rows)
    assert mlm.fit("y ~ x + (1 | g)", rows, robust="CR2").unit_lines().equals(plain.unit_lines())
    assert mlm.fit("y ~ x + (1 | g)", rows, df="none").groups().equals(plain.groups())


def test_strata_weight_the_units_own_lines(rows: pl.DataFrame) -> None:
    """Generalised least squares in a unit by the fit's variances, against the same with rows."""
    data = rows.with_columns(s=(pl.int_range(pl.len()) % 2).cast(pl.String)).filter(pl.col("g").is_in([*"efgh"]))
    ours = mlm.fit("y ~ x + (1 | g)", data, residual="by(s)")
    variances = dict(ours.variance_components.filter(group="residual").select("term", "estimate").iter_rows())
    for row in ours.unit_lines().iter_rows(named=True):
        own = data.filter(g=row["unit"])
        w = np.array([1 / variances[s] for s in own["s"]])
        x = np.column_stack((np.ones(own.height), own["x"]))
        beta = np.linalg.solve(x.T @ (w[:, None] * x), x.T @ (w * own["y"].to_numpy()))
        np.testing.assert_allclose([row["own_intercept"], row["own_slope"]], beta, rtol=1e-8)


def test_a_structural_fit_has_the_numbers_of_its_clusters() -> None:
    hsb = pl.read_csv(reference.HERE / "data" / "hsb.csv", schema_overrides={"school": pl.String})
    text = "level: 1\n mathach ~ ses\nlevel: 2\n mathach ~ ses\n"
    actual = mlm.sem(text, hsb, cluster="school").groups().sort("variable", "unit")
    expected = mlm.fit("mathach ~ ses + (1 | school)", hsb).groups().sort("variable", "unit")
    assert actual["variable"].unique(maintain_order=True).to_list() == ["mathach", "ses"]
    assert actual.select("group", "unit", "n", "variable").equals(expected.select("group", "unit", "n", "variable"))
    np.testing.assert_allclose(actual["mean"], expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(actual["std_dev"], expected["std_dev"], rtol=1e-12)
