"""An asset that brings a table of moments over from another warehouse, and the analysis after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.errors import AnalysisError, DataError, MlmError, StoreError
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets, build_moments_table
from mlm_ops.plugins.dagster.moments_table import bring_moments
from mlm_ops.warehouse.sql import render

ANALYSIS = """
analysis: pupils
data: main.brought
form: moments
levels: school
models:
  slope: y ~ within(x) + (1 | school)
"""


def moments_of(rows: pl.DataFrame) -> pl.DataFrame:
    with duckdb.connect() as elsewhere:
        elsewhere.register("pupils", rows.to_arrow())
        return elsewhere.sql(render("group_moments", relation="pupils", columns=["y", "x"], group="school")).pl()


def materialise(folder: Path, *assets: Any) -> dg.ExecuteInProcessResult:
    resources = {"warehouse": Warehouse(directory=str(folder))}
    return dg.materialize(assets, resources=resources, raise_on_error=False)


def test_the_analysis_comes_after_it(tmp_path: Path, pupils: Callable[[int], pl.DataFrame]) -> None:
    rows = pupils(30)
    # as Snowflake stores names, and as a file, which is what comes out of most warehouses
    moments_of(rows).rename(str.upper).write_parquet(tmp_path / "brought.parquet")
    asset = build_moments_table(
        "brought", lambda: tmp_path / "brought.parquet", "school", upstream=["snowflake", "school_moments"]
    )
    analysis = build_analysis_assets(parse_analysis(ANALYSIS))
    defs = dg.Definitions.merge(
        analysis, dg.Definitions(assets=[asset], resources={"warehouse": Warehouse(directory=str(tmp_path))})
    )
    graph = defs.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["brought"])).parent_keys == {dg.AssetKey(["snowflake", "school_moments"])}
    assert graph.get(dg.AssetKey(["pupils", "moments"])).parent_keys == {dg.AssetKey(["brought"])}
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process()
    (event,) = (e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(["brought"]))
    metadata = event.materialization.metadata
    assert metadata["summary"].value == f"{len(rows):,} rows in 30 groups"
    assert metadata["dagster/row_count"].value == 30
    with duckdb.connect(tmp_path / "results.duckdb", read_only=True) as connection:
        stored = connection.sql("select term, estimate from mlm.latest_fixed_effects order by all").pl()
    expected = mlm.fit("y ~ within(x) + (1 | school)", rows).fixed_effects.sort("term")
    assert stored["term"].to_list() == expected["term"].to_list()
    # the same sums in another order, and an optimum found to 1e-8
    assert stored["estimate"].to_list() == pytest.approx(expected["estimate"].to_list(), rel=1e-8)


def test_it_is_written_by_a_function_of_the_rows(tmp_path: Path, pupils: Callable[[int], pl.DataFrame]) -> None:
    rows, warehouse = pupils(30), Warehouse(directory=str(tmp_path))
    result = bring_moments(warehouse, "brought", moments_of(rows), "school")
    assert result.metadata is not None
    assert result.metadata["summary"] == dg.MetadataValue.text(f"{len(rows):,} rows in 30 groups")
    with warehouse.connection() as connection:
        written = mlm.read_moments("brought", "school", connection=connection)
    assert result.data_version == dg.DataVersion(written.checksum)
    assert written.n_obs == len(rows)


def test_the_warehouse_may_have_another_key(tmp_path: Path, pupils: Callable[[int], pl.DataFrame]) -> None:
    table = moments_of(pupils(3))
    asset = build_moments_table("brought", lambda: table, "school", resource="survey")
    assert dg.materialize([asset], resources={"survey": Warehouse(directory=str(tmp_path))}).success
    with duckdb.connect(tmp_path / "warehouse.duckdb", read_only=True) as connection:
        assert connection.execute("select count(*) from brought").fetchall() == [(3,)]


def test_the_version_is_that_of_the_moments(tmp_path: Path, pupils: Callable[[int], pl.DataFrame]) -> None:
    """So that an analysis after moments that are as they were is not out of date."""
    tables = [moments_of(pupils(30)), moments_of(pupils(30)).reverse(), moments_of(pupils(31))]
    versions = []
    for table in tables:
        result = materialise(tmp_path, build_moments_table("brought", lambda table=table: table, "school"))
        (event,) = result.get_asset_materialization_events()
        versions.append(event.materialization.tags["dagster/data_version"])
    assert versions[0] == versions[1] != versions[2]
    with duckdb.connect(tmp_path / "warehouse.duckdb", read_only=True) as connection:
        assert connection.execute("select count(*) from brought").fetchall() == [(31,)]


def fault_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (event for event in result.all_node_events if event.is_step_failure)
    error = event.step_failure_data.error
    while error.cause is not None:
        error = error.cause
    return str(error.message)


def test_what_is_no_moments_is_not_written(tmp_path: Path, pupils: Callable[[int], pl.DataFrame]) -> None:
    rows = pupils(3)
    result = materialise(tmp_path, build_moments_table("brought", lambda: rows, "school"))
    assert "There are no moments in the data." in fault_of(result)
    assert not (tmp_path / "warehouse.duckdb").exists()


def test_a_table_of_someone_else_stays(tmp_path: Path, pupils: Callable[[int], pl.DataFrame]) -> None:
    with duckdb.connect(tmp_path / "warehouse.duckdb") as connection:
        connection.execute("create table brought as select 1 as mine")
    table = moments_of(pupils(3))
    result = materialise(tmp_path, build_moments_table("brought", lambda: table, "school"))
    assert fault_of(result).strip() == (
        f"{StoreError.__module__}.{StoreError.__name__}: main.brought is a table that mlm-ops did not make, and the "
        "moments brought over from another warehouse would take its place. Give build_moments_table another name of a "
        "table, or rename that one."
    )
    with duckdb.connect(tmp_path / "warehouse.duckdb", read_only=True) as connection:
        assert connection.execute("select mine from brought").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("main.", print, "g"), DataError, "'main.' is not a table name; put unusual names in double quotes."),
        (
            ('"a b"', print, "g"),
            AnalysisError,
            "The table names no asset that Dagster knows. Got '\"a b\"'; expected a name in letters, digits and "
            "underscores, perhaps with a schema before it.",
        ),
        (
            ("t", "select 1", "g"),
            MlmError,
            "read is not understood. Got 'select 1'; expected a function that is called without arguments and returns "
            "a table.",
        ),
    ],
)
def test_what_it_does_not_take(arguments: tuple[Any, ...], error: type[MlmError], sentence: str) -> None:
    with pytest.raises(error) as refusal:
        build_moments_table(*arguments)
    assert str(refusal.value) == sentence
