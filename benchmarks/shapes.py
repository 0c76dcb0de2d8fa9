"""Models of other shapes, from a DuckDB table to the Fit, against programs that start from a data frame in memory.

    uv run python benchmarks/shapes.py [rows] [groups]

Twenty predictors with a random intercept; eight correlated random effects; three levels with slopes. As `rivals.py`.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import duckdb
from rivals import FRAME, LIMIT, READ, line, rival, seconds_of
from simulate import many_predictors, three_level

import mlm_ops as mlm

TWENTY = " + ".join(f"p{i}" for i in range(1, 21))
SEVEN = " + ".join(f"p{i}" for i in range(1, 8))
MIXEDLM_RS = """
import mixedlm_rs
{read}.to_pandas()
def fit():
    return mixedlm_rs.mixedlm({fixed!r}, data, groups="g", re_formula={random!r}).fit().llf
"""
MIXEDLM = """
import mixedlm
{read}.to_pandas()
def fit():
    return mixedlm.lmer({formula!r}, data).logLik().value
"""


def compare(title: str, formula: str, connection: duckdb.DuckDBPyConnection, name: str, code: str) -> None:
    """Fit a model by ours and by one rival, and print both."""

    def fit() -> mlm.Fit:
        return mlm.fit(formula, "data", connection=connection)

    ours = seconds_of(lambda: fit().estimate.vcov)
    print(title)
    print(line("mlm-ops", (ours, fit().estimate.log_likelihood, version("mlm-ops")), ours))
    with tempfile.TemporaryDirectory() as folder:
        parquet = Path(folder) / "data.parquet"
        connection.execute(f"copy data to '{parquet}'")
        command = ["uv", "run", "--no-project", "--with", name]
        command += ["--with", "polars", "--with", "pandas", "--with", "pyarrow"]
        command += ["python", "-c", FRAME.format(code=code), str(parquet), name]
        print(line(name, rival(command, LIMIT), ours), flush=True)


def main(rows: int, groups: int) -> None:
    """Measure and print."""
    print(f"{rows:,} rows in {groups:,} groups, in the order of the groups; REML")
    for title, formula, fixed, random, slopes in (
        ("twenty predictors, random intercept", f"y ~ {TWENTY} + (1 | g)", f"y ~ {TWENTY}", "~1", 0),
        ("eight correlated random effects", f"y ~ {SEVEN} + ({SEVEN} | g)", f"y ~ {SEVEN}", f"~{SEVEN}", 7),
    ):
        connection = many_predictors(rows, groups, 7 if slopes else 20, slopes)
        compare(title, formula, connection, "mixedlm-rs", MIXEDLM_RS.format(read=READ, fixed=fixed, random=random))
    formula = "y ~ x + z + (x | school) + (x | class)"
    compare(
        f"three levels: {groups:,} classes in {groups // 20:,} schools, slopes at both",
        formula,
        three_level(rows, groups, groups // 20),
        "mixedlm",
        MIXEDLM.format(read=READ, formula=formula),
    )


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 20_000]))
