"""Data that are ordinary in warehouses and hard on programs: wide keys, far-apart groups, repeated labels, balance."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from mlm_ops.errors import DataError, IdentificationError
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.collect import collect
from mlm_ops.moments.storage import load_moments, save_moments
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.source import open_source


def _data(seed: int = 0) -> pl.DataFrame:
    """40 groups of 10: x and z vary by row, w by group, t counts 0 to 9 in every group."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(40), 10)
    x, z = rng.normal(size=(2, 400))
    u = rng.normal(size=40)
    return pl.DataFrame(
        {
            "g": g,
            "x": x,
            "z": z,
            "w": rng.normal(size=40)[g],
            "t": np.arange(400) % 10,
            "k": rng.integers(8, 13, 400),
            "sex": np.where(rng.random(400) < 0.5, "F", "M"),
            "y": u[g] + 0.6 * x + 0.2 * x * z + rng.normal(size=400),
        }
    )


@pytest.mark.parametrize(
    "key",
    [
        "(9007199254740993 + g)::decimal(38, 0)",
        "1000000000000000000000::hugeint + g",
        "('2020-01-01'::date + g::integer)",
        "md5(g::varchar)::uuid",
        "g::varchar",
        "g::utinyint",
        "(g::varchar)::blob",
        "{'a': g}",
    ],
)
def test_keys_of_any_type_keep_their_units_apart(key: str) -> None:
    connection = duckdb.connect()
    connection.register("frame", ArrowStream(_data()))
    connection.execute(f"create table keyed as select *, {key} as id from frame")
    expected = mlm.fit("y ~ x + (1 | g)", "keyed", connection=connection)
    fit = mlm.fit("y ~ x + (1 | id)", "keyed", connection=connection)
    assert fit.estimate.log_likelihood == pytest.approx(expected.estimate.log_likelihood, abs=1e-9)
    labels = {row[0] for row in connection.sql("select distinct id::varchar from keyed").fetchall()}
    assert set(fit.random_effects["unit"]) == labels
    moments = collect(open_source("keyed", connection), [parse_formula("y ~ x + (1 | id)")])
    save_moments(connection, moments, "kept")
    assert load_moments(connection, "kept").checksum == moments.checksum


@pytest.mark.parametrize("spread", [1e3, 1e5, 1e7])
def test_groups_that_lie_far_apart(spread: float) -> None:
    """Within-group deviations of one beside group means at +-spread: epoch seconds within persons, years of cohorts."""
    data = _data()
    means = np.random.default_rng(1).normal(size=40)[data["g"].to_numpy()]
    near = mlm.fit("y ~ within(x) + (within(x) | g)", data)
    far = mlm.fit("y ~ within(x) + (within(x) | g)", data.with_columns(x=pl.col("x") + spread * means))
    # x keeps 16 - log10(spread) digits
    assert far.estimate.log_likelihood == pytest.approx(near.estimate.log_likelihood, abs=1e-6)
    np.testing.assert_allclose(far.estimate.gamma, near.estimate.gamma, rtol=1e-6)


@pytest.mark.parametrize("offset", [1e4, 1e7])
def test_products_of_offset_variables_are_no_copies(offset: float) -> None:
    data = _data()
    far_data = data.with_columns(x=pl.col("x") + offset, w=pl.col("w") + offset)
    near, far = (mlm.fit("y ~ x * w + (1 | g)", d) for d in (data, far_data))
    assert not far.estimate.design.fixed.aliased
    assert far.estimate.log_likelihood == pytest.approx(near.estimate.log_likelihood, abs=1e-6)
    assert far.estimate.gamma[-1] == pytest.approx(near.estimate.gamma[-1], rel=1e-6)


def test_copies_are_still_dropped() -> None:
    data = _data().with_columns(pl.col("x").alias("a") + 1e6, total=pl.col("x") + pl.col("z"))
    fit = mlm.fit("y ~ x + z + a + total + x:z + I(x * z) + (1 | g)", data)
    assert fit.estimate.design.fixed.aliased == ("a", "total", "x:z")


def test_variables_that_differ_beyond_the_sixth_digit_are_two() -> None:
    data = _data().with_columns(day=2451545.0 + pl.col("t"))
    fit = mlm.fit("y ~ I((day - 2451541)**2) + I((day - 2451544)**2) + (1 | g)", data)
    by_hand = data.with_columns(a=(pl.col("day") - 2451541) ** 2, b=(pl.col("day") - 2451544) ** 2)
    expected = mlm.fit("y ~ a + b + (1 | g)", by_hand)
    assert not fit.estimate.design.fixed.aliased
    assert fit.estimate.log_likelihood == pytest.approx(expected.estimate.log_likelihood, abs=1e-6)


def test_levels_of_numbers_are_ordered_as_numbers() -> None:
    terms = mlm.fit("y ~ C(k) + (1 | g)", _data()).fixed_effects["term"].to_list()
    assert terms == ["(Intercept)", "k[9]", "k[10]", "k[11]", "k[12]"]


def test_levels_of_an_enum_are_in_its_order() -> None:
    connection = duckdb.connect()
    connection.register("frame", ArrowStream(_data()))
    connection.execute("create type size as enum ('low', 'mid', 'high')")
    connection.execute("create table t as select *, (['low', 'mid', 'high'])[k % 3 + 1]::size as s from frame")
    terms = mlm.fit("y ~ s + (1 | g)", "t", connection=connection).fixed_effects["term"].to_list()
    assert terms == ["(Intercept)", "s[mid]", "s[high]"]


def test_a_level_two_outcome_is_refused() -> None:
    with pytest.raises(IdentificationError, match="The outcome 'w' does not vary within g"):
        mlm.fit("w ~ x + (1 | g)", _data())


def test_the_mean_of_balanced_groups_is_refused() -> None:
    with pytest.raises(DataError, match=r"between\(t\) is the same in every unit of g"):
        mlm.fit("y ~ between(t) + (1 | g)", _data())


def test_double_bars_with_a_factor() -> None:
    """As lme4 has it: a block of the intercept and one of both indicators; the number is lme4 1.1-31's."""
    data = _data()
    fit = mlm.fit("y ~ x + (sex || g)", data)
    assert [len(tau) for tau in fit.estimate.tau] == [1, 2]
    assert fit.converged
    larger = mlm.fit("y ~ x + (1 | g)", data)
    assert fit.estimate.log_likelihood >= larger.estimate.log_likelihood - 1e-9


def test_the_most_predictors_that_are_allowed() -> None:
    """At the limit DuckDB still answers; beyond it would stop the process."""
    rng = np.random.default_rng(1)
    rows, levels = 1400, 139
    data = pl.DataFrame(
        {"y": rng.normal(size=rows), "f": [f"f{i % levels:03}" for i in range(rows)], "g": np.arange(rows) // 140}
    )
    assert len(mlm.fit("y ~ f + (1 | g)", data).estimate.gamma) == levels


def test_an_undetermined_variance_has_a_note() -> None:
    assert any("do not determine" in note for note in mlm.fit("y ~ C(g) + (1 | g)", _data()).notes)


def _three_levels(unique: bool) -> pl.DataFrame:
    rng = np.random.default_rng(4)
    school, label = np.repeat(np.arange(25), 20), np.tile(np.repeat(np.arange(5), 4), 25)
    room = school * 5 + label
    x = rng.normal(size=500) + rng.normal(size=125)[room]
    y = 0.5 * x + rng.normal(size=125)[room] + rng.normal(size=25)[school] + rng.normal(size=500)
    return pl.DataFrame({"school": school, "class": room if unique else label, "x": x, "y": y})


ANALYSIS = """
analysis: nested
data: frame
levels: [class, school]
models:
  split: y ~ within(x, class) + within(between(x, class), school) + (1 | class) + (1 | school)
"""


@pytest.mark.parametrize(
    "formula",
    ["y ~ within(x, class) + between(x, class) + (1 | school/class)", "y ~ within(x, school/class) + (1 | school)"],
)
def test_repeated_labels_mean_nested_units_where_the_model_says_so(formula: str) -> None:
    repeated, unique = (mlm.fit(formula, _three_levels(u)) for u in (False, True))
    np.testing.assert_allclose(repeated.estimate.gamma, unique.estimate.gamma, rtol=1e-9)
    assert repeated.estimate.log_likelihood == pytest.approx(unique.estimate.log_likelihood, abs=1e-9)


def test_repeated_labels_mean_nested_units_where_levels_say_so() -> None:
    fits: list[Any] = []
    for unique in (False, True):
        connection = duckdb.connect()
        connection.register("frame", ArrowStream(_three_levels(unique)))
        fits.append(fit_analysis(parse_analysis(ANALYSIS), connection).fits["split"])
    assert fits[0].estimate.log_likelihood == pytest.approx(fits[1].estimate.log_likelihood, abs=1e-9)
    assert fits[0].estimate.design.nested


def test_repeated_labels_are_never_pooled_silently() -> None:
    with pytest.raises(IdentificationError, match=r"5 labels, 125 combinations. Write school/class"):
        mlm.fit("y ~ within(x, class) + (1 | school)", _three_levels(unique=False))
