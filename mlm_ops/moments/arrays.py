"""Name the types of numpy arrays that the moments and all computations with them use."""

from __future__ import annotations

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
