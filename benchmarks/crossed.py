"""Crossed factors: CPU seconds, wall seconds and peak memory of the fit after the moments, beside lme4's.

    uv run python benchmarks/crossed.py [insteval] [movielens] [large]

Each case runs in a process of its own, so that its peak memory is its own. lme4 fits the first where R has it: with
thousands of effects beside the largest factor it takes hours. `large` takes some five minutes and 3.5 GB.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy
from simulate import crossed

from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source

#: Rows, units of s and of d, formula, fits, and whether lme4 does it in a minute or so.
CASES = {
    "insteval": (73_421, 2_972, 1_128, "y ~ service + (1 | s) + (1 | d) + (1 | dept)", 5, True),
    "movielens": (1_000_000, 6_000, 3_700, "y ~ service + (1 | s) + (1 | d)", 3, False),
    "large": (5_000_000, 20_000, 10_000, "y ~ service + (1 | s) + (1 | d)", 1, False),
}
LME4 = """
suppressMessages(library(lme4))
data <- read.csv("{path}")
taken <- system.time(fit <- lmer({formula}, data))
cat(taken[["user.self"]] + taken[["sys.self"]], taken[["elapsed"]], sprintf("%.4f", logLik(fit)),
    as.character(packageVersion("lme4")))
"""


def measure(name: str) -> None:
    """Fit one case several times and print a line of JSON."""
    rows, students, lecturers, formula, fits, rival = CASES[name]
    connection = crossed(rows, students, lecturers, 14)
    connection.execute("set memory_limit = '1GB'")
    model = parse_formula(formula)
    before = time.process_time()
    moments = collect(open_source("data", connection), [model])
    result: dict[str, object] = {"moments": time.process_time() - before}
    if rival and shutil.which("Rscript"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.csv"
            connection.execute(f"copy data to '{path}'")
            script = LME4.format(path=path, formula=formula)
            run = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
            result["lme4"] = run.stdout.split()
    connection.close()
    cpu_seconds, wall_seconds = [], []
    for _ in range(fits):
        cpu, wall = time.process_time(), time.perf_counter()
        fit = fit_model(Request(model), moments)
        _ = fit.fixed_effects
        cpu_seconds.append(time.process_time() - cpu)
        wall_seconds.append(time.perf_counter() - wall)
    optimum = fit.estimate.optimum
    result |= {"cpu": cpu_seconds, "wall": wall_seconds}
    result |= {"evaluations": optimum.evaluations, "likelihood": fit.estimate.log_likelihood}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(result | {"peak": peak * (1024 if sys.platform == "linux" else 1)}))


def spread(seconds: list[float]) -> str:
    """Median, and from the least to the largest."""
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})"


def main(names: list[str]) -> None:
    """Measure and print."""
    threads = os.environ["OPENBLAS_NUM_THREADS"]
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, {threads} BLAS thread(s), load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    )
    for name in names:
        rows, students, lecturers, formula, _, _ = CASES[name]
        command = [sys.executable, __file__, "--measure", name]
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{name}: {rows:,} rows, {students:,} by {lecturers:,}: {formula}, REML")
        print(
            f"  mlm-ops  CPU {spread(result['cpu'])}, wall {spread(result['wall'])}, scan {result['moments']:.2f} s, "
            f"peak {result['peak'] / 1e9:.2f} GB, {result['evaluations']} evaluations, "
            f"log-likelihood {result['likelihood']:.4f}"
        )
        if len(result.get("lme4", [])) == 4:
            cpu, wall, likelihood, version = result["lme4"]
            print(f"  lme4 {version}  CPU {float(cpu):.2f} s, wall {float(wall):.2f} s, log-likelihood {likelihood}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(sys.argv[2])
    else:
        main(sys.argv[1:] or ["insteval", "movielens"])
