"""A fingerprint of moments that does not depend on the order in which their rows were summed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.triangles import lower_by_rows

Array = NDArray[np.float64]

#: Of each sum; more would tell orders apart, fewer would miss a change of one row among a million.
DIGITS = 8


def checksum(what: str, n: Array, mean: Array, scatter: Array, texts: Iterable[NDArray[Any]]) -> str:
    """Sixteen hexadecimal digits.

    Sums of the same numbers in another order differ in their last digits. So `DIGITS` of each mean and scatter are
    taken, counted from what the unit with the largest sum of squares could have: scatter that is zero but for rounding
    would otherwise be told by its rounding. A number that lies between two digits may still be rounded either way: one
    in some hundred million, so that of a thousand scans of 20,000 groups a few have another checksum.

    Parameters
    ----------
    what
        What the numbers are moments of.
    n, mean, scatter
        (J,), all positive, (K, J), (K (K + 1) / 2, J), as `Moments` has them.
    texts
        Labels and constants, (J,) each.
    """
    digest = hashlib.sha256(what.encode())
    digest.update(n.tobytes())
    rows, cols = lower_by_rows(len(mean))
    squares = scatter[rows == cols] + n * mean**2
    sizes = np.sqrt(squares.max(axis=1, initial=0.0))
    digest.update(" ".join(f"{size:.{DIGITS - 1}e}" for size in sizes).encode())
    roots = np.sqrt((squares / n).max(axis=1, initial=0.0))
    for array, scale in ((mean, roots), (scatter, sizes[rows] * sizes[cols])):
        for row, largest in zip(array, scale, strict=True):
            digest.update((np.round(row / (largest or 1.0), DIGITS) + 0.0).tobytes())
    for values in texts:
        digest.update("\x1f".join(map(str, values)).encode())
    return digest.hexdigest()[:16]
