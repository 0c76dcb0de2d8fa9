"""Moments and the decomposition of variances in a dbt project, against sums over the rows and against mlm_ops."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from tests.hosts.dbt.conftest import Project

pytestmark = pytest.mark.hosts


def moments_of(rows: pl.DataFrame, columns: dict[str, pl.Expr]) -> pl.DataFrame:
    """Two passes by school: the means, then the sums of products of deviations from them."""
    rows = rows.select("school", **columns)
    around = rows.with_columns(pl.exclude("school") - pl.exclude("school").mean().over("school"))
    names = list(columns)
    scatters = [
        (pl.col(y) * pl.col(x)).sum().alias(f"scatter_{y}_{x}") for i, y in enumerate(names) for x in names[: i + 1]
    ]
    means = rows.group_by("school").agg(
        pl.len().cast(pl.Float64).alias("n"), *(pl.col(x).mean().alias(f"mean_{x}") for x in names)
    )
    return means.join(around.group_by("school").agg(scatters), on="school").sort("school")


def test_moments_of_the_students(project: Project) -> None:
    rows, moments = project.table("hsb"), project.table("students_moments").sort("school")
    product = (pl.col("mathach") - pl.col("mathach").mean()) * (pl.col("ses") - pl.col("ses").mean())
    columns = {"mathach": pl.col("mathach"), "ses": pl.col("ses"), "mathach_by_ses": product}
    for column in ("mathach", "ses"):
        np.testing.assert_allclose(moments[f"center_{column}"], rows[column].mean(), rtol=1e-12)
    # the same sums in another order, of up to 67 rows
    assert_frame_equal(moments.drop("^center_.*$"), moments_of(rows, columns), rel_tol=1e-10, abs_tol=1e-10)


def test_a_corrected_part_leaves_what_a_rebuild_would(project: Project) -> None:
    before = project.table("score_moments")
    project.build("--select", "scores+", "--vars", "corrected: true")
    after, rows = project.table("score_moments"), project.table("scores")
    columns = {name: pl.col(name) for name in ("mathach", "ses")}
    for table in ("score_moments_total", "score_moments_current_total"):
        assert_frame_equal(project.table(table).sort("school"), moments_of(rows, columns), rel_tol=1e-10, abs_tol=1e-10)
    assert len(rows) < len(project.table("hsb"))
    other_parts, corrected_part = after.filter(pl.col("part") != 2), after.filter(pl.col("part") == 2)
    parts_before = before.filter(pl.col("part") != 2)
    assert_frame_equal(other_parts, parts_before, check_row_order=False)  # built_by too: they were not built again
    assert set(corrected_part["built_by"]).isdisjoint(parts_before["built_by"])
    # merged by its key, a school that the part has lost keeps its row, which the newest load leaves out
    current, merged = project.table("score_moments_current"), project.table("score_moments_merged")
    assert_frame_equal(
        current.drop("newest", "built_by"), after.drop("built_by"), check_row_order=False, rel_tol=1e-12, abs_tol=1e-12
    )
    lost = merged.join(current, on=["part", "school"], how="anti")
    assert set(lost["part"]) == {2}


def test_a_model_is_fitted_from_incremental_moments(project: Project) -> None:
    """Rows, moments of what is new, their sum, the fit: all in dbt."""
    expected = mlm.fit("mathach ~ within(ses) + between(ses) + (within(ses) | school)", project.table("scores"))
    # the same sums in another order, and an optimum found to 1e-8
    assert_frame_equal(project.table("slopes_from_moments"), expected.fixed_effects, rel_tol=1e-7)


def test_the_decomposition_is_that_of_a_fit(project: Project) -> None:
    fit = mlm.fit("mathach ~ ses + size + (1 | school)", project.table("hsb"))
    expected, table = fit.decomposition().sort("variable"), project.table("students_decomposition").sort("variable")
    # size is constant within schools: what rounding leaves of its scatter is judged by its total variance, 4e5
    exact = ["variable", "group", "n_obs", "n_units"]
    assert_frame_equal(table.select(exact), expected.select(exact), check_dtypes=False)
    for column in set(expected.columns) - set(exact) - {"within_variance"}:
        np.testing.assert_allclose(table[column], expected[column], rtol=1e-10, atol=1e-12, err_msg=column)
    np.testing.assert_allclose(
        table["within_variance"] / table["total_variance"],
        expected["within_variance"] / expected["total_variance"],
        rtol=1e-10,
        atol=1e-12,
    )
    assert table.columns == expected.columns


def test_a_fit_from_the_moments_is_that_from_the_rows(project: Project) -> None:
    formula = "mathach ~ within(ses) * sector + between(ses) + size + (within(ses) | school)"
    expected = mlm.fit(formula, project.table("hsb"))
    fit = mlm.fit(formula, mlm.read_moments(project.table("school_moments"), "school"))
    # the same sums in another order, and an optimum found to 1e-8
    assert_frame_equal(fit.fixed_effects, expected.fixed_effects, rel_tol=1e-7)
