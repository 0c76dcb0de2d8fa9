"""The assets of the centered table: by SQL, by Polars, or by both and compared on every run."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.run import centered_table, polars_table
from mlm_ops.plugins.dagster import Warehouse, asset_work, build_analysis_assets
from mlm_ops.plugins.dagster.checks import steps_agree
from mlm_ops.plugins.dagster.progress import Progress

Materialize = Callable[..., dg.ExecuteInProcessResult]
Pupils = Callable[..., pl.DataFrame]


def with_steps(small: Analysis, chosen: str) -> Analysis:
    return small.model_copy(update={"steps": chosen})


def verdicts(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(e.asset_key.to_user_string(), e.check_name): e for e in result.get_asset_check_evaluations()}


def shown(result: dg.ExecuteInProcessResult, key: str) -> dict[str, object]:
    (event,) = result.asset_materializations_for_node(key.replace("/", "__"))
    return {name: value.value for name, value in event.metadata.items()}


@pytest.mark.parametrize(
    ("chosen", "kinds"),
    [
        ("sql", {"small/centered": {"duckdb", "sql"}}),
        ("polars", {"small/centered": {"duckdb", "polars"}}),
        ("both", {"small/centered": {"duckdb", "sql"}, "small/centered_in_polars": {"duckdb", "polars"}}),
    ],
)
def test_the_graph_shows_what_centers(small: Analysis, chosen: str, kinds: dict[str, set[str]]) -> None:
    resources = dg.Definitions(resources={"warehouse": Warehouse()})
    made = dg.Definitions.merge(resources, build_analysis_assets(with_steps(small, chosen)))
    specs = {spec.key.to_user_string(): spec for spec in made.resolve_all_asset_specs()}
    assert {key: set(spec.kinds) for key, spec in specs.items() if "centered" in key} == kinds


def test_both_are_compared_with_each_other_and_with_the_moments(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    analysis = with_steps(small, "both")
    result = materialize(pupils(groups=25), of=analysis)
    assert result.success
    evaluations = verdicts(result)
    assert {key for key, _ in evaluations if "centered" in key} == {"small/centered", "small/centered_in_polars"}
    for key in ("small/centered", "small/centered_in_polars"):
        assert evaluations[key, "agrees_with_moments"].passed
    verdict = evaluations["small/centered_in_polars", "steps_agree"]
    difference, column = (verdict.metadata[name].value for name in ("largest_difference", "column"))
    assert verdict.passed
    assert difference < 1e-12
    assert verdict.description == (
        f"Polars and SQL have made the same centered rows: their largest difference is {difference:.1e} standard "
        f"deviations, in column {column} (allowed 1e-12)."
    )
    lines: list[str] = []
    progress = Progress(lines.append, None, {"small/results": "small"})
    for event in result.all_events:
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            progress._checked(event)
    # of the checks that pass the one that was asked for has a line in the run's output
    assert lines == [f"  {verdict.description}"]
    assert shown(result, "small/centered")["steps"] == "sql"
    polars = shown(result, "small/centered_in_polars")
    assert (polars["steps"], polars["dagster/row_count"]) == ("polars", 375)
    lineage = polars["dagster/column_lineage"].deps_by_column
    assert list(lineage) == ["between_x", "within_x", "center_x", "between_y", "within_y", "center_y"]
    assert {dep.column_name for dep in lineage["within_y"]} == {"y", "school"}
    # the next run by SQL alone leaves no table that no longer follows the rows
    with warehouse.connection() as connection:
        asset_work.make_centered(connection, small, centered_table(small))
        tables = {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()}
    assert "small_centered" in tables
    assert "small_centered_in_polars" not in tables


def test_polars_alone_makes_the_same_table(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    result = materialize(pupils(groups=25), of=with_steps(small, "polars"))
    assert result.success
    assert verdicts(result)["small/centered", "agrees_with_moments"].passed
    assert shown(result, "small/centered")["steps"] == "polars"
    with warehouse.connection() as connection:
        columns = [row[0] for row in connection.execute("describe main.small_centered").fetchall()]
    assert columns == ["school", "x", "y", *("between_x", "within_x", "center_x", "between_y", "within_y", "center_y")]


def test_rows_that_polars_cannot_read_are_centered_by_sql_and_it_says_so(
    pupils: Pupils, small: Analysis, materialize: Materialize
) -> None:
    data = "select school::hugeint as school, x, y from main.pupils"
    analysis = with_steps(small, "both").model_copy(update={"data": data})
    result = materialize(pupils(groups=25), of=analysis, upstream="pupils")
    assert result.success
    sentence = (
        "SQL centered the rows instead of Polars, which cannot read column 'school' of type HUGEINT without loss."
    )
    polars = shown(result, "small/centered_in_polars")
    assert (polars["steps"], polars["not_in_polars"]) == ("sql", sentence)
    verdict = verdicts(result)["small/centered_in_polars", "steps_agree"]
    assert verdict.passed
    assert str(verdict.description).endswith(sentence)


def test_a_partition_that_one_step_lacks_is_told(
    pupils: Pupils, small: Analysis, materialize: Materialize, warehouse: Warehouse
) -> None:
    analysis = with_steps(small, "both").model_copy(update={"partition": "school"})
    assert materialize(pupils(groups=25), of=analysis).success
    with warehouse.connection() as connection:
        connection.execute("insert into main.pupils select school + 100, x, y from main.pupils where school < 4")
        asset_work.make_centered(connection, analysis, polars_table(analysis), None)
        verdict = steps_agree(*asset_work.steps_difference(connection, analysis))
    assert not verdict.passed
    assert verdict.description == (
        "The table that SQL made and that of Polars hold different rows of school 100, 101, 102 and 1 more: 0 and 60. "
        "Materialize both again."
    )
