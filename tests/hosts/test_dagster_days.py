"""Days in a Dagster project of its own: automation, freshness, and a backfill as the UI submits it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, PartitionBackfill
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context, instance_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster._daemon.freshness import FreshnessDaemon

from mlm_ops.results.fitting import fit

pytestmark = pytest.mark.hosts
Load = Callable[[], dg.Definitions]
VISITS = dg.AssetKey(["marts", "visits"])
EACH, MOMENTS = dg.AssetKey(["each_day", "results"]), dg.AssetKey(["days", "moments"])
#: One in the morning in Berlin, so the last whole day is the 7th.
NOW = datetime(2026, 1, 8, 0, tzinfo=UTC)
#: Runs begin when they are asked for, in this process.
HERE = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}
MODELS = [["days", "models", "empty"], ["days", "models", "slope"], ["days", "comparisons"], ["days", "results"]]


class Ticks:
    """Evaluates conditions minute by minute, and takes what is asked for to be made before the next minute."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs, self.instance = defs, instance
        self.now, self.cursor = NOW, None
        self.selection = dg.AssetSelection.groups("days", "each_day", "survey")
        self.tick()

    def tick(self) -> dict[str, set[str | None]]:
        evaluation = dg.evaluate_automation_conditions(
            self.defs, self.instance, self.selection, evaluation_time=self.now, cursor=self.cursor
        )
        self.now, self.cursor = self.now + timedelta(minutes=1), evaluation.cursor
        keys = self.defs.resolve_asset_graph().materializable_asset_keys
        partitions_by_key = {key: set(evaluation.get_requested_partitions(key)) for key in keys}
        for key, partitions in partitions_by_key.items():
            for partition in partitions:
                self.materialize(key, partition)
        return {key.to_user_string(): partitions for key, partitions in partitions_by_key.items() if partitions}

    def materialize(self, key: dg.AssetKey, partition: str | None) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))


def paths(*keys: list[str]) -> dict[str, set[str | None]]:
    return {"/".join(key): {None} for key in keys}


def test_a_day_that_comes_or_is_corrected_asks_for_itself_and_the_models_once(load: Load) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = Ticks(load(), instance)
        ticks.materialize(VISITS, "2026-01-07")
        first = ticks.tick()
        assert first == paths(["days", "centered"]) | {
            "days/moments": {"2026-01-07"},
            "each_day/results": {"2026-01-07"},
        }
        # models take all partitions together, and wait for the one that is being read
        assert ticks.tick() == paths(*MODELS)
        assert ticks.tick() == {}
        ticks.materialize(VISITS, "2026-01-05")
        # eager() alone looks at the latest day only, the condition of days at any
        assert ticks.tick() == paths(["days", "centered"]) | {"days/moments": {"2026-01-05"}}
        assert ticks.tick() == paths(*MODELS)


def test_a_thousand_days_ask_for_the_models_once(load: Load) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = Ticks(load(), instance)
        for day in ("2026-01-05", "2026-01-06", "2026-01-07"):
            ticks.materialize(VISITS, day)
        assert ticks.tick()["days/moments"] == {"2026-01-05", "2026-01-06", "2026-01-07"}
        assert ticks.tick() == paths(*MODELS)
        assert ticks.tick() == {}


@pytest.mark.parametrize("condition", ["eager()", "on_cron('0 6 * * *')"])
def test_one_pass_goes_down_to_the_results(condition: str, project: Path, load: Load) -> None:
    file = project / "src" / "shop" / "defs" / "hsb" / "defs.yaml"
    file.write_text(file.read_text().replace("eager()", condition))
    with dg.DagsterInstance.ephemeral() as instance:
        ticks = Ticks(load(), instance)
        if "cron" in condition:
            ticks.materialize(dg.AssetKey(["marts", "pupils"]), None)
            assert ticks.tick() == {}
            # at six the assets wait for a table that is newer than six
            ticks.now = NOW + timedelta(hours=6, minutes=1)
            assert ticks.tick() == {}
        ticks.materialize(dg.AssetKey(["marts", "pupils"]), None)
        models = [["models", "anova"], ["models", "slope"], ["comparisons"]]
        everything = [["centered"], ["moments"], *models, ["results"], ["report"]]
        assert ticks.tick() == paths(*(["schools", *path] for path in everything))
        assert ticks.tick() == {}


def test_a_day_needs_the_same_day_of_the_table_alone(load: Load) -> None:
    graph = load().resolve_asset_graph()
    for key in (EACH, MOMENTS):
        node = graph.get(key)
        mapping = graph.get_partition_mapping(key, VISITS)
        assert node.partitions_def is not None
        upstream = mapping.get_upstream_mapped_partitions_result_for_partitions(
            downstream_partitions_subset=node.partitions_def.subset_with_partition_keys(["2026-01-06"]),
            downstream_partitions_def=node.partitions_def,
            upstream_partitions_def=graph.get(VISITS).partitions_def,
            current_time=NOW,
        )
        assert list(upstream.partitions_subset.get_partition_keys()) == ["2026-01-06"]


@pytest.fixture
def workspace(project: Path) -> Iterator[WorkspaceProcessContext]:
    target = LoadableTargetOrigin(module_name="shop.definitions", working_directory=str(project / "src"))
    with (
        instance_for_test(HERE) as instance,
        create_test_daemon_workspace_context(
            InProcessWorkspaceLoadTarget(InProcessCodeLocationOrigin(target, location_name="shop")), instance
        ) as context,
    ):
        yield context


def backfill(workspace: WorkspaceProcessContext, name: str, assets: list[dg.AssetKey], days: list[str]) -> None:
    """What the UI's button does, and the daemon until it is done."""
    graph = workspace.create_request_context().asset_graph
    workspace.instance.add_backfill(
        PartitionBackfill.from_asset_partitions(
            backfill_id=name,
            asset_graph=graph,
            partition_names=days,
            asset_selection=assets,
            backfill_timestamp=datetime.now(UTC).timestamp(),
            tags={},
            dynamic_partitions_store=workspace.instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )
    )
    for _ in range(10):
        assert not [error for error in execute_backfill_iteration(workspace, logging.getLogger("backfill")) if error]
        state = workspace.instance.get_backfill(name)
        if state is not None and state.status in BULK_ACTION_TERMINAL_STATUSES:
            return
    raise AssertionError("The backfill does not end.")


def test_a_backfill_is_one_run_and_a_bad_day_leaves_the_others(
    project: Path, workspace: WorkspaceProcessContext
) -> None:
    instance = workspace.instance
    days = [f"2026-01-{day:02}" for day in range(5, 10)]
    good = [day for day in days if day != "2026-01-08"]
    backfill(workspace, "tables", [VISITS], days)
    backfill(workspace, "fits", [EACH], days)
    (run,) = instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": "fits"}))
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert run.tags["dagster/asset_partition_range_start"] == "2026-01-05"
    assert instance.get_materialized_partitions(EACH) == set(good)
    (failure,) = instance.all_logs(run.run_id, dg.DagsterEventType.STEP_FAILURE)
    error = str(failure.get_dagster_event().step_failure_data.error)
    assert "1 partition of each_day could not be fitted: 2026-01-08. The other 4 are published." in error
    with duckdb.connect(str(project / "data" / "results.duckdb"), read_only=True) as connection:
        estimates = connection.execute(
            "select analysis, estimate from mlm.latest_fixed_effects where term = 'x' order by analysis"
        ).fetchall()
    assert [name for name, _ in estimates] == [f"each_day[{day}]" for day in good]
    with duckdb.connect(str(project / "data" / "shop.duckdb"), read_only=True) as connection:
        for day, (_, estimate) in zip(good, estimates, strict=True):
            rows = connection.sql(f"from main.visits where day = '{day}'").pl()
            expected = fit("y ~ x + (1 | clinic)", rows).fixed_effects.filter(term="x")["estimate"].item()
            # the same search from the same sums
            assert estimate == pytest.approx(expected, rel=1e-9)


def test_freshness_is_told_by_the_daemon(workspace: WorkspaceProcessContext) -> None:
    graph = workspace.create_request_context().asset_graph
    assert "CronFreshnessPolicy(deadline_cron='0 9 * * *'" in str(graph.get(EACH).freshness_policy)
    assert graph.get(MOMENTS).freshness_policy == dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=36))
    workspace.instance.report_runless_asset_event(dg.AssetMaterialization(MOMENTS, partition="2026-01-05"))
    list(FreshnessDaemon().run_iteration(workspace))
    states = {
        key: workspace.instance.get_freshness_state_records([key])[key].freshness_state.value for key in (MOMENTS, EACH)
    }
    assert states == {MOMENTS: "PASS", EACH: "UNKNOWN"}
