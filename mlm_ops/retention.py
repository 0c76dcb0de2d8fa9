"""Which runs the store keeps: the newest, those of the last days, and always the latest finished and the baseline."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from mlm_ops.database import Connection
from mlm_ops.language.history import History
from mlm_ops.sql_text import qualified


def find_baseline(connection: Connection, schema: str, analysis: str, history: History) -> str | None:
    """The run that others are compared with; None where it is not in the store."""
    runs = _finished(connection, schema, analysis)
    if history.baseline == "first":
        return runs[-1] if runs else None
    return history.baseline if history.baseline in runs else None


def find_previous(connection: Connection, schema: str, analysis: str, run_id: str) -> str | None:
    """The finished run before one."""
    runs = _finished(connection, schema, analysis)
    after = runs[runs.index(run_id) + 1 :] if run_id in runs else []
    return after[0] if after else None


def forget(connection: Connection, schema: str, tables: Iterable[str], analysis: str, history: History) -> None:
    """Remove an analysis' runs that are neither recent enough nor protected; other analyses are left alone.

    Days count back from the analysis' own latest run, so that a pause of the schedule removes nothing.
    """
    if history.keep_runs is None and history.keep_days is None:
        return
    found: list[tuple[str, datetime]] = connection.execute(
        f"select run_id, finished_at from {qualified(schema, 'runs')} where analysis = ?"
        " order by finished_at desc, run_id desc",
        [analysis],
    ).fetchall()
    kept = {*_finished(connection, schema, analysis)[:1], find_baseline(connection, schema, analysis, history)}
    newest = found[0][1]
    for position, (run_id, finished) in enumerate(found):
        too_many = history.keep_runs is not None and position >= history.keep_runs
        too_old = history.keep_days is not None and newest - finished > timedelta(days=history.keep_days)
        if (too_many or too_old) and run_id not in kept:
            for name in tables:
                connection.execute(
                    f"delete from {qualified(schema, name)} where run_id = ? and analysis = ?", [run_id, analysis]
                )


def _finished(connection: Connection, schema: str, analysis: str) -> list[str]:
    """Finished runs of an analysis, the latest first."""
    rows = connection.execute(
        f"select run_id from {qualified(schema, 'runs')} where analysis = ? and status = 'finished'"
        " order by finished_at desc, run_id desc",
        [analysis],
    ).fetchall()
    return [str(run_id) for (run_id,) in rows]
