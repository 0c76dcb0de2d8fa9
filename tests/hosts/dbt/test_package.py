"""What a dbt project gets from the package's macros, against numpy and tables worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from tests.hosts.dbt.conftest import Project

pytestmark = pytest.mark.hosts


def test_the_split_of_students(project: Project) -> None:
    table = project.table("students_centered").sort("school")
    school, ses = table["school"].to_numpy(), table["ses"].to_numpy()
    units, codes = np.unique(school, return_inverse=True)
    means = (np.bincount(codes, ses) / np.bincount(codes))[codes]
    np.testing.assert_allclose(table["between_ses"], means, atol=1e-12)
    np.testing.assert_allclose(table["within_ses"], ses - means, atol=1e-12)
    np.testing.assert_allclose(table["center_ses"], ses - ses.mean(), atol=1e-12)
    np.testing.assert_allclose(table["ses_from_half"], ses - 0.5, atol=1e-15)
    size = table["size"].to_numpy()
    first = np.unique(codes, return_index=True)[1]
    assert len(units) == 160
    np.testing.assert_allclose(table["center_size"], size - size[first].mean(), rtol=1e-12, atol=1e-9)


def test_three_levels_and_missing_values(project: Project) -> None:
    """Means over rows and over classes, over all rows with a value and over the complete ones; row by row."""
    expected = project.table("three_levels_expected").sort("row_id")
    table = project.table("three_levels_centered").sort("row_id")
    assert_frame_equal(table, expected, check_dtypes=False, rel_tol=1e-12, abs_tol=1e-12)


def test_names_with_quotes_and_semicolons(project: Project) -> None:
    table = project.table("hostile_centered").sort("row_id")
    assert table['between_a "b";c'].to_list() == [1.5, 1.5, 9.0, 9.0, 9.0]
    assert table["within_select"].to_list() == [-5.0, 5.0, -10.0, 10.0, None]
    assert table["center_naïve 'x' -- y"].to_list() == [-2.6875, -2.9375, None, 0.8125, 4.8125]


def test_group_means_are_of_complete_rows(project: Project) -> None:
    table, rows = project.table("students_group_means").sort("school"), project.table("hsb")
    units, codes = np.unique(rows["school"].to_numpy(), return_inverse=True)
    assert table.columns == ["school", "n", "mean_ses", "mean_mathach"]
    np.testing.assert_array_equal(table["school"], units)
    np.testing.assert_array_equal(table["n"], np.bincount(codes))
    np.testing.assert_allclose(table["mean_mathach"], np.bincount(codes, rows["mathach"]) / table["n"], rtol=1e-12)
