"""Refreshing one day of moments kept by day, against building them: rows and groups as arguments, 100 days.

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
from mlm_ops.moments.source import open_source

DAYS = 100
BUILDS = 2
REFRESHES = 10


def main(rows: int, groups: int) -> None:
    """Print seconds of a build, of refreshing days by name after it, and of finding out that nothing has changed."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "w.duckdb")) as connection:
        connection.execute(
            f"create table t as select g, i * {DAYS} // {rows} as day, x, hash(g) % 7 as w, "
            "x + hash(g) % 1000 / 500 + random() as y "
            f"from (select i, (random() * {groups})::int as g, random() as x from range({rows}) r(i))"
        )
        kept = Partitions(connection, "m", open_source("t", connection), "day", [parse_formula("y ~ x * w + (x | g)")])
        for _ in range(BUILDS):
            connection.execute("drop table if exists m_partitions")
            build = _seconds(kept, None)
            print(f"build: {build:.2f} s")
            named = [_seconds(kept, [str(day)]) for day in range(0, DAYS, DAYS // REFRESHES)]
            print(f"one day: {_told(named, build)}")
            print(f"nothing new: {_told([_seconds(kept, None) for _ in range(3)], build)}", flush=True)


def _told(seconds: list[float], build: float) -> str:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    share = f"{middle / build:.1%} of the build ({low / build:.1%} to {high / build:.1%})"
    return f"median of {len(seconds)} {middle:.2f} s ({low:.2f} to {high:.2f}), {share}"


def _seconds(kept: Partitions, wanted: list[str] | None) -> float:
    started = time.perf_counter()
    kept.refresh(wanted)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*(int(float(argument)) for argument in sys.argv[1:3]))
