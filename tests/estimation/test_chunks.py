"""One grouping factor of many units is eliminated a chunk of them at a time: the same numbers, and little memory."""

from __future__ import annotations

import tracemalloc

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.estimation import engine, nested, nested_in_chunks
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.moments.collect import collect
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source


def rows(groups: int, size: int) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(groups), size)
    x, z, w = rng.normal(size=len(g)), rng.normal(size=len(g)), rng.normal(size=groups)[g]
    u = rng.normal(size=(2, groups))[:, g]
    y = 1 + u[0] + 0.5 * w + (0.4 + 0.3 * u[1] + 0.2 * w) * x + 0.1 * z + rng.normal(size=len(g))
    return pl.DataFrame({"g": g, "x": x, "z": z, "w": w, "t": (w > 0).astype(int), "y": y})


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ x * w + z + (x | g)", {}),
        ("y ~ x + (x || g)", {"estimator": "ml"}),
        ("y ~ x + (1 | g)", {"covariance": {"g": 0.7}}),
        ("y ~ x + (x | g)", {"residual": "by(t)"}),
        ("y ~ x + (x | g)", {"robust": "CR2"}),
    ],
)
def test_chunks_of_units_have_the_numbers_of_all_at_once(
    formula: str, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = rows(50, 6)
    whole = mlm.fit(formula, data, **options)  # type: ignore[arg-type]
    for module in (engine, nested, nested_in_chunks):
        monkeypatch.setattr(module, "CHUNK", 7)
    chunked = mlm.fit(formula, data, **options)  # type: ignore[arg-type]
    assert chunked.estimate.log_likelihood == pytest.approx(whole.estimate.log_likelihood, rel=1e-13)
    for one, other in (
        (chunked.estimate.gamma, whole.estimate.gamma),
        (chunked.vcov, whole.vcov),
        (chunked.estimate.parameters_vcov, whole.estimate.parameters_vcov),
        (chunked.random_effects["estimate"], whole.random_effects["estimate"]),
        (chunked.random_effects["std_error"], whole.random_effects["std_error"]),
    ):
        # sums in another order, at optima that differ by the search's last step
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-10)


def test_a_group_takes_little_memory_beyond_its_moments() -> None:
    """Two correlated effects and six predictors: 890 bytes a group with arrays of all units at once."""
    groups = 60_000
    with duckdb.connect() as connection:
        connection.register("data", rows(groups, 3))
        model = parse_formula("y ~ x * w + z + t + (x | g)")
        moments = collect(open_source("data", connection), [model])
    fit_model(Request(model), moments)
    tracemalloc.start()
    try:
        fit = fit_model(Request(model), moments)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert fit.converged
    assert kept / groups < 250
    # what a chunk takes is the same for any number of groups
    assert (peak - 8_192 * 90 * 8) / groups < 350
