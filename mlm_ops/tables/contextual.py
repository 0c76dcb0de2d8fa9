"""Contextual effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.effect_sizes import contextual
from mlm_ops.language.model import group_name, label
from mlm_ops.tables.columns import FLAG, REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

CONTEXTUAL_EFFECTS: Schema = {
    "predictor": TEXT,
    "group": TEXT,
    "within": REAL,
    "between": REAL,
    "estimate": REAL,
    "std_error": REAL,
    "df": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "reliability": REAL,
    "predicted_bias": REAL,
    "corrected": REAL,
    "corrected_std_error": REAL,
    "bias_matters": FLAG,
    "note": TEXT,
}


def contextual_effects(fitted: Fit) -> pl.DataFrame:
    """One row a variable whose group mean stands in the model beside it."""
    found = contextual.contextual_effects(fitted.model, fitted.moments, fitted.result, fitted.method)
    tests = ("estimate", "std_error", "df", "statistic", "p_value", "conf_low", "conf_high")
    values = {name: [getattr(one.test, name)[0] for one in found] for name in tests}
    own = ("within", "between", "reliability", "corrected", "corrected_std_error", "note")
    values |= {name: [getattr(one, name) for one in found] for name in own}
    values |= {
        "predictor": [label(one.pair.predictor) for one in found],
        "group": [group_name(one.pair.group) for one in found],
        "predicted_bias": [None if one.corrected is None else one.test.estimate[0] - one.corrected for one in found],
        "bias_matters": [one.matters for one in found],
    }
    return frame(CONTEXTUAL_EFFECTS, values)
