"""Partitions of an analysis in Dagster: moments that are added up, or one fit a partition."""

from __future__ import annotations

import logging
from collections.abc import Callable

import dagster as dg
import duckdb
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.analyses.store.runs import read_latest
from mlm_ops.errors import AnalysisError
from mlm_ops.plugins.dagster import Warehouse, asset_work, build_analysis_assets
from mlm_ops.plugins.dagster.metadata import model_lineage
from mlm_ops.results.fitting import fit

WAVES = "{analysis: waves, data: main.pupils, levels: school, models: {slope: y ~ x + (1 | school)}}"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
KEYS = dg.StaticPartitionsDefinition(["0", "1", "9", "10"])


@pytest.fixture
def rows(pupils: Callable[[int], pl.DataFrame], warehouse: Warehouse) -> pl.DataFrame:
    frame = pupils(25).with_columns(wave=pl.int_range(pl.len()) % 2)
    with warehouse.connection() as connection:
        connection.register("rows", frame)
        connection.execute("create table main.pupils as from rows")
    return frame


def run(
    analysis: Analysis, warehouse: Warehouse, instance: dg.DagsterInstance, first: str, last: str, **options: str
) -> dg.ExecuteInProcessResult:
    made = build_analysis_assets(analysis, partitions_def=KEYS, **options)  # type: ignore[arg-type]
    job = dg.define_asset_job("job", selection=dg.AssetSelection.groups(analysis.analysis))
    here = dg.Definitions(resources={"warehouse": warehouse}, jobs=[job], executor=dg.in_process_executor)
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    whole = dg.Definitions.merge(here, made).resolve_job_def("job")
    return whole.execute_in_process(instance=instance, tags=tags, raise_on_error=False, run_config=QUIET)


def test_a_partition_is_fitted_as_its_rows_alone_and_a_bad_one_leaves_the_others(
    rows: pl.DataFrame, warehouse: Warehouse
) -> None:
    with warehouse.connection() as connection:
        # one school, which no multilevel model is of
        connection.execute("insert into main.pupils select * replace (9 as wave) from main.pupils where school = 1")
    with dg.DagsterInstance.ephemeral() as instance:
        failed = run(parse_analysis(WAVES), warehouse, instance, "0", "9", fit_by="wave")
        assert not failed.success
        checks = [
            entry.get_dagster_event().asset_check_evaluation_data
            for entry in instance.all_logs(failed.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        ]
        assert {(check.check_name, check.passed, check.severity.value, check.description) for check in checks} == {
            (
                name,
                False,
                severity,
                f"2 of 3 partitions are {words}; 0 are not; 1 could not be fitted: 9.",
            )
            for name, words, severity in (("converged", "converged", "ERROR"), ("not_singular", "not singular", "WARN"))
        }
        made = instance.get_materialized_partitions(dg.AssetKey(["waves", "results"]))
    assert made == {"0", "1"}
    with warehouse.connection() as connection:
        found = read_latest(connection, "fixed_effects")
    for wave in (0, 1):
        alone = fit("y ~ x + (1 | school)", rows.filter(pl.col("wave") == wave)).fixed_effects["estimate"]
        here = found.filter(pl.col("analysis") == f"waves[{wave}]")["estimate"]
        # the same search from the same sums
        assert here.to_list() == pytest.approx(alone.to_list(), rel=1e-9)


@pytest.mark.usefixtures("rows")
def test_a_partition_without_rows_fails_nothing_and_is_told(warehouse: Warehouse) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(parse_analysis(WAVES), warehouse, instance, "0", "9", fit_by="wave")
        assert result.success
        # as of a day on which nothing happened: a backfill need not be tried again
        assert instance.get_materialized_partitions(dg.AssetKey(["waves", "results"])) == {"0", "1", "9"}
        logged = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert logged == ["1 partition of waves has no rows, and nothing to fit: 9."]
    metadata = result.asset_materializations_for_node("waves__results")[0].metadata
    assert metadata["summary"].value == "2 of 3 partitions published; without rows: 9"
    assert [metadata[name].value for name in ("partitions", "published_partitions", "empty_partitions")] == [3, 2, 1]
    converged = next(check for check in result.get_asset_check_evaluations() if check.check_name == "converged")
    assert converged.description == "2 of 2 partitions are converged; 0 are not."
    with warehouse.connection() as connection:
        assert set(read_latest(connection, "runs")["analysis"]) == {"waves[0]", "waves[1]"}


@pytest.mark.usefixtures("rows")
def test_a_partition_that_lost_its_rows_has_no_latest_results(warehouse: Warehouse) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(parse_analysis(WAVES), warehouse, instance, "0", "1", fit_by="wave").success
        with warehouse.connection() as connection:
            connection.execute("delete from main.pupils where wave = 1")
        assert run(parse_analysis(WAVES), warehouse, instance, "0", "1", fit_by="wave").success
    with duckdb.connect(warehouse.results, read_only=True) as published:
        query = "select distinct analysis from mlm.latest_fixed_effects"
        assert published.execute(query).fetchall() == [("waves[0]",)]
        latest = published.execute("select analysis, status, n_rows > 0 from mlm.latest_runs order by all").fetchall()
        assert latest == [("waves[0]", "finished", True), ("waves[1]", "empty", False)]
        # what was there stays in the history
        query = "select status, count(*) from mlm.runs where analysis = 'waves[1]' group by all order by all"
        assert published.execute(query).fetchall() == [("empty", 1), ("finished", 1)]


@pytest.mark.usefixtures("rows")
def test_a_partition_of_few_rows_is_not_published(warehouse: Warehouse) -> None:
    with warehouse.connection() as connection:
        few = "(select row_number() over (partition by school) as i, * from main.pupils)"
        connection.execute(f"insert into main.pupils select * exclude (i) replace (9 as wave) from {few} where i = 1")
        size = connection.execute("select count(*) from main.pupils where wave = 9").fetchone()[0]  # type: ignore[index]
    analysis = parse_analysis(f"{WAVES[:-1]}, min_publish_n: {size + 1}}}".replace("(1 | school)", "1"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(analysis, warehouse, instance, "0", "9", fit_by="wave")
        assert result.success
        assert instance.get_materialized_partitions(dg.AssetKey(["waves", "results"])) == {"0", "1", "9"}
        logged = [entry.user_message for entry in instance.all_logs(result.run_id) if entry.level == logging.WARNING]
    assert logged == [f"1 partition of waves has fewer than {size + 1} rows (min_publish_n) and is not published: 9."]
    with warehouse.connection() as connection:
        assert set(read_latest(connection, "fixed_effects")["analysis"]) == {"waves[0]", "waves[1]"}


@pytest.mark.usefixtures("rows")
def test_partitions_none_of_which_has_rows_fail(warehouse: Warehouse) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(parse_analysis(WAVES), warehouse, instance, "9", "10", fit_by="wave")
        assert instance.get_materialized_partitions(dg.AssetKey(["waves", "results"])) == set()
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.error is not None
    assert (
        "No partition of waves that was asked for has rows: 9, 10. Their keys are to be values of the column 'wave' of "
        "main.pupils: compare the two, or load the table first.\n"
    ) in failure.step_failure_data.error.to_string()


def test_moments_by_partition_serve_models_of_all_rows(rows: pl.DataFrame, warehouse: Warehouse) -> None:
    analysis = parse_analysis(WAVES.replace("levels:", "partition: wave, levels:"))
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(analysis, warehouse, instance, "0", "1")
        assert result.success
        assert instance.get_materialized_partitions(dg.AssetKey(["waves", "moments"])) == {"0", "1"}
    with warehouse.connection() as connection:
        found = read_latest(connection, "fixed_effects")["estimate"]
    # sums of two parts against sums of one
    whole = fit("y ~ x + (1 | school)", rows).fixed_effects["estimate"]
    assert found.to_list() == pytest.approx(whole.to_list(), rel=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partitions_def": KEYS}, "have no column"),
        ({"fit_by": "wave"}, "fit_by needs partitions"),
        ({"severities": {"convergd": "warn"}}, "Got convergd: warn"),
    ],
)
def test_what_does_not_go_together_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        build_analysis_assets(parse_analysis(WAVES), **options)  # type: ignore[arg-type]


def test_lineage_names_the_columns_that_a_model_reads() -> None:
    lineage = model_lineage(parse_analysis(WAVES), "slope", dg.AssetKey("pupils"))
    assert {dep.column_name for dep in lineage.deps_by_column["estimate"]} == {"y", "x", "school"}


def test_columns_of_moments_and_results_are_told_with_where_they_come_from(
    rows: pl.DataFrame, warehouse: Warehouse
) -> None:
    analysis = parse_analysis(WAVES)
    with warehouse.connection() as connection:
        _, metadata, _ = asset_work.make_moments(connection, analysis, None, dg.AssetKey("pupils"))
        names = [name for name, *_ in connection.execute("describe main.waves_moments").fetchall()]
    schema, lineage = metadata["dagster/column_schema"].value, metadata["dagster/column_lineage"].value
    assert isinstance(schema, dg.TableSchema)
    assert isinstance(lineage, dg.TableColumnLineage)
    assert [column.name for column in schema.columns] == names == list(lineage.deps_by_column)
    read = {name: {dep.column_name for dep in deps} for name, deps in lineage.deps_by_column.items()}
    assert read["school"] == {"school"}
    assert read["n"] == {"school", "x", "y"}
    assert read["mean_x"] == read["scatter_x_x"] == {"school", "x"}
    assert [read[name] for name in names if name in ("scatter_x_y", "scatter_y_x")] == [{"school", "x", "y"}]
    graph = dg.Definitions.merge(
        dg.Definitions(resources={"warehouse": warehouse}), build_analysis_assets(analysis)
    ).resolve_asset_graph()
    told = graph.get(dg.AssetKey(["waves", "results"])).metadata
    assert told["dagster/column_schema"].columns[0].name == "run_id"
    (source,) = told["dagster/column_lineage"].deps_by_column["estimate"]
    assert (source.asset_key, source.column_name) == (dg.AssetKey(["waves", "models", "slope"]), "estimate")


def test_severities_decide_what_stops() -> None:
    made = build_analysis_assets(parse_analysis(WAVES), severities={"converged": "warn", "not_singular": "error"})
    graph = dg.Definitions.merge(dg.Definitions(resources={"warehouse": Warehouse()}), made).resolve_asset_graph()
    model = dg.AssetKey(["waves", "models", "slope"])
    blocking = {
        key.name: graph.get_check_spec(key).blocking for key in graph.asset_check_keys if key.asset_key == model
    }
    assert blocking == {"converged": False, "not_singular": True}
