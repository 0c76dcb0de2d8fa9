"""The whole project, copied elsewhere and run as `mlm run` does: in a process of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb

ROOT = Path(__file__).parents[2]
RUN = """
import sys
from pathlib import Path
from mlm_ops.plugins.dagster import run_project
print(run_project(Path("pipelines"), warehouse=None, progress=print).run_id)
"""


def test_project_runs_where_it_is_copied(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "dagster_home").mkdir()
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", tmp_path / "dagster_home")

    done = subprocess.run([sys.executable, "-c", RUN], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "students: 7,185 rows" in lines
    assert any(line.startswith("hsb/models/slopes_as_outcomes: log-likelihood -23251.8") for line in lines)
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster_home")) as instance:
        assert not instance.telemetry_enabled
        (run,) = instance.get_runs()
        logged = {
            entry.step_key: entry.user_message for entry in instance.all_logs(run.run_id) if not entry.is_dagster_event
        }
    assert (run.run_id, run.status, run.job_name) == (lines[-1], dg.DagsterRunStatus.SUCCESS, "mlm_run")
    with duckdb.connect(str(tmp_path / "warehouse" / "results.duckdb"), read_only=True) as published:
        assert published.execute("select run_id from mlm.latest_runs").fetchall() == [(run.run_id,)]
    # dagster.yaml has what the package logs put into the event log, which keeps the run's id, the step and the message
    assert logged["hsb__moments"].startswith("analysis hsb: 7,185 of 7,185 rows collected in 160 groups, ")
    assert logged["hsb__models__anova"].startswith("analysis hsb, model anova: fitted to 7,185 rows in ")
    assert logged["hsb__models__anova"].endswith(" s, log-likelihood -23558.397")
    assert logged["hsb__results"].startswith("analysis hsb: published to ")
