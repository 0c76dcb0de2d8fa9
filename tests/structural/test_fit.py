"""Laws of the fit, boundaries, and the sentence for each kind of bad data."""

from __future__ import annotations

import re

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import DataError, IdentificationError
from mlm_ops.moments.collect import collect
from mlm_ops.results.words import cell
from mlm_ops.structural.algebra.matrices import build_structure
from mlm_ops.structural.estimation.starts import starting_values
from mlm_ops.structural.language.parameters import moments_model, parameter_table
from mlm_ops.structural.language.request import sem_request
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.likelihood.random_intercepts import Likelihood
from mlm_ops.structural.results.fitting import fit_sem
from mlm_ops.structural.statistics.from_moments import two_level_statistics
from mlm_ops.warehouse.source import open_source
from tests.structural.cases import NAMES, case, data, fitted


def clustered(seed=0, clusters=60, between=1.0):
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), rng.integers(1, 9, clusters))
    w = rng.normal(size=clusters)
    x = between * rng.normal(size=clusters)[g] + rng.normal(size=len(g))
    u = between * (0.5 * w + 0.7 * rng.normal(size=clusters))
    return pl.DataFrame({"g": g, "w": w[g], "x": x, "y": 0.4 * x + u[g] + rng.normal(size=len(g))})


def dense_deviance(rows, within, between, mean, columns, between_only):
    """The oracle: each cluster's rows and its between-only values as one normal vector."""
    total = 0.0
    p = len(within)
    for _, cluster in rows.group_by("g"):
        n = len(cluster)
        values = np.concatenate(
            [cluster.select(columns).to_numpy().ravel(), cluster.select(between_only).to_numpy()[0]]
        )
        center = np.concatenate([np.tile(mean[:p], n), mean[p:]])
        v = np.zeros((len(values), len(values)))
        v[: n * p, : n * p] = np.kron(np.eye(n), within) + np.kron(np.ones((n, n)), between[:p, :p])
        v[: n * p, n * p :] = np.kron(np.ones((n, 1)), between[:p, p:])
        v[n * p :, : n * p] = v[: n * p, n * p :].T
        v[n * p :, n * p :] = between[p:, p:]
        d = values - center
        total += len(values) * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + d @ np.linalg.solve(v, d)
    return total


TEXT = "level: 1\n y ~ a*x\nlevel: 2\n y ~ b*x + c*w\nd := b - a"


def likelihood(text, rows):
    table = parameter_table(parse_sem(text))
    moments = collect(open_source(rows), [moments_model(table, ("g",))])
    statistics = two_level_statistics(table, moments, ("g",))
    return Likelihood(build_structure(table), statistics), starting_values(table, statistics)


def test_deviance_is_that_of_the_whole_data_as_one_normal_vector():
    rows = clustered()
    criterion, theta = likelihood(TEXT, rows)
    theta = theta + 0.1 * np.random.default_rng(1).normal(size=len(theta)) * np.abs(theta)
    implied = criterion.structure.implied(theta)
    dense = dense_deviance(rows, implied.within, implied.between, implied.mean, ["y", "x"], ["w"])
    # sums of 2,000 terms
    assert criterion.deviance(theta) == pytest.approx(dense, rel=1e-12)


@pytest.mark.parametrize("text", [TEXT, "level: 1\n f =~ y + b*x\n f ~~ 1*f\nlevel: 2\n h =~ y + b*x\n h ~ w"])
def test_derivatives_are_those_of_differences(text):
    criterion, theta = likelihood(text, clustered())
    theta = theta + 0.1 * np.random.default_rng(2).normal(size=len(theta))
    at = criterion.evaluate(theta)
    steps = 1e-5 * np.eye(len(theta))
    gradient = [(criterion.deviance(theta + s) - criterion.deviance(theta - s)) / 2e-5 for s in steps]
    hessian = [(criterion.evaluate(theta + s).gradient - criterion.evaluate(theta - s).gradient) / 2e-5 for s in steps]
    # central differences of step 1e-5 are good to 1e-7 of the largest
    np.testing.assert_allclose(at.gradient, gradient, atol=1e-7 * np.abs(gradient).max() + 1e-5)
    np.testing.assert_allclose(criterion.hessian(theta, at), hessian, atol=1e-6 * np.abs(hessian).max())
    scores = criterion.scores(at, criterion.structure.implied(theta).mean)
    np.testing.assert_allclose(scores.sum(axis=0), at.gradient, atol=1e-9 * np.abs(scores).sum())


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_zero_at_the_optimum(name):
    optimum = fitted(name).estimate.optimum
    assert optimum.decrement < 1e-12


def test_a_million_on_a_column_changes_its_mean_alone():
    rows = data("sim_111").with_columns(pl.col("x") + 1e6)
    ours, plain = mlm.sem(case("med_111")["syntax"], rows, cluster="g").parameters, fitted("med_111").parameters
    slopes = plain["op"] != "~1"
    for column in ("estimate", "std_error"):
        moved, kept = ours.filter(slopes)[column], plain.filter(slopes)[column]
        # the column itself keeps nine digits of its fraction
        assert moved.drop_nulls().to_list() == pytest.approx(kept.drop_nulls().to_list(), rel=1e-7)
    mean = ours.filter((pl.col("lhs") == "x") & (pl.col("op") == "~1") & (pl.col("level") == 2))["estimate"][0]
    assert mean == pytest.approx(1e6 - 0.0728996, abs=1e-6)


def test_rows_in_another_order_and_other_units_give_the_same_model():
    rows = data("sim_111")
    plain = fitted("med_111").fit_statistics
    shuffled = mlm.sem(case("med_111")["syntax"], rows.sample(fraction=1, shuffle=True, seed=1), cluster="g")
    assert shuffled.fit_statistics["log_likelihood"][0] == pytest.approx(plain["log_likelihood"][0], abs=1e-9)
    scaled = mlm.sem(case("med_111")["syntax"], rows.with_columns(pl.col("m") * 1e4), cluster="g")
    slope = scaled.parameters.filter(pl.col("label") == "aw")["estimate"][0]
    assert slope == pytest.approx(1e4 * fitted("med_111").parameters.filter(pl.col("label") == "aw")["estimate"][0])


def test_a_model_of_one_variable_is_the_random_intercept_model():
    rows = clustered()
    ours = mlm.sem("level: 1\n y ~~ y\nlevel: 2\n y ~~ y", rows, cluster="g")
    theirs = mlm.fit("y ~ 1 + (1 | g)", rows, estimator="ml")
    assert ours.estimate.log_likelihood == pytest.approx(theirs.fit_statistics["log_likelihood"][0], abs=1e-8)
    assert ours.parameters["estimate"][0] == pytest.approx(theirs.estimate.sigma2, rel=1e-6)


def test_one_scan_serves_a_structural_and_a_mixed_model():
    rows = clustered()
    model = parse_sem(TEXT)
    from mlm_ops.language.formula import parse_formula
    from mlm_ops.language.request import Request
    from mlm_ops.results.fitting import fit_model

    mixed = parse_formula("y ~ within(x) + between(x) + (1 | g)")
    moments = collect(open_source(rows), [mixed, moments_model(parameter_table(model), ("g",))])
    assert fit_sem(sem_request(TEXT, "g"), moments).estimate.log_likelihood == pytest.approx(
        mlm.sem(TEXT, rows, cluster="g").estimate.log_likelihood, abs=1e-9
    )
    assert fit_model(Request(mixed), moments).converged


def test_a_zero_between_variance_is_flagged_and_no_contextual_effect_printed():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(40), 6)
    x = rng.normal(size=240)
    x -= 0.9 * pl.DataFrame({"g": g, "x": x}).select(pl.col("x").mean().over("g")).to_series().to_numpy()
    rows = pl.DataFrame({"g": g, "x": x, "y": 0.3 * x + rng.normal(size=40)[g] + rng.normal(size=240)})
    found = mlm.sem("contextual: y ~ x", rows, cluster="g")
    assert found.singular
    assert found.converged
    assert "the between variance of x is zero" in found.notes[0]
    by = {(r["level"], r["lhs"], r["op"], r["rhs"]): r for r in found.parameters.iter_rows(named=True)}
    assert by[2, "x", "~~", "x"]["estimate"] == 0
    assert by[2, "y", "~", "x"]["estimate"] is None
    assert by[0, "contextual", ":=", "between - within"]["estimate"] is None
    assert found.defined()["monte_carlo_low"][0] is None
    assert "not determined" in str(found)
    # the within part does not suffer
    assert by[1, "y", "~", "x"]["std_error"] > 0


def test_a_correlation_of_one_is_followed_to_the_bound():
    """Few clusters: the unrestricted between matrix would be indefinite."""
    rows = clustered(3, clusters=12, between=0.15).with_columns(z=pl.col("y").shift(1).fill_null(0.0))
    found = mlm.sem("level: 1\n y ~~ x + z\n x ~~ z\nlevel: 2\n y ~~ x + z\n x ~~ z", rows, cluster="g")
    between = found.estimate.structure.moments(found.estimate.theta)[1].spread
    assert np.linalg.eigvalsh(between)[0] > -1e-12
    assert found.converged


def test_monte_carlo_limits_are_seeded_and_near_the_delta_methods():
    found = fitted("med_111")
    first, again = found.defined(), found.defined()
    assert first.equals(again)
    row = first.filter(pl.col("name") == "indw").row(0, named=True)
    # a product of two slopes with z above 11: nearly normal
    assert row["monte_carlo_low"] == pytest.approx(row["conf_low"], abs=0.002)
    assert row["monte_carlo_high"] == pytest.approx(row["conf_high"], abs=0.002)


def test_nested_models_are_compared():
    found = fitted("med_211_full").compare(fitted("med_211")).row(0, named=True)
    assert found["statistic"] == pytest.approx(case("med_211_full")["fit"]["chisq"], abs=1e-6)
    assert found["df"] == 1


def test_omega():
    """By hand from the reference's estimates."""
    found = {r["level"]: r["estimate"] for r in fitted("cfa_demo").reliability.iter_rows(named=True)}
    for level in (1, 2):
        rows = [r for r in case("cfa_demo")["parameters"] if r["level"] == level]
        loadings = sum(r["estimate"] for r in rows if r["op"] == "=~") ** 2
        factor = next(r["estimate"] for r in rows if r["op"] == "~~" and r["lhs"].startswith("f"))
        rest = sum(r["estimate"] for r in rows if r["op"] == "~~" and not r["lhs"].startswith("f"))
        assert found[level] == pytest.approx(loadings * factor / (loadings * factor + rest), rel=1e-6)


def test_equations_in_every_form():
    found = fitted("sem_demo")
    assert "y2_W,ij = lambda_1*fw_ij + e_y2,ij" in found.equations()
    assert r"\text{fw}_{ij} &= \beta_{1} \, \text{x1}_{ij}" in found.equations("latex")
    assert "\nLevel 2 (between clusters)\nfbⱼ = β₄·w1ⱼ + β₅·w2ⱼ + u_fb,j\n" in found.equations("unicode")
    assert "\n**Level 1 (within clusters)**\n\n- `fwᵢⱼ = β₁·x1ᵢⱼ + " in found.equations("markdown")
    assert "- `y2ᵂᵢⱼ = λ₁·fwᵢⱼ + e_y2,ij`\n" in found.equations("markdown")
    assert "  %BETWEEN%\n  fb BY y1@1;\n  fb BY y2*;" in found.equations("mplus")
    assert "  WITHIN = x1 x2 x3;\n  BETWEEN = w1 w2;" in found.equations("mplus")
    assert 'w6 -->|"0.7742"| w1' in found.diagram("mermaid")
    labels = re.findall(r'\|"([^"]+)"\|', found.diagram("mermaid"))
    # one that is fixed is written as the text of the model has it
    assert set(labels) <= {cell("estimate", value) for value in found.parameters["estimate"]} | {"1"}
    picture = found.diagram()
    assert picture.startswith("<svg")
    assert picture.count("<ellipse") == 2
    with pytest.raises(mlm.MlmError, match=r"Unknown diagram. Got 'png'"):
        found.diagram("png")
    with pytest.raises(mlm.MlmError, match=r"Unknown equations. Got 'word'"):
        found.equations("word")


BAD_DATA = [
    ("level: 1\n y ~ x\nlevel: 2\n y ~ z", DataError, "'z' is at level 2 only, but varies within clusters of 'g'"),
    ("level: 1\n y ~ w\nlevel: 2\n y ~~ y", DataError, "'w' is at level 1, but does not vary within clusters"),
    ("level: 1\n y ~ t\nlevel: 2\n y ~~ y", DataError, "Column 't' holds VARCHAR, and a structural equation model"),
    ("level: 1\n y ~ g\nlevel: 2\n y ~~ y", DataError, "'g' names the clusters and is in the model too"),
    ("level: 1\n y ~ q\nlevel: 2\n y ~~ y", DataError, "q"),
    ("level: 1\n y ~ x + x2\nlevel: 2\n y ~~ y", IdentificationError, "x, x2 are linear combinations"),
    (
        "level: 1\n f =~ y + x\nlevel: 2\n y ~~ y",
        IdentificationError,
        "The model is not identified: f =~ x (level 1), y ~~ y (level 1), x ~~ x (level 1), f ~~ f (level 1) can",
    ),
]


@pytest.mark.parametrize(("text", "error", "sentence"), BAD_DATA)
def test_bad_data_are_refused_in_a_sentence(text, error, sentence):
    rows = clustered().with_columns(z=pl.col("x") ** 2, x2=2 * pl.col("x"), t=pl.lit("a"))
    with pytest.raises(error) as caught:
        mlm.sem(text, rows, cluster="g")
    assert sentence in str(caught.value)


def test_bad_clusters_are_refused_in_a_sentence():
    with pytest.raises(IdentificationError, match="Every cluster of 'g' has one row"):
        mlm.sem("level: 1\n y ~ x\nlevel: 2\n y ~ x", clustered().unique("g"), cluster="g")
    with pytest.raises(IdentificationError, match=r"needs two clusters or more. Got 1"):
        mlm.sem("level: 1\n y ~ x\nlevel: 2\n y ~ x", clustered().with_columns(g=1), cluster="g")
    with pytest.raises(mlm.MlmError, match="cluster is not understood"):
        mlm.sem("level: 1\n y ~ x\nlevel: 2\n y ~ x", clustered(), cluster="")


def test_few_clusters_are_noted():
    found = mlm.sem("level: 1\n y ~ x\nlevel: 2\n y ~ x + w", clustered(1, clusters=6), cluster="g")
    assert any("6 clusters are fewer than the 9 parameters between clusters" in note for note in found.notes)


def test_missing_values_are_counted():
    rows = clustered().with_columns(x=pl.when(pl.int_range(pl.len()) < 5).then(None).otherwise(pl.col("x")))
    found = mlm.sem("contextual: y ~ x", rows, cluster="g")
    assert any(note.startswith("5 of ") and "x 5" in note for note in found.notes)


def test_the_manifest_contextual_effect_stands_beside_the_latent_one():
    """lme4's, by observed means, is part of the reference."""
    found = mlm.sem("contextual: mathach ~ ses", data("hsb"), cluster="school")
    latent, observed = found.contextual.iter_rows(named=True)
    theirs = case("ctx_hsb")["comparison"]
    assert latent["estimate"] == pytest.approx(3.9041133, abs=1e-6)
    assert observed["estimate"] == pytest.approx(theirs["contextual"], abs=1e-5)
    assert observed["std_error"] == pytest.approx(theirs["se_contextual"], rel=1e-5)
    assert "with observed instead of latent cluster means: 3.674 (std. error 0.3754)" in str(found)
    assert fitted("ctx_hsb").contextual.is_empty()
