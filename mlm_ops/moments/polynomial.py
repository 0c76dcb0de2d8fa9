"""Design columns as polynomials: row-level monomials with unit-level coefficients, and their moments.

Everything a multilevel model asks of its rows is linear in a few monomials of centered atoms: ``x - mean_j(x)`` is the
monomial x with coefficient 1 and the constant with coefficient ``-mean_j(x)``; a cross-level product ``w_j x`` is x
with coefficient ``w_j``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.columns import Monomial, monomial
from mlm_ops.language.model import (
    Between,
    Center,
    Factor,
    GroupingFactor,
    Indicator,
    Variable,
    Within,
    group_name,
    label,
)
from mlm_ops.moments.moments import Moments

Array = NDArray[np.float64]
Coefficient = float | Array
Polynomial = Mapping[Monomial, Coefficient]

ONE: Polynomial = {(): 1.0}
_NO_VARIATION = 1e-12


@dataclass(frozen=True)
class Part:
    """One variable as ``constant + polynomial``, the polynomial of the size of the variable's spread.

    Attributes
    ----------
    constant
        What centering would remove: 1e6 for a variable with mean 1e6.
    polynomial
        The rest.
    key
        Equal for variables that differ by a constant only.
    """

    constant: float
    polynomial: Polynomial
    key: str


class Evaluator:
    """Evaluates variables and polynomials on one set of moments.

    Parameters
    ----------
    moments
        J units, K monomials.
    default_group
        Over whose units `within` and `between` take means where they name no grouping.
    meaning
        Grouping factors that stand for others: ``class`` for ``school:class`` where the model nests it so.
    """

    def __init__(
        self,
        moments: Moments,
        default_group: GroupingFactor | None,
        meaning: Mapping[GroupingFactor, GroupingFactor] | None = None,
    ) -> None:
        self.meaning = meaning or {}
        self.moments = moments
        self.default_group = default_group
        self.row = {m: i for i, m in enumerate(moments.schema.monomials)}
        self.constants = dict(zip(moments.schema.constants, moments.constants, strict=True))

    def part(self, variable: Variable) -> Part:
        """Split a variable into its constant and its spread."""
        match variable:
            case Within(of, group):
                return self._within(variable, self.part(of), self._meaning(group))
            case Between(of, group):
                return self._between(variable, self.part(of), self._meaning(group))
            case Center(of, at, over):
                return self._center(self.part(of), at, over)
            case Indicator(column, level) if Factor(column) in self.constants:
                return self._unit_level((self.constants[Factor(column)] == level).astype(float), 0.0, label(variable))
            case _ if variable in self.constants:
                values = np.asarray(self.constants[variable], dtype=float)
                return self._unit_level(values, 0.0, label(variable))
        return Part(self.moments.schema.centers[variable], {(variable,): 1.0}, label(variable))

    def mean(self, polynomial: Polynomial) -> Array:
        """(J,) unit means of a polynomial."""
        total: Array = np.zeros(self.moments.n_units)
        for factors, coefficient in polynomial.items():
            total += coefficient * self.moments.mean[self.row[factors]] if factors else coefficient
        return total

    def scatter(self, first: Polynomial, second: Polynomial) -> Coefficient:
        """(J,) cross-products of two polynomials around their unit means; 0.0 where one has no row-level part."""
        total: Coefficient = 0.0
        for factors, coefficient in first.items():
            for others, multiplier in second.items():
                if factors and others:
                    i, j = self.row[factors], self.row[others]
                    i, j = max(i, j), min(i, j)
                    total = total + coefficient * multiplier * self.moments.scatter[i * (i + 1) // 2 + j]
        return total

    def _meaning(self, group: GroupingFactor | None) -> GroupingFactor:
        """The units that a centering takes means over."""
        named = group or self.default_group
        assert named is not None, "the formula was checked to name its groups"
        return self.meaning.get(named, named)

    def _unit_level(self, values: Array, constant: float, key: str) -> Part:
        average = float(np.average(values, weights=self.moments.n))
        return Part(constant + average, {(): values - average}, key)

    def _group_means(self, polynomial: Polynomial, group: GroupingFactor) -> Array:
        """(J,) the mean over the rows of each unit of `group`, seen from its smallest units."""
        codes, labels = self.moments.units_of(group)
        n = self.moments.n
        values = self.mean(polynomial)
        if len(labels) == self.moments.n_units:
            return values
        total = np.bincount(codes, n * values, len(labels)) / np.bincount(codes, n, len(labels))
        means: Array = total[codes]
        return means

    def _within(self, variable: Within, part: Part, group: GroupingFactor) -> Part:
        means = self._group_means(part.polynomial, group)
        polynomial = dict(part.polynomial)
        polynomial[()] = polynomial.get((), 0.0) - means
        varies_by_row = any(factors for factors in polynomial)
        if not varies_by_row and np.abs(polynomial[()]).max() <= _NO_VARIATION * max(np.abs(means).max(), 1.0):
            raise DataError(
                f"{label(variable)} is zero in every row, because {label(variable.of)} does not vary within "
                f"{group_name(group)}. Use {label(variable.of)} itself."
            )
        return Part(0.0, polynomial, f"within({part.key}|{group_name(group)})")

    def _between(self, variable: Between, part: Part, group: GroupingFactor) -> Part:
        means = self._group_means(part.polynomial, group)
        size = max(abs(part.constant), float(np.abs(means).max()), self._spread(part.polynomial))
        if np.ptp(means) <= _NO_VARIATION * size:
            raise DataError(
                f"{label(variable)} is the same in every unit of {group_name(group)}, as its groups are balanced. "
                "Remove it from the formula."
            )
        return self._unit_level(means, part.constant, f"between({part.key}|{group_name(group)})")

    def _spread(self, polynomial: Polynomial) -> float:
        """Root mean square of a polynomial around its unit means."""
        scatter = self.scatter(polynomial, polynomial)
        return float(np.sqrt(np.sum(scatter) / self.moments.n_obs))

    def _center(self, part: Part, at: float | None, over: GroupingFactor | None) -> Part:
        if at is not None:
            return Part(part.constant - at, part.polynomial, part.key)
        if over is None:
            shift = float(np.average(self.mean(part.polynomial), weights=self.moments.n))
        else:
            codes, labels = self.moments.units_of(over)
            means = self._group_means(part.polynomial, over)
            first = np.unique(codes, return_index=True)[1]
            shift = float(means[first].mean()) if len(labels) else 0.0
        return Part(-shift, part.polynomial, part.key)


def product(first: Polynomial, second: Polynomial) -> Polynomial:
    """Multiply two polynomials."""
    result: dict[Monomial, Coefficient] = {}
    for factors, coefficient in first.items():
        for others, multiplier in second.items():
            joined = monomial((*factors, *others))
            result[joined] = result.get(joined, 0.0) + coefficient * multiplier
    return result
