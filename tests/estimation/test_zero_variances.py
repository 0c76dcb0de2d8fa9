"""A variance that is estimated as zero is zero, not what rounding left of it: tables do not depend on the processor."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm

#: Of these outcomes of pure noise about half have a variance, or several, whose estimate is zero.
FORMULAS = ("y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ x + (x || g)", "y ~ x + (1 | g) + (1 | h)")


def noise(seed: int) -> pl.DataFrame:
    """80 rows in 10 units of g, crossed with 8 of h, of which none has an effect."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=80).round(2)
    y = (x + draw.normal(size=80)).round(3)
    return pl.DataFrame({"g": np.repeat(np.arange(10), 8), "h": np.tile(np.arange(8), 10), "x": x, "y": y})


@pytest.mark.parametrize("formula", FORMULAS)
def test_variances_are_zero_or_large_enough_to_be_seen(formula: str) -> None:
    """Between 1e-52 and 1e-22 they were, with correlations and shares explained, down to -1e32, made of noise."""
    zero = 0
    for seed in range(25):
        fit = mlm.fit(formula, noise(seed))
        variances = fit.variance_components.filter(pl.col("other").is_null(), pl.col("group") != "residual")["estimate"]
        shares = variances.to_numpy() / fit.estimate.sigma2
        assert ((shares == 0) | (shares > 1e-9)).all(), (seed, shares)
        zero += int((shares == 0).sum())
        for row in fit.variance_components.filter(pl.col("other").is_not_null()).iter_rows(named=True):
            assert (row["correlation"] is None) == (shares == 0).any()
            assert row["correlation"] is None or abs(row["correlation"]) <= 1
        reliabilities = fit.random_effects.group_by("group", "term", maintain_order=True).agg("reliability")
        for values, share in zip(reliabilities["reliability"], shares, strict=True):
            assert values.null_count() == (len(values) if share == 0 else 0)
            assert values.drop_nulls().is_between(0, 1).all()
        assert fit.r_squared()["estimate"].min() > -100
    assert zero > 5


@pytest.mark.parametrize("formula", FORMULAS)
def test_effects_without_variance_are_zero_and_known_to_be(formula: str) -> None:
    """As lme4 has them; they were 1e-38 with an error of 1e-18, what the search left of theta."""
    seen = 0
    for seed in range(25):
        fit = mlm.fit(formula, noise(seed))
        variances = fit.variance_components.filter(pl.col("other").is_null(), pl.col("group") != "residual")
        effects = fit.random_effects.join(variances.select("group", "term", tau="estimate"), on=["group", "term"])
        assert effects.height == fit.random_effects.height
        without = effects.filter(pl.col("tau") == 0)
        for name in ("estimate", "std_error", "conf_low", "conf_high"):
            assert (without[name] == 0).all(), (seed, name)
        assert (effects.filter(pl.col("tau") > 0)["std_error"] > 0).all()
        seen += without.height
    assert seen > 50


@pytest.mark.parametrize("formula", FORMULAS)
def test_tables_have_the_same_rows_and_nulls_in_any_order_of_rows(formula: str) -> None:
    """Another order of rows rounds otherwise, as another processor does."""
    for seed in (1, 13, 26, 31, 32, 38):
        rows = noise(seed)
        first, second = (mlm.fit(formula, data) for data in (rows, rows.sample(fraction=1, shuffle=True, seed=seed)))
        for ours, theirs in (
            (first.variance_components, second.variance_components),
            (first.r_squared(), second.r_squared()),
            (first.icc(), second.icc()),
            (first.random_effects, second.random_effects),
        ):
            assert ours.shape == theirs.shape, seed
            for name in ours.columns:
                if ours.schema[name] != pl.Float64:
                    assert ours[name].to_list() == theirs[name].to_list(), (seed, name)
                    continue
                # a variance near zero is good to 1e-6 of the residual's, as a search ends 1e-12 above the minimum
                np.testing.assert_allclose(ours[name].to_numpy(), theirs[name].to_numpy(), rtol=1e-5, atol=1e-6)
