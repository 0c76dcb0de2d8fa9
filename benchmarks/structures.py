"""Three nested levels with slopes at two: the fit after the moments. Crossed factors: `crossed.py`.

uv run python benchmarks/structures.py [rows] [classes] [schools]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
import sys
import time

import duckdb
from simulate import three_level

from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source


def measure(title: str, formula: str, connection: duckdb.DuckDBPyConnection) -> None:
    """Median of five fits from collected moments, tests of the fixed effects included."""
    model = parse_formula(formula)
    started = time.perf_counter()
    moments = collect(open_source("data", connection), [model])
    scan = time.perf_counter() - started
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        fit = fit_model(Request(model), moments)
        _ = fit.fixed_effects
        taken.append(time.perf_counter() - started)
    optimum = fit.estimate.optimum
    print(f"{title}: {formula}")
    print(
        f"  moments {scan:.2f} s, {moments.n_units:,} units; fit {statistics.median(taken):.2f} s, "
        f"{optimum.evaluations} evaluations, converged {optimum.converged}"
    )


def main(rows: int, classes: int, schools: int) -> None:
    """Measure and print."""
    title = f"{rows:,} rows, {classes:,} classes in {schools:,} schools"
    measure(title, "y ~ x + z + (x | school) + (x | class)", three_level(rows, classes, schools))


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 50_000, 5_000]))
