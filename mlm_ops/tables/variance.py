"""Variances and covariances."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlm_ops.inference.variance import residual_components
from mlm_ops.language.equations import indices, variance_symbol
from mlm_ops.language.model import group_name
from mlm_ops.tables.columns import REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

VARIANCE_COMPONENTS: Schema = {
    "group": TEXT,
    "term": TEXT,
    "other": TEXT,
    "symbol": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "std_dev": REAL,
    "correlation": REAL,
}


def variance_components(fitted: Fit) -> pl.DataFrame:
    """One row a variance and a covariance of each T, lower triangle by columns; the residual last."""
    index, errors = indices(fitted.structure), fitted.variance_errors
    rows: list[tuple[object, ...]] = []
    heights = [(h, level) for h, level in enumerate(fitted.result.design.levels) for _ in level.blocks]
    for (height, level), block, tau, error in zip(
        heights, fitted.result.blocks, fitted.result.tau, errors.tau, strict=True
    ):
        group = group_name(level.group)
        deviations = np.sqrt(np.diag(tau))
        for i, first in enumerate(block.columns):
            for j, second in enumerate(block.columns[i:], start=i):
                symbol = variance_symbol(fitted.structure, height, index[first], index[second])
                scale = deviations[i] * deviations[j]
                rows.append(
                    (group, first.name, None, symbol, tau[i, i], error[i, i], deviations[i], None)
                    if i == j
                    else (
                        group,
                        first.name,
                        second.name,
                        symbol,
                        tau[i, j],
                        error[i, j],
                        None,
                        tau[i, j] / scale if scale else None,
                    )
                )
    rows += [
        ("residual", name, None, symbol, value, error, math.sqrt(value) if symbol == "sigma2" else None, None)
        for name, symbol, value, error in residual_components(fitted.result)
    ]
    return frame(VARIANCE_COMPONENTS, dict(zip(VARIANCE_COMPONENTS, zip(*rows, strict=True), strict=True)))
