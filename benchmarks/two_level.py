"""From a DuckDB table to the Fit, against DuckDB's own group means over the same columns, side by side in one run.

    uv run python benchmarks/two_level.py [rows] [groups]

Prints medians of five, their ratio, the parts, and the peak memory of the fitting process.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import resource
import statistics
import sys
import time
from collections.abc import Callable

from simulate import two_level

import mlm_ops as mlm
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source

FORMULA = "y ~ x * w + z + t + (x | g)"
GROUP_MEANS = "select g, avg(y), avg(x), avg(w), avg(z), avg(t) from data group by g"


def median_seconds(work: Callable[[], object], times: int = 5, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median time of a few calls, by the clock on the wall unless another is named."""
    seconds = []
    for _ in range(times):
        started = clock()
        work()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def wall_and_cpu(work: Callable[[], object]) -> tuple[float, float]:
    """Median seconds by the clock, and of the processors."""
    return median_seconds(work), median_seconds(work, clock=time.process_time)


def main(rows: int, groups: int) -> None:
    """Measure and print."""
    connection = two_level(rows, groups)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model = parse_formula(FORMULA)
    means = wall_and_cpu(lambda: connection.execute(GROUP_MEANS).fetchnumpy())
    whole = wall_and_cpu(lambda: mlm.fit(FORMULA, "data", connection=connection).fixed_effects)
    moments = collect(open_source("data", connection), [model])
    scan = wall_and_cpu(lambda: collect(open_source("data", connection), [model]))
    fitting = wall_and_cpu(lambda: fit_model(Request(model), moments).fixed_effects)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fit = fit_model(Request(model), moments)
    print(f"{rows:,} rows in {groups:,} groups: {FORMULA}; {fit.estimate.optimum.evaluations} evaluations")
    print(f"{'':14s}{'wall ms':>8s}  times {'CPU ms':>8s}  times")
    for what, (wall, cpu) in (
        ("group means", means),
        ("table to Fit", whole),
        ("  moments", scan),
        ("  fit, tests", fitting),
    ):
        print(f"{what:14s}{wall * 1000:8.1f} {wall / means[0]:6.1f} {cpu * 1000:8.1f} {cpu / means[1]:6.1f}")
    print(f"peak memory {peak:.0f} MB, {before:.0f} MB of it before, data included")


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 20_000]))
