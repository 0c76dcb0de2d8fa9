"""An optimum that does not depend on where the search began, nor its cost on the number of rows."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.estimation.optimize import minimise
from tests.specification.reference import reference


@pytest.mark.parametrize("name", ["hsb_three_slopes", "slopes5_full", "slopes4_singular", "sim3_nested"])
def test_two_hundred_random_starts_end_at_the_same_deviance(name: str) -> None:
    """Standard deviations of the starts reach from a hundredth of the residual's to ten times it."""
    result = reference.fitted(name).estimate
    rng = np.random.default_rng(2024)
    found = []
    for _ in range(200):
        start = rng.normal(size=result.criterion.n_theta) * 10 ** rng.uniform(-2, 1)
        optimum = minimise(result.criterion, start)
        assert optimum.converged
        found.append(optimum.solution.criterion)
    np.testing.assert_allclose(found, result.optimum.solution.criterion, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["hsb_three_slopes", "slopes4_singular", "dyestuff2_reml"])
def test_singular_fits_take_few_evaluations(name: str) -> None:
    """Near a boundary the exact Hessian in theta is nearly singular, and damping could creep."""
    assert reference.fitted(name).estimate.optimum.evaluations <= 60


def test_the_engine_sees_units_not_rows() -> None:
    """A hundred times the rows in the same groups: the same arrays, so the same cost of an evaluation."""
    sizes = []
    for copies in (1, 100):
        rng = np.random.default_rng(3)
        g = np.repeat(np.arange(50), 8 * copies)
        x = rng.normal(size=len(g))
        y = rng.normal(size=50)[g] + 0.3 * x + rng.normal(size=len(g))
        design = mlm.fit("y ~ x + (x | g)", pl.DataFrame({"g": g, "x": x, "y": y})).estimate.design
        sizes.append(design.products.shape)
    assert sizes[0] == sizes[1] == (5, 5, 50)


def test_eight_correlated_random_effects() -> None:
    """36 elements of T, recovered from 400 groups within their standard errors."""
    rng = np.random.default_rng(8)
    groups, rows, q = 400, 30, 8
    g = np.repeat(np.arange(groups), rows)
    z = np.column_stack([np.ones(len(g)), rng.normal(size=(len(g), q - 1))])
    root = np.tril(rng.normal(size=(q, q))) * 0.3 + np.eye(q) * 0.5
    u = rng.normal(size=(groups, q)) @ root.T
    y = z @ np.ones(q) + (z * u[g]).sum(axis=1) + rng.normal(size=len(g))
    names = [f"x{i}" for i in range(1, q)]
    data = pl.DataFrame({"g": g, "y": y, **{name: z[:, i] for i, name in enumerate(names, start=1)}})
    terms = " + ".join(names)
    fit = mlm.fit(f"y ~ {terms} + ({terms} | g)", data)
    assert fit.converged
    errors = fit.variance_errors.tau[0]
    assert np.abs((fit.estimate.tau[0] - root @ root.T) / errors).max() < 4.5


#: g, h, x and y of 23 rows.
FEW = """
0 3 .71 .09, 2 3 .38 -2.26, 5 1 -1.1 .05, 3 3 -.91 -1.93, 2 4 .86 1.5, 4 2 1.75 .96,
2 1 .27 -1.25, 3 2 .31 .63, 4 4 .22 -1.48, 1 1 .9 -.65, 0 4 .97 -1.71, 3 4 1.4 .52,
1 4 1.05 1.32, 4 2 1.08 .35, 3 0 -.62 .46, 5 3 -.76 .04, 0 2 .66 2.17, 0 1 .41 -2.29,
2 1 -1.63 -.54, 1 1 .72 -.19, 5 4 1.06 3.9, 4 1 -.26 -1.27, 1 0 -.95 -1.68
"""


def test_a_lower_minimum_beside_that_at_zero() -> None:
    """In 17 units the deviance is 80.0646 at a variance of zero and 79.8382 beyond a barrier; lme4 finds that."""
    rows = pl.DataFrame(
        [list(map(float, row.split())) for row in FEW.split(",")], schema=["g", "h", "x", "y"], orient="row"
    )
    fit = mlm.fit("y ~ x + (1 | g:h)", rows, estimator="ml")
    # by the way of REML too, as compare() goes
    by_reml = mlm.fit("y ~ x + (1 | g:h)", rows)
    assert by_reml.by_ml.log_likelihood == pytest.approx(fit.estimate.log_likelihood, abs=1e-9)
    # lme4 1.1-31: logLik -39.9191, slope 0.329, standard deviation 1.329, to the digits printed
    assert fit.fit_statistics["log_likelihood"][0] == pytest.approx(-39.9191, abs=5e-5)
    assert fit.fixed_effects["estimate"][1] == pytest.approx(0.329, abs=5e-4)
    assert fit.variance_components["std_dev"][0] == pytest.approx(1.329, abs=5e-4)
