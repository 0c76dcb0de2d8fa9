"""Every reference case that lme4 fitted, number by number.

Tolerances are those under which lme4's own optimisers agree among each other (its numbers were polished by a Newton
step): log-likelihood 1e-6 absolute, fixed effects and standard errors 1e-6 relative, variances 1e-5, df 1e-4.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from tests.specification.reference import reference

#: Cases for which the engine has no structure yet, and why.
OUT_OF_SCOPE = {
    "weights_ri": "precision weights",
    "weights_ri_ml": "precision weights",
}
CASES = [name for name in reference.names("lmer") if name not in OUT_OF_SCOPE]


def _group(name: str) -> frozenset[str]:
    """lme4 writes class:school and g.1, we write school:class and g."""
    return frozenset(re.sub(r"\.\d+$", "", name).split(":"))


def _variances(name: str) -> list[tuple[dict[str, Any], float]]:
    """The case's variance components, each with ours."""
    ours = {
        (_group(row["group"]), _term(row["term"]), _term(row["other"])): row["estimate"]
        for row in reference.fitted(name).variance_components.iter_rows(named=True)
    }
    pairs = []
    for row in reference.case(name)["random"]:
        group = "residual" if row["group"] == "Residual" else row["group"]
        pairs.append((row, ours[_group(group), row["term1"], row["term2"]]))
    return pairs


def _term(name: str | None) -> str | None:
    """R writes machineA, we write machine[A]."""
    return name and re.sub(r"\[(.*?)\]", r"\1", name)


@pytest.mark.parametrize("name", CASES)
def test_log_likelihood_and_information_criteria(name: str) -> None:
    expected = reference.case(name)
    row = reference.fitted(name).fit_statistics.row(0, named=True)
    assert row["log_likelihood"] == pytest.approx(expected["loglik"], abs=1e-6)
    assert row["n_obs"] == expected["n_obs"]
    assert row["n_parameters"] == expected["n_par"]
    assert row["aic"] == pytest.approx(expected["aic"], abs=2e-6)
    assert row["bic"] == pytest.approx(expected["bic"], abs=2e-6)
    assert row["converged"]
    assert row["singular"] == expected["singular"]


@pytest.mark.parametrize("name", CASES)
def test_fixed_effects(name: str) -> None:
    expected = reference.case(name)["fixed"]
    ours = reference.fitted(name).fixed_effects
    assert [_term(t) for t in ours["term"]] == [row["term"] for row in expected]
    estimates = np.array([row["estimate"] for row in expected])
    errors = np.array([row["std_error"] for row in expected])
    # an estimate near zero has no relative digits: it is measured against its standard error
    np.testing.assert_array_less(np.abs(ours["estimate"] - estimates), 1e-6 * np.maximum(np.abs(estimates), errors))
    np.testing.assert_allclose(ours["std_error"], errors, rtol=1e-6)
    np.testing.assert_allclose(
        reference.fitted(name).vcov, reference.case(name)["vcov"], rtol=1e-5, atol=1e-6 * errors.max() ** 2
    )


@pytest.mark.parametrize("name", CASES)
def test_satterthwaite(name: str) -> None:
    case = reference.case(name)
    ours = reference.fitted(name).fixed_effects
    if case["singular"]:
        # df at the boundary depend on the implementation; ours are finite and positive
        assert ours["df"].min() > 0
        return
    np.testing.assert_allclose(ours["df"], [row["df_satterthwaite"] for row in case["fixed"]], rtol=1e-4)
    for value, row in zip(ours["p_value"], case["fixed"], strict=True):
        # p values of t = 60 lie at 1e-200, where a relative error of df is a large one of p
        assert math.isclose(value, row["p_satterthwaite"], rel_tol=1e-3) or value < 1e-30


@pytest.mark.parametrize("name", CASES)
def test_variance_components(name: str) -> None:
    pairs = _variances(name)
    # singular: measured against the largest variance of the same group, as small ones are zero up to rounding
    largest = {row["group"]: 0.0 for row, _ in pairs}
    for row, _ in pairs:
        largest[row["group"]] = max(largest[row["group"]], abs(row["vcov"]))
    for row, ours in pairs:
        assert ours == pytest.approx(row["vcov"], rel=1e-5, abs=1e-6 * largest[row["group"]] + 1e-12)


@pytest.mark.parametrize("name", [n for n in CASES if not reference.case(n)["singular"]])
def test_random_effects(name: str) -> None:
    """Conditional modes of the first and last units, to 1e-5 of their standard deviation."""
    ours = {
        (_group(row["group"]), frozenset(row["unit"].split(":")), _term(row["term"])): row
        for row in reference.fitted(name).random_effects.iter_rows(named=True)
    }
    for group, content in reference.case(name)["ranef"].items():
        for level in content["levels"]:
            for i, term in enumerate(content["terms"]):
                row = ours[_group(group), frozenset(level["level"].split(":")), term]
                assert row["estimate"] == pytest.approx(level["blup"][i], rel=1e-5, abs=1e-5 * row["std_error"])
                if level["cond_var"] is not None:
                    assert row["std_error"] ** 2 == pytest.approx(level["cond_var"][i][i], rel=1e-5)


@pytest.mark.parametrize("name", [n for n in CASES if reference.case(n)["icc"] and len(reference.case(n)["icc"]) == 1])
def test_intraclass_correlation(name: str) -> None:
    (expected,) = reference.case(name)["icc"].values()
    assert reference.fitted(name).fit_statistics["icc"][0] == pytest.approx(expected, rel=1e-6)
