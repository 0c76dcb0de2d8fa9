"""Predict the rows of a frame, by the SQL that predicts a table: what `Fit.prediction_sql` gives, in Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed.tests import CoefficientMethod
from mlm_ops.inference.prediction.sql import PREFIX, PredictionQuery
from mlm_ops.inference.random.effects import RandomEffects
from mlm_ops.language.model import Column, Model, label, walk
from mlm_ops.language.options import PredictionKind
from mlm_ops.language.spelling import list_names
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.record import Moments
from mlm_ops.moments.units import names, names_in_fit
from mlm_ops.warehouse.arrow import query_frames
from mlm_ops.warehouse.sql import identifier

#: Names of the frame's rows and of the units' tables in the query.
_ROWS, _UNITS = "mlm_rows", "mlm_units_"
#: Columns that are added to the rows: their place, and what a column's values are called in the fit.
_PLACE, _CALLED = f"{PREFIX}place", f"{PREFIX}called "


def predict(
    model: Model,
    estimate: Estimate,
    effects: Sequence[RandomEffects],
    method: CoefficientMethod,
    moments: Moments,
    frame: pl.DataFrame,
    kind: PredictionKind,
) -> pl.DataFrame:
    """Predict n new rows; null where a value is missing, and where the fit's rows do not determine the fixed part.

    The outcome's scale is that of the formula: log(y) for an outcome log(y).

    Parameters
    ----------
    effects
        Empirical Bayes estimates, a block each as in `Estimate.blocks`.
    method
        How coefficients are tested: standard errors are by its covariance matrix.

    Returns
    -------
    polars.DataFrame
        The rows with ``prediction``, and with it ``std_error`` of the fixed part, or ``new_group``: whether a group of
        the row was not among the fit's. They take the place of columns of these names.

    Raises
    ------
    DataError
        A column that the prediction needs is not there, or holds no numbers.
    """
    if kind == "marginal":
        columns = _predicted(model, estimate, None, moments, frame, predictors=True)
        fixed = columns["fixed_prediction"]
        error = np.sqrt(method.variances(_design_rows(estimate, columns, frame.height)))
        return frame.with_columns(
            _numbers("prediction", fixed), _numbers("std_error", np.where(np.isnan(fixed), np.nan, error))
        )
    columns = _predicted(model, estimate, effects, moments, frame)
    new_group = pl.Series("new_group", columns["new_group"].astype(bool))
    return frame.with_columns(_numbers("prediction", columns["prediction"]), new_group)


def _design_rows(estimate: Estimate, predictors: dict[str, Array], n: int) -> Array:
    """(n, p) the fixed part's columns; not a number where a value is missing."""
    result = np.ones((n, len(estimate.design.fixed.columns)))
    for i, column in enumerate(estimate.design.fixed.columns):
        for variable in column.variables:
            result[:, i] *= predictors[label(variable)]
    return result


def _predicted(
    model: Model,
    estimate: Estimate,
    effects: Sequence[RandomEffects] | None,
    moments: Moments,
    frame: pl.DataFrame,
    *,
    predictors: bool = False,
) -> dict[str, Array]:
    """(n,) each number that the query gives of the rows, in their order; not a number where it gives none.

    The fixed part alone where `effects` is None; with `predictors` its variables too, by their labels.
    """
    query = PredictionQuery(model, estimate, effects, moments, observed=False)
    numbers = dict.fromkeys(node.name for v in query.variables for node in walk(v) if isinstance(node, Column))
    _check_columns(frame, numbers, query.named)
    rows = frame.select([pl.int_range(pl.len()).alias(_PLACE), *dict.fromkeys((*numbers, *query.named))])
    called = ((column, _called(frame[column], query)) for column in query.named)
    other_names = [own.alias(_CALLED + column) for column, own in called if own is not None]
    if other_names:
        rows = rows.with_columns(other_names)
        renamed = {own.name.removeprefix(_CALLED): own.name for own in other_names}
        query = PredictionQuery(model, estimate, effects, moments, observed=False, renamed=renamed)
    tables = {f"{_UNITS}{i}": unit.frame for i, unit in enumerate(query.units)}
    sql = query.sql(_ROWS, [identifier(name) for name in tables], kept=[_PLACE], predictors=predictors)
    answer = query_frames(sql, {_ROWS: rows, **tables})
    place = answer.pop(_PLACE)
    labels = {name: label for label, name in query.predictors.items()}
    return {labels.get(name, name): _in_order(values, place) for name, values in answer.items()}


def _check_columns(frame: pl.DataFrame, numbers: Iterable[str], named: Iterable[str]) -> None:
    """Refuse rows without a column that the prediction needs, or with one of another kind."""
    for name in (*numbers, *named):
        if name not in frame.columns:
            raise DataError(
                f"The new rows have no column {name!r}, which the prediction needs. Got {list_names(frame.columns)}."
            )
    for name in numbers:
        kind = frame[name].dtype
        if not (kind.is_numeric() or kind == pl.Null):
            raise DataError(f"Column {name!r} of the new rows is not numeric. Got {kind}; cast it.")


def _called(values: pl.Series, query: PredictionQuery) -> pl.Series | None:
    """(n,) what the fit calls a column's numbers where the rows write them otherwise; None where they do not."""
    if not values.dtype.is_numeric():
        return None
    distinct = values.unique()
    called = names(distinct)
    fitted = names_in_fit(distinct, called, query.names_in_fit(values.name))
    if fitted.equals(called):
        return None
    pairs = pl.DataFrame({"value": distinct, "name": fitted})
    return values.to_frame("value").join(pairs, on="value", how="left", nulls_equal=True, maintain_order="left")["name"]


def _in_order(values: Any, place: NDArray[np.int64]) -> Array:
    """Values by the rows' places, not a number where the query gave none."""
    ordered = np.empty(len(place))
    ordered[place] = np.ma.filled(np.ma.asarray(values).astype(float), np.nan)
    return ordered


def _numbers(name: str, values: Array) -> pl.Series:
    """A column in which what is no number is null."""
    return pl.Series(name, values).fill_nan(None)
