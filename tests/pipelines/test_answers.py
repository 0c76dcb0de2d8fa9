"""The numbers of the shipped analyses, against lme4, nlme, lavaan and the values that generated data were made from.

Cases are those of tests/specification/reference, and cases/lme4.json, which cases/lme4.R beside it makes. Tolerances:
log-likelihoods 1e-5 absolute, as lme4 and nlme stop there; estimates 1e-5 relative, of variances 1e-4, as nlme's
optimizer stops there (the likelihood of the rats with both residual structures is flat: 8e-5 in T are 4e-8 in it);
lavaan's cases are polished, and met to 1e-5.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "tests" / "specification" / "reference"
LME4 = json.loads((Path(__file__).parent / "cases" / "lme4.json").read_text())
#: Names of ours by those in R.
TERMS = {
    "growth_of_t": {},
    "growth": {
        "t": "center(Time, at=64)",
        "DietD2": "Diet[D2]",
        "DietD3": "Diet[D3]",
        "t:DietD2": "center(Time, at=64):Diet[D2]",
        "t:DietD3": "center(Time, at=64):Diet[D3]",
    },
    "hsb": {
        "ses_w": "within(ses)",
        "minority_w": "within(minority)",
        "female_w": "within(female)",
        "ses_m": "between(ses)",
        "sectorPublic": "sector[Public]",
        "ses_w:ses_m": "within(ses):between(ses)",
        "ses_w:sectorPublic": "within(ses):sector[Public]",
    },
    "three_levels": {},
    "crossed": {},
}
MODELS = [(analysis, model) for analysis in TERMS for model in LME4[analysis]]


def case(name: str) -> dict[str, Any]:
    folder = "sem" if (REFERENCE / "sem" / f"{name}.json").exists() else "cases"
    content: dict[str, Any] = json.loads((REFERENCE / folder / f"{name}.json").read_text())
    return content


def statistics(materialized, analysis: str, model: str, column: str) -> Any:
    ((value,),) = materialized.rows(
        f"select {column} from mlm.latest_fit_statistics where analysis = '{analysis}' and model = '{model}'"
    )
    return value


def fixed(materialized, analysis: str, model: str, column: str = "estimate") -> dict[str, float]:
    return materialized.by_name(
        f"select term, {column} from mlm.latest_fixed_effects where analysis = '{analysis}' and model = '{model}'"
    )


def matrix(materialized, analysis: str, model: str, group: str) -> np.ndarray:
    """The T of a grouping factor."""
    rows = materialized.rows(
        "select term, other, estimate from mlm.latest_variance_components"
        f" where analysis = '{analysis}' and model = '{model}' and \"group\" = '{group}'"
    )
    terms = [term for term, other, _ in rows if other is None]
    t = np.zeros((len(terms), len(terms)))
    for term, other, estimate in rows:
        i, j = terms.index(term), terms.index(other or term)
        t[i, j] = t[j, i] = estimate
    return t


@pytest.mark.parametrize(("analysis", "model"), MODELS)
def test_models_are_those_of_lme4_and_nlme(materialized, analysis: str, model: str) -> None:
    expected = LME4[analysis][model]
    names = TERMS[analysis]
    for kind, column in (("fixed", "estimate"), ("std_error", "std_error")):
        if kind in expected:
            ours = fixed(materialized, analysis, model, column)
            theirs = {names.get(name, name): value for name, value in expected[kind].items()}
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-8)
    if "log_likelihood" in expected:
        log_likelihood = statistics(materialized, analysis, model, "log_likelihood")
        assert log_likelihood == pytest.approx(expected["log_likelihood"], abs=1e-5)
    t = expected.get("t", {})
    for group, block in (t if isinstance(t, dict) else {"Rat": t}).items():
        theirs = np.array(block)
        # a covariance near zero is measured by the standard deviations that it belongs to
        unit = np.sqrt(np.outer(theirs.diagonal(), theirs.diagonal()))
        assert matrix(materialized, analysis, model, group) / unit == pytest.approx(theirs / unit, abs=1e-4)


@pytest.mark.parametrize(("analysis", "model", "name"), [
    ("hsb", "anova", "hsb_null_reml"),
    ("hsb", "rancova", "hsb_rancova_cwc"),
    ("hsb", "random_slope", "hsb_random_slope_cwc"),
    ("hsb", "within_between", "hsb_within_between"),
    ("three_levels", "growth", "egsingle_3level"),
    ("crossed", "both", "penicillin_reml"),
])  # fmt: skip
def test_models_are_those_of_the_reference_cases(materialized, analysis: str, model: str, name: str) -> None:
    expected = case(name)
    ours = statistics(materialized, analysis, model, "log_likelihood")
    assert ours == pytest.approx(expected["loglik"], abs=1e-6)
    estimates = [row["estimate"] for row in expected["fixed"]]
    assert list(fixed(materialized, analysis, model).values()) == pytest.approx(estimates, rel=1e-6)


def test_residuals_of_the_rats_are_those_of_nlme(materialized) -> None:
    for model, expected in LME4["growth"].items():
        parts = materialized.by_name(
            "select coalesce(term, 'sigma2'), estimate from mlm.latest_variance_components"
            f" where analysis = 'growth' and model = '{model}' and \"group\" = 'residual'"
        )
        theirs = expected["strata"] or {"sigma2": expected["sigma2"]}
        theirs = theirs | ({"phi": expected["phi"]} if expected["phi"] is not None else {})
        assert parts == pytest.approx(theirs, rel=1e-4)


def test_the_day_of_the_intercept_changes_no_fit(materialized) -> None:
    log_likelihoods = [statistics(materialized, "growth", model, "log_likelihood") for model in ("start", "end")]
    assert log_likelihoods[0] == pytest.approx(log_likelihoods[1], abs=1e-7)
    start, end = (matrix(materialized, "growth", model, "Rat") for model in ("start", "end"))
    # T on day 64 from T on day 1: the intercept is that of day 1 plus 63 slopes
    shift = np.array([[1.0, 63.0], [0.0, 1.0]])
    assert shift @ start @ shift.T == pytest.approx(end, rel=1e-6)


def test_t_grows_from_one_element_to_28(materialized) -> None:
    sizes = []
    for k in range(1, 8):
        t = matrix(materialized, "growth_of_t", f"coefficients_{k}", "school")
        sizes.append(len(t) * (len(t) + 1) // 2)
        assert np.linalg.eigvalsh(t)[0] > 0.09
        assert statistics(materialized, "growth_of_t", f"coefficients_{k}", "singular") is False
    assert sizes == [1, 3, 6, 10, 15, 21, 28]


def test_the_full_t_is_near_the_one_that_made_the_data(materialized) -> None:
    sys.path.insert(0, str(ROOT / "pipelines" / "data"))
    try:
        import growth_of_t
    finally:
        sys.path.pop(0)
    lower = np.zeros((7, 7))
    for i, row in enumerate(growth_of_t.L):
        lower[i, : len(row)] = row
    truth = lower @ lower.T
    rows = materialized.rows(
        "select estimate, std_error from mlm.latest_variance_components where analysis = 'growth_of_t'"
        " and model = 'coefficients_7' and \"group\" = 'school' and other is null order by term"
    )
    # 7 variances: none farther off than 2.5 standard errors
    distances = [(estimate - value) / error for (estimate, error), value in zip(rows, np.diag(truth), strict=True)]
    assert max(map(abs, distances)) < 2.5


def test_robust_errors_stand_beside_the_naive_ones(materialized) -> None:
    expected = case("ols_hsb")
    plain = fixed(materialized, "hsb", "regression", "std_error")
    robust = fixed(materialized, "hsb", "regression_cr2", "std_error")
    multilevel = fixed(materialized, "hsb", "multilevel", "std_error")
    # catholic in the case, sector[Public] here: the same column turned round, with the same error
    ours = [robust["ses"], robust["sector[Public]"]]
    _, *theirs = expected["cluster_robust"]["CR2"]["std_error"]
    assert ours == pytest.approx(theirs, rel=1e-6)
    assert robust["sector[Public]"] / plain["sector[Public]"] == pytest.approx(2.09, abs=0.01)
    assert multilevel["sector[Public]"] / robust["sector[Public]"] == pytest.approx(1.07, abs=0.01)


def test_slopes_within_schools_are_those_of_the_whole_model(materialized) -> None:
    whole, part = (fixed(materialized, "hsb", model) for model in ("level_1", "within_schools"))
    assert part == pytest.approx({term: whole[term] for term in part}, rel=1e-6)


def test_four_answers_to_the_contextual_effect(materialized) -> None:
    """Lüdtke et al. (2008): .29 observed, .77 corrected, .77 latent, .70 in truth."""
    expected = case("ctx_luedtke")
    ((manifest, corrected),) = materialized.rows(
        "select estimate, corrected from mlm.latest_contextual_effects where analysis = 'contextual'"
    )
    ((latent, error),) = materialized.rows(
        "select estimate, std_error from mlm.latest_sem_parameters where analysis = 'contextual' and op = ':='"
    )
    assert manifest == pytest.approx(expected["comparison"]["contextual"], abs=1e-6)
    (theirs,) = [row for row in expected["parameters"] if row["op"] == ":="]
    assert (latent, error) == pytest.approx((theirs["estimate"], theirs["std_error"]), abs=1e-5)
    assert [round(value, 2) for value in (manifest, corrected, latent)] == [0.29, 0.77, 0.77]
    assert abs(latent - expected["true_values"]["ctx"]) < error


@pytest.mark.parametrize(("analysis", "name"), [
    ("mediation_111", "med_111"),
    ("mediation_211", "med_211"),
    ("measurement", "cfa_demo"),
    ("contextual", "ctx_luedtke"),
])  # fmt: skip
def test_structural_models_are_those_of_lavaan(materialized, analysis: str, name: str) -> None:
    expected = case(name)
    ((log_likelihood, chi_square, df),) = materialized.rows(
        f"select log_likelihood, chi_square, df from mlm.latest_sem_fit where analysis = '{analysis}'"
    )
    assert log_likelihood == pytest.approx(expected["loglik"], abs=1e-6)
    assert (chi_square, df) == pytest.approx((expected["fit"]["chisq"], expected["fit"]["df"]), abs=1e-4)
    ours = {
        (level, op, rhs if op == "=~" else f"{lhs} {rhs}"): estimate
        for level, lhs, op, rhs, estimate in materialized.rows(
            "select level, lhs, op, rhs, estimate from mlm.latest_sem_parameters"
            f" where analysis = '{analysis}' and op in ('~', '=~')"
        )
    }
    theirs = {
        (row["level"], row["op"], row["rhs"] if row["op"] == "=~" else f"{row['lhs']} {row['rhs']}"): row["estimate"]
        for row in expected["parameters"]
        if row["op"] in ("~", "=~")
    }
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_reliabilities_of_the_measurement_model(materialized) -> None:
    """Omega from lavaan's estimates: (sum of loadings)^2 var(f) over itself and the error variances."""
    parameters = case("cfa_demo")["parameters"]
    ours = materialized.by_name(
        "select lhs, estimate from mlm.latest_sem_parameters where analysis = 'measurement' and op = ':='"
    )
    for level, factor, name in ((1, "fw", "omega_within"), (2, "fb", "omega_between")):
        rows = [row for row in parameters if row["level"] == level]
        loadings = sum(row["estimate"] for row in rows if row["op"] == "=~")
        variances = {row["lhs"]: row["estimate"] for row in rows if row["op"] == "~~" and row["lhs"] == row["rhs"]}
        true = loadings**2 * variances.pop(factor)
        assert ours[name] == pytest.approx(true / (true + sum(variances.values())), abs=1e-5)


def test_ladders_say_what_was_tried(materialized) -> None:
    steps = materialized.rows(
        "select analysis, count(*), count(*) filter (where taken), arg_max(n_covariances, step) filter (where taken)"
        " from mlm.latest_ladder_steps group by analysis order by analysis"
    )
    assert steps == [("hsb_build_up", 14, 12, 6), ("hsb_tear_down", 13, 3, 1)]
