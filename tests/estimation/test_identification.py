"""Variances that the data do not determine are null, with a note; variances of very different size are estimated."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import mlm_ops as mlm
from mlm_ops.errors import IdentificationError, MlmError
from mlm_ops.results.fit import Fit

Array = NDArray[np.float64]
DATA = Path(__file__).parents[1] / "specification" / "reference" / "data"


@pytest.fixture(scope="module")
def schools() -> Fit:
    return mlm.fit("mathach ~ ses + sector + (sector | school)", DATA / "hsb.csv")


@pytest.fixture(scope="module")
def twice() -> pl.DataFrame:
    """Groups under two names."""
    r = np.random.default_rng(0)
    g = np.repeat(np.arange(30), 5)
    x, u, e = r.normal(size=150), r.normal(size=30), r.normal(size=150)
    return pl.DataFrame({"g": g, "h": [f"u{unit}" for unit in g], "x": x, "y": u[g] + e})


def test_a_school_has_one_sector_so_its_slope_has_no_variance(schools: Fit) -> None:
    """T00 is that of the first sector's schools; T10 and T11 may be anything with the same T00 + 2 T10 + T11."""
    table = schools.variance_components
    first = table.filter((pl.col("term") == "(Intercept)") & pl.col("other").is_null()).row(0, named=True)
    assert first["estimate"] == pytest.approx(3.934771, abs=5e-6)
    assert first["std_error"] > 0
    assert table["std_error"].is_null().to_list() == [False, True, True, False]
    assert [note for note in schools.notes if "determine" in note] == [
        "the data do not determine the covariance of (Intercept) with sector[Public] over school and the variance of "
        "sector[Public] over school: other values fit as well, so there is no standard error or interval, and one "
        "parameter is not counted"
    ]
    assert schools.converged
    assert not schools.singular
    assert schools.estimate.optimum.verdict == "flat"
    limits = schools.intervals("profile").filter(pl.col("group") == "school")
    assert limits["conf_low"].is_null().to_list() == [False, True, True]


def test_the_parameters_that_the_data_determine_are_counted(schools: Fit) -> None:
    """Two variances, one of each sector: as many as two random intercepts of independent schools have."""
    statistics = schools.fit_statistics.row(0, named=True)
    assert statistics["n_parameters"] == 6
    assert statistics["aic"] == pytest.approx(statistics["deviance"] + 12)
    assert statistics["bic"] == pytest.approx(statistics["deviance"] + 6 * math.log(7185))


def test_symbols_are_unique_and_mplus_refuses(schools: Fit) -> None:
    symbols = schools.variance_components["symbol"].to_list()
    assert symbols == ["tau_00", "tau_01,0", "tau_01,01", "sigma2"]
    assert "+ u_0j + u_01j sector[Public]_j" in schools.equations()
    with pytest.raises(MlmError) as refusal:
        schools.to_mplus()
    assert str(refusal.value) == (
        "Mplus has no random slopes of variables over the units in which they do not vary. Got sector[Public] over "
        "school."
    )


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g) + (1 | h)", "y ~ x + (1 | g/h)"])
def test_one_partition_under_two_names_is_one_variance(twice: pl.DataFrame, formula: str) -> None:
    both, one = mlm.fit(formula, twice), mlm.fit("y ~ x + (1 | g)", twice)
    assert both.estimate.log_likelihood == pytest.approx(one.estimate.log_likelihood, abs=1e-9)
    assert both.estimate.n_parameters == one.estimate.n_parameters == 4
    assert both.variance_components["std_error"].is_null().to_list() == [True, True, False]
    total = sum(float(tau[0, 0]) for tau in both.estimate.tau)
    assert total == pytest.approx(float(one.estimate.tau[0][0, 0]), rel=1e-6)
    for method in ("wald", "profile"):
        assert both.intervals(method)["conf_low"].is_null().to_list() == [True, True, False, False, False]


def test_a_variance_of_zero_is_counted_as_it_would_be_elsewhere() -> None:
    """Where both are zero the Hessian in theta is curved, and one of the two is still a parameter too many."""
    r = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 5)
    data = pl.DataFrame({"g": g, "h": g + 100, "y": r.normal(size=150)})
    fit = mlm.fit("y ~ 1 + (1 | g) + (1 | h)", data)
    assert fit.singular
    assert (fit.estimate.n_parameters, fit.estimate.undetermined.missing) == (3, 1)


def test_two_rows_a_group_do_not_determine_a_variance_and_an_autocorrelation() -> None:
    """Three parameters for the two elements of a 2 x 2 matrix: all three are open."""
    r = np.random.default_rng(0)
    g = np.repeat(np.arange(60), 2)
    data = pl.DataFrame({"g": g, "t": np.tile([1, 2], 60), "y": r.normal(size=60)[g] + r.normal(size=120)})
    fit = mlm.fit("y ~ 1 + (1 | g)", data, residual="ar1(t)")
    assert fit.variance_components["std_error"].is_null().all()
    assert fit.estimate.n_parameters == 3


def test_a_step_that_adds_nothing_is_not_compared(twice: pl.DataFrame) -> None:
    larger, smaller = mlm.fit("y ~ x + (1 | g) + (1 | h)", twice), mlm.fit("y ~ x + (1 | g)", twice)
    (comparison,) = smaller.compare(larger).to_dicts()
    assert comparison["p_value"] is None
    assert comparison["note"] == "the data determine no more parameters than in the smaller fit"


def test_effects_of_undetermined_variances_are_null(schools: Fit, twice: pl.DataFrame) -> None:
    """Which part of an effect is the school's and which its copy's rests on where the search ended."""
    for fit in (schools, mlm.fit("y ~ x + (1 | g) + (1 | h)", twice)):
        effects = fit.random_effects.select("estimate", "std_error", "conf_low", "conf_high", "reliability")
        assert effects.null_count().sum_horizontal().item() == effects.height * effects.width
    explained = mlm.fit("y ~ x + (1 | g) + (1 | h)", twice).r_squared()
    assert explained.filter((pl.col("measure") == "raudenbush_bryk") & pl.col("group").is_not_null()).is_empty()


@pytest.mark.parametrize("estimator", ["reml", "ml"])
@pytest.mark.parametrize("power", range(-6, 9))
def test_intercepts_up_to_a_hundred_million_times_the_residual(power: int, estimator: str) -> None:
    """The closed form of a balanced one-way layout (Searle, Casella and McCulloch 1992, section 4.2).

    Within 1e-6 in the log-likelihood: the residual sum of squares of groups 1e3 times as far apart as their rows keeps
    10 digits, that of larger ratios, taken around each group's mean, all that the data have (7 at 1e8).
    """
    groups, size = 40, 5
    r = np.random.default_rng(power + 10)
    g = np.repeat(np.arange(groups), size)
    y = 10.0**power * r.normal(size=groups)[g] + r.normal(size=groups * size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = mlm.fit("y ~ 1 + (1 | g)", pl.DataFrame({"g": g, "y": y}), estimator=estimator)
        profile = fit.intervals("profile")
    expected, tau, sigma2 = _one_way(y.reshape(groups, size), reml=estimator == "reml")
    assert fit.estimate.log_likelihood == pytest.approx(expected, abs=1e-6)
    assert fit.estimate.sigma2 == pytest.approx(sigma2, rel=1e-7)
    assert fit.converged
    assert fit.singular == (tau == 0)
    assert float(fit.estimate.tau[0][0, 0]) == pytest.approx(tau, rel=1e-6, abs=1e-8 * sigma2)
    assert not fit.estimate.undetermined.any
    assert np.isfinite(profile["conf_low"].to_numpy()).all()


@pytest.mark.parametrize("power", range(-2, 9))
def test_slopes_and_intercepts_far_apart(power: int) -> None:
    """Balanced, so that T is that of the groups' own lines: intercepts 10^power, slopes 1."""
    groups, size = 40, 6
    r = np.random.default_rng(power + 10)
    x, g = np.arange(size) - 2.5, np.repeat(np.arange(groups), size)
    rows = np.tile(x, groups)
    y = 10.0**power * r.normal(size=groups)[g] + r.normal(size=groups)[g] * rows + r.normal(size=len(g))
    fit = mlm.fit("y ~ x + (x | g)", pl.DataFrame({"g": g, "x": rows, "y": y}))
    expected = _lines(y.reshape(groups, size), x)
    if expected is None:
        assert fit.singular
    else:
        assert fit.estimate.log_likelihood == pytest.approx(expected, abs=1e-6)
    assert fit.converged
    assert not fit.estimate.undetermined.any


def test_what_groups_and_predictors_reproduce_is_refused_as_what_predictors_do() -> None:
    r = np.random.default_rng(0)
    g, x = np.repeat(np.arange(20), 6), r.normal(size=120)
    u, v = r.normal(size=20)[g], r.normal(size=20)[g]
    for formula, y in (("y ~ x + (1 | g)", 2 + 3 * x + u), ("y ~ x + (x | g)", 2 + 3 * x + u + v * x)):
        with pytest.raises(IdentificationError) as refusal:
            mlm.fit(formula, pl.DataFrame({"g": g, "x": x, "y": y}))
        assert str(refusal.value) == (
            "The predictors and the random effects of g reproduce the outcome but for rounding, so no residual "
            "variance is left to estimate. Is a copy of the outcome among the predictors, or is it computed from them "
            "in each group?"
        )
    fit = mlm.fit("y ~ x + (x | g)", pl.DataFrame({"g": g, "x": x, "y": 1e6 * (u + v * x) + r.normal(size=120)}))
    assert fit.notes[0].startswith("predictors and groups leave ")
    assert fit.notes[0].endswith(
        " of the outcome's variation, so that the residual variance, and all that rests on it, has about 3 digits"
    )


def _one_way(y: Array, *, reml: bool) -> tuple[float, float, float]:
    """Log-likelihood, variance between groups, and residual variance."""
    groups, size = y.shape
    means = y.mean(axis=1)
    within, between = ((y - means[:, None]) ** 2).sum(), size * ((means - means.mean()) ** 2).sum()
    n, df = groups * size, groups - reml
    sigma2, total = within / (n - groups), between / df
    if total < sigma2:
        sigma2 = total = (within + between) / (n - reml)
    deviance = (n - reml) * np.log(2 * np.pi) + (n - groups) * np.log(sigma2) + within / sigma2
    deviance += df * np.log(total) + between / total + reml * np.log(n)
    return float(-deviance / 2), float((total - sigma2) / size), float(sigma2)


def _lines(y: Array, x: Array) -> float | None:
    """Restricted log-likelihood of random lines over the same x; None where T is on the boundary."""
    groups, size = y.shape
    design = np.column_stack((np.ones(size), x))
    lines = np.linalg.lstsq(design, y.T, rcond=None)[0]
    rest = y.T - design @ lines
    more = np.linalg.lstsq(design, rest, rcond=None)[0]  # once more, as intercepts may be 1e8
    within = float(((rest - design @ more) ** 2).sum())
    cross = design.T @ design
    scaled = np.linalg.cholesky(cross).T @ (lines + more)
    scaled = scaled - scaled.mean(axis=1, keepdims=True)
    sigma2, total = within / (groups * (size - 2)), scaled @ scaled.T / (groups - 1)
    if np.linalg.eigvalsh(total)[0] <= sigma2:
        return None
    deviance = (groups * size - 2) * np.log(2 * np.pi) + groups * (size - 2) * np.log(sigma2) + within / sigma2
    deviance += (groups - 1) * (np.linalg.slogdet(total)[1] + 2)
    return float(-(deviance + 2 * np.log(groups) + np.linalg.slogdet(cross)[1]) / 2)
