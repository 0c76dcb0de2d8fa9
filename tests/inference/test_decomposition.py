"""The decomposition of variables against sums over rows and against random-effects ANOVA by REML."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.results.fit import Fit
from tests.specification.reference import reference


@pytest.fixture(scope="module")
def hsb() -> Fit:
    return mlm.fit(
        "mathach ~ ses * sector + size + (1 | school)",
        reference.table("hsb_null_reml"),
        connection=reference.connection(),
    )


def test_sums_over_the_rows(hsb: Fit) -> None:
    rows = reference.connection().sql(f"from {reference.table('hsb_null_reml')}").pl()
    found = hsb.decomposition()
    assert found["variable"].to_list() == ["mathach", "ses", "size"]
    for row in found.iter_rows(named=True):
        x = rows[row["variable"]].to_numpy().astype(float)
        by = rows.group_by("school").agg(pl.len().alias("n"), pl.col(row["variable"]).mean().alias("m"))
        n, m = by["n"].to_numpy(), by["m"].to_numpy()
        inside = ((x - rows.select(pl.col(row["variable"]).mean().over("school")).to_series().to_numpy()) ** 2).sum()
        within = inside / (len(x) - len(n))
        across = (n * (m - x.mean()) ** 2).sum() / (len(n) - 1)
        size = (len(x) - (n**2).sum() / len(x)) / (len(n) - 1)
        between = (across - within) / size
        # the same sums in another order
        assert row["mean"] == pytest.approx(x.mean(), rel=1e-12)
        assert row["total_variance"] == pytest.approx(x.var(ddof=1), rel=1e-10)
        assert row["within_variance"] == pytest.approx(within, rel=1e-10, abs=1e-9)
        assert row["between_variance"] == pytest.approx(between, rel=1e-10)
        assert row["reliability"] == pytest.approx(np.mean(between / (between + within / n)), rel=1e-10)


def test_in_balanced_data_it_is_the_random_effects_anova() -> None:
    balanced = pl.DataFrame({"y": np.sin(np.arange(60) ** 2) + np.arange(60) // 6, "g": np.arange(60) // 6})
    fit = mlm.fit("y ~ 1 + (1 | g)", balanced)
    assert fit.decomposition()["icc"][0] == pytest.approx(fit.fit_statistics["icc"][0], rel=1e-6)


def test_no_variance_between_and_none_at_all() -> None:
    rows = pl.DataFrame({"y": [1.0, -1, 1, -1, 1, -1, 2, -2], "x": np.arange(8.0) % 4, "g": np.arange(8) // 2})
    found = mlm.fit("y ~ x + (1 | g)", rows).decomposition()
    assert (found["between_variance"][0], found["icc"][0], found["reliability"][0]) == (0, 0, 0)


def test_where_all_means_are_alike_the_total_is_smaller_than_within() -> None:
    """Divided by N - 1 and by N - J: as for a day that every person has once."""
    rows = pl.DataFrame({"g": [0, 0, 1, 1, 2, 2], "x": [0.0, 1.0] * 3, "y": [1.0, 2.0, 4.0, 3.0, 6.0, 8.0]})
    found = mlm.fit("y ~ x + (1 | g)", rows).decomposition().filter(variable="x").row(0, named=True)
    assert found["total_variance"] == pytest.approx(6 * 0.25 / 5, rel=1e-14)
    assert found["within_variance"] == pytest.approx(6 * 0.25 / 3, rel=1e-14)
    assert found["between_variance"] == 0


def test_a_variable_of_groups_has_no_variance_within_not_even_of_rounding() -> None:
    generator = np.random.default_rng(7)
    g = np.repeat(np.arange(30), generator.integers(5, 30, 30))
    rows = pl.DataFrame({"y": generator.normal(size=len(g)) + g % 3, "w": generator.normal(size=30)[g], "g": g})
    (w,) = mlm.fit("y ~ w + (1 | g)", rows).decomposition().filter(pl.col("variable") == "w").to_dicts()
    assert (w["within_variance"], w["icc"], w["reliability"]) == (0.0, 1.0, 1.0)


def test_three_levels_have_a_row_each() -> None:
    found = reference.fitted("sim3_nested").decomposition()
    assert found["group"].n_unique() == 2
    assert (found.group_by("group").len()["len"] == found["variable"].n_unique()).all()


def test_a_factor_with_a_unit_for_every_row_has_no_rows() -> None:
    rows = pl.DataFrame({"y": [1.0, 3, 2, 5, 4], "x": [1.0, 2, 3, 4, 6], "g": ["a", "b", "c", "d", "e"]})
    assert mlm.fit("y ~ x", rows, levels="g").decomposition().is_empty()
