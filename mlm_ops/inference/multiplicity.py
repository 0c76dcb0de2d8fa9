"""P values of several tests, adjusted for their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def holm(p_values: Array) -> Array:
    """P values (m,) adjusted so that all of them together err with the level of one.

    The i-th smallest of m becomes ``max over k <= i of (m - k + 1) p_(k)``, at most one: Holm (1979), Scandinavian
    Journal of Statistics 6, 65-70.
    """
    # what has no p value is no test, and sorts last
    order = np.argsort(p_values)
    m = np.count_nonzero(~np.isnan(p_values))
    factors = m - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p_values[order]), 1.0)
    return adjusted
