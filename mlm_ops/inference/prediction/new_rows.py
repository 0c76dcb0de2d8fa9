"""The model's variables on new rows: centered with the fitted means, factors with the fitted levels.

What the data taught (group means, grand means, levels) comes from the moments; only a group that the fit has not seen
is centered with the mean of its own new rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import DataError, MlmError
from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed.tests import model_variances
from mlm_ops.inference.random.effects import RandomEffects
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import (
    Between,
    Center,
    Column,
    Constant,
    Function,
    GroupingFactor,
    Indicator,
    Model,
    Poly,
    Variable,
    Within,
    label,
)
from mlm_ops.moments.record import Moments
from mlm_ops.moments.units import known_names, names, texts
from mlm_ops.warehouse.source import listed

Array = NDArray[np.float64]


class NewRows:
    """Evaluates variables on n rows that need not be those of the fit.

    Parameters
    ----------
    frame
        The rows.
    moments
        Those of the fit.
    model
        The fitted one.
    """

    def __init__(self, frame: pl.DataFrame, moments: Moments, model: Model) -> None:
        self.frame = frame
        self.moments = moments
        self.evaluator = Evaluator(moments, model.default_group, meanings(model, moments))
        self._values: dict[Variable, pl.Series] = {}
        self._called: dict[str, pl.Series] = {}

    def matrix(self, columns: Sequence[DesignColumn]) -> Array:
        """(n, columns) design matrix; not a number where a value is missing."""
        result = np.ones((self.frame.height, len(columns)))
        for i, column in enumerate(columns):
            for variable in column.variables:
                result[:, i] *= self.value(variable).to_numpy()
        return result

    def value(self, variable: Variable) -> pl.Series:
        """(n,) a variable, null where it is missing or undefined."""
        if variable not in self._values:
            self._values[variable] = self._evaluate(variable).cast(pl.Float64).fill_nan(None).rename("value")
        return self._values[variable]

    def units(self, group: GroupingFactor) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The fit's unit that each row lies in.

        Returns
        -------
        codes
            (n,) as `Moments.units_of` numbers them, -1 where there is none.
        missing
            (n,) whether the row names no unit at all.
        """
        group = self.moments.columns_of(group)
        codes, _ = self.moments.units_of(group)
        first = np.unique(codes, return_index=True)[1]
        schema = self.moments.schema
        seen = pl.DataFrame(
            {name: texts(self.moments.labels[schema.keys.index(name)][first]).tolist() for name in group}
            | {"unit of the fit": np.arange(len(first))}
        )
        keys = pl.DataFrame(
            {name: known_names(self._column(name), self._names(name), seen[name].unique()) for name in group}
        )
        found = keys.join(seen, on=list(group), how="left", maintain_order="left")["unit of the fit"]
        missing = keys.select(pl.any_horizontal(pl.all().is_null())).to_series().to_numpy()
        return found.fill_null(-1).to_numpy().astype(np.int64), missing

    def _keys(self, group: GroupingFactor) -> pl.DataFrame:
        return pl.DataFrame({name: self._names(name) for name in group})

    def _names(self, column: str) -> pl.Series:
        """(n,) what the values of a column are called; null where it has none."""
        if column not in self._called:
            self._called[column] = names(self._column(column)).rename(column)
        return self._called[column]

    def _column(self, name: str) -> pl.Series:
        if name not in self.frame.columns:
            raise DataError(
                f"The new rows have no column {name!r}, which the prediction needs. Got {listed(self.frame.columns)}."
            )
        return self.frame[name]

    def _evaluate(self, variable: Variable) -> pl.Series:
        match variable:
            case Within(of):
                return self.value(of) - self._group_means(variable)
            case Between(of):
                return self._group_means(variable)
            case Center(of, at, _):
                if at is not None:
                    return self.value(of) - at
                return self.value(of) - (self.evaluator.part(of).constant - self.evaluator.part(variable).constant)
            case Poly(of, _, raw, power):
                if raw:
                    return self.value(of).pow(power or 1)
                center, coefficients = self.evaluator.powers(variable)
                distance = self.value(of).to_numpy() - center
                return pl.Series(np.polynomial.polynomial.polyval(distance, coefficients))
            case Indicator(column, level, against):
                indicator = self._is_level(column, level).cast(pl.Float64)
                return indicator if against is None else indicator - self._is_level(column, against).cast(pl.Float64)
        return self.frame.with_columns(self._expression(variable).alias("value"))["value"]

    def _group_means(self, variable: Within | Between) -> pl.Series:
        """(n,) the fitted mean of the row's group; of a group not seen, the mean of its new rows."""
        part, group = self.evaluator.part(variable.of), self.evaluator.group_of(variable.mean)
        codes, _ = self.moments.units_of(group)
        fitted = part.constant + self.evaluator.group_means(part.polynomial, variable.mean)
        means = fitted[np.unique(codes, return_index=True)[1]]
        units, missing = self.units(group)
        chosen = np.where(units >= 0, means[units], self._own_means(variable, group))
        return pl.Series(np.where(missing, np.nan, chosen))

    def _own_means(self, variable: Within | Between, group: GroupingFactor) -> Array:
        """(n,) the mean over the new rows of the row's group, or over the units of `over` among them."""
        keys = self.moments.columns_of(group)
        inner = tuple(dict.fromkeys((*keys, *(self.moments.columns_of(variable.over) if variable.over else ()))))
        value = pl.col("value")
        weight = pl.when(value.is_not_null()).then(1.0 / value.count().over(inner) if variable.over else pl.lit(1.0))
        rows = self._keys(inner).with_columns(self.value(variable.of)).with_columns(weight.alias("weight"))
        mean = (value * pl.col("weight")).sum().over(keys) / pl.col("weight").sum().over(keys)
        return rows.select(mean).to_series().to_numpy()

    def _is_level(self, column: str, level: str) -> pl.Series:
        """Indicator of a level; numbers are compared as such."""
        known = self.moments.schema.levels[column]
        values = known_names(self._column(column), self._names(column), known)
        unknown = values.drop_nulls().filter(~values.drop_nulls().is_in(list(known))).unique().sort()
        if len(unknown):
            raise DataError(
                f"The new rows hold levels of {column!r} that the fit has not seen. Got "
                f"{', '.join(unknown.head(5))}; expected one of {', '.join(known)}. Leave these rows out."
            )
        return pl.Series(values == level)

    def _expression(self, variable: Variable) -> pl.Expr:
        """What SQL computes for a row: a column or a function of columns; null outside a function's domain."""
        match variable:
            case Column(name):
                values = self._column(name)
                if not (values.dtype.is_numeric() or values.dtype == pl.Null):
                    raise DataError(f"Column {name!r} of the new rows is not numeric. Got {values.dtype}; cast it.")
                return pl.col(name).cast(pl.Float64)
            case Constant(value):
                return pl.lit(value)
            case Function(name, arguments):
                return _apply(name, [self._expression(a) for a in arguments])
        raise DataError(f"{label(variable)} is not computed row by row.")


def _apply(name: str, arguments: list[pl.Expr]) -> pl.Expr:
    match name, arguments:
        case "I", [x]:
            return x
        case "log", [x]:
            return pl.when(x > 0).then(x.log())
        case "sqrt", [x]:
            return pl.when(x >= 0).then(x.sqrt())
        case "exp", [x]:
            return x.exp()
        case "abs", [x]:
            return x.abs()
        case "**", [base, exponent]:
            return base.pow(exponent)
        case "/", [top, bottom]:
            return pl.when(bottom != 0).then(top / bottom)
        case "*", [left, right]:
            return left * right
        case "+" | "-", [x]:
            return x if name == "+" else -x
        case "+" | "-", [left, right]:
            return left + right if name == "+" else left - right
    raise DataError(f"The function {name!r} is not known for new rows.")


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
