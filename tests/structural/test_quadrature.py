"""Slopes of a latent part within clusters: against dense integrals, lavaan, and the same model of observed parts."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import FormulaError, IdentificationError
from mlm_ops.structural.algebra.matrices import build_structure
from mlm_ops.structural.estimation import search
from mlm_ops.structural.estimation.starts import starting_values
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.request import sem_request
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.likelihood import quadrature
from mlm_ops.structural.likelihood.quadrature import unadapted
from mlm_ops.structural.results.fitting import collect_sem
from mlm_ops.structural.statistics.cluster_sums import sums_of_complete_rows
from mlm_ops.structural.statistics.from_moments import two_level_statistics
from mlm_ops.structural.statistics.missing import statistics_of_patterns
from mlm_ops.warehouse.source import open_source
from tests.structural.cases import data, slope_case
from tests.structural.simulation import STUDIES

#: A slope beside that of an observed predictor, and one of a factor's regression.
BOTH = 'level: 1\n y ~ rv("s")*x + rv("r")*v\nlevel: 2\n y ~ x + w\n x ~ w\n s ~ w\n z ~ s\n y ~~ s + r\n r ~~ s'
TWO = 'level: 1\n y ~ rv("s")*x + rv("r")*v\nlevel: 2\n y ~ x + v + w\n s + r ~ w\n z ~ s + r\n y ~~ s + r\n s ~~ r'
CHAIN = 'level: 1\n y1 ~ rv("s")*x\n y2 ~ rv("r")*y1 + x\nlevel: 2\n y1 ~ x\n y2 ~ y1\n y1 + y2 ~~ s + r\n s ~~ r'
SHARED = (
    'level: 1\n f =~ y1 + y2\n f ~ rv("s")*x\n y3 ~ rv("r")*x + rv("q")*v + f\nlevel: 2\n y1 ~~ y1 + y2\n y2 ~~ y2\n'
    " y3 ~ x\n s ~ w\n s ~~ r + q\n r ~~ q"
)
FACTOR = 'level: 1\n f =~ y1 + y2 + y3\n f ~ rv("s")*x\nlevel: 2\n fb =~ y1 + y2 + y3\n fb + s ~ w\n fb ~ x\n s ~~ fb'


@cache
def some_rows(clusters=12):
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(clusters), rng.integers(2, 7, clusters))
    w, part = rng.normal(size=clusters), rng.normal(size=clusters)
    slope = 0.5 + 0.2 * w + 0.4 * rng.normal(size=clusters)
    within, v = rng.normal(size=len(g)), rng.normal(size=len(g))
    y = (0.8 * part + 0.5 * rng.normal(size=clusters))[g] + slope[g] * within + 0.3 * v + rng.normal(size=len(g))
    z = slope + rng.normal(size=clusters)
    columns = {"y1": y, "y2": 0.8 * y + rng.normal(size=len(g)), "y3": y + rng.normal(size=len(g))}
    return pl.DataFrame({"g": g, "w": w[g], "z": z[g], "x": 2 + part[g] + within, "v": v, "y": y, **columns})


def likelihood(text, rows, missing="listwise", count=15):
    table = parameter_table(parse_sem(text))
    structure = build_structure(table)
    moments = collect_sem(sem_request(text, "g", missing=missing), open_source(rows))
    statistics = (statistics_of_patterns if missing == "ml" else two_level_statistics)(table, moments, ("g",))
    theta = starting_values(table, statistics)
    theta = theta + 0.02 * np.random.default_rng(3).normal(size=len(theta))
    if missing == "listwise":
        statistics = sums_of_complete_rows(statistics, tuple(dict.fromkeys(x for _, x in structure.slopes)))
    return table, unadapted(structure, statistics, theta).adapted(theta, count), theta


def dense_deviance(table, structure, rows, theta, points=401):
    """The oracle: given its slopes a cluster's cells are one normal vector; a fine sum over a grid of the slopes."""
    implied = structure.implied(theta)
    p, t = structure.n_row_level, len(table.columns)
    places, directions = t + np.array(structure.latent_slopes), structure.directions(theta)[0]
    others = np.array([i for i in range(structure.n_columns) if i not in places])
    own = implied.between[np.ix_(places, places)]
    deviations = np.sqrt(np.diag(own))
    steps = np.linspace(-8, 8, points)
    around = np.stack(np.meshgrid(*[steps] * len(places), indexing="ij"), axis=-1).reshape(-1, len(places)) * deviations
    values = implied.mean[places] + around
    regression = implied.between[np.ix_(others, places)] @ np.linalg.inv(own)
    rest = implied.between[np.ix_(others, others)] - regression @ own @ regression.T
    means = implied.mean[others] + around @ regression.T
    squares = np.einsum("na,ab,nb->n", around, np.linalg.inv(own), around)
    prior = -(squares + np.linalg.slogdet(2 * np.pi * own)[1]) / 2
    cell = np.prod(deviations * (steps[1] - steps[0]))
    total = 0.0
    for _, cluster in rows.group_by("g"):
        cells = cluster.select(table.columns[:p]).to_numpy().astype(float)
        n, level2 = len(cells), np.array([cluster[name][0] for name in table.columns[p:]], dtype=float)
        design = np.zeros((len(values), n * p + t - p, structure.n_columns))
        design[:, n * p :, p:t] = np.eye(t - p)
        offset = np.zeros((len(values), n * p + t - p))
        for r, row in enumerate(cells):
            block = slice(r * p, (r + 1) * p)
            design[:, block, :p] = np.eye(p)
            for k, (_, x) in enumerate(structure.slopes):
                if k in structure.latent_slopes:
                    of_value = np.outer(values[:, structure.latent_slopes.index(k)], directions[:, k])
                    offset[:, block] += of_value * row[x]
                    design[:, block, x] -= of_value
                else:
                    design[:, block, t + k] = row[x] * directions[:, k]
        design = design[:, :, others]
        v = design @ rest @ design.swapaxes(1, 2)
        v[:, : n * p, : n * p] += np.kron(np.eye(n), implied.within)
        d = np.concatenate([cells.ravel(), level2]) - offset - (design @ means[:, :, None])[:, :, 0]
        there = ~np.isnan(d[0])
        v, d = v[:, there][:, :, there], d[:, there]
        fits = np.einsum("na,na->n", d, np.linalg.solve(v, d[:, :, None])[:, :, 0])
        logs = prior - (there.sum() * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + fits) / 2
        most = logs.max()
        total -= 2 * (most + np.log(np.exp(logs - most).sum() * cell))
    return total


MODELS = {
    "beside an observed one": (BOTH, some_rows(), "listwise"),
    "of a factor": (FACTOR, some_rows(), "listwise"),
    "with missing cells": (
        BOTH,
        some_rows()
        .with_row_index()
        .with_columns(
            y=pl.when(pl.col("index") % 4 != 0).then(pl.col("y")), z=pl.when(pl.col("g") != 3).then(pl.col("z"))
        ),
        "ml",
    ),
    "of two predictors": (TWO, some_rows(5), "listwise"),
    "in a chain": (CHAIN, some_rows(5), "listwise"),
    "two and missing cells": (
        SHARED,
        some_rows(5)
        .with_row_index()
        .with_columns(
            y1=pl.when(pl.col("index") % 4 != 0).then(pl.col("y1")), y3=pl.when(pl.col("g") != 3).then(pl.col("y3"))
        ),
        "ml",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_deviance_is_the_dense_integral(name):
    text, rows, missing = MODELS[name]
    table, criterion, theta = likelihood(text, rows, missing)
    points = {1: 401, 2: 61}[len(criterion.structure.latent_slopes)]
    dense = dense_deviance(table, criterion.structure, rows, theta, points)
    assert criterion.deviance(theta) == pytest.approx(dense, abs=1e-7)
    assert criterion.evaluate(theta).deviance == pytest.approx(dense, abs=1e-7)


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_differences(name):
    _, criterion, theta = likelihood(*MODELS[name], count=7)
    at = criterion.evaluate(theta)
    # of a mixture of all parameters
    steps = 1e-5 * np.random.default_rng(2).normal(size=(3, len(theta)))
    gradient = [(criterion.deviance(theta + s) - criterion.deviance(theta - s)) / 2 for s in steps]
    hessian = [(criterion.evaluate(theta + s).gradient - criterion.evaluate(theta - s).gradient) / 2 for s in steps]
    # central differences of step 1e-5 are good to 1e-7 of the largest
    largest = 1e-5 * np.abs(at.gradient).max()
    np.testing.assert_allclose(steps @ at.gradient, gradient, atol=1e-7 * largest + 1e-10)
    np.testing.assert_allclose(steps @ at.hessian, hessian, atol=1e-11 * np.abs(at.hessian).max())
    np.testing.assert_allclose(criterion.scores(at).sum(axis=0), at.gradient, atol=1e-9 * np.abs(at.gradient).max())


@cache
def fitted():
    return mlm.sem(slope_case("latslope")["model"], data("latslope"), cluster="g")


def test_estimates_are_lavaans():
    """Lavaan's 21 fixed nodes are 2e-4 off, and it fixes the variance of x within clusters beside its estimate."""
    ours, theirs = fitted(), slope_case("latslope")
    row = ours.fit_statistics.row(0, named=True)
    assert theirs["loglik"] < row["log_likelihood_given_x"] < theirs["loglik"] + 2e-4
    assert row["n_parameters_given_x"] == theirs["npar"] + 1
    keys = {(r["level"], r["op"], frozenset((r["lhs"], r["rhs"]))): r for r in ours.parameters.iter_rows(named=True)}
    for reference in theirs["parameters"]:
        found = keys[reference["level"], reference["op"], frozenset((reference["lhs"], reference["rhs"]))]
        if reference["se"]:
            assert found["estimate"] == pytest.approx(reference["est"], abs=2e-3 * reference["se"])
            assert found["std_error"] == pytest.approx(reference["se"], rel=2e-3)
    assert ours.converged


def test_nodes_and_their_error_are_told():
    ours = fitted()
    assert abs(ours.estimate.quadrature_error) < 1e-7
    assert ours.notes[0].startswith(
        "the slope s of x within clusters is integrated over by 9 nodes a cluster; 21 nodes change the log-likelihood "
        "by "
    )
    assert "y_W,ij = s_j*x_W,ij + e_y,ij" in ours.equations()
    assert "which Mplus has only with ESTIMATOR = BAYES" in " ".join(
        ours.equations("mplus").replace("\n! ", " ").split()
    )
    robust = mlm.sem(slope_case("latslope")["model"], data("latslope"), cluster="g", robust=True)
    ratio = robust.parameters["std_error"] / ours.parameters["std_error"]
    assert ratio.drop_nulls().min() > 0.6
    assert ratio.drop_nulls().max() < 1.6


def test_around_observed_means_the_slope_between_is_another():
    """A manifest predictor mixes both parts into the slope: its likelihood is that of another model."""
    text = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x\n y ~~ s'
    latent = mlm.sem(text, data("latslope"), cluster="g")
    observed = mlm.sem(text, data("latslope"), cluster="g", slopes="observed")
    assert latent.estimate.likelihood.count == 9
    assert observed.estimate.quadrature_error is None
    slopes = [found.parameters.filter(lhs="y", op="~", rhs="x", level=2)["estimate"][0] for found in (latent, observed)]
    # of y on x between clusters .9 in the simulation; with s x as it is, what is left of it beside the slope's .55
    assert slopes[0] == pytest.approx(0.9, abs=0.1)
    assert slopes[1] == pytest.approx(0.9 - 0.55, abs=0.15)


def test_more_than_two_are_refused_in_a_sentence():
    text = 'level: 1\n y ~ rv("s")*x + rv("r")*v\n y1 ~ rv("q")*x\nlevel: 2\n y ~ x + v\n y1 ~ x\n s ~~ r\n q ~~ s'
    with pytest.raises(FormulaError) as three:
        mlm.sem(text, some_rows(), cluster="g")
    assert str(three.value) == (
        "Two random slopes of parts within clusters are offered at most, as the likelihood integrates over each of "
        "them. Got 's' of x, 'r' of v, 'q' of x; take the predictors as they are observed by slopes=\"observed\", name "
        "some of them at level 1 only, or fix a slope."
    )
    with pytest.raises(FormulaError) as mean:
        mlm.sem('level: 1\n y ~ rv("s")*x\n x ~ NA*1\nlevel: 2\n y ~ x\n x ~ 0*1\n s ~~ s', some_rows(), cluster="g")
    assert str(mean.value) == (
        "'x' has a mean at level 1, and its random slope 's' belongs to its part within clusters, which has none. "
        "Leave the mean at level 2."
    )


def test_a_slope_without_variance_is_refused_in_a_sentence():
    rng = np.random.default_rng(1)
    g, (part, own) = np.repeat(np.arange(40), 6), rng.normal(size=(2, 40))
    rows = pl.DataFrame({"g": g, "within": rng.normal(size=240), "e": rng.normal(size=240)})
    # slopes of the clusters that lie closer together than chance would have them
    slope = ((pl.col("within") * pl.col("e")).sum() / (pl.col("within") ** 2).sum()).over("g")
    y = 0.5 * pl.col("within") + pl.col("e") - slope * pl.col("within") + pl.Series((0.6 * part + 0.5 * own)[g])
    rows = rows.with_columns(x=pl.col("within") + pl.Series(part[g]), y=y)
    for text in ("s ~~ s", "s ~~ 0*s"):
        with pytest.raises(IdentificationError) as zero:
            mlm.sem(f'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x\n y ~~ 0*s\n {text}', rows, cluster="g")
        assert str(zero.value) == (
            "The variance of the random slope 's' of x around its latent mean is zero, where its likelihood by "
            "quadrature has no value. Give it a fixed slope, as in y ~ x, or take the predictor as it is observed by "
            'slopes="observed".'
        )


def test_a_slope_whose_variance_begins_at_zero_is_integrated_over():
    rng = np.random.default_rng(5)
    g, x = np.repeat(np.arange(30), 5), rng.normal(size=150)
    y = (0.5 + 0.8 * rng.normal(size=30))[g] * x + rng.normal(size=30)[g] + rng.normal(size=150)
    rows = pl.DataFrame({"g": g, "x": x + rng.normal(size=30)[g], "y": y})
    text = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x\n s ~~ {}s'
    own, other = (mlm.sem(text.format(start), rows, cluster="g") for start in ("start(0)*", ""))
    assert own.estimate.log_likelihood == pytest.approx(other.estimate.log_likelihood, abs=1e-7)


def test_a_ready_mediation_takes_the_mediator_around_its_latent_mean():
    rows = STUDIES["slopes"].draw(np.random.default_rng(4)).filter(pl.col("g") < 80)
    found = mlm.sem("mediation 1-1-1 random: x -> m -> y", rows, cluster="g")
    assert [slope.latent for slope in found.estimate.table.slopes] == [False, True, False]
    labels = dict(found.parameters.drop_nulls("label").select("label", "estimate").iter_rows())
    product = labels["mean_a"] * labels["mean_b"] + labels["cov_ab"]
    assert labels["indirect"] == pytest.approx(product, abs=1e-12)


PAIR = """
level: 1
  y1 ~ rv("s")*x1
  y2 ~ rv("r")*x2
  y1 ~~ 0*y2
  x1 ~~ 0*x2
level: 2
  y1 ~ x1
  y2 ~ x2
  y1 ~~ 0*y2 + s
  y2 ~~ r
  x1 ~~ 0*x2
  s ~~ 0*r
"""
ALONE = 'level: 1\n y{0} ~ rv("{1}")*x{0}\nlevel: 2\n y{0} ~ x{0}\n y{0} ~~ {1}'


@cache
def pair_of_slopes():
    """Two independent models in one, and each alone."""
    rng = np.random.default_rng(12)
    g, e = np.repeat(np.arange(60), 6), rng.normal(size=(4, 360))
    part, slope, rest = rng.normal(size=(3, 2, 60))
    x = 0.5 * part[:, g] + e[:2]
    y = (0.5 * part + 0.5 * rest)[:, g] + (0.5 + 0.5 * slope)[:, g] * e[:2] + e[2:]
    rows = pl.DataFrame({"g": g, "x1": x[0], "x2": x[1], "y1": y[0], "y2": y[1]})
    texts = (PAIR, ALONE.format(1, "s"), ALONE.format(2, "r"))
    return [mlm.sem(text, rows, cluster="g", robust=True) for text in texts]


def test_two_slopes_of_independent_variables_are_two_models():
    """Of the two alone 9 nodes are held beside 7 of each here: 1e-5 off in the log-likelihood."""
    both, *alone = pair_of_slopes()
    assert both.estimate.log_likelihood == pytest.approx(sum(f.estimate.log_likelihood for f in alone), abs=1e-5)
    numbers = {(r["level"], r["lhs"], r["op"], r["rhs"]): r for r in both.parameters.iter_rows(named=True)}
    for fit in alone:
        for row in fit.parameters.filter(pl.col("std_error").is_not_null()).iter_rows(named=True):
            own = numbers[row["level"], row["lhs"], row["op"], row["rhs"]]
            assert own["estimate"] == pytest.approx(row["estimate"], abs=1e-3 * row["std_error"])
            assert own["std_error"] == pytest.approx(row["std_error"], rel=1e-3)
    scores = both.scores.select("unit", "term", "estimate", "std_error").join(
        pl.concat([fit.scores for fit in alone]), on=["unit", "term"], suffix="_alone"
    )
    assert scores.height == 6 * 60
    np.testing.assert_allclose(scores["estimate"], scores["estimate_alone"], atol=1e-4)
    np.testing.assert_allclose(scores["std_error"], scores["std_error_alone"], atol=1e-4)


def test_nodes_of_two_slopes_are_told():
    both = pair_of_slopes()[0]
    assert both.notes[0].startswith(
        "the slopes s of x1 and r of x2 within clusters are integrated over by 7 x 7 nodes a cluster; 15 x 15 nodes "
        "change the log-likelihood by "
    )
    assert abs(both.estimate.quadrature_error) < 1e-5


def test_blocks_of_clusters_do_not_matter(monkeypatch):
    text, rows, missing = MODELS["two and missing cells"]
    _, criterion, theta = likelihood(text, rows, missing, count=5)
    whole = criterion.evaluate(theta)
    monkeypatch.setattr(quadrature, "_BLOCK", 1)
    blocks = criterion.placed(criterion.places, criterion.factors, 5)
    assert len(list(blocks.blocks(theta))) == 5
    by_block = blocks.evaluate(theta)
    assert by_block.deviance == pytest.approx(whole.deviance, rel=1e-13)
    np.testing.assert_allclose(by_block.hessian, whole.hessian, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(by_block.scores, whole.scores, rtol=1e-9, atol=1e-9)


def test_slopes_with_a_correlation_of_one_are_refused_in_a_sentence():
    """The slopes' covariance is fixed to what makes it one."""
    rng = np.random.default_rng(1)
    g, e = np.repeat(np.arange(12), 4), rng.normal(size=(3, 48))
    u = rng.normal(size=(3, 12))[:, g]
    rows = pl.DataFrame({"g": g, "x": u[0] + e[0], "v": u[1] + e[1], "y": u[2] + e[2]})
    text = 'level: 1\n y ~ rv("s")*x + rv("r")*v\nlevel: 2\n y ~ x + v\n s ~~ 1*s + 1*r\n r ~~ 1.000001*r'
    with pytest.raises(IdentificationError) as one:
        mlm.sem(text, rows, cluster="g")
    assert str(one.value) == (
        "The random slopes 's' of x and 'r' of v around their latent means have a correlation of one, where their "
        "likelihood by quadrature has no value. Give one of them a fixed slope, as in y ~ v, fix their covariance, or "
        'take the predictors as they are observed by slopes="observed".'
    )


def test_nodes_that_have_not_come_to_rest_are_no_convergence(monkeypatch):
    """One round of searches leaves the nodes where the search before had them."""
    text = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x\n y ~~ s'
    monkeypatch.setattr(search, "_MOST_ADAPTATIONS", 1)
    fit = mlm.sem(text, some_rows(40), cluster="g")
    assert not fit.converged
    assert fit.estimate.optimum.decrement > 1e-7
    assert any(note.startswith("not converged: the deviance may still fall by ") for note in fit.notes)
