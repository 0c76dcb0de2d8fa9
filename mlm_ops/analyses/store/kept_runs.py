"""Number the runs in the store, tell the baseline and the run before, and remove runs that ``history`` does not keep.

The latest finished run and the baseline are always kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta

from mlm_ops.analyses.file.keys import History
from mlm_ops.analyses.store.version import LATEST_FIRST
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.sql import literal, qualified


def find_baseline(finished: Sequence[str], history: History) -> str | None:
    """Return the baseline among an analysis' finished runs, the latest first; None if it is not in the store."""
    if history.baseline == "first":
        return finished[-1] if finished else None
    return history.baseline if history.baseline in finished else None


def find_previous(finished: Sequence[str], run_id: str) -> str | None:
    """Return the finished run before `run_id`; None if there is none."""
    earlier_runs = finished[finished.index(run_id) + 1 :] if run_id in finished else []
    return earlier_runs[0] if earlier_runs else None


def finished_runs(connection: Connection, schema: str, analyses: Iterable[str]) -> dict[str, list[str]]:
    """Return the finished runs of each analysis, the latest first."""
    runs_by_analysis: dict[str, list[str]] = {analysis: [] for analysis in analyses}
    for analysis, run_id, _, status in _runs(connection, schema, runs_by_analysis):
        if status == "finished":
            runs_by_analysis[analysis].append(run_id)
    return runs_by_analysis


def remove_outdated(
    connection: Connection, schema: str, tables: Iterable[str], analyses: Sequence[str], history: History
) -> None:
    """Remove the runs of these analyses that `history` does not keep; runs of other analyses stay.

    Days count back from the end of the analysis' own latest run, so that a pause of the schedule removes nothing. The
    clocks are those of the machines that wrote the runs; a clock that was set back keeps runs for longer.
    """
    if history.keeps_all:
        return
    by_analysis: dict[str, list[tuple[str, datetime, str]]] = {analysis: [] for analysis in analyses}
    for analysis, run_id, finished_at, status in _runs(connection, schema, analyses):
        by_analysis[analysis].append((run_id, finished_at, status))
    outdated = [(run_id, analysis) for analysis, runs in by_analysis.items() for run_id in _outdated(runs, history)]
    remove_runs(connection, schema, tables, outdated)


def remove_runs(connection: Connection, schema: str, tables: Iterable[str], keys: Collection[tuple[str, str]]) -> None:
    """Remove runs, named by run and analysis, from every table."""
    if not keys:
        return
    pairs = ", ".join(f"({literal(run_id)}, {literal(analysis)})" for run_id, analysis in keys)
    for name in tables:
        connection.execute(f"delete from {qualified(schema, name)} where (run_id, analysis) in ({pairs})")


def _outdated(runs: Sequence[tuple[str, datetime, str]], history: History) -> list[str]:
    """Return the runs to remove, out of an analysis' runs with their end and status, the latest first."""
    finished = [run_id for run_id, _, status in runs if status == "finished"]
    protected = {*finished[:1], find_baseline(finished, history)}
    outdated = []
    for position, (run_id, at, _) in enumerate(runs):
        too_many = history.keep_runs is not None and position >= history.keep_runs
        too_old = history.keep_days is not None and runs[0][1] - at > timedelta(days=history.keep_days)
        if (too_many or too_old) and run_id not in protected:
            outdated.append(run_id)
    return outdated


def number_runs(connection: Connection, schema: str) -> None:
    """Number the runs that an earlier mlm-ops wrote without a number, after the others, in the order of their ends."""
    runs = qualified(schema, "runs")
    if connection.execute(f"select 1 from {runs} where sequence is null limit 1").fetchall():
        connection.execute(
            f"update {runs} as run set sequence = numbered.number from (select run_id, analysis,"
            f" (select coalesce(max(sequence), 0) from {runs})"
            " + row_number() over (order by finished_at, run_id, analysis) as number"
            f" from {runs} where sequence is null) as numbered"
            " where run.run_id = numbered.run_id and run.analysis = numbered.analysis and run.sequence is null"
        )


def last_number(connection: Connection, schema: str) -> int:
    """Return the number of the last run that was written; 0 if there is none."""
    return int(
        connection.execute(f"select coalesce(max(sequence), 0) from {qualified(schema, 'runs')}").fetchall()[0][0]
    )


def _runs(connection: Connection, schema: str, analyses: Iterable[str]) -> list[tuple[str, str, datetime, str]]:
    """Return analysis, run, end and status of all runs of these analyses, the latest of each analysis first."""
    rows: list[tuple[str, str, datetime, str]] = connection.execute(
        f"select analysis, run_id, finished_at, status from {qualified(schema, 'runs')}"
        f" where analysis in ({', '.join(map(literal, analyses))}) order by analysis, {LATEST_FIRST}"
    ).fetchall()
    return rows
