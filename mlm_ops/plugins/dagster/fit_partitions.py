"""What the asset of one fit a partition does in the warehouse: fit each alone, write many at a time."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl

from mlm_ops.analyze import fit_analysis, fit_collected
from mlm_ops.database import Connection
from mlm_ops.errors import MlmError
from mlm_ops.language.analysis import Analysis
from mlm_ops.logs import Event, about, tell
from mlm_ops.moments.analysis_rows import open_rows
from mlm_ops.moments.each_part import Part, collect_each
from mlm_ops.provenance import run_facts
from mlm_ops.sql_text import literal
from mlm_ops.store import Run, write_runs

Window = tuple[datetime, datetime]
#: Partitions written in one transaction, which costs as much as a fit, and the result rows at which no more wait.
BATCH, MOST_WAITING = 100, 500_000


@dataclass(frozen=True)
class Done:
    """What became of the partitions, by key.

    Attributes
    ----------
    written
        In the store.
    failed
        Why a partition could not be fitted.
    unconverged, singular
        Partitions with such a model; written or not.
    """

    written: list[str] = field(default_factory=list)
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
    """
    source = open_rows(analysis, connection)
    source.require([column])
    kind, began, done = source.types[column], datetime.fromtimestamp(started, tz=UTC), Done()
    parts = [_part(kind, key, window) for key, window in windows.items()]
    collected = collect_each(source, column, parts, analysis.scanned, analysis.level_columns, analysis.keys)
    waiting: list[tuple[str, Run, Mapping[str, pl.DataFrame]]] = []
    rows = 0
    for position, (key, part, moments) in enumerate(zip(windows, parts, collected, strict=True), start=1):
        one = _restricted(analysis, key, part.condition(column))
        try:
            # thousands of events would take longer to write down than the fits take
            with about(level=logging.DEBUG):
                fitted = fit_analysis(one, connection) if moments is None else fit_collected(one, moments, connection)
        except MlmError as error:
            done.failed[key] = str(error)
        else:
            wrong = _faults(fitted.tables)
            if "converged" in wrong:
                done.unconverged.append(key)
            if "not_singular" in wrong:
                done.singular.append(key)
            if wrong.isdisjoint(blocking):
                facts = run_facts(one, fitted.moments)
                run = Run(
                    run_id=run_id, analysis=one.analysis, started_at=began, finished_at=datetime.now(UTC), **facts
                )
                waiting.append((key, run, fitted.tables))
                rows += sum(frame.height for frame in fitted.tables.values())
        if waiting and (len(waiting) == BATCH or rows > MOST_WAITING or position == len(windows)):
            with about(level=logging.DEBUG):
                write_runs(connection, [(run, tables) for _, run, tables in waiting], analysis.history)
            tell(Event.WRITTEN, f"{len(waiting):,} partitions written", n_partitions=len(waiting), n_written=rows)
            done.written.extend(key for key, _, _ in waiting)
            waiting.clear()
            rows = 0
    return done


def _restricted(analysis: Analysis, key: str, condition: str) -> Analysis:
    """The analysis of one partition's rows; a copy, which shares the compiled formulas."""
    where = condition if analysis.where is None else f"({analysis.where}\n) and {condition}"
    return analysis.model_copy(update={"analysis": partition_name(analysis, key), "where": where})


def _part(kind: str, key: str, window: Window | None) -> Part:
    """A partition's rows; values are compared as the column's own type, so that DuckDB can skip the others."""
    if window is None or not kind.startswith(("DATE", "TIMESTAMP")):
        return Part(f"try_cast({literal(key)} as {kind})")
    return Part(*window_ends(window, kind))


def window_ends(window: Window, kind: str) -> tuple[str, str]:
    """Start and end as SQL; a column without time zone is read as the clock of the partitions' time zone."""
    zoned = kind == "TIMESTAMP WITH TIME ZONE"
    low, high = (
        f"cast({literal((at if zoned else at.replace(tzinfo=None)).isoformat(sep=' '))} as {kind})" for at in window
    )
    return low, high


def _faults(tables: Mapping[str, pl.DataFrame]) -> set[str]:
    """The checks that some model fails, mixed or structural."""
    found = set()
    for frame in tables.values():
        if "converged" in frame.columns and not frame["converged"].all():
            found.add("converged")
        if "singular" in frame.columns and frame["singular"].any():
            found.add("not_singular")
    return found
