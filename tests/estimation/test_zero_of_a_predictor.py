"""What a fit says does not depend on where a predictor has its zero: a year counts from 2010, or from the year 0."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm

#: From a year of our time to seconds since 1970.
OFFSETS = (2010.0, 1e6, 1.7e9)
#: The first seeds whose fits are singular, where the rank of T is looked at.
SINGULAR = (1, 3, 5)


def rows(seed: int) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(15), 5), np.tile(np.arange(5.0), 15)
    y = 1 + 0.2 * x + random.normal(size=15)[g] + random.normal(size=75)
    return pl.DataFrame({"g": g, "h": random.integers(0, 6, 75), "v": random.uniform(0.5, 2, 75), "x": x, "y": y})


@pytest.mark.parametrize("offset", OFFSETS)
@pytest.mark.parametrize("seed", SINGULAR)
@pytest.mark.parametrize("random", ["(x | g)", "(x | g) + (1 | h)"])
def test_a_singular_fit_has_the_same_parameters_wherever_its_predictor_is_zero(
    offset: float, seed: int, random: str
) -> None:
    centered = rows(seed)
    shifted = centered.with_columns(pl.col("x") + offset)
    one, other = (mlm.fit(f"y ~ x + {random}", data, weights="v") for data in (shifted, centered))
    compared = [
        mlm.compare(mlm.fit("y ~ x + (1 | g)", data, weights="v"), fit)
        for data, fit in ((shifted, one), (centered, other))
    ]
    assert other.estimate.optimum.singular
    assert one.notes == other.notes
    # the search is the same, in columns that are centered; x at 1.7e9 has lost six of its digits
    statistics = ["n_parameters", "log_likelihood", "aic", "bic", "t_rank"]
    assert one.fit_statistics.select(statistics).rows()[0] == pytest.approx(
        other.fit_statistics.select(statistics).rows()[0], abs=1e-5
    )
    for name in ("df", "p_value", "p_value_mixture"):
        assert compared[0][name].to_list() == pytest.approx(compared[1][name].to_list(), abs=1e-5)
    slopes = [fit.random_effects.filter(pl.col("term") == "x")["estimate"].to_numpy() for fit in (one, other)]
    np.testing.assert_allclose(*slopes, atol=1e-5)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_row_with_a_dummy_of_its_own_has_no_residual_variance(seed: int) -> None:
    """A value of by() with one row that the fixed part reproduces: REML sees nothing of it, ML would make it zero."""
    random = np.random.default_rng(seed)
    g = np.repeat(np.arange(8), 5)
    data = pl.DataFrame(
        {"g": g, "k": ["a"] * 39 + ["b"], "x": random.normal(size=40), "y": random.normal(size=8)[g]}
    ).with_columns(y=pl.col("y") + random.normal(size=40))
    fit = mlm.fit("y ~ x + k + (1 | g)", data, residual="by(k)")
    without = mlm.fit("y ~ x + (1 | g)", data.filter(pl.col("k") == "a"))
    # one dummy more
    assert fit.estimate.n_parameters == without.estimate.n_parameters + 1
    errors = fit.variance_components.filter(pl.col("group") == "residual")["std_error"].to_list()
    assert errors[1] is None
    assert errors[0] == pytest.approx(without.variance_components["std_error"].to_list()[-1], rel=1e-5)
    why = (
        "By maximum likelihood the residual variance of 'b' in by() has no estimate: the predictors can reproduce its "
        "few rows, and the nearer they come, the larger the likelihood. REML, or joining it with another value, gives "
        "one."
    )
    assert f"deviance_ml, aic_ml and bic_ml are null. {why}" in fit.notes
    assert fit.fit_statistics.select("deviance_ml", "aic_ml", "bic_ml").rows() == [(None, None, None)]
    with pytest.raises(mlm.IdentificationError) as caught:
        mlm.fit("y ~ x + k + (1 | g)", data, residual="by(k)", estimator="ml")
    assert str(caught.value) == why
