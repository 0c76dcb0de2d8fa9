"""Simple slopes of interactions: predictors by name, the values at which moderators are held, and the slopes there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.estimation.design.basis import Basis
from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.design.polynomial import Evaluator
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.effect_sizes.variation import element_moments, unit_means
from mlm_ops.inference.fixed.contrasts import is_of
from mlm_ops.inference.fixed.tests import CoefficientMethod, CoefficientTests, estimable_tests
from mlm_ops.inference.t_distribution import NORMAL_975
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Function, Indicator, Model, Poly, Variable, columns_of, label
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.record import Moments

Point = Mapping[Variable, float]
At = str | Sequence[str] | Mapping[str, Sequence[float | str] | float | str | None]

#: Values this close to 0 and 1 are these.
_BINARY = 1e-9
_ROUNDING = 1e-12


def unknown_predictor(name: str, predictors: Iterable[str], what: str = "predictor") -> str:
    """The sentence for a name that is no predictor's."""
    names = list(dict.fromkeys(predictors))
    return (
        f"The {what} does not occur in the model.{did_you_mean(name, names)} Got {name!r}; expected one of "
        f"{', '.join(names) or 'none, as the model has no predictors'}."
    )


def no_product(slope: str, moderator: str) -> str:
    """The sentence for a moderator that does not change the slope."""
    if slope == moderator:
        return f"{slope} does not moderate itself. Name another predictor as its moderator."
    return (
        f"{moderator} does not moderate {slope}: the model has no product of the two, so the slope is the same "
        f"everywhere. Add {slope}:{moderator} to the formula."
    )


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a variable over the units of its own level, and whether it is 0 or 1 throughout.

    Attributes
    ----------
    values
        (J,) its values, where it is constant within units; None for a variable of rows.
    """

    mean: float
    std_dev: float
    binary: bool
    values: Array | None

    @property
    def middle(self) -> float:
        """The mean; that of a centered variable is zero but for rounding, and zero here."""
        return self.mean if abs(self.mean) > _ROUNDING * self.std_dev else 0.0


@dataclass(frozen=True)
class ModeratorValue:
    """One moderator held at a value.

    Attributes
    ----------
    moderator
        Its name.
    words
        ``Public``, ``0.4126 (mean + 1 SD)``.
    value
        The number that it is held at; None for a level of a factor.
    point
        Values of the design variables.
    """

    moderator: str
    words: str
    value: float | None
    point: dict[Variable, float]


@dataclass(frozen=True)
class Setting:
    """One or several moderators held at values."""

    values: tuple[ModeratorValue, ...]

    @property
    def text(self) -> str:
        """``sector = Public, between(ses) = 0.41``."""
        return ", ".join(f"{one.moderator} = {one.words}" for one in self.values)

    @property
    def moderator(self) -> str:
        """The moderators' names."""
        return ", ".join(one.moderator for one in self.values)

    @property
    def words(self) -> str:
        """The values alone, as the text has them."""
        return ", ".join(one.words for one in self.values)

    @property
    def value(self) -> float | None:
        """The number that a single moderator is held at."""
        return self.values[0].value if len(self.values) == 1 else None

    @property
    def level(self) -> str | None:
        """The level that a single factor is held at; of several moderators the values of all."""
        return None if len(self.values) == 1 and self.value is not None else self.words

    @property
    def point(self) -> dict[Variable, float]:
        """Values of the design variables."""
        return {v: x for one in self.values for v, x in one.point.items()}


@dataclass(frozen=True)
class Surface:
    """The fixed part of a fitted model as a function of its predictors."""

    model: Model
    moments: Moments
    estimate: Estimate

    @property
    def columns(self) -> tuple[DesignColumn, ...]:
        """All columns of the fixed part, those that were dropped included."""
        return self.estimate.design.fixed.asked

    @cached_property
    def variables(self) -> tuple[Variable, ...]:
        """Every variable of the fixed and random parts."""
        random = (c for block in self.estimate.blocks for c in block.columns)
        return tuple(dict.fromkeys(v for c in (*self.columns, *random) for v in c.variables))

    @cached_property
    def typical(self) -> dict[Variable, float]:
        """Every variable at its mean, indicators at their shares."""
        return {variable: self.spread(variable).mean for variable in self.variables}

    @cached_property
    def _known_spreads(self) -> dict[Variable, Spread]:
        return {}

    def find(self, name: str) -> list[Variable]:
        """Design variables of a predictor: one, or the indicators of a factor.

        Raises
        ------
        MlmError
            It does not occur among the predictors, or also enters by a function of it.
        """
        terms = [v for term in self.model.fixed for v in term.variables if label(v) == name]
        fixed = dict.fromkeys(v for c in self.columns for v in c.variables)
        variables = [v for v in fixed if label(v) == name or any(is_of(v, term) for term in terms)]
        if not variables:
            raise MlmError(unknown_predictor(name, (label(v) for term in self.model.fixed for v in term.variables)))
        curved = [
            v
            for v in fixed
            if (isinstance(v, Poly) or (isinstance(v, Function) and v not in variables))
            and set(columns_of(v)) & set(columns_of(variables[0]))
        ]
        repeated = any(c.variables.count(v) > 1 for c in self.columns for v in variables)
        if curved or repeated:
            other = label(curved[0]) if curved else f"a power of {name}"
            raise MlmError(
                f"{name} has no simple slope, as the effect is curved: the model has {other}. Use predict() at values "
                "of your choice."
            )
        return variables

    def spread(self, variable: Variable) -> Spread:
        """How a variable is distributed: over rows, or over the units between which it varies."""
        if variable not in self._known_spreads:
            self._known_spreads[variable] = self._find_spread(variable)
        return self._known_spreads[variable]

    def _find_spread(self, variable: Variable) -> Spread:
        design, columns = self.estimate.design, [DesignColumn((variable,))]
        level = design.variable_levels.get(variable, 1)
        if level > 1 and design.nested and level - 2 < len(design.levels):
            values = unit_means(self.model, self.moments, columns, design.levels[level - 2].group)[0]
            binary = bool((np.minimum(np.abs(values), np.abs(values - 1)) < _BINARY).all())
            return Spread(float(values.mean()), float(values.std(ddof=1)), binary, np.asarray(values))
        evaluator = Evaluator(self.moments, self.model.default_group, meanings(self.model, self.moments))
        basis = Basis(evaluator, columns)
        g = basis.matrix(columns)
        mean, covariance = element_moments(basis, [])
        part, n = evaluator.part(variable), self.moments.n
        means = part.constant + evaluator.mean(part.polynomial)
        squares = evaluator.scatter(part.polynomial, part.polynomial) + n * means**2
        # x (1 - x) sums to zero in every unit only where x is 0 or 1
        binary = bool((np.abs(squares - n * means) < _BINARY * n * (1 + means**2)).all())
        return Spread(float((mean @ g)[0]), float(np.sqrt((g.T @ covariance[0] @ g)[0, 0])), binary, None)

    def settings(self, at: At) -> list[Setting]:
        """Every combination of the moderators' values.

        Parameters
        ----------
        at
            Names of moderators; or a mapping of names to values, None for the default: each level of a factor, 0 and
            1, or the mean and one standard deviation around it.
        """
        values_by_name = {at: None} if isinstance(at, str) else at if isinstance(at, Mapping) else dict.fromkeys(at)
        if not values_by_name:
            raise MlmError("Simple slopes need a moderator. Got none; name one or more as at.")
        choices = [self._choices(name, values) for name, values in values_by_name.items()]
        return [Setting(combination) for combination in product(*choices)]

    def _choices(self, name: str, values: Sequence[float | str] | float | str | None) -> list[ModeratorValue]:
        variables = self.find(name)
        if values is not None and (isinstance(values, str) or not isinstance(values, Sequence)):
            values = [values]
        if isinstance(variables[0], Indicator) and label(variables[0]) != name:
            return self._levels(name, variables, values)
        variable, spread = variables[0], self.spread(variables[0])
        if values is not None:
            value_by_words = {f"{_number(name, x):g}": _number(name, x) for x in values}
        elif spread.binary:
            value_by_words = {f"{x:g}": x for x in (0.0, 1.0)}
        else:
            steps = (("mean - 1 SD", -1.0), ("mean", 0.0), ("mean + 1 SD", 1.0))
            places = {words: spread.middle + k * spread.std_dev for words, k in steps}
            value_by_words = {f"{x:.4g} ({words})": x for words, x in places.items()}
        return [ModeratorValue(name, words, value, {variable: value}) for words, value in value_by_words.items()]

    def _levels(
        self, name: str, variables: Sequence[Variable], values: Sequence[float | str] | None
    ) -> list[ModeratorValue]:
        """A factor at each of its levels."""
        indicators = [v for v in variables if isinstance(v, Indicator)]
        levels = self.moments.schema.levels[indicators[0].column]
        chosen_levels = levels if values is None else tuple(map(str, values))
        unknown = [level for level in chosen_levels if level not in levels]
        if unknown:
            raise MlmError(f"{name} has no such level. Got {unknown[0]!r}; expected one of {', '.join(levels)}.")
        return [
            ModeratorValue(
                name, level, None, {v: float(v.level == level) - float(v.against == level) for v in indicators}
            )
            for level in chosen_levels
        ]

    def require_product(self, slope: Sequence[Variable], name: str, moderator: str) -> None:
        """Refuse a moderator that does not change the slope."""
        others = set(self.find(moderator)) - set(slope)
        if not any(set(slope) & set(c.variables) and others & set(c.variables) for c in self.columns):
            raise MlmError(no_product(name, moderator))

    def moderated(self, slope: str, at: At) -> list[Variable]:
        """Design variables of a predictor whose slope changes with each of the moderators, as `find` has them."""
        focal = self.find(slope)
        for name in [at] if isinstance(at, str) else at:
            self.require_product(focal, slope, name)
        return focal


def derivative(columns: Sequence[DesignColumn], variable: Variable, point: Point) -> Array:
    """Derivatives of columns by a variable that enters each at most once."""
    rest = (DesignColumn(tuple(v for v in column.variables if v != variable)) for column in columns)
    presence = (variable in column.variables for column in columns)
    return np.array(
        [_value(column, point) if is_present else 0.0 for column, is_present in zip(rest, presence, strict=True)]
    )


def values_of(columns: Sequence[DesignColumn], point: Point) -> Array:
    """Values of columns at a point."""
    return np.array([_value(c, point) for c in columns])


def _value(column: DesignColumn, point: Point) -> float:
    return float(np.prod([point[v] for v in column.variables]))


def _number(name: str, value: float | str) -> float:
    try:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    except ValueError:
        raise MlmError(f"{name} takes numbers. Got {value!r}; expected values such as -1, 0 and 1.") from None


@dataclass(frozen=True)
class SimpleEffects:
    """Simple slopes and intercepts, k of them; arrays are (k,).

    Attributes
    ----------
    kind
        ``slope`` or ``intercept`` each.
    predictor, settings
        Whose slope, and at which values of the moderators.
    tests
        Estimates and tests.
    range_low, range_high
        Between which the effects of 95% of groups lie; not a number where the effect does not vary.
    """

    kind: tuple[str, ...]
    predictor: tuple[str, ...]
    settings: tuple[Setting, ...]
    tests: CoefficientTests
    range_low: Array
    range_high: Array


def simple_slopes(surface: Surface, method: CoefficientMethod, slope: str, at: At) -> SimpleEffects:
    """The effect of a predictor, and the outcome where it is zero, at chosen values of its moderators.

    A simple slope is the derivative of the fixed part by the predictor, a linear combination ``l' gamma`` with variance
    ``l' V l``: Preacher, Curran and Bauer (2006), Journal of Educational and Behavioral Statistics 31, 437-448. All
    other variables are at their means, indicators at their shares. The effects of 95% of groups lie within ``l' gamma
    +- 1.96 sqrt(z' T z)``, z the derivative of the random part: the plausible value range of Raudenbush and Bryk
    (2002), chapter 4.

    What the data do not determine, as in an interaction's empty cell, is not a number.

    Parameters
    ----------
    slope
        A predictor; for a factor each of its indicators.
    at
        As `Surface.settings` takes it.
    """
    focal = surface.moderated(slope, at)
    zero = dict.fromkeys(focal, 0.0)
    rows, kinds, predictors, settings, variances = [], [], [], [], []
    for kind in ("slope", "intercept"):
        for setting in surface.settings(at):
            point = {**surface.typical, **setting.point, **zero}
            for variable in focal if kind == "slope" else focal[:1]:
                change = _slope_by(variable) if kind == "slope" else values_of
                rows.append(change(surface.columns, point))
                variances.append(_variance(surface.estimate, change, point))
                kinds.append(kind)
                predictors.append(label(variable) if kind == "slope" else slope)
                settings.append(setting)
    tests = estimable_tests(surface.estimate, method, np.array(rows))
    margin = NORMAL_975 * np.sqrt(np.array(variances))
    margin[margin == 0] = np.nan
    return SimpleEffects(
        tuple(kinds), tuple(predictors), tuple(settings), tests, tests.estimate - margin, tests.estimate + margin
    )


ColumnWeights = Callable[[Sequence[DesignColumn], dict[Variable, float]], Array]


def _slope_by(variable: Variable) -> ColumnWeights:
    return lambda columns, point: derivative(columns, variable, point)


def _variance(estimate: Estimate, change: ColumnWeights, point: dict[Variable, float]) -> float:
    """Variance over groups of a slope or intercept, those of several grouping factors added."""
    total = 0.0
    for block, tau in zip(estimate.blocks, estimate.tau, strict=True):
        z = change(block.columns, point)
        total += float(z @ tau @ z)
    return total
