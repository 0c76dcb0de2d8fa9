"""Full-information maximum likelihood: against dense normal vectors of the cells that are there, and lavaan."""

from __future__ import annotations

from functools import cache

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import AnalysisError, DataError, IdentificationError, MlmError
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.moments.patterns import complete_units
from mlm_ops.moments.record import merge
from mlm_ops.structural.algebra.matrices import build_structure
from mlm_ops.structural.estimation.starts import starting_values
from mlm_ops.structural.language.parameters import parameter_table
from mlm_ops.structural.language.request import sem_request
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.likelihood.cluster_likelihood import ClusterLikelihood
from mlm_ops.structural.results.fitting import collect_sem, fit_sem
from mlm_ops.structural.statistics.missing import statistics_of_patterns
from mlm_ops.warehouse.source import open_source
from tests.structural.cases import data, slope_case
from tests.structural.simulation import STUDIES
from tests.structural.test_slopes import CHAIN, FACTOR, chain_rows, dense_deviance

PLAIN = "level: 1\n y ~ m + x\nlevel: 2\n y ~ m + w\n z ~ y"


@cache
def with_holes(source="chain"):
    """Rows that miss cells at random, a level-2 variable in some clusters, and everything in a few rows."""
    rows = chain_rows() if source == "chain" else data("rsfac")
    rng = np.random.default_rng(12)
    for name in ("y", "m") if source == "chain" else ("y1", "y3"):
        gone = pl.Series(rng.random(len(rows)) < 0.25)
        rows = rows.with_columns(pl.when(gone).then(None).otherwise(pl.col(name)).alias(name))
    for name in ("w", "z") if source == "chain" else ("w",):
        without = rng.permutation(rows["g"].unique().to_numpy())[:9]
        lacks = pl.col("g").is_in(without)
        rows = rows.with_columns(pl.when(lacks).then(None).otherwise(pl.col(name)).alias(name))
    return rows


def likelihood(text, rows):
    table = parameter_table(parse_sem(text))
    statistics = statistics_of_patterns(
        table, collect_sem(sem_request(text, "g", missing="ml"), open_source(rows)), ("g",)
    )
    theta = starting_values(table, statistics)
    theta = theta + 0.05 * np.random.default_rng(3).normal(size=len(theta))
    return table, ClusterLikelihood(build_structure(table), statistics), theta


#: Missing cells alone, and with random slopes, whose predictors are complete.
MODELS = {
    "cells": (PLAIN, with_holes()),
    "cells and slopes": (CHAIN, with_holes().drop_nulls("m")),
    "cells and slopes of a factor": (FACTOR, with_holes("factor")),
}


@pytest.mark.parametrize("name", MODELS)
def test_deviance_is_that_of_the_cells_as_one_normal_vector(name):
    text, rows = MODELS[name]
    table, criterion, theta = likelihood(text, rows)
    dense = dense_deviance(table, criterion.structure, rows, theta)
    # sums of thousands of terms
    assert criterion.deviance(theta) == pytest.approx(dense, rel=1e-12)
    assert criterion.evaluate(theta).deviance == pytest.approx(dense, rel=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_differences(name):
    _, criterion, theta = likelihood(*MODELS[name])
    at = criterion.evaluate(theta)
    steps = 1e-5 * np.eye(len(theta))
    gradient = [(criterion.deviance(theta + s) - criterion.deviance(theta - s)) / 2e-5 for s in steps]
    hessian = [(criterion.evaluate(theta + s).gradient - criterion.evaluate(theta - s).gradient) / 2e-5 for s in steps]
    # central differences of step 1e-5 are good to 1e-7 of the largest
    np.testing.assert_allclose(at.gradient, gradient, atol=1e-7 * np.abs(gradient).max() + 1e-5)
    np.testing.assert_allclose(criterion.hessian(theta, at), hessian, atol=1e-6 * np.abs(hessian).max())
    scores = criterion.scores(at)
    np.testing.assert_allclose(scores.sum(axis=0), at.gradient, atol=1e-9 * np.abs(scores).sum())


@cache
def fitted(name):
    found = slope_case(name)
    return mlm.sem(found["model"], data("fiml"), cluster=found["cluster"], missing="ml")


@pytest.mark.parametrize("name", ["fiml_cfa", "fiml_level2"])
def test_estimates_and_chi_square_are_lavaans(name):
    ours, theirs = fitted(name), slope_case(name)
    row = ours.fit_statistics.row(0, named=True)
    # lavaan stops at 1e-6 in the log-likelihood, which we are never below
    assert theirs["loglik"] < row["log_likelihood"] < theirs["loglik"] + 1e-6
    assert (row["n_obs"], row["n_parameters"], row["df"]) == (
        theirs["fit"]["ntotal"],
        theirs["npar"],
        theirs["fit"]["df"],
    )
    assert row["chi_square"] == pytest.approx(theirs["fit"]["chisq"], abs=1e-5)
    measures = ours.measures.plain
    assert measures.baseline_chi_square == pytest.approx(theirs["fit"]["baseline.chisq"], abs=1e-5)
    assert measures.baseline_df == theirs["fit"]["baseline.df"]
    assert row["bic"] == pytest.approx(theirs["fit"]["bic"], abs=1e-5)
    keys = {(r["level"], r["op"], r["lhs"], r["rhs"]): r for r in ours.parameters.iter_rows(named=True)}
    for reference in theirs["parameters"]:
        found = keys[reference["level"], reference["op"], reference["lhs"], reference["rhs"]]
        if reference["se"]:
            assert found["estimate"] == pytest.approx(reference["est"], abs=1e-3 * reference["se"])
            assert found["std_error"] == pytest.approx(reference["se"], rel=1e-3)
    assert row["scaling_factor"] > 0.9


def test_no_cluster_is_dropped_for_a_variable_of_level_2():
    notes, n_clusters = fitted("fiml_level2").notes, fitted("fiml_level2").fit_statistics["n_clusters"][0]
    assert n_clusters == data("fiml")["g"].n_unique()
    incomplete = data("fiml").select(pl.any_horizontal(pl.col("y1", "y2", "y3", "y4").is_null()).sum()).item()
    lacking = data("fiml").group_by("g").agg(pl.col("v").is_null().all())["v"].sum()
    assert notes[-1] == (
        f"missing values by full-information maximum likelihood: {incomplete} of 1,421 rows and {lacking} of 150 "
        "clusters are incomplete"
    )


def test_coverage_counts_rows_and_clusters():
    table, rows = fitted("fiml_level2").coverage, data("fiml")
    both = rows.select((pl.col("y1").is_not_null() & pl.col("y4").is_not_null()).sum()).item()
    found = table.filter((pl.col("level") == 1) & (pl.col("variable") == "y1") & (pl.col("other") == "y4"))
    assert found.select("n", "share").row(0) == (both, both / 1421)
    clusters = rows.filter(pl.col("v").is_not_null() & pl.col("y1").is_not_null())["g"].n_unique()
    found = table.filter((pl.col("level") == 2) & (pl.col("variable") == "y1") & (pl.col("other") == "v"))
    assert found.select("n", "share").row(0) == (clusters, clusters / 150)
    assert set(mlm.sem(PLAIN, chain_rows(), cluster="g").coverage["share"]) == {1.0}


def test_complete_rows_give_the_likelihood_that_they_have_without():
    whole, plain = (mlm.sem(PLAIN, chain_rows(), cluster="g", missing=missing) for missing in ("ml", "listwise"))
    assert whole.estimate.log_likelihood == pytest.approx(plain.estimate.log_likelihood, abs=1e-9)
    # one cell more or less: the likelihood goes over into that of all other cells
    rows = chain_rows().with_row_index().with_columns(y=pl.when(pl.col("index") == 0).then(None).otherwise(pl.col("y")))
    table, criterion, theta = likelihood(PLAIN, rows)
    dense = dense_deviance(table, criterion.structure, rows, theta)
    assert criterion.deviance(theta) == pytest.approx(dense, rel=1e-12)


def test_moments_by_pattern_merge():
    rows, request = with_holes(), sem_request(PLAIN, "g", missing="ml")
    whole = mlm.sem(PLAIN, rows, cluster="g", missing="ml")
    moments = collect_sem(request, open_source(rows))
    halves = [moments.select(np.arange(moments.n_units) % 2 == half) for half in (0, 1)]
    merged = fit_sem(request, merge(*halves))
    assert merged.estimate.log_likelihood == pytest.approx(whole.estimate.log_likelihood, abs=1e-9)
    given = mlm.sem(PLAIN, moments, cluster="g", missing="ml")
    assert given.estimate.log_likelihood == pytest.approx(whole.estimate.log_likelihood, abs=1e-12)
    # the same moments serve complete rows
    complete, listwise = mlm.sem(PLAIN, moments, cluster="g"), mlm.sem(PLAIN, rows, cluster="g")
    assert complete.estimate.log_likelihood == pytest.approx(listwise.estimate.log_likelihood, abs=1e-9)
    assert complete_units(moments).n_obs == len(rows.drop_nulls())


def test_a_column_at_a_million_costs_no_digits():
    moved = with_holes().with_columns(pl.col("y") + 1e6)
    ours, plain = (mlm.sem(PLAIN, rows, cluster="g", missing="ml") for rows in (moved, with_holes()))
    assert ours.estimate.log_likelihood == pytest.approx(plain.estimate.log_likelihood, abs=1e-6)
    slopes = pl.col("op") != "~1"
    found, expected = ours.parameters.filter(slopes)["estimate"], plain.parameters.filter(slopes)["estimate"]
    assert found.to_list() == pytest.approx(expected.to_list(), rel=1e-6, abs=1e-8)


def test_rows_without_a_slopes_predictor_are_left_out_and_counted():
    text = 'level: 1\n y ~ rv("s")*m + x\nlevel: 2\n y + s ~ w\n y ~~ s'
    ours = mlm.sem(text, with_holes(), cluster="g", missing="ml")
    there = with_holes().drop_nulls("m")
    again = mlm.sem(text, there, cluster="g", missing="ml")
    assert ours.estimate.log_likelihood == pytest.approx(again.estimate.log_likelihood, abs=1e-9)
    gone = len(with_holes()) - len(there)
    assert ours.notes[-1] == f"{gone} of {len(with_holes())} rows left out for missing values (m {gone})"
    assert ours.fit_statistics["chi_square"][0] is None


def test_rows_without_any_value_are_told_apart_from_incomplete_ones():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(40), 4)
    x = rng.normal(size=160) + rng.normal(size=40)[g]
    rows = pl.DataFrame({"g": g, "x": x, "y": 0.5 * x + rng.normal(size=40)[g] + rng.normal(size=160)})
    number = pl.int_range(pl.len())
    rows = rows.with_columns(
        x=pl.when(number % 8 > 0).then("x"), y=pl.when((number % 8 > 0) & (number % 16 != 1)).then("y")
    )
    text = "level: 1\n y ~ x\nlevel: 2\n y ~ x"
    found = mlm.sem(text, rows, cluster="g", missing="ml")
    assert found.fit_statistics["n_obs"][0] == 140
    empty = "20 of 160 rows have no value of any variable of level 1 and add nothing"
    assert "missing values by full-information maximum likelihood: 10 of 160 rows are incomplete" in found.notes
    assert empty in found.notes
    without = mlm.sem(text, rows.filter(number % 8 > 0), cluster="g", missing="ml")
    assert found.estimate.log_likelihood == pytest.approx(without.estimate.log_likelihood, abs=1e-9)
    assert empty not in without.notes


def test_models_of_incomplete_rows_compare():
    free, none = (
        mlm.sem(PLAIN.replace("m + w", m), with_holes(), cluster="g", missing="ml") for m in ("m + w", "m + 0*w")
    )
    row = none.compare(free).row(0, named=True)
    gain = 2 * (free.estimate.log_likelihood - none.estimate.log_likelihood)
    assert (row["statistic"], row["df"]) == (pytest.approx(gain, abs=1e-9), 1)
    with pytest.raises(MlmError, match="Nested models must have the same rows and clusters"):
        none.compare(mlm.sem(PLAIN, with_holes(), cluster="g"))


def test_what_is_missing_and_leaves_nothing_is_refused_in_a_sentence():
    rows = (
        chain_rows()
        .with_row_index()
        .with_columns(
            y=pl.when(pl.col("index") % 2 == 0).then(pl.col("y")), m=pl.when(pl.col("index") % 2 == 1).then(pl.col("m"))
        )
    )
    with pytest.raises(IdentificationError) as apart:
        mlm.sem("level: 1\n y ~~ m\nlevel: 2\n y ~~ m", rows, cluster="g", missing="ml")
    assert str(apart.value) == (
        "The missing values leave no information on y ~~ m (level 1). Got values of y and m in no row together. Fix "
        "these parameters, or leave one of the variables out."
    )
    fixed = mlm.sem("level: 1\n y ~~ 0*m\nlevel: 2\n y ~~ m", rows, cluster="g", missing="ml")
    assert fixed.converged
    assert "no chi-square: some pairs of variables are never seen together, as the unrestricted model needs" in (
        fixed.notes
    )
    with pytest.raises(DataError) as empty:
        mlm.sem(PLAIN, chain_rows().with_columns(z=pl.lit(None, pl.Float64)), cluster="g", missing="ml")
    assert str(empty.value).startswith("'z' has no value in any row of ")
    with pytest.raises(DataError) as varies:
        mlm.sem(PLAIN.replace("z ~ y", "x ~ y").replace("m + x\n", "m\n"), with_holes(), cluster="g", missing="ml")
    assert str(varies.value).startswith("'x' is at level 2 only, but varies within clusters of 'g', for example in ")
    moments = collect_sem(sem_request(PLAIN, "g"), open_source(chain_rows()))
    with pytest.raises(DataError) as complete:
        mlm.sem(PLAIN, moments, cluster="g", missing="ml")
    assert str(complete.value) == (
        'missing="ml" needs the rows, or moments by pattern of missing cells. Got moments of complete rows; give the '
        "rows, or drop missing."
    )
    with pytest.raises(MlmError, match="listwise, ml"):
        mlm.sem(PLAIN, chain_rows(), cluster="g", missing="fiml")


def test_hostile_rows_are_refused_in_a_sentence():
    text = "level: 1\n y ~ x\nlevel: 2\n y ~ w"
    for rows, changed, cluster, sentence in (
        (
            with_holes().with_columns(double=2 * pl.col("x")),
            text.replace("~ x", "~ x + double"),
            "g",
            "Within clusters, x, double are linear combinations of each other. Leave one of them out.",
        ),
        (
            with_holes().with_columns(g=pl.lit(1)),
            text,
            "g",
            "A two-level model needs two clusters or more. Got 1 in 'g'.",
        ),
        (
            with_holes().rename({"g": "mlm_pattern"}),
            text,
            "mlm_pattern",
            "'mlm_pattern' is the name of the pattern of missing cells. Got it as a column of the model; give the "
            "column another name in a view or SELECT.",
        ),
    ):
        with pytest.raises(MlmError) as caught:
            mlm.sem(changed, rows, cluster=cluster, missing="ml")
        assert str(caught.value) == sentence


def test_a_variable_of_level_2_is_that_of_the_clusters_other_rows():
    rows = chain_rows().with_columns(w=pl.when(pl.int_range(pl.len()).over("g") == 0).then(pl.col("w")))
    text = "level: 1\n y ~ x\nlevel: 2\n y ~ w"
    ours, whole = (mlm.sem(text, each, cluster="g", missing="ml") for each in (rows, chain_rows()))
    assert ours.estimate.log_likelihood == pytest.approx(whole.estimate.log_likelihood, abs=1e-9)
    assert ours.notes == whole.notes == []


FILE = """
analysis: holes
data: rows
levels: g
models:
  null: x ~ 1 + (1 | g)
sem:
  all:
    model: "mediation 1-1-1: x -> m -> y"
    missing: ml
  complete: "mediation 1-1-1: x -> m -> y"
"""


def test_an_analysis_file_takes_incomplete_rows():
    connection = duckdb.connect()
    rows = STUDIES["missing"].draw(np.random.default_rng(2)).filter(pl.col("g") < 50)
    connection.execute("create table rows as from rows")
    result = fit_analysis(parse_analysis(FILE), connection)
    fits = {row["model"]: row for row in result.tables["sem_fit"].iter_rows(named=True)}
    direct = mlm.sem("mediation 1-1-1: x -> m -> y", rows, cluster="g", missing="ml").fit_statistics
    assert fits["all"]["log_likelihood"] == pytest.approx(direct["log_likelihood"][0], abs=1e-9)
    assert fits["all"]["n_obs"] == len(rows)
    assert fits["complete"]["n_obs"] == len(rows.drop_nulls("m"))
    # alone, it leaves the rows of the mixed models as they are
    alone = fit_analysis(parse_analysis(FILE.split("  complete")[0]), connection)
    assert alone.moments.n_obs == len(rows)
    with pytest.raises(AnalysisError) as moments:
        parse_analysis(FILE.replace("data: rows", "data: rows\nform: moments"))
    assert "form: moments goes without sem.all.missing, which needs rows" in str(moments.value)


def test_what_is_missing_at_random_biases_complete_rows_alone():
    """Half of the high x have no y, and y follows x: the mean of complete rows is low, that of all cells is not."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(400), 10)
    x = rng.normal(size=4_000)
    y = (0.5 * rng.normal(size=400))[g] + x + rng.normal(size=4_000)
    gone = pl.Series((x > 0) & (rng.random(4_000) < 0.5))
    rows = pl.DataFrame({"g": g, "x": x, "y": y}).with_columns(y=pl.when(gone).then(None).otherwise(pl.col("y")))
    text = "level: 1\n y ~~ x\nlevel: 2\n y ~~ y"
    means = {}
    for missing in ("listwise", "ml"):
        found = mlm.sem(text, rows, cluster="g", missing=missing).parameters
        row = found.filter((pl.col("lhs") == "y") & (pl.col("op") == "~1") & (pl.col("level") == 2)).row(0, named=True)
        means[missing] = row["estimate"] / row["std_error"]
    assert abs(means["ml"]) < 2
    assert means["listwise"] < -5
