"""Write design columns as polynomials in what they are made of, so that their spans can be compared whatever the data.

The letters are variables, and group means of products of variables. What a column is centered at is an unknown number;
here it is a random element of the integers modulo a large prime. An equation between polynomials in unknown numbers
that holds there holds always, but for a chance of 1e-17 (Schwartz 1980, Journal of the ACM 27, 701-717): exact, where
floating-point numbers would need a tolerance, and a grand mean that happens to be zero would pass for a constant.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Centering, GrandMean, GroupingFactor, GroupMean, Indicator, Poly, Variable, label

PRIME = 2**61 - 1
#: A variable, or a mean of a product of variables.
Letter = tuple[str, ...]
LetterProduct = tuple[Letter, ...]
LetterSum = dict[LetterProduct, int]
#: Rows of whole numbers modulo `PRIME`.
Residues = list[list[int]]


class SymbolicColumns:
    """Write the columns of several versions of a model in the same symbols.

    Parameters
    ----------
    default_group
        Over whose units `within` and `between` take means where they name none.
    meaning
        Short names of grouping factors: ``class`` means ``school:class`` if the model nests it so.
    complete
        For each categorical column with an indicator of every level in some version, these indicators: they add to one.
    constant
        Whether a variable is the same in all rows of each unit of a grouping factor.
    balanced
        Whether a variable's mean is the same in every unit of a grouping factor.
    nested
        Whether each unit of the first grouping factor lies in one of the second.
    """

    def __init__(
        self,
        default_group: GroupingFactor | None,
        meaning: Mapping[GroupingFactor, GroupingFactor],
        complete: Mapping[str, Sequence[Indicator]],
        constant: Callable[[Variable, GroupingFactor], bool],
        balanced: Callable[[Variable, GroupingFactor], bool],
        nested: Callable[[GroupingFactor, GroupingFactor], bool],
    ) -> None:
        self._default_group, self._meaning = default_group, meaning
        self._complete = complete
        self._constant, self._balanced, self._nested = constant, balanced, nested
        self._random = random.Random(1)
        self._numbers: dict[object, int] = {}
        self._variables: dict[Letter, Variable] = {}
        self._means: dict[Letter, tuple[GroupingFactor, GroupingFactor | None, LetterProduct]] = {}

    def column(self, column: DesignColumn) -> LetterSum:
        """Return the product of a column's variables."""
        product: LetterSum = {(): 1}
        for variable in column.variables:
            product = _product(product, self._variable(variable))
        return product

    def group_mean(self, polynomial: LetterSum, group: GroupingFactor, over: GroupingFactor | None = None) -> LetterSum:
        """Return the means of a polynomial over the units of a grouping factor."""
        group, over = self._meaning.get(group, group), self._meaning.get(over, over) if over else None
        total: LetterSum = {}
        for monomial, multiplier in polynomial.items():
            _add(total, {m: multiplier * value for m, value in self._mean_of(monomial, group, over).items()})
        return total

    def _variable(self, variable: Variable) -> LetterSum:
        match variable:
            case Centering(of):
                return self._centered(variable, self._variable(of))
            case Poly(of, degree, raw):
                return self._power(self._variable(of), variable.power or degree, raw)
            case Indicator(column) if variable in self._complete.get(column, ())[:1]:
                return {(): 1} | {self._letter(other): -1 for other in self._complete[column][1:]}
        return {self._letter(variable): 1}

    def _letter(self, variable: Variable) -> LetterProduct:
        letter = ("variable", label(variable))
        self._variables[letter] = variable
        return (letter,)

    def _centered(self, variable: Centering, of: LetterSum) -> LetterSum:
        mean = variable.mean
        if isinstance(mean, GroupMean):
            group = mean.group or self._default_group
            assert group is not None, "the formula was checked to name its groups"
            means = self.group_mean(of, group, mean.over)
            return _sum(of, means, -1) if variable.keeps_value else means
        if isinstance(mean, GrandMean):
            shift = sum(value * self._grand_mean(m, mean.over) for m, value in of.items())
        else:
            exact = Fraction(mean)
            shift = exact.numerator * pow(exact.denominator, -1, PRIME)
        return _sum(of, {(): shift % PRIME}, -1)

    def _power(self, of: LetterSum, power: int, raw: bool) -> LetterSum:
        if raw:
            return _to_power(of, power)
        # orthogonal polynomials do not depend on the variable's zero
        base = {m: value for m, value in of.items() if m}
        total: LetterSum = {}
        for exponent in range(power + 1):
            coefficient = self._number(("orthogonal", tuple(sorted(base.items())), power, exponent))
            _add(total, {m: coefficient * value for m, value in _to_power(base, exponent).items()})
        return total

    def _mean_of(self, monomial: LetterProduct, group: GroupingFactor, over: GroupingFactor | None) -> LetterSum:
        outside = tuple(letter for letter in monomial if self._is_constant(letter, group))
        inside = tuple(letter for letter in monomial if not self._is_constant(letter, group))
        if not inside:
            return {monomial: 1}
        if over is None:
            inside = self._of_rows(inside, group)
            variable = self._variables.get(inside[0]) if len(inside) == 1 else None
            if variable is not None and self._balanced(variable, group):
                return {outside: self._grand_mean(inside, None)}
        letter = ("mean", *group, "over", *(over or ()), "of", repr(inside))
        self._means[letter] = group, over, inside
        return {tuple(sorted((*outside, letter))): 1}

    def _of_rows(self, monomial: LetterProduct, group: GroupingFactor) -> LetterProduct:
        """What a mean of means is a mean of: the mean over schools of class means of x is that of x over its rows."""
        means = [letter for letter in monomial if letter in self._means]
        if len(means) != 1:
            return monomial
        lower, over, of = self._means[means[0]]
        rest = tuple(letter for letter in monomial if letter != means[0])
        if over is None and self._nested(lower, group) and all(self._is_constant(letter, lower) for letter in rest):
            return tuple(sorted((*of, *rest)))
        return monomial

    def _is_constant(self, letter: Letter, group: GroupingFactor) -> bool:
        if letter in self._means:
            return self._nested(group, self._means[letter][0])
        return self._constant(self._variables[letter], group)

    def _grand_mean(self, monomial: LetterProduct, over: GroupingFactor | None) -> int:
        if not monomial:
            return 1
        if over is None and len(monomial) == 1 and monomial[0] in self._means:
            _, of_units, of = self._means[monomial[0]]
            monomial = of if of_units is None else monomial
        return self._number(("grand mean", over, monomial))

    def _number(self, key: object) -> int:
        return self._numbers.setdefault(key, self._random.randrange(1, PRIME))


def combinations(columns: Sequence[LetterSum], of: Sequence[LetterSum]) -> Residues | None:
    """Write columns as combinations of linearly independent others.

    Returns
    -------
    list of lists, or None
        R, (len(of), len(columns)), with columns = of @ R: where `columns` have coefficients c, the same sum has the
        coefficients R @ c of `of`. None where a column is no combination of the others.
    """
    monomials = list(dict.fromkeys(m for polynomial in (*of, *columns) for m in polynomial))
    table = [[p.get(m, 0) % PRIME for p in (*of, *columns)] for m in monomials]
    size = len(of)
    for j in range(size):
        row = next((i for i in range(j, len(table)) if table[i][j]), None)
        if row is None:
            return None
        table[j], table[row] = table[row], table[j]
        inverse = pow(table[j][j], -1, PRIME)
        table[j] = [value * inverse % PRIME for value in table[j]]
        for i, other in enumerate(table):
            if i != j and (factor := other[j]):
                table[i] = [(a - factor * b) % PRIME for a, b in zip(other, table[j], strict=True)]
    if any(any(row[size:]) for row in table[size:]):
        return None
    return [row[size:] for row in table[:size]]


def _sum(first: LetterSum, second: LetterSum, times: int = 1) -> LetterSum:
    total = dict(first)
    _add(total, {m: times * value for m, value in second.items()})
    return total


def _add(total: LetterSum, summand: LetterSum) -> None:
    for monomial, value in summand.items():
        total[monomial] = (total.get(monomial, 0) + value) % PRIME
        if not total[monomial]:
            del total[monomial]


def _product(first: LetterSum, second: LetterSum) -> LetterSum:
    total: LetterSum = {}
    for left, a in first.items():
        _add(total, {tuple(sorted((*left, *right))): a * b for right, b in second.items()})
    return total


def _to_power(polynomial: LetterSum, power: int) -> LetterSum:
    total: LetterSum = {(): 1}
    for _ in range(power):
        total = _product(total, polynomial)
    return total
