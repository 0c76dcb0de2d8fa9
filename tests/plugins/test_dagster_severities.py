"""Each check, failed on purpose: an error stops publication, a warning does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import dagster as dg
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.run import AnalysisResult
from mlm_ops.errors import RowsChangedError
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets, checks
from mlm_ops.plugins.dagster import partition_fits as fit_partitions
from mlm_ops.plugins.dagster.plan import CHECKS

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
TEXT = """
{analysis: small, data: main.pupils, levels: school, models: {m: y ~ x + (1 | school)}, diagnostics: [m], steps: both}
"""
#: Found when the results are published already, or beside them: an error fails the run, and what follows the asset.
AFTER = ("agrees_with_moments", "steps_agree", "no_drift")


@pytest.fixture
def rows(pupils: Callable[[int], pl.DataFrame], warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        connection.register("rows", pupils(25).with_columns(wave=pl.int_range(pl.len()) % 3))
        connection.execute("create table main.pupils as from rows")


def run(warehouse: Warehouse, made: dg.Definitions, **options: object) -> dg.ExecuteInProcessResult:
    job = dg.define_asset_job("job", selection=dg.AssetSelection.groups("small"))
    here = dg.Definitions(resources={"warehouse": warehouse}, jobs=[job], executor=dg.in_process_executor)
    whole = dg.Definitions.merge(here, made).resolve_job_def("job")
    return whole.execute_in_process(raise_on_error=False, run_config=QUIET, **options)


def fail(monkeypatch: pytest.MonkeyPatch, check: str) -> None:
    name = {"agrees_with_moments": "centered_agrees"}.get(check, check)
    real = getattr(checks, name)

    def failed(*arguments: object) -> dg.AssetCheckResult:
        return real(*arguments)._replace(passed=False)

    for module in ("checks", "assets"):
        monkeypatch.setattr(f"mlm_ops.plugins.dagster.{module}.{name}", failed, raising=False)


def verdicts(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    return {e.check_name: (e.passed, e.severity.value) for e in result.get_asset_check_evaluations()}


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("check", CHECKS)
def test_an_error_stops_publication(check: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, check)
    result = run(warehouse, build_analysis_assets(parse_analysis(TEXT), severities={check: "error"}))
    assert verdicts(result)[check] == (False, "ERROR")
    assert not result.success
    assert warehouse.results.exists() is (check in AFTER)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("check", CHECKS)
def test_a_severity_that_nobody_set_is_the_one_that_is_shown(
    check: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(monkeypatch, check)
    result = run(warehouse, build_analysis_assets(parse_analysis(TEXT)))
    shown = "ERROR" if check in ("rows_accounted_for", "converged") else "WARN"
    assert verdicts(result)[check] == (False, shown)
    assert result.success is (shown == "WARN")


@pytest.mark.usefixtures("rows")
def test_warnings_are_shown_and_stop_nothing(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for check in CHECKS:
        fail(monkeypatch, check)
    made = build_analysis_assets(parse_analysis(TEXT), severities=dict.fromkeys(CHECKS, "warn"))
    result = run(warehouse, made)
    assert result.success
    assert verdicts(result) == dict.fromkeys(CHECKS, (False, "WARN"))
    assert warehouse.results.exists()


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("severity", ["error", "warn"])
def test_a_partition_that_fails_a_check_is_withheld_alone(
    severity: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fit_partitions.fit_collected

    def singular_in_wave_1(analysis: Analysis, *arguments: Any) -> AnalysisResult:
        fitted = real(analysis, *arguments)
        if not analysis.analysis.endswith("[1]"):
            return fitted
        statistics = fitted.tables["fit_statistics"].with_columns(singular=True)
        return replace(fitted, tables=fitted.tables | {"fit_statistics": statistics})

    monkeypatch.setattr(fit_partitions, "fit_collected", singular_in_wave_1)
    waves = dg.StaticPartitionsDefinition(["0", "1", "2"])
    text = TEXT.replace(", diagnostics: [m]", "")
    made = build_analysis_assets(
        parse_analysis(text),
        partitions_def=waves,
        fit_by="wave",
        severities={"not_singular": severity},  # type: ignore[dict-item]
    )
    tags = {"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "2"}
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(warehouse, made, instance=instance, tags=tags)
        made_of = instance.get_materialized_partitions(dg.AssetKey(["small", "results"]))
        logs = instance.all_logs(result.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        told = [log.get_dagster_event().asset_check_evaluation_data for log in logs]
    (found,) = [evaluation for evaluation in told if evaluation.check_name == "not_singular"]
    assert (found.passed, found.severity.value) == (False, severity.upper())
    assert result.success is (severity == "warn")
    assert made_of == ({"0", "2"} if severity == "error" else {"0", "1", "2"})
    if severity == "error":
        (event,) = [event for event in result.all_events if event.is_step_failure]
        assert (
            "1 partition of small did not pass a check that is an error (not_singular: 1). The other 2 are published."
        ) in str(event.step_failure_data.error)


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize("changed", [True, False])
def test_a_step_that_is_tried_again_writes_its_rows_once(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """It is where rows changed meanwhile, and not where rows of one school have to be another partition's."""

    def fit_changed(analysis: Analysis, *arguments: Any) -> AnalysisResult:
        if changed and analysis.analysis == "small[9]":
            raise RowsChangedError("The rows changed meanwhile.")
        return fit_part(analysis, *arguments)

    fit_part = fit_partitions._fit
    monkeypatch.setattr(fit_partitions, "_fit", fit_changed)
    waves = dg.StaticPartitionsDefinition(["0", "1", "9"])
    with warehouse.connection() as connection:
        # one school, which no multilevel model is of
        connection.execute("insert into main.pupils select * replace (9 as wave) from main.pupils where school = 1")
    made = build_analysis_assets(
        parse_analysis(TEXT.replace(", diagnostics: [m]", "")), partitions_def=waves, fit_by="wave"
    )
    job = dg.define_asset_job(
        "job", selection=dg.AssetSelection.groups("small"), op_retry_policy=dg.RetryPolicy(max_retries=1)
    )
    here = dg.Definitions(resources={"warehouse": warehouse}, jobs=[job], executor=dg.in_process_executor)
    tags = {"dagster/asset_partition_range_start": "0", "dagster/asset_partition_range_end": "9"}
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            dg.Definitions.merge(here, made)
            .resolve_job_def("job")
            .execute_in_process(instance=instance, tags=tags, raise_on_error=False, run_config=QUIET)
        )
    assert [event.is_step_up_for_retry for event in result.all_events].count(True) == changed
    with warehouse.connection() as connection:
        written = connection.execute("select analysis, count(*) from mlm.runs group by analysis order by 1").fetchall()
    assert written == [("small[0]", 1), ("small[1]", 1)]
