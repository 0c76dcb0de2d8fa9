"""Moments: SQL equals numpy; merging and subtracting are inverse and equal a scan of the union."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlm_ops.errors import DataError
from mlm_ops.language.formula import parse_formula
from mlm_ops.language.request import Request
from mlm_ops.language.structures import parse_residual
from mlm_ops.moments.collect import collect
from mlm_ops.moments.needs import find_needs
from mlm_ops.moments.record import Moments, exchange, merge, subtract
from mlm_ops.moments.scan import as_moments, moments_query
from mlm_ops.moments.storage import load_moments, save_moments
from mlm_ops.moments.survey import take_survey
from mlm_ops.results.fitting import fit_model
from mlm_ops.warehouse.source import open_source

MODEL = parse_formula("y ~ x * z + w + (x | g)")


def _data(rows: int, seed: int = 0, groups: int = 7, offset: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g = rng.integers(0, groups, rows)
    return pl.DataFrame(
        {
            "g": g,
            "x": offset + rng.normal(size=rows) + 0.3 * g,
            "z": rng.normal(size=rows),
            "w": 1.5 * g - 2.0,
            "y": rng.normal(size=rows),
        }
    )


def _collect(data: pl.DataFrame) -> Moments:
    return collect(open_source(data), [MODEL])


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_sql_equals_numpy(offset: float) -> None:
    """Two passes of numpy in each group; with data at 1e8 raw sums of squares would have no digit left."""
    data = _data(500, offset=offset)
    moments = _collect(data)
    atoms = [m for m in moments.schema.monomials if len(m) == 1]
    for j, unit in enumerate(moments.labels[0]):
        rows = data.filter(pl.col("g") == unit)
        centered = {a: rows[a.name].to_numpy() - moments.schema.centers[a] for (a,) in atoms}
        values = np.array([np.prod([centered[a] for a in m], axis=0) for m in moments.schema.monomials])
        deviations = values - values.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(moments.mean[:, j], values.mean(axis=1), rtol=1e-12, atol=1e-13)
        expected = (deviations @ deviations.T)[np.tril_indices(len(values))]
        np.testing.assert_allclose(moments.scatter[:, j], expected, rtol=1e-12, atol=1e-12)
        assert moments.n[j] == len(rows)


def test_constants_need_no_sums() -> None:
    moments = _collect(_data(300))
    assert [c.name for c in moments.schema.constants] == ["w"]
    assert all(not any(a.name == "w" for a in m) for m in moments.schema.monomials)


def test_a_constant_that_only_looked_like_one_is_collected_again() -> None:
    """The first rows show w constant within groups; one late row does not."""
    data = _data(30_000, groups=50).with_columns(
        w=pl.when(pl.int_range(pl.len()) == 29_999).then(0.123).otherwise(pl.col("w"))
    )
    moments = _collect(data)
    assert not moments.schema.constants
    assert any(m[0].name == "w" for m in moments.schema.monomials)


def _assert_equal(ours: Moments, other: Moments, tolerance: float) -> None:
    np.testing.assert_array_equal(ours.labels[0], other.labels[0])
    np.testing.assert_allclose(ours.n, other.n)
    np.testing.assert_allclose(ours.mean, other.mean, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(ours.scatter, other.scatter, rtol=tolerance, atol=tolerance)


def _part(whole: Moments, data: pl.DataFrame) -> Moments:
    """Moments of some rows around the centers of all: the schema of the whole is kept."""
    source = open_source(data)
    needs = find_needs(source, [MODEL])
    sums = source.query(moments_query(source, needs, whole.schema)).fetchnumpy()
    return as_moments(whole.schema, take_survey(source, needs), sums)


@given(st.integers(2, 120), st.integers(1, 100), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_merge_equals_a_scan_of_the_union_and_subtract_undoes_it(rows: int, percent: int, seed: int) -> None:
    data = _data(rows + 20, seed)
    whole = _collect(data)
    cut = min(max(1, (rows * percent) // 100), rows)
    first, second = _part(whole, data[:cut]), _part(whole, data[cut:])
    union = merge(first, second)
    _assert_equal(union, whole, 1e-11)
    # what is taken away leaves rounding errors of the size of the whole
    _assert_equal(subtract(whole, second), first, 1e-10)


@given(st.integers(3, 120), st.integers(1, 99), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_exchange_equals_a_scan_of_the_rows_that_are_there(rows: int, percent: int, seed: int) -> None:
    data = _data(rows + 20, seed)
    full = _collect(data)
    first = max(1, rows * percent // 100)
    stays, goes, comes = data[:first], data[first:-20], data[-20:]
    whole = _part(full, pl.concat([stays, goes]))
    result = exchange(whole, _part(full, goes), _part(full, comes))
    # as in `subtract`, what is taken away leaves rounding errors of the size of the whole
    _assert_equal(result.moments, _part(full, pl.concat([stays, comes])), 1e-10)
    assert result.moved_constants == frozenset()


def test_exchange_of_all_rows_may_change_a_constant_and_of_some_may_not() -> None:
    data = _data(60)
    whole = _collect(data)
    (constant,) = whole.schema.constants
    other = replace(whole, constants=(whole.constants[0] + 1.0,))
    assert exchange(whole, whole, other).moments.constants[0].tolist() == other.constants[0].tolist()
    nothing = whole.select(np.zeros(whole.n_units, dtype=bool))
    assert exchange(whole, nothing, other).moved_constants == {constant}


def test_more_than_there_is_cannot_be_subtracted() -> None:
    data = _data(60)
    whole = _collect(data)
    with pytest.raises(DataError, match=r"The part to subtract has units that the whole does not have\."):
        subtract(_part(whole, data.filter(pl.col("g") > 0)), whole)
    with pytest.raises(DataError, match=r"has units with more rows than the whole has in them\."):
        subtract(_part(whole, data[:50]), whole)


def test_merging_other_centers_is_refused() -> None:
    with pytest.raises(DataError, match="different centers"):
        merge(_collect(_data(50)), _collect(_data(60, seed=3)))


def test_saved_moments_come_back_to_the_last_bit() -> None:
    connection = duckdb.connect()
    moments = _collect(_data(200))
    save_moments(connection, moments, 'main."odd "" name"')
    again = load_moments(connection, 'main."odd "" name"')
    assert again.checksum == moments.checksum
    assert again.schema == moments.schema


def test_saved_residual_moments_fit_the_same_model() -> None:
    connection = duckdb.connect()
    data = (
        _data(200)
        .sort("g")
        .with_columns(
            t=pl.int_range(pl.len()).over("g"), s=pl.when(pl.col("z") > 0).then(pl.lit("a")).otherwise(pl.lit("b"))
        )
    )
    model = parse_formula("y ~ x + (1 | g)", residual=parse_residual("by(s) + ar1(t)"))
    moments = collect(open_source(data), [model])
    save_moments(connection, moments, "kept")
    first, second = (fit_model(Request(model), m).estimate for m in (moments, load_moments(connection, "kept")))
    assert first.log_likelihood == second.log_likelihood


def test_missing_moments_are_named() -> None:
    with pytest.raises(DataError, match="There are no moments in table 'nothing'"):
        load_moments(duckdb.connect(), "nothing")


def test_exchange_refuses_a_unit_that_stands_twice() -> None:
    """Its sums would be taken out, or put in, once in place of twice."""
    whole = _collect(_data(60))
    twice = whole.select(np.concatenate((np.arange(whole.n_units), [0])))
    for old, new in ((twice, whole), (whole, twice)):
        with pytest.raises(DataError, match=r"have each unit once\. Got a unit twice; merge its rows first\."):
            exchange(whole, old, new)
