"""Dagster's daemon over a project: its schedule ticks, a run that died is started again, its sensor sees new data."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._core.instance.ref import InstanceRef

from mlm_ops.warehouse.connection import using
from tests.hosts.operations.conftest import Place, whole_runs

pytestmark = pytest.mark.hosts

SHIPPED = Path(__file__).parents[3] / "dagster_home" / "dagster.yaml"
#: The tables stay as they are once they are made; the first run to make them dies in it.
CODE_LOCATION = """
import os
import signal
from pathlib import Path

import dagster as dg

from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets, build_new_data_sensor

HERE = Path(__file__).parent
small = read_analysis(HERE / "small.yaml")


@dg.asset
def pupils(warehouse: Warehouse) -> None:
    if (HERE / "die").exists():
        (HERE / "die").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    with warehouse.connection() as connection:
        connection.execute("create table if not exists main.pupils as from read_csv(?)", [str(HERE / "pupils.csv")])


mlm_run = dg.define_asset_job("mlm_run", selection=dg.AssetSelection.all())
defs = dg.Definitions.merge(
    dg.Definitions(
        assets=[pupils],
        jobs=[mlm_run],
        schedules=[
            dg.ScheduleDefinition(
                name="minutely", job=mlm_run, cron_schedule="* * * * *", default_status=dg.DefaultScheduleStatus.RUNNING
            )
        ],
        sensors=[
            build_new_data_sensor(small, minimum_interval_seconds=5, default_status=dg.DefaultSensorStatus.RUNNING)
        ],
        resources={"warehouse": Warehouse(directory=str(HERE / "warehouse"))},
        executor=dg.in_process_executor,
    ),
    build_analysis_assets(small),
)
"""


@contextmanager
def daemon(place: Place) -> Iterator[dg.DagsterInstance]:
    """The daemon, started as docs/operations.md says, and its instance; ended with all that it started."""
    home = place.folder / "dagster_home"
    command = [sys.executable, "-m", "dagster._daemon", "run"]
    environment = {**os.environ, "DAGSTER_HOME": str(home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    with (
        dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance,
        (place.folder / "daemon.log").open("wb") as log,
    ):
        process = subprocess.Popen(
            command, cwd=place.folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield instance
            assert process.poll() is None, (place.folder / "daemon.log").read_text()
        finally:
            for number, patience in ((signal.SIGINT, 10.0), (signal.SIGKILL, 10.0)):
                # the servers and runs that it started are of its group
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(patience)


def wait_for(condition: Callable[[], bool], seconds: float, place: Place) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, (place.folder / "daemon.log").read_text()
        time.sleep(0.5)


def checksums(place: Place, instance: dg.DagsterInstance, **tags: str) -> list[str]:
    """Of the moments of finished runs that have these tags of Dagster's, as they are published; the latest last."""
    filters = dg.RunsFilter(
        tags={f"dagster/{name}": value for name, value in tags.items()}, statuses=[dg.DagsterRunStatus.SUCCESS]
    )
    runs = [run.run_id for run in instance.get_runs(filters)]
    if not runs:
        return []
    with duckdb.connect(str(place.results), read_only=True) as connection:
        rows = connection.execute(
            "select moments_checksum from mlm.runs where list_contains(?, run_id) order by finished_at", [runs]
        ).fetchall()
    return [checksum for (checksum,) in rows]


def test_the_schedule_ticks_a_dead_run_is_started_again_and_the_sensor_sees_new_data(place: Place) -> None:
    shutil.copy(SHIPPED, place.folder / "dagster_home" / "dagster.yaml")
    (place.folder / "small_pipeline.py").write_text(CODE_LOCATION)
    (place.folder / "die").touch()
    with daemon(place) as instance:
        # a tick comes within a minute
        wait_for(lambda: bool(checksums(place, instance, schedule_name="minutely")), 180, place)
        dead = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        assert len(dead) == 1
        wait_for(lambda: bool(checksums(place, instance, parent_run_id=dead[0].run_id)), 120, place)
        wait_for(lambda: bool(checksums(place, instance, sensor_name="small_new_data")), 120, place)
        (before,) = set(checksums(place, instance, schedule_name="minutely"))
        assert set(checksums(place, instance, sensor_name="small_new_data")) == {before}
        with using(place.warehouse, wait=30.0) as connection:
            connection.execute("update main.pupils set y = y + 1 where school = 3")
        wait_for(lambda: checksums(place, instance, sensor_name="small_new_data")[-1] != before, 120, place)
        (last, *_) = instance.get_runs(dg.RunsFilter(tags={"dagster/sensor_name": "small_new_data"}))
        messages = [entry.user_message for entry in instance.all_logs(last.run_id) if not entry.is_dagster_event]
        assert any(message.startswith("analysis small, model anova: fitted to 300 rows in ") for message in messages)
        with duckdb.connect(str(place.results), read_only=True) as connection:
            latest = connection.execute("select moments_checksum from mlm.latest_runs").fetchall()
        assert latest == [(checksums(place, instance, sensor_name="small_new_data")[-1],)]
    # the one that was started again, the sensor's two; the schedule may have ticked again
    assert len(whole_runs(place.results)) >= 3
