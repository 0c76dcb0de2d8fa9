"""Refreshing one of 100 days of moments kept by day, against scanning everything afresh: rows and groups as arguments.

Scans, builds and refreshes take turns, as other work on the machine changes the share more than anything in here. A
scan collects the moments of all rows and keeps nothing; a build keeps those of each day.

uv run python benchmarks/partitions.py 1e7 1e5
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb

from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.collect import collect
from mlm_ops.moments.partitions import Partitions
from mlm_ops.warehouse.source import open_source

DAYS = 100
BUILDS = 3
REFRESHES = 10


def main(rows: int, groups: int) -> None:
    """Print CPU seconds and wall time of scans, builds, refreshes of days, and of finding out that nothing changed."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "w.duckdb")) as connection:
        connection.execute(
            f"create table t as select g, i * {DAYS} // {rows} as day, x, hash(g) % 7 as w, "
            "x + hash(g) % 1000 / 500 + random() as y "
            f"from (select i, (random() * {groups})::int as g, random() as x from range({rows}) r(i))"
        )
        source, models = open_source("t", connection), [parse_formula("y ~ x * w + (x | g)")]
        seconds: dict[str, list[tuple[float, float]]] = {}
        for number in range(BUILDS):
            table = Partitions(connection, f"m{number}", source, "day", models)
            seconds.setdefault("build", []).append(_seconds(partial(table.refresh, None)))
            for i, day in enumerate(range(number, DAYS, DAYS // REFRESHES)):
                seconds.setdefault("one day", []).append(_seconds(partial(table.refresh, [str(day)])))
                if i % 2 == 0:
                    seconds.setdefault("scan of everything", []).append(_seconds(partial(collect, source, models)))
            for _ in range(3):
                seconds.setdefault("nothing new", []).append(_seconds(partial(table.refresh, None)))
        scan = [statistics.median(one[i] for one in seconds["scan of everything"]) for i in (0, 1)]
        print(f"{'':20s} {'CPU s':>8s} {'range':>13s} {'of a scan':>10s} {'wall s':>8s} {'of a scan':>10s}")
        for name, pairs in seconds.items():
            cpu, wall = ([pair[i] for pair in pairs] for i in (0, 1))
            middle = statistics.median(cpu), statistics.median(wall)
            bounds = f"{min(cpu):.3f}-{max(cpu):.3f}"
            print(
                f"{name:20s} {middle[0]:8.3f} {bounds:>13s} {middle[0] / scan[0]:10.1%} {middle[1]:8.3f} "
                f"{middle[1] / scan[1]:10.1%}"
            )


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, of all threads, and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main(*(int(float(argument)) for argument in sys.argv[1:3]))
