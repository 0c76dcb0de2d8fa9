"""Write reports in a second process: request a report early, and collect it when it is needed.

``python -m mlm_ops.reports.page.background_reports`` is the second process. It reads a line of JSON for each report on
its standard input and writes one for each on its standard output, in the same order; at the end of its input it ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from mlm_ops.reports.page.report import Written, tell_written, write_reports

#: A database and an analysis in it.
ReportRequest = tuple[str, str]


@dataclass
class ReportsAhead:
    """Reports that a second process has been asked for.

    Attributes
    ----------
    process
        Which; None before the first request.
    requests
        The database and analysis of each report, in order; those whose reply has been read are no longer among them.
    replies
        What was written, by database and analysis; None where it failed.
    """

    process: subprocess.Popen[str] | None = None
    requests: list[ReportRequest] = field(default_factory=list)
    replies: dict[ReportRequest, Written | None] = field(default_factory=dict)

    def ask(self, database: Path, analysis: str) -> None:
        """Ask for the report of an analysis, whose results stand in the database."""
        # where the process cannot be started, or has ended, whoever takes the report gets none and writes it
        with suppress(OSError, ValueError):
            if self.process is None:
                command = [sys.executable, "-m", "mlm_ops.reports.page.background_reports"]
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    encoding="utf-8",
                )
            request = str(database.resolve()), analysis
            _write_line(self.process.stdin, request)
            self.requests.append(request)

    def take(self, database: Path, analysis: str) -> Written | None:
        """Return the report that was asked for, when it is written; None where there is none, or it failed."""
        request = str(database.resolve()), analysis
        while request in self.requests and self.process is not None and self.process.stdout is not None:
            first, line = self.requests.pop(0), self.process.stdout.readline()
            self.replies[first] = _written(line)
        return self.replies.pop(request, None)

    def close(self) -> None:
        """End the process; at once where reports were asked for that nobody has taken, as after an interrupt."""
        if self.process is not None:
            with suppress(OSError):
                if self.requests:
                    # not by SIGTERM: in the background of a shell SIGINT is ignored, Dagster copies that to SIGTERM,
                    # and the process would have it so from us
                    self.process.kill()
                self.process.communicate()


_running: list[ReportsAhead] = []


@contextmanager
def reports_ahead() -> Iterator[ReportsAhead | None]:
    """Let `report_written_ahead` know the reports asked for in a block; None where there is but one processor."""
    if (os.cpu_count() or 1) < 2 or not sys.executable:
        yield None
        return
    ahead = ReportsAhead()
    _running.append(ahead)
    try:
        yield ahead
    finally:
        _running.remove(ahead)
        ahead.close()


def report_written_ahead(database: Path, analysis: str) -> Written | None:
    """The report of an analysis that was asked for ahead; None where it was not, or failed."""
    file = _running[-1].take(database, analysis) if _running else None
    if file is not None:
        tell_written(file)
    return file


def _written(line: str) -> Written | None:
    """The message in a line of the process; None if the process failed or ended within the line."""
    try:
        reply: dict[str, Any] = json.loads(line) or {}
        return Written(**{**reply, "path": Path(reply["path"])})
    except (ValueError, KeyError, TypeError):
        return None


def _write_line(stream: IO[str] | None, content: object) -> None:
    if stream is not None:
        stream.write(f"{json.dumps(content)}\n")
        stream.flush()


def _serve(requests: IO[str], replies: IO[str]) -> None:
    """Write the report of each request; one that fails gets null, and the process that asked finds out why."""
    for line in requests:
        database, analysis = json.loads(line)
        try:
            (file,) = write_reports(Path(database), analysis=analysis)
            _write_line(replies, asdict(file) | {"path": str(file.path), "answers": list(file.answers)})
        except Exception:
            _write_line(replies, None)


if __name__ == "__main__":
    # what a library prints is no reply
    with redirect_stdout(sys.stderr):
        _serve(sys.stdin, sys.__stdout__ or sys.stdout)
