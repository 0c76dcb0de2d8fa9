"""Variances and covariances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.inference.components import Component
from mlm_ops.inference.random_effects import least_squares_reliability
from mlm_ops.language.model import group_name
from mlm_ops.tables.columns import COUNT, REAL, TEXT, Schema, frame

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
    "reliability_hlm": REAL,
    "reliability_units": COUNT,
}


def variance_components(fitted: Fit) -> pl.DataFrame:
    """One row a variance and a covariance of each T, lower triangle by columns; the residual last."""
    own = dict(zip(Component._fields, zip(*fitted.components, strict=True), strict=True))
    known = _reliabilities(fitted)
    keys = zip(own["group"], own["term"], own["other"], strict=True)
    found = [known.get((group, term), (None, None)) if other is None else (None, None) for group, term, other in keys]
    mean, units = zip(*found, strict=True)
    return frame(VARIANCE_COMPONENTS, own | {"reliability_hlm": mean, "reliability_units": units})


def _reliabilities(fitted: Fit) -> dict[tuple[str, str | None], tuple[float, int]]:
    """By group and term: the mean reliability of units' own least squares, and how many units that is."""
    design = fitted.result.design
    blocks = [(group_name(level.group), block) for level in design.levels for block in level.blocks]
    return {
        (group, column.name): (float(mean), found.units)
        for (group, block), found in zip(blocks, least_squares_reliability(fitted.result), strict=True)
        if found is not None
        for column, mean in zip(block.columns, found.mean, strict=True)
    }
