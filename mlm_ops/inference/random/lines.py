"""Draw up each unit's line along a predictor: as the model estimates it, and by least squares in the unit alone.

All from moments: a line is a combination of coefficients, and least squares need sums of squares and products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlm_ops.estimation.design.groups import meanings
from mlm_ops.estimation.design.polynomial import Evaluator, Polynomial
from mlm_ops.estimation.design.record import Design, LevelDesign
from mlm_ops.estimation.design.residual import design_residual
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.residual import weighted_products
from mlm_ops.inference.random.effects import RandomEffects
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Indicator, Model, Poly, Variable, columns_of, label
from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import squares_rounding

Point = Mapping[Variable, float | Array]
Part = Callable[[DesignColumn, Point, Variable], float | Array]

#: Predictors of a unit, each of length one, are dependent where the least eigenvalue of their products is smaller.
_DEPENDENT = 1e-10


@dataclass(frozen=True)
class UnitLines:
    """Lines along one term in the J units of the lowest grouping factor; every array is (J,).

    Attributes
    ----------
    n
        Rows.
    x_low, x_high
        The term's mean in the unit, minus and plus its standard deviation there; not a number in a unit of one row.
    intercept, slope
        As the model estimates them. Not a number where the data do not determine a coefficient or a variance.
    own_intercept, own_slope
        By least squares; not a number where the unit has too few rows or the term does not vary in it.
    """

    term: str
    n: Array
    x_low: Array
    x_high: Array
    intercept: Array
    slope: Array
    own_intercept: Array
    own_slope: Array


def unit_lines(model: Model, moments: Moments, estimate: Estimate, effects: Sequence[RandomEffects]) -> list[UnitLines]:
    """The lines of the units of the lowest grouping factor, a record a term.

    The terms vary in the units: those whose slopes vary over that factor, or, where none does, all predictors.
    A unit's line is the fixed part, with what is constant in the unit as it is there and all else at its mean over all
    rows, plus the unit's random effects and those of every unit that it lies in. So it is what is predicted for the
    unit's own rows where the other predictors are at these means. Units of a factor that crosses the lowest
    one are taken at zero, their mean.

    A term that is a product, or whose effect is curved, has no line; a model without groups and one of a part of
    the outcome, ``within(y)``, have none at all.

    Parameters
    ----------
    effects
        Empirical Bayes estimates, a block each as in `Estimate.blocks`.
    """
    design = estimate.design
    if not design.levels or design.split is not None:
        return []
    units = _LowestUnits(model, moments, estimate)
    typical = {v: units.value(v) for v in units.variables}
    lines = []
    for name, focal, siblings in _terms(design, units):
        point = typical | dict.fromkeys(siblings, 0.0)
        intercept = _along(units, effects, _at_zero, point, focal)
        slope = _along(units, effects, _slope, point, focal)
        middle, std_dev = units.mean(focal), units.std_dev(focal)
        own_intercept, own_slopes = units.own_lines(siblings)
        own_slope = own_slopes[siblings.index(focal)]
        lines.append(
            UnitLines(name, units.n, middle - std_dev, middle + std_dev, intercept, slope, own_intercept, own_slope)
        )
    return lines


class _LowestUnits:
    """The variables of a model in the units of its lowest grouping factor."""

    def __init__(self, model: Model, moments: Moments, estimate: Estimate) -> None:
        self.model, self.moments, self.estimate = model, moments, estimate
        self.lowest = estimate.design.levels[0]
        self.codes, labels = moments.units_of(self.lowest.group)
        self.size = len(labels)
        self.n = np.bincount(self.codes, moments.n, self.size).astype(np.float64)
        self._of_residual: dict[tuple[Variable, ...], tuple[Array, Array]] = {}
        self._evaluator = Evaluator(moments, model.default_group, meanings(model, moments))
        random = (c for block in estimate.blocks for c in block.columns)
        columns = (*estimate.design.fixed.asked, *random)
        self.variables = tuple(dict.fromkeys(v for c in columns for v in c.variables))
        self._means = {v: self._mean_of(v) for v in self.variables}
        self.constant = frozenset(v for v in self.variables if self._is_constant(v))

    def _mean_of(self, variable: Variable) -> Array:
        """(J,) unit means, without the variable's constant."""
        values = self.moments.n * self._evaluator.mean(self._evaluator.part(variable).polynomial)
        return np.asarray(np.bincount(self.codes, values, self.size) / self.n)

    def mean(self, variable: Variable) -> Array:
        """(J,) mean of a variable in each unit."""
        return np.asarray(self._evaluator.part(variable).constant + self._means[variable])

    def _is_constant(self, variable: Variable) -> bool:
        """Whether a variable is the same in all rows of each unit."""
        if self.estimate.design.variable_levels.get(variable, 1) == 1:
            return False
        values = self._evaluator.mean(self._evaluator.part(variable).polynomial)
        largest = np.abs(values - self._means[variable][self.codes]).max(initial=0.0)
        # constant over another factor, which crosses this one, is not constant here
        return bool(largest <= 1e-10 * np.abs(values).max(initial=0.0))

    def value(self, variable: Variable) -> float | Array:
        """The unit's own value of what is constant in it, and the mean over all rows of what is not."""
        means = self.mean(variable)
        return means if variable in self.constant else float(self.n @ means / self.n.sum())

    def scatter(self, first: Polynomial, second: Polynomial) -> Array:
        """(J,) cross-products of two polynomials around their means in each unit."""
        n, means = self.moments.n, (self._evaluator.mean(first), self._evaluator.mean(second))
        deviations = [m - (np.bincount(self.codes, n * m, self.size) / self.n)[self.codes] for m in means]
        inside = self._evaluator.scatter(first, second) + n * deviations[0] * deviations[1]
        return np.asarray(np.bincount(self.codes, inside, self.size))

    def std_dev(self, variable: Variable) -> Array:
        """(J,) standard deviation of a variable in each unit, divisor n - 1."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.n > 1, np.sqrt(self._squares(variable) / (self.n - 1)), np.nan)

    def _squares(self, variable: Variable) -> Array:
        """(J,) sum of squares around the unit's mean, zero where it is no more than rounding."""
        if variable in self.constant:
            return np.zeros(self.size)
        polynomial = self._evaluator.part(variable).polynomial
        # sums are of what is collected, and the rest is added: of x minus its mean, x and the mean
        parts = ({factors: c for factors, c in polynomial.items() if bool(factors) is one} for one in (True, False))
        size = np.sqrt(sum((self._evaluator.mean(part) ** 2 for part in parts), np.zeros(self.moments.n_units)))
        mean = np.bincount(self.codes, self.moments.n * size, self.size) / self.n
        scatter = self.scatter(polynomial, polynomial)
        rounding = squares_rounding((self.n, mean[None], scatter[None]), self.moments.around_unit_means)[0]
        return np.where(scatter > rounding, scatter, 0.0)

    def own_lines(self, predictors: tuple[Variable, ...]) -> tuple[Array, Array]:
        """As `least_squares`, once for all indicators of a factor, and for all models where it is of the rows alone."""
        if self.estimate.design.residual is not None:
            if predictors not in self._of_residual:
                self._of_residual[predictors] = self.least_squares(predictors)
            return self._of_residual[predictors]
        model, meaning = self.model, tuple(sorted(self._evaluator.meaning.items()))
        constant = tuple(v in self.constant for v in predictors)
        depends_on = (self.lowest.group, model.outcome, predictors, model.default_group, meaning, constant)
        return self.moments.derived("own lines of units", depends_on, lambda: self.least_squares(predictors))

    def least_squares(self, predictors: tuple[Variable, ...]) -> tuple[Array, Array]:
        """Intercept (J,) and slopes (k, J) of the outcome on k predictors in each unit by itself.

        Where the residual has a structure or weights, generalised least squares by those of the model.
        """
        intercept, slopes = np.full(self.size, np.nan), np.full((len(predictors), self.size), np.nan)
        if any(v in self.constant for v in predictors):
            return intercept, slopes
        parts = [self._evaluator.part(v) for v in (*predictors, self.model.outcome)]
        means, squares = self._sums([part.polynomial for part in parts])
        x, xy = squares[:, :-1, :-1], squares[:, :-1, -1]
        sizes = np.sqrt(np.maximum(np.einsum("jaa->ja", x), 0.0))
        varies = np.all([self._squares(v) > 0 for v in predictors], axis=0)
        usable = np.flatnonzero(varies & (self.n >= len(predictors) + 2))
        scale = sizes[usable]
        correlations = x[usable] / scale[:, :, None] / scale[:, None, :]
        independent = np.linalg.eigvalsh(correlations)[:, 0] > _DEPENDENT if len(usable) else np.zeros(0, np.bool_)
        usable, scale, correlations = usable[independent], scale[independent], correlations[independent]
        beta = np.linalg.solve(correlations, (xy[usable] / scale)[:, :, None])[:, :, 0] / scale
        constants = np.array([part.constant for part in parts])
        middle = means[usable] + constants
        slopes[:, usable] = beta.T
        intercept[usable] = middle[:, -1] - (beta * middle[:, :-1]).sum(axis=1)
        return intercept, slopes

    def _sums(self, polynomials: Sequence[Polynomial]) -> tuple[Array, Array]:
        """Means (J, k) and cross-products around them (J, k, k) in each unit, weighted where the residual is."""
        residual = self.estimate.design.residual
        if residual is None:
            n = self.moments.n
            means = [np.bincount(self.codes, n * self._evaluator.mean(p), self.size) / self.n for p in polynomials]
            squares = [[self.scatter(p, q) for q in polynomials] for p in polynomials]
            return np.array(means).T, np.moveaxis(np.array(squares), 2, 0)
        place = {(): 0, **{m: i + 1 for m, i in self._evaluator.row.items()}}
        columns = [[(0, 1.0)], *([(place[m], c) for m, c in p.items()] for p in polynomials)]
        sums = self.moments.residuals[self.model.residual]
        structure = design_residual(sums, residual.serial, columns, self.codes)
        products = np.moveaxis(weighted_products(structure, self.estimate.optimum.solution.rho), 2, 0)
        middle: Array = products[:, 0, 1:] / products[:, 0, :1]
        return middle, products[:, 1:, 1:] - products[:, 0, :1, None] * middle[:, :, None] * middle[:, None, :]


def _along(units: _LowestUnits, effects: Sequence[RandomEffects], part: Part, point: Point, focal: Variable) -> Array:
    """(J,) what a part of each column, such as its slope, adds up to in each unit: coefficients and random effects."""
    estimate, size = units.estimate, units.size
    design, fixed = estimate.design, estimate.design.fixed
    rows = np.empty((size, len(fixed.asked)))
    for i, column in enumerate(fixed.asked):
        rows[:, i] = part(column, point, focal)
    total = rows[:, list(fixed.span.independent)] @ estimate.gamma
    undetermined = estimate.undetermined
    if undetermined.sigma2 or any(flags.any() for flags in undetermined.tau):
        return np.full(size, np.nan)
    levels = [level for level in design.levels for _ in level.blocks]
    for level, block, block_effects in zip(levels, estimate.blocks, effects, strict=True):
        if (above := _units_above(units.lowest, level)) is not None:
            for column, values in zip(block.columns, block_effects.estimate, strict=True):
                total = total + part(column, point, focal) * values[above]
    return np.where(fixed.estimable(rows), total, np.nan)


def _units_above(lowest: LevelDesign, level: LevelDesign) -> Codes | None:
    """(J,) the unit of another factor that each of the lowest lies in; None where some lie in several."""
    above = np.zeros(len(lowest.labels), dtype=np.int64)
    above[lowest.codes] = level.codes
    return above if (above[lowest.codes] == level.codes).all() else None


def _terms(design: Design, units: _LowestUnits) -> list[tuple[str, Variable, tuple[Variable, ...]]]:
    """Name and variable of every term that has a line, with those that code the same factor, itself included."""
    slopes = (c.variables for block in design.levels[0].blocks for c in block.columns if len(c.variables) == 1)
    focal = [v for (v,) in slopes if v not in units.constant]
    focal = focal or [v for c in design.fixed.columns for v in c.variables if v not in units.constant]
    return [
        (label(v), v, siblings)
        for v in dict.fromkeys(focal)
        for siblings in [_siblings(v, units.variables)]
        if not _is_curved(siblings, design, units)
    ]


def _siblings(variable: Variable, variables: Sequence[Variable]) -> tuple[Variable, ...]:
    """The indicators of the same factor; the variable alone where it is a number."""
    if not isinstance(variable, Indicator):
        return (variable,)
    return tuple(v for v in variables if isinstance(v, Indicator) and v.column == variable.column)


def _is_curved(siblings: Sequence[Variable], design: Design, units: _LowestUnits) -> bool:
    """Whether another variable of the rows is made of the same column, or the term stands in a power of itself."""
    columns = set(columns_of(siblings[0]))
    others = [v for v in units.variables if v not in units.constant and v not in siblings]
    random = (c for level in design.levels for block in level.blocks for c in block.columns)
    return (
        any(columns & set(columns_of(v)) for v in others)
        or any(isinstance(v, Poly) for v in siblings)
        or any(sum(v in siblings for v in c.variables) > 1 for c in (*design.fixed.asked, *random))
    )


def _at_zero(column: DesignColumn, point: Point, focal: Variable) -> float | Array:
    """A column where the term is zero."""
    return 0.0 if focal in column.variables else _product(column.variables, point)


def _slope(column: DesignColumn, point: Point, focal: Variable) -> float | Array:
    """The change of a column with the term, which stands in it at most once."""
    if focal not in column.variables:
        return 0.0
    return _product([v for v in column.variables if v != focal], point)


def _product(variables: Sequence[Variable], point: Point) -> float | Array:
    total: float | Array = 1.0
    for variable in variables:
        total = total * point[variable]
    return total
