"""Name the types of numpy arrays that the moments and all computations with them use; write labels as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
"""Numbers: counts, means, parameters, matrices."""

Numbers = NDArray[Any]
"""Real numbers, or complex ones where an exact derivative is taken along the imaginary axis."""

Codes = NDArray[np.int64]
"""Whole numbers that stand for units, strata or columns."""

Flags = NDArray[np.bool_]
"""True or false."""

#: From so many on, writing whole numbers in Python takes longer than the import of polars.
_MANY = 200_000


def texts(labels: NDArray[Any]) -> NDArray[Any]:
    """Return names of units as text, (n,); many whole numbers by polars, which is ten times as fast as Python."""
    if not np.issubdtype(labels.dtype, np.integer):
        return labels.astype(str)
    if len(labels) < _MANY:
        return np.array([*map(str, labels.tolist())], dtype=object)
    import polars as pl  # 0.1 s, and not needed by a fit of few units

    return pl.Series(labels).cast(pl.String).to_numpy()


def joined(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return names of units that several columns identify, (n,): their texts, joined by ``:``.

    Colons and backslashes in all texts but the last stand behind a backslash, so that the units ``1:2``, ``3`` and
    ``1``, ``2:3`` are two.
    """
    *before, names = (column.astype(str) for column in columns)
    for column in reversed(before):
        escaped = np.char.replace(np.char.replace(column, "\\", "\\\\"), ":", "\\:")
        names = np.char.add(np.char.add(escaped, ":"), names)
    return names
