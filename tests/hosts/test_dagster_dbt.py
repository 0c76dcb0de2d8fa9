"""A dbt model and an analysis of it in one Dagster project: one graph, one job, one database."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from mlm_ops.results.fitting import fit

pytestmark = pytest.mark.hosts
PROJECT = Path(__file__).parent / "dbt_and_dagster"


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "lake"
    shutil.copytree(PROJECT, root, ignore=shutil.ignore_patterns("__pycache__", "target", "logs"))
    (root / "data").mkdir()
    monkeypatch.syspath_prepend(str(root / "src"))
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    # under `dagster dev` dagster-dbt runs a copy of the dbt project, from which a relative path would lead elsewhere
    monkeypatch.setenv("LAKE", str(root / "data" / "lake.duckdb"))
    # as before a deployment: elsewhere than under `dagster dev` the project's manifest is taken as it is
    subprocess.run(["dbt", "parse", "--quiet"], cwd=root / "dbt", check=True)
    yield root
    for name in [name for name in sys.modules if name == "lake" or name.startswith("lake.")]:
        del sys.modules[name]


def test_a_dbt_model_and_its_analysis_are_one_job(lake: Path) -> None:
    defs = importlib.import_module("lake.definitions").defs()
    model, moments = dg.AssetKey(["marts", "students"]), dg.AssetKey(["scores", "moments"])
    graph = defs.resolve_asset_graph()
    assert graph.get(moments).parent_keys == {model}
    assert graph.get(model).is_materializable
    job = dg.define_asset_job("whole", selection=dg.AssetSelection.groups("scores").upstream())
    with dg.DagsterInstance.ephemeral() as instance:
        whole_job = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("whole")
        result = whole_job.execute_in_process(instance=instance)
    keys = [event.asset_key for event in result.get_asset_materialization_events()]
    assert (keys[0], keys[-1]) == (model, dg.AssetKey(["scores", "results"]))
    with duckdb.connect(str(lake / "data" / "lake.duckdb"), read_only=True) as connection:
        rows = connection.sql("from main_marts.students").pl()
    with duckdb.connect(str(lake / "data" / "results.duckdb"), read_only=True) as connection:
        estimates = connection.execute("select estimate from mlm.latest_fixed_effects where term = 'hours'").fetchall()
    expected = fit("score ~ hours + (1 | school)", rows).fixed_effects.filter(term="hours")["estimate"].item()
    # the same search from the same sums
    assert estimates == [(pytest.approx(expected, rel=1e-9),)]
