"""kill -9 at random moments of a run: nothing is half-published, no finished run is lost, the next run works."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from tests.operations.conftest import Place, whole_runs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")

#: Loads everything once, then forks a run for each line it is sent: 'kill <seconds>' or 'whole'. The forked process is
#: as good as a fresh one, as no database has been opened yet, and a run then starts in no time.
FORKING = """
import os, signal, sys, time
import polars, duckdb, rich.console
import mlm_ops.analyze, mlm_ops.database, mlm_ops.display, mlm_ops.listing, mlm_ops.prediction_views
import mlm_ops.plugins.dagster
from mlm_ops import cli

for line in sys.stdin:
    words, started = line.split(), time.monotonic()
    child = os.fork()
    if child == 0:
        output = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os._exit(cli.main(sys.argv[1:]))
    if words[0] == "kill":
        time.sleep(float(words[1]))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), time.monotonic() - started, flush=True)
"""


class Runs:
    """Runs of one command, killed or not."""

    def __init__(self, place: Place, *arguments: object) -> None:
        self.folder = place.folder
        command = [sys.executable, "-c", FORKING, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, cwd=place.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, order: str) -> tuple[int, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()
        status, seconds = self.process.stdout.readline().split()
        return int(status), float(seconds)

    def whole(self) -> float:
        """Run to the end; how many seconds it took."""
        status, seconds = self("whole")
        assert status == 0, (self.folder / "log").read_text()
        return seconds

    def killed(self, after: float) -> bool:
        """Run and kill; whether the run was still going on."""
        status, _ = self(f"kill {after}")
        assert status in (0, -9), (self.folder / "log").read_text()
        return status == -9

    def __enter__(self) -> Runs:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def kill_runs(place: Place, times: int, seed: int) -> int:
    """Kill `mlm run` at random moments, looking at every file after each; how many were still going on."""
    moments, caught = random.Random(seed), 0
    with Runs(place, "run") as runs:
        runs.whole()
        # the first run also makes Dagster's instance
        longest = runs.whole()
        kept, shown = whole_runs(place.warehouse), whole_runs(place.results)
        assert len(kept) == 2
        assert shown == kept
        for _ in range(times):
            caught += runs.killed(moments.uniform(0.0, 1.1 * longest))
            # published last: what everyone reads is never ahead of the warehouse, and both only grow
            now, shown_now = whole_runs(place.warehouse), whole_runs(place.results)
            assert kept <= now
            assert shown <= shown_now <= now
            runs.whole()
            kept, shown = whole_runs(place.warehouse), whole_runs(place.results)
            assert len(kept) == len(now) + 1
            assert kept == shown
            assert no_leftovers(place)
    return caught


def no_leftovers(place: Place) -> bool:
    """A run that ends well leaves no half-built copy of one that was killed."""
    return not [path for path in place.results.parent.iterdir() if ".building" in path.name]


@pytest.mark.hosts
def test_a_fit_is_killed_at_seven_moments(place: Place) -> None:
    moments = random.Random(11)
    with Runs(place, "fit", "small.yaml", "--database", place.database) as runs:
        longest = runs.whole()
        caught, kept = 0, whole_runs(place.database)
        for _ in range(7):
            caught += runs.killed(moments.uniform(0.0, longest))
            now = whole_runs(place.database)
            assert kept <= now
            kept = now
        runs.whole()
        assert len(whole_runs(place.database)) == len(kept) + 1
    assert caught > 0


@pytest.mark.hosts
def test_a_pipeline_is_killed_at_three_moments(place: Place) -> None:
    assert kill_runs(place, times=3, seed=3) > 0


@pytest.mark.soak
def test_a_pipeline_is_killed_at_fifty_moments(place: Place) -> None:
    assert kill_runs(place, times=50, seed=5) >= 40
