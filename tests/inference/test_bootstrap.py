"""The bootstrap without rows against rows: equal moments of the cross-products, and intervals that cover."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.inference.fixed.tests import DF_METHODS
from mlm_ops.inference.intervals.bootstrap import bootstrap, simulator
from mlm_ops.inference.intervals.wald import wald_intervals
from mlm_ops.results.fit import Fit
from mlm_ops.results.fitting import fit
from tests.specification.reference import reference

Array = NDArray[np.float64]
SAMPLES = 4000


def _two_levels() -> Fit:
    """Units of one, two and more rows: fewer than the columns, as many, more."""
    random = np.random.default_rng(1)
    g = np.repeat(np.arange(12), [1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 20])
    x = random.normal(size=len(g)) + 3
    y = 2 + x + random.normal(size=12)[g] + 0.5 * random.normal(size=12)[g] * x + random.normal(size=len(g))
    return fit("y ~ x + (x | g)", pl.DataFrame({"y": y, "x": x, "g": g}), estimator="ml")


def _rows_of(fitted: Fit) -> tuple[Array, Array, Array]:
    """The rows behind `_two_levels`, their columns in the engine's basis: Z and X, (N, 2) each, and the units."""
    design = fitted.estimate.design
    random = np.random.default_rng(1)
    g = np.repeat(np.arange(12), [1, 1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 20])
    columns = np.column_stack((np.ones(len(g)), random.normal(size=len(g)) + 3))
    labels = design.levels[0].labels.tolist()
    unit = np.array([labels.index(str(i)) for i in g])
    z = columns @ design.levels[0].blocks[0].transform / design.outcome_scale
    return z, columns @ design.fixed.transform / design.outcome_scale, unit


def _products_from_rows(fitted: Fit) -> tuple[Array, Array]:
    """D'y of every unit (samples, 4, J) and y'y of all rows (samples,), from simulated rows."""
    z, x, unit = _rows_of(fitted)
    result = fitted.estimate
    units, random = unit.max() + 1, np.random.default_rng(2)
    lam = result.criterion.factors(result.optimum.theta)[0]
    s = np.sqrt(result.scaled_sigma2)
    u = s * random.normal(size=(SAMPLES, units, 2)) @ lam.T
    y = x @ result.optimum.solution.beta + np.einsum("nq,snq->sn", z, u[:, unit])
    y += s * random.normal(size=y.shape)
    d = np.column_stack((z, x))
    cross = np.stack([y[:, unit == j] @ d[unit == j] for j in range(units)], axis=2)
    return cross, (y**2).sum(axis=1)


def test_the_rows_of_this_test_are_those_of_the_fit() -> None:
    fitted = _two_levels()
    z, x, unit = _rows_of(fitted)
    d = np.column_stack((z, x))
    for j in range(unit.max() + 1):
        own = d[unit == j]
        np.testing.assert_allclose(own.T @ own, fitted.estimate.products[:-1, :-1, j], atol=1e-10)


def test_cross_products_are_distributed_as_those_of_rows() -> None:
    """Means, variances and covariances with y'y, each to five standard errors of the difference."""
    fitted = _two_levels()
    cross, square = _products_from_rows(fitted)
    source, random = simulator(fitted.estimate), np.random.default_rng(3)
    draws = [source.draw(random)[0] for _ in range(SAMPLES)]
    ours = np.array([d[:-1, -1] for d in draws])
    our_square = np.array([d[-1, -1].sum() for d in draws])
    for first, second in ((ours, cross), (our_square, square)):
        error = np.sqrt((first.var(axis=0) + second.var(axis=0)) / SAMPLES)
        assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) < 5 * error).all()
        for a, b in _second_moments(first, second):
            error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / SAMPLES)
            assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 5 * error + 1e-12).all()
    both = [(c - c.mean(axis=0)) * (s - s.mean())[:, None, None] for c, s in ((ours, our_square), (cross, square))]
    error = np.sqrt((both[0].var(axis=0) + both[1].var(axis=0)) / SAMPLES)
    assert (np.abs(both[0].mean(axis=0) - both[1].mean(axis=0)) < 5 * error).all()


def _second_moments(first: Array, second: Array) -> list[tuple[Array, Array]]:
    """Squares, and products of neighbouring columns, around the means."""
    a, b = (v - v.mean(axis=0) for v in (first, second))
    found = [(a**2, b**2)]
    if a.ndim == 3:
        found += [(a[:, i] * a[:, k], b[:, i] * b[:, k]) for i, k in pairwise(range(a.shape[1]))]
    return found


def test_a_cell_with_fewer_rows_than_columns_stays_in_their_span() -> None:
    """A unit of one row has products of rank one, so D'y is a multiple of that row, whatever is drawn."""
    fitted = _two_levels()
    source = simulator(fitted.estimate)
    sizes = [1, 1, 2, 2]
    labels = fitted.estimate.design.levels[0].labels.tolist()
    random = np.random.default_rng(4)
    for i, size in enumerate(sizes):
        j = labels.index(str(i))
        assert source.in_span[0, j].sum() == size
        drawn = np.array([source.draw(random)[0, :-1, -1, j] for _ in range(6)])
        assert np.linalg.matrix_rank(drawn, tol=1e-6) == size


def test_a_sample_has_positive_definite_cross_products() -> None:
    """y'y of all rows is never less than what the columns explain."""
    source, random = simulator(reference.fitted("sleep_rs").estimate), np.random.default_rng(5)
    for _ in range(50):
        total = source.draw(random)[0, 2:, 2:].sum(axis=2)
        assert np.linalg.eigvalsh(total)[0] > 0


@pytest.mark.parametrize("name", ["sleep_rs", "pastes_nested", "penicillin_reml", "weights_ri"])
def test_refits_scatter_around_the_fit(name: str) -> None:
    """Fixed effects are unbiased and as precise as their standard errors say; nested, crossed and weighted."""
    case = reference.case(name)
    estimator = case["estimator"].lower()
    result = fit(
        case["formula"],
        reference.table(name),
        connection=reference.connection(),
        estimator=estimator,
        weights=case["weights"],
    ).estimate
    draws = bootstrap(result, 150, seed=6)
    fixed = np.array([p.kind == "fixed" for p in draws.parameters])
    errors = np.sqrt(np.diag(result.vcov))
    off = (draws.draws[:, fixed].mean(axis=0) - result.gamma) / errors
    assert (np.abs(off) < 4.5 / np.sqrt(150)).all()
    ratio = draws.draws[:, fixed].std(axis=0, ddof=1) / errors
    assert (np.abs(np.log(ratio)) < 4.5 / np.sqrt(2 * 150)).all()
    assert draws.n_unconverged == 0


def test_equal_seeds_give_equal_draws() -> None:
    fitted = reference.fitted("sleep_ri")
    first, again, other = (fitted.intervals("bootstrap", seed=seed, samples=20) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_basic_limits_are_reflected_and_stay_possible() -> None:
    draws = bootstrap(reference.fitted("pastes_nested").estimate, 60, seed=7)
    percentile, basic = draws.percentile(), draws.basic()
    np.testing.assert_allclose(basic.high, 2 * draws.estimate - percentile.low)
    assert (basic.low[:3] >= 0).all()


def test_intervals_cover() -> None:
    """50 data sets of 30 groups, three parameters each: 150 intervals of 95%, give or take four standard errors."""
    random = np.random.default_rng(8)
    g, truth, covered = np.repeat(np.arange(30), 8), np.array([1.0, 2.0, 0.5]), []
    for _ in range(50):
        x = random.normal(size=len(g))
        y = 2 + 0.5 * x + 0.7 * random.normal(size=30)[g] + random.normal(size=len(g))
        intervals = fit("y ~ x + (1 | g)", pl.DataFrame({"y": y, "x": x, "g": g})).intervals("bootstrap", samples=99)
        low, high = intervals["conf_low"].to_numpy()[1:], intervals["conf_high"].to_numpy()[1:]
        covered.append((low < truth) & (truth < high))
    assert 0.88 <= np.mean(covered) <= 0.995


def test_strata_are_drawn_with_their_own_variances() -> None:
    """Their y'y, of rows of which the columns explain a part, against simulated rows; five standard errors."""
    random = np.random.default_rng(9)
    g, s = np.repeat(np.arange(8), 6), np.tile(["a", "b", "b"], 16)
    x = random.normal(size=len(g))
    y = 1 + x + random.normal(size=8)[g] + np.where(s == "b", 2.0, 0.7) * random.normal(size=len(g))
    result = fit("y ~ x + (1 | g)", pl.DataFrame({"y": y, "x": x, "g": g, "s": s}), residual="by(s)").estimate
    source = simulator(result)
    draws = [source.draw(random) for _ in range(1000)]
    squares = np.array([d[:, -1, -1].sum(axis=1) for d in draws])
    sums = np.array([d[:, :-1, -1].ravel() for d in draws])
    delta = np.where(s == "b", source.deviations[1], source.deviations[0])
    scale = result.design.outcome_scale
    columns = np.column_stack((np.ones(len(g)), x))
    z = columns[:, :1] @ result.design.levels[0].blocks[0].transform / scale
    fixed = columns @ result.design.fixed.transform / scale
    deviation = float(np.sqrt(source.sigma2) * source.factors[0][0, 0])
    simulated = fixed @ source.beta + z[:, 0] * deviation * random.normal(size=(1000, 8))[:, g]
    simulated += delta * random.normal(size=simulated.shape)
    their_squares = np.stack([(simulated[:, s == k] ** 2).sum(axis=1) for k in "ab"], axis=1)
    d = np.column_stack((z, fixed))
    chosen = [(s == k) & (g == j) for k in "ab" for j in range(8)]
    their_sums = np.stack([simulated[:, rows] @ d[rows] for rows in chosen], axis=2)
    ours = sums.reshape(1000, 2, 3, 8).transpose(0, 2, 1, 3).reshape(1000, 3, 16)
    for first, second in ((squares, their_squares), (ours, their_sums)):
        error = np.sqrt((first.var(axis=0) + second.var(axis=0)) / 1000)
        assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) < 5 * error).all()
        np.testing.assert_allclose(np.log(first.std(axis=0) / second.std(axis=0)), 0, atol=5 / np.sqrt(1000))


def test_refits_of_strata_scatter_around_the_fit() -> None:
    """Logarithms of the strata's deviations and of their ratio, as precise as their Wald errors say."""
    random = np.random.default_rng(10)
    g, s = np.repeat(np.arange(40), 10), np.tile(["a", "b"], 200)
    y = 1 + random.normal(size=40)[g] + np.where(s == "b", 2.0, 0.7) * random.normal(size=len(g))
    result = fit("y ~ 1 + (1 | g)", pl.DataFrame({"y": y, "g": g, "s": s}), residual="by(s)").estimate
    draws, wald = bootstrap(result, 150, seed=11), wald_intervals(result, DF_METHODS["satterthwaite"](result))
    assert draws.n_unconverged == 0
    for i, parameter in enumerate(draws.parameters):
        if parameter.scale in {"sigma", "ratio"}:
            logs = np.log(draws.draws[:, i] / draws.estimate[i])
            error = np.log(wald.high[i] / wald.low[i]) / (2 * 1.959964)
            assert abs(logs.mean()) < 4.5 * error / np.sqrt(150)
            assert abs(np.log(logs.std(ddof=1) / error)) < 4.5 / np.sqrt(2 * 150)
    assert [p.scale for p in draws.parameters] == ["std_dev", "sigma", "sigma", "ratio", "raw"]


def test_faults_are_refused_in_a_sentence() -> None:
    fitted = reference.fitted("sleep_ri")
    with pytest.raises(
        MlmError, match=r"samples is not understood\. Got 1; expected a whole number from 2 to 100,000\."
    ):
        fitted.intervals("bootstrap", samples=1)
    rows = reference.connection().sql(f"select * from {reference.table('orthodont_ri')}").pl()
    serial = fit("distance ~ 1 + (1 | Subject)", rows, residual="ar1(age)")
    with pytest.raises(MlmError, match=r"No bootstrap for autocorrelated residuals.*method='profile'"):
        serial.intervals("bootstrap")
