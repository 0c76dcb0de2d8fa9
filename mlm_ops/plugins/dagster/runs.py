"""Runs whose process was killed: Dagster would show them as running for ever, so the next run closes them."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import dagster as dg

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
