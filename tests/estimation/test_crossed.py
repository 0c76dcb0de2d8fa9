"""Crossed random effects against the slow, obvious way, whichever way the products are made; and their memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.linalg.lapack
from numpy.typing import NDArray

import mlm_ops as mlm
from mlm_ops.errors import IdentificationError
from mlm_ops.estimation import crossed_remaining, memory, unit_squares
from mlm_ops.estimation.crossed import Cross, build_cross
from mlm_ops.estimation.crossed_remaining import Remaining, Rest, TwoTriangles
from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.estimate import Estimate

Array = NDArray[np.float64]

FORMULAS = ("y ~ x + (1 | a) + (1 | b)", "y ~ x + (1 | a) + (1 | b) + (x | c)", "y ~ x + (x | a) + (1 | b) + (x || c)")


def dense(estimate: Estimate, lams: list[Array]) -> tuple[Array, float]:
    """W and log |V| with all random effects in one matrix: the oracle."""
    products, levels = estimate.products, estimate.design.levels
    positions, blocks, start = [], [], 0
    for level, lam in zip(levels, lams, strict=True):
        units = len(level.labels)
        positions += [start + level.codes * len(lam) + i for i in range(len(lam))]
        blocks.append(np.kron(np.eye(units), lam))
        start += units * len(lam)
    whole = np.zeros((start, start))
    for i, block in enumerate(blocks):
        before = sum(len(b) for b in blocks[:i])
        whole[before : before + len(block), before : before + len(block)] = block
    q = len(positions)
    zz, zx = np.zeros((start, start)), np.zeros((start, len(products) - q))
    for i, rows in enumerate(positions):
        np.add.at(zx, rows, products[i, q:].T)
        for k, columns in enumerate(positions):
            np.add.at(zz, (rows, columns), products[i, k])
    h = np.eye(start) + whole.T @ zz @ whole
    right = whole.T @ zx
    w = products[q:, q:].sum(axis=2) - right.T @ np.linalg.solve(h, right)
    return w, float(np.linalg.slogdet(h)[1])


@pytest.fixture(scope="module")
def data() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    rows = 900
    a, b, c = rng.integers(0, 60, rows), rng.integers(0, 23, rows), rng.integers(0, 7, rows)
    x = rng.normal(size=rows)
    y = 1 + (0.5 + 0.4 * rng.normal(size=60)[a]) * x + rng.normal(size=60)[a] + rng.normal(size=23)[b]
    y += (1 + 0.5 * x) * rng.normal(size=7)[c] + rng.normal(size=rows)
    return pl.DataFrame({"a": a, "b": b, "c": c, "x": x, "y": y})


@pytest.fixture(params=["pairs", "products"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The table of pairs, or sparse products; several blocks of rows in both."""
    monkeypatch.setattr(crossed_remaining, "_ROWS", 8)
    if request.param == "products":
        monkeypatch.setattr(unit_squares, "_MOST_PAIRS", 0)
    return str(request.param)


@pytest.mark.parametrize("formula", FORMULAS)
def test_the_likelihood_equals_the_dense_one(formula: str, data: pl.DataFrame, way: str) -> None:
    estimate = mlm.fit(formula, data).estimate
    criterion = estimate.criterion
    assert isinstance(criterion.engine, Cross)
    assert (criterion.engine.b._pairs is not None) == (way == "pairs")
    for factor in (1.0, 0.3, 20.0):
        lams = criterion.factors(factor * estimate.optimum.theta)
        w, log_determinant, _ = criterion.engine.eliminate(lams)
        expected, expected_log = dense(estimate, lams)
        # both lose the digits of one Cholesky factor with condition numbers of up to 1e5
        np.testing.assert_allclose(w, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())
        np.testing.assert_allclose(log_determinant, expected_log, rtol=1e-11)


def _differences(function: Any, theta: Array, h: float) -> Array:
    return np.array([(function(theta + h * e) - function(theta - h * e)) / (2 * h) for e in np.eye(len(theta))])


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.usefixtures("way")
def test_derivatives_equal_differences(formula: str, data: pl.DataFrame) -> None:
    estimate = mlm.fit(formula, data).estimate
    criterion, theta = estimate.criterion, 1.2 * estimate.optimum.theta + 0.05
    gradient, hessian = criterion.gradient(criterion.solve(theta)), criterion.hessian(theta)
    # central differences: 1e-10 of truncation, and rounding of a deviance of 1e3 or of its derivatives over 1e-5
    by_differences = _differences(lambda t: criterion.solve(t).criterion, theta, 1e-5)
    np.testing.assert_allclose(gradient, by_differences, rtol=1e-5, atol=1e-6 * np.abs(gradient).max())
    by_differences = _differences(lambda t: criterion.gradient(criterion.solve(t)), theta, 1e-5)
    np.testing.assert_allclose(hessian, by_differences, rtol=1e-6, atol=1e-7 * np.abs(hessian).max())
    assert criterion.has_curvature(criterion.solve(theta))


@pytest.mark.parametrize("formula", FORMULAS)
def test_derivatives_by_covariances_where_one_is_singular(formula: str, data: pl.DataFrame) -> None:
    """At a zero Lambda those by theta vanish, and others come from K itself: the limit of nearby ones."""
    estimate = mlm.fit(formula, data).estimate
    criterion = estimate.criterion
    block = criterion.blocks[-1]
    gradients = []
    for size in (0.0, 1e-3, 0.02):
        theta = estimate.optimum.theta.copy()
        theta[block.theta] *= size
        solution = criterion.solve(theta)
        gradients.append(criterion.covariance_gradients(solution))
        np.testing.assert_allclose(
            criterion.gradient(solution),
            _differences(lambda t: criterion.solve(t).criterion, theta, 1e-5),
            rtol=1e-5,
            atol=1e-6 * np.abs(estimate.optimum.hessian).max(),
        )
    for zero, small, larger in zip(*gradients, strict=True):
        # T is of the order of the square of `size`, 1e-6 and 4e-4
        np.testing.assert_allclose(small, zero, rtol=1e-3, atol=1e-3 * np.abs(zero).max())
        np.testing.assert_allclose(larger, zero, rtol=0.1, atol=0.1 * np.abs(zero).max())


def test_few_evaluations_find_the_optimum(data: pl.DataFrame) -> None:
    """A start from the data, the average information, and second derivatives that are no differences."""
    for formula, most in zip(FORMULAS[:2], (8, 12), strict=True):
        optimum = mlm.fit(formula, data).estimate.optimum
        assert optimum.converged
        assert optimum.decrement < 1e-11
        assert optimum.evaluations <= most


def test_an_evaluation_makes_one_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """K, the factor and the inverse share 8 R^2 bytes; blocks of rows beside them are a small part of these."""
    monkeypatch.setattr(unit_squares, "_MOST_PAIRS", 0)
    monkeypatch.setattr(crossed_remaining, "_ROWS", 32)
    rng = np.random.default_rng(0)
    rows, effects = 6000, 700
    codes = [rng.permutation(np.arange(rows) % 1500), np.arange(rows) % effects]
    columns = np.column_stack([np.ones((rows, 3)), rng.normal(size=rows)])
    products = CrossProducts.of(np.einsum("ra,rb->abr", columns, columns))
    engine = build_cross(products, [1, 1], codes)
    lams = [np.array([[0.5]]), np.array([[0.7]])]
    engine.eliminate(lams)  # what an engine keeps for all evaluations
    tracemalloc.start()
    _, _, trace = engine.eliminate(lams)
    engine.pull_back(trace, np.eye(2))
    assert trace.triangles.inverted
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.35 * 8 * effects**2


def test_too_many_effects_for_the_memory_are_refused(data: pl.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: memory.Memory(3_000_000_000))
    memory.check_memory(13_000)
    with pytest.raises(IdentificationError) as caught:
        memory.check_memory(59_047)
    assert str(caught.value) == (
        "Crossed grouping factors leave 59,047 random effects beside the largest factor, which need 55.8 GB of memory; "
        "3.0 GB are free. Use fewer random terms, grouping factors with fewer units, or a machine with more memory."
    )
    monkeypatch.setattr(memory, "available_memory", lambda: memory.Memory(1000))
    memory.check_memory(2_000)  # 64 MB: not checked
    monkeypatch.setattr(memory, "_LITTLE", 0)
    with pytest.raises(IdentificationError, match="leave 23 random effects"):
        mlm.fit(FORMULAS[0], data)
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    memory.check_memory(59_047)


def test_the_memory_that_is_free() -> None:
    free = memory.available_memory()
    assert free is None or 10_000_000 < free.size < 10**14


def test_the_limit_of_the_process_own_control_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root has no limit, the process' slice 5000 bytes, itself 9000: the slice leaves 5000 - (800 - 300)."""
    own = tmp_path / "slice" / "job"
    own.mkdir(parents=True)
    for folder, limit, used in ((tmp_path, "max", 7000), (own.parent, "5000", 800), (own, "9000", 700)):
        (folder / "memory.max").write_text(limit)
        (folder / "memory.current").write_text(str(used))
        (folder / "memory.stat").write_text("anon 1\ninactive_file 300\n")
    (tmp_path / "cgroup").write_text("4:cpu:/\n0::/slice/job\n")
    monkeypatch.setattr(memory, "_OWN_GROUPS", tmp_path / "cgroup")
    monkeypatch.setitem(memory._CONTAINERS, "", (str(tmp_path), *memory._CONTAINERS[""][1:]))
    assert memory.available_memory() == memory.Memory(4500)


def test_all_memory_is_not_said_to_be_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a system tells only what it has."""
    for name in ("_OWN_GROUPS", "_MEMINFO"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 500_000, "SC_PAGE_SIZE": 4000}.__getitem__)
    with pytest.raises(IdentificationError, match=r"of memory; the machine has 2\.0 GB in all\. Use fewer"):
        memory.check_memory(59_047)


def _triangles(k: float) -> TwoTriangles:
    """Of four units, of one effect each: K of k in all places, Lambda one."""
    return TwoTriangles.fill(Rest((Remaining(1, 4, slice(0, 4)),)), iter([np.full((4, 4), k)]), [np.eye(1)])


def test_a_matrix_without_a_factor_has_no_solutions() -> None:
    """H = I - 1 1' has an eigenvalue of -3: half a factor would give numbers that look like some."""
    triangles = _triangles(-1.0)
    assert np.isnan(triangles.log_determinant)
    assert all(np.isnan(solution).all() for solution in triangles.solve(np.ones((4, 2))))
    assert np.isnan(triangles.inverse_rows(slice(0, 4))).all()
    np.testing.assert_array_equal(triangles.k_rows(slice(0, 4)), -np.ones((4, 4)))


def test_a_factor_that_lapack_copies_is_written_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """H = I + 1 1' has the inverse I - 1 1' / 5."""
    for name in ("dpotrf", "dpotri"):
        original = getattr(scipy.linalg.lapack, name)

        def copying(matrix: np.ndarray, original: Any = original, **options: Any) -> Any:
            return original(matrix.copy(order="F"), **options)

        monkeypatch.setattr(scipy.linalg.lapack, name, copying)
    triangles = _triangles(1.0)
    np.testing.assert_allclose(triangles.log_determinant, np.log(5), rtol=1e-14)
    np.testing.assert_allclose(triangles.solve(np.ones((4, 1)))[1], np.full((4, 1), 0.2), rtol=1e-14)
    np.testing.assert_allclose(triangles.inverse_rows(slice(0, 4)), np.eye(4) - 0.2, rtol=1e-14)
    with pytest.raises(RuntimeError, match="solve before inverting"):
        triangles.solve(np.ones((4, 1)))
