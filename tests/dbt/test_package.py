"""What a dbt project gets from the package's macros, against numpy and tables worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.dbt.conftest import Project

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
