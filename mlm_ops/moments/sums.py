"""Pool, add and subtract sizes, means and scatter of units, as plain arrays.

Means and scatters combine by the parallel-axis rule (Chan, Golub and LeVeque 1983, The American Statistician 37, eq.
2.1): means are weighted by size, scatters add with the scatter of the means.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError

Index = TypeVar("Index", int, NDArray[np.int64])
Places = tuple[NDArray[np.int64], NDArray[np.int64]]
Array = NDArray[np.float64]
Codes = NDArray[np.int64]
PackedSums = tuple[Array, Array, Array]
"""n, mean and scatter of J units: (J,), (K, J), (K (K + 1) / 2, J)."""

#: Share of the second moment that must be left in a unit for a difference to keep its digits: 1e4 roundings are 2e-12.
_LEAST = 1e-4
#: Mean squares between these keep their digits, and so do sums of them over any number of rows.
_LEAST_SQUARE, _MOST_SQUARE = 1e-280, 1e290


@cache
def lower_by_rows(size: int) -> Places:
    """Rows and columns of the lower triangle, row by row."""
    return _fixed(*np.tril_indices(size))


@cache
def lower_by_columns(size: int) -> Places:
    """Rows and columns of the lower triangle, column by column."""
    columns, rows = np.triu_indices(size)
    return _fixed(rows, columns)


def packed_size(size: int) -> int:
    """Elements of a lower triangle."""
    return size * (size + 1) // 2


def packed_place(row: Index, column: Index) -> Index:
    """Where an element of a lower triangle stands, row by row; ``row >= column``, numbers or arrays of them."""
    return row * (row + 1) // 2 + column


def packed_diagonal(size: int) -> list[int]:
    """Where the diagonal of a lower triangle stands, row by row."""
    return [packed_place(i, i) for i in range(size)]


def _fixed(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Places:
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


def unit_codes(keys: list[NDArray[Any]], size: int) -> Codes:
    """Number the distinct combinations of key columns, each (size,), in their order."""
    codes: Codes = np.zeros(size, dtype=np.int64)
    for number, key in enumerate(keys):
        values, inverse = _dense(key)
        # the codes of one key are dense already
        codes = inverse if number == 0 else _dense(codes * len(values) + inverse)[1]
    return codes.astype(np.int64)


def _dense(values: NDArray[Any]) -> tuple[NDArray[Any], Codes]:
    # asked for the index too, numpy sorts stably, which is twice as fast where sorted runs follow each other
    distinct, _, inverse = np.unique(values, return_index=True, return_inverse=True)
    return distinct, inverse


def pool(codes: Codes, size: int, n: Array, mean: Array, scatter: Array) -> PackedSums:
    """Pool units that share a code: (J,), (K, J), (K (K + 1) / 2, J) -> the same of `size` units."""
    total = np.bincount(codes, n, size).astype(float)
    pooled, added = np.empty((len(mean), size)), np.empty((len(scatter), size))
    for i, m in enumerate(mean):
        pooled[i] = np.bincount(codes, n * m, size) / total
    deviation = mean - pooled[:, codes]
    rows, cols = lower_by_rows(len(mean))
    for k in range(len(scatter)):
        added[k] = np.bincount(codes, scatter[k] + n * deviation[rows[k]] * deviation[cols[k]], size)
    return total, pooled, added


def read_units(sums: PackedSums, units: Codes) -> PackedSums:
    """Sums of some units."""
    n, mean, scatter = sums
    return n[units], mean.take(units, axis=1), scatter.take(units, axis=1)


def write_units(sums: PackedSums, units: Codes, values: PackedSums) -> None:
    """Put sums in the place of those of some units."""
    (n, mean, scatter), (n_values, mean_values, scatter_values) = sums, values
    n[units] = n_values
    # row by row, as numpy takes three times as long for all rows at once
    for row, row_values in zip((*mean, *scatter), (*mean_values, *scatter_values), strict=True):
        row[units] = row_values


def put_in(sums: PackedSums, more: PackedSums) -> PackedSums:
    """Sums of the rows of both, unit by unit; `sums` may have units without rows, which are all zero."""
    (n, mean, scatter), (n_more, mean_more, scatter_more) = sums, more
    share = n_more / (n + n_more)
    shift = mean_more - mean
    between = _products(n * share, shift)
    between += scatter
    between += scatter_more
    shift *= share
    shift += mean
    return n + n_more, shift, between


def take_out(sums: PackedSums, part: PackedSums) -> PackedSums:
    """Sums of the rows that are not in `part`, unit by unit; zero where none are left."""
    (n, mean, scatter), (n_part, mean_part, scatter_part) = sums, part
    left = n - n_part
    # where none are left any number will do
    divisor = np.maximum(left, 1.0)
    shift = mean - mean_part
    shift *= n_part / divisor
    scatter = scatter - scatter_part - _products(n * divisor / n_part, shift)
    shift += mean
    for i in packed_diagonal(len(mean)):
        np.maximum(scatter[i], 0.0, out=scatter[i])
    empty = np.flatnonzero(left == 0)
    shift[:, empty] = scatter[:, empty] = 0.0
    return left, shift, scatter


def has_lost_digits(before: PackedSums, after: PackedSums, total: PackedSums) -> bool:
    """Whether so much was taken out of a unit that rounding shows in what is left of it.

    Rows with a value of 1e9 leave the rounding of its square behind, a hundred times the square of a value of 1.

    Parameters
    ----------
    before, after
        Of the units that rows were taken out of.
    total
        Of all units, afterwards.
    """
    rows = total[0].sum()
    if not rows:
        return False
    of_a_row = _second_moments(total).sum(axis=1, keepdims=True) / rows
    lost = _LEAST * _second_moments(before) > _second_moments(after) + of_a_row
    return bool((lost & (after[0] > 0)).any())


def _second_moments(sums: PackedSums) -> Array:
    """(K, J) sums of squares around the centers."""
    n, mean, scatter = sums
    squares: Array = mean**2
    squares *= n
    squares += scatter[packed_diagonal(len(mean))]
    return squares


def _products(weights: Array, shift: Array) -> Array:
    rows, cols = lower_by_rows(len(shift))
    weighted = weights * shift
    products = np.empty((len(rows), shift.shape[1]))
    for row, i, j in zip(products, rows, cols, strict=True):
        np.multiply(weighted[i], shift[j], out=row)
    return products


def squares_rounding(sums: PackedSums, around_unit_means: bool) -> Array:
    """(K, J) what the sum of squares of equal values can come out as, in each unit.

    A difference of two sums of squares has the rounding of these; values around their unit's own mean have that mean's.
    Roundings of n additions add up to some square roots of n of them.

    Parameters
    ----------
    around_unit_means
        As in `Moments`.
    """
    n, mean, scatter = sums
    size = np.maximum(8.0, 4 * np.sqrt(n)) * np.finfo(np.float64).eps
    share: Array = size**2 if around_unit_means else size
    squares: Array = scatter[packed_diagonal(len(mean))] + n * mean**2
    return share * squares


def check_squares(named: str, n: Array, mean: Array, scatter: Array) -> None:
    """Refuse a variable whose squares are beyond what a double holds, or below.

    Parameters
    ----------
    named
        What it is called.
    n, mean, scatter
        (J,) of its units, around a center.
    """
    if not n.any():
        return
    with np.errstate(all="ignore"):
        square = float(np.sum(scatter + n * mean**2)) / float(n.sum())
        far, spread = float(np.abs(mean).max(initial=0.0)), float(np.abs(scatter).max(initial=0.0))
    if square == 0.0 and far == 0.0 and spread == 0.0:
        return
    if not _LEAST_SQUARE <= square <= _MOST_SQUARE:
        large = not square <= _MOST_SQUARE
        raise DataError(
            f"The values of {named} are too {'large' if large else 'small'} for their squares to be computed. Got "
            f"deviations from the mean {'above 1e145' if large else 'below 1e-140'}; expected ones between 1e-140 and "
            "1e145. Measure it in another unit."
        )
