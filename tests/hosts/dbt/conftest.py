"""A dbt project that installs the package in sql/, and what it takes to run dbt in a copy of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "sql"


#: The days of `daily_scores`, without which a model by day has a batch for each day until now.
DAYS = ("--event-time-start", "2026-03-01", "--event-time-end", "2026-03-04")


class Project:
    """A copy of the dbt project, its database, how to run dbt in it, and variables that name another server."""

    def __init__(self, folder: Path, python: str = sys.executable, **variables: str) -> None:
        self.folder = folder
        self.python = python
        self.database = folder / "mlm_tests.duckdb"
        self.variables = variables

    def build(self, *arguments: str) -> str:
        """Build what should build, the three days of the models by day among it, and return what dbt says."""
        process = self.dbt("--warn-error", "build", *DAYS, *arguments)
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A process of its own, as dbt keeps state and logging in globals."""
        command = [self.python, "-c", "from dbt.cli.main import cli; cli()", "--no-version-check", "--no-use-colors"]
        environment = {
            "MLM_PACKAGE": str(PACKAGE),
            "DBT_PROFILES_DIR": str(self.folder),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],  # dbt deps calls git
        } | self.variables
        return subprocess.run(
            [*command, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def table(self, name: str) -> pl.DataFrame:
        with duckdb.connect(self.database, read_only=True) as connection:
            return connection.sql(f"select * from {name}").pl()


def copy_project(folder: Path, python: str = sys.executable, **variables: str) -> Project:
    """Copy the package's integration tests and install the package there; dbt needs no network for it."""
    shutil.copytree(PACKAGE / "integration_tests", folder)
    copy = Project(folder, python, **variables)
    process = copy.dbt("deps")
    assert process.returncode == 0, process.stdout + process.stderr
    return copy


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with all its models built."""
    copy = copy_project(tmp_path_factory.mktemp("dbt") / "project")
    copy.build()
    return copy
