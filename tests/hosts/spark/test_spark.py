"""The package's macros on Spark, through dbt-spark: the numbers are those of DuckDB and of mlm_ops, to 1e-12.

Run on request, as CONTRIBUTING.md says: Spark is 480 MB and needs Java 17.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.collect import collect
from mlm_ops.warehouse.source import open_source
from tests.hosts.comparison import SAME, assert_same, assert_same_sums, on_duckdb
from tests.hosts.spark.conftest import DBT, ODD, Built

pytestmark = pytest.mark.spark

SPLIT = "mathach ~ within(ses) * sector + between(ses) + size + (within(ses) | school)"


def test_the_moments_are_those_of_duckdb(built: Built) -> None:
    columns, constants = ["mathach", "ses", ODD], ["sector", "size"]
    products = [["ses", ODD]]
    expected = on_duckdb(
        built.rows,
        "group_moments",
        relation="students",
        columns=columns,
        group="school",
        products=products,
        constants=constants,
    )
    moments = built.table("students_moments")
    # of 7,185 rows, two have no ses, two no odd number, two no sector, and one each no mathach, school and size
    assert moments["n"].sum() == 7185 - 9
    assert set(moments["value_sector"]) == {"Catholic", "Public"}
    sums = [name for name in expected.columns if name.startswith("scatter_")]
    assert_same(moments.drop(sums), expected.drop(sums), "school", of_largest=0.0)
    assert_same_sums(moments.sort("school"), expected.sort("school"), [*columns, f"ses_by_{ODD}"])


def test_the_moments_are_those_of_mlm_ops(built: Built) -> None:
    """The record that a fit takes: from Spark's table, and from one pass over the rows."""
    model = parse_formula(f"mathach ~ ses * `{ODD.replace('`', '``')}` + sector + size + (1 | school)")
    expected = collect(open_source(built.rows), [model])
    moments = mlm.read_moments(built.table("students_moments"), "school")
    assert moments.labels[0].tolist() == expected.labels[0].tolist()
    assert moments.n.tolist() == expected.n.tolist()
    place = [moments.schema.monomials.index(monomial) for monomial in expected.schema.monomials]
    # a scan's centers are grand means to 36 of 53 bits: of its monomials those around the exact means are made
    center_changes = {atom: center - moments.schema.centers[atom] for atom, center in expected.schema.centers.items()}
    assert all(abs(center_changes[atom]) <= 2.0**-36 * abs(center) for atom, center in expected.schema.centers.items())
    names = list(expected.schema.monomials)
    change, shift = np.eye(len(names)), np.zeros(len(names))
    for i, (first, *others) in enumerate(names):
        shift[i] = center_changes[first]
        for second in others:
            shift[i] *= center_changes[second]
            change[i, names.index((first,))] += center_changes[second]
            change[i, names.index((second,))] += center_changes[first]
    mean = change @ expected.mean + shift[:, None]
    full, (rows, cols) = np.empty((len(names), len(names), expected.n_units)), np.tril_indices(len(names))
    full[rows, cols] = full[cols, rows] = expected.scatter
    scatter = np.einsum("ai,ijg,bj->abg", change, full, change)
    np.testing.assert_allclose(moments.mean[place], mean, atol=SAME * np.abs(mean).max())
    for i, a in enumerate(place):
        for j, b in enumerate(place[: i + 1]):
            sums = scatter[i, j]
            high, low = max(a, b), min(a, b)
            moment = moments.scatter[high * (high + 1) // 2 + low]
            np.testing.assert_allclose(moment, sums, rtol=SAME, atol=SAME * np.abs(sums).max())
    values_of = dict(zip(moments.schema.constants, moments.constants, strict=True))
    for constant, values in zip(expected.schema.constants, expected.constants, strict=True):
        assert values_of[constant].tolist() == values.tolist()


@pytest.mark.parametrize("table", ["students_moments", "merged_moments"])
def test_a_fit_from_the_table_is_that_from_the_rows(built: Built, table: str) -> None:
    complete = ["mathach", "ses", "sector", "size", "school", *([ODD] if table == "students_moments" else ["sex"])]
    rows = built.rows.with_columns(pl.col(ODD).fill_nan(None), pl.col("ses").fill_nan(None)).drop_nulls(complete)
    expected = mlm.fit(SPLIT, rows)
    fit = mlm.fit(SPLIT, mlm.read_moments(built.table(table), "school"))
    assert_frame_equal(fit.fixed_effects, expected.fixed_effects, rel_tol=1e-9, abs_tol=1e-9)
    assert_frame_equal(
        fit.fit_statistics.drop("seconds", "evaluations", "gradient"),
        expected.fit_statistics.drop("seconds", "evaluations", "gradient"),
        rel_tol=1e-9,
    )


def test_the_table_of_the_readme(built: Built) -> None:
    complete = built.rows.with_columns(pl.col("ses").fill_nan(None)).drop_nulls(["mathach", "ses", "sector", "school"])
    formula = "mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)"
    fit = mlm.fit(formula, mlm.read_moments(built.table("school_moments"), "school"))
    expected = mlm.fit(formula, complete)
    np.testing.assert_allclose(fit.fixed_effects["estimate"], expected.fixed_effects["estimate"], rtol=1e-9)


def test_merged_parts_are_the_whole(built: Built) -> None:
    expected = on_duckdb(
        built.rows,
        "group_moments",
        relation="students",
        columns=["mathach", "ses"],
        group="school",
        constants=["sector", "size"],
    ).select(built.table("merged_moments").columns)
    assert_same(built.table("merged_moments"), expected, "school")
    total = built.table("total_moments")
    assert total["n"].to_list() == [expected["n"].sum()]
    assert total["value_sector"].to_list() == [None]  # both sectors


def test_the_split_of_the_rows(built: Built) -> None:
    arguments = {"relation": "students", "group": "school"}
    split = on_duckdb(built.rows, "centered", columns=["ses", ODD], complete=["mathach", "sector"], **arguments)
    assert_same(built.table("students_centered"), split, "row")
    means = on_duckdb(built.rows, "group_means", columns=["mathach", ODD], complete=["sector", "ses"], **arguments)
    assert_same(built.table("students_group_means"), means, "school")


def test_means_over_units(built: Built) -> None:
    expected = pl.read_csv(DBT / "seeds" / "three_levels_expected.csv").sort("row_id")
    table = built.table("three_levels_centered").sort("row_id")
    assert_frame_equal(table, expected, check_dtypes=False, rel_tol=SAME, abs_tol=SAME)


def test_the_decomposition_is_that_of_a_fit(built: Built) -> None:
    name = f"`{ODD.replace('`', '``')}`"
    fit = mlm.fit(f"mathach ~ ses + {name} + (1 | school)", built.rows)
    expected = fit.decomposition().sort("variable")
    table = built.table("students_decomposition").sort("variable")
    assert table.columns == expected.columns
    assert table["variable"].to_list() == sorted(["mathach", "ses", ODD])
    for column in expected.columns[2:]:
        np.testing.assert_allclose(table[column], expected[column], rtol=1e-10, err_msg=column)


def test_the_generic_tests_pass_and_fail_as_on_duckdb(built: Built) -> None:
    tests = {name: status for name, status in built.statuses.items() if status in ("pass", "fail")}
    assert sorted(name for name, status in tests.items() if status == "fail") == [
        "bad_constant_within",
        "bad_min_groups",
        "bad_moments_complete",
        "bad_varies_within",
    ]
    assert len(tests) == 8
    assert {status for name, status in built.statuses.items() if name not in tests} == {"success"}
    (failing,) = built.table("bad_constant_within").to_dicts()
    assert failing == {
        "school": "A",
        "n_rows": 2,
        "smallest": 100,
        "largest": 110,
        "problem": "rows of one group have different values",
    }
