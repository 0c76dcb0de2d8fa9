"""A small project of its own and what it takes to run `mlm` on it in another process."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pytest

ANALYSIS = """
analysis: small
data: main.pupils
levels: school
models:
  anova: y ~ 1 + (1 | school)
  slope: y ~ within(x) + (1 | school)
compare: [anova, slope]
"""
CODE_LOCATION = """
from pathlib import Path

import dagster as dg

from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

HERE = Path(__file__).parent


@dg.asset
def pupils(warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        connection.execute("create or replace table main.pupils as from read_csv(?)", [str(HERE / "pupils.csv")])


defs = dg.Definitions.merge(
    dg.Definitions(
        assets=[pupils],
        resources={"warehouse": Warehouse(directory=str(HERE / "warehouse"))},
        executor=dg.in_process_executor,
    ),
    build_analysis_assets(read_analysis(HERE / "small.yaml")),
)
"""


@dataclass(frozen=True)
class Place:
    """A folder with an analysis file, its data, and a code location of both."""

    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "warehouse" / "results.duckdb"

    @property
    def warehouse(self) -> Path:
        return self.folder / "warehouse" / "warehouse.duckdb"

    @property
    def database(self) -> Path:
        """A database of one's own, beside the project's."""
        return self.folder / "own.duckdb"

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "mlm_ops", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def mlm(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """The project, with nothing run in it, and a database with its table."""
    random = np.random.default_rng(7)
    school = np.repeat(np.arange(30), 10)
    x = random.normal(size=300)
    y = random.normal(size=30)[school] + 0.5 * x + random.normal(size=300)
    rows = "".join(f"{g},{a!r},{b!r}\n" for g, a, b in zip(school.tolist(), x.tolist(), y.tolist(), strict=True))
    (tmp_path / "pupils.csv").write_text("school,x,y\n" + rows)
    (tmp_path / "small.yaml").write_text(ANALYSIS)
    (tmp_path / "small_pipeline.py").write_text(CODE_LOCATION)
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "small_pipeline"\n')
    (tmp_path / "dagster_home").mkdir()
    (tmp_path / "dagster_home" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with duckdb.connect(str(tmp_path / "own.duckdb")) as connection:
        connection.execute("create table pupils as from read_csv(?)", [str(tmp_path / "pupils.csv")])
    return Place(tmp_path)


#: Rows of one run of the small analysis, in every table that has one row a run, model or term.
ROWS = {"runs": 1, "fixed_effects": 3, "fit_statistics": 2, "comparisons": 1, "models": 2, "random_effects": 60}


def whole_runs(database: Path) -> set[str]:
    """The runs of a store, each proved to be whole; no table has a row of any other run."""
    with duckdb.connect(str(database), read_only=True) as connection:
        if not connection.execute("from duckdb_schemas() where schema_name = 'mlm'").fetchall():
            return set()
        runs = {name for (name,) in connection.execute("select run_id from mlm.runs").fetchall()}
        for table, rows in ROWS.items():
            counts = connection.execute(f"select run_id, count(*) from mlm.{table} group by 1").fetchall()
            assert dict(counts) == dict.fromkeys(runs, rows), f"{table} of {database.name}"
    return runs


def sentence_of(process: subprocess.CompletedProcess[str]) -> str:
    """The one plain sentence with which a command refused."""
    assert process.returncode == 2, process.stdout + process.stderr
    assert "Traceback" not in process.stderr
    lines = [line for line in process.stderr.splitlines() if line.startswith("mlm: ")]
    assert len(lines) == 1, process.stderr
    return lines[0]
