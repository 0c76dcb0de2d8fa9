"""Refreshing one day of moments kept by day, against building them: rows and groups as arguments, 100 days.

Builds and refreshes take turns, as other work on the machine changes the share more than anything in here.

uv run python benchmarks/partitions.py 1e7 1e5
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.partitions import Partitions
from mlm_ops.warehouse.source import open_source

DAYS = 100
BUILDS = 3
REFRESHES = 10


def main(rows: int, groups: int) -> None:
    """Print seconds of a build, of refreshing days by name after it, and of finding out that nothing has changed."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "w.duckdb")) as connection:
        connection.execute(
            f"create table t as select g, i * {DAYS} // {rows} as day, x, hash(g) % 7 as w, "
            "x + hash(g) % 1000 / 500 + random() as y "
            f"from (select i, (random() * {groups})::int as g, random() as x from range({rows}) r(i))"
        )
        source, models = open_source("t", connection), [parse_formula("y ~ x * w + (x | g)")]
        builds, days = [], []
        for number in range(BUILDS):
            kept = Partitions(connection, f"m{number}", source, "day", models)
            build = _seconds(kept, None)
            named = [_seconds(kept, [str(day)]) for day in range(number, DAYS, DAYS // REFRESHES)]
            nothing = [_seconds(kept, None) for _ in range(3)]
            print(
                f"build: {build:.2f} s; one day: {_told(named, build)}; nothing new: {_told(nothing, build)}",
                flush=True,
            )
            builds.append(build)
            days += named
    print(f"all builds: median {statistics.median(builds):.2f} s; one day: {_told(days, statistics.median(builds))}")


def _told(seconds: list[float], build: float) -> str:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    share = f"{middle / build:.1%} ({low / build:.1%} to {high / build:.1%})"
    return f"median {middle:.2f} s ({low:.2f} to {high:.2f}), {share}"


def _seconds(kept: Partitions, wanted: list[str] | None) -> float:
    started = time.perf_counter()
    kept.refresh(wanted)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*(int(float(argument)) for argument in sys.argv[1:3]))
