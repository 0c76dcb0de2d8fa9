"""Refuse models that the rows cannot determine, with the numbers that show why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, FormulaError, IdentificationError
from mlm_ops.estimation.covariance import freedom
from mlm_ops.estimation.design.groups import FactorUnits
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.language.columns import DesignColumn, whole_variable
from mlm_ops.language.model import Model, Variable, group_name, label
from mlm_ops.moments.arrays import Codes
from mlm_ops.moments.rank import null_space

if TYPE_CHECKING:
    from mlm_ops.estimation.design.record import Design


#: Share of the columns' squares below which a combination of random effects is none: more than rounding leaves.
_DISTINCT = 1e-12


def check_outcome(model: Model, evaluator: Evaluator, factors: list[FactorUnits]) -> None:
    """Refuse an outcome that does not vary within any unit of a grouping factor: nothing is left for level 1."""
    # what rounding leaves of a constant: of sums of squares, or of the values' own last digits
    rounding = 1e-28 if evaluator.moments.around_unit_means else 1e-14
    outcome = evaluator.part(model.outcome).polynomial
    mean, n = evaluator.mean(outcome), evaluator.moments.n
    total = float(np.sum(evaluator.scatter(outcome, outcome)) + n @ mean**2)
    for factor in factors:
        by_unit = np.bincount(factor.codes, n * mean) / np.bincount(factor.codes, n)
        within = float(np.sum(evaluator.scatter(outcome, outcome)) + n @ (mean - by_unit[factor.codes]) ** 2)
        if within <= rounding * total and len(factor.labels) < evaluator.moments.n_obs:
            raise IdentificationError(
                f"The outcome {model.outcome_name!r} does not vary within {group_name(factor.group)}, so it has no "
                f"level-1 variance. Fit it on a table with one row for each unit of {group_name(factor.group)}."
            )


def check_stated(model: Model, evaluator: Evaluator, columns: Sequence[Sequence[DesignColumn]]) -> None:
    """Refuse a variable that level equations put at a level and that varies within the units of that level."""
    coded = dict.fromkeys(v for part in columns for column in part for v in column.variables)
    for level_variables, level, group in model.level_variables:
        codes, labels = evaluator.moments.units_of(group)
        for variable in (v for v in coded if whole_variable(v) == whole_variable(level_variables)):
            varying = np.unique(codes[_varies_within(evaluator, variable, codes)]).size
            if varying:
                name = label(level_variables)
                raise DataError(
                    f"{name} explains coefficients at level {level}, but it varies within {varying} of "
                    f"{len(labels)} units of {group_name(group)}. Put {name} at level 1, or between({name}) in its "
                    "place."
                )


def _varies_within(evaluator: Evaluator, variable: Variable, codes: Codes) -> NDArray[np.bool_]:
    """(J,) whether a variable varies within each of the smallest units, or from it to the first of its larger unit."""
    polynomial, n = evaluator.part(variable).polynomial, evaluator.moments.n
    mean = evaluator.mean(polynomial)
    scatter = np.broadcast_to(evaluator.scatter(polynomial, polynomial), n.shape)
    size = float(scatter.sum() + n @ mean**2)
    first = mean[np.unique(codes, return_index=True)[1]]
    # what rounding leaves of a mean square is 1e-30 of it
    return (scatter > 1e-20 * size) | (n * (mean - first[codes]) ** 2 > 1e-20 * size)


def check_parameters(n_parameters: int, n_obs: int) -> None:
    """Refuse as many parameters as rows."""
    if n_parameters >= n_obs:
        raise IdentificationError(
            f"The model has as many parameters as rows or more. Got {n_parameters} parameters and {n_obs} rows."
        )


def check_given(model: Model, random: Sequence[Sequence[DesignColumn]]) -> None:
    """Refuse a given T of another size than its block."""
    for block, columns in zip(model.random, random, strict=True):
        if not isinstance(block.covariance, str) and len(block.covariance) != len(columns):
            raise FormulaError(
                f"The covariance given for {group_name(block.group)} does not fit its random effects. Got a matrix of "
                f"{len(block.covariance)} rows; expected {len(columns)}, in the order "
                f"{', '.join(c.name for c in columns)}."
            )


def check_identified(design: Design) -> None:
    """Refuse what the rows cannot determine, with the numbers."""
    start = 0
    for level in design.levels:
        units, name = len(level.labels), group_name(level.group)
        if units < 2:
            raise IdentificationError(
                f"The grouping factor {name} has one unit, {level.labels[0]!s}; a variance between units needs two."
            )
        for block in level.blocks:
            q = len(block.columns)
            is_given = not isinstance(block.covariance, str)
            if units * q >= design.n_obs and not is_given:
                raise IdentificationError(
                    f"The random part ({', '.join(c.name for c in block.columns)} | {name}) has {units * q} random "
                    f"effects for {design.n_obs} rows, so they cannot be separated from the residuals. Use fewer "
                    "random terms or a grouping factor with more rows in each unit."
                )
            columns = slice(start, start + q)
            z = design.cross.total[columns, columns]
            if freedom(block.covariance) == "rotate" and null_space(z, _DISTINCT).size:
                names = ", ".join(c.name for c in block.columns)
                raise IdentificationError(
                    f"The random terms of {name} cannot be separated. Got {names}, of which some are combinations of "
                    "others; remove one."
                )
            start = columns.stop
