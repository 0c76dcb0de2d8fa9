"""Lüdtke et al. (2008): the contextual effect by observed and by latent cluster means, over simulated data.

``python -m tests.structural.simulate_luedtke`` prints the numbers of docs/sem.md. Truth: 500 clusters of 5 rows,
intraclass correlation of x .10, within slope .3, between slope 1, so that the contextual effect is .7.
"""

from __future__ import annotations

import sys

import numpy as np
import polars as pl

from mlm_ops import fit, sem

TRUTH = 0.7
_NORMAL_975 = 1.959963984540054


def simulated(seed: int, clusters: int = 500, size: int = 5) -> pl.DataFrame:
    """One data set."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(clusters), size)
    x_b, x_w = np.sqrt(0.1) * rng.standard_normal(clusters), np.sqrt(0.9) * rng.standard_normal(len(g))
    u, e = np.sqrt(0.1) * rng.standard_normal(clusters), np.sqrt(0.6) * rng.standard_normal(len(g))
    return pl.DataFrame({"g": g, "x": x_b[g] + x_w, "y": 0.3 * x_w + x_b[g] + u[g] + e})


def contextual(data: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """Estimate and standard error by each method."""
    manifest = fit("y ~ x + between(x) + (1 | g)", data, estimator="ml", df="none").fixed_effects
    latent = sem("contextual: y ~ x", data, cluster="g").parameters
    rows = manifest.filter(pl.col("term") == "between(x)"), latent.filter(pl.col("lhs") == "contextual")
    found = [(float(row["estimate"][0]), float(row["std_error"][0])) for row in rows]
    return dict(zip(("manifest", "latent"), found, strict=True))


def summary(samples: int) -> dict[str, dict[str, float]]:
    """Mean estimate, its standard deviation, mean standard error, and coverage of 95% intervals."""
    found = [contextual(simulated(seed)) for seed in range(samples)]
    result = {}
    for method in ("manifest", "latent"):
        estimate, error = np.array([sample[method] for sample in found]).T
        result[method] = {
            "mean": float(estimate.mean()),
            "sd": float(estimate.std(ddof=1)),
            "std_error": float(error.mean()),
            "coverage": float((np.abs(estimate - TRUTH) < _NORMAL_975 * error).mean()),
        }
    return result


if __name__ == "__main__":
    for method, numbers in summary(int(sys.argv[1]) if len(sys.argv) > 1 else 500).items():
        print(method, {name: round(value, 4) for name, value in numbers.items()})
