"""An analysis -> assets: table -> moments -> one asset a model -> comparisons -> published results.

Every asset is thin: open the warehouse, call the function that does the work, say what came out. Nothing goes from
asset to asset in Python's memory; each reads what the ones before it left in the warehouse.
"""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from mlm_ops.analyze import moments_table
from mlm_ops.language.analysis import Analysis
from mlm_ops.plugins.dagster import steps
from mlm_ops.plugins.dagster.checks import centered_agrees
from mlm_ops.plugins.dagster.metadata import result_schema
from mlm_ops.plugins.dagster.plan import Plan, make_plan
from mlm_ops.plugins.dagster.warehouse import Warehouse

if TYPE_CHECKING:
    Result = dg.MaterializeResult[None]
else:
    # Dagster takes a result with checks beside it only by the bare name
    Result = dg.MaterializeResult

SCHEMA = "dagster/column_schema"
TABLE = "dagster/table_name"
#: On the asset that publishes an analysis: the analysis' name.
ANALYSIS = "mlm/analysis"


def build_analysis_assets(
    analysis: Analysis, *, upstream: dg.AssetKey | Sequence[str] | str | None = None, group_name: str | None = None
) -> dg.Definitions:
    """Make the assets and checks of an analysis; the code location supplies a resource ``warehouse``.

    Parameters
    ----------
    analysis
        What to fit: `mlm_ops.language.analysis.read_analysis` reads it from a file.
    upstream
        Key of the asset that makes the analysis' table: a dbt model, a load, any other. By default the last part of
        the table's name.
    group_name
        Group of the assets in the UI; by default the analysis' name.

    Returns
    -------
    dg.Definitions
        Keys are ``<analysis>/moments``, ``<analysis>/models/<model>``, ``<analysis>/comparisons``,
        ``<analysis>/ladder``, ``<analysis>/sem/<model>``, ``<analysis>/results`` and
        ``<analysis>/centered``. Merge them with `dg.Definitions.merge`.

    Raises
    ------
    AnalysisError
        A name that Dagster cannot take, or data that the analysis itself would overwrite.
    """
    plan = make_plan(analysis, upstream, group_name)
    assets = [_centered(plan), _moments(plan), *(_model(plan, name) for name in analysis.models)]
    if analysis.compare:
        assets.append(_comparisons(plan))
    if analysis.ladder is not None:
        assets.append(_ladder(plan))
    assets += [_sem(plan, name) for name in analysis.sem]
    assets.append(_results(plan))
    return dg.Definitions(assets=assets, asset_checks=[_agreement(plan)])


def _centered(plan: Plan) -> dg.AssetsDefinition:
    table = steps.centered_table(plan.analysis)

    @dg.asset(
        key=plan.centered,
        deps=[plan.upstream],
        group_name=plan.group,
        kinds={"duckdb", "sql"},
        code_version=plan.code_version("centered", *plan.analysis.models.values()),
        description="Every row with its columns' group means (`between_`), deviations from them (`within_`) and from "
        "the grand mean (`center_`): for people and dashboards. The models take the moments.",
        metadata={TABLE: table},
    )
    def centered(warehouse: Warehouse) -> Result:
        with warehouse.connection() as connection:
            return Result(metadata=steps.make_centered(connection, plan.analysis, table))

    return centered


def _agreement(plan: Plan) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=plan.centered,
        name="agrees_with_moments",
        additional_deps=[plan.moments],
        description="The group means in this table and in the moments are the same numbers.",
    )
    def agrees_with_moments(warehouse: Warehouse) -> dg.AssetCheckResult:
        with warehouse.connection() as connection:
            return centered_agrees(steps.centered_difference(connection, plan.analysis))

    return agrees_with_moments


def _moments(plan: Plan) -> dg.AssetsDefinition:
    @dg.asset(
        key=plan.moments,
        deps=[plan.upstream],
        group_name=plan.group,
        kinds={"duckdb", "sql"},
        code_version=plan.code_version("moments", plan.analysis.keys, *plan.analysis.models.values()),
        description="Size, means and cross-products of every group, by one pass over the rows. "
        "All the models are fitted from these; no row is read again.",
        metadata={TABLE: moments_table(plan.analysis)},
        check_specs=[
            dg.AssetCheckSpec(
                "rows_accounted_for",
                asset=plan.moments,
                blocking=True,
                description="The rows in the moments and those dropped for a missing value make up the table.",
            ),
            dg.AssetCheckSpec(
                "enough_groups",
                asset=plan.moments,
                description="Variances between groups need groups: a warning under 20.",
            ),
        ],
    )
    def moments(warehouse: Warehouse) -> Result:
        with warehouse.connection() as connection:
            metadata, checks = steps.make_moments(connection, plan.analysis)
        return Result(metadata=metadata, check_results=checks)

    return moments


def _model(plan: Plan, name: str) -> dg.AssetsDefinition:
    key = plan.model(name)
    spec = plan.analysis.models[name]

    @dg.asset(
        key=key,
        deps=[plan.moments],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        # a run goes through the models in the order of the file
        op_tags={"dagster/priority": str(-list(plan.analysis.models).index(name))},
        code_version=plan.code_version(name, spec, plan.analysis.options(name), plan.analysis.robust_options(name)),
        description=f"`{spec.formula}`\n\nFitted from the moments; its rows wait in the warehouse until they are "
        "published with those of the other models.",
        metadata={SCHEMA: result_schema("fixed_effects")},
        check_specs=[
            dg.AssetCheckSpec(
                "converged",
                asset=key,
                blocking=True,
                description="The optimum was reached; otherwise nothing is published.",
            ),
            dg.AssetCheckSpec(
                "not_singular", asset=key, description="No covariance matrix of random effects lost a dimension."
            ),
            *(_diagnostic_checks(key) if name in plan.analysis.diagnostics else ()),
        ],
    )
    def model(warehouse: Warehouse) -> Result:
        with warehouse.connection() as connection:
            metadata, checks = steps.make_model(connection, plan.analysis, name)
        return Result(metadata=metadata, check_results=checks)

    return model


def _diagnostic_checks(key: dg.AssetKey) -> tuple[dg.AssetCheckSpec, ...]:
    told = {
        "no_influential_unit": "No unit's deletion moves a coefficient by more than its standard error.",
        "assumptions": "Random effects look normal, without outliers, and residual variances alike.",
    }
    return tuple(dg.AssetCheckSpec(name, asset=key, description=text) for name, text in told.items())


def _comparisons(plan: Plan) -> dg.AssetsDefinition:
    @dg.asset(
        key=plan.key("comparisons"),
        deps=[plan.moments, *(plan.model(name) for name in plan.compared)],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        code_version=plan.code_version("comparisons", plan.analysis.compare, *plan.analysis.models.values()),
        description="Likelihood ratios and information criteria of nested models. Models whose fixed parts differ are "
        "compared by full maximum likelihood, from the same moments.",
        metadata={SCHEMA: result_schema("comparisons")},
    )
    def comparisons(warehouse: Warehouse) -> Result:
        with warehouse.connection() as connection:
            return Result(metadata=steps.make_comparisons(connection, plan.analysis))

    return comparisons


def _ladder(plan: Plan) -> dg.AssetsDefinition:
    strategy = plan.analysis.ladder

    @dg.asset(
        key=plan.key("ladder"),
        deps=[plan.moments],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        code_version=plan.code_version("ladder", strategy, *plan.analysis.models.values()),
        description="A model built step by step by the analysis' rule: what was tried, what was kept or dropped, and "
        "why. All candidates are fitted from the same moments.",
        metadata={SCHEMA: result_schema("ladder_steps")},
    )
    def ladder(warehouse: Warehouse) -> Result:
        with warehouse.connection() as connection:
            return Result(metadata=steps.make_ladder(connection, plan.analysis))

    return ladder


def _sem(plan: Plan, name: str) -> dg.AssetsDefinition:
    key, spec = plan.sem(name), plan.analysis.sem[name]

    @dg.asset(
        key=key,
        deps=[plan.moments],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        code_version=plan.code_version(name, spec, plan.analysis.levels),
        description=f"```\n{spec.model.strip()}\n```\n\nA two-level structural equation model, fitted from the moments "
        "of the mixed models; its rows wait in the warehouse until they are published.",
        metadata={SCHEMA: result_schema("sem_parameters")},
        check_specs=[
            dg.AssetCheckSpec(
                "converged",
                asset=key,
                blocking=True,
                description="The optimum was reached; otherwise nothing is published.",
            ),
            dg.AssetCheckSpec(
                "not_singular", asset=key, description="No variance of the model is zero, and no correlation one."
            ),
        ],
    )
    def sem(warehouse: Warehouse) -> Result:
        with warehouse.connection() as connection:
            metadata, checks = steps.make_sem(connection, plan.analysis, name)
        return Result(metadata=metadata, check_results=checks)

    return sem


def _results(plan: Plan) -> dg.AssetsDefinition:
    before: Sequence[dg.AssetKey] = plan.models
    if plan.analysis.compare:
        before = [plan.key("comparisons"), *before]
    if plan.analysis.ladder is not None:
        before = [plan.key("ladder"), *before]
    before = [*before, *(plan.sem(name) for name in plan.analysis.sem)]

    @dg.asset(
        key=plan.key("results"),
        deps=before,
        group_name=plan.group,
        kinds={"duckdb"},
        description="The run's tidy tables, written to schema `mlm` in one transaction, and the copy in results.duckdb "
        "that anyone may query: `SELECT model, term, estimate, std_error FROM mlm.latest_fixed_effects`.",
        metadata={ANALYSIS: plan.analysis.analysis},
        check_specs=[
            dg.AssetCheckSpec(
                "no_drift",
                asset=plan.key("results"),
                description="No parameter differs from the last run's or the baseline's by more than chance.",
            )
        ],
    )
    def results(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Result:
        record = context.instance.get_run_record_by_id(context.run.run_id)
        started = record.start_time if record is not None and record.start_time is not None else time.time()
        with warehouse.connection() as connection:
            metadata, checks = steps.make_results(
                connection, plan.analysis, context.run.run_id, started, warehouse.results
            )
        return Result(metadata=metadata, check_results=checks)

    return results
