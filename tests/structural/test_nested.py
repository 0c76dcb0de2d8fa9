"""A likelihood ratio is of one set of rows and clusters, and of models of which one contains the other."""

from __future__ import annotations

import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops import MlmError
from tests.structural.cases import data

SMALL = "level: 1\n y1 ~ x1\nlevel: 2\n y1 ~ 0*w1\n w1 ~~ w1"
LARGE = "level: 1\n y1 ~ x1\nlevel: 2\n y1 ~ w1"
COVARIANCES = "level: 1\n y1 ~~ {}*x1 + {}*y2\n x1 ~~ {}*y2\nlevel: 2\n y1 ~~ y1\n y2 ~~ y2"


def fit(text: str, rows: pl.DataFrame | None = None, cluster: str = "cluster") -> mlm.SemFit:
    return mlm.sem(text, data("demo_twolevel") if rows is None else rows, cluster=cluster)


def test_other_data_and_other_clusters_are_refused() -> None:
    rows = data("demo_twolevel")
    small = fit(SMALL)
    same = (
        "Nested models must have the same rows and clusters. Got different ones; fit both to one table by one cluster."
    )
    with pytest.raises(MlmError) as caught:
        small.compare(fit(LARGE, rows.with_columns(pl.col("y1").shuffle(seed=1))))
    assert str(caught.value) == same
    with pytest.raises(MlmError) as caught:
        small.compare(fit(LARGE, rows.with_columns(pl.col("y1") * 1.0001)))
    assert str(caught.value) == same
    # as many clusters of the same sizes: neighbours of one size have changed names of their second rows
    plain = fit(SMALL.replace(" + w1", "").replace("y1 ~ 0*w1\n w1 ~~ w1", "y1 ~~ y1"))
    moved = rows.with_columns(pl.col("cluster").shift(1).fill_null(pl.col("cluster").last()))
    with pytest.raises(MlmError) as caught:
        plain.compare(fit("level: 1\n y1 ~ x1\nlevel: 2\n y1 ~ x1", moved))
    assert str(caught.value) == same
    with pytest.raises(MlmError) as caught:
        small.compare(fit(LARGE, rows.with_columns(other=pl.col("cluster")), "other"))
    assert str(caught.value) == "Nested models must have the same clusters. Got 'cluster' and 'other'; fit both to one."
    with pytest.raises(MlmError) as caught:
        plain.compare(fit(LARGE))
    assert str(caught.value) == (
        "Nested models must have the same columns. Got x1, y1 and w1, x1, y1; name them all in both, as in x ~~ x."
    )


def test_models_that_are_not_nested_are_refused() -> None:
    one, other = fit(COVARIANCES.format(0, 0, "NA")), fit(COVARIANCES.format("NA", "NA", 0))
    with pytest.raises(MlmError) as caught:
        one.compare(other)
    assert str(caught.value).startswith(
        "A likelihood ratio needs nested models, and the larger model does not contain the smaller one. Fitted to what "
        "the smaller implies, it misses that by "
    )
    assert str(caught.value).endswith(" in the deviance; expected 0. Compare them by AIC or BIC.")


@pytest.mark.parametrize(
    ("small", "large", "df"),
    [
        (SMALL, LARGE, 1),
        (COVARIANCES.format(0, 0, 0), COVARIANCES.format("NA", "NA", "NA"), 3),
        # parameters of other names: a factor is a restriction of the covariances
        (
            "level: 1\n y1 ~~ y2 + y3\n y2 ~~ y3\nlevel: 2\n f =~ y1 + l*y2 + l*y3",
            "level: 1\n f =~ y1 + y2 + y3\nlevel: 2\n y1 ~~ y2 + y3\n y2 ~~ y3",
            1,
        ),
    ],
)
def test_nested_models_are_compared(small: str, large: str, df: int) -> None:
    found = fit(small).compare(fit(large)).row(0, named=True)
    assert found["df"] == df
    assert found["statistic"] > 0


def test_the_same_rows_in_another_scan_and_order_are_the_same() -> None:
    rows = data("demo_twolevel").sample(fraction=1, shuffle=True, seed=2)
    again = fit("level: 2\n w1 ~~ w1\n y1 ~ w1\nlevel: 1\n x1 ~~ x1\n y1 ~ x1", rows)
    assert fit(SMALL).compare(again)["statistic"][0] == pytest.approx(
        fit(SMALL).compare(fit(LARGE))["statistic"][0], abs=1e-6
    )
