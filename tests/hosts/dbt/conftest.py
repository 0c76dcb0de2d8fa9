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

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PACKAGE = ROOT / "sql"


class Project:
    """A copy of the dbt project, its database and how to run dbt in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "mlm_tests.duckdb"

    def dbt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A process of its own, as dbt keeps state and logging in globals."""
        command = [sys.executable, "-c", "from dbt.cli.main import cli; cli()", "--no-version-check", "--no-use-colors"]
        environment = {
            "MLM_PACKAGE": str(PACKAGE),
            "MLM_DATABASE": str(self.database),
            "DBT_PROFILES_DIR": str(self.folder),
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "HOME": str(self.folder),
            "PATH": os.environ["PATH"],  # dbt deps calls git
        }
        return subprocess.run(
            [*command, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )

    def table(self, name: str) -> pl.DataFrame:
        with duckdb.connect(self.database, read_only=True) as connection:
            return connection.sql(f"select * from {name}").pl()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with all its models built; dbt needs no network for it."""
    folder = tmp_path_factory.mktemp("dbt") / "project"
    shutil.copytree(HERE / "project", folder)
    shutil.copy(ROOT / "tests" / "specification" / "reference" / "data" / "hsb.csv", folder / "seeds")
    copy = Project(folder)
    for command in (["deps"], ["--warn-error", "build"]):
        process = copy.dbt(*command)
        assert process.returncode == 0, process.stdout + process.stderr
    return copy
