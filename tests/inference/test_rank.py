"""The rank and the eigenvalues of T, and the variance that a model implies beside the outcome's own."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.analyses.run import fit_analysis
from tests.specification.reference import reference

HSB = pl.read_csv(reference.HERE / "data" / "hsb.csv")
FEW = HSB.filter(pl.col("school").is_in(HSB["school"].unique(maintain_order=True)[:40].to_list()))


def _statistics(fit: mlm.Fit) -> dict[str, Any]:
    row = fit.fit_statistics.row(0, named=True)
    return row | {"t_eigenvalues": None if row["t_eigenvalues"] is None else json.loads(row["t_eigenvalues"])}


def test_eigenvalues_are_those_of_t_and_the_rank_is_full() -> None:
    fit = mlm.fit("mathach ~ ses + (ses | school)", HSB)
    row, t = _statistics(fit), fit.estimate.tau[0]
    assert row["t_rank"] == 2
    np.testing.assert_allclose(row["t_eigenvalues"]["school"], np.linalg.eigvalsh(t)[::-1], rtol=1e-12)
    plain = mlm.fit("mathach ~ ses", HSB).fit_statistics.row(0, named=True)
    assert (plain["t_rank"], plain["t_eigenvalues"]) == (None, None)


@pytest.mark.parametrize("factor", [1e-4, 1e4])
def test_the_rank_does_not_depend_on_units_and_is_what_singular_says(factor: float) -> None:
    """Made without slopes that vary, so that T has a dimension less; a predictor of any size leaves it there."""
    rng = np.random.default_rng(3)
    school = np.repeat(np.arange(30), 12)
    x = rng.normal(size=360)
    noise = rng.normal(size=360)
    for unit in range(30):
        own = np.column_stack([np.ones(12), x[school == unit]])
        noise[school == unit] -= own @ np.linalg.lstsq(own, noise[school == unit], rcond=None)[0]
    y = x + 2 * rng.normal(size=30)[school] + noise
    rows = pl.DataFrame({"school": school, "x": x * factor, "y": y * factor, "z": rng.normal(size=360)})
    ranks = []
    for formula in ("y ~ x + (x | school)", "y ~ x + (x + z | school)", "y ~ x + (x || school)"):
        fit = mlm.fit(formula, rows)
        size = sum(len(t) for t in fit.estimate.tau)
        row = _statistics(fit)
        assert fit.singular == (row["t_rank"] < size)
        if fit.singular:
            assert f"the covariance matrix of school has rank {row['t_rank']} of {size}" in "; ".join(fit.notes)
            assert row["t_eigenvalues"]["school"][-1] < 1e-6 * row["t_eigenvalues"]["school"][0]
        ranks.append((row["t_rank"], size))
    assert ranks == [(1, 2), (2, 3), (1, 2)]


def test_blocks_of_one_factor_are_one_t_and_factors_add_up() -> None:
    penicillin = pl.read_csv(reference.HERE / "data" / "penicillin.csv")
    fit = mlm.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", penicillin)
    row = _statistics(fit)
    assert row["t_rank"] == 2
    assert list(row["t_eigenvalues"]) == ["plate", "sample"]
    for values, t in zip(row["t_eigenvalues"].values(), fit.estimate.tau, strict=True):
        np.testing.assert_allclose(values, t[0], rtol=1e-12)
    blocks = mlm.fit("mathach ~ ses + (ses || school)", HSB)
    row = _statistics(blocks)
    assert row["t_rank"] == 2
    expected = sorted((float(t[0, 0]) for t in blocks.estimate.tau), reverse=True)
    np.testing.assert_allclose(row["t_eigenvalues"]["school"], expected, rtol=1e-12)


def test_a_t_that_the_data_do_not_determine_has_neither() -> None:
    """A school has one sector: its two variances stand for three elements of T."""
    fit = mlm.fit("mathach ~ ses + sector + (sector | school)", FEW)
    row = _statistics(fit)
    assert (row["t_rank"], row["t_eigenvalues"]) == (None, {"school": None})
    assert "the data do not determine the covariance of (Intercept) with sector[Public] over school" in fit.notes[0]


LADDER = """
analysis: hsb
data: students
levels: school
models:
  anova: mathach ~ 1 + sector + size + (1 | school)
strategy: build_up
start: anova
candidates:
  fixed: within(ses)
  random: [sector, size, within(ses)]
"""


def test_a_ladder_gives_no_random_slope_to_what_does_not_vary_within_units() -> None:
    with duckdb.connect() as connection:
        connection.register("frame", HSB.to_arrow())
        connection.execute("create table students as from frame")
        steps = fit_analysis(parse_analysis(LADDER), connection).tables["ladder_steps"]
    columns = steps.select("term", "taken", "reason", "t_rank").rows()
    sentence = "left out: {} does not vary within units of school, so it has no slope there that could differ from unit"
    assert columns[1] == ("sector", False, f"{sentence.format('sector[Public]')} to unit", None)
    assert columns[2] == ("size", False, f"{sentence.format('size')} to unit", None)
    assert columns[0][1:] == (True, columns[0][2], 1)
    assert (columns[3][0], columns[3][1], columns[3][3]) == ("within(ses)", True, 2)
    values = json.loads(steps["t_eigenvalues"][3])["school"]
    last = mlm.fit("mathach ~ 1 + sector + size + within(ses) + (within(ses) | school)", HSB)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(last.estimate.tau[0])[::-1], rtol=1e-6)


def test_a_cross_level_product_has_a_slope_and_crossed_factors_are_looked_at_each() -> None:
    text = """
analysis: crossed
data: t
models: {start: y ~ x + w + (1 | a) + (1 | b)}
strategy: build_up
start: start
candidates: {random: [w | a, w | b]}
"""
    rng = np.random.default_rng(1)
    a, b = np.repeat(np.arange(20), 15), np.tile(np.arange(15), 20)
    w = rng.normal(size=15)[b]  # of b's units
    y = w + rng.normal(size=20)[a] + rng.normal(size=15)[b] + rng.normal(size=300) + rng.normal(size=20)[a] * w
    with duckdb.connect() as connection:
        connection.register(
            "frame", pl.DataFrame({"a": a, "b": b, "w": w, "x": rng.normal(size=300), "y": y}).to_arrow()
        )
        connection.execute("create table t as from frame")
        steps = fit_analysis(parse_analysis(text), connection).tables["ladder_steps"]
    assert steps["taken"].to_list() == [True, False]
    assert steps["reason"][1].startswith("left out: w does not vary within units of b")


def test_the_variance_that_a_model_implies_stands_beside_the_outcomes() -> None:
    null = mlm.fit("mathach ~ 1 + (1 | school)", HSB)
    row = _statistics(null)
    variances = null.variance_components["estimate"]
    assert row["implied_variance"] == pytest.approx(variances.sum(), rel=1e-12)
    assert row["outcome_variance"] == pytest.approx(HSB["mathach"].var(), rel=1e-12)
    # the two are of different things: a random student of a random school, and the students there are
    assert row["implied_variance"] != pytest.approx(row["outcome_variance"], rel=1e-3)
    plain = _statistics(mlm.fit("mathach ~ ses", HSB))
    n = HSB.height
    total = HSB["mathach"].var() * (n - 1)
    sigma2 = mlm.fit("mathach ~ ses", HSB).estimate.sigma2
    assert plain["implied_variance"] == pytest.approx((total - sigma2 * (n - 2)) / (n - 1) + sigma2, rel=1e-9)
    weighted = _statistics(mlm.fit("mathach ~ ses + (1 | school)", HSB.with_columns(w=2), weights="w"))
    assert (weighted["implied_variance"], weighted["outcome_variance"]) == (None, pytest.approx(HSB["mathach"].var()))
    part = _statistics(mlm.fit("within(mathach) ~ within(ses)", HSB, levels="school"))
    assert part["implied_variance"] is None
    own = HSB.select(pl.col("mathach") - pl.col("mathach").mean().over("school")).to_series()
    assert part["outcome_variance"] == pytest.approx(own.var(), rel=1e-9)
