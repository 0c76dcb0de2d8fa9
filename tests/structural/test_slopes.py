"""Random slopes: against dense normal vectors, lavaan, nlme and our own mixed models, and what is refused."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import DataError, FormulaError, MlmError
from mlm_ops.moments.collect import collect
from mlm_ops.structural.algebra.matrices import build_structure
from mlm_ops.structural.estimation.starts import starting_values
from mlm_ops.structural.language.parameters import moments_model, parameter_table
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.likelihood.cluster_likelihood import ClusterLikelihood
from mlm_ops.structural.likelihood.random_intercepts import Likelihood
from mlm_ops.structural.statistics.cluster_sums import sums_of_complete_rows
from mlm_ops.structural.statistics.from_moments import two_level_statistics
from mlm_ops.warehouse.source import open_source
from tests.specification.examples import ROOT
from tests.structural.cases import case, data, slope_case

#: Of many parts: a chain of two slopes, one of them a mediator's; a level-2 outcome of a slope; two slopes of a factor.
CHAIN = (
    'level: 1\n m ~ rv("a")*x\n y ~ rv("b")*m + rv("c")*x\n'
    "level: 2\n z ~ a + w\n b ~ w\n c ~~ c\n m ~~ a\n y ~~ b + m\n a ~~ b"
)
FACTOR = (
    'level: 1\n f =~ y1 + y2 + y3\n f ~ rv("s")*x\n y2 ~ rv("r")*x\n'
    "level: 2\n fb =~ y1 + y2 + y3\n s + fb ~ w\n s ~~ fb + r"
)


def likelihood(text, rows):
    table = parameter_table(parse_sem(text))
    structure = build_structure(table)
    moments = collect(open_source(rows), [moments_model(table, ("g",))])
    statistics = two_level_statistics(table, moments, ("g",))
    predictors = tuple(dict.fromkeys(predictor for _, predictor in structure.slopes))
    theta = starting_values(table, statistics)
    theta = theta + 0.05 * np.random.default_rng(3).normal(size=len(theta))
    return table, ClusterLikelihood(structure, sums_of_complete_rows(statistics, predictors)), statistics, theta


def dense_deviance(table, structure, rows, theta):
    """The oracle: each cluster's observed cells as one normal vector, given what its slopes multiply."""
    implied, directions = structure.implied(theta), structure.directions(theta)[0]
    p, t = structure.n_row_level, len(table.columns)
    total = 0.0
    for _, cluster in rows.group_by("g"):
        own = cluster.select(table.columns[:p]).to_numpy().astype(float)
        n, level2 = len(own), cluster.select(table.columns[p:]).to_numpy().astype(float)[0]
        design = np.zeros((n * p + t - p, structure.n_columns))
        for i, row in enumerate(own):
            design[i * p : (i + 1) * p, :p] = np.eye(p)
            for k, (_, predictor) in enumerate(structure.slopes):
                design[i * p : (i + 1) * p, t + k] = directions[:, k] * row[predictor]
        design[n * p :, p:t] = np.eye(t - p)
        v = design @ implied.between @ design.T
        v[: n * p, : n * p] += np.kron(np.eye(n), implied.within)
        d = np.concatenate([own.ravel(), level2]) - design @ implied.mean
        there = ~np.isnan(d)
        v, d = v[np.ix_(there, there)], d[there]
        total += len(d) * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + d @ np.linalg.solve(v, d)
    return total


@cache
def chain_rows(shift=0.0):
    rng = np.random.default_rng(4)
    clusters = 60
    g = np.repeat(np.arange(clusters), rng.integers(2, 9, clusters))
    w, a = rng.normal(size=clusters), 0.5 + 0.4 * rng.normal(size=clusters)
    z = 0.6 * a + 0.3 * w + rng.normal(size=clusters)
    b = 0.3 + 0.2 * w + 0.3 * rng.normal(size=clusters)
    x = rng.normal(size=len(g))
    m = (0.7 * rng.normal(size=clusters))[g] + a[g] * x + rng.normal(size=len(g))
    y = (0.6 * rng.normal(size=clusters))[g] + b[g] * m + 0.2 * x + rng.normal(size=len(g))
    return pl.DataFrame({"g": g, "w": w[g], "z": z[g], "x": x + shift, "m": m, "y": y})


MODELS = {"chain": (CHAIN, chain_rows()), "factor": (FACTOR, data("rsfac").with_columns(x=pl.col("x") + 3))}


@pytest.mark.parametrize("name", MODELS)
def test_deviance_is_that_of_the_whole_data_as_one_normal_vector(name):
    text, rows = MODELS[name]
    table, criterion, _, theta = likelihood(text, rows)
    dense = dense_deviance(table, criterion.structure, rows, theta)
    # sums of thousands of terms
    assert criterion.deviance(theta) == pytest.approx(dense, rel=1e-12)
    assert criterion.evaluate(theta).deviance == pytest.approx(dense, rel=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_differences(name):
    _, criterion, _, theta = likelihood(*MODELS[name])
    at = criterion.evaluate(theta)
    steps = 1e-5 * np.eye(len(theta))
    gradient = [(criterion.deviance(theta + s) - criterion.deviance(theta - s)) / 2e-5 for s in steps]
    hessian = [(criterion.evaluate(theta + s).gradient - criterion.evaluate(theta - s).gradient) / 2e-5 for s in steps]
    # central differences of step 1e-5 are good to 1e-7 of the largest
    np.testing.assert_allclose(at.gradient, gradient, atol=1e-7 * np.abs(gradient).max() + 1e-5)
    np.testing.assert_allclose(criterion.hessian(theta, at), hessian, atol=1e-6 * np.abs(hessian).max())
    scores = criterion.scores(at)
    np.testing.assert_allclose(scores.sum(axis=0), at.gradient, atol=1e-9 * np.abs(scores).sum())


@pytest.mark.parametrize("name", ["med_111", "med_211_full", "sem_demo"])
def test_without_slopes_it_is_the_likelihood_of_random_intercepts(name):
    rows = data(case(name)["data"]).rename({case(name)["cluster"]: "g"})
    _, criterion, statistics, theta = likelihood(case(name)["syntax"], rows)
    plain = Likelihood(criterion.structure, statistics)
    at, plainly = criterion.evaluate(theta), plain.evaluate(theta)
    assert at.deviance == pytest.approx(plainly.deviance, rel=1e-12)
    np.testing.assert_allclose(at.gradient, plainly.gradient, atol=1e-9 * np.abs(plainly.gradient).max())
    curved = plain.hessian(theta, plainly)
    np.testing.assert_allclose(criterion.hessian(theta, at), curved, atol=1e-9 * np.abs(curved).max())


def test_an_indefinite_covariance_of_slopes_has_a_deviance_only_where_the_data_have_one():
    """Of a negative variance of the slope the integral exists while each cluster's covariance matrix is definite."""
    rows = chain_rows()
    table, criterion, _, theta = likelihood(CHAIN, rows)
    place = next(row.index for row in table.rows if row.is_variance and row.lhs == "c")
    theta[place] = -0.01
    assert criterion.deviance(theta) == pytest.approx(
        dense_deviance(table, criterion.structure, rows, theta), rel=1e-11
    )
    theta[place] = -100.0
    assert criterion.deviance(theta) == np.inf
    assert criterion.evaluate(theta) is None


@cache
def fitted(name):
    found = slope_case(name)
    return mlm.sem(found["model"], data(found["data"]), cluster=found.get("cluster", "g"), **found.get("options", {}))


def test_a_slope_of_a_factor_is_lavaans():
    ours, theirs = fitted("rsfac"), slope_case("rsfac")
    row = ours.fit_statistics.row(0, named=True)
    # lavaan's search stops at 2e-7 in the log-likelihood
    assert row["log_likelihood_given_x"] == pytest.approx(theirs["loglik"], abs=1e-6)
    assert row["log_likelihood_given_x"] > theirs["loglik"]
    assert row["n_parameters_given_x"] == theirs["npar"]
    assert [row["chi_square"], row["df"], row["cfi"], row["srmr_within"]] == [None] * 4
    assert row["aic_given_x"] == pytest.approx(theirs["fit"]["aic"], abs=1e-5)
    keys = {(r["level"], r["op"], frozenset((r["lhs"], r["rhs"]))): r for r in ours.parameters.iter_rows(named=True)}
    for reference in theirs["parameters"]:
        found = keys[reference["level"], reference["op"], frozenset((reference["lhs"], reference["rhs"]))]
        if reference["se"]:
            assert found["estimate"] == pytest.approx(reference["est"], abs=1e-3 * reference["se"])
            assert found["std_error"] == pytest.approx(reference["se"], rel=1e-3)
    slope = ours.parameters.filter((pl.col("level") == 1) & (pl.col("op") == "~")).row(0, named=True)
    assert (slope["lhs"], slope["rhs"], slope["label"], slope["estimate"]) == ("fw", "x", "s", 0.0)
    assert slope["std_error"] is None


def test_two_slopes_of_a_mediation_are_nlmes():
    ours, theirs = fitted("rs111"), slope_case("rs111")
    assert ours.fit_statistics["log_likelihood_given_x"][0] == pytest.approx(theirs["loglik"], abs=1e-5)
    found = {(r["level"], r["lhs"], r["op"], r["rhs"]): r["estimate"] for r in ours.parameters.iter_rows(named=True)}
    names = {
        "Sm": (2, "m", "~1", ""),
        "Sy": (2, "y", "~1", ""),
        "Syw": (2, "y", "~", "w"),
        "Smx": (2, "a", "~1", ""),
        "Smxw": (2, "a", "~", "w"),
        "Syx": (1, "y", "~", "x"),
        "Sym": (2, "b", "~1", ""),
    }
    # nlme stops at 1e-5 of an estimate or so
    for name, key in names.items():
        assert found[key] == pytest.approx(theirs["fixed"][name], abs=2e-4)
    order = ("m", "y", "a", "b")
    covariances = {frozenset((lhs, rhs)): v for (level, lhs, op, rhs), v in found.items() if (level, op) == (2, "~~")}
    for first, row in zip(order, theirs["T"], strict=True):
        ours_row = [covariances[frozenset((first, second))] for second in order]
        assert ours_row == pytest.approx(list(row.values()), abs=5e-4)


def test_robust_errors_are_the_sandwich_of_the_dense_scores():
    rows, case_ = data("rs111").filter(pl.col("g") <= 50), slope_case("rs111")
    found, plain = (
        mlm.sem(case_["model"], rows, cluster="g", robust=robust, **case_.get("options", {}))
        for robust in (True, False)
    )
    assert not plain.singular
    theta = plain.estimate.theta
    table, structure = plain.estimate.table, plain.estimate.structure
    bread = plain.vcov / 2
    scores = np.zeros((rows["g"].n_unique(), len(theta)))
    for j, (_, cluster) in enumerate(rows.group_by("g")):
        for i, step in enumerate(1e-5 * np.eye(len(theta))):
            ahead, behind = (dense_deviance(table, structure, cluster, theta + sign * step) for sign in (1, -1))
            scores[j, i] = (ahead - behind) / 2e-5
    expected = np.sqrt(np.diag(bread @ scores.T @ scores @ bread))
    # differences are good to 1e-6 of a score
    np.testing.assert_allclose(np.sqrt(np.diag(found.vcov)), expected, rtol=1e-5)


MIXED = [
    ("y ~ x + (x | g)", 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~~ s', ["x"]),
    ("y ~ x * w + (x | g)", 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ w\n s ~ w\n y ~~ s', ["x", "w"]),
    (
        "y ~ x + m + w + (x + m | g)",
        'level: 1\n y ~ rv("s")*x + rv("r")*m\n x ~~ m\nlevel: 2\n y ~ w\n y ~~ s + r\n s ~~ r',
        ["x", "m", "w"],
    ),
    ("y ~ x + m + (m || g)", 'level: 1\n y ~ x + rv("s")*m\nlevel: 2\n y ~~ y\n s ~~ 0*y', ["x", "m"]),
]


@pytest.mark.parametrize(("formula", "text", "predictors"), MIXED)
def test_the_mixed_model_is_a_special_case(formula, text, predictors):
    rows = chain_rows()
    mixed = mlm.fit(formula, rows, estimator="ml", df="none")
    ours = mlm.sem(text, rows, cluster="g")
    # predictors are random here: their likelihood, of rows or of clusters, is taken off
    marginal = 0.0
    for source, names in (
        (rows, [n for n in predictors if n != "w"]),
        (rows.unique("g"), [n for n in predictors if n == "w"]),
    ):
        if names:
            covariance = np.cov(source.select(names).to_numpy().T, bias=True).reshape(len(names), -1)
            marginal -= (
                len(source) / 2 * (len(names) * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] + len(names))
            )
    expected = mixed.fit_statistics["log_likelihood"][0]
    assert ours.fit_statistics["log_likelihood"][0] - marginal == pytest.approx(expected, abs=1e-8)
    theirs = dict(mixed.fixed_effects.select("term", "estimate").iter_rows())
    found = {(r["level"], r["lhs"], r["op"], r["rhs"]): r["estimate"] for r in ours.parameters.iter_rows(named=True)}
    slope = next(s.name for s in ours.estimate.table.slopes)
    predictor = ours.estimate.table.slopes[0].predictor
    # both searches end with a decrement far below their tolerance
    assert found[2, "y", "~1", ""] == pytest.approx(theirs["(Intercept)"], abs=1e-7)
    assert found[2, slope, "~1", ""] == pytest.approx(theirs[predictor], abs=1e-7)
    variances = {
        row["term"]: row["estimate"] for row in mixed.variance_components.iter_rows(named=True) if row["other"] is None
    }
    assert found[2, slope, "~~", slope] == pytest.approx(variances[predictor], abs=1e-7)


@pytest.mark.parametrize("shift", [5.0, 100.0])
def test_a_predictor_from_another_origin_moves_intercepts_alone(shift):
    """A law: where the intercept covaries with the slope the model is the same from every origin of x."""
    text = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y + s ~ w\n y ~~ s'
    plain, moved = (mlm.sem(text, chain_rows(by), cluster="g") for by in (0.0, shift))
    log_likelihood = plain.fit_statistics["log_likelihood"][0]
    assert moved.fit_statistics["log_likelihood"][0] == pytest.approx(log_likelihood, abs=1e-7)
    assert moved.converged
    keys = (pl.col("lhs") == "s") & (pl.col("op") != "~1") | (pl.col("level") == 1) & (pl.col("op") == "~~")
    for column in ("estimate", "std_error"):
        # at a hundred standard deviations the intercept's variance is ten thousand times the slope's
        found, expected = moved.parameters.filter(keys)[column], plain.parameters.filter(keys)[column]
        assert found.to_list() == pytest.approx(expected.to_list(), rel=1e-5)


def test_many_clusters_begin_at_the_estimates_of_some():
    rng = np.random.default_rng(9)
    g = np.repeat(np.arange(4_000), 4)
    slope, x = 0.5 + 0.3 * rng.normal(size=4_000), rng.normal(size=16_000)
    rows = pl.DataFrame({"g": g, "x": x, "y": rng.normal(size=4_000)[g] + slope[g] * x + rng.normal(size=16_000)})
    ours = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~~ s', rows, cluster="g")
    mixed = mlm.fit("y ~ x + (x | g)", rows, estimator="ml", df="none").fit_statistics["log_likelihood"][0]
    assert ours.fit_statistics["log_likelihood_given_x"][0] == pytest.approx(mixed, abs=1e-7)
    # Newton's steps from there
    assert ours.estimate.optimum.evaluations < 8


def test_a_slope_without_variance_ends_at_zero():
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(80), 6)
    x = rng.normal(size=480)
    within = rng.normal(size=480)
    # slopes of the clusters that lie closer together than chance would have them
    rows = pl.DataFrame({"g": g, "x": x, "e": within})
    rows = rows.with_columns(slope=((pl.col("x") * pl.col("e")).sum() / (pl.col("x") ** 2).sum()).over("g"))
    rows = rows.with_columns(y=0.5 * pl.col("x") + pl.col("e") - pl.col("slope") * pl.col("x"))
    ours = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~~ 0*s\n s ~~ s', rows, cluster="g")
    assert ours.singular
    assert "the between variance of s is zero" in ours.notes[0]
    assert ours.parameters.filter((pl.col("lhs") == "s") & (pl.col("rhs") == "s"))["estimate"].to_list() == [0.0]


def test_models_with_slopes_compare_by_likelihood_ratio():
    rows = chain_rows()
    fixed = mlm.sem("level: 1\n y ~ x\nlevel: 2\n y ~~ y", rows, cluster="g")
    random = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~~ s', rows, cluster="g")
    gain = 2 * (random.estimate.log_likelihood - fixed.estimate.log_likelihood)
    row = fixed.compare(random).row(0, named=True)
    assert (row["statistic"], row["df"]) == (pytest.approx(gain, abs=1e-9), 2)
    other = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~~ 0*s\n s ~ 0*1', rows, cluster="g")
    free = mlm.sem("level: 1\n y ~ x\n x ~ NA*1\nlevel: 2\n y ~~ y", rows, cluster="g")
    assert other.estimate.n_parameters == free.estimate.n_parameters


def test_a_ready_mediation_has_the_mean_of_the_product():
    found = mlm.sem("mediation 1-1-1 random: x -> m -> y", chain_rows(), cluster="g", slopes="observed")
    rows = {row["lhs"]: row for row in found.parameters.filter(op=":=").iter_rows(named=True)}
    labels = dict(found.parameters.drop_nulls("label").select("label", "estimate").iter_rows())
    product = labels["mean_a"] * labels["mean_b"] + labels["cov_ab"]
    assert rows["indirect"]["estimate"] == pytest.approx(product, abs=1e-12)
    assert rows["total"]["estimate"] == pytest.approx(product + labels["mean_c"], abs=1e-12)
    limits = found.defined().row(0, named=True)
    assert limits["monte_carlo_low"] < product < limits["monte_carlo_high"]
    renamed = mlm.sem(
        "mediation 1-1-1 random: a -> m -> y", chain_rows().rename({"x": "a"}), cluster="g", slopes="observed"
    )
    assert renamed.estimate.log_likelihood == pytest.approx(found.estimate.log_likelihood, abs=1e-9)


def test_r_squared_averages_over_the_slopes():
    found = fitted("rsfac")
    value = {(row[0], row[1]): row[2] for row in found.r_squared.iter_rows()}
    estimates = {
        (r["level"], r["lhs"], r["op"], r["rhs"]): r["estimate"] for r in found.parameters.iter_rows(named=True)
    }
    implied = found.estimate.structure.moments(found.estimate.theta)[1]
    mean, variance = implied.mean[4], implied.covariance[4, 4]
    explained = (mean**2 + variance) * estimates[1, "x", "~~", "x"]
    assert value[1, "fw"] == pytest.approx(explained / (explained + estimates[1, "fw", "~~", "fw"]), rel=1e-12)


def test_equations_mplus_and_diagrams_show_the_slope():
    found = fitted("rsfac")
    text = found.equations()
    assert "fw_ij = s_j*x_ij + e_fw,ij" in text
    assert re.search(r"s_j = alpha_\d+ \+ beta_\d+\*w_j \+ u_s,j", text)
    mplus = found.equations("mplus")
    assert "TYPE = TWOLEVEL RANDOM;" in mplus
    assert "  s | fw ON x;" in mplus
    assert "  [s*];" in mplus
    assert 'w4 -->|"● s"| ' not in found.diagram("mermaid")
    assert re.search(r'w\d -->\|"● s"\| w\d', found.diagram("mermaid"))
    assert found.diagram().count("<circle") == 1
    assert "random slope s of fw on x" in found.diagram()
    picture = found.picture("path")
    assert picture.reading.endswith(
        "A filled dot on an arrow is a slope that differs between clusters, with its mean, or its intercept where "
        "something predicts it, below its name; between clusters it is a variable of that name."
    )
    mean = found.parameters.filter(lhs="s", op="~1")["estimate"][0]
    # s is predicted by w, so that its intercept is its mean where w is zero
    assert f">{mean:.3g}<" in found.diagram()
    printed = str(found)
    assert re.search(r"fw\s+~\s+x\s+s\s+random", printed)
    assert "no chi-square: with random slopes there is no unrestricted model to compare with" in printed


BETWEEN = "\nlevel: 2\n y ~ w\n s ~~ s"
REFUSED = [
    (
        'level: 1\n f =~ y1 + y2\n y ~ rv("s")*f' + BETWEEN,
        "A random slope needs an observed variable. Got y ~ rv(\"s\")*f, and 'f' is a latent variable of level 1, "
        "whose product with a slope has no likelihood in closed form; give it a fixed slope.",
    ),
    (
        'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ w',
        "The random slope 's' of y on x is named at level 1 and does not appear at level 2. Write s ~~ s there, or "
        "what predicts it, or drop rv().",
    ),
    (
        'level: 1\n y ~ rv("s")*x\n z ~ rv("s")*x' + BETWEEN,
        "A random slope belongs to one regression. Got 's' for y ~ x and z ~ x; give each its own name, and equal "
        "labels at level 2.",
    ),
    (
        'level: 1\n y ~ rv("x")*x\nlevel: 2\n y ~ w\n x ~~ x',
        "A random slope is a variable of level 2. Got 'x' in y ~ rv(\"x\")*x and as a variable of level 1; give the "
        "slope another name.",
    ),
    (
        'level: 1\n y ~ rv("s")*x\n x ~ y' + BETWEEN,
        "A random slope is part of no loop. Got y ~ rv(\"s\")*x, and 'y' acts on 'x' in turn; leave one of the "
        "regressions out.",
    ),
    (
        'level: 1\n y ~ rv("s")*x\nlevel: 2\n s =~ w',
        "A random slope has no indicators. Got s =~ at level 2; write its effects as regressions, as in z ~ s.",
    ),
    (
        'level: 1\n y ~ x\nlevel: 2\n y ~ rv("s")*w',
        'A random slope is of a regression at level 1, as in y ~ rv("s")*x. Got ~ at level 2.',
    ),
    (
        'level: 1\n y ~~ rv("s")*x' + BETWEEN,
        'A random slope is of a regression at level 1, as in y ~ rv("s")*x. Got ~~ at level 1.',
    ),
    (
        'level: 1\n y ~ b*rv("s")*x' + BETWEEN,
        "A random slope has no other modifier. Its mean is the intercept of 's' at level 2; write its label, value or "
        "start there, as in s ~ a*1.",
    ),
    ('level: 1\n y ~ rv("s")*x + 2*x' + BETWEEN, "y ~ x has a random slope and another modifier too; keep one."),
    ('level: 1\n y ~ rv("s")*x + rv("r")*x' + BETWEEN, "y ~ x has two random slopes. Got s and r; keep one."),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_slopes_that_cannot_be_are_refused_in_a_sentence(text, sentence):
    with pytest.raises(FormulaError) as caught:
        parameter_table(parse_sem(text))
    assert str(caught.value).split("\n")[0] == sentence


def test_a_diagram_without_another_slope_tells_the_mean_of_a_random_one():
    rows = data("rs111").select("g", "x", "m", "y")
    found = mlm.sem("mediation 1-1-1 random: x -> m -> y", rows, cluster="g", slopes="observed")
    means = {row["label"]: row for row in found.parameters.filter(op="~1").drop_nulls("label").iter_rows(named=True)}
    largest = max(means.values(), key=lambda row: row["statistic"])
    path = {"a": "m on x", "b": "y on m", "c": "y on x"}[largest["lhs"]]
    assert found.picture("path").answer.startswith(
        f"The slope of {path} differs between clusters; its mean is {largest['estimate']:.3g} (95% interval "
    )
    assert f">{means['mean_a']['estimate']:.3g}<" in found.diagram()


def test_bad_data_and_options_are_refused_in_a_sentence():
    rows = chain_rows()
    with pytest.raises(DataError) as constant:
        mlm.sem('level: 1\n y ~ rv("s")*w\nlevel: 2\n y ~~ s', rows, cluster="g")
    assert str(constant.value) == (
        "The random slope 's' is of 'w', which does not vary within clusters of 'g', so that no cluster has a slope of "
        "its own. Let 'w' predict 'y' at level 2 instead."
    )
    with pytest.raises(MlmError) as unknown:
        mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n s ~~ s', rows, cluster="g", slopes="manifest")
    assert "latent, observed" in str(unknown.value)


def test_what_rests_on_a_singular_matrix_is_named() -> None:
    """Slopes of these data do not vary, so that the covariance of a and b, and the indirect effect, have no error."""
    data = ROOT / "pipelines" / "data" / "mediation_111.csv"
    fit = mlm.sem("mediation 1-1-1 random: x -> m -> y", data, cluster="g", slopes="observed")
    assert (
        "no standard error, nor has what rests on them: indirect, total; it has one in a model without" in fit.notes[0]
    )
    definitions = fit.parameters.filter(pl.col("op") == ":=")
    # a product of slopes in their own standard deviations would mean nothing
    assert definitions["std_all"].is_null().all()
    assert definitions["estimate"].is_not_null().all()
