"""Fit every partition alone (a wave, a region, a day) and publish each as an analysis of its own."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import dagster as dg
import polars as pl

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import AnalysisResult, fit_analysis, fit_collected
from mlm_ops.analyses.store.layout import check_store
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, check_published, publish, write_empty, write_runs
from mlm_ops.errors import UNFORESEEN, DataError, MlmError, NoRowsError
from mlm_ops.language.spelling import list_names
from mlm_ops.logs import LOGGER, Event, about, tell
from mlm_ops.moments.collect import By, collect
from mlm_ops.moments.record import Moments
from mlm_ops.plugins.dagster.fits import MOST_ROWS
from mlm_ops.plugins.dagster.metadata import (
    ANALYSIS,
    LINEAGE,
    MOST_COEFFICIENTS,
    SCHEMA,
    Metadata,
    Result,
    fits_lineage,
    numbers,
    result_schema,
)
from mlm_ops.plugins.dagster.partition_windows import Window, check_windows, part_of, windows_of
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.plugins.dagster.run import forget_old_logs, run_start
from mlm_ops.plugins.dagster.warehouse import Warehouse, step_warehouse, without_vain_retries
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.faults import is_temporary_error

_LOG = logging.getLogger(LOGGER)
#: Partitions that are written in one transaction, which costs as much as a fit; with `MOST_ROWS` a batch is written
#: before it is full.
BATCH_SIZE = 100
#: With more partitions in a run their numbers are in the tables alone: Dagster writes an event for each.
MOST_DESCRIBED = 5_000
#: So many partitions are named in a message.
NAMED = 5


@dataclass(frozen=True)
class PartitionOutcomes:
    """Hold the keys of partitions by what became of each.

    Attributes
    ----------
    written
        In the store.
    empty
        Without any row, as a day on which nothing happened; results of earlier rows are no longer the latest.
    failed
        Why a partition could not be fitted.
    temporary
        Those that failed for what may be gone the next time.
    withheld
        With fewer rows than ``min_publish_n``: nothing of them is published, and what was is no longer the latest.
    unconverged, singular
        Partitions with such a model; written or not.
    metadata
        Numbers of each partition that was fitted, which the UI plots over the partitions.
    """

    written: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    temporary: list[str] = field(default_factory=list)
    unconverged: list[str] = field(default_factory=list)
    singular: list[str] = field(default_factory=list)
    metadata: dict[str, Metadata] = field(default_factory=dict)


def partition_name(analysis: Analysis, key: str) -> str:
    """Name one partition of an analysis in the store."""
    return f"{analysis.analysis}[{key}]"


def fit_partitions(
    connection: Connection,
    analysis: Analysis,
    column: str,
    windows: Mapping[str, Window | None],
    run_id: str,
    started: float,
    blocking: Collection[str],
) -> PartitionOutcomes:
    """Fit every partition alone and write its run; one that cannot be fitted does not stop the others.

    Parameters
    ----------
    column
        Whose values are the partition keys.
    windows
        Start and end by partition key, where these are windows of time.
    run_id, started
        Dagster's run, and when it began in seconds since 1970.
    blocking
        Checks whose failure keeps a partition from being written: ``converged``, ``not_singular``.

    Raises
    ------
    StoreError
        The results cannot be written; those of batches before are.
    """
    source = open_rows(analysis, connection)
    source.require([column])
    kind, numeric = source.types[column], source.is_numeric(column)
    parts = [part_of(key, window, kind, numeric) for key, window in windows.items()]
    by = By(column, parts)
    moments_by_part = collect(source, analysis.models_to_scan, analysis.level_columns, analysis.keys, by=by)
    batch = _Batch(connection, analysis, run_id, datetime.fromtimestamp(started, tz=UTC))
    fits = _Fits(batch, blocking)
    try:
        for key, part, moments in zip(windows, parts, moments_by_part, strict=True):
            fits.fit(key, _restricted(analysis, key, part.condition(column)), moments)
    finally:
        # also where something else ends the run
        batch.write()
    batch.write_empty()
    return fits.outcomes


@dataclass
class _Batch:
    """Collect the results of partitions, and write them many at a time.

    Attributes
    ----------
    written
        Keys of the partitions in the store.
    """

    connection: Connection
    analysis: Analysis
    run_id: str
    started_at: datetime
    keys: list[str] = field(default_factory=list)
    runs: list[tuple[Run, Mapping[str, pl.DataFrame]]] = field(default_factory=list)
    rows: int = 0
    empty_runs: list[Run] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def add(self, key: str, result: AnalysisResult, analysis: Analysis) -> None:
        """Add the results of one partition, and write the batch if it is full."""
        self.keys.append(key)
        self.runs.append((self._run(analysis, result.moments, "finished"), result.tables))
        self.rows += sum(frame.height for frame in result.tables.values())
        if len(self.keys) == BATCH_SIZE or self.rows > MOST_ROWS:
            self.write()

    def add_empty(self, analysis: Analysis) -> None:
        """Add a partition without any published results."""
        self.empty_runs.append(self._run(analysis, None, "empty"))

    def write(self) -> None:
        """Write all results that were added since the last time, in one transaction."""
        if not self.keys:
            return
        keys, runs, rows = self.keys, self.runs, self.rows
        self.keys, self.runs, self.rows = [], [], 0
        with about(level=logging.DEBUG):
            write_runs(self.connection, runs, self.analysis.history)
        tell(Event.WRITTEN, f"{_partitions(len(keys))} written", n_partitions=len(keys), n_written=rows)
        self.written += keys

    def write_empty(self) -> None:
        """Write the runs of the partitions without any published results."""
        write_empty(self.connection, self.empty_runs, self.analysis.history)

    def _run(self, analysis: Analysis, moments: Moments | None, status: str) -> Run:
        facts, now = run_facts(analysis, moments), datetime.now(UTC)
        return Run(
            run_id=self.run_id,
            analysis=analysis.analysis,
            started_at=self.started_at,
            finished_at=now,
            status=status,
            **facts,
        )


class _Fits:
    """Fit partitions one after the other, and note what becomes of each."""

    def __init__(self, batch: _Batch, blocking: Collection[str]) -> None:
        self.batch = batch
        self.blocking = blocking
        self.outcomes = PartitionOutcomes(written=batch.written)

    def fit(self, key: str, analysis: Analysis, moments: Moments | None) -> None:
        """Fit the models to the rows of one partition, the analysis being restricted to these."""
        try:
            # thousands of events would take longer to write down than the fits take
            with about(level=logging.DEBUG):
                result = _fit(analysis, moments, self.batch.connection)
        except NoRowsError:
            self.outcomes.empty.append(key)
            self.batch.add_empty(analysis)
        except MlmError as error:
            self.outcomes.failed[key] = str(error)
            if is_temporary_error(error):
                self.outcomes.temporary.append(key)
        except UNFORESEEN as error:
            _LOG.exception("partition %s", key)
            self.outcomes.failed[key] = f"{analysis.analysis}: {type(error).__name__}: {error}"
        else:
            self._check(key, analysis, result)

    def _check(self, key: str, analysis: Analysis, result: AnalysisResult) -> None:
        """Add the results to the batch, unless they have too few rows or fail a check that blocks."""
        if result.moments.n_obs < analysis.min_publish_n:
            self.outcomes.withheld.append(key)
            self.batch.add_empty(analysis)
            return
        checks = _failed_checks(result.tables)
        if "converged" in checks:
            self.outcomes.unconverged.append(key)
        if "not_singular" in checks:
            self.outcomes.singular.append(key)
        if checks.isdisjoint(self.blocking):
            self.batch.add(key, result, analysis)
            self.outcomes.metadata[key] = _numbers_of(result)


def _fit(analysis: Analysis, moments: Moments | None, connection: Connection) -> AnalysisResult:
    return fit_analysis(analysis, connection) if moments is None else fit_collected(analysis, moments, connection)


def _numbers_of(result: AnalysisResult) -> Metadata:
    """Rows and groups of one partition, and of each model the log-likelihood, the ICC and the coefficients."""
    values: dict[str, object] = {"n_obs": result.moments.n_obs, "n_groups": result.moments.n_units}
    for table in ("fit_statistics", "sem_fit"):
        for row in result.tables[table].iter_rows(named=True) if table in result.tables else ():
            values |= {f"{row['model']}_{name}": row.get(name) for name in ("log_likelihood", "icc")}
    if "fixed_effects" in result.tables:
        rows = result.tables["fixed_effects"].select("model", "term", "estimate")
        values |= {f"{model}_{term}": estimate for model, term, estimate in rows.head(MOST_COEFFICIENTS).iter_rows()}
    return numbers(values)


def _restricted(analysis: Analysis, key: str, condition: str) -> Analysis:
    """The analysis of one partition's rows; a copy, which shares the compiled formulas."""
    where = condition if analysis.where is None else f"({analysis.where}\n) and {condition}"
    return analysis.model_copy(update={"analysis": partition_name(analysis, key), "where": where})


def _failed_checks(tables: Mapping[str, pl.DataFrame]) -> set[str]:
    """Names of the checks that some model fails, mixed or structural."""
    checks = set()
    for frame in tables.values():
        if "converged" in frame.columns and not frame["converged"].all():
            checks.add("converged")
        if "singular" in frame.columns and frame["singular"].any():
            checks.add("not_singular")
    return checks


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
        **plan.step(),
        code_version=plan.code_version("fits", column, plan.analysis.model_dump_json(exclude_defaults=True)),
        description=f"Every model fitted to the rows of each {column} alone, and published as the analysis "
        f"`{plan.analysis.analysis}[<{column}>]`.",
        metadata={
            ANALYSIS: plan.analysis.analysis,
            SCHEMA: result_schema("fixed_effects"),
            LINEAGE: fits_lineage(plan.analysis, column, plan.upstream),
        },
        check_specs=plan.fit_checks(
            key,
            "The optimum was reached in every partition; where it was not, nothing is published.",
            "No covariance matrix of random effects lost a dimension in any partition.",
        ),
    )
    def results(context: dg.AssetExecutionContext) -> Result:
        windows = windows_of(partitions_def, context.partition_keys)
        blocking = tuple(name for name in ("converged", "not_singular") if plan.blocks(name))
        with step_warehouse(context, plan) as warehouse, warehouse.connection() as connection:
            check_published(connection, warehouse.results)
            check_windows(open_rows(plan.analysis, connection), column, windows)
            outcomes = fit_partitions(
                connection, plan.analysis, column, windows, context.run.run_id, run_start(context), blocking
            )
            # an empty one withdraws what was published of it
            if outcomes.written or ((outcomes.empty or outcomes.withheld) and check_store(connection)):
                publish(connection, warehouse.results)
        forget_old_logs(context.instance, Path.cwd())
        _require_rows(plan.analysis, column, outcomes, windows)
        for warning in _warnings(plan.analysis, outcomes):
            context.log.warning(warning)
        n_fitted = len(windows) - len(outcomes.empty) - len(outcomes.withheld)
        checks = plan.with_severities(_checks(outcomes, n_fitted))
        metadata = _metadata(outcomes, len(windows), warehouse)
        by_partition = outcomes.metadata if len(outcomes.metadata) <= MOST_DESCRIBED else {}
        if len(outcomes.written) < n_fitted:
            # the step fails, so that Dagster would record none of its partitions as materialized
            for name in (*outcomes.written, *outcomes.empty, *outcomes.withheld):
                described = metadata | by_partition.get(name, {})
                context.log_event(dg.AssetMaterialization(key, partition=name, metadata=described))
            for check in checks:
                context.log_event(_evaluation(key, check, check.check_name in blocking))
            _fail(plan.analysis, outcomes, list(windows))
        for name, described in by_partition.items():
            context.add_asset_metadata(described, key, name)
        return Result(metadata=metadata, check_results=checks)

    return results


@without_vain_retries()
def _fail(analysis: Analysis, outcomes: PartitionOutcomes, keys: list[str]) -> NoReturn:
    """End the step with what is wrong with the partitions that were not fitted."""
    error = DataError(_failure(analysis, outcomes, keys))
    error.is_temporary = bool(outcomes.temporary)
    raise error


@without_vain_retries()
def _require_rows(
    analysis: Analysis, column: str, outcomes: PartitionOutcomes, windows: Mapping[str, Window | None]
) -> None:
    """Refuse a run none of whose partitions has rows; a window of time may well be quiet, other keys be mistyped."""
    if len(outcomes.empty) == len(windows) and None in windows.values():
        raise NoRowsError(
            f"No partition of {analysis.analysis} that was asked for has rows: {_some(outcomes.empty)}. Their keys are "
            f"to be values of the column {column!r} of {analysis.data}: compare the two, or load the table first."
        )


def _warnings(analysis: Analysis, outcomes: PartitionOutcomes) -> list[str]:
    empty = [_empty(analysis, outcomes.empty)] if outcomes.empty else []
    return [*empty, _withheld(analysis, outcomes.withheld)] if outcomes.withheld else empty


def _checks(outcomes: PartitionOutcomes, total: int) -> list[dg.AssetCheckResult]:
    """One verdict of each check over the partitions that have rows enough."""
    failures_by_check = {"converged": outcomes.unconverged, "not_singular": outcomes.singular}
    return [_over_all(name, failures, list(outcomes.failed), total) for name, failures in failures_by_check.items()]


def _metadata(outcomes: PartitionOutcomes, total: int, warehouse: Warehouse) -> Metadata:
    """Counts of the partitions of the run."""
    n_written, n_empty = len(outcomes.written), len(outcomes.empty)
    summary = f"{n_written:,} of {total:,} partitions published"
    counts = {"partitions": total, "published_partitions": n_written, "empty_partitions": n_empty}
    counts |= {"withheld_partitions": len(outcomes.withheld)} if outcomes.withheld else {}
    return {
        "published": dg.MetadataValue.path(warehouse.results),
        "summary": dg.MetadataValue.text(summary + (f"; without rows: {_some(outcomes.empty)}" if n_empty else "")),
        **numbers(counts),
    }


def _over_all(name: str, failures: list[str], not_fitted: list[str], total: int) -> dg.AssetCheckResult:
    """One verdict over all partitions of the run; one that could not be fitted does not pass."""
    names = f": {_some(failures)}" if failures else ""
    others = f"; {len(not_fitted):,} could not be fitted: {_some(not_fitted)}" if not_fitted else ""
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failures and not not_fitted,
        description=f"{total - len(failures) - len(not_fitted):,} of {total:,} partitions are "
        f"{name.replace('_', ' ')}; {len(failures):,} are not{names}{others}.",
        metadata={"partitions": total, "failed": len(failures), "not_fitted": len(not_fitted)},
    )


def _evaluation(key: dg.AssetKey, check: dg.AssetCheckResult, blocking: bool) -> dg.AssetCheckEvaluation:
    """A verdict as an event, where the step fails and returns no result."""
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=str(check.check_name),
        passed=check.passed,
        metadata=check.metadata,
        severity=check.severity,
        description=check.description,
        blocking=blocking,
    )


def _empty(analysis: Analysis, names: list[str]) -> str:
    has = "has" if len(names) == 1 else "have"
    return f"{_partitions(len(names))} of {analysis.analysis} {has} no rows, and nothing to fit: {_some(names)}."


def _withheld(analysis: Analysis, names: list[str]) -> str:
    has, is_ = ("has", "is") if len(names) == 1 else ("have", "are")
    return (
        f"{_partitions(len(names))} of {analysis.analysis} {has} fewer than {analysis.min_publish_n} rows "
        f"(min_publish_n) and {is_} not published: {_some(names)}."
    )


def _failure(analysis: Analysis, outcomes: PartitionOutcomes, keys: list[str]) -> str:
    sentences = []
    if outcomes.failed:
        sentences.append(
            f"{_partitions(len(outcomes.failed))} of {analysis.analysis} could not be fitted: {_some(outcomes.failed)}."
        )
    others = {*outcomes.failed, *outcomes.written, *outcomes.empty, *outcomes.withheld}
    if blocked := [name for name in keys if name not in others]:
        names_by_check = {
            check: [name for name in failures if name in blocked]
            for check, failures in (("converged", outcomes.unconverged), ("not_singular", outcomes.singular))
        }
        reasons = "; ".join(f"{check}: {_some(names)}" for check, names in names_by_check.items() if names)
        sentences.append(
            f"{_partitions(len(blocked))} of {analysis.analysis} did not pass a check that is an error ({reasons})."
        )
    if outcomes.written:
        sentences.append(f"The other {len(outcomes.written):,} are published.")
    sentences += _warnings(analysis, outcomes)
    return "\n".join([" ".join(sentences), *list(outcomes.failed.values())[:NAMED]])


def _partitions(count: int) -> str:
    return f"{count:,} partition{'s' * (count != 1)}"


def _some(names: Collection[str]) -> str:
    return list_names(names, NAMED)
