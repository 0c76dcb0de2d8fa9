"""Precision weights are relative: all of them times k change the residual variance alone, which becomes k times it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm

ROWS = pl.read_csv(Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv").head(1500)
FORMULA = "mathach ~ ses + (ses | school)"
#: Far beyond what rows weigh, where sums of products end, and where these are so small that they could pass for zeros.
FACTORS = (1e-50, 1e-14, 1e-6, 1e3, 1e9, 1e14, 1e50, 1e120)
#: The same numbers but for the rounding of a product, through a search that ends at 1e-12 of the deviance.
SAME = 1e-6


def fitted(formula: str, factor: float, **options: str) -> mlm.Fit:
    """The fit with weights that differ between rows, all times the factor."""
    weights = factor * (1.0 + pl.col("minority").cast(pl.Float64) + pl.col("size") / 1000)
    return mlm.fit(formula, ROWS.with_columns(w=weights), weights="w", **options)


@pytest.fixture(scope="module")
def plain() -> mlm.Fit:
    return fitted(FORMULA, 1.0)


@pytest.mark.parametrize("factor", FACTORS)
def test_weights_times_a_factor_change_the_residual_variance_alone(factor: float, plain: mlm.Fit) -> None:
    fit = fitted(FORMULA, factor)
    one, other = fit.estimate, plain.estimate
    assert (one.optimum.singular, one.n_parameters) == (other.optimum.singular, other.n_parameters) == (False, 6)
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    assert one.sigma2 / factor == pytest.approx(other.sigma2, rel=SAME)
    np.testing.assert_allclose(one.tau[0], other.tau[0], rtol=SAME)
    for name in ("estimate", "std_error", "df"):
        np.testing.assert_allclose(fit.fixed_effects[name], plain.fixed_effects[name], rtol=SAME)
    random = pl.col("group") == "school"
    errors = [each.variance_components.filter(random)["std_error"].to_numpy() for each in (fit, plain)]
    np.testing.assert_allclose(*errors, rtol=1e-5)  # a Hessian's, at thetas that differ by rounding


@pytest.mark.parametrize("factor", [1e-14, 1e9])
@pytest.mark.parametrize("method", ["kenward-roger", "CR0", "CR2"])
def test_tests_of_fixed_effects_do_not_see_the_factor(factor: float, method: str) -> None:
    option = {"df": method} if method == "kenward-roger" else {"robust": method}
    one, other = (fitted(FORMULA, k, **option).fixed_effects for k in (factor, 1.0))
    for name in ("estimate", "std_error", "df", "p_value"):
        np.testing.assert_allclose(one[name], other[name], rtol=SAME, atol=1e-12)


@pytest.mark.parametrize("factor", [1e-14, 1e9])
@pytest.mark.parametrize("method", ["wald", "profile"])
def test_intervals_scale_as_the_residual_does(factor: float, method: str, plain: mlm.Fit) -> None:
    one, other = (each.intervals(method=method) for each in (fitted(FORMULA, factor), plain))
    scale = np.where(other["scale"] == "sigma", np.sqrt(factor), 1.0)
    for name in ("estimate", "conf_low", "conf_high"):
        np.testing.assert_allclose(one[name] / scale, other[name], rtol=1e-5)  # limits are found to 1e-6 of a step


@pytest.mark.parametrize("factor", [1e-14, 1e9])
@pytest.mark.parametrize("kind", ["HC1", "HC3"])
def test_errors_of_rows_do_not_see_the_factor(factor: float, kind: str) -> None:
    one, other = (fitted("mathach ~ ses", k, robust=kind).fixed_effects for k in (factor, 1.0))
    for name in ("estimate", "std_error", "p_value"):
        np.testing.assert_allclose(one[name], other[name], rtol=SAME, atol=1e-12)


def test_an_outcome_in_tiny_units_keeps_its_variance_between_groups() -> None:
    """fixed(v) is one over the weight: a y of 1e-7 beside variances of 1e-14."""
    rows = ROWS.with_columns(y=pl.col("mathach") * 1e-7, v=pl.lit(1e-14))
    fit = mlm.fit("y ~ ses + (1 | school)", rows, residual="fixed(v)")
    expected = mlm.fit("mathach ~ ses + (1 | school)", ROWS)
    assert fit.estimate.tau[0][0, 0] == pytest.approx(1e-14 * expected.estimate.tau[0][0, 0], rel=SAME)
    assert fit.estimate.sigma2 == pytest.approx(expected.estimate.sigma2, rel=SAME)
