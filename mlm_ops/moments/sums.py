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
from mlm_ops.moments.arrays import Array, Codes

Index = TypeVar("Index", int, NDArray[np.int64])
Places = tuple[NDArray[np.int64], NDArray[np.int64]]
PackedSums = tuple[Array, Array, Array]
"""n, mean and scatter of J units: (J,), (K, J), (K (K + 1) / 2, J)."""

#: A difference has its digits if at least this share of a unit's second moment is left: 1e4 roundings are 2e-12.
_LEAST = 1e-4
#: Mean squares between these keep their digits, and so do sums of them over any number of rows.
_LEAST_SQUARE, _MOST_SQUARE = 1e-280, 1e290


@cache
def lower_by_rows(size: int) -> Places:
    """Return the rows and columns of the lower triangle's elements, row by row."""
    return _read_only(*np.tril_indices(size))


@cache
def lower_by_columns(size: int) -> Places:
    """Return the rows and columns of the lower triangle's elements, column by column."""
    columns, rows = np.triu_indices(size)
    return _read_only(rows, columns)


def packed_size(size: int) -> int:
    """Return the number of elements of a lower triangle."""
    return size * (size + 1) // 2


def packed_place(row: Index, column: Index) -> Index:
    """Return the place of an element of a lower triangle, row by row; ``row >= column``, numbers or arrays of them."""
    return row * (row + 1) // 2 + column


def packed_diagonal(size: int) -> list[int]:
    """Return the places of the diagonal in a lower triangle, row by row."""
    return [packed_place(i, i) for i in range(size)]


def _read_only(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Places:
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
    # with return_index numpy sorts stably, which is twice as fast where sorted runs follow each other
    distinct, _, inverse = np.unique(values, return_index=True, return_inverse=True)
    return distinct, inverse


def pool(codes: Codes, size: int, n: Array, mean: Array, scatter: Array) -> PackedSums:
    """Pool units that share a code: (J,), (K, J), (K (K + 1) / 2, J) -> the same of `size` units."""
    total = np.bincount(codes, n, size).astype(float)
    means, scatters = np.empty((len(mean), size)), np.empty((len(scatter), size))
    for i, m in enumerate(mean):
        means[i] = np.bincount(codes, n * m, size) / total
    deviation = mean - means[:, codes]
    rows, cols = lower_by_rows(len(mean))
    for k in range(len(scatter)):
        scatters[k] = np.bincount(codes, scatter[k] + n * deviation[rows[k]] * deviation[cols[k]], size)
    return total, means, scatters


def read_units(sums: PackedSums, units: Codes) -> PackedSums:
    """Return the sums of some units."""
    n, mean, scatter = sums
    return n[units], mean.take(units, axis=1), scatter.take(units, axis=1)


def write_units(sums: PackedSums, units: Codes, values: PackedSums) -> None:
    """Replace the sums of some units, in place."""
    (n, mean, scatter), (n_values, mean_values, scatter_values) = sums, values
    n[units] = n_values
    # row by row, as numpy takes three times as long for all rows at once
    for row, row_values in zip((*mean, *scatter), (*mean_values, *scatter_values), strict=True):
        row[units] = row_values


def put_in(sums: PackedSums, more: PackedSums) -> PackedSums:
    """Add rows to sums, unit by unit; units of `sums` without rows are all zero."""
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
    """Take the rows of `part` out of sums, unit by unit; units without rows become zero."""
    (n, mean, scatter), (n_part, mean_part, scatter_part) = sums, part
    n_rest = n - n_part
    # units without rows become zero below: any divisor will do
    divisor = np.maximum(n_rest, 1.0)
    shift = mean - mean_part
    shift *= n_part / divisor
    scatter = scatter - scatter_part - _products(n * divisor / n_part, shift)
    shift += mean
    for i in packed_diagonal(len(mean)):
        np.maximum(scatter[i], 0.0, out=scatter[i])
    empty = np.flatnonzero(n_rest == 0)
    shift[:, empty] = scatter[:, empty] = 0.0
    return n_rest, shift, scatter


def has_lost_digits(before: PackedSums, after: PackedSums, *total: PackedSums) -> bool:
    """Tell whether so much was taken out of a unit that rounding errors show in the rest.

    Rows with a value of 1e9 leave the rounding of its square behind, a hundred times the square of a value of 1.

    Parameters
    ----------
    before, after
        Sums of the units that rows were taken out of.
    total
        Sums of all units, afterwards, in one or several records.
    """
    rows = sum(sums[0].sum() for sums in total)
    if not rows:
        return False
    of_a_row = sum(_second_moments(sums).sum(axis=1, keepdims=True) for sums in total) / rows
    is_lost = _LEAST * _second_moments(before) > _second_moments(after) + of_a_row
    return bool((is_lost & (after[0] > 0)).any())


def _second_moments(sums: PackedSums) -> Array:
    """Return the sums of squares around the centers, (K, J)."""
    n, mean, scatter = sums
    squares: Array = mean**2
    squares *= n
    squares += scatter[packed_diagonal(len(mean))]
    return squares


def _products(weights: Array, shift: Array) -> Array:
    rows, cols = lower_by_rows(len(shift))
    weighted_shift = weights * shift
    products = np.empty((len(rows), shift.shape[1]))
    for row, i, j in zip(products, rows, cols, strict=True):
        np.multiply(weighted_shift[i], shift[j], out=row)
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


def check_squares(name: str, n: Array, mean: Array, scatter: Array) -> None:
    """Refuse a variable whose squares are beyond what a double holds, or below.

    Parameters
    ----------
    name
        Its name in the message.
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
            f"The values of {name} are too {'large' if large else 'small'} for their squares to be computed. Got "
            f"deviations from the mean {'above 1e145' if large else 'below 1e-140'}; expected ones between 1e-140 and "
            "1e145. Measure it in another unit."
        )
