"""Fit every partition alone (a wave, a region, a day) and publish each as an analysis of its own."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import AnalysisResult, fit_analysis, fit_collected
from mlm_ops.analyses.store.history import run_facts
from mlm_ops.analyses.store.runs import Run, check_published, check_store, publish, write_empty, write_runs
from mlm_ops.errors import DataError, MlmError, NoRowsError
from mlm_ops.language.spelling import list_names
from mlm_ops.logs import LOGGER, Event, about, tell
from mlm_ops.moments.collect import By, collect
from mlm_ops.moments.record import Moments
from mlm_ops.plugins.dagster.metadata import (
    ANALYSIS,
    LINEAGE,
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
from mlm_ops.plugins.dagster.warehouse import Warehouse
from mlm_ops.warehouse.connection import Connection

_LOG = logging.getLogger(LOGGER)
#: Partitions written in one transaction, which costs as much as a fit, and the result rows at which no more wait.
BATCH, MOST_WAITING = 100, 500_000
#: So many partitions are named where some failed.
NAMED = 5


@dataclass(frozen=True)
class Done:
    """What became of the partitions, by key.

    Attributes
    ----------
    written
        In the store.
    empty
        Without any row, as a day on which nothing happened; results of earlier rows are no longer the latest.
    failed
        Why a partition could not be fitted.
    withheld
        With fewer rows than ``min_publish_n``: nothing of them is published, and what was is no longer the latest.
    unconverged, singular
        Partitions with such a model; written or not.
    """

    written: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unconverged: list[str] = field(default_factory=list)
    singular: list[str] = field(default_factory=list)


def partition_name(analysis: Analysis, key: str) -> str:
    """The name under which the store keeps one partition of an analysis."""
    return f"{analysis.analysis}[{key}]"


def fit_partitions(
    connection: Connection,
    analysis: Analysis,
    column: str,
    windows: Mapping[str, Window | None],
    run_id: str,
    started: float,
    blocking: Collection[str],
) -> Done:
    """Fit every partition alone and write its run; one that cannot be fitted leaves the others be.

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
    kind, began, done = source.types[column], datetime.fromtimestamp(started, tz=UTC), Done()
    parts = [part_of(key, window, kind, source.is_numeric(column)) for key, window in windows.items()]
    collected = collect(source, analysis.models_to_scan, analysis.level_columns, analysis.keys, by=By(column, parts))
    waiting, empty = _Waiting(connection, analysis), list[Run]()

    def record(one: Analysis, moments: Moments | None, status: str = "finished") -> Run:
        facts, now = run_facts(one, moments), datetime.now(UTC)
        return Run(run_id=run_id, analysis=one.analysis, started_at=began, finished_at=now, status=status, **facts)

    try:
        for key, part, moments in zip(windows, parts, collected, strict=True):
            one = _restricted(analysis, key, part.condition(column))
            try:
                # thousands of events would take longer to write down than the fits take
                with about(level=logging.DEBUG):
                    fitted = _fit(one, moments, connection)
            except NoRowsError:
                done.empty.append(key)
                empty.append(record(one, None, "empty"))
                continue
            except MlmError as error:
                done.failed[key] = str(error)
                continue
            except (ArithmeticError, ValueError) as error:
                # numbers that no one thought of are one partition's fault; numpy's LinAlgError is a ValueError
                _LOG.exception("partition %s", key)
                done.failed[key] = f"{one.analysis}: {type(error).__name__}: {error}"
                continue
            if fitted.moments.n_obs < analysis.min_publish_n:
                done.withheld.append(key)
                empty.append(record(one, None, "empty"))
                continue
            wrong = _faults(fitted.tables)
            if "converged" in wrong:
                done.unconverged.append(key)
            if "not_singular" in wrong:
                done.singular.append(key)
            if wrong.isdisjoint(blocking):
                done.written.extend(waiting.add(key, record(one, fitted.moments), fitted.tables))
    finally:
        # what was fitted is kept, also where something else ends the run
        done.written.extend(waiting.write())
    write_empty(connection, empty, analysis.history)
    return done


def _fit(analysis: Analysis, moments: Moments | None, connection: Connection) -> AnalysisResult:
    return fit_analysis(analysis, connection) if moments is None else fit_collected(analysis, moments, connection)


@dataclass
class _Waiting:
    """Partitions that were fitted and are not written yet."""

    connection: Connection
    analysis: Analysis
    keys: list[str] = field(default_factory=list)
    runs: list[tuple[Run, Mapping[str, pl.DataFrame]]] = field(default_factory=list)
    rows: int = 0

    def add(self, key: str, run: Run, tables: Mapping[str, pl.DataFrame]) -> list[str]:
        """Let one wait; the keys of those that were written because enough wait."""
        self.keys.append(key)
        self.runs.append((run, tables))
        self.rows += sum(frame.height for frame in tables.values())
        return self.write() if len(self.keys) == BATCH or self.rows > MOST_WAITING else []

    def write(self) -> list[str]:
        """Write all that wait, in one transaction; their keys."""
        if not self.keys:
            return []
        keys, runs, rows = self.keys, self.runs, self.rows
        self.keys, self.runs, self.rows = [], [], 0
        with about(level=logging.DEBUG):
            write_runs(self.connection, runs, self.analysis.history)
        tell(Event.WRITTEN, f"{len(keys):,} partitions written", n_partitions=len(keys), n_written=rows)
        return keys


def _restricted(analysis: Analysis, key: str, condition: str) -> Analysis:
    """The analysis of one partition's rows; a copy, which shares the compiled formulas."""
    where = condition if analysis.where is None else f"({analysis.where}\n) and {condition}"
    return analysis.model_copy(update={"analysis": partition_name(analysis, key), "where": where})


def _faults(tables: Mapping[str, pl.DataFrame]) -> set[str]:
    """The checks that some model fails, mixed or structural."""
    found = set()
    for frame in tables.values():
        if "converged" in frame.columns and not frame["converged"].all():
            found.add("converged")
        if "singular" in frame.columns and frame["singular"].any():
            found.add("not_singular")
    return found


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
        check_specs=plan.fit_checks(
            key,
            "The optimum was reached in every partition; where it was not, nothing is published.",
            "No covariance matrix of random effects lost a dimension in any partition.",
        ),
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
    sentences = []
    if done.failed:
        sentences.append(
            f"{_partitions(len(done.failed))} of {analysis.analysis} could not be fitted: {_some(done.failed)}."
        )
    known = {*done.failed, *done.written, *done.empty, *done.withheld}
    if stopped := [name for name in asked if name not in known]:
        why = [
            f"{check}: {_some(found)}"
            for check, names in (("converged", done.unconverged), ("not_singular", done.singular))
            if (found := [name for name in names if name in stopped])
        ]
        sentences.append(
            f"{_partitions(len(stopped))} of {analysis.analysis} did not pass a check that is an error "
            f"({'; '.join(why)})."
        )
    if done.written:
        sentences.append(f"The other {len(done.written):,} are published.")
    if done.empty:
        sentences.append(_empty(analysis, done.empty))
    if done.withheld:
        sentences.append(_withheld(analysis, done.withheld))
    return "\n".join([" ".join(sentences), *list(done.failed.values())[:NAMED]])


def _partitions(count: int) -> str:
    return f"{count:,} partition{'s' * (count != 1)}"


def _some(names: Collection[str]) -> str:
    return list_names(names, NAMED)
