"""Run against run: what is flagged, how often by chance, and that identical input changes nothing."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses import drift as comparison
from mlm_ops.analyses.drift import FIT_READS, SEM_READS, StoredRun, symbol_pairs
from mlm_ops.analyses.store.drift_of_groups import RunPair, compare_groups
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.results import tables
from mlm_ops.results.fitting import fit
from mlm_ops.warehouse.arrow import ArrowStream

#: The tables with rows of single groups.
OF_GROUPS = ("influence_lists", "random_effects")
FORMULA = "y ~ x + (1 | g)"


def rows(rng: np.random.Generator, groups: np.ndarray, u: np.ndarray, n: int) -> pl.DataFrame:
    g = np.repeat(groups, n)
    x = rng.normal(size=len(g))
    return pl.DataFrame({"g": g, "x": x, "y": 1 + 0.5 * x + u[g] + rng.normal(size=len(g))})


def stored(run_id: str, data: pl.DataFrame, formula: str = FORMULA) -> StoredRun:
    none = {name: pl.DataFrame(schema={"model": pl.String(), **TABLES[name]}) for name in SEM_READS}
    return StoredRun(run_id, tables.fit_tables("m", fit(formula, data), (*FIT_READS, *OF_GROUPS)) | none)


def drift(now: StoredRun, before: StoredRun, alpha: float) -> pl.DataFrame:
    """Compare two runs whose rows of single groups are in a database."""
    with duckdb.connect() as connection:
        connection.execute("create schema mlm")
        for name in OF_GROUPS:
            frames = [run.tables[name].with_columns(run_id=pl.lit(run.run_id)) for run in (now, before)]
            rows = ArrowStream(pl.concat(frames).with_columns(analysis=pl.lit("a")))  # noqa: F841
            connection.execute(f"create table mlm.{name} as from rows")
        pair = RunPair("a", now.run_id, before.run_id)
        groups = compare_groups(connection, "mlm", {pair: symbol_pairs(now, before)})[pair]
    return comparison.drift(now, before, groups, alpha)


def parameters_of(found: pl.DataFrame) -> pl.DataFrame:
    return found.filter(pl.col("kind").is_in(["fixed_effect", "variance", "icc"]))


@pytest.fixture(scope="module")
def data() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    return rows(rng, np.arange(40), 0.7 * rng.normal(size=40), 10)


def test_equal_rows_in_any_order_are_no_difference(data):
    found = parameters_of(drift(stored("b", data.sample(fraction=1, shuffle=True, seed=1)), stored("a", data), 0.05))
    assert found.height == 5
    assert found["difference"].abs().max() < 1e-9
    assert found["p_value"].null_count() == found.height
    assert not found["flagged"].any()


def test_the_error_is_the_jackknife_of_the_difference(data):
    """Oracle: both models refitted without each group; the stored influences are one Newton step, with 20 groups
    1% off for coefficients and 10% for variances."""
    data = data.filter(pl.col("g") < 20)
    later = data.filter(pl.col("g") > 4).with_columns(y=pl.col("y") + 0.01 * pl.col("g") * pl.col("x"))
    found = drift(stored("b", later), stored("a", data), 0.05)

    def difference(without: int | None) -> np.ndarray:
        kept = [frame.filter(pl.col("g") != without) if without is not None else frame for frame in (later, data)]
        fits = [fit(FORMULA, frame) for frame in kept]
        estimates = [[*f.fixed_effects["estimate"], *f.variance_components["estimate"]] for f in fits]
        return np.subtract(*estimates)

    left_out = np.array([difference(group) for group in range(20)])
    error = np.sqrt(19 / 20 * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    tested = found.filter(pl.col("kind").is_in(["fixed_effect", "variance"]))
    assert tested["difference"].to_numpy() == pytest.approx(difference(None), rel=1e-6)
    found_errors = tested["std_error"].to_numpy()
    assert found_errors[:2] == pytest.approx(error[:2], rel=0.01)
    assert found_errors[2:] == pytest.approx(error[2:], rel=0.1)


def test_a_shift_of_a_slope_is_flagged_by_name_and_the_sample_is_counted(data):
    later = data.filter(pl.col("g") != 3).with_columns(y=pl.col("y") + pl.col("x"))
    found = drift(stored("b", later), stored("a", data), 0.001)
    flagged = found.filter("flagged")
    assert flagged.select("kind", "term").rows() == [("fixed_effect", "x")]
    assert flagged["difference"][0] == pytest.approx(1, abs=0.05)
    sample = found.filter(pl.col("kind") == "sample").select("term", "before", "now").rows()
    assert sample == [
        ("rows", 400, 390),
        ("groups", 40, 39),
        ("groups shared", None, 39),
        ("groups new", None, 0),
        ("groups vanished", None, 1),
    ]


def test_a_sample_that_lost_most_of_its_groups_is_flagged(data):
    found = drift(stored("b", data.filter(pl.col("g") < 15)), stored("a", data), 0.001)
    assert found.filter("flagged").select("kind", "term").rows() == [("sample", "rows"), ("sample", "groups")]


def test_without_influences_runs_are_taken_as_independent(data):
    formula = "y ~ x"
    found = parameters_of(drift(stored("b", data[200:], formula), stored("a", data, formula), 0.05))
    assert set(found["method"]) == {"independent"}
    errors = [fit(formula, frame).fixed_effects["std_error"][1] for frame in (data, data[200:])]
    assert found.filter(pl.col("term") == "x")["std_error"][0] == pytest.approx(np.hypot(*errors), rel=1e-12)


def test_a_changed_model_is_said_and_not_tested(data):
    found = drift(stored("b", data, "y ~ 1 + (1 | g)"), stored("a", data), 0.05)
    assert parameters_of(found).is_empty()
    assert found["note"][0].endswith("it was y ~ x + (1 | g)")


@pytest.mark.parametrize("overlap", ["half the groups", "fresh rows of the same groups"])
def test_false_alarms_are_as_often_as_stated(overlap):
    """15 pairs of runs without change, 3 tests each: at the 5% level at most 5% + 3 binomial errors of alarms."""
    rng = np.random.default_rng(11)
    p_values = []
    for _ in range(15):
        u = 0.7 * rng.normal(size=60)
        before = rows(rng, np.arange(40), u, 8)
        fresh = rows(rng, np.arange(20, 60) if overlap.startswith("half") else np.arange(40), u, 8)
        same = before.filter(pl.col("g") >= 20) if overlap.startswith("half") else before.clear()
        now = pl.concat([same, fresh.filter(~pl.col("g").is_in(same["g"].unique().to_list()))])
        found = drift(stored("b", now), stored("a", before), 0.05)
        p_values += found.filter(pl.col("kind").is_in(["fixed_effect", "variance"]))["p_value"].to_list()
    share = np.mean(np.array(p_values) < 0.05)
    assert share < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 60)


def test_the_groups_are_compared_as_numbers_and_sets_would_be(data):
    """Oracle: the influences of both runs in two dictionaries; a new level moves the symbol of the slope behind it."""
    formula = "y ~ kind + x + (1 | g)"
    before = data.with_columns(kind=pl.when(pl.col("x") > 0).then(pl.lit("a")).otherwise(pl.lit("c")))
    # three groups went, two came, and some rows are of a kind that there was not
    later = before.filter(pl.col("g") > 2).with_columns(
        g=pl.when(pl.col("g") < 5).then(pl.col("g") + 100).otherwise(pl.col("g")),
        kind=pl.when(pl.col("x").abs() < 0.3).then(pl.lit("b")).otherwise(pl.col("kind")),
    )
    runs = [stored("b", later, formula), stored("a", before, formula)]
    assert [run.tables["fixed_effects"].filter(term="x")["symbol"][0] for run in runs] == ["gamma_30", "gamma_20"]
    found = drift(*runs, 0.05)
    influences = [
        run.tables["influence_lists"].select("unit", pl.col("symbols").str.split(", "), "changes") for run in runs
    ]
    for kind, term, symbols in (
        ("fixed_effect", "x", ("gamma_30", "gamma_20")),
        ("fixed_effect", "kind[c]", ("gamma_20", "gamma_10")),
        ("variance", "(Intercept)", ("tau_00", "tau_00")),
        ("icc", None, ("icc", "icc")),
    ):
        now, was = (
            {unit: changes[names.index(symbol)] for unit, names, changes in rows.iter_rows()}
            for rows, symbol in zip(influences, symbols, strict=True)
        )
        change = np.array([now.get(unit, 0.0) - was.get(unit, 0.0) for unit in {**now, **was}])
        squares = (change - change.mean()) ** 2
        row = found.filter(pl.col("kind") == kind, pl.col("term").eq_missing(pl.lit(term)))
        assert (row["method"][0], len(change)) == ("jackknife", 42)
        assert row["std_error"][0] == pytest.approx(np.sqrt(41 / 42 * squares.sum()), rel=1e-12)
        degrees = 2 * squares.sum() ** 2 / ((squares - squares.mean()) ** 2).sum()
        assert row["df"][0] == pytest.approx(min(degrees, 41), rel=1e-12)
    counts = found.filter(pl.col("kind") == "sample")["now"].to_list()
    assert counts == [later.height, 37, 35, 2, 5]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_sums_do_not_depend_on_the_order_of_the_groups(order):
    """A plain sum that has reached 2e16 loses every 1 that is added to it."""
    pair = RunPair("a", "now", "before")
    with duckdb.connect() as connection:
        connection.execute("create schema mlm")
        connection.execute(
            "create table mlm.influence_lists as select r as run_id, 'a' as analysis, 'm' as model, 's' as symbols,"
            " 'g' as \"group\", i::varchar as unit, [if(r = 'before', 0, if(i < 2, 1e8, 1) * if(i % 2 = 0, 1, -1))"
            f" ::double] as changes from range(2002) as t(i), (values ('now'), ('before')) as v(r) order by t.i {order}"
        )
        connection.execute(
            'create table mlm.random_effects as select run_id, analysis, model, "group", unit from mlm.influence_lists'
        )
        change = compare_groups(connection, "mlm", {pair: [("m", ("s", "s"))]})[pair].changes["m", ("s", "s")]
    assert change.n == 2002
    # 1e8 and -1e8, and a thousand times 1 and -1
    assert change.squares == 2e16 + 2000


def test_the_same_rows_again_change_nothing(data):
    """Where no influence has changed, both sums are zero, and all groups are shared."""
    formula = "y ~ x + (1 | g)"
    found = drift(stored("b", data, formula), stored("a", data, formula), 0.05)
    tested = found.filter(pl.col("kind") != "sample")
    assert set(tested["method"]) == {"jackknife"}
    assert tested["std_error"].to_list() == [0.0] * tested.height
    assert tested["df"].null_count() == tested["p_value"].null_count() == tested.height
    assert found.filter(pl.col("kind") == "sample")["now"].to_list() == [data.height, 40, 40, 0, 0]


def test_units_of_one_name_in_an_earlier_store(data):
    """Names of units of several columns are their own now; those of runs before may stand twice."""
    now, before = stored("b", data.filter(pl.col("g") > 0)), stored("a", data)
    lists = before.tables["influence_lists"]
    doubled = lists.with_columns(unit=pl.when(pl.col("unit") == "2").then(pl.lit("1")).otherwise("unit"))
    found = drift(now, StoredRun("a", before.tables | {"influence_lists": doubled}), 0.05)
    assert parameters_of(found)["std_error"].null_count() == 0
