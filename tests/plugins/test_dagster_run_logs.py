"""Logs of old runs go; what the UI plots and lists of them stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from dagster._core.instance.ref import InstanceRef

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.project import KEEP_RUN_LOGS, find_project
from mlm_ops.errors import ProjectError
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets
from mlm_ops.plugins.dagster.run import forget_old_logs
from tests.plugins.conftest import QUIET

DAGSTER = '[tool.dagster]\nmodule_name = "somewhere"\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(DAGSTER + "[tool.mlm-ops]\nkeep_run_logs = 2\n")
    (tmp_path / "dagster_home").mkdir()
    return tmp_path


def logs(home: Path) -> set[str]:
    """Of runs whose log has events, or is large."""
    found = (home / "history" / "runs").glob("*.db")
    return {path.stem for path in found if path.stat().st_size > 40_000} - {"index"}


def test_the_newest_logs_stay_and_every_materialization(
    project: Path, small: Analysis, pupils: Callable[[int], pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    rows = pupils(24)

    @dg.asset(name="pupils")
    def load(warehouse: Warehouse) -> None:
        with warehouse.connection() as connection:
            connection.register("rows", rows.to_arrow())
            connection.execute("create or replace table main.pupils as from rows")

    definitions = dg.Definitions.merge(
        dg.Definitions(assets=[load], resources={"warehouse": Warehouse(directory=str(project / "warehouse"))}),
        build_analysis_assets(small),
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    home = project / "dagster_home"
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        runs = [job.execute_in_process(instance=instance, run_config=QUIET).run_id for _ in range(4)]
        assert logs(home) == set(runs[-2:])
        assert forget_old_logs(instance, project) == 0
        assert [run.run_id for run in instance.get_runs()] == runs[::-1]
        for key in ("moments", "results"):
            found = instance.fetch_materializations(dg.AssetKey(["small", key]), limit=10).records
            assert [record.run_id for record in found] == runs[::-1]
            materialization = found[-1].asset_materialization
            assert materialization is not None
            assert materialization.metadata["summary"].value
        # the page of a run whose log is gone opens
        assert instance.all_logs(runs[0]) == []


def test_the_logs_of_an_instance_that_is_not_the_projects_stay(project: Path, tmp_path_factory) -> None:
    home = tmp_path_factory.mktemp("shared")

    @dg.job
    def nothing() -> None:
        pass

    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        for _ in range(4):
            nothing.execute_in_process(instance=instance, run_config=QUIET)
        assert forget_old_logs(instance, project) == 0
        assert len(logs(home)) == 4


@pytest.mark.parametrize(
    ("text", "kept"), [("", KEEP_RUN_LOGS), ("keep_run_logs = 7", 7), ('keep_run_logs = "all"', None)]
)
def test_how_many_logs_are_kept_is_an_option_of_the_project(tmp_path: Path, text: str, kept: int | None) -> None:
    (tmp_path / "pyproject.toml").write_text(f"{DAGSTER}[tool.mlm-ops]\n{text}\n")
    assert find_project(tmp_path).keep_run_logs == kept


@pytest.mark.parametrize("value", ["0", "-1", "true", '"many"', "1.5"])
def test_another_value_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"{DAGSTER}[tool.mlm-ops]\nkeep_run_logs = {value}\n")
    with pytest.raises(ProjectError) as refused:
        find_project(tmp_path)
    shown = {"true": "True", '"many"': "'many'"}.get(value, value)
    assert str(refused.value) == (
        f"keep_run_logs of [tool.mlm-ops] in {tmp_path / 'pyproject.toml'} is a number of runs. Got {shown}; expected "
        '1 or more, or "all".'
    )
