"""What the asset of one fit a partition does in the warehouse: fit each alone, write many at a time."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from mlm_ops.analyze import AnalysisResult, fit_analysis, fit_collected
from mlm_ops.database import Connection
from mlm_ops.errors import MlmError, NoRowsError
from mlm_ops.language.analysis import Analysis
from mlm_ops.logs import LOGGER, Event, about, tell
from mlm_ops.moments.analysis_rows import open_rows
from mlm_ops.moments.each_part import collect_each
from mlm_ops.moments.moments import Moments
from mlm_ops.plugins.dagster.partition_keys import Window, part_of
from mlm_ops.provenance import run_facts
from mlm_ops.store import Run, write_empty, write_runs

_LOG = logging.getLogger(LOGGER)
#: Partitions written in one transaction, which costs as much as a fit, and the result rows at which no more wait.
BATCH, MOST_WAITING = 100, 500_000


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
    collected = collect_each(source, column, parts, analysis.scanned, analysis.level_columns, analysis.keys)
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
