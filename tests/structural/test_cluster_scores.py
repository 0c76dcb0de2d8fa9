"""Scores of clusters are those of mixed models, of a dense normal vector, and of a dense integral."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import SemFit
from tests.structural.cases import data


def mixed_rows() -> pl.DataFrame:
    return data("orthodont").with_columns(male=(pl.col("Sex") == "Male").cast(pl.Float64))


LAWS = [
    ("level: 1\n distance ~ age\nlevel: 2\n distance ~ male", "distance ~ age + male + (1 | Subject)", ("distance",)),
    ("growth: distance ~ age by male", "distance ~ age*male + (age | Subject)", ("distance", "slope_age")),
]


@pytest.mark.parametrize(("text", "formula", "terms"), LAWS)
def test_random_effects_are_those_of_the_mixed_model(text: str, formula: str, terms: tuple[str, ...]) -> None:
    scores = mlm.sem(text, mixed_rows(), cluster="Subject").scores
    mixed = mlm.fit(formula, mixed_rows(), estimator="ml", df="none").random_effects
    assert scores["term"].unique(maintain_order=True).to_list() == list(terms)
    for term, name in zip(terms, ("(Intercept)", "age"), strict=False):
        own, other = scores.filter(term=term), mixed.filter(term=name)
        assert own["unit"].to_list() == other["unit"].to_list()
        assert own["random_effect"].to_list() == pytest.approx(other["estimate"].to_list(), abs=1e-8)
        assert own["random_effect_std_error"].to_list() == pytest.approx(other["std_error"].to_list(), abs=1e-8)


def dense_scores(
    found: SemFit, rows: pl.DataFrame, slope: str | None = None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By unit the mean and covariance matrix of the variables of level 2 given the cells that a cluster has.

    Every cell of a cluster is a linear function of the level's disturbances and of its own residual; a random slope of
    `slope` multiplies that column in the rows of the outcome.
    """
    table, theta = found.estimate.table, found.estimate.theta
    within, between = found.estimate.structure.moments(theta)
    names, columns = list(table.between.all), list(table.within.observed)
    p = len(columns)
    answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for (unit,), cluster in rows.group_by("g", maintain_order=True):
        values, means, loads, places = [], [], [], []
        for number, row in enumerate(cluster.select(columns).to_numpy()):
            for i, name in enumerate(columns):
                if np.isnan(row[i]):
                    continue
                load = np.zeros(len(names))
                if name in names:
                    load[names.index(name)] = 1
                if slope is not None and name == table.slopes[0].outcome:
                    load[names.index(table.slopes[0].name)] = row[columns.index(slope)]
                values.append(row[i])
                means.append(within.mean[i])
                loads.append(load)
                places.append((number, i))
        for name in table.between_only:
            value = cluster[name].drop_nulls().to_list()
            if value and not np.isnan(value[0]):
                values.append(value[0])
                means.append(0.0)
                loads.append(np.eye(len(names))[names.index(name)])
                places.append((-1, -1))
        noise = np.zeros((len(values), len(values)))
        for a, (row_a, i) in enumerate(places):
            for b, (row_b, j) in enumerate(places):
                if row_a == row_b >= 0:
                    noise[a, b] = within.covariance[:p, :p][i, j]
        load = np.array(loads)
        across = between.covariance @ load.T
        gain = across @ np.linalg.inv(load @ across + noise)
        mean = between.mean + gain @ (np.array(values) - np.array(means) - load @ between.mean)
        answers[str(unit)] = mean, between.covariance - gain @ across.T
    return answers


def check_dense(found: SemFit, dense: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    table, (_, between) = found.estimate.table, found.estimate.structure.moments(found.estimate.theta)
    names = list(table.between.all)
    rest = np.eye(len(names)) - between.arrows
    for row in found.scores.iter_rows(named=True):
        mean, covariance = dense[row["unit"]]
        at = names.index(row["term"])
        assert row["estimate"] == pytest.approx(mean[at], abs=1e-9)
        assert row["std_error"] ** 2 == pytest.approx(covariance[at, at], abs=1e-9)
        # what is left of a variable once its predictors are taken away
        assert row["random_effect"] == pytest.approx((rest @ mean - between.intercepts)[at], abs=1e-9)
        assert row["random_effect_std_error"] ** 2 == pytest.approx((rest @ covariance @ rest.T)[at, at], abs=1e-9)
    assert len(found.scores) == len(dense) * (len(names) - len(table.between_only))


def clusters(seed: int = 3, count: int = 60, missing: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(count), rng.integers(4, 9, count))
    w, fb = rng.normal(size=(2, count))
    f = (fb + 0.5 * w)[g] + rng.normal(size=len(g))
    columns = {
        f"y{i}": i + load * f + rng.normal(size=count)[g] + rng.normal(size=len(g))
        for i, load in enumerate((1.0, 0.8, 1.2), start=1)
    }
    if missing:
        columns = {n: np.where(rng.uniform(size=len(g)) < missing, np.nan, c) for n, c in columns.items()}
        w = np.where(rng.uniform(size=count) < missing, np.nan, w)
    return pl.DataFrame({"g": g, "w": w[g], **columns}).with_columns(pl.col(pl.Float64).fill_nan(None))


FACTOR = "level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n f =~ y1 + y2 + y3\n f ~ w"


def test_factors_are_those_of_a_dense_normal_vector() -> None:
    rows = clusters()
    found = mlm.sem(FACTOR, rows, cluster="g")
    check_dense(found, dense_scores(found, rows))
    factor = found.scores.filter(term="f").to_dicts()
    at = {(r["level"], r["lhs"], r["op"], r["rhs"]): r["estimate"] for r in found.parameters.iter_rows(named=True)}
    w = dict(rows.select(pl.col("g").cast(pl.String), "w").unique().iter_rows())
    for row in factor:
        # w is observed, so that what it predicts is known, and the rest has the same error
        rest = row["estimate"] - at[2, "f", "~", "w"] * w[row["unit"]]
        assert row["random_effect"] == pytest.approx(rest, abs=1e-9)
        assert row["random_effect_std_error"] == pytest.approx(row["std_error"], abs=1e-9)
        total = at[2, "f", "~", "w"] ** 2 * at[2, "w", "~~", "w"] + at[2, "f", "~~", "f"]
        assert row["reliability"] == pytest.approx(1 - row["std_error"] ** 2 / total, abs=1e-9)


def test_missing_cells_count_with_what_there_is() -> None:
    rows = clusters(seed=4, missing=0.2)
    found = mlm.sem(FACTOR, rows, cluster="g", missing="ml")
    check_dense(found, dense_scores(found, rows))


def test_slopes_and_latent_predictors_are_those_of_a_dense_normal_vector() -> None:
    rows = clusters(seed=4)
    slope = 0.5 + 0.7 * np.random.default_rng(4).normal(size=60)
    x = (pl.col("y2") - pl.col("y2").mean().over("g")).alias("x")
    rows = rows.with_columns(x).with_columns(y1=pl.col("y1") + pl.col("x") * slope[rows["g"].to_numpy()])
    text = 'level: 1\n y1 ~ rv("s")*x\nlevel: 2\n s ~ w\n y1 ~ y3\n y1 ~~ s\n y3 ~~ s\nlevel: 1\n y3 ~~ y3'
    found = mlm.sem(text, rows, cluster="g")
    check_dense(found, dense_scores(found, rows, slope="x"))
    # what a latent part predicts is not known, so that the rest has an error of its own
    own = found.scores.filter(term="y1")
    assert (own["random_effect_std_error"] != own["std_error"]).any()


def test_a_latent_centred_slope_is_the_mean_of_a_dense_integral() -> None:
    rng = np.random.default_rng(5)
    count = 40
    g = np.repeat(np.arange(count), 6)
    xb, s = rng.normal(size=count), 0.5 + 0.5 * rng.normal(size=count)
    xw = rng.normal(size=len(g))
    y = (0.3 * xb + rng.normal(size=count))[g] + s[g] * xw + rng.normal(size=len(g))
    rows = pl.DataFrame({"g": g, "x": xb[g] + xw, "y": y})
    found = mlm.sem('level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x\n y ~~ s', rows, cluster="g")
    within, between = found.estimate.structure.moments(found.estimate.theta)
    names = list(found.estimate.table.between.all)
    y_b, x_b, slope = (names.index(name) for name in ("y", "x", "s"))
    columns = list(found.estimate.table.within.observed)
    spread = within.spread[[columns.index("x"), columns.index("y")]][:, [columns.index("x"), columns.index("y")]]
    given = between.covariance[[x_b, y_b], slope] / between.covariance[slope, slope]
    rest = (
        between.covariance[np.ix_([x_b, y_b], [x_b, y_b])] - np.outer(given, given) * between.covariance[slope, slope]
    )
    grid = between.mean[slope] + np.sqrt(between.covariance[slope, slope]) * np.linspace(-7, 7, 401)
    for unit in (0, 7):
        own = rows.filter(pl.col("g") == unit)
        values = own.select("x", "y").to_numpy().ravel()
        logs, means = [], []
        for value in grid:
            effects = np.array([[1.0, 0.0], [value, 1.0]])
            mean = between.mean[[x_b, y_b]] + given * (value - between.mean[slope])
            load = np.tile(np.eye(2), (len(own), 1))
            covariance = load @ rest @ load.T + np.kron(np.eye(len(own)), effects @ spread @ effects.T)
            d = values - np.tile(mean, len(own))
            solved = np.linalg.solve(covariance, d)
            prior = (value - between.mean[slope]) ** 2 / between.covariance[slope, slope]
            logs.append(-0.5 * (np.linalg.slogdet(covariance)[1] + d @ solved + prior))
            means.append(np.append(mean + rest @ load.T @ solved, value))
        shares = np.exp(np.array(logs) - max(logs))
        shares /= shares.sum()
        expected = shares @ np.array(means)
        error = np.sqrt(shares @ (np.array(means)[:, 2] - expected[2]) ** 2)
        scores = {row["term"]: row for row in found.scores.filter(unit=str(unit)).iter_rows(named=True)}
        # nine nodes where the cluster's own density of the slope is
        assert [scores[name]["estimate"] for name in ("x", "y", "s")] == pytest.approx(expected.tolist(), abs=1e-5)
        assert scores["s"]["std_error"] == pytest.approx(error, abs=1e-5)


def test_means_far_from_zero_move_scores_alone() -> None:
    rows = clusters()
    found, moved = (
        mlm.sem(FACTOR, rows.with_columns(pl.col("y1", "y2", "y3") + far), cluster="g").scores for far in (0.0, 1e6)
    )
    # a value at a million has its digits from the tenth on
    shift = np.where(found["term"] == "f", 0.0, 1e6)
    np.testing.assert_allclose(moved["estimate"] - shift, found["estimate"], atol=1e-6)
    np.testing.assert_allclose(moved["random_effect"], found["random_effect"], atol=1e-6)


@pytest.mark.parametrize("model", ["level: 1\n y ~~ y\nlevel: 2\n y ~~ y", "level: 1\n y ~~ y\nlevel: 2\n y ~ w"])
def test_a_variable_that_does_not_vary_is_its_mean(model: str) -> None:
    """With a predictor its variance is zero but for rounding."""
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(30), 4)
    y = rng.normal(size=len(g))
    y -= pl.DataFrame({"g": g, "y": y}).select(pl.col("y").mean().over("g"))["y"].to_numpy()
    rows = pl.DataFrame({"g": g, "y": y, "w": rng.normal(size=30)[g]})
    scores = mlm.sem(model, rows, cluster="g").scores
    assert scores["reliability"].null_count() == 30
    assert scores["std_error"].to_list() == pytest.approx([0.0] * 30)
    assert scores["estimate"].to_list() == pytest.approx([0.0] * 30, abs=1e-9)
