"""Covariance structures: numbers against lme4 and nlme, and each a restriction of the unstructured one."""

from __future__ import annotations

import numpy as np
import pytest

import mlm_ops as mlm
from mlm_ops.errors import FormulaError, MlmError
from mlm_ops.estimation.covariance import COVARIANCES
from tests.specification.reference import reference

MACHINES = "score ~ machine + (0 + machine | worker)"


def _machines(structure: str, formula: str = MACHINES) -> mlm.Fit:
    table = reference.table("machines_ri")
    return mlm.fit(formula, table, connection=reference.connection(), covariance={"worker": structure})


def test_diagonal_is_lme4s_double_bar() -> None:
    table = reference.table("sleep_uncorr")
    fit = mlm.fit(
        "Reaction ~ Days + (Days | Subject)",
        table,
        connection=reference.connection(),
        covariance={"Subject": "diagonal"},
    )
    assert fit.result.log_likelihood == pytest.approx(reference.case("sleep_uncorr")["loglik"], abs=1e-6)
    assert fit.result.tau[0][0, 1] == 0.0


def test_compound_symmetry_is_two_random_intercepts() -> None:
    """Equal variances and covariances over the machines are a worker effect and a worker-by-machine effect."""
    fit, expected = _machines("compound"), reference.case("machines_ri")
    worker, interaction = (row["vcov"] for row in sorted(expected["random"][:2], key=lambda row: len(row["group"])))
    assert fit.result.log_likelihood == pytest.approx(expected["loglik"], abs=1e-6)
    tau = fit.result.tau[0]
    np.testing.assert_allclose(tau, worker + interaction * np.eye(3), rtol=1e-5)
    assert fit.result.n_parameters == expected["n_par"]


def test_identity_is_an_interaction_alone() -> None:
    fit = _machines("identity")
    alone = mlm.fit(
        "score ~ machine + (1 | worker:machine)", reference.table("machines_ri"), connection=reference.connection()
    )
    assert fit.result.log_likelihood == pytest.approx(alone.result.log_likelihood, abs=1e-8)


def test_restrictions_never_fit_better() -> None:
    likelihoods = [_machines(s).result.log_likelihood for s in ("identity", "compound", "unstructured")]
    assert likelihoods == sorted(likelihoods)
    assert _machines("identity").result.log_likelihood <= _machines("diagonal").result.log_likelihood


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("q", [1, 2, 4])
def test_pull_back_is_the_adjoint_of_factor(name: str, q: int) -> None:
    """<Lambda(theta), B> is linear in theta with gradient pull_back(B)."""
    structure, rng = COVARIANCES[name], np.random.default_rng(q)
    theta = rng.normal(size=len(structure.start(q)))
    lam_bar = rng.normal(size=(q, q))
    assert (structure.factor(theta, q) * lam_bar).sum() == pytest.approx(
        theta @ structure.pull_back(lam_bar), rel=1e-12
    )
    lam, usual = structure.factor(theta, q), structure.factor(theta * structure.signs(theta, q), q)
    np.testing.assert_allclose(lam @ lam.T, usual @ usual.T, atol=1e-12)


def test_unknown_structures_and_groups_are_refused() -> None:
    with pytest.raises(MlmError, match="Got 'toeplitz' for worker; expected one of unstructured, diagonal"):
        _machines("toeplitz")
    with pytest.raises(FormulaError, match="Got 'worker'; expected one of none"):
        _machines("diagonal", "score ~ machine")
