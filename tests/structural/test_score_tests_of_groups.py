"""Score tests of several groups of rows: lavaan's indices, one Newton step by differences, really freeing a parameter.

lavaan 0.6-14 weighs two-level groups by their rows twice: of two groups of as many rows its indices are a quarter, and
its changes half, of what likelihood ratios and estimates of the freed models are. Its changes of released equalities
have the opposite sign.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.structural.algebra.matrices import structure_of
from mlm_ops.structural.estimation.estimate import SemEstimate
from mlm_ops.structural.inference.score_tests import ScoreTest, score_tests
from mlm_ops.structural.language.parameters import ParameterTable
from tests.structural.cases import REFERENCE
from tests.structural.test_groups import CFA, fitted, rows
from tests.structural.test_missing import with_holes
from tests.structural.test_score_tests import newton_step
from tests.structural.test_slopes import chain_rows

NAMES = ("metric_even", "scalar_even")
#: lavaan's Hessian is one of differences; at the maximum that Newton steps by differences of its likelihood find.
EXACT = 1e-4


def case(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / "sem_score_tests_of_groups" / f"{name}.json").read_text())
    return content


def by_key(estimate: SemEstimate, *, observed: bool = False) -> dict[tuple[int | None, int, str, str, str], ScoreTest]:
    """The tests by group, level, left side, operator and right side, covariances either way round."""
    tests = {}
    for test in score_tests(estimate, observed=observed).tests:
        of = test.release
        tests[of.group, of.level, of.lhs, of.op, of.rhs] = test
        if of.op == "~~":
            tests[of.group, of.level, of.rhs, of.op, of.lhs] = test
    return tests


@pytest.mark.parametrize("information", ["expected", "observed"])
@pytest.mark.parametrize("name", NAMES)
def test_indices_are_lavaans(name: str, information: str) -> None:
    """Beside means within clusters, which are those between clusters said again."""
    found, tests = case(name), by_key(fitted(name).estimate, observed=information == "observed")
    keys = set()
    for group, *key, index, change, standardised in found[information]:
        if key[0] == 1 and key[2] == "~1":
            continue
        test = tests[group - 1, *key]
        keys.add(id(test))
        assert test.statistic == pytest.approx(4 * index, rel=EXACT), key
        assert test.epc == pytest.approx(2 * change, rel=EXACT), key
        if key[1] != key[3]:
            # of a variance lavaan has another standardised change
            assert test.epc_std_all == pytest.approx(2 * standardised, rel=EXACT), key
    for group, *key, index, change in found[f"release_{information}"]:
        test = tests[group - 1, *key]
        keys.add(id(test))
        assert test.release.restriction == "equal in all groups"
        assert test.statistic == pytest.approx(4 * index, rel=EXACT), key
        assert test.epc == pytest.approx(-2 * change, rel=EXACT), key
    if information == "expected":
        assert keys == {id(test) for test in tests.values()}


#: Of which rows, beside which exception, what is released, and its name as another exception.
FREED = {
    "a loading within": ("even", "y2~1", (1, 1, "fw", "=~", "y3"), "fw=~y3"),
    "a loading between": ("even", "y2~1", (1, 2, "fb", "=~", "y3"), "fb=~y3"),
    "an intercept": ("even", "y2~1", (1, 2, "y3", "~1", ""), "y3~1"),
    "of groups of other sizes": ("uneven", "y2~1", (1, 1, "fw", "=~", "y3"), "fw=~y3"),
}


@pytest.mark.parametrize("name", FREED)
def test_small_indices_foretell_the_likelihood_ratio_and_the_estimate(name: str) -> None:
    kind, before, key, exception = FREED[name]
    options: dict[str, Any] = {"cluster": "cluster", "group": "region", "group_equal": ["loadings", "intercepts"]}
    smaller = mlm.sem(CFA, rows(kind), **options, group_partial=before)
    freed = mlm.sem(CFA, rows(kind), **options, group_partial=[before, exception])
    test = by_key(smaller.estimate)[key]
    ratio = smaller.compare(freed).row(0, named=True)
    assert ratio["df"] == 1
    group, level, lhs, op, rhs = key
    value = ("north", "south")[group]
    equal, own = (
        fit.parameters.filter(population=value, level=level, lhs=lhs, op=op, rhs=rhs)["estimate"].item()
        for fit in (smaller, freed)
    )
    # a quadratic's minimum for the deviance's: they part by a share of the root of index over clusters
    assert test.statistic == pytest.approx(ratio["statistic"], rel=0.1)
    assert test.epc == pytest.approx(own - equal, rel=0.15)


def test_the_intercept_that_differs_is_the_first() -> None:
    """South has a y2 that is higher by .5."""
    table = fitted("scalar_even").score_tests
    assert table.row(0)[:6] == ("south", 2, "y2", "~1", "", "equal in all groups")
    assert table["epc"][0] > 0
    assert table["population"].unique().sort().to_list() == ["north", "south"]


def larger_model(estimate: SemEstimate, test: ScoreTest) -> tuple[ParameterTable, np.ndarray, int]:
    """The table with one parameter more, the estimates in its order, and its place."""
    table, release = estimate.table, test.release
    new = table.n_free
    if release.row is None:
        other = next(row for row in table.rows if row.group == release.group and row.level == release.level)
        row = replace(
            other, lhs=release.lhs, op=release.op, rhs=release.rhs, label=None, index=new, value=0.0, slope=None
        )
        changed, start = (*table.rows, row), 0.0
    else:
        row = table.rows[release.row]
        changed = (*table.rows[: release.row], replace(row, index=new), *table.rows[release.row + 1 :])
        start = row.value if row.index is None else estimate.theta[row.index]
    return replace(table, rows=changed, n_free=new + 1), np.append(estimate.theta, start), new


def deviance_of(estimate: SemEstimate, table: ParameterTable) -> Callable[[np.ndarray], float]:
    """The groups' deviances, which other tests compare with those of whole vectors, around the data's origin."""
    structure, origin = structure_of(table), estimate.statistics.origin
    parts = []
    for one, (part, places) in zip(estimate.by_group, structure.parts, strict=True):
        likelihood: Any = one.likelihood
        statistics = replace(likelihood.statistics, origin=origin)
        parts.append((replace(likelihood, structure=part, statistics=statistics), places))
    return lambda theta: sum(likelihood.deviance(theta[places]) for likelihood, places in parts)


def in_groups(frame: pl.DataFrame) -> pl.DataFrame:
    """Two groups of clusters, of other numbers."""
    return frame.with_columns(h=pl.when(pl.col("g") % 3 == 0).then(pl.lit("a")).otherwise(pl.lit("b")))


SLOPE = 'level: 1\n y ~ rv("s")*x\nlevel: 2\n s ~~ y'
HOLES = "level: 1\n y ~ m\nlevel: 2\n m ~~ m\n y ~~ 0*m"
REGRESSION = "level: 1\n y ~ x\nlevel: 2\n y ~~ y"
EQUAL = {"group_equal": ["regressions", "intercepts"]}
STEPS = {
    "a random slope's mean": (SLOPE, chain_rows(), {"group_equal": "means"}, (1, 2, "s", "~1", "")),
    "an equal slope of missing cells": (
        HOLES,
        with_holes(),
        {"missing": "ml", "group_equal": "regressions"},
        (1, 1, "y", "~", "m"),
    ),
    "what one group leaves out of missing cells": (HOLES, with_holes(), {"missing": "ml"}, (1, 2, "y", "~~", "m")),
    # the data's origin is not zero, and one intercept for both groups lies there
    "an equal slope with one intercept": (REGRESSION, chain_rows(2.0), EQUAL, (1, 1, "y", "~", "x")),
    "an intercept": (
        REGRESSION,
        chain_rows(2.0),
        {"group_equal": ["regressions", "intercepts"]},
        (1, 2, "y", "~1", ""),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_indices_are_those_of_one_newton_step(name: str) -> None:
    text, frame, options, key = STEPS[name]
    estimate = mlm.sem(text, in_groups(frame), cluster="g", group="h", **options).estimate
    test = by_key(estimate, observed=True)[key]
    table, theta, new = larger_model(estimate, test)
    index, change = newton_step(deviance_of(estimate, table), theta, np.full(len(theta), 3e-4), new)
    # differences of step 3e-4 are good to 1e-6 of the curvature, of which the new parameter keeps a part
    assert test.statistic == pytest.approx(index, rel=1e-4)
    assert test.epc == pytest.approx(change, rel=1e-4)


ALONE = {
    "factors": (CFA, rows("uneven"), "cluster", "region", {}),
    "missing cells": (HOLES, in_groups(with_holes()), "g", "h", {"missing": "ml"}),
    "a random slope": (SLOPE, in_groups(chain_rows()), "g", "h", {}),
}


@pytest.mark.parametrize("name", ALONE)
def test_groups_that_have_nothing_in_common_have_the_tests_of_their_own_fits(name: str) -> None:
    """Of rows that are not normal too."""
    text, frame, cluster, group, options = ALONE[name]
    whole = by_key(mlm.sem(text, frame, cluster=cluster, group=group, **options).estimate)
    count = 0
    for number, value in enumerate(frame[group].unique().sort()):
        alone = by_key(mlm.sem(text, frame.filter(pl.col(group) == value), cluster=cluster, **options).estimate)
        count += len(alone)
        for (_, *key), test in alone.items():
            other = whole[number, *key]
            # searches of both leave this of a standard error
            for column in ("statistic", "statistic_scaled"):
                ours, theirs = np.sqrt([getattr(other, column), getattr(test, column)])
                assert ours == pytest.approx(theirs, abs=1e-4, nan_ok=True), key
            assert other.epc == pytest.approx(test.epc, rel=1e-3, abs=1e-4, nan_ok=True), key
            assert other.release.restriction == test.release.restriction
    assert len(whole) == count


def test_the_datas_origin_is_no_matter() -> None:
    options: dict[str, Any] = {"cluster": "g", "group": "h", "group_equal": ["regressions", "intercepts"]}
    text = "level: 1\n y ~ x\n m ~ x\nlevel: 2\n y ~ w\n m ~ w"
    plain, moved = (
        mlm.sem(text, in_groups(frame), **options).score_tests
        for frame in (chain_rows(), chain_rows().with_columns(pl.col("m", "y") + 1000.0, pl.col("w") * 1e-3))
    )
    keys = ["population", "level", "lhs", "op", "rhs", "restriction"]
    both = plain.join(moved, on=keys, suffix="_moved", nulls_equal=True)
    assert both.height == plain.height == moved.height
    # with one intercept for both groups a slope of one of them is another model around another origin
    depends = (pl.col("level") == 2) & (pl.col("op") == "~") & pl.col("rhs").is_in(["m", "y"])
    for row in both.filter(~depends).iter_rows(named=True):
        assert row["statistic_moved"] == pytest.approx(row["statistic"], rel=1e-4, abs=1e-6), row


def test_restrictions_of_three_groups_are_said_in_words() -> None:
    three = rows().with_columns(region=pl.when(pl.col("cluster") % 3 == 0).then(pl.lit("west")).otherwise("region"))
    fit = mlm.sem(CFA, three, cluster="cluster", group="region", group_equal="between(loadings)")
    equal = fit.score_tests.filter(restriction="equal in all groups")
    assert sorted(equal.select("population", "rhs").iter_rows()) == [
        (value, name) for value in ("north", "south", "west") for name in ("y2", "y3", "y4")
    ]
    assert equal["level"].unique().to_list() == [2]
    text = "level: 1\n y1 ~ c(a, a, b)*x1 + c(d, e, f)*x2\nlevel: 2\n y1 ~~ y1\n d == e"
    tests = mlm.sem(text, three, cluster="cluster", group="region").score_tests
    said = tests.filter(pl.col("restriction") != "left out").select("population", "rhs", "restriction").rows()
    assert sorted(said, key=str) == [("south", "x1", "label a"), (None, "e", "d == e")]
