"""How the steps of an analysis are run, and where its warehouse is: pools, retries, keys, other databases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest
from dagster_duckdb import DuckDBResource

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.errors import (
    AnalysisError,
    DataError,
    FormulaError,
    MlmError,
    ProjectError,
    RowsChangedError,
    StoreError,
)
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets, build_new_data_sensor
from mlm_ops.plugins.dagster.run import warehouses_of
from mlm_ops.plugins.dagster.warehouse import as_warehouse, database_file
from mlm_ops.results.fitting import fit
from mlm_ops.warehouse.connection import attach

#: What DuckDB says of a file that another process writes to.
LOCKED = duckdb.IOException("IO Error: Could not set lock on file")

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
Pupils = Callable[[int], pl.DataFrame]


def run(analysis: Analysis, resources: dict[str, object], **options: Any) -> dg.ExecuteInProcessResult:
    here = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    assets = build_analysis_assets(analysis, **options)
    job = dg.Definitions.merge(here, assets).resolve_implicit_global_asset_job_def()
    return job.execute_in_process(raise_on_error=False, run_config=QUIET)


def table(path: Path, rows: pl.DataFrame) -> Path:
    with duckdb.connect(str(path)) as connection:
        connection.register("rows", rows)
        connection.execute("create table main.pupils as from rows order by school")
    return path


def test_steps_have_a_pool_and_are_tried_again(small: Analysis) -> None:
    definitions = dg.Definitions.merge(
        dg.Definitions(resources={"warehouse": Warehouse()}),
        build_analysis_assets(small, pool="duckdb", retries=3, report=True),
    )
    job = definitions.resolve_implicit_global_asset_job_def()
    ours = [node for node in job.nodes if node.name.startswith("small__")]
    assert {node.definition.pool for node in ours} == {"duckdb"}
    policies = [node.definition.retry_policy for node in ours]
    assert all(policy is not None and policy.max_retries == 3 for policy in policies)
    assert len(ours) == 6


def test_a_step_that_waited_in_vain_is_tried_again(
    small: Analysis, pupils: Pupils, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlm_ops.plugins.dagster.plan.RETRY_DELAY", 0.01)
    table(tmp_path / "warehouse.duckdb", pupils(25))
    waits = iter([True, False])
    connection = Warehouse.connection

    def busy(self: Warehouse) -> Any:
        if next(waits, False):
            raise StoreError("The database is open in another process.") from LOCKED
        return connection(self)

    monkeypatch.setattr(Warehouse, "connection", busy)
    result = run(small, {"warehouse": Warehouse(directory=str(tmp_path))}, retries=1)
    assert result.success
    assert [event.step_key for event in result.all_events if event.is_step_up_for_retry] == ["small__centered"]


@pytest.mark.parametrize(
    ("fault", "retries", "separate"),
    [
        (DataError("The table main.pupils has no column 'z'."), 0, False),
        (FormulaError("A term is not understood."), 0, True),
        (RowsChangedError("The rows changed meanwhile."), 1, False),
        (StoreError("The schema mlm was not made by mlm-ops."), 0, True),
        (duckdb.IOException("IO Error: no such host"), 1, False),
    ],
)
def test_what_somebody_has_to_correct_is_not_tried_again(
    fault: Exception,
    retries: int,
    separate: bool,
    small: Analysis,
    pupils: Pupils,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sentence is the same in Dagster's events, and a DataError that a failing disk caused is tried again."""
    monkeypatch.setattr("mlm_ops.plugins.dagster.plan.RETRY_DELAY", 0.01)
    table(tmp_path / "warehouse.duckdb", pupils(25))

    def failing(*_: object) -> None:
        if isinstance(fault, MlmError):
            raise fault
        raise DataError("The file cannot be read.") from fault

    monkeypatch.setattr("mlm_ops.plugins.dagster.fit_assets.fit_one_model", failing)
    warehouse = {"warehouse": Warehouse(directory=str(tmp_path))}
    result = run(small, warehouse, retries=1, centered=False, separate_steps=separate)
    assert not result.success
    assert sum(event.is_step_up_for_retry for event in result.all_events) == retries * (len(small.models) ** separate)
    failure = next(event for event in result.all_events if event.is_step_failure)
    sentence = str(fault) if isinstance(fault, MlmError) else "The file cannot be read."
    assert sentence in str(failure.step_failure_data.error)


def test_a_column_that_does_not_exist_fails_at_once(small: Analysis, pupils: Pupils, tmp_path: Path) -> None:
    table(tmp_path / "warehouse.duckdb", pupils(25).drop("x"))
    result = run(small, {"warehouse": Warehouse(directory=str(tmp_path))}, retries=3)
    assert not any(event.is_step_up_for_retry for event in result.all_events)
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert len(failures) == 2
    for failure in failures:
        assert failure.user_failure_data.description == (
            "analysis small, model slope: Column 'x' is not in table main.pupils. Its columns are school, y."
        )


def test_keys_have_a_prefix(small: Analysis, pupils: Pupils, tmp_path: Path) -> None:
    table(tmp_path / "warehouse.duckdb", pupils(25))
    warehouse = Warehouse(directory=str(tmp_path))
    result = run(small, {"warehouse": warehouse}, key_prefix="marts/models")
    assert result.success
    keys = [event.asset_key.path for event in result.get_asset_materialization_events() if event.asset_key]
    assert len(keys) == 6
    assert all(key[:3] == ["marts", "models", "small"] for key in keys)
    sensor = build_new_data_sensor(small, key_prefix=["marts", "models"])
    graph = dg.Definitions.merge(
        dg.Definitions(resources={"warehouse": warehouse}),
        build_analysis_assets(small, key_prefix=["marts", "models"]),
        build_analysis_assets(small.model_copy(update={"analysis": "other"}), key_prefix=["marts", "models"]),
    ).resolve_asset_graph()
    assert sensor.asset_selection is not None
    assert sensor.asset_selection.resolve(graph) == {dg.AssetKey(key) for key in keys}


def test_without_a_centered_table(small: Analysis, pupils: Pupils, tmp_path: Path) -> None:
    table(tmp_path / "warehouse.duckdb", pupils(25))
    result = run(small, {"warehouse": Warehouse(directory=str(tmp_path))}, centered=False)
    assert result.success
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        names = connection.execute("select table_name from duckdb_tables() where contains(table_name, 'centered')")
        assert names.fetchall() == []


def test_analyses_of_two_databases_name_two_resources(small: Analysis, pupils: Pupils, tmp_path: Path) -> None:
    for name, groups in (("one", 25), ("two", 40)):
        (tmp_path / name).mkdir()
        table(tmp_path / name / "warehouse.duckdb", pupils(groups))
    warehouses: dict[str, object] = {name: Warehouse(directory=str(tmp_path / name)) for name in ("one", "two")}
    other = small.model_copy(update={"analysis": "other"})
    here = dg.Definitions(resources=warehouses, executor=dg.in_process_executor)
    both = dg.Definitions.merge(
        here, build_analysis_assets(small, resource="one"), build_analysis_assets(other, resource="two")
    )
    assert both.resolve_implicit_global_asset_job_def().execute_in_process(run_config=QUIET).success
    for name, expected in (("one", ("small", 375)), ("two", ("other", 600))):
        with duckdb.connect(str(tmp_path / name / "results.duckdb"), read_only=True) as results:
            assert results.execute("select analysis, n_obs from mlm.latest_runs").fetchall() == [expected]
    with pytest.raises(ProjectError) as several:
        warehouses_of(both, tmp_path)
    assert str(several.value) == (
        "The code location has the warehouses one, two, so --warehouse has not one folder to set. Leave it out."
    )


def test_two_databases_of_one_folder_do_not_undo_each_other(small: Analysis, pupils: Pupils, tmp_path: Path) -> None:
    def runs(name: str, resource: object) -> bool:
        return run(small.model_copy(update={"analysis": name}), {"warehouse": resource}).success

    def published(folder: Path) -> list[tuple[str]]:
        with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as results:
            return results.execute("select analysis from mlm.runs order by sequence").fetchall()

    shop, lake = (table(tmp_path / f"{name}.duckdb", pupils(25)) for name in ("shop", "lake"))
    assert runs("a", DuckDBResource(database=str(shop)))
    assert not runs("b", DuckDBResource(database=str(lake)))
    assert runs("a", DuckDBResource(database=str(shop)))
    assert published(tmp_path) == [("a",), ("a",)]
    elsewhere = Warehouse(
        directory=str(tmp_path), database_file="lake.duckdb", results_folder=str(tmp_path / "published")
    )
    assert runs("b", elsewhere)
    assert published(tmp_path) == [("a",), ("a",)]
    assert published(tmp_path / "published") == [("b",)]


def test_a_resource_of_dagster_duckdb_is_a_warehouse(small: Analysis, pupils: Pupils, tmp_path: Path) -> None:
    path = table(tmp_path / "shop.db", pupils(25))
    resource = DuckDBResource(database=str(path), connection_config={"memory_limit": "1GB"})
    assert run(small, {"warehouse": resource}).success
    assert (tmp_path / "results.duckdb").exists()
    with as_warehouse(resource, "warehouse").connection() as connection:
        ((limit,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    assert limit == "953.6 MiB"


@pytest.mark.parametrize(
    ("resource", "sentence"),
    [
        (
            DuckDBResource(database=":memory:"),
            "The database of the resource shop is to be a file of DuckDB, which results are written to. Got one in "
            "memory; give it a file, such as data/warehouse.duckdb.",
        ),
        (
            DuckDBResource(database="md:shop"),
            "The database of the resource shop is to be a file of DuckDB, which results are written to. Got one md:; "
            "name a file, and read the tables of the other database by attach: {shop: md:…} and data: shop.main.table.",
        ),
        (
            SimpleNamespace(database="shop.duckdb"),
            "The resource shop is no warehouse. Got SimpleNamespace; expected mlm_ops.plugins.dagster.Warehouse, or "
            "DuckDBResource of dagster-duckdb.",
        ),
    ],
)
def test_what_is_no_warehouse_is_refused(resource: object, sentence: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        as_warehouse(resource, "shop")
    assert str(caught.value) == sentence


def test_a_drive_is_no_address() -> None:
    assert database_file("C:/data/shop.duckdb", "It") == Path("C:/data/shop.duckdb")


def test_tables_of_an_attached_database_are_read(pupils: Pupils, tmp_path: Path) -> None:
    """Moments, results and the centered table go to the project's own; the other one is not written to."""
    other = table(tmp_path / "shop.db", pupils(25))
    before = other.read_bytes()
    analysis = parse_analysis(
        "{analysis: small, data: Shop.main.pupils, levels: school, models: {slope: y ~ within(x) + (1 | school)}}"
    )
    warehouse = Warehouse(directory=str(tmp_path), attach={"shop": str(other)})
    assert run(analysis, {"warehouse": warehouse}).success
    assert other.read_bytes() == before
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as results:
        ((slope,),) = results.execute(
            "select estimate from mlm.latest_fixed_effects where term = 'within(x)'"
        ).fetchall()
    rows = pupils(25).sort("school")
    assert slope == pytest.approx(fit("y ~ within(x) + (1 | school)", rows).fixed_effects["estimate"][1], rel=1e-12)
    # a view that is read without the other database would fail
    with duckdb.connect(str(tmp_path / "warehouse.duckdb"), read_only=True) as connection:
        views = connection.execute("select view_name from duckdb_views() where starts_with(view_name, 'predicted_')")
        assert views.fetchall() == []


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere.duckdb", 'nowhere.duckdb" in read-only mode: database does not exist.'),
        ("shopdb:password=secret", "Check its address, and that DuckDB has the extension for it."),
    ],
)
def test_a_database_that_cannot_be_attached_is_named(
    tmp_path: Path, source: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MlmError) as caught, Warehouse(directory="here", attach={"shop": source}).connection():
        pass
    assert str(caught.value).startswith("The database shop cannot be attached: ")
    assert str(caught.value).endswith(sentence)
    assert "secret" not in str(caught.value)
    if source.startswith("shopdb"):
        # Dagster keeps what stands behind an error too
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize(
    ("address", "repeated", "shown"),
    [
        ("postgres:dbname=shop password=s3cret host=db", "dbname=shop password=s3cret host=db", "…"),
        ("postgres:dbname=shop  password=s3cret", "dbname=shop password=s3cret", "dbname=… password=…"),
        ("postgres://me:s3cret@db:5432/shop", 'user "me", "//me:s3cret@db:5432/shop"', 'user "…", "…"'),
        ("md:shop?motherduck_token=s3cret", "token s3cret of shop", "token … of …"),
    ],
)
def test_no_message_repeats_a_password(address: str, repeated: str, shown: str) -> None:
    class Refusing:
        def execute(self, _: str) -> None:
            raise duckdb.IOException(f"IO Error: Unable to connect at {repeated}: password authentication failed")

    with pytest.raises(StoreError) as caught:
        attach(Refusing(), "shop", address)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"The database shop cannot be attached: Unable to connect at {shown}: password authentication failed. Check "
        "its address, and that DuckDB has the extension for it."
    )


def test_a_mistyped_path_makes_no_database(small: Analysis, tmp_path: Path) -> None:
    result = run(small, {"warehouse": Warehouse(directory=str(tmp_path), database_file="shpo.duckdb")})
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert f"The database {tmp_path / 'shpo.duckdb'} does not exist. Check its path, or materialize what makes" in str(
        failure.step_failure_data.error
    )
    assert not (tmp_path / "shpo.duckdb").exists()


def test_the_database_itself_is_not_attached(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError) as caught,
        Warehouse(directory=str(tmp_path), database_file="shop.duckdb", attach={"Shop": "other.duckdb"}).connection(),
    ):
        pass
    assert str(caught.value) == "The name Shop is that of the database itself. Attach the other one by another name."


def test_each_partition_has_its_own_numbers(pupils: Pupils, tmp_path: Path) -> None:
    rows = pupils(50).with_columns(wave=pl.when(pl.col("school") < 20).then(pl.lit("a")).otherwise(pl.lit("b")))
    table(tmp_path / "warehouse.duckdb", rows)
    analysis = parse_analysis(
        "{analysis: small, data: main.pupils, levels: school, models: {slope: y ~ within(x) + (1 | school)}}"
    )
    assets = build_analysis_assets(
        analysis, partitions_def=dg.StaticPartitionsDefinition(["a", "b"]), fit_by="wave", upstream="pupils"
    )
    here = dg.Definitions(resources={"warehouse": Warehouse(directory=str(tmp_path))}, executor=dg.in_process_executor)
    job = dg.Definitions.merge(here, assets).resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": "a", "dagster/asset_partition_range_end": "b"}
    result = job.execute_in_process(run_config=QUIET, tags=tags)
    numbers = {
        event.partition: event.step_materialization_data.materialization.metadata
        for event in result.get_asset_materialization_events()
    }
    assert {key: (each["n_obs"].value, each["n_groups"].value) for key, each in numbers.items()} == {
        "a": (300, 20),
        "b": (450, 30),
    }
    for key, metadata in numbers.items():
        alone = fit("y ~ within(x) + (1 | school)", rows.filter(wave=key))
        for name, expected in (
            ("slope_log_likelihood", alone.fit_statistics["log_likelihood"][0]),
            ("slope_within(x)", alone.fixed_effects["estimate"][1]),
        ):
            assert metadata[name].value == pytest.approx(expected, rel=1e-9)


def test_every_check_has_a_number(pupils: Pupils, tmp_path: Path) -> None:
    table(tmp_path / "warehouse.duckdb", pupils(25))
    analysis = parse_analysis(
        "{analysis: small, data: main.pupils, levels: school, diagnostics: slope, steps: both, "
        "models: {slope: y ~ within(x) + (within(x) | school)}, sem: {latent: 'contextual: y ~ x'}}"
    )
    result = run(analysis, {"warehouse": Warehouse(directory=str(tmp_path))})
    assert result.success
    checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks} == {
        *("rows_accounted_for", "enough_groups", "agrees_with_moments", "steps_agree", "converged", "not_singular"),
        *("no_influential_unit", "assumptions", "no_drift"),
    }
    for check in checks:
        values = [value.value for value in check.metadata.values()]
        assert any(isinstance(value, int | float) for value in values), check.check_name
