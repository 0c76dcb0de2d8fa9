"""Influence against refits, the tests against hand-worked and published numbers, and data made with faults."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.inference.diagnostics.deletion import one_step_deletions, refit_without
from mlm_ops.inference.diagnostics.residuals import heterogeneity, mahalanobis_distances, normality, standardised
from mlm_ops.results.fit import Fit
from tests.specification.reference import reference

CASES = ["hsb_cross_level", "hsb_null_ml", "sleep_rs", "egsingle_3level", "slopes5_blocks"]


@pytest.mark.parametrize("name", CASES)
def test_one_step_deletions_are_near_refits(name: str) -> None:
    fit = reference.fitted(name)
    deletions = one_step_deletions(fit.estimate, fit.moments)
    assert deletions is not None
    error = np.sqrt(np.diag(fit.estimate.vcov))
    for unit in np.argsort(-deletions.cooks)[:3]:
        refit = refit_without(fit.model, fit.moments, fit.estimate, int(unit))
        assert refit is not None
        change, guess = (g - fit.estimate.gamma for g in (refit.gamma, deletions.gamma[:, unit]))
        # one Newton step of the variances: the change it predicts is off by a tenth at most
        assert np.abs((guess - change) / error).max() <= 0.1 * np.abs(change / error).max()


def test_a_refit_is_the_fit_of_the_other_rows() -> None:
    rows = reference.connection().sql(f"from {reference.table('sleep_rs')}").pl()
    fit = mlm.fit("Reaction ~ Days + (Days | Subject)", rows)
    unit = list(fit.estimate.design.levels[0].labels).index("308")
    refit = refit_without(fit.model, fit.moments, fit.estimate, unit)
    direct = mlm.fit("Reaction ~ Days + (Days | Subject)", rows.filter(pl.col("Subject").cast(str) != "308"))
    assert refit is not None
    assert refit.log_likelihood == pytest.approx(direct.estimate.log_likelihood, abs=1e-7)
    assert refit.gamma == pytest.approx(direct.estimate.gamma, rel=1e-6)


def test_deletions_of_rows_with_known_strata() -> None:
    fit = reference.fitted("nlme_simw_varfixed")
    deletions = one_step_deletions(fit.estimate, fit.moments)
    assert deletions is not None
    unit = int(np.argmax(deletions.cooks))
    refit = refit_without(fit.model, fit.moments, fit.estimate, unit)
    assert refit is not None
    assert deletions.gamma[:, unit] == pytest.approx(refit.gamma, rel=0.01)


def test_without_the_only_unit_that_determines_a_coefficient_nothing_is_estimated() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), 8)
    x = rng.normal(size=96)
    rows = pl.DataFrame({"g": group, "x": x, "alone": (group == 3) * 1.0, "y": x + rng.normal(size=12)[group]})
    rows = rows.with_columns(y=pl.col("y") + rng.normal(size=96))
    fit = mlm.fit("y ~ x + alone + (1 | g)", rows)
    deletions = one_step_deletions(fit.estimate, fit.moments)
    assert deletions is not None
    assert refit_without(fit.model, fit.moments, fit.estimate, 3) is None
    for values in (deletions.gamma[0], deletions.gamma[2], deletions.cooks, deletions.sigma2, deletions.tau[0][0, 0]):
        assert np.flatnonzero(np.isnan(values)).tolist() == [3]


def test_without_fixed_effects_no_unit_moves_any() -> None:
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(12), 8)
    fit = mlm.fit("y ~ 0 + (1 | g)", pl.DataFrame({"g": group, "y": rng.normal(size=12)[group] + rng.normal(size=96)}))
    deletions = one_step_deletions(fit.estimate, fit.moments)
    assert deletions is not None
    assert deletions.cooks.tolist() == [0.0] * 12
    assert fit.diagnostics().filter(diagnostic="influence").is_empty()


def test_without_one_of_two_units_the_model_is_not_identified() -> None:
    rng = np.random.default_rng(1)
    group, x = np.repeat([0, 1], 8), rng.normal(size=16)
    rows = pl.DataFrame({"g": group, "x": x, "y": x + 3.0 * group + rng.normal(size=16)})
    fit = mlm.fit("y ~ within(x) + between(x) + (1 | g)", rows)
    found = fit.diagnostics().filter(diagnostic="influence")
    assert found["flagged"].to_list() == [True, True]
    assert found["note"].to_list() == ["without 0 the model is not identified", "without 1 the model is not identified"]


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_outlier_distances_do_not_depend_on_units_of_measurement(factor: float) -> None:
    rows = reference.connection().sql(f"from {reference.table('sleep_rs')}").pl()
    found = []
    for scale in (1.0, factor):
        fit = mlm.fit("Reaction ~ Days + (Days | Subject)", rows.with_columns(Days=pl.col("Days") * scale))
        found.append(mahalanobis_distances(fit.block_effects[0], fit.estimate.tau[0]))
    assert found[1][1].tolist() == found[0][1].tolist() == [2] * 18
    # two searches end within the optimiser's tolerance of each other
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)


def test_crossed_factors_and_estimated_residuals_have_no_deletions() -> None:
    hsb = mlm.fit(
        "mathach ~ 1 + (1 | school)",
        reference.table("hsb_null_ml"),
        connection=reference.connection(),
        residual="by(sex)",
    )
    for fit in (reference.fitted("penicillin_reml"), hsb):
        assert one_step_deletions(fit.estimate, fit.moments) is None
        assert fit.diagnostics().filter(diagnostic="influence").is_empty()


def test_normality_equals_scipys() -> None:
    # scipy.stats.normaltest, skew and kurtosis of these numbers, scipy 1.17 (which takes eight seconds to import)
    found = normality(np.sqrt(np.arange(1, 61.0)))
    assert found is not None
    assert (found.skewness, found.kurtosis) == pytest.approx((-0.5234087132880274, 2.29545510481165), rel=1e-12)
    assert (found.statistic, found.p_value) == pytest.approx((4.842524637200904, 0.08880944086388223), rel=1e-10)


def test_normality_needs_units() -> None:
    assert normality(np.arange(19.0)) is None
    assert normality(np.full(30, 2.0)) is None
    assert normality(np.full(30, np.nan)) is None


def test_bartletts_statistic_by_rows() -> None:
    rng = np.random.default_rng(3)
    group = np.repeat(np.arange(12), 15)
    x = rng.normal(size=180)
    y = x + rng.normal(size=180) * (1 + 2 * (group == 0))
    fit = mlm.fit("y ~ x + (1 | g)", pl.DataFrame({"y": y, "x": x, "g": group}))
    found = heterogeneity(fit.estimate, np.full(12, 15.0))
    assert found is not None
    logs = []
    for unit in range(12):
        design = np.column_stack((np.ones(15), x[group == unit]))
        left = np.linalg.lstsq(design, y[group == unit], rcond=None)[1][0]
        logs.append(np.log(left / 13))
    expected = 13 / 2 * ((np.array(logs) - np.mean(logs)) ** 2).sum()
    assert found.statistic == pytest.approx(expected, rel=1e-8)  # the same sums in another order
    assert found.df == 11
    assert found.p_value < 0.01
    # units of one size: the variance of the log variances, less the 2 / 13 of sampling, is that of the units
    beyond = np.var(logs, ddof=1) - 2 / 13
    assert found.spread == pytest.approx(np.sqrt(beyond) / 2, rel=1e-8)


def test_units_that_differ_by_little_are_told_not_flagged() -> None:
    """Of 60 units with 2,000 rows each a tenth of the residual variance is found for sure, and moves no error."""
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(60), 2000)
    findings = {}
    for share in (0.04, 0.2):
        noise = rng.normal(size=len(group)) * np.exp(share * rng.normal(size=60))[group]
        rows = pl.DataFrame({"y": rng.normal(size=60)[group] + noise, "g": group})
        found = mlm.fit("y ~ 1 + (1 | g)", rows).diagnostics().filter(diagnostic="heteroscedasticity")
        findings[share] = found.row(0, named=True)
        assert findings[share]["p_value"] < 1e-6
        assert findings[share]["estimate"] == pytest.approx(share, rel=0.3)
        assert findings[share]["bound"] == 0.05
    assert [one["flagged"] for one in findings.values()] == [False, True]


@pytest.fixture(scope="module")
def faulty() -> Fit:
    """One school of 40 lies eight standard deviations out, and drags the coefficient of its size."""
    rng = np.random.default_rng(5)
    school = np.repeat(np.arange(40), 20)
    size = np.where(school == 7, 10.0, rng.normal(size=40)[school])
    y = rng.normal(size=40)[school] + 8.0 * (school == 7) + rng.normal(size=800)
    return mlm.fit("y ~ size + (1 | school)", pl.DataFrame({"y": y, "size": size, "school": school}))


def test_influence_names_the_unit_that_moves_a_coefficient(faulty: Fit) -> None:
    found = faulty.diagnostics().filter(diagnostic="influence")
    first = found.row(0, named=True)
    assert (first["group"], first["unit"], first["term"], first["flagged"]) == ("school", "7", "size", True)
    assert first["statistic"] < -1
    assert found["flagged"].sum() == 1
    assert found.height == 40


def test_outliers_are_adjusted_for_the_number_of_units() -> None:
    rng = np.random.default_rng(6)
    school = np.repeat(np.arange(60), 20)
    y = rng.normal(size=60)[school] + 9.0 * (school == 3) + rng.normal(size=1200)
    fit = mlm.fit("y ~ 1 + (1 | school)", pl.DataFrame({"y": y, "school": school}))
    found = fit.diagnostics().filter(diagnostic="outlier")
    assert found.row(0, named=True)["unit"] == "3"
    assert found["flagged"].to_list() == [True] + [False] * 9
    assert fit.diagnostics().filter(diagnostic="normality")["flagged"].to_list() == [True]


def test_standardised_effects_have_their_variance() -> None:
    """The distances average the number of effects, as chi-square variables do: 2000 units, a standard error of 0.04."""
    rng = np.random.default_rng(8)
    group = np.repeat(np.arange(2000), 12)
    x = rng.normal(size=24_000)
    effects = rng.multivariate_normal([0, 0], [[1, 0.3], [0.3, 0.5]], 2000)[group]
    y = effects[:, 0] + effects[:, 1] * x + rng.normal(size=24_000)
    fit = mlm.fit("y ~ x + (x | g)", pl.DataFrame({"y": y, "x": x, "g": group}))
    distance, rank, p = mahalanobis_distances(fit.block_effects[0], fit.estimate.tau[0])
    assert (rank == 2).all()
    assert distance.mean() == pytest.approx(2.0, abs=0.15)
    assert (p < 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert standardised(fit.block_effects[0], fit.estimate.tau[0]).std(axis=1) == pytest.approx([1, 1], abs=0.05)


def test_a_regression_has_no_groups_to_diagnose_but_predictors() -> None:
    fit = mlm.fit("y ~ x", pl.DataFrame({"y": [1.0, 2, 4, 4, 6], "x": [1.0, 2, 3, 4, 5]}))
    assert fit.diagnostics()["diagnostic"].to_list() == ["vif", "condition_number"]
    assert mlm.fit("y ~ 1", pl.DataFrame({"y": [1.0, 2, 4]})).diagnostics().is_empty()


@pytest.mark.parametrize("sign", [-1, 1])
def test_units_that_are_alike_stand_in_their_own_order(sign: int) -> None:
    """Balanced data have the same outcomes in many units: which of them are told of must not hang on rounding."""
    rows = [(f"g{i:02d}", 0.1 * (sign * (i % 4) + (-1) ** k * (k // 2) / 3)) for i in range(40) for k in range(6)]
    fit = mlm.fit("y ~ 1 + (1 | g)", pl.DataFrame(rows, schema=["g", "y"], orient="row"))
    found = fit.diagnostics()
    far = [f"g{i:02d}" for i in range(40) if i % 4 in (0, 3)]
    assert found.filter(diagnostic="outlier")["unit"].to_list() == far[:10]
    influential = found.filter(diagnostic="influence")["unit"].to_list()
    assert influential == [*far, *(f"g{i:02d}" for i in range(40) if i % 4 in (1, 2))]
