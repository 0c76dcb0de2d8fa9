"""Intervals of strata's deviations, their ratios and the autocorrelation; why the last has no bootstrap."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from mlm_ops.results.fitting import fit
from tests.specification.reference import reference

Array = NDArray[np.float64]
CHI_SQUARE = 3.841458820694124


def test_wald_limits_are_those_of_nlme() -> None:
    """intervals(lme(distance ~ age + Sex, ~ 1 | Subject, weights = varIdent(form = ~ 1 | Sex), method = "ML"))."""
    table, connection = reference.table("orthodont_ri"), reference.connection()
    fitted = fit(
        "distance ~ age + Sex + (1 | Subject)", table, connection=connection, estimator="ml", residual="by(Sex)"
    )
    rows = {(r["scale"], r["term"]): r for r in fitted.intervals("wald").iter_rows(named=True)}
    nlme = {
        ("std_dev", "(Intercept)"): (1.30190578473, 1.76262847938, 2.38639323425),
        ("sigma", "Female"): (0.613810319207, 0.790146886621, 1.017141750311),
        ("ratio", "Male"): (1.59208765049, 2.22413149854, 3.10709081958),
    }
    for key, limits in nlme.items():
        # nlme's second derivatives are rough differences; the next test has the limits from finer ones
        found = [rows[key][column] for column in ("conf_low", "estimate", "conf_high")]
        np.testing.assert_allclose(found, limits, rtol=1e-3)
    assert rows["ratio", "Male"]["other"] == "Female"
    assert rows["sigma", "Male"]["estimate"] == pytest.approx(0.790146886621 * 2.22413149854, rel=1e-5)


def test_profile_limits_against_the_dense_likelihood() -> None:
    """Strata and autocorrelation: at every limit the ML deviance, minimised over the rest, has risen enough."""
    rng = np.random.default_rng(3)
    g, t = np.repeat(np.arange(12), 6), np.tile([0, 1, 2, 4, 5, 7], 12)
    s = np.where(rng.random(72) < 0.5, "a", "b")
    gaps = np.abs(t[:, None] - t)
    same = g[:, None] == g
    truth = same * (1.0 + np.outer(1 + (s == "b"), 1 + (s == "b")) * 0.5**gaps)
    y = 1 + np.linalg.cholesky(truth) @ rng.normal(size=72)
    data = pl.DataFrame({"y": y, "g": g, "t": t, "s": s})
    fitted = fit("y ~ 1 + (1 | g)", data, estimator="ml", residual="by(s) + ar1(t)")
    profile = fitted.intervals("profile")

    def deviance(full: Array) -> float:
        """At log tau, log sigma_a, log sigma_b, atanh phi."""
        sigma = np.where(s == "a", np.exp(full[1]), np.exp(full[2]))
        v = same * (np.exp(2 * full[0]) + np.outer(sigma, sigma) * np.tanh(full[3]) ** gaps)
        inverse = np.linalg.inv(v)
        rest = y - inverse.sum(axis=0) @ y / inverse.sum()
        return float(np.linalg.slogdet(v)[1] + rest @ inverse @ rest + 72 * np.log(2 * np.pi))

    rows = {(r["scale"], r["term"]): r for r in profile.iter_rows(named=True)}
    phi = rows["phi", "phi"]["estimate"]
    sigmas = [rows["sigma", name]["estimate"] for name in "ab"]
    there = np.array([*np.log([rows["std_dev", "(Intercept)"]["estimate"], *sigmas]), np.arctanh(phi)])
    lowest = deviance(there)
    assert lowest == pytest.approx(-2 * fitted.estimate.log_likelihood, abs=1e-8)
    assert rows["ratio", "b"]["estimate"] == pytest.approx(sigmas[1] / sigmas[0], rel=1e-12)

    def rise(place: int, value: float, *, ratio: bool = False) -> float:
        free = np.delete(np.arange(4), place)

        def objective(rest: Array) -> float:
            full = np.empty(4)
            full[free], full[place] = rest, value
            if ratio:
                full[2] += full[1]
            return deviance(full)

        return float(minimize(objective, there[free], method="BFGS", options={"gtol": 1e-6}).fun) - lowest

    for limit in ("conf_low", "conf_high"):
        for place, name in ((1, "a"), (2, "b")):
            assert rise(place, np.log(rows["sigma", name][limit])) == pytest.approx(CHI_SQUARE, abs=1e-5)
        assert rise(2, np.log(rows["ratio", "b"][limit]), ratio=True) == pytest.approx(CHI_SQUARE, abs=1e-5)
        assert rise(3, np.arctanh(rows["phi", "phi"][limit])) == pytest.approx(CHI_SQUARE, abs=1e-5)
    wald = fitted.intervals("wald")
    assert wald["scale"].to_list() == ["std_dev", "sigma", "sigma", "ratio", "phi", "raw"]
    h, units = 1e-3, np.eye(4)
    hessian = np.array([[deviance(there + h * (a + b)) - deviance(there + h * (a - b)) for b in units] for a in units])
    hessian -= [[deviance(there - h * (a - b)) - deviance(there - h * (a + b)) for b in units] for a in units]
    vcov = 2 * np.linalg.inv(hessian / (4 * h**2))
    slopes = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, -1, 1, 0], [0, 0, 0, 1]])
    margin = 1.959963984540054 * np.sqrt(np.einsum("ki,ij,kj->k", slopes, vcov, slopes))
    for sign, limit in ((-1, "conf_low"), (1, "conf_high")):
        logs = slopes @ there + sign * margin
        # differences with a step of 1e-3 have an error of 1e-6
        np.testing.assert_allclose(wald[limit][:5], [*np.exp(logs[:4]), np.tanh(logs[4])], rtol=1e-4)


@pytest.mark.soak
def test_bootstrap_intervals_of_a_ratio_cover() -> None:
    """60 data sets, two deviations and their ratio each: 180 intervals of 95%, give or take four standard errors."""
    random = np.random.default_rng(8)
    g, s = np.repeat(np.arange(30), 8), np.tile(["a", "b"], 120)
    truth, covered = np.array([0.7, 1.5, 1.5 / 0.7]), []
    for _ in range(60):
        y = 2 + 0.7 * random.normal(size=30)[g] + np.where(s == "b", 1.5, 0.7) * random.normal(size=len(g))
        fitted = fit("y ~ 1 + (1 | g)", pl.DataFrame({"y": y, "g": g, "s": s}), residual="by(s)")
        intervals = fitted.intervals("bootstrap", samples=99).filter(pl.col("group") == "residual")
        covered.append((intervals["conf_low"].to_numpy() < truth) & (truth < intervals["conf_high"].to_numpy()))
    assert 0.88 <= np.mean(covered) <= 0.995


def test_equal_moments_do_not_determine_the_distribution_of_autocorrelated_data() -> None:
    """Why ar1() has no bootstrap and no Kenward-Roger: two predictors with equal moments, and different answers.

    Everything that moments hold of x is equal: its first row, its sums, squares and products with the row before. So
    the likelihood of any phi is that of the other. The variance of one of the sums that a bootstrap would draw, and
    ``x' V^-1 V_phi V^-1 V_phi V^-1 x``, are not.
    """
    first = np.array([0.12573022, -0.13210486, 0.64042265, 0.10490012, -0.53566937, 0.36159505, 1.30400005])
    second = np.array([0.12573022, 0.30720523, 0.56488649, 0.21306154, -0.63021673, -0.01579294, 1.30400005])
    gaps, phi = np.abs(np.subtract.outer(np.arange(7), np.arange(7))), 0.5
    r, slope = phi**gaps, gaps * phi ** np.maximum(gaps - 1.0, 0.0)
    inverse = np.linalg.inv(r)
    middle = inverse @ slope @ inverse @ slope @ inverse

    def sums(x: Array) -> list[float]:
        return [x[0], x[1:].sum(), x[:-1].sum(), x[1:] @ x[1:], x[:-1] @ x[:-1], x[1:] @ x[:-1], x @ inverse @ x]

    np.testing.assert_allclose(sums(first), sums(second), atol=1e-7)
    # of sum x_t e_t over the rows that have one before them
    assert first[1:] @ r[1:, 1:] @ first[1:] == pytest.approx(2.4496, abs=1e-4)
    assert second[1:] @ r[1:, 1:] @ second[1:] == pytest.approx(2.2832, abs=1e-4)
    assert first @ middle @ first == pytest.approx(12.2605, abs=1e-4)
    assert second @ middle @ second == pytest.approx(11.1984, abs=1e-4)
