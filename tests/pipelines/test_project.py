"""The project, copied elsewhere and run by the command, in a process of its own."""

import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import duckdb
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.hosts
def test_project_runs_where_it_is_copied(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipelines", tmp_path / "pipelines", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "dagster_home").mkdir()
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", tmp_path / "dagster_home")

    def mlm(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mlm_ops", *arguments]
        return subprocess.run(command, cwd=tmp_path / "pipelines", capture_output=True, text=True, check=False)

    done = mlm("run", "hsb")
    assert done.returncode == 0, done.stderr
    assert "students: 7,185 rows" in done.stderr
    # its data, its results and its report, and no other's
    assert "growth" not in done.stderr
    assert [path.name for path in (tmp_path / "warehouse" / "report").iterdir()] == ["hsb.html"]
    assert "hsb/models/slopes_as_outcomes: log-likelihood -23,251.8" in done.stderr
    assert "Published" in done.stdout
    with dg.DagsterInstance.from_config(str(tmp_path / "dagster_home")) as instance:
        assert not instance.telemetry_enabled
        (run,) = instance.get_runs()
        entries = [entry for entry in instance.all_logs(run.run_id) if not entry.is_dagster_event]
        logs = [(entry.step_key, entry.user_message) for entry in entries]
        logged = dict(logs)
    assert (run.status, run.job_name) == (dg.DagsterRunStatus.SUCCESS, "mlm_run")
    with duckdb.connect(str(tmp_path / "warehouse" / "results.duckdb"), read_only=True) as published:
        assert published.execute("select run_id from mlm.latest_runs").fetchall() == [(run.run_id,)]
        query = "select estimate from mlm.latest_fixed_effects where model = 'anova'"
        assert published.execute(query).fetchall()[0][0] == pytest.approx(12.637, abs=1e-3)
    # dagster.yaml has what the package logs put into the event log, which keeps the run's id, the step and the message
    assert logged["hsb__moments"].startswith("analysis hsb: 7,185 of 7,185 rows collected in 160 groups, ")
    (anova,) = [message for step, message in logs if step == "hsb__fits" and ", model anova:" in message]
    assert anova.startswith("analysis hsb, model anova: fitted to 7,185 rows in ")
    assert anova.endswith(" s, log-likelihood -23558.397")
    assert logged["hsb__results"].startswith("analysis hsb: published to ")
    assert "(Intercept)" in mlm("show", "--model", "anova").stdout
    assert mlm("show", "--database", str(tmp_path / "nowhere.duckdb")).returncode == 2
