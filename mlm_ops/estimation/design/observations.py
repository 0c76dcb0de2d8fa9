"""Find a model's observations: rows, deviations from group means for within(y), or group means for between(y).

The rows of a group are its mean and n - 1 deviations from it. ``within(y)`` models the deviations of all groups, N - J
independent observations, in which whatever does not vary within the groups is zero. ``between(y)`` models the J means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.estimation.design.groups import FactorUnits, cells_of
from mlm_ops.estimation.design.polynomial import Coefficient, Evaluator
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Centering, GroupingFactor, GroupMean, Model, Variable, group_name, label
from mlm_ops.moments.arrays import Array, Codes

#: Mean squares within a group below this share of the whole are rounding errors of its sums.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Split:
    """The part of the outcome that is modelled, and the J groups that it is a part of."""

    part: Literal["within", "between"]
    group: GroupingFactor
    size: int


@dataclass(frozen=True)
class Observations:
    """The observations of a model: rows, deviations within groups, or group means.

    Attributes
    ----------
    units
        (units,) the moments' units that stand for the observations: all, or the first of each group.
    n_obs
        Independent observations: N, N - J or J.
    codes
        (J,) the group that each of the moments' units lies in; None for rows.
    """

    split: Split | None
    units: NDArray[np.int64]
    n_obs: int
    codes: Codes | None = None

    def of(self, factors: list[FactorUnits]) -> list[FactorUnits]:
        """Grouping factors over the observations' units."""
        return [FactorUnits(f.group, f.codes[self.units], f.labels) for f in factors]

    def means(self, evaluator: Evaluator, mean: Array) -> Array:
        """(units,) the observations' unit means of an element, from those (J,) of its rows."""
        if self.split is None or self.codes is None:
            return mean
        if self.split.part == "between":
            return mean[self.units]
        n = evaluator.moments.n
        deviation = mean - (np.bincount(self.codes, n * mean) / np.bincount(self.codes, n))[self.codes]
        # what is left of a constant is rounding, and would pass for a predictor of its own
        rounding = n @ deviation**2 <= _ROUNDING**2 * (n @ mean**2)
        return np.zeros_like(mean) if rounding else deviation

    def products(self, evaluator: Evaluator, scatter: Coefficient, first: Array, second: Array) -> Array:
        """(units,) cross-products of two elements, from their scatter around the unit means and from these."""
        if self.split is not None and self.split.part == "between":
            return first * second
        total: Array = scatter + evaluator.moments.n * first * second
        return total

    def sizes(self, evaluator: Evaluator) -> Array:
        """(units,) observations in each unit."""
        between = self.split is not None and self.split.part == "between"
        return np.ones(len(self.units)) if between else evaluator.moments.n

    def scatter(self, scatter: Coefficient) -> Coefficient:
        """The observations' scatter around their unit's means: that of the rows, or 0.0 for group means."""
        return 0.0 if self.split is not None and self.split.part == "between" else scatter


def observations_of(model: Model, evaluator: Evaluator) -> Observations:
    """The observations of a model."""
    moments = evaluator.moments
    outcome = model.outcome
    if not isinstance(outcome, Centering) or not isinstance(outcome.mean, GroupMean):
        return Observations(None, np.arange(moments.n_units), moments.n_obs)
    group = evaluator.group_of(outcome.mean)
    codes, labels = moments.units_of(group)
    if outcome.keeps_value:
        split = Split("within", group, len(labels))
        return Observations(split, np.arange(moments.n_units), moments.n_obs - len(labels), codes)
    first = np.unique(codes, return_index=True)[1]
    return Observations(Split("between", group, len(labels)), first, len(labels), codes)


def check_split(
    model: Model,
    observations: Observations,
    evaluator: Evaluator,
    factors: list[FactorUnits],
    columns: Sequence[DesignColumn],
) -> None:
    """Refuse random effects, clusters and predictors that a within() or between() outcome cannot have.

    Raises
    ------
    IdentificationError
        Random effects of the groups whose means are gone or are the observations, a factor that cuts through these
        groups, or a predictor of group means that varies within groups.
    """
    if observations.split is None or observations.codes is None:
        return
    part, name, outcome = observations.split.part, group_name(observations.split.group), model.outcome_name
    own = FactorUnits(observations.split.group, observations.codes, np.arange(observations.split.size))
    for factor in factors:
        pairs = int(cells_of([own, factor], evaluator.moments.n_units)[0].max()) + 1
        if pairs > observations.split.size:
            raise IdentificationError(
                f"{outcome} takes the units of {name} whole, and those of {group_name(factor.group)} cut through them. "
                f"Random effects and clusters of {outcome} must be {name} or units above it."
            )
        if part == "between" and len(factor.labels) == observations.split.size and factor.group in model.groups:
            raise IdentificationError(
                f"{outcome} has one observation for each unit of {name}, so random effects of "
                f"{group_name(factor.group)} cannot be separated from its residuals. Leave them out."
            )
    if part == "between":
        for variable in dict.fromkeys(v for column in columns for v in column.variables):
            varying = varying_groups(evaluator, variable, observations.codes)
            if varying:
                raise IdentificationError(
                    f"{label(variable)} varies within {varying} of {observations.split.size} units of {name}, and "
                    f"{outcome} has one observation for each. Take its group mean, between({label(variable)})."
                )
        return
    for block in model.random:
        for term in block.terms:
            if not any(varying_groups(evaluator, v, observations.codes) for v in term.variables):
                raise IdentificationError(
                    f"{outcome} has no differences between units of {name} left, so the random effects of {term.name} "
                    f"over {group_name(block.group)} are zero. Leave it out: (0 + … | {group_name(block.group)}) has "
                    "no intercept."
                )


def varying_groups(evaluator: Evaluator, variable: Variable, codes: Codes) -> int:
    """Number of groups in which a variable varies; codes (J,) say which group each of the moments' units lies in."""
    polynomial = evaluator.part(variable).polynomial
    mean, n = evaluator.mean(polynomial), evaluator.moments.n
    scatter = np.broadcast_to(np.asarray(evaluator.scatter(polynomial, polynomial)), mean.shape)
    size = np.bincount(codes, n)
    deviation = mean - (np.bincount(codes, n * mean) / size)[codes]
    within = np.bincount(codes, scatter + n * deviation**2)
    mean_square = float(np.sum(scatter + n * mean**2)) / evaluator.moments.n_obs
    return int(np.count_nonzero(within > _ROUNDING * size * mean_square))
