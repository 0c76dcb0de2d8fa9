"""What is said of numbers that are right and doubtful: few groups, and outcomes of two values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.results.cautions import FEW_GROUPS

FEW = "groups: variances between fewer than 20, and their standard errors, are unreliable"
LINEAR = (
    "and the model linear, so that coefficients are differences of probabilities; for a logistic model use lme4 or brms"
)


def rows(groups: int, per_group: int = 6) -> pl.DataFrame:
    random = np.random.default_rng(groups)
    n = groups * per_group
    g = np.repeat(np.arange(groups), per_group)
    return pl.DataFrame(
        {
            "g": g,
            "h": np.arange(n) % 7,
            "x": random.normal(size=n),
            "y": random.normal(size=groups)[g] + random.normal(size=n),
        }
    )


@pytest.mark.parametrize(("groups", "notes"), [(FEW_GROUPS - 1, [f"g has 19 {FEW}"]), (FEW_GROUPS, [])])
def test_few_groups(groups: int, notes: list[str]) -> None:
    assert mlm.fit("y ~ x + (1 | g)", rows(groups)).notes == notes


def test_few_groups_of_two_factors() -> None:
    fit = mlm.fit("y ~ x + (1 | g) + (1 | h)", rows(30))
    assert [note for note in fit.notes if "groups" in note] == [f"h has 7 {FEW}"]


def test_a_regression_and_a_known_variance_have_no_groups_to_estimate_from() -> None:
    assert mlm.fit("y ~ x", rows(5)).notes == []
    assert mlm.fit("y ~ x + (1 | g)", rows(5), covariance={"g": 1.0}).notes == []


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lambda y: (y > 0).astype(int), "0 or 1"),
        (lambda y: 1 + (y > 0), "1 or 2"),
        (lambda y: -1.0 - (y > 0), "-2 or -1"),
    ],
)
def test_two_values(make: Callable[[np.ndarray], np.ndarray], values: str) -> None:
    frame = rows(40)
    frame = frame.with_columns(y=make(frame["y"].to_numpy()))
    for formula in ("y ~ x + (1 | g)", "y ~ x"):
        assert f"y is {values} {LINEAR}" in mlm.fit(formula, frame).notes


@pytest.mark.parametrize(
    "make",
    [
        lambda y: y,
        lambda y: np.clip(np.round(y), -1, 1),  # three values
        lambda y: (y > 0) + 1 * (y > 2),  # 0, 1 and seldom 2
        lambda y: np.where(y > 0, 0.5, 0.25),
        lambda y: np.clip(y, 0, 1),
        lambda y: 1e6 + y,
        lambda y: 1e-12 * y,  # nearly 0, and never 1
    ],
)
def test_other_outcomes(make: Callable[[np.ndarray], np.ndarray]) -> None:
    frame = rows(40)
    frame = frame.with_columns(y=make(frame["y"].to_numpy()))
    assert not any("logistic" in note for note in mlm.fit("y ~ x + (1 | g)", frame).notes)


def test_an_outcome_that_varies_between_groups_alone() -> None:
    frame = rows(40).with_columns(z=pl.col("g") % 2)
    assert f"z is 0 or 1 {LINEAR}" in mlm.fit("z ~ x", frame, levels="g").notes
    assert f"z is 0 or 1 {LINEAR}" not in mlm.fit("x ~ z", frame).notes
