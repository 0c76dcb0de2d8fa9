"""Windows of time and partitions that are added later: fits one by one, and moments that accumulate."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import collect_analysis, moments_table
from mlm_ops.analyses.store.runs import read_latest
from mlm_ops.errors import AnalysisError
from mlm_ops.moments.record import Moments
from mlm_ops.moments.storage import load_moments
from mlm_ops.plugins.dagster import Warehouse, asset_work, build_analysis_assets
from mlm_ops.results.fitting import fit

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FORMULA = "y ~ x + (1 | school)"
TEXT = f"{{analysis: days, data: main.pupils, levels: school, models: {{slope: {FORMULA}}}}}"
ADDED_UP = parse_analysis(TEXT.replace("levels:", "partition: at, levels:"))
START = datetime(2026, 1, 5)
DAILY = dg.DailyPartitionsDefinition("2026-01-05", end_date="2026-01-12")
BERLIN = dg.DailyPartitionsDefinition("2026-01-05", end_date="2026-01-12", timezone="Europe/Berlin")
WEEKLY = dg.WeeklyPartitionsDefinition("2026-01-04", end_date="2026-02-01")
HOURLY = dg.HourlyPartitionsDefinition("2026-01-05-00:00", end_date="2026-01-06-00:00")
UTC = ZoneInfo("UTC")


def made(days: int, every: timedelta = timedelta(hours=6), first: datetime = START) -> pl.DataFrame:
    """Twelve schools, five pupils each at every time of so many days."""
    random = np.random.default_rng(int(first.timestamp()))
    times = [first + i * every for i in range(int(timedelta(days=days) / every))]
    at = [time for time in times for _ in range(60)]
    school = np.tile(np.repeat(np.arange(12), 5), len(times))
    x = random.normal(size=len(at)) + school % 3
    y = np.sin(school * 5.7) + 0.5 * x + random.normal(size=len(at))
    return pl.DataFrame({"at": at, "school": school, "x": x, "y": y})


def write(warehouse: Warehouse, rows: pl.DataFrame, kind: str) -> None:
    """Times without zone are told to be of UTC where the column's have one."""
    with warehouse.connection() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("rows", rows)
        connection.execute(
            f'create or replace table main.pupils as select * replace (cast("at" as {kind}) as "at") from rows'
        )


def run(
    warehouse: Warehouse,
    instance: dg.DagsterInstance,
    partitions_def: dg.PartitionsDefinition[str],
    keys: tuple[str, str],
    analysis: Analysis = ADDED_UP,
    only: str | None = None,
    **options: str,
) -> dg.ExecuteInProcessResult:
    """Materialize the partitions of a range in one run: of all assets, or of one of them."""
    assets = build_analysis_assets(analysis, partitions_def=partitions_def, **options)  # type: ignore[arg-type]
    group = dg.AssetSelection.groups(analysis.analysis)
    job = dg.define_asset_job("job", selection=group if only is None else dg.AssetSelection.assets(["days", only]))
    here = dg.Definitions(resources={"warehouse": warehouse}, jobs=[job], executor=dg.in_process_executor)
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[1]}
    whole = dg.Definitions.merge(here, assets).resolve_job_def("job")
    return whole.execute_in_process(instance=instance, tags=tags, raise_on_error=False, run_config=QUIET)


def test_partitions_that_a_build_read_too_are_known_without_what_the_page_of_the_moments_shows(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_work, "moments_metadata", lambda *_: {})
    write(warehouse, made(3), "DATE")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(warehouse, instance, DAILY, ("2026-01-05", "2026-01-05"), only="moments").success
        assert partitions(instance, "moments") == {"2026-01-05", "2026-01-06", "2026-01-07"}


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The sentence of the one step that failed."""
    (event,) = [event for event in result.all_events if event.is_step_failure]
    error = event.step_failure_data.error
    assert error is not None
    return str((error.cause or error).message).strip()


def partitions(instance: dg.DagsterInstance, *key: str) -> set[str]:
    return set(instance.get_materialized_partitions(dg.AssetKey(["days", *key])))


def estimates(warehouse: Warehouse) -> dict[str, list[float]]:
    with warehouse.connection() as connection:
        found = read_latest(connection, "fixed_effects")
    return {
        name: found.filter(analysis=name)["estimate"].to_list()
        for name in found["analysis"].unique(maintain_order=True)
    }


def assert_like_a_rebuild(warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        kept = load_moments(connection, moments_table(ADDED_UP))
        anew = collect_analysis(ADDED_UP, connection)

    def sorted_sums(moments: Moments) -> list[np.ndarray]:  # type: ignore[type-arg]
        order = np.argsort(moments.labels[0])
        # centers are those of the first build, so means are compared as they lie in the table
        centers = [sum(moments.schema.centers.get(atom, 0.0) for atom in m) for m in moments.schema.monomials]
        return [moments.n[order], (moments.mean + np.array(centers)[:, None])[:, order], moments.scatter[:, order]]

    assert (kept.n_rows, kept.n_obs, kept.schema.monomials) == (anew.n_rows, anew.n_obs, anew.schema.monomials)
    for here, there in zip(sorted_sums(kept), sorted_sums(anew), strict=True):
        # sums of parts against sums of all rows: rounding of some hundred additions
        np.testing.assert_allclose(here, there, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("kind", "days", "zone"),
    [
        ("DATE", BERLIN, UTC),
        # a column without zone holds the clock of the partitions' zone
        ("TIMESTAMP", BERLIN, UTC),
        ("TIMESTAMPTZ", BERLIN, ZoneInfo("Europe/Berlin")),
    ],
)
def test_each_day_is_fitted_as_its_rows_alone(
    kind: str, days: dg.DailyPartitionsDefinition, zone: ZoneInfo, warehouse: Warehouse
) -> None:
    rows = made(3)
    write(warehouse, rows, kind)
    with dg.DagsterInstance.ephemeral() as instance:
        analysis = parse_analysis(TEXT)
        assert run(warehouse, instance, days, ("2026-01-05", "2026-01-07"), analysis, fit_by="at").success
        assert partitions(instance, "results") == {"2026-01-05", "2026-01-06", "2026-01-07"}
    found = estimates(warehouse)
    local = rows.with_columns(day=pl.col("at").dt.replace_time_zone("UTC").dt.convert_time_zone(zone.key).dt.date())
    for number in range(3):
        day = date(2026, 1, 5 + number)
        alone = fit(FORMULA, local.filter(day=day)).fixed_effects["estimate"].to_list()
        # the same search from the same sums
        assert found[f"days[{day}]"] == pytest.approx(alone, rel=1e-9)


def test_a_quiet_day_alone_is_no_failure(warehouse: Warehouse) -> None:
    write(warehouse, made(2), "DATE")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(warehouse, instance, DAILY, ("2026-01-09", "2026-01-09"), parse_analysis(TEXT), fit_by="at")
        assert result.success
        assert partitions(instance, "results") == {"2026-01-09"}


def test_hours_of_times_are_fitted_and_hours_of_days_refused(warehouse: Warehouse) -> None:
    rows = made(1, every=timedelta(minutes=30))
    hours = ("2026-01-05-07:00", "2026-01-05-08:00")
    analysis = parse_analysis(TEXT)
    with dg.DagsterInstance.ephemeral() as instance:
        write(warehouse, rows, "TIMESTAMP")
        assert run(warehouse, instance, HOURLY, hours, analysis, fit_by="at").success
        found = estimates(warehouse)
        for key, hour in zip(hours, (7, 8), strict=True):
            alone = fit(FORMULA, rows.filter(pl.col("at").dt.hour() == hour)).fixed_effects["estimate"].to_list()
            assert found[f"days[{key}]"] == pytest.approx(alone, rel=1e-9)
        write(warehouse, rows, "DATE")
        for asked, options in ((analysis, {"fit_by": "at"}), (ADDED_UP, {})):
            one = "results" if options else "moments"
            assert failure(run(warehouse, instance, HOURLY, hours, asked, one, **options)).endswith(
                "The partition 2026-01-05-07:00 is shorter than a day. Got a column 'at' of type DATE; expected "
                "TIMESTAMP. Make the partitions daily, or name a column with times."
            )


@pytest.mark.parametrize(
    ("kind", "windows", "corrected"),
    [
        ("DATE", DAILY, "2026-01-06"),
        ("DATE", WEEKLY, "2026-01-04"),
        ("TIMESTAMPTZ", BERLIN, "2026-01-06"),
    ],
)
def test_accumulated_windows_are_a_rebuild(
    kind: str, windows: dg.TimeWindowPartitionsDefinition, corrected: str, warehouse: Warehouse
) -> None:
    weekly = windows is WEEKLY
    rows = made(4)
    write(warehouse, rows, kind)
    with dg.DagsterInstance.ephemeral() as instance:

        def refresh(key: str, only: str | None = "moments") -> None:
            assert run(warehouse, instance, windows, (key, key), only=only).success
            assert_like_a_rebuild(warehouse)

        refresh("2026-01-04" if weekly else "2026-01-05")
        # the first build fixes the centers, for which it reads every row
        assert "2026-01-08" in partitions(instance, "moments") or weekly
        late = pl.when(pl.col("at").dt.day() == 6).then(pl.col("y") + 3).otherwise(pl.col("y"))
        write(warehouse, rows := rows.with_columns(y=late), kind)
        refresh(corrected)
        write(warehouse, rows := pl.concat([rows, made(1, first=datetime(2026, 1, 11, 2))]), kind)
        assert "2026-01-11" not in partitions(instance, "moments")
        refresh("2026-01-11")
        write(warehouse, rows.filter(pl.col("at").dt.day() != 6), kind)
        refresh(corrected, None)
    with warehouse.connection() as connection:
        assert collect_analysis(ADDED_UP, connection).n_rows == 4 * 240
    if kind != "TIMESTAMPTZ":
        alone = fit(FORMULA, rows.filter(pl.col("at").dt.day() != 6)).fixed_effects["estimate"].to_list()
        # sums of parts against sums of all rows, then a search that stops where its gradient is small
        assert estimates(warehouse)["days"] == pytest.approx(alone, rel=1e-7)


def test_times_that_are_no_partitions_are_refused_by_name(warehouse: Warehouse) -> None:
    write(warehouse, made(1, every=timedelta(minutes=3)), "TIMESTAMP")
    with dg.DagsterInstance.ephemeral() as instance:
        told = failure(run(warehouse, instance, DAILY, ("2026-01-05", "2026-01-05"), only="moments"))
    assert told.endswith(
        "The moments of days are kept for every value of 'at', which has too many. Got 480 in the partition "
        '2026-01-05; expected at most 366. Write `data: select *, cast("at" as date) as day from …` and '
        "`partition: day` in the analysis."
    )


def test_keys_that_are_no_values_are_refused_by_name(warehouse: Warehouse) -> None:
    write(warehouse, made(1), "TIMESTAMP")
    waves = parse_analysis(TEXT.replace("levels:", "partition: school, levels:"))
    with dg.DagsterInstance.ephemeral() as instance:
        told = failure(run(warehouse, instance, DAILY, ("2026-01-05", "2026-01-05"), waves, "moments"))
    assert told.endswith(
        "Partition keys are no values of the column 'school'. Got 2026-01-05; expected BIGINT. "
        "Windows of time need a column of type DATE or TIMESTAMP."
    )


def test_partitions_are_added_while_the_project_runs(warehouse: Warehouse) -> None:
    waves = dg.DynamicPartitionsDefinition(name="waves")
    rows = made(2).with_columns(at=pl.col("at").dt.day())
    write(warehouse, rows.filter(at=5), "BIGINT")
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("waves", ["5"])
        assert run(warehouse, instance, waves, ("5", "5"), only="moments").success
        assert run(warehouse, instance, waves, ("5", "5"), parse_analysis(TEXT), fit_by="at").success
        write(warehouse, rows, "BIGINT")
        instance.add_dynamic_partitions("waves", ["06"])
        # the key is read as the column's own type
        assert run(warehouse, instance, waves, ("06", "06"), only="moments").success
        assert_like_a_rebuild(warehouse)
        assert run(warehouse, instance, waves, ("06", "06"), only="moments").success
        assert_like_a_rebuild(warehouse)
        assert run(warehouse, instance, waves, ("06", "06"), parse_analysis(TEXT), fit_by="at").success
        assert partitions(instance, "moments") == partitions(instance, "results") == {"5", "06"}
    alone = fit(FORMULA, rows.filter(at=6)).fixed_effects["estimate"].to_list()
    assert estimates(warehouse)["days[06]"] == pytest.approx(alone, rel=1e-9)


def test_partitions_of_several_dimensions_are_refused_by_name() -> None:
    both = dg.MultiPartitionsDefinition({"day": DAILY, "region": dg.StaticPartitionsDefinition(["north"])})
    with pytest.raises(AnalysisError) as caught:
        build_analysis_assets(ADDED_UP, partitions_def=both)
    assert str(caught.value) == (
        "The partitions of days have several dimensions. Got day, region; expected one. Make one column of them, and "
        "its values the partition keys."
    )


@pytest.mark.parametrize("options", [{}, {"fit_by": "at"}])
def test_weeks_of_days_that_are_text_are_refused(options: dict[str, str], warehouse: Warehouse) -> None:
    """One of the seven values alone would be found."""
    write(warehouse, made(7), "VARCHAR")
    analysis = parse_analysis(TEXT) if options else ADDED_UP
    only = "results" if options else "moments"
    with dg.DagsterInstance.ephemeral() as instance:
        told = failure(run(warehouse, instance, WEEKLY, ("2026-01-04", "2026-01-04"), analysis, only, **options))
    assert told.endswith(
        "The partition 2026-01-04 is longer than a day. Got a column 'at' of type VARCHAR; expected DATE or TIMESTAMP. "
        "Cast it in a view or SELECT."
    )


def test_a_key_between_two_values_is_neither(warehouse: Warehouse) -> None:
    write(warehouse, made(2).with_columns(at=pl.col("at").dt.day()), "BIGINT")
    keys = dg.StaticPartitionsDefinition(["5", "5.4", "06"])
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(warehouse, instance, keys, ("5", "06"), parse_analysis(TEXT), "results", fit_by="at")
    (made_of, *_) = result.asset_materializations_for_node("days__results")
    assert made_of.metadata["summary"].value == "2 of 3 partitions published; without rows: 5.4"
    assert set(estimates(warehouse)) == {"days[5]", "days[06]"}


def test_numbers_that_no_one_thought_of_end_one_partition_alone(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlm_ops.plugins.dagster import partition_fits as fit_partitions

    whole = fit_partitions.fit_collected

    def fails_once(analysis: Analysis, *arguments: object) -> object:
        if analysis.analysis == "days[2026-01-06]":
            raise np.linalg.LinAlgError("Eigenvalues did not converge")
        return whole(analysis, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit_partitions, "fit_collected", fails_once)
    write(warehouse, made(3), "DATE")
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(
            warehouse, instance, DAILY, ("2026-01-05", "2026-01-07"), parse_analysis(TEXT), "results", fit_by="at"
        )
        assert partitions(instance, "results") == {"2026-01-05", "2026-01-07"}
    assert "days[2026-01-06]: LinAlgError: Eigenvalues did not converge" in failure(result)


def verdict(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult, check: str) -> dg.AssetCheckEvaluation:
    logs = instance.all_logs(result.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    told = [log.get_dagster_event().asset_check_evaluation_data for log in logs]
    return next(evaluation for evaluation in told if evaluation.check_name == check)


def published_rows(warehouse: Warehouse) -> int:
    with duckdb.connect(str(warehouse.results), read_only=True) as results:
        ((n_rows,),) = results.execute("select n_rows from mlm.latest_runs").fetchall()
    return int(n_rows)


def test_rows_that_are_gone_from_a_partition_that_was_not_read_are_not_published(warehouse: Warehouse) -> None:
    write(warehouse, made(3, timedelta(days=1)), "DATE")
    gone = "Partition 2026-01-07 has changed (60 rows in the moments, 0 in the table); materialize it."
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(warehouse, instance, DAILY, ("2026-01-05", "2026-01-07")).success
        write(warehouse, made(2, timedelta(days=1)), "DATE")
        result = run(warehouse, instance, DAILY, ("2026-01-06", "2026-01-06"))
        assert not result.success
        found = verdict(instance, result, "rows_accounted_for")
        assert (found.passed, found.severity.value, found.description) == (False, "ERROR", gone)
        assert published_rows(warehouse) == 180
        # as a warning it is published, and told
        warn = {"severities": {"rows_accounted_for": "warn"}}
        result = run(warehouse, instance, DAILY, ("2026-01-06", "2026-01-06"), **warn)  # type: ignore[arg-type]
        assert result.success
        found = verdict(instance, result, "rows_accounted_for")
        assert (found.passed, found.severity.value, found.description) == (False, "WARN", gone)
        assert run(warehouse, instance, DAILY, ("2026-01-07", "2026-01-07")).success
        assert published_rows(warehouse) == 120


def test_partitions_that_changed_are_named_by_their_keys_and_new_ones_stop_nothing(warehouse: Warehouse) -> None:
    early = made(1, timedelta(days=1), datetime(2026, 1, 1))
    write(warehouse, pl.concat([early, made(14, timedelta(days=1))]), "DATE")
    weeks = dg.WeeklyPartitionsDefinition("2026-01-04", end_date="2026-02-01")
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(warehouse, instance, weeks, ("2026-01-04", "2026-01-11")).success
        write(warehouse, pl.concat([early, made(21, timedelta(days=1))]), "DATE")
        result = run(warehouse, instance, weeks, ("2026-01-11", "2026-01-11"))
        assert result.success
        assert verdict(instance, result, "rows_accounted_for").description == (
            "Of 900 rows 900 are in the moments and 0 are not; values are missing: nowhere. Not in the moments yet: "
            "2026-01-18, 2026-01-25."
        )
        with warehouse.connection() as connection:
            connection.execute("delete from main.pupils where \"at\" in ('2026-01-05', '2026-01-06') and school < 2")
            connection.execute("delete from main.pupils where \"at\" = '2026-01-01'")
        result = run(warehouse, instance, weeks, ("2026-01-11", "2026-01-11"))
        assert not result.success
        assert verdict(instance, result, "rows_accounted_for").description == (
            "Partition 2026-01-04 has changed (120 rows in the moments, 100 in the table); materialize it. Rows that "
            "lie in no partition have changed: 2026-01-01 (60 rows in the moments, 0 in the table). Drop the table "
            "main.days_moments_parts and materialize again, by which all rows are read. Not in the moments yet: "
            "2026-01-18, 2026-01-25."
        )


def test_values_that_changed_in_a_partition_that_was_not_read_are_told_with_its_name(warehouse: Warehouse) -> None:
    write(warehouse, made(3, timedelta(days=1)), "DATE")
    analysis = parse_analysis(TEXT.replace("levels:", "partition: at, levels:").replace("y ~ x", "y ~ between(x)"))
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(warehouse, instance, DAILY, ("2026-01-05", "2026-01-07"), analysis).success
        with warehouse.connection() as connection:
            connection.execute("update main.pupils set x = x + school where \"at\" = '2026-01-07'")
        result = run(warehouse, instance, DAILY, ("2026-01-06", "2026-01-06"), analysis)
        assert result.success
        found = verdict(instance, result, "agrees_with_moments")
    assert (found.passed, found.severity.value) == (False, "WARN")
    assert str(found.description).endswith(
        "(allowed 1e-09). The moments of partition 2026-01-07 are not of the rows that it has now; materialize it."
    )
