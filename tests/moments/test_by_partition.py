"""Moments of many parts from one GROUP BY equal those that `collect` finds in each part's rows alone, or are None."""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb
import numpy as np
import polars as pl
import pytest

from mlm_ops.errors import DataError
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments import collect as collecting
from mlm_ops.moments.collect import By, RowPart, collect
from mlm_ops.moments.record import Moments
from mlm_ops.warehouse.source import Source, open_source

MODELS = [
    parse_formula("y ~ within(x) * w + sex + kind + I(x**2) + (x | school)"),
    parse_formula("y ~ 1 + (1 | school)"),
]
#: How the rows of each part differ from those of the first two parts.
ODD = {
    "gaps": pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise(pl.col("x")).alias("x"),
    "no_girls": pl.lit("boy").alias("sex"),
    "flat_groups": pl.col("school").cast(pl.Float64).alias("x"),
    "flat": pl.lit(3.0).alias("x"),
    "empty": pl.lit(None, pl.Float64).alias("x"),
    "far_apart": (pl.col("x") + 1e5 * pl.col("school")).alias("x"),
    "varying_w": (pl.col("w") + pl.int_range(pl.len())).alias("w"),
    "infinite": pl.lit(float("inf")).alias("x"),
}


def part_rows(number: int) -> pl.DataFrame:
    random = np.random.default_rng(number)
    school = np.repeat(np.arange(12), 15)
    x = random.normal(5.0 + number, 1.0, 180)
    return pl.DataFrame(
        {
            "school": school,
            "x": x,
            "y": 0.4 * x + random.normal(size=12)[school] + random.normal(size=180),
            "w": random.normal(size=12)[school],
            "sex": ["boy", "girl", "boy"] * 60,
            "kind": ["public" if s % 2 else "private" for s in school],
            # names that the query itself would use
            "mlmpart": ["mine"] * 180,
            "mlm_part_low": [1] * 180,
        }
    )


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    parts = {"plain": part_rows(1), "other": part_rows(2)}
    parts |= {name: part_rows(i).with_columns(change) for i, (name, change) in enumerate(ODD.items(), start=3)}
    return pl.concat([frame.with_columns(wave=pl.lit(name)) for name, frame in parts.items()])


def of_each(frame: pl.DataFrame, names: list[str]) -> dict[str, Moments | None]:
    parts = [RowPart(f"'{name}'") for name in names]
    return dict(zip(names, collect(open_source(frame), MODELS, by=By("wave", parts)), strict=True))


def assert_equal(moments: Moments, alone: Moments) -> None:
    assert (moments.schema.keys, moments.schema.monomials) == (alone.schema.keys, alone.schema.monomials)
    assert (moments.schema.constants, moments.schema.levels) == (alone.schema.constants, alone.schema.levels)
    assert (moments.n_rows, dict(moments.n_dropped)) == (alone.n_rows, dict(alone.n_dropped))
    assert dict(moments.nested_in) == dict(alone.nested_in)
    # the same numbers summed in another order
    assert list(moments.schema.centers.values()) == pytest.approx(list(alone.schema.centers.values()), rel=1e-13)
    np.testing.assert_array_equal(moments.n, alone.n)
    np.testing.assert_allclose(moments.mean, alone.mean, rtol=0, atol=1e-12 * np.abs(alone.mean).max())
    np.testing.assert_allclose(moments.scatter, alone.scatter, rtol=0, atol=1e-12 * np.abs(alone.scatter).max())
    for ours, theirs in zip((*moments.labels, *moments.constants), (*alone.labels, *alone.constants), strict=True):
        assert ours.tolist() == theirs.tolist()
    assert moments.checksum == alone.checksum


def test_parts_that_are_alike_are_collected_together(rows: pl.DataFrame) -> None:
    by_part = of_each(rows, ["plain", "gaps", "other"])
    for name, moments in by_part.items():
        assert moments is not None
        assert_equal(moments, collect(open_source(rows.filter(pl.col("wave") == name)), MODELS))


def test_the_moments_of_a_part_do_not_depend_on_the_other_parts(
    rows: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["plain", "gaps", "other"]
    together = {name: moments.checksum for name, moments in of_each(rows, names).items() if moments is not None}
    monkeypatch.setattr(collecting, "MOST_ROWS", 200)
    apart = {name: moments.checksum for name, moments in of_each(rows, names[::-1]).items() if moments is not None}
    assert together == apart
    assert len(apart) == 3


@pytest.mark.parametrize("odd", [name for name in ODD if name not in ("gaps", "varying_w")])
def test_an_odd_part_is_left_to_be_collected_alone_and_the_others_are_not(rows: pl.DataFrame, odd: str) -> None:
    by_part = of_each(rows, ["plain", odd, "other", "no such part"])
    assert by_part[odd] is None
    assert by_part["no such part"] is None
    for name in ("plain", "other"):
        moments = by_part[name]
        assert moments is not None
        assert_equal(moments, collect(open_source(rows.filter(pl.col("wave") == name)), MODELS))


def test_where_a_predictor_varies_within_units_the_parts_are_left_where_it_does_not(rows: pl.DataFrame) -> None:
    by_part = of_each(rows, ["plain", "varying_w"])
    assert by_part["plain"] is None
    assert by_part["varying_w"] is not None
    assert_equal(by_part["varying_w"], collect(open_source(rows.filter(pl.col("wave") == "varying_w")), MODELS))


def test_windows_of_time(rows: pl.DataFrame) -> None:
    start = datetime(2026, 1, 5)
    hours = (pl.int_range(pl.len()) * 16).cast(pl.Int64)
    frame = rows.filter(pl.col("wave").is_in(["plain", "other"])).with_columns(
        at=pl.lit(start) + pl.duration(hours=hours // 60)
    )
    bounds = [(start + timedelta(days=i), start + timedelta(days=i + 1)) for i in range(5)]
    parts = [RowPart(*(f"timestamp '{at}'" for at in window)) for window in bounds]
    models = [parse_formula("y ~ x + (1 | school)")]
    by_part = list(collect(open_source(frame), models, by=By("at", parts)))
    sizes = []
    for (low, high), moments in zip(bounds, by_part, strict=True):
        inside = frame.filter((pl.col("at") >= low) & (pl.col("at") < high))
        if inside.is_empty():
            assert moments is None
        elif moments is not None:
            sizes.append(moments.n_obs)
            assert_equal(moments, collect(open_source(inside), models))
    assert len(sizes) >= 3
    assert sum(sizes) == 360


def test_residual_structures_and_faults_are_left_to_be_collected_alone(rows: pl.DataFrame) -> None:
    plain = By("wave", [RowPart("'plain'")])
    assert list(collect(open_source(rows), [parse_formula("y ~ z + (1 | school)")], by=plain)) == [None]
    with pytest.raises(DataError, match="'z'"):
        collect(open_source(rows), [parse_formula("y ~ z + (1 | school)")])


def test_the_rows_are_read_three_times_however_many_the_parts(rows: pl.DataFrame) -> None:
    connection = duckdb.connect()
    connection.register("frame", pl.concat([part_rows(i).with_columns(wave=i) for i in range(60)]))
    queries: list[str] = []

    def query(sql: str) -> object:
        queries.append(sql)
        return connection.execute(sql)

    source = open_source("frame", connection)
    counting_source = Source(source.relation, query, source.description, source.types, source.table)
    by_part = list(collect(counting_source, MODELS, by=By("wave", [RowPart(str(i)) for i in range(60)])))
    assert all(moments is not None for moments in by_part)
    # the survey of all, of each part, and the moments
    assert len(queries) == 3
