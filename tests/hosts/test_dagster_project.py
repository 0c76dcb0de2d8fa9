"""A Dagster project of its own, with components in defs.yaml, loaded as Dagster loads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from dagster.components.core.component_tree import ComponentTreeException

from mlm_ops.errors import MlmError
from mlm_ops.plugins.dagster import Warehouse

pytestmark = pytest.mark.hosts
Load = Callable[[], dg.Definitions]


def rows(project: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(project / "data" / "results.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_components_load_run_and_publish(project: Path, load: Load) -> None:
    defs = load()
    graph = defs.resolve_asset_graph()
    results = graph.get(dg.AssetKey(["schools", "results"]))
    assert (results.group_name, list(results.owners), results.tags["tier"]) == ("survey", ["team:research"], "gold")
    assert results.automation_condition is not None
    assert graph.get(dg.AssetKey(["schools", "moments"])).parent_keys == {dg.AssetKey(["marts", "pupils"])}
    assert graph.get(dg.AssetKey(["waves", "results"])).parent_keys == {dg.AssetKey(["marts", "pupils"])}
    selection = dg.AssetSelection.groups("survey").upstream()
    with dg.DagsterInstance.ephemeral() as instance:
        job = dg.define_asset_job("whole", selection=selection)
        everything = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
        assert everything.resolve_job_def("whole").execute_in_process(instance=instance).success
        by_wave = dg.define_asset_job("by_wave", selection=dg.AssetSelection.assets(["waves", "results"]))
        job_def = dg.Definitions.merge(defs, dg.Definitions(jobs=[by_wave])).resolve_job_def("by_wave")
        both = {"dagster/asset_partition_range_start": "2020", "dagster/asset_partition_range_end": "2021"}
        assert job_def.execute_in_process(instance=instance, tags=both).success
        assert instance.get_materialized_partitions(dg.AssetKey(["waves", "results"])) == {"2020", "2021"}
        warehouse = Warehouse(directory=str(project / "data"), database_file="shop.duckdb")
        sensor = defs.resolve_sensor_def("schools_new_data")
        first = sensor.evaluate_tick(tick(instance, defs, warehouse, None))
        assert len(first.run_requests or []) == 1
        assert not sensor.evaluate_tick(tick(instance, defs, warehouse, first.cursor)).run_requests
        with duckdb.connect(str(project / "data" / "shop.duckdb")) as connection:
            connection.execute("update main.pupils set y = y + 1 where school = 3")
        assert len(sensor.evaluate_tick(tick(instance, defs, warehouse, first.cursor)).run_requests or []) == 1
        schedule = defs.resolve_schedule_def("nightly")
        assert (
            len(
                schedule.evaluate_tick(
                    dg.build_schedule_context(instance, repository_def=defs.get_repository_def())
                ).run_requests
                or []
            )
            == 1
        )
    runs = rows(project, "select analysis, n_obs from mlm.latest_runs order by analysis")
    assert runs == [("schools", 1200), ("waves[2020]", 600), ("waves[2021]", 600)]
    assert {
        name for (name,) in rows(project, "select model from mlm.latest_fit_statistics where analysis = 'schools'")
    } == {"anova", "slope"}


def tick(
    instance: dg.DagsterInstance, defs: dg.Definitions, warehouse: Warehouse, cursor: str | None
) -> dg.SensorEvaluationContext:
    return dg.build_sensor_context(instance, cursor=cursor, definitions=defs, resources={"warehouse": warehouse})


PATHS = {
    "analysis": ("analysis: pupils.yaml", "analysis: ../../../../../secret.yaml", "analysis file", "allow_files"),
    "database": ("data/shop.duckdb", "../shop.duckdb", "database", "database_outside_project"),
}


@pytest.mark.parametrize("which", PATHS)
def test_paths_stay_in_the_project(project: Path, load: Load, which: str) -> None:
    old, new, what, switch = PATHS[which]
    file = project / "src" / "shop" / "defs" / "hsb" / "defs.yaml"
    file.write_text(file.read_text().replace(old, new))
    sentence = refusal(load)
    assert f"The path of the {what} leaves the project. Got " in sentence
    assert f"; expected one under {project.resolve()}. Move the file, or set {switch}: true." in sentence


def refusal(load: Load) -> str:
    """The sentence with which the code location is refused."""
    with pytest.raises(ComponentTreeException) as caught:
        load().resolve_asset_graph()
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, MlmError):
        error = error.__cause__
    return str(error)


def test_a_database_elsewhere_opens_no_file(project: Path, load: Load) -> None:
    """The place of the database and the reach of the analysis are two switches; the old one is both."""
    # all components of a code location name one database
    files = [path for path in (project / "src").rglob("defs.yaml") if "shop.duckdb" in path.read_text()]
    plain = {path: path.read_text().replace("data/shop.duckdb", "../shop.duckdb") for path in files}
    analysis = project / "src" / "shop" / "defs" / "hsb" / "pupils.yaml"
    (project.parent / "secret.csv").write_text("y\n1\n")
    text_before, reads = analysis.read_text(), re.sub("(?m)^data: .*$", "data: ../secret.csv", analysis.read_text())
    for switches, may_read in (
        ("database_outside_project: true", False),
        ("database_outside_project: true\n  allow_files: true", True),
        ("allow_outside_project: true", True),
    ):
        for path, text in plain.items():
            path.write_text(text.replace("attributes:", f"attributes:\n  {switches}"))
        analysis.write_text(text_before)
        load().resolve_asset_graph()
        analysis.write_text(reads)
        if may_read:
            load().resolve_asset_graph()
        else:
            assert "The path of the data leaves the project. Got ../secret.csv; expected one under" in refusal(load)
