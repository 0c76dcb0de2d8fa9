"""Cluster-robust errors against R's clubSandwich, errors for unequal variances against R's sandwich.

Least squares is exact algebra and agrees to 1e-11; multilevel models are as good as the variances, whose optimum both
sides polished by Newton steps: 1e-8. Looser df would hide errors: a transposed matrix cost them only 2e-7 once.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from mlm_ops.results.fit import Fit
from mlm_ops.results.fitting import fit
from tests.specification.reference import reference

CASES = reference.names("ols_cluster_robust", "lmer_cluster_robust")
KINDS = ("CR0", "CR1", "CR1S", "CR2")


@cache
def _fitted(name: str, kind: str) -> Fit:
    case = reference.case(name)
    return fit(
        case["formula"],
        reference.table(name),
        connection=reference.connection(),
        robust=kind,  # type: ignore[arg-type]
        cluster=case["cluster"],
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CASES)
def test_robust_errors(name: str, kind: str) -> None:
    case = reference.case(name)
    expected, ours = case["cluster_robust"][kind], _fitted(name, kind)
    table = ours.fixed_effects
    tolerance = 1e-11 if case["kind"] == "ols_cluster_robust" else 1e-8
    np.testing.assert_allclose(ours.vcov, expected["vcov"], rtol=tolerance)
    np.testing.assert_allclose(table["std_error"], expected["std_error"], rtol=tolerance)
    np.testing.assert_allclose(table["df"], expected["df_satterthwaite"], rtol=tolerance)
    for value, p in zip(table["p_value"], expected["p_satterthwaite"], strict=True):
        # p values of t = 60 lie at 1e-70, where a relative error of df is a large one of p
        assert math.isclose(value, p, rel_tol=100 * tolerance) or value < 1e-30


@pytest.mark.parametrize("name", [n for n in CASES if reference.case(n).get("wald_cr2")])
def test_several_coefficients_at_once(name: str) -> None:
    wald = reference.case(name)["wald_cr2"]
    (expected,) = [test for test in wald["tests"] if test["test"] == "HTZ"]
    (chi_square,) = [test for test in wald["tests"] if test["test"] == "chi-sq"]
    row = _fitted(name, "CR2").test(wald["terms"]).row(0, named=True)
    assert row["statistic"] == pytest.approx(expected["F"], rel=1e-11)
    assert row["df1"] == expected["df_num"]
    assert row["df2"] == pytest.approx(expected["df_denom"], rel=1e-11)
    assert row["p_value"] == pytest.approx(expected["p"], rel=1e-9)
    case = reference.case(name)
    normal = fit(
        case["formula"],
        reference.table(name),
        connection=reference.connection(),
        robust="CR2",
        cluster=case["cluster"],
        df="none",
    )
    row = normal.test(wald["terms"]).row(0, named=True)
    assert row["statistic"] == pytest.approx(chi_square["F"], rel=1e-11)
    assert row["df2"] is None
    assert row["p_value"] == pytest.approx(chi_square["p"], rel=1e-9)


@pytest.mark.parametrize("name", [n for n in CASES if reference.case(n)["kind"] == "lmer_cluster_robust"])
def test_the_top_grouping_factor_is_the_default_cluster(name: str) -> None:
    case = reference.case(name)
    ours = fit(case["formula"], reference.table(name), connection=reference.connection(), robust="CR2")
    np.testing.assert_array_equal(ours.vcov, _fitted(name, "CR2").vcov)


@pytest.mark.parametrize("kind", ["HC0", "HC1", "HC2", "HC3"])
@pytest.mark.parametrize("name", reference.names("ols_hc"))
def test_errors_for_unequal_variances(name: str, kind: str) -> None:
    """The rows' residuals are computed in SQL, at the outcome's size: a digit less than least squares itself."""
    case = reference.case(name)
    expected = case["hc"][kind]
    ours = fit(
        case["formula"],
        reference.table(name),
        connection=reference.connection(),
        robust=kind,  # type: ignore[arg-type]
        weights=case["weights"],
    )
    table = ours.fixed_effects
    np.testing.assert_allclose(table["estimate"], case["estimate"], rtol=1e-11)
    np.testing.assert_allclose(ours.vcov, expected["vcov"], rtol=1e-10)
    np.testing.assert_allclose(table["std_error"], expected["std_error"], rtol=1e-10)
    assert set(table["df"]) == {case["df_residual"]}
    for value, p in zip(table["p_value"], expected["p"], strict=True):
        assert math.isclose(value, p, rel_tol=1e-8) or value < 1e-30
