"""Models without fixed effects, and values of any size: a number, null, or one sentence, never a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import DataError


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _data() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    n, g = 120, np.repeat(np.arange(20), 6)
    x, w = rng.normal(size=n), rng.normal(size=20)[g]
    y = 1 + rng.normal(size=20)[g] + x * rng.normal(size=20)[g] + rng.normal(size=n)
    s = np.where(rng.random(n) < 0.5, "a", "b")
    return pl.DataFrame({"x": x, "w": w, "g": g, "h": g // 5, "s": s, "t": np.tile(np.arange(6), 20), "y": y})


_METHODS: dict[str, Callable[[mlm.Fit, pl.DataFrame], Any]] = {
    "fixed_effects": lambda fit, data: fit.fixed_effects,
    "variance_components": lambda fit, data: fit.variance_components,
    "random_effects": lambda fit, data: fit.random_effects,
    "fit_statistics": lambda fit, data: fit.fit_statistics,
    "standard_errors": lambda fit, data: fit.standard_errors(),
    "r_squared": lambda fit, data: fit.r_squared(fit),
    "icc": lambda fit, data: fit.icc(),
    "decomposition": lambda fit, data: fit.decomposition(),
    "groups": lambda fit, data: fit.groups(),
    "unit_lines": lambda fit, data: fit.unit_lines(),
    "contextual_effects": lambda fit, data: fit.contextual_effects(),
    "diagnostics": lambda fit, data: fit.diagnostics(data),
    "equations": lambda fit, data: fit.equations(estimates=True),
    "wald": lambda fit, data: fit.intervals(),
    "profile": lambda fit, data: fit.intervals("profile"),
    "bootstrap": lambda fit, data: fit.intervals("bootstrap", samples=10),
    "predict": lambda fit, data: fit.predict(data),
    "marginal": lambda fit, data: fit.predict(data, "marginal"),
    "prediction_sql": lambda fit, data: fit.prediction_sql("t"),
    "print": lambda fit, data: str(fit),
}


@pytest.mark.parametrize(
    ("formula", "options"),
    [
        ("y ~ 0 + (1 + x | g)", {}),
        ("y ~ 0 + (1 | h/g)", {}),
        ("y ~ 0 + (1 | g) + (1 | t)", {}),
        ("y ~ 0 + (1 | g)", {"df": "kenward-roger"}),
        ("y ~ 0 + (1 | g)", {"robust": "CR2"}),
        ("y ~ 0 + (1 | g)", {"residual": "by(s)"}),
        ("y ~ 0 + (1 | g)", {"covariance": {"g": 2.0}}),
        ("y ~ 0", {}),
    ],
)
def test_a_model_without_fixed_effects_answers_everything(formula: str, options: dict[str, Any]) -> None:
    data = _data()
    fit = mlm.fit(formula, data, **options)
    assert fit.fixed_effects.height == 0
    for call in _METHODS.values():
        call(fit, data)


def test_the_likelihood_of_a_model_without_fixed_effects() -> None:
    """The dense log-likelihood at the fit's own T and sigma2; REML is ML here."""
    data = _data()
    fit = mlm.fit("y ~ 0 + (1 + x | g)", data)
    y, x, g = (data[c].to_numpy() for c in ("y", "x", "g"))
    z = np.column_stack((np.ones_like(x), x))
    v = fit.estimate.sigma2 * np.eye(120) + (z @ fit.estimate.tau[0] @ z.T) * (g[:, None] == g)
    expected = -0.5 * (120 * np.log(2 * np.pi) + np.linalg.slogdet(v)[1] + y @ np.linalg.solve(v, y))
    assert fit.estimate.log_likelihood == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("options", [{}, {"df": "kenward-roger"}, {"robust": "CR2"}, {"residual": "by(s)"}], ids=str)
@pytest.mark.parametrize(("column", "scale"), [("y", 1e-100), ("y", 1e100), ("x", 1e-100), ("x", 1e100), ("w", 1e100)])
def test_nothing_depends_on_units(column: str, scale: float, options: dict[str, Any]) -> None:
    data = _data()
    own, other = (
        mlm.fit("y ~ x * w + (1 + x | g)", d, **options) for d in (data, data.with_columns(pl.col(column) * scale))
    )
    # the search ends at a decrement of 1e-12, of which df keep six digits
    for name, tolerance in (("statistic", 1e-6), ("df", 1e-4), ("p_value", 1e-4)):
        assert other.fixed_effects[name].to_list() == pytest.approx(own.fixed_effects[name].to_list(), rel=tolerance)
    found, expected = (fit.intervals().filter(pl.col("scale") == "correlation") for fit in (other, own))
    assert found["conf_low"].to_list() == pytest.approx(expected["conf_low"].to_list(), rel=1e-4)
    for name in ("standard_errors", "icc", "r_squared", "print"):
        _METHODS[name](other, data)


@pytest.mark.parametrize(
    ("column", "scale", "sentence"),
    [
        ("y", 1e160, "The values of y are too large for their squares to be computed. Got deviations from the mean "),
        ("x", 1e200, "The values of x are too large for their squares to be computed. Got deviations from the mean "),
        ("x", 1e-170, "The values of x are too small for their squares to be computed. Got deviations from the mean "),
    ],
)
def test_what_cannot_be_squared_is_refused(column: str, scale: float, sentence: str) -> None:
    with pytest.raises(mlm.DataError) as refused:
        mlm.fit("y ~ x + (1 | g)", _data().with_columns(pl.col(column) * scale))
    told = "above 1e145" if scale > 1 else "below 1e-140"
    assert str(refused.value) == (
        f"{sentence}{told}; expected ones between 1e-140 and 1e145. Measure it in another unit."
    )


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ I(x - 9007199254740992) + (1 | g)"])
def test_whole_numbers_that_a_double_cannot_tell_apart_are_refused(formula: str) -> None:
    data = _data().with_columns(x=pl.lit(2**53) + pl.col("t"))
    with pytest.raises(mlm.DataError) as refused:
        mlm.fit(formula, data)
    assert str(refused.value) == (
        "Column 'x' holds whole numbers that lie too near to each other for their size, so that a double loses their "
        "differences. Got values from 9007199254740992 to 9007199254740997. Take a constant off them in a view or "
        "SELECT: x - 9007199254740992."
    )


def test_identifiers_of_all_sizes_are_numbers_still() -> None:
    rng = np.random.default_rng(1)
    data = _data().with_columns(x=pl.Series(rng.integers(-(2**62), 2**62, 120)))
    assert mlm.fit("y ~ x + (1 | g)", data).fixed_effects["std_error"][1] > 0


def test_a_value_of_units_that_was_computed_in_two_orders_is_one_of_units() -> None:
    data = _data().with_columns(
        v=pl.when(pl.col("t") % 2 == 0).then(0.1 + 0.3 * pl.col("h") + 0.2).otherwise(0.3 * pl.col("h") + 0.2 + 0.1)
    )
    assert data["v"].n_unique() > 4  # they differ, by roundings
    with pytest.raises(mlm.DataError) as refused:
        mlm.fit("y ~ within(v) + (1 | g)", data)
    assert str(refused.value) == ("within(v) is zero in every row, because v does not vary within g. Use v itself.")
    assert mlm.fit("y ~ v + (1 | g)", data).fixed_effects["level"].to_list() == [1, 2]
    # a deviation of 1e-12 of the value has four digits, and is one
    mlm.fit("y ~ within(v) + (1 | g)", data.with_columns(v=pl.col("v") * (1 + 1e-12 * pl.col("t"))))


def test_strata_of_two_rows_leave_no_warning() -> None:
    rng = np.random.default_rng(3)
    data = pl.DataFrame({"g": np.repeat(np.arange(20), 2), "h": np.repeat(np.arange(5), 8), "y": rng.normal(size=40)})
    fit = mlm.fit("y ~ 1 + (1 | h)", data, residual="by(g)")
    assert fit.variance_components.filter(group="residual").height == 20
    for name in ("fixed_effects", "variance_components", "fit_statistics", "print", "wald"):
        _METHODS[name](fit, data)  # a warning is an error here


@pytest.mark.parametrize("formula", ["y ~ q + (1 | g)", "y ~ center(q) + (1 | g)", "y ~ x * q"])
@pytest.mark.parametrize(("at", "off"), [(0.3, 5e-17), (1e6, 1.2e-10)])
def test_what_varies_by_rounding_alone_is_no_predictor(formula: str, at: float, off: float) -> None:
    rng = np.random.default_rng(0)
    data = pl.DataFrame(
        {
            "y": rng.normal(size=60),
            "x": rng.normal(size=60),
            "q": at + off * rng.integers(0, 2, 60),
            "g": ["a", "b"] * 30,
        }
    )
    assert data["q"].n_unique() == 2
    with pytest.raises(DataError, match="has no variation but for rounding: every row holds"):
        mlm.fit(formula, data)
