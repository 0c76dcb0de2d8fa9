"""One fit a partition: a wave, a region or a day is fitted alone, and published as an analysis of its own."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import time

import dagster as dg

from mlm_ops.errors import AnalysisError, DataError
from mlm_ops.language.analysis import Analysis
from mlm_ops.plugins.dagster.fit_partitions import Done, Window, fit_partitions
from mlm_ops.plugins.dagster.lineage import fits_lineage
from mlm_ops.plugins.dagster.metadata import numbers, result_schema
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.plugins.dagster.results import ANALYSIS, LINEAGE, SCHEMA, Result
from mlm_ops.plugins.dagster.warehouse import Warehouse
from mlm_ops.store import publish

#: So many partitions are named where some failed.
NAMED = 5


def require_column(analysis: Analysis, partitions_def: dg.PartitionsDefinition[str] | None, fit_by: str | None) -> None:
    """Refuse partitions without the column that they are the values of.

    Raises
    ------
    AnalysisError
        Which of the two is missing.
    """
    if isinstance(partitions_def, dg.MultiPartitionsDefinition):
        raise AnalysisError("The partitions have several dimensions; expected one. Make one column of them.")
    if fit_by is not None and partitions_def is None:
        raise AnalysisError(f"fit_by needs partitions. Got the column {fit_by!r} alone; give partitions_def too.")
    if fit_by is not None and analysis.partition is not None:
        raise AnalysisError(
            f"The analysis {analysis.analysis} has a partition, whose moments are added up, and fit_by, which fits "
            "every partition alone. Leave out one of them."
        )
    if partitions_def is not None and fit_by is None and analysis.partition is None:
        raise AnalysisError(
            f"The partitions of {analysis.analysis} have no column. Write partition: with its name in the analysis to "
            "add up their moments, or give fit_by to fit each alone."
        )


def run_start(context: dg.AssetExecutionContext) -> float:
    """When the run began, in seconds since 1970; now, where Dagster keeps no record of it."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.start_time if record is not None and record.start_time is not None else time.time()


def partition_fits(plan: Plan, partitions_def: dg.PartitionsDefinition[str], column: str) -> dg.AssetsDefinition:
    """Make the one asset that fits and publishes every partition; a backfill of many is one run."""
    key = plan.key("results")

    @dg.asset(
        key=key,
        deps=[plan.upstream],
        group_name=plan.group,
        kinds={"python", "duckdb"},
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=plan.code_version("fits", column, plan.analysis.model_dump_json(exclude_defaults=True)),
        description=f"Every model fitted to the rows of each {column} alone, and published as the analysis "
        f"`{plan.analysis.analysis}[<{column}>]`.",
        metadata={
            ANALYSIS: plan.analysis.analysis,
            SCHEMA: result_schema("fixed_effects"),
            LINEAGE: fits_lineage(plan.analysis, column, plan.upstream),
        },
        check_specs=[
            dg.AssetCheckSpec(
                "converged",
                asset=key,
                blocking=plan.blocks("converged"),
                description="The optimum was reached in every partition; where it was not, nothing is published.",
            ),
            dg.AssetCheckSpec(
                "not_singular",
                asset=key,
                blocking=plan.blocks("not_singular"),
                description="No covariance matrix of random effects lost a dimension in any partition.",
            ),
        ],
    )
    def results(context: dg.AssetExecutionContext, warehouse: Warehouse) -> Result:
        windows = {name: _window(partitions_def, name) for name in context.partition_keys}
        blocking = tuple(name for name in ("converged", "not_singular") if plan.blocks(name))
        with warehouse.connection() as connection:
            done = fit_partitions(
                connection, plan.analysis, column, windows, context.run.run_id, run_start(context), blocking
            )
            if done.written:
                publish(connection, warehouse.results)
        if done.failed:
            # the step fails, and Dagster would take none of its partitions for made
            for name in done.written:
                context.log_event(dg.AssetMaterialization(key, partition=name))
            raise DataError(_failure(plan.analysis, done))
        return Result(
            metadata={
                "published": dg.MetadataValue.path(warehouse.results),
                "summary": dg.MetadataValue.text(f"{len(done.written):,} of {len(windows):,} partitions published"),
                **numbers({"partitions": len(windows), "published_partitions": len(done.written)}),
            },
            check_results=plan.judged(
                [
                    _over_all("converged", done.unconverged, len(windows), dg.AssetCheckSeverity.ERROR),
                    _over_all("not_singular", done.singular, len(windows), dg.AssetCheckSeverity.WARN),
                ]
            ),
        )

    return results


def _window(partitions_def: dg.PartitionsDefinition[str], key: str) -> Window | None:
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        return None
    window = partitions_def.time_window_for_partition_key(key)
    return window.start, window.end


def _over_all(name: str, wrong: list[str], total: int, severity: dg.AssetCheckSeverity) -> dg.AssetCheckResult:
    """One verdict over all partitions of the run."""
    found = f": {_some(wrong)}" if wrong else ""
    return dg.AssetCheckResult(
        check_name=name,
        passed=not wrong,
        severity=severity,
        description=f"{total - len(wrong):,} of {total:,} partitions are {name.replace('_', ' ')}; "
        f"{len(wrong):,} are not{found}.",
        metadata={"partitions": total, "failed": len(wrong)},
    )


def _failure(analysis: Analysis, done: Done) -> str:
    named = "\n".join(list(done.failed.values())[:NAMED])
    return (
        f"{len(done.failed):,} partitions of {analysis.analysis} could not be fitted: {_some(list(done.failed))}. "
        f"The other {len(done.written):,} are published.\n{named}"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
