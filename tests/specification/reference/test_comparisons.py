"""Likelihood-ratio ladders against lme4's anova() and the mixtures of chi-squares."""

from __future__ import annotations

from typing import Any

import pytest

from mlm_ops.inference.comparison import compare_estimates
from mlm_ops.results.fitting import fit
from tests.specification.reference import reference


def _tests() -> list[tuple[str, dict[str, Any]]]:
    return [(name, test) for name in reference.names("lrt_ladder") for test in reference.case(name)["tests"]]


@pytest.mark.parametrize(
    ("name", "test"), _tests(), ids=lambda value: value if isinstance(value, str) else value["large"]
)
def test_likelihood_ratio(name: str, test: dict[str, Any]) -> None:
    case = reference.case(name)
    estimator = case["estimator"].lower()
    small, large = (
        fit(
            case["models"][test[size]]["formula"],
            reference.table(name),
            connection=reference.connection(),
            estimator=estimator,
        )
        for size in ("small", "large")
    )
    result = compare_estimates(large.model, large.estimate, small.model, small.estimate)
    # twice a log-likelihood good to 1e-7
    assert result.statistic == pytest.approx(test["chisq"], abs=1e-6)
    assert result.df == test["df"]
    assert result.p_value == pytest.approx(test["p_chisq"], rel=1e-5, abs=1e-300)
    if test["p_chibar"] is None or small.singular:
        assert result.p_value_mixture is None
    else:
        assert result.p_value_mixture == pytest.approx(test["p_chibar"], rel=1e-5, abs=1e-300)
