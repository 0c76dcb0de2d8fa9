"""What a model is, and how it fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlm_ops.effect_sizes.icc import intraclass_correlation
from mlm_ops.errors import MlmError
from mlm_ops.language.model import group_name
from mlm_ops.tables.columns import COUNT, FLAG, REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.fitted import Fit

FIT_STATISTICS: Schema = {
    "n_obs": COUNT,
    "n_groups": TEXT,
    "n_parameters": COUNT,
    "estimator": TEXT,
    "log_likelihood": REAL,
    "deviance": REAL,
    "aic": REAL,
    "bic": REAL,
    "deviance_ml": REAL,
    "aic_ml": REAL,
    "bic_ml": REAL,
    "icc": REAL,
    "converged": FLAG,
    "singular": FLAG,
    "gradient": REAL,
    "evaluations": COUNT,
    "seconds": REAL,
}
MODELS: Schema = {
    "formula": TEXT,
    "estimator": TEXT,
    "level_equations": TEXT,
    "reduced_equation": TEXT,
    "latex": TEXT,
    "markdown": TEXT,
    "lme4": TEXT,
    "mplus": TEXT,
    "notes": TEXT,
}


def fit_statistics(fitted: Fit) -> pl.DataFrame:
    """One row."""
    result = fitted.result
    optimum = result.optimum
    return frame(
        FIT_STATISTICS,
        {
            "n_obs": [result.design.n_rows],
            "n_groups": [json.dumps({group_name(level.group): len(level.labels) for level in result.design.levels})],
            "n_parameters": [result.n_parameters],
            "estimator": [fitted.estimator],
            "log_likelihood": [result.log_likelihood],
            "deviance": [result.deviance],
            "aic": [result.aic],
            "bic": [result.bic],
            "deviance_ml": [fitted.by_ml.deviance],
            "aic_ml": [fitted.by_ml.aic],
            "bic_ml": [fitted.by_ml.bic],
            "icc": [intraclass_correlation(fitted.result)],
            "converged": [optimum.converged],
            "singular": [optimum.singular],
            "gradient": [float(np.abs(optimum.gradient).max(initial=0.0))],
            "evaluations": [optimum.evaluations],
            "seconds": [fitted.seconds],
        },
    )


def models(fitted: Fit) -> pl.DataFrame:
    """One row: the model in every notation, and what was noticed on the way."""
    return frame(
        MODELS,
        {
            "formula": [fitted.model.text],
            "estimator": [fitted.estimator],
            "level_equations": [fitted.equations("levels")],
            "reduced_equation": [fitted.equations("reduced").partition("\n")[0]],
            "latex": [fitted.equations("levels", "latex")],
            "markdown": [fitted.equations("levels", "markdown", estimates=True)],
            "lme4": [_or_reason(fitted.to_lme4, "#")],
            "mplus": [_or_reason(fitted.to_mplus, "!")],
            "notes": ["\n".join(fitted.notes) or None],
        },
    )


def _or_reason(write: Callable[[], str], comment: str) -> str:
    """The input of another program; where it does not have the model, a comment that says why."""
    try:
        return write()
    except MlmError as error:
        return f"{comment} {error}"
