"""Parsing and compiling a model, warm: the slowest of all reference cases, as a formula and as level equations.

uv run python benchmarks/language.py
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mlm_ops.language.formula import parse_formula
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.model import Column
from mlm_ops.results.equations.levels import level_equations_of

CASES = Path(__file__).parents[1] / "tests" / "specification" / "reference" / "cases"


def milliseconds(compile_model: Callable[[], object]) -> float:
    """Median of twenty compilations after a first one."""
    compile_model()
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        compile_model()
        taken.append(time.perf_counter() - started)
    return 1e3 * statistics.median(taken)


def formulas() -> dict[str, str]:
    """Every formula of the reference cases, by case."""
    by_case: dict[str, str] = {}
    for path in sorted(CASES.glob("*.json")):
        case = json.loads(path.read_text())
        models = case.get("models", {"": case})
        by_case |= {f"{path.stem} {name}".strip(): model["formula"] for name, model in models.items()}
    return by_case


if __name__ == "__main__":
    measured: dict[str, float] = {}
    for name, formula in formulas().items():
        measured[f"{name}: {formula}"] = milliseconds(partial(parse_formula, formula))
        model = parse_formula(formula)
        if len(model.groups) == 1:
            levels = level_equations_of(
                model, list(model.groups), lambda variable: 1 + (not isinstance(variable, Column))
            )
            measured[f"{name}: level equations"] = milliseconds(partial(parse_model, levels.text, levels.levels))
    slowest = max(measured, key=measured.__getitem__)
    print(f"{len(measured)} models; median {statistics.median(measured.values()):.2f} ms")
    print(f"slowest {measured[slowest]:.2f} ms, {slowest}")
