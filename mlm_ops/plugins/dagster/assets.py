"""Build the assets of an analysis: centered table, moments, models and comparisons, published results.

Every asset is thin: open the warehouse, call the function that does the work, say what came out. Nothing goes from
asset to asset in Python's memory; each reads what the ones before it left in the warehouse.
"""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
from collections.abc import Mapping, Sequence
from pathlib import Path

import dagster as dg
from dagster_shared.check import CheckError

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.run import moments_table
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.errors import AnalysisError
from mlm_ops.language.option_values import Option, an_instance, flag, take_names, text, texts_by_name, whole_number
from mlm_ops.language.options import Severity
from mlm_ops.plugins.dagster import asset_work
from mlm_ops.plugins.dagster.centered import centered_assets
from mlm_ops.plugins.dagster.fit_assets import fit_assets
from mlm_ops.plugins.dagster.metadata import (
    ANALYSIS,
    LINEAGE,
    SCHEMA,
    TABLE,
    Result,
    published_lineage,
    result_schema,
)
from mlm_ops.plugins.dagster.partition_fits import partition_fits
from mlm_ops.plugins.dagster.pictures import report_asset
from mlm_ops.plugins.dagster.plan import Plan, StepSettings, asset_key, key_parts, make_plan, require_column
from mlm_ops.plugins.dagster.run import forget_old_logs, run_start
from mlm_ops.plugins.dagster.warehouse import step_warehouse
from mlm_ops.results.cautions import FEW_GROUPS
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.faults import first_line

_OPTIONS = {
    "analysis": an_instance("analysis", "Analysis", "an analysis, as read_analysis and parse_analysis make it"),
    "upstream": Option("upstream", "the key of an asset: text, parts of text, or an AssetKey", asset_key).or_none(),
    "group_name": text("group_name", "the name of a group").or_none(),
    "partitions_def": an_instance("partitions_def", "PartitionsDefinition", "Dagster's partitions").or_none(),
    "fit_by": text("fit_by", "a column").or_none(),
    "severities": texts_by_name("severities", "error or warn by the name of a check").or_none(),
    "automation_condition": an_instance(
        "automation_condition", "AutomationCondition", "Dagster's automation condition"
    ).or_none(),
    "freshness_policy": an_instance("freshness_policy", "FreshnessPolicy", "Dagster's freshness policy").or_none(),
    "owners": Option("owners", "a list of e-mail addresses and teams", take_names).or_none(),
    "tags": texts_by_name("tags", "texts by name").or_none(),
    "report": flag("report"),
    "separate_steps": flag("separate_steps"),
    "centered": flag("centered"),
    "priority": whole_number("priority", -1_000, 1_000),
    "pool": text("pool", "the name of a pool").or_none(),
    "retries": whole_number("retries", 0, 100),
    "key_prefix": Option("key_prefix", "the parts of a key", take_names),
    "resource": text("resource", "the key of a resource"),
}


@checked(**_OPTIONS)
def build_analysis_assets(
    analysis: Analysis,
    *,
    upstream: dg.AssetKey | Sequence[str] | str | None = None,
    group_name: str | None = None,
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    fit_by: str | None = None,
    severities: Mapping[str, Severity] | None = None,
    automation_condition: dg.AutomationCondition[dg.AssetKey] | None = None,
    freshness_policy: dg.FreshnessPolicy | None = None,
    owners: Sequence[str] | None = None,
    tags: Mapping[str, str] | None = None,
    report: bool = False,
    separate_steps: bool = False,
    centered: bool = True,
    priority: int = 0,
    pool: str | None = None,
    retries: int = 0,
    key_prefix: Sequence[str] | str = (),
    resource: str = "warehouse",
) -> dg.Definitions:
    """Make the assets and checks of an analysis; the code location supplies the warehouse as a resource.

    Parameters
    ----------
    analysis
        What to fit: `mlm_ops.analyses.file.analysis.read_analysis` reads it from a file.
    upstream
        Key of the asset that makes the analysis' table: a dbt model, a load, any other. By default the last part of
        the table's name.
    group_name
        Group of the assets in the UI; by default the analysis' name.
    partitions_def
        Without `fit_by`, of the moments: the analysis has a ``partition``, whose values are the partition keys, and
        its models are fitted to all partitions together. With `fit_by`, of the fits.
    fit_by
        A column whose values are the partition keys: every partition is fitted alone and published as an analysis
        named ``<analysis>[<key>]``. Where the column holds dates or times and `partitions_def` time windows, its
        values lie in the window.
    severities
        ``error`` or ``warn`` by name of a check: an error stops publication, a warning is shown.
    automation_condition, freshness_policy, owners, tags
        Of every asset, as Dagster takes them.
    report
        Whether there is an asset ``<analysis>/report``, which writes the published results as an HTML page.
    separate_steps
        Whether every model is a step of its own, which a run can give to another process and retry alone. By default
        all models of the analysis are one step, which loads the moments and writes rows once.
    centered
        Whether there is a table with the within/between split. No model is fitted from it.
    priority
        Of the analysis among others of a run, which goes through those of higher priority first.
    pool
        Pool of every step, whose limit in Dagster says how many of its steps run at a time: with a limit of 1, runs
        of several processes do not wait for each other's lock on the database.
    retries
        How often a step that failed is tried again, such as one that waited for the database in vain; not
        after an error that somebody has to correct, such as a column that does not exist.
    key_prefix
        Parts before the analysis' name in every key.
    resource
        Key of the resource that is the warehouse: a `Warehouse`, or a ``DuckDBResource`` of dagster-duckdb. Analyses
        of two databases name two.

    Returns
    -------
    dg.Definitions
        Keys are ``<analysis>/moments``, ``<analysis>/models/<model>``, ``<analysis>/comparisons``,
        ``<analysis>/ladder``, ``<analysis>/sem/<model>``, ``<analysis>/results``, ``<analysis>/report`` and
        ``<analysis>/centered``, with ``steps: both`` ``<analysis>/centered_in_polars`` too; with `fit_by` there are
        results and report alone, and of moments (``form: moments``) no centered table. Merge them with
        `dg.Definitions.merge`.

    Raises
    ------
    AnalysisError
        A name that Dagster cannot take, data that the analysis itself would overwrite, a severity of no check,
        partitions without their column, or of moments.
    """

    def with_attributes(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(
            automation_condition=automation_condition, freshness_policy=freshness_policy, owners=owners
        ).merge_attributes(tags=tags or {})

    try:
        settings = StepSettings(resource, priority, pool, retries, separate=separate_steps)
        prefix = key_parts(key_prefix)
        plan = make_plan(analysis, upstream, group_name, severities, settings, prefix)
        require_column(analysis, partitions_def, fit_by)
        checks: list[dg.AssetChecksDefinition] = []
        if partitions_def is not None and fit_by is not None:
            assets = [partition_fits(plan, partitions_def, fit_by)]
        else:
            assets = [_moments(plan, partitions_def), *fit_assets(plan), _results(plan)]
            # moments have no rows that could be centered
            if centered and analysis.form == "rows":
                tables, checks = centered_assets(plan)
                assets = [*tables, *assets]
        assets += [report_asset(plan)] if report else []
        return dg.Definitions(assets=[asset.map_asset_specs(with_attributes) for asset in assets], asset_checks=checks)
    except (dg.DagsterError, CheckError) as error:
        # such as a group with a blank in its name, or an owner that is no address
        raise AnalysisError(f"Dagster refuses the assets of {analysis.analysis}: {first_line(error)}") from error


def _moments(plan: Plan, partitions_def: dg.PartitionsDefinition[str] | None) -> dg.AssetsDefinition:
    @dg.asset(
        key=plan.moments,
        deps=[plan.upstream],
        group_name=plan.group,
        kinds={"duckdb", "sql"},
        **plan.step(),
        code_version=plan.code_version("moments", plan.analysis.keys, *plan.analysis.models.values()),
        description="Size, means and cross-products of every group, by one pass over the rows. "
        "All the models are fitted from these; no row is read again.",
        metadata={TABLE: moments_table(plan.analysis)},
        partitions_def=partitions_def,
        backfill_policy=None if partitions_def is None else dg.BackfillPolicy.single_run(),
        check_specs=plan.checks(plan.moments, _moments_checks(plan)),
    )
    def moments(context: dg.AssetExecutionContext) -> Result:
        with step_warehouse(context, plan) as warehouse, warehouse.connection() as connection:
            if partitions_def is None:
                _, metadata, checks = asset_work.make_moments(connection, plan.analysis, None, plan.upstream)
            else:
                metadata, checks, other_partitions = asset_work.make_partitions(
                    connection, plan, partitions_def, context.partition_keys, context.instance
                )
                for name in other_partitions:
                    context.log_event(dg.AssetMaterialization(plan.moments, partition=name))
        return Result(metadata=metadata, check_results=plan.with_severities(checks))

    return moments


def _moments_checks(plan: Plan) -> dict[str, str]:
    """Descriptions of the checks of the moments; moments from elsewhere cannot be compared with rows."""
    rows = {"rows_accounted_for": "The rows in the moments and those dropped for a missing value make up the table."}
    groups = {"enough_groups": f"Variances between groups need groups: a warning under {FEW_GROUPS}."}
    return rows | groups if plan.analysis.form == "rows" else groups


def _results(plan: Plan) -> dg.AssetsDefinition:
    upstream: Sequence[dg.AssetKey] = plan.models
    if plan.analysis.compare:
        upstream = [plan.key("comparisons"), *upstream]
    if plan.analysis.compiled_strategy is not None:
        upstream = [plan.key("ladder"), *upstream]
    upstream = [*upstream, *(plan.sem(name) for name in plan.analysis.sem)]

    @dg.asset(
        key=plan.key("results"),
        deps=upstream,
        group_name=plan.group,
        kinds={"duckdb"},
        **plan.step(),
        description="The run's tidy tables, written to schema `mlm` in one transaction, and the copy in results.duckdb "
        "that anyone may query: `SELECT model, term, estimate, std_error FROM mlm.latest_fixed_effects`.",
        metadata={
            ANALYSIS: plan.analysis.analysis,
            SCHEMA: result_schema("fixed_effects"),
            LINEAGE: published_lineage(plan.models),
            **{f"mlm.{name}": result_schema(name) for name in TABLES},
        },
        check_specs=plan.checks(
            plan.key("results"),
            {"no_drift": "No parameter differs from the last run's or the baseline's by more than chance."},
        ),
    )
    def results(context: dg.AssetExecutionContext) -> Result:
        started = run_start(context)
        with step_warehouse(context, plan) as warehouse, warehouse.connection() as connection:
            metadata, checks = asset_work.make_results(
                connection, plan.analysis, context.run.run_id, started, warehouse.results
            )
        forget_old_logs(context.instance, Path.cwd())
        return Result(metadata=metadata, check_results=plan.with_severities(checks))

    return results
