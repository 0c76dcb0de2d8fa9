"""Intraclass correlations, design effects, and standard errors that ignore the groups.

Limits of profiles were found in R from lme4's deviance function (uniroot and optimize to 1e-10); quantiles of F are
R's qf. lme4's and our optimum agree to 1e-8 in the deviance, which moves a limit by 1e-6.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.inference.effect_sizes.clustering import design_effect, exact_interval, profile_interval, wald_interval
from tests.specification.reference import reference


@pytest.mark.parametrize("name", [n for n in reference.names("lmer") if reference.case(n).get("icc")])
def test_icc_of_every_factor_is_that_of_r(name: str) -> None:
    found = dict(reference.fitted(name).icc().select("group", "icc").iter_rows())
    ours = {frozenset(group.split(":")): icc for group, icc in found.items()}
    for group, expected in reference.case(name)["icc"].items():
        assert ours[frozenset(group.split(":"))] == pytest.approx(expected, rel=1e-6)


def test_exact_interval_by_hand() -> None:
    """Dyestuff: mean squares 11271.5 and 2451.25 of 6 batches of 5; qf(c(.975, .025), 5, 24) = 3.154816, 0.1592854."""
    row = reference.fitted("dyestuff_reml").icc().row(0, named=True)
    low, high = (11271.5 / 2451.25 / q for q in (3.154816, 0.1592854))
    assert row["method"] == "exact F"
    assert row["conf_low"] == pytest.approx((low - 1) / (low + 4), rel=1e-5)
    assert row["conf_high"] == pytest.approx((high - 1) / (high + 4), rel=1e-5)
    assert reference.fitted("dyestuff2_reml").icc()["conf_low"][0] == 0


def test_exact_interval_covers() -> None:
    """Mean squares of balanced data are chi-squares: 4,000 draws, of which 95% cover, within 3.5 standard errors."""
    draw = np.random.default_rng(3)
    groups, size, icc = 12, 4, 0.3
    between = (1 - icc + size * icc) * draw.chisquare(groups - 1, 4000) / (groups - 1)
    within = (1 - icc) * draw.chisquare(groups * (size - 1), 4000) / (groups * (size - 1))
    limits = [exact_interval(b, w, groups, size) for b, w in zip(between, within, strict=True)]
    covered = np.mean([low <= icc <= high for low, high in limits])
    assert covered == pytest.approx(0.95, abs=3.5 * np.sqrt(0.95 * 0.05 / 4000))


@pytest.mark.parametrize(
    ("name", "group", "low", "high"),
    [
        ("hsb_null_reml", "school", 0.1471775124, 0.2210274795),
        ("hsb_null_ml", "school", 0.1463602016, 0.2197052173),
        ("sim3_nested_ri", "class_id", 0.13393360, 0.24053463),
        ("sim3_nested_ri", "school", 0.07766797, 0.23261740),
    ],
)
def test_profile_limits_are_those_of_lme4s_deviance(name: str, group: str, low: float, high: float) -> None:
    row = reference.fitted(name).icc().filter(group=group).row(0, named=True)
    assert row["method"] == "profile"
    assert (row["conf_low"], row["conf_high"]) == pytest.approx((low, high), abs=2e-6)


def test_high_school_and_beyond_by_its_book() -> None:
    """Raudenbush and Bryk (2002), chapter 4: ICC 0.18, reliability of the school means 0.90."""
    fit = reference.fitted("hsb_null_reml")
    row = fit.icc().row(0, named=True)
    n = pl.read_csv(reference.HERE / "data" / "hsb.csv").group_by("school").len()["len"].to_numpy()
    tau, sigma2 = fit.estimate.tau[0][0, 0], fit.estimate.sigma2
    assert row["reliability"] == pytest.approx((tau / (tau + sigma2 / n)).mean(), rel=1e-8)
    assert row["reliability"] == pytest.approx(0.90, abs=0.005)
    assert row["design_effect"] == pytest.approx(1 + ((n**2).sum() / n.sum() - 1) * tau / (tau + sigma2), rel=1e-9)
    assert row["n_effective"] == pytest.approx(7185 / row["design_effect"], rel=1e-12)
    assert not row["conditional"]


def test_design_effect_is_the_ratio_of_variances() -> None:
    """Of the mean over rows, with the covariance matrix written out, unequal groups."""
    sizes, icc = np.array([1, 2, 5]), 0.2
    unit = np.repeat(np.arange(3), sizes)
    covariance = np.where(unit[:, None] == unit, icc, 0.0) + (1 - icc) * np.eye(8)
    assert design_effect(icc, float((sizes**2).sum() / 8)) == pytest.approx(covariance.mean() * 8, rel=1e-12)


def test_slopes_have_no_single_share() -> None:
    row = reference.fitted("hsb_random_slope_cwc").icc().row(0, named=True)
    assert row["icc"] is None
    assert "slopes vary" in row["note"]


def test_crossed_factors_have_wald_limits() -> None:
    found = reference.fitted("penicillin_reml").icc()
    assert set(found["method"]) == {"wald"}


def test_wald_limits_are_near_those_of_the_profile() -> None:
    """160 schools: the two differ by less than a tenth of the interval's length."""
    result = reference.fitted("hsb_null_reml").estimate
    profile, wald = profile_interval(result, 0), wald_interval(result, 0)
    assert wald == pytest.approx(profile, abs=0.1 * (profile[1] - profile[0]))


def test_naive_errors_are_those_of_least_squares() -> None:
    data = pl.read_csv(reference.HERE / "data" / "hsb.csv")
    fitted = mlm.fit("mathach ~ within(ses) + sector + (1 + within(ses) | school)", data)
    plain = mlm.fit("mathach ~ within(ses, school) + sector", data)
    robust = mlm.fit("mathach ~ within(ses, school) + sector", data, robust="CR2", cluster="school")
    found = fitted.standard_errors()
    np.testing.assert_allclose(found["naive_estimate"], plain.fixed_effects["estimate"], rtol=1e-9)
    np.testing.assert_allclose(found["naive_std_error"], plain.fixed_effects["std_error"], rtol=1e-9)
    np.testing.assert_allclose(found["robust_std_error"], robust.fixed_effects["std_error"], rtol=1e-8)
    np.testing.assert_allclose(found["std_error"], fitted.fixed_effects["std_error"], rtol=1e-12)
    # sector is a school's: least squares takes 7185 students for so many schools
    assert found["std_error_ratio"][2] > 1.9
    # a regression's own errors are those of least squares; what clusters would make of them stands beside
    table = robust.standard_errors()
    assert table["std_error_kind"].to_list() == ["CR2"] * 3
    np.testing.assert_allclose(table["naive_std_error"], plain.fixed_effects["std_error"], rtol=1e-12)
    np.testing.assert_allclose(table["robust_std_error"], robust.fixed_effects["std_error"], rtol=1e-12)


def test_strata_count_by_their_rows() -> None:
    data = pl.read_csv(reference.HERE / "data" / "orthodont.csv")
    fitted = mlm.fit("distance ~ age + (1 | Subject)", data, residual="by(Sex)")
    rows = data.group_by("Sex").len(name="rows")
    sigma2 = fitted.variance_components.filter(group="residual").join(rows, left_on="term", right_on="Sex")
    mean = (sigma2["estimate"] * sigma2["rows"]).sum() / data.height
    tau = fitted.estimate.tau[0][0, 0]
    assert fitted.icc()["icc"][0] == pytest.approx(tau / (tau + mean), rel=1e-12)
    assert fitted.fit_statistics["icc"][0] == fitted.icc()["icc"][0]
    assert fitted.icc()["conf_low"][0] is None
