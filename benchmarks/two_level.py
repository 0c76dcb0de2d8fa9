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


def median_seconds(work: Callable[[], object], times: int = 5) -> float:
    """Median wall time of a few calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main(rows: int, groups: int) -> None:
    """Measure and print."""
    connection = two_level(rows, groups)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    model = parse_formula(FORMULA)
    means = median_seconds(lambda: connection.execute(GROUP_MEANS).fetchnumpy())
    whole = median_seconds(lambda: mlm.fit(FORMULA, "data", connection=connection).fixed_effects)
    moments = collect(open_source("data", connection), [model])
    scan = median_seconds(lambda: collect(open_source("data", connection), [model]))
    fitting = median_seconds(lambda: fit_model(Request(model), moments).fixed_effects)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fit = fit_model(Request(model), moments)
    print(f"{rows:,} rows in {groups:,} groups: {FORMULA}")
    print(f"group means   {means * 1000:8.1f} ms")
    print(f"table to Fit  {whole * 1000:8.1f} ms   {whole / means:5.1f} times the group means")
    print(f"  moments     {scan * 1000:8.1f} ms   {scan / means:5.1f}")
    print(f"  fit, tests  {fitting * 1000:8.1f} ms   {fitting / means:5.1f}   {fit.estimate.optimum.evaluations} evals")
    print(f"peak memory   {peak:8.0f} MB   ({before:.0f} MB of it before, data included)")


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 20_000]))
