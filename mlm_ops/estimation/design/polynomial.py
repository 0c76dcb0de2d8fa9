"""Design columns as polynomials: row-level monomials with unit-level coefficients, and their moments.

Everything a multilevel model asks of its rows is linear in a few monomials of centered atoms: ``x - mean_j(x)`` is the
monomial x with coefficient 1 and the constant with coefficient ``-mean_j(x)``; a cross-level product ``w_j x`` is x
with coefficient ``w_j``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np

from mlm_ops.errors import DataError
from mlm_ops.language.columns import Monomial, monomial
from mlm_ops.language.model import (
    Centering,
    Factor,
    GrandMean,
    GroupingFactor,
    GroupMean,
    Indicator,
    Poly,
    Variable,
    group_name,
    label,
)
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.rank import VALUE_ROUNDING
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import packed_place

Coefficient = float | Array
Polynomial = Mapping[Monomial, Coefficient]

ONE: Polynomial = {(): 1.0}
_NO_VARIATION = 1e-12


@dataclass(frozen=True)
class CenteredVariable:
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
        Short names of grouping factors: ``class`` means ``school:class`` if the model nests it so.
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
        self._powers: dict[Poly, tuple[float, Array]] = {}
        self.row = {m: i for i, m in enumerate(moments.schema.monomials)}
        self.constants = dict(zip(moments.schema.constants, moments.constants, strict=True))

    def part(self, variable: Variable) -> CenteredVariable:
        """Split a variable into its constant and its spread."""
        match variable:
            case Centering(of):
                return self._centered(variable, self.part(of))
            case Poly(of, _, raw):
                return self._raw_power(variable, self.part(of)) if raw else self._orthogonal(variable, self.part(of))
            case Indicator(column, level, against) if Factor(column) in self.constants:
                texts = self.constants[Factor(column)]
                values = (texts == level).astype(float) - (texts == against)
                return self._unit_level(values, 0.0, label(variable))
            case _ if variable in self.constants:
                values = np.asarray(self.constants[variable], dtype=float)
                return self._unit_level(values, 0.0, label(variable))
        if variable not in self.moments.schema.centers:
            raise DataError(f"The moments have no sums of {label(variable)}. Collect moments for this model too.")
        return CenteredVariable(self.moments.schema.centers[variable], {(variable,): 1.0}, label(variable))

    def mean(self, polynomial: Polynomial) -> Array:
        """(J,) unit means of a polynomial."""
        total: Array = np.zeros(self.moments.n_units)
        for factors, coefficient in polynomial.items():
            total += coefficient * self.moments.mean[self._row(factors)] if factors else coefficient
        return total

    def scatter(self, first: Polynomial, second: Polynomial) -> Coefficient:
        """(J,) cross-products of two polynomials around their unit means; 0.0 where one has no row-level part."""
        terms: list[Array] = []
        for factors, coefficient in first.items():
            for others, multiplier in second.items():
                if factors and others:
                    i, j = self._row(factors), self._row(others)
                    own, factor = self.moments.scatter[packed_place(max(i, j), min(i, j))], coefficient * multiplier
                    # most are the moments' own, which take no memory a second time
                    terms.append(own if isinstance(factor, float) and factor == 1.0 else factor * own)
        return sum(terms[1:], terms[0]) if terms else 0.0

    def _row(self, factors: Monomial) -> int:
        if factors not in self.row:
            name = " * ".join(label(atom) for atom in factors)
            raise DataError(f"The moments have no sums of {name}. Collect moments for this model too.")
        return self.row[factors]

    def group_means(self, polynomial: Polynomial, mean: GroupMean) -> Array:
        """(J,) the means that a centering takes, seen from the smallest units."""
        over = self.meaning.get(mean.over, mean.over) if mean.over else None
        return self._means(polynomial, self.group_of(mean), over)

    def group_of(self, mean: GroupMean) -> GroupingFactor:
        """The units that a centering takes means over."""
        named = mean.group or self.default_group
        assert named is not None, "the formula was checked to name its groups"
        return self.meaning.get(named, named)

    def _unit_level(self, values: Array, constant: float, key: str) -> CenteredVariable:
        average = float(np.average(values, weights=self.moments.n))
        return CenteredVariable(constant + average, {(): values - average}, key)

    def _means(self, polynomial: Polynomial, group: GroupingFactor, over: GroupingFactor | None = None) -> Array:
        """(J,) each unit's mean over its rows, or over the units of `over` in it, seen from the smallest units."""
        codes, labels = self.moments.units_of(group)
        values, weights = self.mean(polynomial), self.moments.n
        if over is not None:
            inner, _ = self.moments.units_of(over)
            inner = np.unique(codes * (int(inner.max()) + 1) + inner, return_inverse=True)[1]
            size = np.bincount(inner, weights)
            values = (np.bincount(inner, weights * values) / size)[inner]
            weights = weights / size[inner]
        if len(labels) == self.moments.n_units:
            return values
        total = np.bincount(codes, weights * values, len(labels)) / np.bincount(codes, weights, len(labels))
        means: Array = total[codes]
        return means

    def powers(self, variable: Poly) -> tuple[float, Array]:
        """An orthogonal polynomial of z = of - center in the powers of z.

        With G the cross-products over all rows of 1, z, …, z^k and G = L L' (Cholesky), the rows of L^-1 are the
        polynomials that are orthogonal over the rows with sum of squares one and a positive leading coefficient, which
        are those of R's ``poly`` (Kennedy and Gentle 1980, Statistical Computing, 343).

        Returns
        -------
        center, coefficients
            A number, and (power + 1,), of z^0 first.
        """
        if variable not in self._powers:
            part, power = self.part(variable.of), variable.power or variable.degree
            spread = np.sqrt(self._sum(part.polynomial, part.polynomial) / self.moments.n_obs)
            powers = _power_polynomials(part.polynomial, power)
            scale = spread ** np.arange(power + 1.0)
            gram = np.array([[self._sum(p, q) for q in powers] for p in powers]) / np.outer(scale, scale)
            try:
                lower = np.linalg.cholesky(gram)
            except np.linalg.LinAlgError:
                lower = np.zeros_like(gram)
            if lower[-1, -1] ** 2 <= _NO_VARIATION * gram[-1, -1]:
                raise DataError(
                    f"{label(replace(variable, power=None))} needs more different values of {label(variable.of)} than "
                    f"its degree. Got {power} or fewer; take a lower degree."
                )
            unit = np.eye(power + 1)[-1]
            self._powers[variable] = part.constant, np.linalg.solve(lower.T, unit) / scale
        return self._powers[variable]

    def _sum(self, first: Polynomial, second: Polynomial) -> float:
        """Cross-product of two polynomials over all rows."""
        means = self.mean(first), self.mean(second)
        return float(np.sum(self.scatter(first, second)) + np.sum(self.moments.n * means[0] * means[1]))

    def _orthogonal(self, variable: Poly, part: CenteredVariable) -> CenteredVariable:
        _, coefficients = self.powers(variable)
        return CenteredVariable(
            0.0, _weighted(_power_polynomials(part.polynomial, len(coefficients) - 1), coefficients), label(variable)
        )

    def _raw_power(self, variable: Poly, part: CenteredVariable) -> CenteredVariable:
        """``(c + z)^k``, multiplied out."""
        power = variable.power or variable.degree
        binomial = np.array([comb(power, i) * part.constant ** (power - i) for i in range(power + 1)])
        powers = _power_polynomials(part.polynomial, power)
        return CenteredVariable(float(binomial[0]), _weighted(powers[1:], binomial[1:]), f"{part.key}**{power}")

    def _centered(self, variable: Centering, part: CenteredVariable) -> CenteredVariable:
        mean = variable.mean
        if isinstance(mean, GroupMean):
            split = self._around_groups if variable.keeps_value else self._mean_of_groups
            return split(variable, mean, part)
        if not isinstance(mean, GrandMean):
            return CenteredVariable(part.constant - mean, part.polynomial, part.key)
        if mean.over is None:
            shift = float(np.average(self.mean(part.polynomial), weights=self.moments.n))
        else:
            units = self.meaning.get(mean.over, mean.over)
            first = np.unique(self.moments.units_of(units)[0], return_index=True)[1]
            shift = float(self._means(part.polynomial, units)[first].mean())
        return CenteredVariable(-shift, part.polynomial, part.key)

    def _around_groups(self, variable: Centering, mean: GroupMean, part: CenteredVariable) -> CenteredVariable:
        means = self.group_means(part.polynomial, mean)
        polynomial = dict(part.polynomial)
        polynomial[()] = polynomial.get((), 0.0) - means
        if self.is_rounding(polynomial, part):
            raise DataError(
                f"{label(variable)} is zero in every row, because {label(variable.of)} does not vary within "
                f"{group_name(self.group_of(mean))}. Use {label(variable.of)} itself."
            )
        return CenteredVariable(0.0, polynomial, self._key(variable, mean, part))

    def _mean_of_groups(self, variable: Centering, mean: GroupMean, part: CenteredVariable) -> CenteredVariable:
        means = self.group_means(part.polynomial, mean)
        size = max(abs(part.constant), float(np.abs(means).max()), self._spread(part.polynomial))
        if np.ptp(means) <= _NO_VARIATION * size:
            raise DataError(
                f"{label(variable)} is the same in every unit of {group_name(self.group_of(mean))}, as its groups are "
                "balanced. Remove it from the formula."
            )
        return self._unit_level(means, part.constant, self._key(variable, mean, part))

    def _key(self, variable: Centering, mean: GroupMean, part: CenteredVariable) -> str:
        over = f"|{group_name(mean.over)}" if mean.over else ""
        return f"{variable.word}({part.key}|{group_name(self.group_of(mean))}{over})"

    def is_rounding(self, polynomial: Polynomial, of: CenteredVariable) -> bool:
        """Whether a polynomial is no more than the rounding of the values that it is taken of.

        The same value computed in two orders, 0.1 + 0.2 + 0.3, differs by a rounding of its size.
        """
        square = self._sum(polynomial, polynomial)
        values = self._sum(of.polynomial, of.polynomial) + self.moments.n_obs * of.constant**2
        return bool(square <= VALUE_ROUNDING**2 * values)

    def _spread(self, polynomial: Polynomial) -> float:
        """Root mean square of a polynomial around its unit means."""
        scatter = self.scatter(polynomial, polynomial)
        return float(np.sqrt(np.sum(scatter) / self.moments.n_obs))


def product(first: Polynomial, second: Polynomial) -> Polynomial:
    """Multiply two polynomials."""
    result: dict[Monomial, Coefficient] = {}
    for factors, coefficient in first.items():
        for others, multiplier in second.items():
            key = monomial((*factors, *others))
            result[key] = result.get(key, 0.0) + coefficient * multiplier
    return result


def _power_polynomials(polynomial: Polynomial, power: int) -> list[Polynomial]:
    """1, z, z^2, … z^power."""
    powers = [ONE]
    for _ in range(power):
        powers.append(product(powers[-1], polynomial))
    return powers


def _weighted(polynomials: Sequence[Polynomial], weights: Array) -> Polynomial:
    result: dict[Monomial, Coefficient] = {}
    for polynomial, weight in zip(polynomials, weights, strict=True):
        for factors, coefficient in polynomial.items():
            result[factors] = result.get(factors, 0.0) + float(weight) * coefficient
    return result
