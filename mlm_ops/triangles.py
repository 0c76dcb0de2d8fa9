"""Places in the lower triangle of a square matrix, kept: numpy makes them anew by way of a matrix at every call."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Places = tuple[NDArray[np.int64], NDArray[np.int64]]


@cache
def lower_by_rows(size: int) -> Places:
    """Rows and columns of the lower triangle, row by row."""
    return _fixed(*np.tril_indices(size))


@cache
def lower_by_columns(size: int) -> Places:
    """Rows and columns of the lower triangle, column by column."""
    columns, rows = np.triu_indices(size)
    return _fixed(rows, columns)


def _fixed(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Places:
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns
