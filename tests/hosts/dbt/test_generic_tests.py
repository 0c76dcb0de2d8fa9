"""Each generic test of the package fails on data that it is meant for, and its failing rows say why."""

from __future__ import annotations

import pytest

from tests.hosts.dbt.conftest import Project

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def failing(project: Project) -> Project:
    process = project.dbt(
        "build", "--select", "bad_students", "bad_statistics", "bad_drift", "--vars", "bad_data: true"
    )
    assert process.returncode == 1
    assert "PASS=3 WARN=0 ERROR=7" in process.stdout, process.stdout
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
        (
            "converged",
            {
                "model": "early",
                "converged": False,
                "singular": False,
                "problem": "the fit has not reached its optimum, so its numbers are those of where it stopped",
            },
        ),
        (
            "not_singular",
            {
                "model": "flat",
                "converged": True,
                "singular": True,
                "problem": "a variance is zero or a correlation is one, which a simpler random part would not have",
            },
        ),
        (
            "no_drift",
            {
                "against": "baseline",
                "term": "size",
                "flagged": True,
                "problem": "the number has changed by more than chance",
            },
        ),
    ],
)
def test_it_fails_and_says_why(failing: Project, name: str, expected: dict[str, object]) -> None:
    assert failing.table(f"main_dbt_test__audit.bad_{name}").to_dicts() == [expected]
