"""Score tests: lavaan's modindices and lavTestScore, one Newton step by differences, and really freeing a parameter."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from mlm_ops import SemFit
from mlm_ops.structural.algebra.matrices import build_structure
from mlm_ops.structural.estimation.estimate import SemEstimate
from mlm_ops.structural.inference.score_tests import ScoreTest, score_tests
from mlm_ops.structural.language.parameters import ParameterTable, parameter_table
from mlm_ops.structural.language.syntax import parse_sem
from mlm_ops.structural.likelihood.cluster_likelihood import ClusterLikelihood
from mlm_ops.structural.likelihood.random_intercepts import Likelihood
from mlm_ops.structural.results.largest_indices import largest_indices
from mlm_ops.structural.statistics.cluster_sums import sums_of_complete_rows
from tests.structural.cases import REFERENCE, data
from tests.structural.test_missing import with_holes
from tests.structural.test_slopes import chain_rows, dense_deviance

CASES = sorted(path.stem for path in (REFERENCE / "sem_score_tests").glob("*.json"))
#: lavaan's Hessian is one of differences, and both programs end where a thousandth of a standard error is left.
EXACT = 1e-6


@cache
def case(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / "sem_score_tests" / f"{name}.json").read_text())
    return content


@cache
def fitted(name: str) -> SemFit:
    found = case(name)
    return mlm.sem(found["syntax"], data(found["data"]), cluster=found["cluster"], missing=found["missing"])


def by_key(estimate: SemEstimate, *, observed: bool = False) -> dict[tuple[int, str, str, str], ScoreTest]:
    """The tests by level, left side, operator and right side, covariances either way round."""
    tests = {}
    for test in score_tests(estimate, observed=observed).tests:
        release = test.release
        tests[release.level, release.lhs, release.op, release.rhs] = test
        if release.op == "~~":
            tests[release.level, release.rhs, release.op, release.lhs] = test
    return tests


@pytest.mark.parametrize("information", ["expected", "observed"])
@pytest.mark.parametrize("name", CASES)
def test_indices_are_lavaans(name: str, information: str) -> None:
    found = case(name)
    tests = by_key(fitted(name).estimate, observed=information == "observed")
    assert fitted(name).estimate.log_likelihood == pytest.approx(found["loglik"], abs=1e-6)
    for *key, index, change, standardised in found.get(information, []):
        test = tests[tuple(key)]
        assert test.statistic == pytest.approx(index, rel=EXACT, abs=1e-7), key
        assert test.epc == pytest.approx(change, rel=EXACT), key
        if key[1] != key[3]:
            # of a variance lavaan has another standardised change
            assert test.epc_std_all == pytest.approx(standardised, rel=EXACT), key


@pytest.mark.parametrize("information", ["expected", "observed"])
def test_released_labels_and_equations_are_lavaans(information: str) -> None:
    """lavTestScore(fit), of each equality alone."""
    is_observed = information == "observed"
    labels = by_key(fitted("equal_loadings").estimate, observed=is_observed)
    for (_, _, statistic), name in zip(case("equal_loadings")[f"release_{information}"], "abc", strict=True):
        (released,) = (test for test in labels.values() if test.release.restriction == f"label {name}")
        assert released.release.level == 2
        assert released.statistic == pytest.approx(statistic, rel=EXACT)
    equations = by_key(fitted("equations").estimate, observed=is_observed)
    for lhs, rhs, statistic in case("equations")[f"release_{information}"]:
        assert equations[0, lhs, "==", rhs].statistic == pytest.approx(statistic, rel=EXACT)


def test_what_is_listed_is_what_lavaan_lists() -> None:
    """Beside residual covariances of outcomes, and what ``lavTestScore`` releases."""
    for name in CASES:
        found = case(name)
        for information in sorted({"expected", "observed"} & found.keys()):
            theirs = {tuple(row[:4]) for row in found[information]}
            for key, test in by_key(fitted(name).estimate, observed=information == "observed").items():
                lhs, op, rhs = test.release.lhs, test.release.op, test.release.rhs
                is_ours = test.release.restriction.startswith("label") or op == "==" or np.isnan(test.statistic)
                is_ours |= op == "~~" and {lhs, rhs} == {"y1", "y2"} and name in ("path", "equations")
                assert is_ours or {(key[0], lhs, op, rhs), (key[0], rhs, op, lhs)} & theirs, (name, key)


def released(estimate: SemEstimate, text: str) -> tuple[ParameterTable, np.ndarray, int]:
    """The table of a text with one parameter more, the estimates in its order, and the place of the new one."""
    table = parameter_table(parse_sem(text))
    values = {
        (row.level, row.lhs, row.op, row.rhs): estimate.theta[row.index]
        for row in estimate.table.rows
        if row.index is not None
    }
    free = {row.index: (row.level, row.lhs, row.op, row.rhs) for row in table.rows if row.index is not None}
    (new,) = (index for index, key in free.items() if key not in values)
    return table, np.array([values.get(free[i], 0.0) for i in range(table.n_free)]), new


def newton_step(deviance: Any, theta: np.ndarray, scale: np.ndarray, new: int) -> tuple[float, float]:
    """Index and change of one Newton step, all derivatives by differences of the deviance."""
    steps, here = np.diag(scale), deviance(theta)
    up, down = (np.array([deviance(theta + sign * s) for s in steps]) for sign in (1, -1))
    gradient, own = (up - down) / 2, up + down - 2 * here
    hessian = np.diag(own)
    for i, j in zip(*np.tril_indices(len(theta), -1), strict=True):
        both = deviance(theta + steps[i] + steps[j]) + deviance(theta - steps[i] - steps[j]) - 2 * here
        hessian[i, j] = hessian[j, i] = (both - own[i] - own[j]) / 2
    change = -np.linalg.solve(hessian, gradient)
    return -float(gradient @ change) / 2, float(change[new] * scale[new])


SLOPE = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ w\n s ~~ y'
HOLES = "level: 1\n y ~ m\nlevel: 2\n y ~ w\n m ~~ m\n y ~~ 0*m"
STEPS = {
    "a random slope's predictor": (
        SLOPE,
        f"{SLOPE}\n s ~ w",
        chain_rows().filter(pl.col("g") < 20),
        "listwise",
        (2, "s", "~", "w"),
    ),
    "missing cells": (
        HOLES,
        HOLES.replace("0*m", "m"),
        with_holes().filter(pl.col("g") < 20),
        "ml",
        (2, "y", "~~", "m"),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_indices_are_those_of_one_newton_step_of_a_dense_likelihood(name: str) -> None:
    text, larger, rows, missing, key = STEPS[name]
    estimate = mlm.sem(text, rows, cluster="g", missing=missing).estimate
    table, theta, new = released(estimate, larger)
    structure = build_structure(table)
    index, change = newton_step(
        lambda point: dense_deviance(table, structure, rows, point), theta, np.full(len(theta), 3e-4), new
    )
    test = by_key(estimate)[key]
    # differences of step 3e-4 are good to 1e-6 of the curvature, of which the new parameter keeps a part
    assert test.statistic == pytest.approx(index, rel=1e-4)
    assert test.epc == pytest.approx(change, rel=1e-4)


def test_indices_of_a_latent_centred_slope_are_those_of_one_newton_step() -> None:
    rows = data("latslope").filter(pl.col("g") <= 60)
    text = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n y ~ x + w\n s ~~ y'
    estimate = mlm.sem(text, rows, cluster="g").estimate
    table, theta, new = released(estimate, f"{text}\n s ~ w")
    likelihood = replace(estimate.likelihood, structure=build_structure(table))
    index, change = newton_step(likelihood.deviance, theta, np.full(len(theta), 3e-4), new)
    test = by_key(estimate)[2, "s", "~", "w"]
    assert test.statistic == pytest.approx(index, rel=1e-4)
    assert test.epc == pytest.approx(change, rel=1e-4)


def test_scaled_indices_are_by_squares_of_the_clusters_own_scores() -> None:
    """White's: scores of clusters by differences of their deviances, less what the model's parameters take."""
    estimate = fitted("two_factors").estimate
    text = case("two_factors")["syntax"].replace("level: 2", "  y3 ~~ y6\nlevel: 2")
    table, theta, new = released(estimate, text)
    criterion = ClusterLikelihood(build_structure(table), sums_of_complete_rows(estimate.statistics, ()))
    steps = 1e-5 * np.eye(len(theta))
    scores = np.stack([(criterion.deviances(theta + s) - criterion.deviances(theta - s)) / 2e-5 for s in steps], axis=1)
    larger = Likelihood(build_structure(table), estimate.statistics)
    information = larger.expected_information(larger.evaluate(theta))
    others = [i for i in range(len(theta)) if i != new]
    own = scores[:, new] - scores[:, others] @ np.linalg.solve(
        information[np.ix_(others, others)], information[others, new]
    )
    test = by_key(estimate)[1, "y3", "~~", "y6"]
    assert test.statistic_scaled == pytest.approx(own.sum() ** 2 / (own**2).sum(), rel=1e-4)
    assert test.scaling_factor == pytest.approx(test.statistic / test.statistic_scaled)


#: What is released, and how the text becomes the larger one's.
FREED = {
    "two_factors": ((1, "y3", "~~", "y6"), "level: 2", "  y3 ~~ y6\nlevel: 2"),
    "equal_loadings": ((2, "f", "=~", "y4"), "b*y3 + c*y4\nlevel: 2", "b*y3 + d*y4\nlevel: 2"),
    "fixed_loadings": ((2, "fb", "=~", "y2"), "1*y2 + 1*y3", "y2 + 1*y3"),
}


@pytest.mark.parametrize("name", FREED)
def test_small_indices_foretell_the_likelihood_ratio_and_the_estimate(name: str) -> None:
    key, old, new = FREED[name]
    smaller = fitted(name)
    text = case(name)["syntax"]
    assert old in text
    freed = mlm.sem(text.replace(old, new), data("demo_twolevel"), cluster="cluster")
    test = by_key(smaller.estimate)[key]
    ratio = smaller.compare(freed).row(0, named=True)
    # a quadratic's minimum for the deviance's: they part by a share of the root of index over clusters
    assert test.statistic == pytest.approx(ratio["statistic"], rel=0.1)
    level, lhs, op, rhs = key
    before, after = (
        fit.parameters.filter(level=level, lhs=lhs, op=op, rhs=rhs)["estimate"].sum() for fit in (smaller, freed)
    )
    assert test.epc == pytest.approx(after - before, rel=0.15)


def test_what_the_data_could_not_determine_is_left_out_whatever_the_units() -> None:
    """First loadings, means within clusters and of factors, and what is another way to say a path."""
    text = "level: 1\n f =~ y1 + y2 + y3\n f ~ x1\nlevel: 2\n f =~ y1 + y2 + y3\n f ~ w1"
    rows = data("demo_twolevel")
    units = rows.with_columns(pl.col("y1") * 1e5, pl.col("x1") * 1e-5 + 7, pl.col("w1") * 1e3)
    by_units = [score_tests(mlm.sem(text, frame, cluster="cluster").estimate) for frame in (rows, units)]
    assert [tests.n_undetermined for tests in by_units] == [by_units[0].n_undetermined] * 2
    plain, other = ({tuple(vars(t.release).values()): t for t in tests.tests} for tests in by_units)
    assert plain.keys() == other.keys()
    assert all(
        test.release.op != "~1" and test.release.rhs != "y1" for test in plain.values() if test.release.op != "~~"
    )
    for key, test in plain.items():
        assert other[key].statistic == pytest.approx(test.statistic, rel=1e-4, abs=1e-6)
        assert other[key].epc_std_all == pytest.approx(test.epc_std_all, rel=1e-4, abs=1e-6)


def test_what_next_to_nothing_is_known_of_has_no_index() -> None:
    """Of a model that misses the data by much the observed information may be negative; the expected one is not."""
    estimate = fitted("path").estimate
    assert np.isnan(by_key(estimate, observed=True)[1, "x1", "~", "y1"].statistic)
    assert by_key(estimate)[1, "x1", "~", "y1"].statistic > 100
    assert np.isnan([test.statistic for test in score_tests(estimate, observed=True).tests][-1])


def test_variances_of_zero_stand_at_their_bound() -> None:
    text = "level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n f =~ y1 + y2 + y3\n y1 ~~ 0*y1"
    fit = mlm.sem(text, data("demo_twolevel"), cluster="cluster")
    bound = fit.score_tests.filter("at_bound")
    assert set(bound.select("lhs", "op", "rhs").iter_rows()) == {("y1", "~~", other) for other in ("y1", "y2", "y3")}
    assert bound["level"].unique().to_list() == [2]
    zero = bound.filter(rhs="y1").row(0, named=True)
    freed = mlm.sem(text.replace("0*y1", "y1"), data("demo_twolevel"), cluster="cluster")
    assert zero["restriction"] == "fixed to 0"
    assert (zero["epc"] > 0) == (freed.parameters.filter(level=2, lhs="y1", rhs="y1")["estimate"][0] > 0)


def test_a_fit_on_a_bound_has_plain_indices_alone() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(40), 5)
    rows = pl.DataFrame({"g": g, **{f"y{i}": rng.normal(size=200) + rng.normal(size=200) * 0 for i in range(1, 4)}})
    factor = rng.normal(size=200) + rng.normal(size=40)[g]
    rows = rows.with_columns(pl.col(f"y{i}") - pl.col(f"y{i}").mean().over("g") + factor for i in range(1, 4))
    fit = mlm.sem("level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n f =~ y1 + y2 + y3", rows, cluster="g")
    assert fit.singular
    tests = fit.score_tests
    assert tests["statistic"].is_not_null().any()
    assert tests["statistic_scaled"].is_null().all()
    assert tests.filter(level=2, op="~~")["at_bound"].all()


def test_rows_stand_by_size_with_the_restriction_that_each_releases() -> None:
    tests = fitted("equations").score_tests
    assert tests["statistic"].drop_nulls().is_sorted(descending=True)
    assert tests.filter(op="==").select("level", "lhs", "rhs", "restriction").rows() == [
        (0, "a", "2*b", "a == 2*b"),
        (0, "c", "d", "c == d"),
    ]
    assert tests["information"].unique().to_list() == ["expected"]
    assert fitted("missing").score_tests["information"].unique().to_list() == ["observed"]
    three = mlm.sem(
        "level: 1\n f =~ y4 + a*y1 + a*y2 + a*y3\n level: 2\n y1 ~~ y1", data("demo_twolevel"), cluster="cluster"
    )
    assert three.score_tests.filter(restriction="label a")["rhs"].sort().to_list() == ["y1", "y2", "y3"]


def test_no_arrow_leads_from_a_random_slopes_outcome_to_its_predictor() -> None:
    tests = mlm.sem(f"{SLOPE}\n x ~~ x", chain_rows(), cluster="g", slopes="observed").score_tests
    assert tests.filter(level=1, lhs="x").is_empty()
    assert not tests.filter(lhs="s", op="~", rhs="w").is_empty()


def test_the_largest_are_shown_whatever_order_the_rows_come_in() -> None:
    """The report reads stored tables, whose rows have no order."""
    tests = pl.concat([fitted(name).score_tests.with_columns(model=pl.lit(name)) for name in CASES[:2]])
    shown = largest_indices(tests.sample(fraction=1.0, shuffle=True, seed=1))
    assert_frame_equal(shown, largest_indices(tests))
    for (_,), rows in shown.group_by("model"):
        assert rows["statistic"].to_list() == sorted(rows["statistic"], reverse=True)
    for name in CASES[:2]:
        assert shown.filter(model=name)["statistic"][0] == fitted(name).score_tests["statistic"].max()
