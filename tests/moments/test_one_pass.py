"""Rows of plain numbers are scanned once; what the first rows cannot tell is surveyed, and the moments are the same."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

import mlm_ops as mlm
from mlm_ops.errors import DataError
from mlm_ops.language.formula import parse_formula
from mlm_ops.moments import collect as collecting
from mlm_ops.moments import first_rows
from mlm_ops.moments.collect import collect
from mlm_ops.moments.record import Moments
from mlm_ops.warehouse.source import open_source

FORMULA = "y ~ x * w + z + (x | g)"


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 rows the first 50 are looked at."""
    monkeypatch.setattr(first_rows, "FIRST_ROWS", 50)
    monkeypatch.setattr(first_rows, "LEAST_ROWS", 400)


def rows(n: int = 400, **columns: Any) -> pl.DataFrame:
    """Rows in 40 groups, with means far from zero."""
    random = np.random.default_rng(7)
    g = np.arange(n) // (n // 40)
    x, z, w = random.normal(50, 3, n), random.normal(-1e3, 1, n), random.normal(0, 1, 40)[g]
    y = 20 + 0.3 * x + w + random.normal(0, 2, 40)[g] + random.normal(0, 1, n)
    return pl.DataFrame({"g": g, "x": x, "w": w, "z": z, "y": y} | columns)


def statements(data: Any, formula: str = FORMULA) -> tuple[Moments, list[str]]:
    """The moments, and the first words of every statement about the rows."""
    sent: list[str] = []
    source = open_source(data)

    def send(sql: str) -> Any:
        sent.append(" ".join(sql.split()[:3]))
        return source.query(sql)

    return collect(replace(source, query=send), [parse_formula(formula)]), sent


def surveyed(data: Any, monkeypatch: pytest.MonkeyPatch, formula: str = FORMULA) -> Moments:
    """The moments after a survey of all rows, which is the slow way."""
    with monkeypatch.context() as context:
        context.setattr(collecting, "collect_in_one_pass", lambda *_: None)
        return collect(open_source(data), [parse_formula(formula)])


def assert_equal(ours: Moments, theirs: Moments) -> None:
    """The same but for rounding: sums around other centers, six roundings of values of the size of x's spread."""
    assert ours.schema == theirs.schema
    assert ours.n_dropped == theirs.n_dropped
    assert ours.n_rows == theirs.n_rows
    np.testing.assert_array_equal(ours.n, theirs.n)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=0, atol=1e-11)
    np.testing.assert_allclose(ours.scatter, theirs.scatter, rtol=1e-11, atol=1e-9)
    assert ours.checksum == theirs.checksum


def test_three_statements_give_the_moments_of_a_survey(monkeypatch: pytest.MonkeyPatch) -> None:
    moments, sent = statements(rows())
    assert sent == ["select count(*) as", 'select "g" as', "with centered as"]
    assert_equal(moments, surveyed(rows(), monkeypatch))


def test_equal_rows_in_another_order_have_equal_checksums() -> None:
    ours, _ = statements(rows())
    others, sent = statements(rows().sample(fraction=1.0, shuffle=True, seed=3))
    assert len(sent) == 3
    assert ours.checksum == others.checksum
    assert ours.schema.centers == others.schema.centers


def late(column: str, value: float | None) -> pl.DataFrame:
    """Rows of which the last has another value."""
    frame = rows()
    return frame.with_columns(pl.Series(column, [*frame[column][:-1].to_list(), value]))


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_late_gap_is_counted(value: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    moments, _ = statements(late("z", value))
    assert moments.n_dropped["z"] == 1
    assert_equal(moments, surveyed(late("z", value), monkeypatch))


@pytest.mark.parametrize("column", ["y", "x", "w", "z"])
def test_a_late_infinite_value_is_refused(column: str) -> None:
    with pytest.raises(DataError, match=f"^{column} holds infinite values. Filter these rows with where"):
        mlm.fit(FORMULA, late(column, math.inf))


def test_a_late_value_that_is_too_large_to_be_squared_is_refused() -> None:
    with pytest.raises(DataError, match=r"^The values of x are too large for their squares to be computed\."):
        mlm.fit(FORMULA, late("x", 1e200))


def test_a_late_value_out_of_a_functions_domain_is_counted() -> None:
    with pytest.raises(DataError, match=r"^log\(x\) is undefined in 1 of 400 rows"):
        mlm.fit("y ~ log(x) + (1 | g)", late("x", -1.0))


def test_first_rows_unlike_the_others_are_no_center(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty of 40,000 rows lie a thousand standard deviations of the others away."""
    n = 40_000
    x = np.where(np.arange(n) < 50, 1e4, 0.0) + np.random.default_rng(1).normal(0, 1, n)
    frame = rows(n, x=x)
    moments, sent = statements(frame)
    assert "with present as" in sent
    assert_equal(moments, surveyed(frame, monkeypatch))


@pytest.mark.parametrize(
    "column",
    [
        pytest.param(lambda n: np.where(np.arange(n) < 60, 1.0, np.arange(n) % 7), id="one value at first"),
        pytest.param(
            lambda n: np.where(np.arange(n) < 60, np.arange(n) // 10, np.arange(n) % 7), id="constant at first"
        ),
    ],
)
def test_what_varies_only_later(column: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows(z=column(400).astype(float))
    assert_equal(statements(frame)[0], surveyed(frame, monkeypatch))


@pytest.mark.parametrize("formula", ["y ~ x * z + (1 | g)", "y ~ poly(x, 2) + (1 | g)", "y ~ C(w) + (1 | g)"])
def test_products_and_factors_are_surveyed(formula: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows().with_columns(w=pl.col("g") % 3)
    moments, sent = statements(frame, formula)
    assert "with present as" in sent
    assert_equal(moments, surveyed(frame, monkeypatch, formula))


def test_groups_far_apart_are_scanned_around_their_own_means(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = rows().with_columns(y=pl.col("y") + 1e5 * pl.col("g"))
    moments, _ = statements(frame)
    assert moments.around_unit_means
    theirs = surveyed(frame, monkeypatch)
    np.testing.assert_allclose(moments.scatter, theirs.scatter, rtol=1e-9, atol=1e-9)


def test_rows_of_a_table_that_has_few_are_surveyed() -> None:
    _, sent = statements(rows().head(399))
    assert sent[1] == "with present as"


def test_without_groups() -> None:
    frame = rows()
    connection = duckdb.connect()
    connection.register("frame", frame.to_arrow())
    ours = mlm.fit("y ~ x + z", "frame", connection=connection).fixed_effects
    theirs = np.linalg.lstsq(
        np.column_stack([np.ones(400), frame["x"], frame["z"]]), frame["y"].to_numpy(), rcond=None
    )[0]
    np.testing.assert_allclose(ours["estimate"].to_numpy(), theirs, rtol=1e-9)
