"""Covariance structures: numbers against lme4 and nlme, and each a restriction of the unstructured one."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mlm_ops as mlm
from mlm_ops.errors import FormulaError, MlmError
from mlm_ops.estimation.covariance import COVARIANCES, n_parameters
from mlm_ops.language.covariances import STRUCTURES
from tests.specification.reference import reference

PACKAGE = Path(mlm.__file__).parent
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
    assert fit.estimate.log_likelihood == pytest.approx(reference.case("sleep_uncorr")["loglik"], abs=1e-6)
    assert fit.estimate.tau[0][0, 1] == 0.0


def test_compound_symmetry_is_two_random_intercepts() -> None:
    """Equal variances and covariances over the machines are a worker effect and a worker-by-machine effect."""
    fit, expected = _machines("compound"), reference.case("machines_ri")
    worker, interaction = (row["vcov"] for row in sorted(expected["random"][:2], key=lambda row: len(row["group"])))
    assert fit.estimate.log_likelihood == pytest.approx(expected["loglik"], abs=1e-6)
    tau = fit.estimate.tau[0]
    np.testing.assert_allclose(tau, worker + interaction * np.eye(3), rtol=1e-5)
    assert fit.estimate.n_parameters == expected["n_par"]


def test_identity_is_an_interaction_alone() -> None:
    fit = _machines("identity")
    alone = mlm.fit(
        "score ~ machine + (1 | worker:machine)", reference.table("machines_ri"), connection=reference.connection()
    )
    assert fit.estimate.log_likelihood == pytest.approx(alone.estimate.log_likelihood, abs=1e-8)


def test_restrictions_never_fit_better() -> None:
    likelihoods = [_machines(s).estimate.log_likelihood for s in ("identity", "compound", "unstructured")]
    assert likelihoods == sorted(likelihoods)
    assert _machines("identity").estimate.log_likelihood <= _machines("diagonal").estimate.log_likelihood


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("q", [1, 2, 4])
def test_pull_back_is_the_adjoint_of_factor(name: str, q: int) -> None:
    """The gradient of <Lambda(theta), B>, and its second derivatives."""
    structure, rng = COVARIANCES[name], np.random.default_rng(q)
    theta = rng.normal(size=len(structure.start(q)))
    lam_bar = rng.normal(size=(q, q))
    steps = np.array([(structure.factor(theta + 1e-30j * unit, q) * lam_bar).sum().imag for unit in np.eye(len(theta))])
    np.testing.assert_allclose(structure.pull_back(theta, lam_bar), steps / 1e-30, rtol=1e-12)
    by_slopes = np.tensordot(structure.slopes(theta, q), lam_bar, axes=2)
    np.testing.assert_allclose(by_slopes, structure.pull_back(theta, lam_bar), rtol=1e-12)
    bend = [structure.pull_back(theta + 1e-30j * unit, lam_bar).imag / 1e-30 for unit in np.eye(len(theta))]
    np.testing.assert_allclose(structure.bend(theta, lam_bar), bend, atol=1e-12)
    lam, usual = structure.factor(theta, q), structure.factor(theta * structure.signs(theta, q), q)
    np.testing.assert_allclose(lam @ lam.T, usual @ usual.T, atol=1e-12)


def test_unknown_structures_and_groups_are_refused() -> None:
    with pytest.raises(MlmError, match="Got 'toeplitz' for worker; expected one of unstructured, diagonal"):
        _machines("toeplitz")
    with pytest.raises(FormulaError, match="Got 'worker'; expected one of none"):
        _machines("diagonal", "score ~ machine")


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("q", [1, 2, 4])
def test_paths_start_at_the_estimate_and_hold_what_they_say(name: str, q: int) -> None:
    """At the estimate a path gives its T; elsewhere one with the standard deviation, or the correlation, asked for."""
    structure, rng = COVARIANCES[name], np.random.default_rng(q)
    lam = structure.factor(rng.normal(size=len(structure.start(q))), q)
    tau, last = lam @ lam.T, q - 1
    path, deviation = structure.hold_deviation(lam, last), float(np.sqrt(tau[last, last]))
    there, other = path.factor(deviation, path.start), path.factor(0.7, path.start + 0.1)
    np.testing.assert_allclose(there @ there.T, tau, atol=1e-12)
    assert (other @ other.T)[last, last] == pytest.approx(0.49, rel=1e-12)
    assert len(path.start) == len(structure.start(q)) - 1
    if q > 1 and STRUCTURES[name].correlated:
        path = structure.hold_correlation(lam, 0, last)
        there = path.factor(float(tau[0, last] / np.sqrt(tau[0, 0] * tau[last, last])), path.start)
        other = path.factor(-0.2, path.start + 0.1)
        np.testing.assert_allclose(there @ there.T, tau, atol=1e-12)
        free = other @ other.T
        assert free[0, last] / np.sqrt(free[0, 0] * free[last, last]) == pytest.approx(-0.2, rel=1e-12)


@pytest.mark.parametrize("name", COVARIANCES)
@pytest.mark.parametrize("q", [1, 3])
def test_what_the_row_says_of_a_structure_is_true_of_its_numbers(name: str, q: int) -> None:
    row, structure = STRUCTURES[name], COVARIANCES[name]
    rng = np.random.default_rng(q)
    lam = structure.factor(rng.normal(size=len(structure.start(q))), q)
    tau = lam @ lam.T
    off = tau[~np.eye(q, dtype=bool)]
    assert bool(off.any()) == (row.correlated and q > 1)
    assert np.allclose(np.diag(tau), tau[0, 0], rtol=1e-12) == (row.alike or q == 1)
    assert len(structure.directions(tau)) == len(structure.start(q)) == n_parameters(name, q)
    assert row.n_variances(q) == min(q, len(structure.start(q)))
    for other in row.special_cases or ():
        assert len(COVARIANCES[other].start(q)) <= len(structure.start(q))


def names_of_structures(tree: ast.AST) -> list[str]:
    """The structures that a module names in texts of its own, docstrings aside."""
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    texts = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and n not in docstrings)
    return [n.value for n in texts if n.value in STRUCTURES]


def test_a_structure_is_named_in_its_row_and_at_its_class_alone() -> None:
    named = {
        str(path.relative_to(PACKAGE)): sorted(names)
        for path in PACKAGE.rglob("*.py")
        if (names := names_of_structures(ast.parse(path.read_text())))
    }
    assert named.pop("language/covariances.py") != []
    # what other programs call them
    assert named.pop("language/other_programs.py") == sorted(STRUCTURES)
    assert named == {"estimation/covariance.py": sorted(STRUCTURES)}


@pytest.mark.parametrize(
    ("change", "write", "sentence"),
    [
        (
            {"nlme": None},
            mlm.Fit.to_lme4,
            "Neither lme4 nor nlme has random effects of equal variances and equal covariances. Got the covariance "
            "structure compound for worker.",
        ),
        (
            {"mplus": None},
            mlm.Fit.to_mplus,
            "Mplus input is not written for random effects of equal variances and equal covariances. Got the "
            "covariance structure compound for worker.",
        ),
    ],
)
def test_a_structure_without_a_word_in_another_program_is_refused(
    change: dict[str, None], write: Callable[[mlm.Fit], str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = _machines("compound")
    monkeypatch.setitem(STRUCTURES, "compound", replace(STRUCTURES["compound"], **change))
    with pytest.raises(MlmError) as caught:
        write(fit)
    assert str(caught.value) == sentence
