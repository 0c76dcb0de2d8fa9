"""Chi-square scaled, by level, on bounds, and the likelihood given x, against lavaan, closed forms and dense sums."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import IdentificationError
from mlm_ops.structural.inference import level_fit
from mlm_ops.structural.inference.scaling import scaling_trace
from mlm_ops.structural.likelihood.random_intercepts import Likelihood
from tests.structural.cases import REFERENCE, case, data, fitted


def mlr_cfa() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / "sem_slopes_missing" / "mlr_cfa.json").read_text())
    return content


def of_fiml() -> tuple[pl.DataFrame, str]:
    return data("fiml").drop_nulls(), "g"


def of_mlr_cfa(**options: Any) -> mlm.SemFit:
    return mlm.sem(mlr_cfa()["model"], *of_fiml(), **options)


def test_a_level_that_cannot_be_fitted_alone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise IdentificationError("There is no start.")

    monkeypatch.setattr(level_fit, "estimate_sem", fails)
    fit = mlm.sem("cfa: f =~ y1 + y2 + y3 + y4", data("demo_twolevel"), cluster="cluster")
    statistics = fit.fit_statistics.row(0, named=True)
    assert (statistics["chi_square_within"], statistics["chi_square_between"]) == (None, None)
    for level in ("within", "between"):
        sentence = f"no chi-square {level} clusters, where the model cannot be fitted alone: There is no start"
        assert sentence in fit.notes
        assert f"Note: {sentence}." in str(fit)


@pytest.mark.parametrize("robust", [False, True])
def test_the_scaled_chi_square_is_that_of_lavaans_mlr(robust: bool) -> None:
    """lavaan 0.7-2; its scores are approximate to some 1e-4."""
    ours, theirs = of_mlr_cfa(robust=robust).fit_statistics.row(0, named=True), mlr_cfa()["fit"]
    assert ours["chi_square"] == pytest.approx(theirs["chisq"], abs=2e-5)
    assert ours["scaling_factor"] == pytest.approx(theirs["chisq.scaling.factor"], abs=1e-4)
    assert ours["chi_square_scaled"] == pytest.approx(theirs["chisq.scaled"], abs=1e-3)
    assert ours["p_value_scaled"] == pytest.approx(theirs["pvalue.scaled"], abs=1e-4)
    assert ours["cfi_scaled"] == pytest.approx(theirs["cfi.scaled"], abs=1e-6)
    assert ours["tli_scaled"] == pytest.approx(theirs["tli.scaled"], abs=1e-5)
    measures = of_mlr_cfa().measures
    assert measures.baseline_scaling_factor == pytest.approx(theirs["baseline.chisq.scaling.factor"], abs=1e-4)
    assert measures.scaled.baseline_chi_square == pytest.approx(theirs["baseline.chisq.scaled"], rel=1e-4)


def test_the_interval_of_rmsea_and_the_test_of_close_fit_are_lavaans() -> None:
    for ours, theirs in (
        (of_mlr_cfa().fit_statistics, mlr_cfa()["fit"]),
        (fitted("dl_contextual").fit_statistics, case("dl_contextual")["fit"]),
    ):
        assert ours["rmsea_low"][0] == pytest.approx(theirs["rmsea.ci.lower"], abs=1e-6)
        assert ours["rmsea_high"][0] == pytest.approx(theirs["rmsea.ci.upper"], abs=1e-5)
    assert of_mlr_cfa().fit_statistics["p_close"][0] == pytest.approx(mlr_cfa()["fit"]["rmsea.pvalue"], abs=1e-6)
    # of a model that does not fit
    text = "level: 1\n y1 ~ y2 + x1\n y2 ~ 0*x1 + x2\nlevel: 2\n y1 ~ y2 + w1\n y2 ~ w1 + w2"
    ours = mlm.sem(text, data("demo_twolevel"), cluster="cluster").fit_statistics
    assert ours["rmsea_low"][0] < ours["rmsea"][0] < ours["rmsea_high"][0]
    assert ours["p_close"][0] < 1e-6


def small(seed: int = 3, clusters: int = 12) -> pl.DataFrame:
    """Clusters of unequal size with columns of each kind, none of them normal."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), rng.integers(2, 6, clusters))
    w, u = rng.exponential(size=clusters), rng.exponential(size=(clusters, 3))
    v = rng.exponential(size=len(g))
    x = u[g, 0] + rng.exponential(size=len(g))
    m = 0.6 * x + 0.5 * u[g, 1] + rng.exponential(size=len(g))
    y = 0.4 * m + 0.5 * v + 0.3 * w[g] + 1.5 * u[g, 2] + rng.exponential(size=len(g))
    return pl.DataFrame({"g": g, "w": w[g], "x": x, "v": v, "m": m, "y": y})


def of_one_cluster(likelihood: Likelihood, rows: pl.DataFrame) -> Callable[[np.ndarray], float]:
    """-2 log L of a cluster's rows and its between-only values as one normal vector."""
    columns, p = likelihood.statistics.columns, likelihood.statistics.n_row_level
    origin = likelihood.statistics.origin
    n = len(rows)
    values = np.concatenate([rows.select(columns[:p]).to_numpy().ravel(), rows.select(columns[p:]).to_numpy()[0]])

    def deviance(theta: np.ndarray) -> float:
        implied = likelihood.structure.implied(theta)
        mean = implied.mean - origin
        v = np.kron(np.ones((n, n)), implied.between[:p, :p]) + np.kron(np.eye(n), implied.within)
        cross = np.kron(np.ones((n, 1)), implied.between[:p, p:])
        v = np.block([[v, cross], [cross.T, implied.between[p:, p:]]])
        d = values - np.concatenate([np.tile(mean[:p], n), mean[p:]])
        return float(len(values) * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + d @ np.linalg.solve(v, d))

    return deviance


def test_the_trace_is_that_of_dense_scores_and_a_dense_information() -> None:
    """Columns of all three kinds: of both levels, of level 1 alone and of level 2 alone."""
    rows = small()
    fit = mlm.sem("level: 1\n y ~ m + v\nlevel: 2\n y ~ m + w", rows, cluster="g")
    likelihood, theta = fit.estimate.likelihood, fit.estimate.optimum.theta
    assert not fit.singular
    # the search may be around the grand means: as the dense sums are of the data, these move to them
    moved = rows.with_columns(
        pl.col(name) - (shift - own)
        for name, shift, own in zip(
            likelihood.statistics.columns, fit.estimate.statistics.origin, likelihood.statistics.origin, strict=True
        )
    )
    clusters = [of_one_cluster(likelihood, part) for _, part in moved.group_by("g")]
    step = 1e-4 * np.eye(len(theta))
    scores = np.array([[(f(theta + s) - f(theta - s)) / 2e-4 for s in step] for f in clusters])
    hessian = sum(
        np.array(
            [[f(theta + a + b) - f(theta + a - b) - f(theta - a + b) + f(theta - a - b) for b in step] for a in step]
        )
        for f in clusters
    ) / (4e-8)
    dense = np.trace(np.linalg.solve(hessian, scores.T @ scores)) / 2
    # second differences of step 1e-4 keep five digits
    assert scaling_trace(fit.estimate) == pytest.approx(dense, rel=1e-4)


def test_levels_are_tested_apart() -> None:
    """Ryu and West's (2009) partially saturated models, fitted as texts of their own with lavaan's Demo.twolevel."""
    ours = fitted("sem_demo").fit_statistics.row(0, named=True)
    assert (ours["df_within"], ours["df_between"]) == (6, 4)
    # the other program's own searches end some 1e-5 from their optima
    assert ours["chi_square_within"] == pytest.approx(1.3515, abs=1e-4)
    assert ours["chi_square_between"] == pytest.approx(6.6564, abs=1e-4)
    assert ours["rmsea_between"] == pytest.approx(((6.6563459 - 4) / 4 / 200) ** 0.5, abs=1e-6)
    for name in ("cfa_demo", "path_demo", "sem_demo"):
        row = fitted(name).fit_statistics.row(0, named=True)
        assert row["df_within"] + row["df_between"] == row["df"]
    # the text with level 1 unrestricted
    text = (
        "level: 1\n y1 ~~ y2 + y3 + x1 + x2 + x3\n y2 ~~ y3 + x1 + x2 + x3\n y3 ~~ x1 + x2 + x3\n x1 ~~ x2 + x3\n"
        " x2 ~~ x3\nlevel: 2\n  fb =~ y1 + y2 + y3\n  fb ~ w1 + w2"
    )
    written = mlm.sem(text, data("demo_twolevel"), cluster="cluster").fit_statistics
    assert ours["chi_square_between"] == pytest.approx(written["chi_square"][0], abs=1e-6)
    independent = mlm.sem(
        text.split("level: 2")[0] + "level: 2\n y1 ~~ y1\n y2 ~~ y2\n y3 ~~ y3\n w1 ~~ w2", data("demo_twolevel"),
        cluster="cluster",
    ).fit_statistics  # fmt: skip
    cfi = 1 - (ours["chi_square_between"] - 4) / (independent["chi_square"][0] - independent["df"][0])
    assert ours["cfi_between"] == pytest.approx(cfi, abs=1e-6)


def test_labels_across_levels_leave_no_chi_square_of_a_level() -> None:
    fit = fitted("dl_contextual")
    ours = fit.fit_statistics.row(0, named=True)
    assert [ours[f"{name}_{level}"] for name in ("chi_square", "df", "cfi") for level in ("within", "between")] == (
        [None] * 6
    )
    assert "no chi-square of each level: labels, constraints or means make the levels depend on each other" in fit.notes


def test_given_x_is_the_likelihood_of_the_mixed_model() -> None:
    """Where each x stands at one level the model is a regression with random intercepts."""
    rows = data("demo_twolevel")
    fit = mlm.sem("level: 1\n y1 ~ x1 + x2\nlevel: 2\n y1 ~ w1", rows, cluster="cluster").fit_statistics
    mixed = mlm.fit("y1 ~ x1 + x2 + w1 + (1 | cluster)", rows, estimator="ml", df="none").fit_statistics
    assert fit["log_likelihood_given_x"][0] == pytest.approx(mixed["log_likelihood"][0], abs=1e-6)
    assert fit["n_parameters_given_x"][0] == mixed["n_parameters"][0]
    for name in ("aic", "bic"):
        assert fit[f"{name}_given_x"][0] == pytest.approx(mixed[name][0], abs=1e-6)
    # the unrestricted model of x takes no part in comparisons of models of one x
    other = mlm.sem("level: 1\n y1 ~ x1 + 0*x2\nlevel: 2\n y1 ~ w1", rows, cluster="cluster").fit_statistics
    gains = [fit[name][0] - other[name][0] for name in ("log_likelihood", "log_likelihood_given_x")]
    assert gains[0] == pytest.approx(gains[1], abs=1e-6)


def test_given_x_of_both_levels_is_less_the_likelihood_of_x() -> None:
    """Of x alone the unrestricted model is the random intercept model, here of another engine."""
    rows = small(5, clusters=20)
    fit = mlm.sem("contextual: y ~ x", rows, cluster="g")
    of_x = mlm.fit("x ~ 1 + (1 | g)", rows, estimator="ml", df="none").fit_statistics
    ours = fit.fit_statistics.row(0, named=True)
    assert ours["log_likelihood"] - ours["log_likelihood_given_x"] == pytest.approx(of_x["log_likelihood"][0], abs=1e-7)
    assert ours["n_parameters"] - ours["n_parameters_given_x"] == 3


def test_nothing_is_given_where_nothing_is_exogenous() -> None:
    ours = fitted("cfa_demo").fit_statistics
    assert ours["log_likelihood_given_x"][0] == ours["log_likelihood"][0]
    assert "given x" not in str(fitted("cfa_demo"))


def balanced(seed: int, clusters: int, columns: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), 10)
    x = rng.normal(size=(clusters, columns))[g] + rng.normal(size=(len(g), columns))
    return pl.DataFrame({"g": g, **{f"y{i}": x[:, i] for i in range(columns)}})


@pytest.mark.parametrize(("clusters", "columns"), [(4, 4), (12, 3)])
def test_the_unrestricted_model_of_few_clusters_is_anderson_and_olkins(clusters: int, columns: int) -> None:
    """Balanced clusters: roots of the between over the within matrix, those below one pooled (1986, LAA 70)."""
    rows = balanced(1, clusters, columns)
    names = [f"y{i}" for i in range(columns)]
    text = f"level: 1\n f =~ {' + '.join(names)}\nlevel: 2\n" + "\n".join(f" {n} ~~ {n}" for n in names)
    fit = mlm.sem(text, rows, cluster="g")
    x, n_obs = rows.drop("g").to_numpy(), len(rows)
    means = x.reshape(clusters, 10, columns).mean(axis=1)
    rest = x - np.repeat(means, 10, axis=0)
    factor = np.linalg.cholesky(rest.T @ rest / (n_obs - clusters))
    around = np.linalg.solve(factor, (means - means.mean(axis=0)).T)
    roots = np.linalg.eigvalsh(10 * around @ around.T / clusters)
    pooled = (n_obs - clusters + clusters * roots) / n_obs
    within, between = np.where(roots > 1, 1.0, pooled), np.where(roots > 1, roots, pooled)
    deviance = (n_obs - clusters) * (np.log(within) + 1 / within) + clusters * (np.log(between) + roots / between)
    deviance = deviance.sum() + n_obs * (columns * np.log(2 * np.pi) + 2 * np.log(np.diag(factor)).sum())
    chi_square = fit.fit_statistics["chi_square"][0]
    # the last barrier of a bound leaves 1e-7
    assert chi_square == pytest.approx(-deviance - 2 * fit.estimate.log_likelihood, abs=1e-6)
    assert fit.measures.bounded == bool((roots < 1).any())
    if fit.measures.bounded:
        assert fit.fit_statistics["scaling_factor"][0] is None
        assert "no scaled chi-square: on a bound estimates are not normal" in fit.notes


def test_a_scaled_difference_is_that_of_the_factors() -> None:
    """lavaan 0.6-14, satorra.bentler.2001: 6.2756 on 2 df; its scores of means within clusters are approximate."""
    within, between = "fw =~ y1 + {0}y2 + {0}y3\n fw ~ x1 + x2 + x3", "fb =~ y1 + {1}y2 + {1}y3\n fb ~ w1 + w2"
    text = f"level: 1\n {within}\nlevel: 2\n {between}"
    smaller = mlm.sem(text.format("a*", "b*"), data("demo_twolevel"), cluster="cluster")
    ratio = smaller.compare(fitted("sem_demo")).row(0, named=True)
    assert (ratio["df"], ratio["scaling"]) == (2, "differences")
    assert ratio["statistic"] == pytest.approx(15.116 - 8.092, abs=1e-3)
    assert ratio["statistic_scaled"] == pytest.approx(6.2756, rel=0.02)
    # the same from the two models' own scaling factors, as Mplus' users do it by hand
    parts = [(f.fit_statistics.row(0, named=True), f.estimate.n_parameters) for f in (smaller, fitted("sem_demo"))]
    by_hand = [row["scaling_factor"] * row["df"] for row, _ in parts]
    assert ratio["scaling_factor"] == pytest.approx((by_hand[0] - by_hand[1]) / 2, abs=1e-8)


def test_a_difference_that_is_not_positive_is_taken_at_the_smaller_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Satorra and Bentler (2010): positive whatever the data, and near the other where the restriction nearly holds."""
    restricted = mlm.sem(mlr_cfa()["model"].replace("y1 + y2", "y1 + a*y2", 1).replace("y4", "a*y4", 1), *of_fiml())
    ratio = restricted.compare(of_mlr_cfa()).row(0, named=True)
    assert ratio["scaling"] == "differences"
    # a chance that data seldom give: the larger model's own trace is below the smaller one's
    traces = iter((10.0, 11.0))
    monkeypatch.setattr("mlm_ops.structural.inference.comparison.scaling_trace", lambda estimate: next(traces))
    other = restricted.compare(of_mlr_cfa()).row(0, named=True)
    assert other["scaling"] == "at the smaller model"
    assert other["scaling_factor"] > 0
    assert other["scaling_factor"] == pytest.approx(ratio["scaling_factor"], rel=0.2)
    assert other["statistic_scaled"] == pytest.approx(other["statistic"] / other["scaling_factor"])
