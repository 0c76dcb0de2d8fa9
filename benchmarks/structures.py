"""Three nested levels with slopes at two: the fit after the moments. Crossed factors: `crossed.py`.

uv run python benchmarks/structures.py
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import statistics
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


if __name__ == "__main__":
    measure(
        "1,000,000 rows, 50,000 classes in 5,000 schools",
        "y ~ x + z + (x | school) + (x | class)",
        three_level(1_000_000, 50_000, 5_000),
    )
