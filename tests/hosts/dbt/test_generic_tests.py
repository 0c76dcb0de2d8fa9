"""Each generic test of the package fails on data that it is meant for, and its failing rows say why."""

from __future__ import annotations

import pytest

from tests.hosts.dbt.conftest import Project

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def failing(project: Project) -> Project:
    process = project.dbt("build", "--select", "bad_students", "--vars", "bad_data: true")
    assert process.returncode == 1
    assert "PASS=1 WARN=0 ERROR=4" in process.stdout, process.stdout
    return project


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "varies_within",
            {
                "n_groups": 2,
                "n_rows": 3,
                "n_groups_where_it_varies": 0,
                "problem": "no group has two rows with different values, so nothing is left within groups",
            },
        ),
        (
            "constant_within",
            {
                "school": "A",
                "n_rows": 2,
                "smallest": 100,
                "largest": 110,
                "problem": "rows of one group have different values",
            },
        ),
        ("min_groups", {"n_groups": 2, "at_least": 3, "problem": "there are fewer groups than the model needs"}),
        (
            "moments_complete",
            {
                "g": "b",
                "n_in_moments": 3,
                "n_in_source": 2,
                "problem": "n of the moments is not the number of complete rows",
            },
        ),
    ],
)
def test_it_fails_and_says_why(failing: Project, name: str, expected: dict[str, object]) -> None:
    assert failing.table(f"main_dbt_test__audit.bad_{name}").to_dicts() == [expected]
