"""CR2 errors and their degrees of freedom after a fit, for single-level regression and for a random slope.

    uv run python benchmarks/robust.py [rows] [clusters]

Prints medians of five.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
from functools import partial

from simulate import two_level
from two_level import median_seconds

from mlm_ops.inference.fixed.robust import cluster_robust
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source

FORMULAS = ("y ~ x * w + z + t", "y ~ x * w + z + t + (x | g)")


def main(rows: int, clusters: int) -> None:
    """Measure and print."""
    models = [parse_formula(formula) for formula in FORMULAS]
    moments = collect(open_source("data", two_level(rows, clusters)), models, ["g"])
    for formula, model in zip(FORMULAS, models, strict=True):
        result = fit_model(Request(model, robust="CR2", cluster=("g",)), moments).estimate
        assert result.design.clusters is not None
        for kind in ("CR0", "CR2"):
            seconds = median_seconds(partial(cluster_robust, result, kind, result.design.clusters))
            print(f"{kind} over {clusters:,} clusters {seconds * 1000:8.1f} ms   {formula}")


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 20_000]))
