"""Two runs of a shipped analysis, the second on changed data: what changed stands in table drift."""

import shutil
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from pipelines import assets
from pipelines.definitions import defs


def test_drift_is_told_after_a_second_run_on_changed_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(assets.DATA, tmp_path / "data")
    monkeypatch.setattr(assets, "DATA", tmp_path / "data")
    keys = [
        key
        for key in defs.resolve_asset_graph().get_all_asset_keys()
        if key.path[0] == "crossed" and key.path[-1] != "report"
    ]
    config = {
        "resources": {"warehouse": {"config": {"directory": str(tmp_path / "warehouse")}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    drift = "select count(*), count(*) filter (where flagged) from mlm.latest_drift"
    counts, passed = [], []
    with dg.DagsterInstance.ephemeral() as instance:
        for _ in range(2):
            result = defs.resolve_job_def("mlm_run").execute_in_process(
                instance=instance, run_config=config, asset_selection=keys
            )
            (check,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "no_drift"]
            passed.append(check.passed)
            with duckdb.connect(str(tmp_path / "warehouse" / "results.duckdb"), read_only=True) as published:
                counts += published.execute(drift).fetchall()
            # every diameter but one sample's is 20 mm larger
            file = tmp_path / "data" / "crossed.csv"
            header, *lines = file.read_text().splitlines()
            rows = [line.split(",") for line in lines]
            lines = [f"{float(d) + 20 * (sample != 'A')},{plate},{sample}" for d, plate, sample in rows]
            file.write_text("\n".join([header, *lines, ""]))
    assert counts[0] == (0, 0)
    assert counts[1][0] > 0
    assert counts[1][1] > 0
    assert passed == [True, False]
