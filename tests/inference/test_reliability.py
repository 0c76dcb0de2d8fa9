"""HLM's reliability: of units' own least squares, against these computed unit by unit from the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

import mlm_ops as mlm
from mlm_ops.inference.random.effects import least_squares_reliability
from tests.specification.reference import reference

Array = NDArray[np.float64]
HSB = str(reference.HERE / "data" / "hsb.csv")


def by_hand(units: list[Array], variances: Array, sigma2: float) -> tuple[list[float], int]:
    """Mean of ``tau / (tau + v)`` over units with independent columns, v of least squares; and the number of these."""
    own = [
        variances / (variances + sigma2 * np.diag(np.linalg.inv(z.T @ z)))
        for z in units
        if np.linalg.matrix_rank(z) == z.shape[1]
    ]
    return np.mean(own, axis=0).tolist(), len(own)


def columns(rows: pl.DataFrame, group: str, names: list[str]) -> list[Array]:
    units = rows.partition_by(group, maintain_order=True)
    return [np.column_stack((np.ones(unit.height), *(unit[name].to_numpy() for name in names))) for unit in units]


def shown(fit: mlm.Fit) -> tuple[list[float], set[int]]:
    found = fit.variance_components.filter(pl.col("other").is_null(), pl.col("group") != "residual")
    return found["reliability_hlm"].to_list(), set(found["reliability_units"])


def test_published_by_hlm() -> None:
    """The output for the model of slopes as outcomes in HLM's manual: 0.733 and 0.073.

    HLM stopped at T of 2.37996 and 0.14892 and sigma2 36.70313; REML's optimum has a slope's variance of 0.101.
    """
    rows = pl.read_csv(HSB).with_columns(x=pl.col("ses") - pl.col("ses").mean().over("school"))
    found, units = by_hand(columns(rows, "school", ["x"]), np.array([2.37996, 0.14892]), 36.70313)
    assert [round(value, 3) for value in found] == [0.733, 0.073]
    assert units == 160
    fit = mlm.fit("mathach ~ within(ses) * (between(ses) + sector) + (within(ses) | school)", HSB)
    ours, counted = shown(fit)
    expected, _ = by_hand(columns(rows, "school", ["x"]), np.diag(fit.estimate.tau[0]), fit.estimate.sigma2)
    assert ours == pytest.approx(expected, rel=1e-10)
    assert counted == {160}
    # what the other effect and the other units tell makes it twice as large
    conditional = fit.random_effects.filter(pl.col("term") == "within(ses)")["reliability"].mean()
    assert conditional > 2 * ours[1]


def popularity() -> pl.DataFrame:
    """100 classes of about 20 pupils, as Hox's data are: sex and extraversion, whose slope varies; some odd classes."""
    draw = np.random.default_rng(1)
    sizes = draw.integers(16, 27, 100)
    sizes[:4] = [1, 2, 2, 3]
    g = np.repeat(np.arange(100), sizes)
    x = draw.integers(1, 11, len(g)).astype(float)
    # one class of two pupils alike, and one of three
    x[(g == 2) | (g == 3)] = 5.0
    u = draw.multivariate_normal([0, 0], [[1.3, -0.18], [-0.18, 0.035]], 100)[g]
    sex = draw.integers(0, 2, len(g))
    y = 0.7 + 1.25 * sex + 0.45 * x + u[:, 0] + u[:, 1] * x + draw.normal(0, 0.74, len(g))
    return pl.DataFrame({"class": g, "x": x, "sex": sex, "popular": y})


@pytest.mark.parametrize(
    ("random", "names"),
    [("(x | class)", ["x"]), ("(x || class)", ["x"]), ("(1 | class)", []), ("(x + sex | class)", ["x", "sex"])],
)
def test_units_without_least_squares_of_their_own_do_not_count(random: str, names: list[str]) -> None:
    """A class of one pupil has no slope, nor has one of pupils alike; fixed slopes (sex) are no part of it."""
    rows = popularity()
    fit = mlm.fit(f"popular ~ x + sex + {random}", rows)
    variances = np.concatenate([np.diag(tau) for tau in fit.estimate.tau])
    expected, units = by_hand(columns(rows, "class", names), variances, fit.estimate.sigma2)
    found, counted = shown(fit)
    # the inverse of a class with few pupils has a condition of 1e4
    assert found == pytest.approx(expected, rel=1e-10)
    assert counted == {units}
    assert units == {0: 100, 1: 97}.get(len(names), units)


def test_a_random_intercept_alone_has_one_reliability() -> None:
    """tau / (tau + sigma2 / n), by either definition: Raudenbush and Bryk (2002), chapter 4, have 0.90."""
    fit = mlm.fit("mathach ~ 1 + (1 | school)", HSB)
    assert shown(fit)[0] == pytest.approx([fit.icc()["reliability"][0]], rel=1e-12)
    assert shown(fit)[0] == pytest.approx([0.90], abs=0.005)


def test_the_predictors_origin_and_unit() -> None:
    """Of the slope it does not change; an intercept is another coefficient where x is measured from elsewhere."""
    rows = popularity()
    first, moved = (
        shown(mlm.fit("popular ~ x + sex + (x | class)", rows.with_columns(x=value)))[0]
        for value in (pl.col("x"), (pl.col("x") + 1e4) * 1000)
    )
    # two optima, good to 1e-6 in the variances
    assert moved[1] == pytest.approx(first[1], rel=1e-5)


@pytest.mark.parametrize(
    ("formula", "known"),
    [
        ("y ~ 1 + (1 | top/unit)", [True, False]),
        ("y ~ 1 + (1 | unit) + (1 | other)", [False, False]),
        ("y ~ 1 + (w | top)", [False, False]),
    ],
)
def test_where_units_have_no_least_squares_there_is_none(formula: str, known: list[bool]) -> None:
    """Of units above others, of crossed ones, and of the coefficient of what is constant in every unit."""
    draw = np.random.default_rng(4)
    unit, top, other = np.repeat(np.arange(30), 6), np.repeat(np.arange(10), 18), draw.integers(0, 8, 180)
    effects: Any = [draw.normal(size=n)[codes] for n, codes in ((30, unit), (10, top), (8, other))]
    w = draw.normal(size=10)[top]
    rows = pl.DataFrame({"unit": unit, "top": top, "other": other, "w": w, "y": sum(effects) + draw.normal(size=180)})
    found = mlm.fit(formula, rows)
    assert [value is not None for value in shown(found)[0]] == known


def test_every_block_has_a_reliability() -> None:
    fit = mlm.fit("mathach ~ ses + (1 | school) + (0 + ses | school)", HSB)
    assert [found is not None and len(found.mean) for found in least_squares_reliability(fit.estimate)] == [1, 1]
