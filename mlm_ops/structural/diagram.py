"""The path diagram."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.structural.parameters import ParameterTable

Array = NDArray[np.float64]


def mermaid(table: ParameterTable, theta: Array) -> str:
    """X."""
    return ""


def svg(table: ParameterTable, theta: Array) -> str:
    """X."""
    return ""
