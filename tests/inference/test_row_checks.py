"""Residuals of the rows against numpy, and in data made with curvature, heavy tails and unequal spread."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import DataError
from mlm_ops.inference.diagnostics import residuals
from mlm_ops.inference.diagnostics.residuals import BINS, PROBABILITIES, check_residuals
from mlm_ops.results.fit import Fit
from mlm_ops.warehouse.source import Source, open_source
from tests.specification.reference import reference

# the same sums in another order
EXACT = 1e-10


@pytest.fixture(scope="module")
def hsb() -> tuple[Fit, pl.DataFrame]:
    rows = reference.connection().sql(f"from {reference.table('hsb_null_ml')}").pl()
    return mlm.fit("mathach ~ within(ses) + between(ses) + (within(ses) | school)", rows), rows


def test_the_numbers_are_numpys(hsb: tuple[Fit, pl.DataFrame]) -> None:
    fit, rows = hsb
    predicted = fit.predict(rows)
    ses = rows["ses"].to_numpy()
    school = rows["school"].cast(str).to_numpy()
    residual = rows["mathach"].to_numpy() - predicted["prediction"].to_numpy()
    std = residual / np.sqrt(fit.estimate.sigma2)
    found = check_residuals(fit.prediction_query, open_source(rows))
    assert found is not None
    deviation = std - std.mean()
    assert found.n == 7185
    assert found.mean == pytest.approx(std.mean(), abs=EXACT)
    assert found.std_dev == pytest.approx(std.std(), rel=EXACT)
    assert found.skewness == pytest.approx((deviation**3).mean() / std.std() ** 3, rel=EXACT, abs=EXACT)
    assert found.kurtosis == pytest.approx((deviation**4).mean() / std.std() ** 4, rel=EXACT)
    assert found.largest == pytest.approx(np.abs(std).max(), rel=EXACT)
    assert found.quantiles == pytest.approx(np.quantile(std, PROBABILITIES), rel=EXACT, abs=EXACT)
    codes = np.unique(school, return_inverse=True)[1]
    means = (np.bincount(codes, ses) / np.bincount(codes))[codes]
    fixed = fit.predict(rows, "marginal")["prediction"].to_numpy()
    for name, x in {"within(ses)": ses - means, "fixed_prediction": fixed}.items():
        bins = found.bins[name]
        place = np.searchsorted(np.quantile(x, np.arange(1, BINS) / BINS), x, side="left")
        n = np.bincount(place)
        mean = np.bincount(place, residual) / n
        spread = np.sqrt(np.bincount(place, (residual - mean[place]) ** 2) / (n - 1))
        assert bins.n.tolist() == n.tolist()
        assert bins.at == pytest.approx(np.bincount(place, x) / n, rel=EXACT, abs=EXACT)
        assert bins.mean == pytest.approx(mean, rel=EXACT, abs=EXACT)
        assert bins.std_dev == pytest.approx(spread, rel=EXACT)
    assert set(found.bins) == {"within(ses)", "between(ses)", "fixed_prediction"}


def test_one_query_reads_the_rows_once(hsb: tuple[Fit, pl.DataFrame]) -> None:
    fit, rows = hsb
    connection = duckdb.connect()
    connection.register("frame", rows.to_arrow())
    connection.execute("create table students as from frame")
    source = open_source("students", connection)
    asked: list[str] = []

    def query(sql: str) -> object:
        asked.append(sql)
        return connection.execute(sql)

    check_residuals(fit.prediction_query, Source(source.relation, query, "students", source.types, "students"))
    assert len(asked) == 1
    plan = connection.execute(f"explain {asked[0]}").fetchall()[0][1]
    assert plan.count("students") == 1


def faulty(seed: int, curve: float = 0.0, heavy: bool = False, funnel: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(60), 30)
    x = rng.normal(size=1800)
    e = rng.standard_t(3, size=1800) if heavy else rng.normal(size=1800)
    y = x + curve * x**2 + rng.normal(size=60)[group] + e * np.exp(funnel * x)
    return pl.DataFrame({"y": y, "x": x, "g": group})


def test_sound_data_are_not_flagged() -> None:
    data = faulty(1)
    found = mlm.fit("y ~ x + (1 | g)", data).diagnostics(data).filter(group="residual")
    assert not found["flagged"].any()
    assert found.filter(diagnostic="residual_quantile").height == len(PROBABILITIES)


def test_curvature_shows_in_the_bins() -> None:
    data = faulty(2, curve=0.4)
    found = mlm.fit("y ~ x + (1 | g)", data).diagnostics(data).filter(diagnostic="binned_residual", term="x")
    mean = found["estimate"].to_list()
    assert found["flagged"].to_list()[:: BINS - 1] == [True, True]
    assert min(mean[0], mean[-1]) > 0.3
    assert mean[BINS // 2] < -0.2
    healed = mlm.fit("y ~ x + I(x**2) + (1 | g)", data).diagnostics(data).filter(diagnostic="binned_residual")
    assert not healed["flagged"].any()


def test_heavy_tails_show_in_quantiles_and_shape() -> None:
    data = faulty(3, heavy=True)
    found = mlm.fit("y ~ x + (1 | g)", data).diagnostics(data).filter(group="residual")
    flags = dict(found.select("diagnostic", "flagged").group_by("diagnostic").agg(pl.col("flagged").any()).iter_rows())
    assert (flags["normality"], flags["largest_residual"]) == (True, True)
    quantiles = found.filter(diagnostic="residual_quantile")
    assert quantiles["estimate"][0] < quantiles["expected"][0] - 0.5
    assert quantiles["estimate"][-1] > quantiles["expected"][-1] + 0.5


def test_a_funnel_shows_in_the_spread_of_the_bins() -> None:
    data = faulty(4, funnel=0.5)
    found = mlm.fit("y ~ x + (1 | g)", data).diagnostics(data).filter(diagnostic="binned_residual", term="x")
    spread = (found["std_error"] * found["n"].sqrt()).to_list()
    assert spread[-1] > 3 * spread[0]
    along = mlm.fit("y ~ x + (1 | g)", data).diagnostics(data).filter(diagnostic="heteroscedasticity", group="residual")
    x = along.row(0, named=True)
    assert (along["term"].to_list(), along["flagged"].to_list()) == (["x", "fixed_prediction"], [True, True])
    assert x["estimate"] > x["bound"] == 1.25


@pytest.mark.parametrize("name", [n for n in reference.names("ols_hc") if reference.case(n)["breusch_pagan"]])
def test_breusch_and_pagans_test_is_lmtests(name: str) -> None:
    case = reference.case(name)
    expected = case["breusch_pagan"]
    rows = reference.connection().sql(f"from {reference.table(name)}").pl()
    found = mlm.fit(case["formula"], rows).diagnostics(rows).filter(diagnostic="heteroscedasticity")
    row = found.filter(term=expected["term"]).row(0, named=True)
    assert row["statistic"] == pytest.approx(expected["statistic"], rel=1e-8)
    assert row["df"] == expected["df"]
    # Holm's method at most multiplies by the number of terms
    assert expected["p"] <= row["p_value"] <= min(found.height * expected["p"], 1) * (1 + 1e-8)


def test_many_rows_do_not_make_a_small_difference_matter() -> None:
    """Spread that differs by a tenth from end to end is beyond doubt in 200,000 rows, and is told with its size."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=200_000)
    rows = pl.DataFrame({"x": x, "y": x + np.exp(0.05 * x) * rng.normal(size=len(x))})
    found = mlm.fit("y ~ x", rows).diagnostics(rows).filter(diagnostic="heteroscedasticity", term="x")
    (row,) = found.to_dicts()
    assert row["p_value"] < 1e-50
    assert row["estimate"] == pytest.approx(np.exp(0.1), rel=0.01)
    assert not row["flagged"]
    assert row["note"] == (
        "ratio of the residuals' standard deviations one standard deviation above the mean and below; p adjusted for 2 "
        "predictors by Holm"
    )


def test_bins_of_many_rows_are_cut_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones whatever the rows' order; everything but the cuts is of all rows."""
    data = faulty(9)
    fit = mlm.fit("y ~ x + (1 | g)", data)
    exact = check_residuals(fit.prediction_query, open_source(data))
    monkeypatch.setattr(residuals, "ENOUGH_ROWS", 600)
    found = check_residuals(fit.prediction_query, open_source(data))
    turned = check_residuals(fit.prediction_query, open_source(data.reverse()))
    assert exact is not None
    assert found is not None
    assert turned is not None
    assert (exact.share, found.share, turned.share) == (1, 3, 3)
    assert exact.bins["x"].n.tolist() == [90] * BINS
    n = found.bins["x"].n
    assert n.sum() == 1800
    assert n.tolist() != [90] * BINS
    # the number of rows up to a cut varies by 1800 sqrt(p (1 - p) / 600), at most 37
    assert np.abs(np.cumsum(n) - 90 * np.arange(1, BINS + 1)).max() < 4 * 37
    assert found.bins["x"].n.tolist() == turned.bins["x"].n.tolist()
    assert found.bins["x"].at == pytest.approx(turned.bins["x"].at, rel=EXACT, abs=EXACT)
    assert found.quantiles == pytest.approx(exact.quantiles, rel=EXACT, abs=EXACT)
    assert found.correlations == pytest.approx(exact.correlations, rel=EXACT, abs=EXACT)
    note = fit.diagnostics(data).filter(diagnostic="binned_residual", term="x")["note"][0]
    assert note == "mean residual of a bin, cut at the quantiles of one row in 3; p adjusted for 20 bins by Holm"


def test_all_rows_cut_the_bins_where_many_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residuals, "ENOUGH_ROWS", 10)
    data = faulty(10).select("g", pl.col("x").gt(0).cast(pl.Int64), pl.col("y").round())
    found = check_residuals(mlm.fit("y ~ x", data).prediction_query, open_source(data))
    assert found is not None
    assert (found.share, found.bins["x"].at.tolist()) == (1, [0.0, 1.0])


def test_a_regression_has_residuals_too() -> None:
    data = faulty(5).rename({"x": "residual"}).with_columns(pl.lit("a").alias("g"))
    found = mlm.fit("y ~ residual", data).diagnostics(data)
    assert set(found["term"].drop_nulls()) == {"residual", "fixed_prediction"}
    assert found.filter(diagnostic="binned_residual", term="residual").height == BINS


def test_a_factor_has_a_bin_a_level_and_an_intercept_none_to_test() -> None:
    rows = faulty(6).with_columns(pl.when(pl.col("x") > 0).then(pl.lit("b")).otherwise(pl.lit("a")).alias("f"))
    found = mlm.fit("y ~ f + (1 | g)", rows).diagnostics(rows)
    assert found.filter(diagnostic="binned_residual", term="f[b]")["at"].to_list() == [0.0, 1.0]
    null = mlm.fit("y ~ 1 + (1 | g)", rows).diagnostics(rows).filter(diagnostic="binned_residual")
    assert null["n"].to_list() == [1800]


def test_rows_without_a_column_are_refused_by_name() -> None:
    rows = faulty(7)
    with pytest.raises(DataError, match="Column 'x' is not in the data"):
        mlm.fit("y ~ x + (1 | g)", rows).diagnostics(rows.drop("x"))
