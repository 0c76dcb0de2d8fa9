"""Models against models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.tables.columns import COUNT, REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Estimator
    from mlm_ops.inference.comparison import Comparison

COMPARISONS: Schema = {
    "reference_model": TEXT,
    "statistic": REAL,
    "df": COUNT,
    "p_value": REAL,
    "p_value_mixture": REAL,
    "delta_aic": REAL,
    "delta_bic": REAL,
    "estimator": TEXT,
    "note": TEXT,
}


def comparisons(rows: Sequence[tuple[str, str, Estimator, Comparison]]) -> pl.DataFrame:
    """One row a comparison: model, reference model, the estimator whose likelihoods were compared, and the result."""
    schema = {"model": TEXT, **COMPARISONS}
    records = [
        {
            "model": model,
            "reference_model": reference,
            "statistic": c.statistic,
            "df": c.df,
            "p_value": c.p_value,
            "p_value_mixture": c.p_value_mixture,
            "delta_aic": c.delta_aic,
            "delta_bic": c.delta_bic,
            "estimator": estimator,
            "note": c.note,
        }
        for model, reference, estimator, c in rows
    ]
    return frame(schema, {column: [record[column] for record in records] for column in schema})
