"""The sensor of new data asks for a run when rows change, of the partitions that changed, until they are fitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.errors import AnalysisError
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets, build_new_data_sensor, sensor

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TEXT = "{analysis: days, data: main.pupils, levels: school, partition: day, models: {slope: y ~ x + (1 | school)}}"
DAILY = dg.DailyPartitionsDefinition("2026-01-05", end_date="2026-01-12")
DAYS = ["2026-01-05", "2026-01-06", "2026-01-07"]
Pupils = Callable[[int], pl.DataFrame]


class Ticks:
    """A sensor and what it asks for, with a run made of each request as the daemon does."""

    def __init__(self, warehouse: Warehouse, analysis: Analysis, **options: object) -> None:
        assets = build_analysis_assets(analysis, **options)  # type: ignore[arg-type]
        job = dg.define_asset_job("job", selection=dg.AssetSelection.groups(analysis.analysis))
        here = dg.Definitions(resources={"warehouse": warehouse}, jobs=[job], executor=dg.in_process_executor)
        self.definitions = dg.Definitions.merge(here, assets)
        self.sensor = build_new_data_sensor(analysis)
        self.warehouse = warehouse
        self.instance = dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None

    def tick(self) -> dg.RunRequest | str:
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={"warehouse": self.warehouse},
            repository_def=self.definitions.get_repository_def(),
        )
        answer = self.sensor.evaluate_tick(context)
        if not answer.run_requests:
            return str(answer.skip_message)
        self.cursor = answer.cursor
        (request,) = answer.run_requests
        return request

    def run(self, request: dg.RunRequest | str) -> bool:
        assert isinstance(request, dg.RunRequest)
        job = self.definitions.resolve_job_def("job")
        return job.execute_in_process(
            instance=self.instance, tags=dict(request.tags), raise_on_error=False, run_config=QUIET
        ).success


def change(warehouse: Warehouse, sql: str) -> None:
    with warehouse.connection() as connection:
        connection.execute(sql)


@pytest.fixture
def days(pupils: Pupils, warehouse: Warehouse) -> Warehouse:
    with warehouse.connection() as connection:
        connection.register("rows", pupils(25))
        connection.execute(
            "create table main.pupils as select *, date '2026-01-05' + cast(row_number() over () % 3 as integer) as day"
            " from rows"
        )
    return warehouse


def asked(request: dg.RunRequest | str) -> tuple[str, str]:
    assert isinstance(request, dg.RunRequest)
    first, last = (request.tags[tag] for tag in sensor.RANGE_TAGS)
    return first, last


def test_a_run_of_the_partitions_that_changed(days: Warehouse) -> None:
    ticks = Ticks(days, parse_analysis(TEXT), partitions_def=DAILY)
    request = ticks.tick()
    assert asked(request) == (DAYS[0], DAYS[2])
    assert ticks.run(request)
    assert ticks.tick() == "The rows of main.pupils are as they were."
    change(days, "update main.pupils set y = y + 1 where day = '2026-01-06'")
    request = ticks.tick()
    assert asked(request) == (DAYS[1], DAYS[1])
    # nobody made the run: the change is seen again
    assert asked(ticks.tick()) == (DAYS[1], DAYS[1])
    assert ticks.run(request)
    assert ticks.tick() == "The rows of main.pupils are as they were."
    change(days, "delete from main.pupils where day = '2026-01-07'")
    change(days, "insert into main.pupils select * replace (date '2026-01-09' as day) from main.pupils limit 100")
    request = ticks.tick()
    assert asked(request) == (DAYS[2], "2026-01-09")
    assert ticks.run(request)
    assert ticks.tick() == "The rows of main.pupils are as they were."
    with duckdb.connect(str(days.results), read_only=True) as results:
        ((n_rows,),) = results.execute("select n_rows from mlm.latest_runs").fetchall()
    assert n_rows == 350


def test_rows_outside_of_all_partitions_ask_for_nothing(days: Warehouse) -> None:
    ticks = Ticks(days, parse_analysis(TEXT), partitions_def=DAILY)
    assert ticks.run(ticks.tick())
    change(days, "insert into main.pupils select * replace (date '2025-12-31' as day) from main.pupils limit 10")
    assert ticks.tick() == "The rows of main.pupils are as they were."


@pytest.mark.parametrize("options", [{}, {"partitions_def": DAILY}], ids=["whole", "partitions"])
def test_a_run_that_failed_is_asked_for_again(
    days: Warehouse, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(sensor.time, "time", lambda: now[0])
    ticks = Ticks(days, parse_analysis(TEXT), **options)
    first = ticks.tick()
    assert ticks.run(first)
    change(days, "update main.pupils set y = y + 1 where day = '2026-01-06'")
    for failures in (1, 2):
        request = ticks.tick()
        assert isinstance(request, dg.RunRequest)
        assert asked(request) == (DAYS[1], DAYS[1]) if options else not {*sensor.RANGE_TAGS} & {*request.tags}
        with monkeypatch.context() as patch:
            # after the moments were read anew
            patch.setattr("mlm_ops.plugins.dagster.fit_assets.fit_one_model", lambda *_: 1 / 0)
            assert not ticks.run(request)
        record = ticks.instance.get_run_records(limit=1)[0]
        assert record.end_time is not None
        wait = 60 * 2 ** (failures - 1)
        now[0] = record.end_time + wait - 10
        run_id = record.dagster_run.run_id
        assert ticks.tick() == f"The run {run_id} for these rows failed. It is asked for again in 10 seconds."
        now[0] += 10
    assert ticks.run(ticks.tick())
    assert ticks.tick() == "The rows of main.pupils are as they were."


def test_a_run_that_has_not_ended_is_waited_for(days: Warehouse) -> None:
    ticks = Ticks(days, parse_analysis(TEXT), partitions_def=DAILY)
    request = ticks.tick()
    assert isinstance(request, dg.RunRequest)
    run = ticks.instance.create_run_for_job(
        ticks.definitions.resolve_job_def("job"), tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED
    )
    assert ticks.tick() == f"The run {run.run_id} for these rows has not ended yet."


def test_partitions_that_are_fitted_alone_have_no_sensor(days: Warehouse) -> None:
    analysis = parse_analysis(TEXT.replace("partition: day, ", ""))
    ticks = Ticks(days, analysis, partitions_def=DAILY, fit_by="day")
    with pytest.raises(AnalysisError) as caught:
        ticks.tick()
    assert str(caught.value) == (
        "A sensor of new data cannot say which partitions of days to fit, as fit_by keeps no moments to compare the "
        "rows with. Leave out new_data_sensor, and give an automation_condition or a schedule."
    )


def test_partitions_that_are_added_while_the_project_runs(days: Warehouse, tmp_path: Path) -> None:
    ticks = Ticks(days, parse_analysis(TEXT), partitions_def=dg.DynamicPartitionsDefinition(name="days"))
    assert ticks.tick() == "The rows of main.pupils are as they were."
    ticks.instance.add_dynamic_partitions("days", DAYS[:2])
    assert asked(ticks.tick()) == (DAYS[0], DAYS[1])
