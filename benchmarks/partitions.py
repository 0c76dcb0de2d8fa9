"""Refreshing one of 100 days of moments kept by day, against scanning everything afresh: rows and groups as arguments.

In the first table every group may have rows on every day; in the second a day has rows of a twentieth of the groups,
and the days are dates. Scans, builds and refreshes take turns, as other work on the machine changes the share more than
anything in here. A scan collects the moments of all rows and keeps nothing; a build keeps those of each day; a
refreshed day stores the moments, which `and read` loads where they are not at hand.

The medians leave out what DuckDB does every few commits, writing its log into the file; the means have it.

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
from mlm_ops.moments.partitions import Partitions, Refresh
from mlm_ops.warehouse.source import open_source

DAYS = 100
BUILDS = 3
REFRESHES = 10


#: The group and the day of row i of so many rows, of so many groups.
SHAPES = {
    "rows of all groups every day": ("(random() * {groups})::int", "i * {days} // {rows}"),
    "rows of a twentieth of the groups a day": (
        # of one day to the next a fifth of its groups are others, and they lie all over the table
        "((random() * {groups} / 20)::int + i * {days} // {rows} * {groups} // {days}) * 7919 % {groups}",
        "date '2026-01-01' + (i * {days} // {rows})::int",
    ),
}


def main(rows: int, groups: int) -> None:
    """Print CPU seconds and wall time of scans, builds, refreshes of days, and of finding out that nothing changed."""
    sizes = {"rows": rows, "groups": groups, "days": DAYS}
    for title, (group, day) in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder, duckdb.connect(str(Path(folder) / "w.duckdb")) as connection:
            connection.execute(
                "create table t as select g, day, x, hash(g) % 7 as w, x + hash(g) % 1000 / 500 + random() as y "
                f"from (select {group.format(**sizes)} as g, {day.format(**sizes)} as day, random() as x "
                f"from range({rows}) r(i))"
            )
            print(f"{title}\n{'':20s} {'CPU s':>8s} {'mean':>8s} {'range':>13s} {'of a scan':>10s} {'wall s':>8s}")
            _report(_measure(connection))


def _measure(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall seconds of each kind of work."""
    source, models = open_source("t", connection), [parse_formula("y ~ x * w + (x | g)")]
    days = [day for (day,) in connection.execute("select day::varchar from t group by day order by day").fetchall()]
    seconds: dict[str, list[tuple[float, float]]] = {}
    for number in range(BUILDS):
        table = Partitions(connection, f"m{number}", source, "day", models)
        seconds.setdefault("build", []).append(_seconds(partial(table.refresh, None)))
        for i, day in enumerate(days[number :: DAYS // REFRESHES]):
            stored, read = _seconds_of_a_day(table, day)
            seconds.setdefault("one day", []).append(stored)
            seconds.setdefault("and read", []).append((stored[0] + read[0], stored[1] + read[1]))
            if i % 2 == 0:
                seconds.setdefault("scan of everything", []).append(_seconds(partial(collect, source, models)))
        for _ in range(3):
            seconds.setdefault("nothing new", []).append(_seconds(partial(table.refresh, None)))
    return seconds


def _seconds_of_a_day(table: Partitions, day: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """CPU and wall seconds of a refresh, and of loading the moments after it."""
    refreshes: list[Refresh] = []
    stored = _seconds(lambda: refreshes.append(table.refresh([day])))
    return stored, _seconds(lambda: refreshes[0].moments)


def _report(seconds: dict[str, list[tuple[float, float]]]) -> None:
    scan = statistics.median(cpu for cpu, _ in seconds["scan of everything"])
    for name, pairs in seconds.items():
        cpu = [pair[0] for pair in pairs]
        middle, wall = statistics.median(cpu), statistics.median(pair[1] for pair in pairs)
        bounds = f"{min(cpu):.3f}-{max(cpu):.3f}"
        print(f"{name:20s} {middle:8.3f} {statistics.mean(cpu):8.3f} {bounds:>13s} {middle / scan:10.1%} {wall:8.3f}")


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds, of all threads, and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


if __name__ == "__main__":
    main(*(int(float(argument)) for argument in sys.argv[1:3]))
