"""The note on rows that a fit lacks."""

from __future__ import annotations

from collections.abc import Mapping

#: What every such note says, and no other.
LEFT_OUT = "rows left out for missing values"


def left_out(n_obs: int, n_rows: int, n_dropped: Mapping[str, int]) -> str:
    """Say how many rows were left out, and which columns' values they lack.

    >>> left_out(8, 10, {"x": 2, "y": 0})
    '2 of 10 rows left out for missing values (x 2)'
    """
    counts = ", ".join(f"{name} {count}" for name, count in n_dropped.items() if count)
    return f"{n_rows - n_obs} of {n_rows} {LEFT_OUT} ({counts})"
