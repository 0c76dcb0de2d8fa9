"""Roots against those of scipy, and how often a function is asked."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from scipy.optimize import brentq

from mlm_ops.inference.root import find_root

FUNCTIONS = [
    (lambda x: x**3 - 2 * x - 5, 2.0, 3.0),
    (lambda x: math.cos(x) - x, 0.0, 1.0),
    (lambda x: math.exp(x) - 1e6, -5.0, 40.0),
    (lambda x: math.atan(x - 3e5), -1e9, 1e9),
    (lambda x: (x - 1.0) ** 3, -3.0, 7.0),
    (lambda x: math.copysign(1.0, x - 0.3), 0.0, 1.0),
    (lambda x: x - 2.0, 2.0, 5.0),
    (lambda x: x - 2.0, 5.0, 2.0),
]


@pytest.mark.parametrize(("function", "low", "high"), FUNCTIONS)
def test_the_root_is_scipys_and_takes_no_more_steps(function, low, high):
    places: list[float] = []

    def noted(x: float) -> float:
        places.append(x)
        return function(x)

    root = find_root(noted, low, high, 1e-12, 1e-12)
    expected, steps = brentq(function, low, high, xtol=1e-12, rtol=1e-12, maxiter=1_000, full_output=True)
    assert root == pytest.approx(expected, abs=2e-12, rel=2e-12)
    assert len(places) <= 1.5 * steps.function_calls + 4


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_one_sign_is_refused(value):
    with pytest.raises(ValueError, match="The function has one sign at both ends"):
        find_root(lambda x: value, 0.0, 1.0, 1e-9, 1e-9)


def test_an_interval_of_one_variance_imports_no_minimiser():
    """To import scipy.optimize takes longer than ten such intervals; a process of its own, as the tests import it."""
    text = """
import sys
import numpy as np, polars as pl
import mlm_ops as mlm
from mlm_ops.results.tables.explained import icc
g = np.repeat(np.arange(20), 5)
rng = np.random.default_rng(1)
x = rng.normal(size=100)
fit = mlm.fit("y ~ x + (1 | g)", pl.DataFrame({"g": g, "x": x, "y": x + rng.normal(size=20)[g] + rng.normal(size=100)}))
assert icc(fit)["method"][0] == "profile", icc(fit)
assert "scipy.optimize" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", text], check=True)
