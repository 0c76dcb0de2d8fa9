"""Turn terms into design columns: categorical variables become indicators, every variable names what it is made of.

An *atom* is what SQL computes for a row: a numeric column, an indicator, a function of columns. A design column is a
product of centered atoms; `estimation.design.polynomial` writes it as row-level monomials times coefficients of units.
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
    """Design columns of terms, in their order; a term with factors has a column a combination of levels.

    A factor in a term is coded by contrasts with its reference level if the term without it stands in the model, or
    before it a term with further factors, which has all cells of the shorter one in its span; and by an indicator a
    level otherwise. Without an intercept, the first factor has an indicator a level. This is R's rule, but that R takes
    a term with further numbers for one with the span too, and loses columns.

    Parameters
    ----------
    terms
        Fixed terms of a model, or the terms of one random block.
    levels
        Levels of every categorical column, in order.
    text_columns
        Columns that are categorical wherever they stand; numeric ones are so only inside ``C()``.

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
            spanned = margin in present or any(margin < other and is_cells(other - margin) for other in wider)
            full = not spanned or (is_factor and absorbs_intercept)
            absorbs_intercept = absorbs_intercept and not is_factor
            choices.append(_codings(variable, not full, levels, text_columns))
        wider.append(frozenset(term.variables))
        columns += [DesignColumn(tuple(chosen)) for chosen in product(*choices)]
    return tuple(columns)


def as_factor(variable: Variable, text_columns: frozenset[str]) -> Factor | None:
    """The categorical column inside a variable, if it holds one."""
    for node in walk(variable):
        if isinstance(node, Factor):
            return node
        if isinstance(node, Column) and node.name in text_columns:
            return Factor(node.name)
    return None


def atoms(variable: Variable) -> Iterator[Variable]:
    """Columns, indicators and functions that a variable without factors is made of, each as often as its power."""
    if isinstance(variable, Centering):
        yield from atoms(variable.of)
    elif isinstance(variable, Poly):
        yield from tuple(atoms(variable.of)) * (variable.power or variable.degree)
    else:
        yield variable


def row_monomials(columns: tuple[DesignColumn, ...], constant: frozenset[Variable]) -> tuple[Monomial, ...]:
    """Products of row-level atoms whose moments serve the columns: every non-empty part of each column's atoms.

    What only enters through its unit means is multiplied with nothing.

    Parameters
    ----------
    columns
        Design columns.
    constant
        Atoms that do not vary within the smallest units: they are coefficients, not monomials.
    """
    found: dict[Monomial, None] = {}
    for column in columns:
        means = [v for v in column.variables if _is_unit_level(v)]
        rows = [v for v in column.variables if not _is_unit_level(v)]
        for together in (rows, *([v] for v in means)):
            factors = [a for v in together for a in atoms(v) if a not in constant]
            for size in range(1, len(factors) + 1):
                found |= {monomial(chosen): None for chosen in combinations(factors, size)}
    return tuple(found)


def monomial(chosen: tuple[Variable, ...]) -> Monomial:
    """A product of atoms in canonical order."""
    return tuple(sorted(chosen, key=label))


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
    known = levels[factor.column]
    if len(known) < 2:
        raise DataError(
            f"Column {factor.column!r} has no variation: every row holds {known[0]!r}. Remove it from the formula."
        )
    sums = factor.coding == "sum"
    reference = known[-1 if sums else 0] if factor.reference is None else factor.reference
    if reference not in known:
        raise DataError(
            f"The reference level of {label(factor)} does not occur. Got {reference!r}; "
            f"expected one of {', '.join(known)}."
        )
    # indicators minus their means sum to zero: a centered factor has no complete coding but the contrasts
    contrasts = contrasts or isinstance(variable, Centering)
    against = reference if sums and contrasts else None
    coded = [Indicator(factor.column, x, against) for x in known if not (contrasts and x == reference)]
    return [_with_core(variable, indicator) for indicator in coded]


def _with_core(variable: Variable, core: Indicator | Poly) -> Variable:
    """The variable with one column of its factor, or of its polynomial, in the place of the whole."""
    if isinstance(variable, Centering):
        return replace(variable, of=_with_core(variable.of, core))
    return core


def uncoded(variable: Variable) -> Variable:
    """The variable whose factor, or polynomial, one column of a design codes."""
    match variable:
        case Indicator(column) | Factor(column):
            return Column(column)
        case Poly():
            return replace(variable, power=None)
        case Centering():
            return replace(variable, of=uncoded(variable.of))
    return variable
