"""Turn terms into design columns, and list the products of columns whose moments these need.

An *atom* is what SQL computes for a row: a numeric column, an indicator (0 or 1) of a categorical one, a function of
columns. A design column is a product of centered atoms; `estimation.design.polynomial` writes it as row-level monomials
times coefficients of units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product

from mlm_ops.errors import DataError
from mlm_ops.language.model import (
    Centering,
    Column,
    Factor,
    Function,
    Indicator,
    Poly,
    Term,
    Variable,
    label,
    walk,
)

Levels = Mapping[str, tuple[str, ...]]
Monomial = tuple[Variable, ...]


@dataclass(frozen=True)
class DesignColumn:
    """A product of variables without factors; the empty product is the constant."""

    variables: tuple[Variable, ...]

    @property
    def name(self) -> str:
        """``(Intercept)``, ``sex[Male]``, ``within(ses):sector[Public]``."""
        return Term(self.variables).name


def expand(terms: tuple[Term, ...], levels: Levels, text_columns: frozenset[str]) -> tuple[DesignColumn, ...]:
    """Return the design columns of terms, in their order; a term with factors has a column a combination of levels.

    A factor in a term is coded by contrasts with its reference level if the term without it stands in the model, or
    before it a term with further factors, which has all cells of the shorter one in its span; and by an indicator a
    level otherwise. Without an intercept, the first factor has an indicator a level. This is R's rule, with one
    exception: R also takes a term with further numbers for one that has the shorter one in its span, and loses columns.

    Parameters
    ----------
    terms
        Fixed terms of a model, or the terms of one random block.
    levels
        Levels of every categorical column, in order.
    text_columns
        Columns of text, categorical wherever they stand; numeric ones are so only inside ``C()``.

    Raises
    ------
    DataError
        A reference level that does not occur, or a factor with fewer than two levels.
    """

    def is_cells(variables: frozenset[Variable]) -> bool:
        return all(as_factor(v, text_columns) is not None and not isinstance(v, Centering) for v in variables)

    present: set[frozenset[Variable]] = {frozenset(), *(frozenset(term.variables) for term in terms)}
    absorbs_intercept = Term() not in terms
    columns = []
    wider: list[frozenset[Variable]] = []
    for term in terms:
        choices = []
        for variable in term.variables:
            is_factor = as_factor(variable, text_columns) is not None and not isinstance(variable, Centering)
            margin = frozenset(term.variables) - {variable}
            is_spanned = margin in present or any(margin < other and is_cells(other - margin) for other in wider)
            is_full = not is_spanned or (is_factor and absorbs_intercept)
            absorbs_intercept = absorbs_intercept and not is_factor
            choices.append(_codings(variable, not is_full, levels, text_columns))
        wider.append(frozenset(term.variables))
        columns += [DesignColumn(tuple(combination)) for combination in product(*choices)]
    return tuple(columns)


def as_factor(variable: Variable, text_columns: frozenset[str]) -> Factor | None:
    """Return the categorical column inside a variable; None if there is none."""
    for node in walk(variable):
        if isinstance(node, Factor):
            return node
        if isinstance(node, Column) and node.name in text_columns:
            return Factor(node.name)
    return None


def atoms(variable: Variable) -> Iterator[Variable]:
    """Yield the columns, indicators and functions in a variable without factors, each as often as its power."""
    if isinstance(variable, Centering):
        yield from atoms(variable.of)
    elif isinstance(variable, Poly):
        yield from tuple(atoms(variable.of)) * (variable.power or variable.degree)
    else:
        yield variable


def row_monomials(columns: tuple[DesignColumn, ...], constant: frozenset[Variable]) -> tuple[Monomial, ...]:
    """Return the products of row-level atoms whose moments the columns need: each non-empty subset of a column's atoms.

    A variable that enters by its unit means alone needs no products with others.

    Parameters
    ----------
    columns
        Design columns.
    constant
        Atoms that do not vary within the smallest units: they need no moments.
    """
    monomials: dict[Monomial, None] = {}
    for column in columns:
        means = [v for v in column.variables if _is_unit_level(v)]
        rows = [v for v in column.variables if not _is_unit_level(v)]
        for together in (rows, *([v] for v in means)):
            factors = [a for v in together for a in atoms(v) if a not in constant]
            for size in range(1, len(factors) + 1):
                monomials |= {monomial(part): None for part in combinations(factors, size)}
    return tuple(monomials)


def monomial(factors: tuple[Variable, ...]) -> Monomial:
    """Return a product of atoms, sorted by their labels, so that equal products are equal tuples."""
    return tuple(sorted(factors, key=label))


def _is_unit_level(variable: Variable) -> bool:
    if isinstance(variable, Poly) or (isinstance(variable, Centering) and variable.keeps_value):
        return _is_unit_level(variable.of)
    return isinstance(variable, Centering)


def _codings(variable: Variable, contrasts: bool, levels: Levels, text_columns: frozenset[str]) -> list[Variable]:
    factor = as_factor(variable, text_columns)
    if factor is None:
        poly = next((node for node in walk(variable) if isinstance(node, Poly)), None)
        if poly is None:
            return [variable]
        return [_with_core(variable, replace(poly, power=k)) for k in range(1, poly.degree + 1)]
    if any(isinstance(node, Function | Poly) for node in walk(variable)):
        raise DataError(
            f"{label(variable)} needs numbers. Got text in column {factor.column!r}; expected a numeric column."
        )
    factor_levels = levels[factor.column]
    if len(factor_levels) < 2:
        raise DataError(
            f"Column {factor.column!r} has no variation: every row holds {factor_levels[0]!r}. Remove it "
            "from the formula."
        )
    sums = factor.coding == "sum"
    reference = factor_levels[-1 if sums else 0] if factor.reference is None else factor.reference
    if reference not in factor_levels:
        raise DataError(
            f"The reference level of {label(factor)} does not occur. Got {reference!r}; "
            f"expected one of {', '.join(factor_levels)}."
        )
    # indicators minus their means sum to zero: a centered factor has no complete coding but the contrasts
    contrasts = contrasts or isinstance(variable, Centering)
    against = reference if sums and contrasts else None
    indicators = [Indicator(factor.column, x, against) for x in factor_levels if not (contrasts and x == reference)]
    return [_with_core(variable, indicator) for indicator in indicators]


def _with_core(variable: Variable, core: Indicator | Poly) -> Variable:
    """The variable with one column of its factor, or of its polynomial, in the place of the whole."""
    if isinstance(variable, Centering):
        return replace(variable, of=_with_core(variable.of, core))
    return core


def whole_variable(variable: Variable) -> Variable:
    """Return the variable that a design column is one of several columns of: of a factor or a polynomial."""
    match variable:
        case Indicator(column) | Factor(column):
            return Column(column)
        case Poly():
            return replace(variable, power=None)
        case Centering():
            return replace(variable, of=whole_variable(variable.of))
    return variable
