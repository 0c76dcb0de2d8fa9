"""One fit a partition: a wave, a region or a day is fitted alone, and published as an analysis of its own."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import time
from pathlib import Path

import dagster as dg

from mlm_ops.errors import AnalysisError, DataError, NoRowsError
from mlm_ops.language.analysis import Analysis
from mlm_ops.logs import about
from mlm_ops.moments.analysis_rows import open_rows
from mlm_ops.plugins.dagster.fit_partitions import Done, fit_partitions
from mlm_ops.plugins.dagster.lineage import fits_lineage
from mlm_ops.plugins.dagster.metadata import Metadata, numbers, result_schema
from mlm_ops.plugins.dagster.partition_keys import check_windows, windows_of
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.plugins.dagster.results import ANALYSIS, LINEAGE, SCHEMA, Result
from mlm_ops.plugins.dagster.runs import forget_old_logs
from mlm_ops.plugins.dagster.warehouse import Warehouse
from mlm_ops.store import check_published, check_store, publish

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
        dimensions = ", ".join(dimension.name for dimension in partitions_def.partitions_defs)
        raise AnalysisError(
            f"The partitions of {analysis.analysis} have several dimensions. Got {dimensions}; expected one. "
            "Make one column of them, and its values the partition keys."
        )
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
        windows = windows_of(partitions_def, context.partition_keys)
        blocking = tuple(name for name in ("converged", "not_singular") if plan.blocks(name))
        with about(analysis=plan.analysis.analysis), warehouse.connection() as connection:
            check_published(warehouse.results)
            check_windows(open_rows(plan.analysis, connection), column, windows)
            done = fit_partitions(
                connection, plan.analysis, column, windows, context.run.run_id, run_start(context), blocking
            )
            # an empty one withdraws what was published of it
            if done.written or ((done.empty or done.withheld) and check_store(connection)):
                publish(connection, warehouse.results)
        forget_old_logs(context.instance, Path.cwd())
        # a window of time may well be quiet; another key without rows may be mistyped
        if len(done.empty) == len(windows) and None in windows.values():
            raise NoRowsError(_nothing(plan.analysis, column, done.empty))
        if done.empty:
            context.log.warning(_empty(plan.analysis, done.empty))
        if done.withheld:
            context.log.warning(_withheld(plan.analysis, done.withheld))
        fitted = len(windows) - len(done.empty) - len(done.withheld)
        checks = plan.judged(
            [
                _over_all("converged", done.unconverged, fitted, dg.AssetCheckSeverity.ERROR),
                _over_all("not_singular", done.singular, fitted, dg.AssetCheckSeverity.WARN),
            ]
        )
        metadata = _metadata(done, len(windows), warehouse)
        if len(done.written) < fitted:
            # the step fails, and Dagster would take none of its partitions for made, or all of them
            for name in (*done.written, *done.empty, *done.withheld):
                context.log_event(dg.AssetMaterialization(key, partition=name, metadata=metadata))
            for found in checks:
                context.log_event(_evaluation(key, found, found.check_name in blocking))
            raise DataError(_failure(plan.analysis, done, list(windows)))
        return Result(metadata=metadata, check_results=checks)

    return results


def _metadata(done: Done, total: int, warehouse: Warehouse) -> Metadata:
    """What came out, of all partitions of the run."""
    summary = f"{len(done.written):,} of {total:,} partitions published"
    counts = {"partitions": total, "published_partitions": len(done.written), "empty_partitions": len(done.empty)}
    counts |= {"withheld_partitions": len(done.withheld)} if done.withheld else {}
    return {
        "published": dg.MetadataValue.path(warehouse.results),
        "summary": dg.MetadataValue.text(summary + (f"; without rows: {_some(done.empty)}" if done.empty else "")),
        **numbers(counts),
    }


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


def _evaluation(key: dg.AssetKey, found: dg.AssetCheckResult, blocking: bool) -> dg.AssetCheckEvaluation:
    """A verdict as an event, where there is no result to hand it over with."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=str(found.check_name),
        passed=found.passed,
        metadata=found.metadata,
        severity=found.severity,
        description=found.description,
        blocking=blocking,
    )


def _empty(analysis: Analysis, empty: list[str]) -> str:
    has = "has" if len(empty) == 1 else "have"
    return f"{_partitions(len(empty))} of {analysis.analysis} {has} no rows, and nothing to fit: {_some(empty)}."


def _withheld(analysis: Analysis, names: list[str]) -> str:
    has, is_ = ("has", "is") if len(names) == 1 else ("have", "are")
    return (
        f"{_partitions(len(names))} of {analysis.analysis} {has} fewer than {analysis.min_publish_n} rows "
        f"(min_publish_n) and {is_} not published: {_some(names)}."
    )


def _nothing(analysis: Analysis, column: str, empty: list[str]) -> str:
    """Of a key that was mistyped, or a table that was not loaded."""
    return (
        f"No partition of {analysis.analysis} that was asked for has rows: {_some(empty)}. Their keys are to be values "
        f"of the column {column!r} of {analysis.data}: compare the two, or load the table first."
    )


def _failure(analysis: Analysis, done: Done, asked: list[str]) -> str:
    told = []
    if done.failed:
        told.append(
            f"{_partitions(len(done.failed))} of {analysis.analysis} could not be fitted: {_some(list(done.failed))}."
        )
    known = {*done.failed, *done.written, *done.empty, *done.withheld}
    if stopped := [name for name in asked if name not in known]:
        why = [
            f"{check}: {_some(found)}"
            for check, names in (("converged", done.unconverged), ("not_singular", done.singular))
            if (found := [name for name in names if name in stopped])
        ]
        told.append(
            f"{_partitions(len(stopped))} of {analysis.analysis} did not pass a check that is an error "
            f"({'; '.join(why)})."
        )
    if done.written:
        told.append(f"The other {len(done.written):,} are published.")
    if done.empty:
        told.append(_empty(analysis, done.empty))
    if done.withheld:
        told.append(_withheld(analysis, done.withheld))
    return "\n".join([" ".join(told), *list(done.failed.values())[:NAMED]])


def _partitions(count: int) -> str:
    return f"{count:,} partition{'s' * (count != 1)}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
