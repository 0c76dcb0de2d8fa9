"""What the nesting of rows in groups amounts to, and what ignoring it would have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.effect_sizes.decomposition import decompose
from mlm_ops.effect_sizes.icc import clustering
from mlm_ops.effect_sizes.naive import without_nesting
from mlm_ops.tables.columns import COUNT, FLAG, REAL, TEXT, Schema, empty, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

ICC: Schema = {
    "group": TEXT,
    "level": COUNT,
    "icc": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "method": TEXT,
    "conditional": FLAG,
    "row_correlation": REAL,
    "group_size": REAL,
    "design_effect": REAL,
    "n_effective": REAL,
    "reliability": REAL,
    "note": TEXT,
}
DECOMPOSITION: Schema = {
    "variable": TEXT,
    "group": TEXT,
    "n_obs": COUNT,
    "n_units": COUNT,
    "mean": REAL,
    "total_variance": REAL,
    "within_variance": REAL,
    "between_variance": REAL,
    "icc": REAL,
    "reliability": REAL,
}
STANDARD_ERRORS: Schema = {
    "term": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "naive_estimate": REAL,
    "naive_std_error": REAL,
    "robust_std_error": REAL,
    "std_error_ratio": REAL,
}


def icc(fitted: Fit) -> pl.DataFrame:
    """One row a grouping factor."""
    found = clustering(fitted.moments, fitted.result, fitted.predictions)
    names = {"row_correlation": "correlation"}
    return frame(ICC, {c: [getattr(one, names.get(c, c)) for one in found] for c in ICC})


def decomposition(fitted: Fit) -> pl.DataFrame:
    """One row a variable and grouping factor."""
    found = decompose(fitted.model, fitted.moments)
    return frame(DECOMPOSITION, {c: [getattr(one, c) for one in found] for c in DECOMPOSITION})


def standard_errors(fitted: Fit) -> pl.DataFrame:
    """One row a fixed effect; none without grouping factors."""
    if not fitted.result.design.levels:
        return empty(STANDARD_ERRORS)
    naive, tests = without_nesting(fitted.result), fitted.tests
    return frame(
        STANDARD_ERRORS,
        {
            "term": [c.name for c in fitted.structure.fixed],
            "estimate": tests.estimate,
            "std_error": tests.std_error,
            "naive_estimate": naive.estimate,
            "naive_std_error": naive.std_error,
            "robust_std_error": [None] * len(tests.estimate)
            if naive.robust_std_error is None
            else naive.robust_std_error,
            "std_error_ratio": tests.std_error / naive.std_error,
        },
    )
