"""From a table on disk to the Fit, with DuckDB limited to 2 GB, against DuckDB's group means of the same columns.

    uv run python benchmarks/on_disk.py [rows] [groups] [folder]

The rows lie in the order of their groups, in single precision, as the largest tables do: eight bytes a row and a few
for its group. The table is written to a new folder in `folder` and removed again; each of the two runs is a process of
its own, of which the wall time, the CPU time and the peak memory are printed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import duckdb
from around_the_fit import run

LIMIT = "set memory_limit = '2GB'; set threads = 2"
OPEN = f"import duckdb\nconnection = duckdb.connect('rows.duckdb')\nconnection.execute({LIMIT!r})\n"
MEANS = "connection.execute('select g, avg(y), avg(x) from data group by g').fetchnumpy()\n"
FIT = """
import mlm_ops as mlm
fit = mlm.fit("y ~ x + (x | g)", "main.data", connection=connection)
fit.fixed_effects
print(fit)
"""


def make_rows(path: Path, rows: int, groups: int) -> None:
    """Write a table `data` with y on x and a random slope, group by group."""
    with duckdb.connect(path) as connection:
        connection.execute(LIMIT)
        connection.execute("select setseed(0.4)")
        normal = "sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())"
        # a group's effects from its number, so that no table of groups has to be joined
        share = "(hash(g, {}) >> 11) / 9007199254740992.0"
        effect = f"sqrt(-2 * ln(1 - {share.format(1)})) * {{}}(2 * pi() * {share.format(2)})"
        connection.execute(
            f"""create table data as
            with numbered as (select (i * {groups} // {rows})::integer as g, {normal} as x from range({rows}) as r(i)),
            with_effects as (
                select g, x, {effect.format("cos")} as u0, 0.3 * {effect.format("sin")} as u1 from numbered
            )
            select g, x::float as x, (1 + u0 + (0.4 + u1) * x + {normal})::float as y from with_effects"""
        )


def main(rows: int, groups: int, folder: str | None) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "rows.duckdb"
        started = time.perf_counter()
        make_rows(path, rows, groups)
        seconds, size = time.perf_counter() - started, path.stat().st_size / 2**30
        where = f"{size:.1f} GB on disk, written in {seconds:.0f} s; {os.cpu_count()} processors"
        print(f"{rows:,} rows in {groups:,} groups, {where}", flush=True)
        means = run((sys.executable, "-c", OPEN + MEANS), path.parent)
        fit = run((sys.executable, "-c", OPEN + FIT), path.parent)
    for what, (cpu, wall, peak) in (("group means", means), ("table to Fit", fit)):
        ratio = f"{cpu / means[0]:5.2f} times the CPU time of the group means" if what != "group means" else ""
        print(f"{what:13s} wall {wall:7.1f} s   CPU {cpu:7.1f} s   {peak:6.0f} MB   {ratio}")


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    numbers = [int(float(number)) for number in sys.argv[1:3]] or [100_000_000, 1_000_000]
    main(numbers[0], numbers[1], sys.argv[3] if sys.argv[3:] else None)
