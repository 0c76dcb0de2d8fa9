"""Runs that have ended: those whose process was killed are closed, and old ones lose their log."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg
from dagster._core.storage.event_log import SqliteEventLogStorage

from mlm_ops.errors import ProjectError
from mlm_ops.project import find_project
from mlm_ops.sql_text import identifier

#: Bytes of a run's log without events; with those of the smallest run it has several times as many.
EMPTY_LOG = 65_536
HOST, PROCESS = "mlm/host", "mlm/process"
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def run_tags() -> dict[str, str]:
    """Say of a run which process it lives in; no daemon should start it again, as it has nowhere to load it from."""
    return {HOST: socket.gethostname(), PROCESS: process_name(os.getpid()), "dagster/max_retries": "0"}


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the unfinished runs of this host whose process has gone.

    Returns
    -------
    list[str]
        A sentence for each.
    """
    told = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED, tags={HOST: socket.gethostname()})):
        if not is_alive(run.tags.get(PROCESS, "")):
            instance.report_run_failed(run, "The process of this run was killed before it could finish.")
            told.append(f"The run {run.run_id[:8]} was killed before it could finish; it is marked as failed now.")
    return told


def forget_old_logs(instance: dg.DagsterInstance, directory: Path) -> int:
    """Remove the logs of old runs of the project that `directory` lies in, from its own Dagster instance.

    A run's log is a file of its own. What the UI plots and lists is kept elsewhere: runs, materializations with their
    metadata, and verdicts of checks. An instance that is not the project's, or keeps its events in another database,
    is left alone.

    Returns
    -------
    int
        How many logs went.
    """
    storage = instance.event_log_storage
    try:
        project = find_project(directory)
    except ProjectError:
        return 0
    own = (project.root / "dagster_home").resolve()
    if not isinstance(storage, SqliteEventLogStorage) or Path(instance.root_directory).resolve() != own:
        return 0
    logged = [name for name in storage.get_all_run_ids() if not _is_empty(Path(storage.path_for_shard(name)))]
    if project.keep_run_logs is None or len(logged) <= project.keep_run_logs:
        return 0
    # the newest first
    runs = instance.get_runs(dg.RunsFilter(run_ids=logged))
    old = [run for run in runs[project.keep_run_logs :] if run.is_finished]
    for run in old:
        # one that someone reads at this moment is emptied after the next run
        with suppress(sqlite3.OperationalError):
            _empty(Path(storage.path_for_shard(run.run_id)))
    return len(old)


def _is_empty(log: Path) -> bool:
    return log.stat().st_size <= EMPTY_LOG


def _empty(log: Path) -> None:
    """Take every event out of a run's log, and what Dagster makes beside them and never fills in such a file.

    The table of events stays: a web server that has opened the log before looks for it.
    """
    with closing(sqlite3.connect(log, isolation_level=None, timeout=1.0)) as connection:
        names = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (name,) in names:
            if name == "event_logs":
                connection.execute("delete from event_logs")
            elif name != "alembic_version" and not name.startswith("sqlite_"):
                connection.execute(f"drop table {identifier(name)}")
        connection.execute("vacuum")
        connection.execute("pragma wal_checkpoint(truncate)")


def process_name(pid: int) -> str:
    """``<pid>:<start>``: numbers are given out again, so the time of the start tells processes apart, where known."""
    try:
        # the command, in parentheses, may itself hold spaces and parentheses; the start is field 22 of proc(5)
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = ""
    return f"{pid}:{start}"


def is_alive(name: str) -> bool:
    """Whether the process of `name` still runs; where that cannot be told, it is taken to."""
    pid = name.partition(":")[0]
    if not pid.isdigit() or sys.platform == "win32":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process_name(int(pid)) == name
