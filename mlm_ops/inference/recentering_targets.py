"""Find the predictors of a model that can be recentered, and how each varies within every grouping factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.estimation.design.groups import grouping_factors, meanings
from mlm_ops.estimation.design.observations import varying_groups
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.language.columns import as_factor
from mlm_ops.language.model import Centering, GroupingFactor, Model, Variable, group_name
from mlm_ops.language.recentering import Target, candidates, nothing_to_recenter, uncentered
from mlm_ops.moments.arrays import Codes
from mlm_ops.moments.record import Moments

#: Group means are the same where they differ by less than this share of the variable's spread: rounding errors.
_NO_SPREAD = 1e-12


class UnitFacts:
    """Facts about variables and grouping factors in the data.

    Attributes
    ----------
    meaning
        Short names of grouping factors: ``class`` means ``school:class`` if the model nests it so.
    """

    def __init__(self, model: Model, moments: Moments) -> None:
        self._moments = moments
        self.meaning = meanings(model, moments)
        self._evaluator = Evaluator(moments, model.default_group, self.meaning)

    def is_constant(self, variable: Variable, group: GroupingFactor) -> bool:
        """Tell whether a variable is the same in all rows of each unit."""
        return varying_groups(self._evaluator, variable, self._codes(group)) == 0

    def is_balanced(self, variable: Variable, group: GroupingFactor) -> bool:
        """Tell whether a variable has the same mean in every unit."""
        part, codes, n = self._evaluator.part(variable), self._codes(group), self._moments.n
        polynomial = part.polynomial
        mean = np.bincount(codes, n * self._evaluator.mean(polynomial)) / np.bincount(codes, n)
        spread = np.sqrt(np.sum(self._evaluator.scatter(polynomial, polynomial)) / self._moments.n_obs)
        return bool(np.ptp(mean) <= _NO_SPREAD * max(spread, abs(part.constant), float(np.abs(mean).max())))

    def is_nested(self, lower: GroupingFactor, upper: GroupingFactor) -> bool:
        """Tell whether each unit of the first grouping factor lies in one of the second."""
        lower_codes, upper_codes = self._codes(lower), self._codes(upper)
        pairs = np.unique(np.stack([lower_codes, upper_codes]), axis=1)
        return int(pairs.shape[1]) == len(np.unique(lower_codes))

    def upwards(self, group: GroupingFactor, factors: Sequence[GroupingFactor]) -> tuple[GroupingFactor, ...]:
        """Return a grouping factor and those in whose units its own lie."""
        factor = self.meaning.get(group, group)
        return (group, *(other for other in factors if other != factor and self.is_nested(factor, other)))

    def _codes(self, group: GroupingFactor) -> Codes:
        return self._moments.units_of(self.meaning.get(group, group))[0]


def find_targets(model: Model, moments: Moments) -> list[Target]:
    """Find the predictors that may be recentered: numbers that vary within units, and factors centered already.

    Each is centered in the grouping factor that the model names for it, else in the lowest one in which it varies.

    Raises
    ------
    MlmError
        There are none, or the model has no groups.
    """
    facts, text_columns = UnitFacts(model, moments), moments.schema.text_columns
    named_groups = candidates(model)
    default = (model.default_group,) if model.default_group else ()
    factors = [f.group for f in grouping_factors(model.groups or default, moments)]
    if not factors:
        raise MlmError(nothing_to_recenter(model, "it has no groups to take means in, which levels would name"))
    centered = {uncentered(v) for v in model.predictors if isinstance(v, Centering)}
    targets: list[Target] = []
    group: GroupingFactor | None
    for variable, named in named_groups.items():
        if as_factor(variable, text_columns) is not None:
            if variable in centered:
                group = named or factors[0]
                targets.append(Target(variable, group, facts.upwards(group, factors)))
            continue
        group = named or next((g for g in factors if not facts.is_constant(variable, g)), None)
        if group is not None:
            means = facts.upwards(group, factors)
            targets.append(Target(variable, group, tuple(g for g in means if not facts.is_balanced(variable, g))))
    if not targets:
        raise MlmError(nothing_to_recenter(model, f"no number varies within {group_name(factors[0])}"))
    return targets
