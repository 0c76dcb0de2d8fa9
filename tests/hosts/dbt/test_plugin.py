"""Models in a dbt project: SQL models through the plugin, Python models with `dbt.ref`, as `mlm_ops.fit` has them."""

from __future__ import annotations

import pytest
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from tests.hosts.dbt.conftest import Project

pytestmark = pytest.mark.hosts
FORMULA = "mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)"


def test_a_sql_model_selects_from_mlm(project: Project) -> None:
    expected = mlm.fit(FORMULA, project.table("students_centered"), df="kenward-roger").fixed_effects
    assert_frame_equal(project.table("slopes"), expected, rel_tol=1e-9)


def test_a_python_model_fits_a_relation(project: Project) -> None:
    assert_frame_equal(project.table("slopes_in_python"), project.table("slopes"), rel_tol=1e-9)


def test_the_macro_hands_its_options_on(project: Project) -> None:
    rows = project.table("students_centered")
    expected = mlm.fit("mathach ~ ses + (ses | school)", rows, estimator="ml", covariance={"school": "diagonal"})
    assert_frame_equal(project.table("variances"), expected.variance_components, rel_tol=1e-9)


def test_dbt_shows_our_sentence(project: Project) -> None:
    select = "select * from mlm('mathach ~ sess + (1 | school)', 'students_centered')"
    process = project.dbt("show", "--inline", select)
    assert process.returncode != 0
    assert "Column 'sess' is not in table students_centered. Did you mean 'ses'?" in process.stdout
    assert "Traceback" not in process.stdout


def test_a_view_is_fitted_anew_when_it_is_read(project: Project) -> None:
    process = project.dbt("show", "--inline", "select n_obs from {{ ref('slopes_statistics') }}")
    assert process.returncode == 0, process.stdout
    assert "3642" in process.stdout
