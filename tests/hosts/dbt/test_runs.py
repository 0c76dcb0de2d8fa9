"""Models with moments and fits where dbt builds a part of the rows: none, a sample, a day at a time."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from tests.hosts.dbt.conftest import Project

pytestmark = pytest.mark.hosts


def test_a_day_at_a_time_and_a_sample(project: Project) -> None:
    rows = project.table("daily_scores")
    sizes = project.table("daily_moments").group_by("day").agg(pl.col("n").sum().cast(pl.Int64)).sort("day")
    assert_frame_equal(sizes, rows.group_by("day").agg(pl.len().cast(pl.Int64).alias("n")).sort("day"))
    assert project.table("daily_moments_total")["n"].sum() == len(rows) == 7185
    assert project.table("daily_slopes")["n_obs"].item() == 7185
    # a sample is a sub-select with dates in quotes, in place of the table's name
    project.build("--select", "daily_slopes", "variances", "--sample", '{"start": "2026-03-02", "end": "2026-03-03"}')
    day = rows.filter(pl.col("day") == date(2026, 3, 2))
    sample = project.table("daily_slopes")
    expected = mlm.fit("mathach ~ within(ses) + (1 | school)", day).fit_statistics
    assert sample["n_obs"].item() == len(day)
    assert sample["log_likelihood"].item() == pytest.approx(expected["log_likelihood"].item(), rel=1e-12)


def test_without_rows(project: Project, tmp_path: Path) -> None:
    """`--empty` asks whether each SQL is right: every table has its columns and no rows, and no test fails of it."""
    folder = tmp_path / "project"
    shutil.copytree(project.folder, folder, ignore=shutil.ignore_patterns("*.duckdb*"))
    empty = Project(folder)
    # a Python model gets the table itself, and has nothing to fit
    empty.build("--empty", "--exclude", "slopes_in_python")
    with duckdb.connect(empty.database, read_only=True) as connection:
        tables = connection.sql("select table_name from duckdb_tables()").fetchall()
    seeds = {path.stem for path in (folder / "seeds").glob("*.csv")}
    models = {name for (name,) in tables} - seeds
    assert {"slopes", "variances", "slopes_from_moments", "daily_moments_total", "score_moments_total"} < models
    for name in models:
        assert empty.table(name).is_empty(), name
        if name not in ("score_moments", "score_moments_merged"):
            assert empty.table(name).columns == project.table(name).columns, name
