"""Predictions for new rows: the fixed part alone, or with the empirical Bayes effects of the groups that were seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed_effects import model_variances
from mlm_ops.inference.new_rows import NewRows
from mlm_ops.inference.random_effects import RandomEffects

Array = NDArray[np.float64]
PredictionKind = Literal["conditional", "marginal"]


def predict(fitted: Estimate, effects: Sequence[RandomEffects], rows: NewRows, kind: str) -> pl.DataFrame:
    """Predict n new rows; null where a value is missing, and where the fit's rows do not determine the fixed part.

    The outcome's scale is that of the formula: log(y) for an outcome log(y).

    Parameters
    ----------
    effects
        Empirical Bayes estimates, a block each as in `Estimate.blocks`.
    kind
        One of `PredictionKind`.

    Returns
    -------
    polars.DataFrame
        The rows with ``prediction``, and with it ``std_error`` of the fixed part, or ``new_group``: whether a group of
        the row was not among the fit's. They take the place of columns of these names.

    Raises
    ------
    MlmError
        An unknown kind.
    """
    if kind == "marginal":
        x = _fixed_rows(fitted, rows)
        return rows.frame.with_columns(
            _numbers("prediction", x @ fitted.gamma), _numbers("std_error", np.sqrt(model_variances(fitted, x)))
        )
    if kind == "conditional":
        prediction, new_group = _conditional(fitted, effects, rows)
        return rows.frame.with_columns(_numbers("prediction", prediction), pl.Series("new_group", new_group))
    raise MlmError(f"Unknown kind. Got {kind!r}; expected 'conditional' or 'marginal'.")


def _numbers(name: str, values: Array) -> pl.Series:
    """A column in which what is no number is null."""
    return pl.Series(name, values).fill_nan(None)


def _fixed_rows(fitted: Estimate, rows: NewRows) -> Array:
    """(n, p) the estimated columns on the new rows; not a number in a row whose fixed part is not estimable."""
    fixed = fitted.design.fixed
    if fixed.centered or len(fixed.asked) == len(fixed.columns):
        return rows.matrix(fixed.columns)
    wide = rows.matrix(fixed.asked)
    x: Array = wide[:, fixed.span.kept]
    x[~fixed.estimable(wide)] = np.nan
    return x


def _conditional(fitted: Estimate, effects: Sequence[RandomEffects], rows: NewRows) -> tuple[Array, NDArray[np.bool_]]:
    """The fixed part and the effects of the rows' groups; those of a new group are zero, which is their expectation."""
    prediction: Array = _fixed_rows(fitted, rows) @ fitted.gamma
    new_group = np.zeros(len(prediction), dtype=bool)
    remaining = iter(effects)
    for level in fitted.design.levels:
        units, missing = rows.units(level.group)
        unseen = units < 0
        new_group |= unseen & ~missing
        for block in level.blocks:
            own = np.where(unseen, 0.0, next(remaining).estimate[:, units])
            prediction = prediction + np.einsum("nq,qn->n", rows.matrix(block.columns), own)
        prediction[missing] = np.nan
    return prediction, new_group
