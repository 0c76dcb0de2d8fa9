"""Residual structures against nlme's varIdent, varFixed and corAR1, and lme4's precision weights.

Where R's optimiser stopped short, `refined` holds the Newton-polished optimum of a directly coded likelihood; the
tolerances are those of `test_mixed_models`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlm_ops as mlm
from tests.specification.reference import reference

STRUCTURES = {
    "nlme_hsb_varident": "by(sex)",
    "nlme_orthodont_varident": "by(Sex)",
    "nlme_orthodont_varident_ml": "by(Sex)",
    "nlme_sim3_nested": None,
    "nlme_simar1_both": "by(arm) + ar1(t)",
    "nlme_simar1_rs_ml": "ar1(t)",
    "nlme_simw_varfixed": "fixed(v)",
    "nlme_sleep_ri_ar1": "ar1(Days)",
}


def _fit(name: str, **options: Any) -> mlm.Fit:
    case = reference.case(name)
    estimator = case["estimator"].lower()
    return mlm.fit(
        case["formula"], reference.table(name), connection=reference.connection(), estimator=estimator, **options
    )


def test_every_case_is_here() -> None:
    assert sorted(STRUCTURES) == reference.names("nlme")


@pytest.mark.parametrize("name", STRUCTURES)
def test_structure(name: str) -> None:
    case, ours = reference.case(name), _fit(name, residual=STRUCTURES[name])
    refined = case["refined"] or {}
    assert ours.converged
    assert ours.estimate.log_likelihood == pytest.approx(refined.get("loglik", case["loglik"]), abs=1e-6)
    assert ours.estimate.n_parameters == case["n_par"]
    estimates = refined.get("estimates") or [row["estimate"] for row in case["fixed"]]
    errors = refined.get("std_errors") or [row["std_error"] for row in case["fixed"]]
    np.testing.assert_allclose(ours.estimate.gamma, estimates, rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(ours.vcov)), errors, rtol=1e-6)
    rows = {row["term"]: row for row in ours.variance_components.iter_rows(named=True) if row["group"] == "residual"}
    if refined.get("sd_ratio"):
        for stratum, ratio in refined["sd_ratio"].items():
            assert rows[stratum]["std_dev"] == pytest.approx(refined["sigma"] * ratio, rel=1e-5)
    if refined.get("phi"):
        assert rows["phi"]["estimate"] == pytest.approx(refined["phi"], rel=1e-5)
        assert rows["phi"]["symbol"] == "phi"
    if refined.get("random_vcov"):
        np.testing.assert_allclose(ours.estimate.tau[0], refined["random_vcov"], rtol=1e-5)


@pytest.mark.parametrize("name", ["weights_ri", "weights_ri_ml"])
def test_precision_weights(name: str) -> None:
    case, ours = reference.case(name), _fit(name, weights="w")
    assert ours.estimate.log_likelihood == pytest.approx(case["loglik"], abs=1e-6)
    np.testing.assert_allclose(ours.estimate.gamma, [row["estimate"] for row in case["fixed"]], rtol=1e-6)
    np.testing.assert_allclose(np.sqrt(np.diag(ours.vcov)), [row["std_error"] for row in case["fixed"]], rtol=1e-6)
    np.testing.assert_allclose(ours.fixed_effects["df"], [row["df_satterthwaite"] for row in case["fixed"]], rtol=1e-4)
    assert ours.estimate.tau[0][0, 0] == pytest.approx(case["random"][0]["vcov"], rel=1e-5)
    assert ours.estimate.sigma2 == pytest.approx(case["sigma"] ** 2, rel=1e-5)
    blups = [level["blup"][0] for level in case["ranef"]["g"]["levels"]]
    first_and_last = [*ours.block_effects[0].estimate[0][:5], *ours.block_effects[0].estimate[0][-5:]]
    assert sorted(blups) == pytest.approx(sorted(first_and_last), rel=1e-5)


def test_strata_without_groups() -> None:
    """Weighted least squares of two groups with a mean each: every stratum's own unbiased variance."""
    table, connection = reference.table("orthodont_ri"), reference.connection()
    ours = mlm.fit("distance ~ Sex", table, connection=connection, residual="by(Sex)")
    rows = {row["term"]: row["estimate"] for row in ours.variance_components.iter_rows(named=True)}
    for sex, variance in connection.sql(f"select Sex, var_samp(distance) from {table} group by Sex").fetchall():
        assert rows[sex] == pytest.approx(variance, rel=1e-8)
