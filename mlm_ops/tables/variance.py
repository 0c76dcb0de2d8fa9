"""Variances and covariances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

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
    columns = zip(*fitted.components, strict=True)
    return frame(VARIANCE_COMPONENTS, dict(zip(VARIANCE_COMPONENTS, columns, strict=True)))
