"""Ten models of one analysis, and a build-up of forty candidates, against the first model alone, in one run.

uv run python benchmarks/ladder.py [rows] [groups]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys

from simulate import two_level
from two_level import median_seconds

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.run import climb_analysis, collect_analysis, fit_analysis_model

MODELS = {
    "first": "y ~ x * w + z + t + (x | g)",
    "null": "y ~ 1 + (1 | g)",
    "rancova": "y ~ within(x) + (1 | g)",
    "means": "y ~ w + (1 | g)",
    "context": "y ~ within(x) + between(x) + (1 | g)",
    "covariates": "y ~ within(x) + between(x) + z + t + (1 | g)",
    "slope": "y ~ within(x) + between(x) + (within(x) | g)",
    "independent": "y ~ within(x) + between(x) + (within(x) || g)",
    "cross": "y ~ within(x) * w + between(x) + (within(x) | g)",
    "full": "y ~ within(x) * w + between(x) + z + t + (within(x) | g)",
}
#: Forty terms in the order in which a build-up tries them.
CANDIDATES = {
    "fixed": [
        *("x", "z", "t", "I(x**2)", "I(z**2)", "I(t**2)", "I(x**3)", "I(z**3)", "I(t**3)", "x:z", "x:t", "z:t"),
        *("abs(x)", "abs(z)", "abs(t)", "exp(x)", "exp(z)", "exp(t)"),
    ],
    "level 2": [
        *("w", "between(x)", "between(z)", "between(t)", "I(w**2)", "I(w**3)", "abs(w)", "exp(w)"),
        *("between(abs(x))", "between(abs(z))", "between(abs(t))"),
    ],
    "random": ["x", "z", "t"],
    "cross-level": ["x:w", "z:w", "t:w", "x:z:w", "x:t:w", "z:t:w", "within(x)", "within(z)"],
}


def analysis(**keys: object) -> Analysis:
    """An analysis of the simulated table."""
    return Analysis.model_validate({"analysis": "ladder", "data": "data", "levels": ["g"], **keys})


def main(rows: int, groups: int) -> None:
    """Measure and print."""
    connection = two_level(rows, groups)
    ten = analysis(models=MODELS)

    def fit_all() -> None:
        moments = collect_analysis(ten, connection)
        for name in MODELS:
            _ = fit_analysis_model(ten, name, moments).fixed_effects

    first = median_seconds(lambda: mlm.fit(MODELS["first"], "data", connection=connection).fixed_effects)
    all_ten = median_seconds(fit_all)
    print(f"{rows:,} rows in {groups:,} groups")
    print(f"first model       {first:7.2f} s")
    print(f"ten models        {all_ten:7.2f} s   {all_ten / first:5.1f} times the first")

    up = analysis(
        models={"null": MODELS["null"], "first": MODELS["first"]},
        strategy="build_up",
        start="null",
        candidates=CANDIDATES,
    )
    steps = 0

    def climb() -> None:
        nonlocal steps
        climbed = climb_analysis(up, collect_analysis(up, connection))
        assert climbed is not None
        steps = sum(step.fit is not None for step in climbed.ladder.steps)

    def start() -> None:
        # of that model alone, which needs fewer moments
        _ = mlm.fit(MODELS["null"], "data", connection=connection).fixed_effects

    first, build_up = median_seconds(start), median_seconds(climb, 3)
    print(f"{steps} candidates fitted of {sum(map(len, CANDIDATES.values()))}, in a build-up")
    print(f"null alone        {first:7.2f} s")
    print(f"the whole         {build_up:7.2f} s   {build_up / first:5.1f} times the null model from the table")


if __name__ == "__main__":
    arguments = [int(float(a)) for a in sys.argv[1:]]
    main(*(arguments or [1_000_000, 20_000]))
