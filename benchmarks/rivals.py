"""From a DuckDB table to the Fit, against two compiled fitters that start from a data frame in memory.

    uv run python benchmarks/rivals.py [rows] [groups]

Each rival runs in an environment of its own, made by uv: mixedlm-rs and lme-python. Medians of five of ours, of three
of theirs, in one run on one machine; their log-likelihoods stand beside ours.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from simulate import two_level
from two_level import FORMULA, median_seconds

import mlm_ops as mlm

RIVALS = {
    "mixedlm-rs": """
import mixedlm_rs
data = pl.read_parquet(sys.argv[1]).to_pandas()
def fit():
    model = mixedlm_rs.mixedlm("y ~ x * w + z + t", data, groups="g", re_formula="~x")
    return model.fit().llf
""",
    "lme-python": """
import lme_python
data = pl.read_parquet(sys.argv[1]).with_columns(pl.col("g").cast(pl.String), pl.col("t").cast(pl.Float64))
def fit():
    result = lme_python.lmer("y ~ x * w + z + t + (x | g)", data=data, reml=True)
    value = getattr(result, "log_likelihood", None)
    return value() if callable(value) else value
""",
}
FRAME = """
import json, statistics, sys, time
import polars as pl
{code}
taken = []
for _ in range(3):
    started = time.perf_counter()
    likelihood = fit()
    taken.append(time.perf_counter() - started)
print(json.dumps([statistics.median(taken), likelihood]))
"""


def rival(name: str, parquet: Path, limit: float) -> tuple[float, float | None] | str:
    """Median seconds and log-likelihood, or what went wrong."""
    code = FRAME.format(code=RIVALS[name])
    command = ["uv", "run", "--no-project", "--with", name, "--with", "polars", "--with", "pandas", "--with", "pyarrow"]
    try:
        done = subprocess.run(
            [*command, "python", "-c", code, str(parquet)], capture_output=True, text=True, timeout=limit, check=True
        )
    except subprocess.TimeoutExpired:
        return f"no result within {limit:.0f} s"
    except subprocess.CalledProcessError as error:
        return error.stderr.strip().splitlines()[-1]
    seconds, likelihood = json.loads(done.stdout.splitlines()[-1])
    return seconds, likelihood


def main(rows: int, groups: int) -> None:
    """Measure and print."""
    connection = two_level(rows, groups)
    # as far as theirs: up to the likelihood, the estimates and their errors
    ours = median_seconds(lambda: mlm.fit(FORMULA, "data", connection=connection).estimate.vcov)
    likelihood = mlm.fit(FORMULA, "data", connection=connection).estimate.log_likelihood
    print(f"{rows:,} rows in {groups:,} groups: {FORMULA}, REML")
    print(f"mlm-ops      {ours:8.2f} s             log-likelihood {likelihood:.4f}")
    with tempfile.TemporaryDirectory() as folder:
        parquet = Path(folder) / "data.parquet"
        connection.execute(f"copy data to '{parquet}'")
        for name in RIVALS:
            result = rival(name, parquet, limit=900)
            if isinstance(result, str):
                print(f"{name:12} {result}")
            else:
                seconds, theirs = result
                shown = f"{theirs:.4f}" if theirs is not None else "not told"
                print(f"{name:12} {seconds:8.2f} s {seconds / ours:6.1f} times  log-likelihood {shown}")


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 20_000]))
