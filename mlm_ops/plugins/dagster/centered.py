"""Build the assets and checks of the centered table: made by SQL, by Polars, or by both and compared."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
from collections.abc import Callable

import dagster as dg

from mlm_ops.analyses.run import centered_table, polars_table
from mlm_ops.plugins.dagster import asset_work, checks
from mlm_ops.plugins.dagster.metadata import TABLE, Result
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.plugins.dagster.warehouse import step_warehouse
from mlm_ops.warehouse.connection import Connection

_COLUMNS = (
    "Every row with its columns' group means (`between_`), deviations from them (`within_`) and from the grand mean "
    "(`center_`): for people and dashboards. The models take the moments."
)


def centered_assets(plan: Plan) -> tuple[list[dg.AssetsDefinition], list[dg.AssetChecksDefinition]]:
    """Make the assets of the centered tables that the analysis' `steps` ask for, and their checks."""
    tables = {plan.centered: centered_table(plan.analysis)}
    if plan.analysis.steps == "both":
        tables[plan.centered_in_polars] = polars_table(plan.analysis)
    verdicts = [_agrees_with_moments(plan, key, table) for key, table in tables.items()]
    if plan.analysis.steps == "both":
        verdicts.append(_steps_agree(plan))
    return [_asset(plan, key, table) for key, table in tables.items()], verdicts


def _asset(plan: Plan, key: dg.AssetKey, table: str) -> dg.AssetsDefinition:
    analysis, by_polars = plan.analysis, asset_work.in_polars(plan.analysis, table)
    models = (*analysis.models.values(), *analysis.sem.values())
    in_polars = " Polars computes them, streaming, with the expressions of `mlm_ops.plugins.polars`."

    @dg.asset(
        key=key,
        deps=[plan.upstream],
        group_name=plan.group,
        kinds={"duckdb", "polars" if by_polars else "sql"},
        **plan.step(),
        code_version=plan.code_version("centered", by_polars, analysis.levels, *models),
        description=f"{_COLUMNS}{in_polars * by_polars}",
        metadata={TABLE: table},
    )
    def centered(context: dg.AssetExecutionContext) -> Result:
        with step_warehouse(context, plan) as warehouse, warehouse.connection() as connection:
            return Result(metadata=asset_work.make_centered(connection, analysis, table, plan.upstream))

    return centered


def _agrees_with_moments(plan: Plan, key: dg.AssetKey, table: str) -> dg.AssetChecksDefinition:
    def verdict(connection: Connection) -> dg.AssetCheckResult:
        return asset_work.centered_agreement(connection, plan.analysis, table)

    description = "The group means in this table and in the moments are the same numbers."
    return _check(plan, key, "agrees_with_moments", plan.moments, description, verdict)


def _steps_agree(plan: Plan) -> dg.AssetChecksDefinition:
    def verdict(connection: Connection) -> dg.AssetCheckResult:
        return checks.steps_agree(*asset_work.steps_difference(connection, plan.analysis))

    description = "Every cell that Polars computed is the number that SQL computed."
    return _check(plan, plan.centered_in_polars, "steps_agree", plan.centered, description, verdict)


def _check(
    plan: Plan,
    key: dg.AssetKey,
    name: str,
    other: dg.AssetKey,
    description: str,
    verdict: Callable[[Connection], dg.AssetCheckResult],
) -> dg.AssetChecksDefinition:
    """Make a check of an asset that reads another one too."""

    @dg.asset_check(
        asset=key,
        name=name,
        additional_deps=[other],
        **plan.step(),
        blocking=plan.blocks(name),
        description=description,
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with step_warehouse(context, plan) as warehouse, warehouse.connection() as connection:
            (result,) = plan.with_severities([verdict(connection)])
        return result

    return check
