"""From a DuckDB table to the Fit, against other programs that start from a data frame in memory.

    uv run python benchmarks/rivals.py [rows] [groups]

Each rival of Python runs in an environment of its own, made by uv, in the newest version that can be installed; lme4
where R has it. Medians of up to three fits of theirs, in a minute, and of five of ours, with the smallest and the
largest, in one run on one machine; log-likelihoods stand beside ours.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from simulate import two_level
from two_level import FORMULA

import mlm_ops as mlm

READ = "data = pl.read_parquet(sys.argv[1])"
RIVALS = {
    "mixedlm-rs": f"""
import mixedlm_rs
{READ}.to_pandas()
def fit():
    model = mixedlm_rs.mixedlm("y ~ x * w + z + t", data, groups="g", re_formula="~x")
    return model.fit().llf
""",
    "mixedlm": f"""
import mixedlm
{READ}.to_pandas()
def fit():
    return mixedlm.lmer("y ~ x * w + z + t + (x | g)", data).logLik().value
""",
    "lme-python": f"""
import lme_python
{READ}.with_columns(pl.col("g").cast(pl.String), pl.col("t").cast(pl.Float64))
def fit():
    result = lme_python.lmer("y ~ x * w + z + t + (x | g)", data=data, reml=True)
    value = getattr(result, "log_likelihood", None)
    return value() if callable(value) else value
""",
    "gpboost": f"""
import numpy as np, gpboost
{READ}
g, x, w, z, t, y = (data[name].to_numpy() for name in "gxwzty")
design = np.column_stack([np.ones(len(x)), x, w, z, t, x * w])
def fit():
    model = gpboost.GPModel(group_data=g, group_rand_coef_data=x, ind_effect_group_rand_coef=[1], likelihood="gaussian")
    model.fit(y=y, X=design)
    # by ML, and without a covariance of intercept and slope
    return -model.get_current_neg_log_likelihood()
""",
}
FRAME = """
import json, statistics, sys, time
from importlib.metadata import version
import polars as pl
{code}
taken = []
while not taken or len(taken) < 3 and sum(taken) < 60:
    started = time.perf_counter()
    likelihood = fit()
    taken.append(time.perf_counter() - started)
print()
print(json.dumps([taken, likelihood, version(sys.argv[2])]))
"""
LME4 = """
arguments <- commandArgs(TRUE)
suppressPackageStartupMessages(library(lme4))
data <- read.csv(arguments[1])
taken <- c()
while (length(taken) < 3 && sum(taken) < 60) {
  started <- proc.time()[["elapsed"]]
  fit <- lmer(y ~ x * w + z + t + (x | g), data, control = lmerControl(calc.derivs = FALSE))
  taken <- c(taken, proc.time()[["elapsed"]] - started)
}
number <- packageVersion("lme4")
cat(sprintf("\\n[[%s], %.8f, \\"%s\\"]\\n", paste(taken, collapse = ", "), as.numeric(logLik(fit)), number))
"""
#: Seconds after which a rival is given up: reading the data, the first fit and any compilation included.
LIMIT = 100
Result = tuple[list[float], float | None, str]


def rival(command: list[str], limit: float) -> Result | str:
    """Seconds of each fit, log-likelihood and version, or what went wrong."""
    # a session of its own, as uv's child would outlive it and slow the next program down
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        output, complaint = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return f"no result within {limit:.0f} s"
    if process.returncode:
        return (complaint.strip().splitlines() or ["it ended"])[-1][:100]
    taken, likelihood, number = json.loads(output.splitlines()[-1])
    return taken, likelihood, number


def seconds_of(work: Callable[[], object], times: int = 5) -> list[float]:
    """Wall time of a few calls."""
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return taken


def main(rows: int, groups: int) -> None:
    """Measure and print."""
    connection = two_level(rows, groups)
    # as far as theirs: up to the likelihood, the estimates and their errors
    ours = seconds_of(lambda: mlm.fit(FORMULA, "data", connection=connection).estimate.vcov)
    likelihood = mlm.fit(FORMULA, "data", connection=connection).estimate.log_likelihood
    print(f"{rows:,} rows in {groups:,} groups, in the order of the groups: {FORMULA}, REML")
    print(line("mlm-ops", (ours, likelihood, version("mlm-ops")), ours))
    with tempfile.TemporaryDirectory() as folder:
        parquet, text = Path(folder) / "data.parquet", Path(folder) / "data.csv"
        connection.execute(f"copy data to '{parquet}'")
        for name, code in RIVALS.items():
            command = ["uv", "run", "--no-project", "--with", name]
            command += ["--with", "polars", "--with", "pandas", "--with", "pyarrow"]
            command += ["python", "-c", FRAME.format(code=code), str(parquet), name]
            print(line(name, rival(command, LIMIT), ours), flush=True)
        if shutil.which("Rscript") is not None:
            connection.execute(f"copy data to '{text}'")
            print(line("lme4", rival(["Rscript", "-e", LME4, str(text)], LIMIT), ours))


def line(name: str, result: Result | str, ours: list[float]) -> str:
    """One program's times, and how often ours fit into them."""
    if isinstance(result, str):
        return f"{name:12} {result}"
    taken, likelihood, number = result
    middle = statistics.median(taken)
    shown = f"log-likelihood {likelihood:.4f}" if likelihood is not None else "log-likelihood not told"
    spread = f"({min(taken):.2f} to {max(taken):.2f})"
    return f"{name:12} {number:10} {middle:8.2f} s {spread:18} {middle / statistics.median(ours):6.1f} times  {shown}"


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 20_000]))
