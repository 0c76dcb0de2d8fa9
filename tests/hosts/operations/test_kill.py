"""kill -9 at random moments of a run: nothing is half-published, no finished run is lost, the next run works."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from tests.hosts.operations.conftest import Place, whole_runs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")

#: Loads everything once, then forks a run for each line it is sent: 'kill <seconds>' or 'whole'. The forked process is
#: as good as a fresh one, as no database has been opened yet, and a run then starts in no time.
FORKING = """
import os, signal, sys, time
import polars, duckdb, rich.console
import mlm_ops.analyses.run, mlm_ops.warehouse.connection, mlm_ops.cli.terminal, mlm_ops.cli.show
import mlm_ops.analyses.store.prediction_views
import mlm_ops.plugins.dagster
from mlm_ops.cli import main as cli

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
    moments, n_killed = random.Random(seed), 0
    with Runs(place, "run") as runs:
        runs.whole()
        # the first run also makes Dagster's instance
        longest = runs.whole()
        stored, published = whole_runs(place.warehouse), whole_runs(place.results)
        assert len(stored) == 2
        assert published == stored
        for _ in range(times):
            n_killed += runs.killed(moments.uniform(0.0, 1.1 * longest))
            # published last: what everyone reads is never ahead of the warehouse, and both only grow
            now, shown_now = whole_runs(place.warehouse), whole_runs(place.results)
            assert stored <= now
            assert published <= shown_now <= now
            runs.whole()
            stored, published = whole_runs(place.warehouse), whole_runs(place.results)
            assert len(stored) == len(now) + 1
            assert stored == published
            assert no_leftovers(place)
    return n_killed


def tear_runs(place: Place, times: int, seed: int) -> dict[str, int]:
    """Kill `mlm run` and tear what was written last, as a machine that loses power does; what the next run did.

    A block that was on its way is cut off, emptied or overwritten by noise, in the warehouse or in its log. The
    published copy is whole whatever happens, and its runs are never lost: `mlm run` goes on as if nothing were, makes
    the warehouse anew by itself, or says in one sentence that it did and that it wants to be run again.
    """
    random_ = random.Random(seed)
    outcomes = {"went on": 0, "made anew": 0, "run again": 0, "set aside": 0}
    with Runs(place, "run") as runs:
        runs.whole()
        longest = runs.whole()
        for _ in range(times):
            published = whole_runs(place.results)
            runs.killed(random_.uniform(0.0, 1.1 * longest))
            tear(place, random_)
            assert published <= whole_runs(place.results)
            published = whole_runs(place.results)
            status, _ = runs("whole")
            output = (place.folder / "log").read_text()
            anew = "a new one is made from the sources" in output
            if status == 2:
                (sentence,) = [line for line in output.splitlines() if line.startswith("mlm: ")]
                assert sentence.endswith("Run again."), output
                runs.whole()
            else:
                assert status == 0, output
            outcomes["run again" if status == 2 else "made anew" if anew else "went on"] += 1
            published_after = whole_runs(place.results)
            assert published < published_after
            assert published_after <= whole_runs(place.warehouse)
    outcomes["set aside"] = len([path for path in place.warehouse.parent.iterdir() if ".damaged-" in path.name])
    return outcomes


def tear(place: Place, random_: random.Random) -> None:
    """Harm the end of the warehouse, its log, or a block in the middle of it; 4 KB are written at one stroke."""
    log = place.warehouse.with_name(place.warehouse.name + ".wal")
    path = log if log.exists() and random_.random() < 0.5 else place.warehouse
    size = path.stat().st_size
    if size == 0:
        return
    kind, length = random_.choice(["cut", "zeros", "noise", "inside"]), random_.randint(1, 4096)
    with path.open("r+b") as file:
        if kind == "cut":
            file.truncate(max(0, size - length))
            return
        # DuckDB's two headers, in blocks 1 and 2, take turns: one that is torn leaves the other
        file.seek(random_.randrange(max(1, size // 4096)) * 4096 if kind == "inside" else max(0, size - length))
        file.write(bytes(length) if kind == "zeros" else random_.randbytes(length))


def no_leftovers(place: Place) -> bool:
    """A run that ends well leaves no half-built copy of one that was killed."""
    return not [path for path in place.results.parent.iterdir() if ".building" in path.name]


@pytest.mark.hosts
def test_a_fit_is_killed_at_seven_moments(place: Place) -> None:
    moments = random.Random(11)
    with Runs(place, "fit", "small.yaml", "--database", place.database) as runs:
        longest = runs.whole()
        n_killed, runs_before = 0, whole_runs(place.database)
        for _ in range(7):
            n_killed += runs.killed(moments.uniform(0.0, longest))
            now = whole_runs(place.database)
            assert runs_before <= now
            runs_before = now
        runs.whole()
        assert len(whole_runs(place.database)) == len(runs_before) + 1
    assert n_killed > 0


@pytest.mark.hosts
def test_a_pipeline_is_killed_at_three_moments(place: Place) -> None:
    assert kill_runs(place, times=3, seed=3) > 0


@pytest.mark.hosts
def test_what_a_killed_pipeline_wrote_last_is_torn_four_times(place: Place) -> None:
    assert sum(tear_runs(place, times=4, seed=4).values()) >= 4


@pytest.mark.soak
def test_a_pipeline_is_killed_at_a_hundred_moments(place: Place) -> None:
    assert kill_runs(place, times=100, seed=5) >= 80


@pytest.mark.soak
def test_what_a_killed_pipeline_wrote_last_is_torn_a_hundred_times(place: Place) -> None:
    outcomes = tear_runs(place, times=100, seed=6)
    assert outcomes["went on"] + outcomes["made anew"] + outcomes["run again"] == 100
    assert outcomes["set aside"] > 0
