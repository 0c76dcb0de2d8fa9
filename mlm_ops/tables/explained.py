"""Explained variance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.effect_sizes import r_squared as measures
from mlm_ops.inference.comparison import check_outcomes, check_same_rows
from mlm_ops.tables.columns import COUNT, REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

R_SQUARED: Schema = {
    "measure": TEXT,
    "level": COUNT,
    "group": TEXT,
    "term": TEXT,
    "estimate": REAL,
    "reference_model": TEXT,
    "note": TEXT,
}


def r_squared(fitted: Fit) -> pl.DataFrame:
    """One row a measure of explained variance."""
    return _rows(measures.r_squared(fitted.model, fitted.moments, fitted.result))


def r_squared_changes(fitted: Fit, reference: Fit, name: str) -> pl.DataFrame:
    """One row a measure that differs from a reference model's, and one a variance that is smaller than there."""
    check_outcomes(fitted.model, reference.model)
    check_same_rows(fitted.moments, reference.moments)
    ours, theirs = (measures.shares(f.model, f.moments, f.result) for f in (fitted, reference))
    reductions = measures.proportional_reduction(fitted.result, reference.result, name)
    return _rows([*measures.changes(ours, theirs, name), *(reductions if fitted.model.random else ())])


def _rows(found: Sequence[measures.Measure]) -> pl.DataFrame:
    names = {"reference_model": "reference"}
    return frame(R_SQUARED, {c: [getattr(m, names.get(c, c)) for m in found] for c in R_SQUARED})
