"""The package and the plugin with the oldest and the newest dbt-core, each in an environment of its own.

Run on request, as CONTRIBUTING.md says: the environments are installed from the package index.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from polars.testing import assert_frame_equal

import mlm_ops as mlm
from tests.hosts.dbt.conftest import DAYS, PACKAGE, ROOT, Project, copy_project

UV = os.environ.get("UV") or shutil.which("uv")
OLDEST, NEWEST = "1.8", "1.12"
ADAPTERS = {OLDEST: "1.8", NEWEST: "1.11"}
#: A part of dbt-core 1.12 that is downloaded from elsewhere at install, and that no command here needs.
DOWNLOADED = 'dbt-core-experimental-parser; python_version < "3"'
FORMULA = "mathach ~ within(ses) * sector + between(ses) + (within(ses) | school)"


def without_arguments(content: Any) -> Any:
    """The tests' arguments as dbt before 1.10.5 has them: right under the test's name."""
    if isinstance(content, list):
        return [without_arguments(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {k: without_arguments(v) for k, v in (content | content.get("arguments", {})).items() if k != "arguments"}


def test_the_requirements_name_the_versions_that_are_tried() -> None:
    """The package and the extra take the oldest, the newest, and dbt 2; the extra has no cap."""
    allowed = yaml.safe_load((PACKAGE / "dbt_project.yml").read_text(encoding="utf-8"))["require-dbt-version"]
    assert all(f"{version}.0" in SpecifierSet(",".join(allowed)) for version in (OLDEST, NEWEST, "2.0"))
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (core,) = (Requirement(line) for line in extra["dbt"] if line.startswith("dbt-core"))
    assert str(core.specifier) == f">={OLDEST}"


@pytest.fixture(scope="module", params=[OLDEST, NEWEST])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Project]:
    if UV is None:
        pytest.skip("uv is not installed")
    version, folder = request.param, tmp_path_factory.mktemp("dbt")
    environment, overrides = folder / "environment", folder / "overrides.txt"
    overrides.write_text(DOWNLOADED + "\n", encoding="utf-8")
    python = environment / "bin" / "python"
    wanted = (f"dbt-core=={version}.*", f"dbt-duckdb=={ADAPTERS[version]}.*", f"{ROOT}[dbt]")
    for command in (
        (UV, "venv", "--quiet", "--python", sys.executable, environment),
        (UV, "pip", "install", "--quiet", "--python", python, "--override", overrides, *wanted),
    ):
        done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    project = copy_project(folder / "project", str(python))
    if version == OLDEST:
        schema = project.folder / "models" / "schema.yml"
        content = without_arguments(yaml.safe_load(schema.read_text(encoding="utf-8")))
        schema.write_text(yaml.safe_dump(content), encoding="utf-8")
    return version, project


@pytest.mark.dbt_versions
def test_it_builds(other: tuple[str, Project]) -> None:
    version, project = other
    process = project.dbt("build", *(() if version == OLDEST else DAYS))
    assert process.returncode == 0, process.stdout
    assert f"Running with dbt={version}." in process.stdout
    expected = mlm.fit(FORMULA, project.table("students_centered"), df="kenward-roger").fixed_effects
    assert_frame_equal(project.table("slopes"), expected, rel_tol=1e-9)
    assert_frame_equal(project.table("slopes_in_python"), expected, rel_tol=1e-9)


@pytest.mark.dbt_versions
def test_an_incremental_and_an_empty_run(other: tuple[str, Project]) -> None:
    version, project = other
    # dbt-duckdb 1.8 has neither merge nor microbatch
    lacking = ["score_moments_merged+", "daily_moments+"] if version == OLDEST else []
    process = project.dbt(
        "build", "--select", "scores+", "--exclude", "slopes_in_python", *lacking, "--vars", "corrected: true"
    )
    assert process.returncode == 0, process.stdout
    fit = mlm.fit("mathach ~ within(ses) + between(ses) + (within(ses) | school)", project.table("scores"))
    # the same sums in another order, and an optimum found to 1e-8
    assert_frame_equal(project.table("slopes_from_moments"), fit.fixed_effects, rel_tol=1e-7)
    flags = () if version == OLDEST else DAYS
    process = project.dbt("build", "--empty", *flags, "--exclude", "slopes_in_python", *lacking)
    assert process.returncode == 0, process.stdout
    assert project.table("slopes").is_empty()
