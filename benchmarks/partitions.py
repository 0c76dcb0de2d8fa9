"""Refreshing one day of moments kept by day, against building them: rows and groups as arguments, 100 days.

uv run python benchmarks/partitions.py 1e7 1e5
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import duckdb

from mlm_ops.language.formula import parse_formula
from mlm_ops.moments.partitions import Partitions
from mlm_ops.moments.source import open_source

DAYS = 100


def main(rows: int, groups: int) -> None:
    """Print seconds of the build, of refreshing a named day, and of finding out that nothing has changed."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "w.duckdb")) as connection:
        connection.execute(
            f"create table t as select g, i * {DAYS} // {rows} as day, x, hash(g) % 7 as w, "
            "x + hash(g) % 1000 / 500 + random() as y "
            f"from (select i, (random() * {groups})::int as g, random() as x from range({rows}) r(i))"
        )
        kept = Partitions(connection, "m", open_source("t", connection), "day", [parse_formula("y ~ x * w + (x | g)")])
        build = _seconds(kept, None)
        print(f"build: {build:.2f} s")
        for _ in range(5):
            named = _seconds(kept, ["57"])
            print(f"one day: {named:.2f} s, {named / build:.1%}; nothing new: {_seconds(kept, None) / build:.1%}")


def _seconds(kept: Partitions, wanted: list[str] | None) -> float:
    started = time.perf_counter()
    kept.refresh(wanted)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(*(int(float(argument)) for argument in sys.argv[1:3]))
