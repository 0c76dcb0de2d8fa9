"""Fixed and random effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlm_ops.language.equations import coefficient_symbol
from mlm_ops.language.model import group_name
from mlm_ops.tables.columns import COUNT, REAL, TEXT, Schema, empty, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

NORMAL_975 = 1.959963984540054

FIXED_EFFECTS: Schema = {
    "term": TEXT,
    "symbol": TEXT,
    "level": COUNT,
    "estimate": REAL,
    "std_error": REAL,
    "df": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
}
RANDOM_EFFECTS: Schema = {
    "group": TEXT,
    "unit": TEXT,
    "term": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "reliability": REAL,
}


def fixed_effects(fitted: Fit) -> pl.DataFrame:
    """One row a fixed effect."""
    tests, structure = fitted.tests, fitted.structure
    index = structure.indices
    columns = structure.fixed
    return frame(
        FIXED_EFFECTS,
        {
            "term": [c.name for c in columns],
            "symbol": [coefficient_symbol(index[c]) for c in columns],
            "level": [structure.level(c) for c in columns],
            "estimate": tests.estimate,
            "std_error": tests.std_error,
            "df": tests.df,
            "statistic": tests.statistic,
            "p_value": tests.p_value,
            "conf_low": tests.conf_low,
            "conf_high": tests.conf_high,
        },
    )


def random_effects(fitted: Fit) -> pl.DataFrame:
    """One row a unit and random effect; null where the data do not determine its variance."""
    unknown = fitted.result.undetermined
    blocks = [(level, block) for level in fitted.result.design.levels for block in level.blocks]
    if not blocks:
        return empty(RANDOM_EFFECTS)
    frames = []
    for (level, block), predicted, open_ in zip(blocks, fitted.predictions, unknown.tau, strict=True):
        for i, column in enumerate(block.columns):
            known = np.nan if unknown.sigma2 or open_[i].any() else 1.0
            std_error = known * np.sqrt(predicted.variance[i, i])
            margin = NORMAL_975 * std_error
            values = {
                "group": [group_name(level.group)] * len(level.labels),
                "unit": level.labels.astype(str),
                "term": [column.name] * len(level.labels),
                "estimate": known * predicted.estimate[i],
                "std_error": std_error,
                "conf_low": predicted.estimate[i] - margin,
                "conf_high": predicted.estimate[i] + margin,
                "reliability": known * predicted.reliability[i],
            }
            frames.append(frame(RANDOM_EFFECTS, values))
    return pl.concat(frames)
