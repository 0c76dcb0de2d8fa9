"""What a fit rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.diagnose import diagnose
from mlm_ops.tables.columns import FLAG, REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

DIAGNOSTICS: Schema = {
    "diagnostic": TEXT,
    "group": TEXT,
    "unit": TEXT,
    "term": TEXT,
    "estimate": REAL,
    "statistic": REAL,
    "df": REAL,
    "p_value": REAL,
    "flagged": FLAG,
    "note": TEXT,
}


def diagnostics(fitted: Fit) -> pl.DataFrame:
    """One row a finding: influence by unit, outliers, normality by random effect, equality of residual variances."""
    found = diagnose(fitted)
    return frame(DIAGNOSTICS, {column: [getattr(f, column) for f in found] for column in DIAGNOSTICS})
