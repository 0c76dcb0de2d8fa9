"""Single-level regression against R's lm: exact algebra, so twelve digits."""

from __future__ import annotations

import numpy as np
import pytest

from mlm_ops.results.fitting import fit
from tests.specification.reference import reference

CASES = reference.names("ols_cluster_robust")


@pytest.mark.parametrize("name", CASES)
def test_least_squares(name: str) -> None:
    case, ours = reference.case(name), reference.fitted(name)
    table = ours.fixed_effects
    np.testing.assert_allclose(table["estimate"], [row["estimate"] for row in case["fixed"]], rtol=1e-11)
    np.testing.assert_allclose(table["std_error"], [row["std_error"] for row in case["fixed"]], rtol=1e-11)
    np.testing.assert_allclose(table["df"], [row["df"] for row in case["fixed"]], rtol=1e-14)
    assert ours.variance_components["std_dev"][0] == pytest.approx(case["sigma"], rel=1e-11)
    assert ours.estimate.log_likelihood == pytest.approx(case["loglik_reml"], abs=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_likelihood_and_information_criteria_by_ml(name: str) -> None:
    case = reference.case(name)
    row = fit(case["formula"], reference.table(name), connection=reference.connection(), estimator="ml").fit_statistics
    assert row["log_likelihood"][0] == pytest.approx(case["loglik"], abs=1e-8)
    assert row["aic"][0] == pytest.approx(case["aic"], abs=1e-8)
    assert row["bic"][0] == pytest.approx(case["bic"], abs=1e-8)
