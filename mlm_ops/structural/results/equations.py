"""Write a structural model's equations level by level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlm_ops.language.options import EquationFormat
from mlm_ops.results.equations import WRITERS
from mlm_ops.results.equations.statements import (
    Association,
    Atom,
    Equation,
    Heading,
    Product,
    Sign,
    Statement,
    Symbol,
    Value,
    VariableName,
)
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.parameters import ParameterTable, SemParameter

_TITLES = {WITHIN: "Level 1 (within clusters)", BETWEEN: "Level 2 (between clusters)"}
_PART = {WITHIN: "W", BETWEEN: "B"}
_UNITS = {WITHIN: "ij", BETWEEN: "j"}
_RESIDUAL = {WITHIN: "e", BETWEEN: "u"}
_LETTERS = {"=~": "lambda", "~": "beta", "~1": "alpha", "~~": "psi"}


def sem_equations(table: ParameterTable, format: EquationFormat) -> str:
    """The model by level in one of the formats of `WRITERS`."""
    return WRITERS[format].page(list(_statements(table)))


def _statements(table: ParameterTable) -> Iterator[Statement]:
    """One equation a variable that has predictors or factors, after the split of the variables of both levels.

    Of several groups of rows those of each, in which a parameter of the same letter and number is the same.
    """
    for name in table.both:
        parts = ((VariableName(name, _UNITS[level], _PART[level]),) for level in (BETWEEN, WITHIN))
        yield Equation(VariableName(name, _UNITS[WITHIN]), tuple(parts))
    for number, group in enumerate(table.groups or ("",)):
        for level in (WITHIN, BETWEEN):
            yield Heading(f"{_TITLES[level]}{f', {group}' * bool(table.groups)}")
            rows = [row for row in table.at(level) if row.group == number]
            names = table.variables(level)
            for name in (*names.latent, *names.slopes, *names.observed):
                yield _equation(table, rows, level, name)
            for row in rows:
                if row.op == "~~" and row.lhs != row.rhs and _is_there(row):
                    first, second = (_residual(level, name) for name in (row.lhs, row.rhs))
                    yield Association("Cov", first, second, _coefficient(table, row))
    if table.definitions:
        yield Heading("Defined")
    for definition in table.definitions:
        yield Equation(VariableName(definition.name), ((VariableName(definition.text),),))
    if table.constraints:
        yield Heading("Constrained")
    for constraint in table.constraints:
        left, right = (VariableName(side.strip()) for side in constraint.text.split(constraint.relation))
        yield Equation(left, ((right,),), relation=constraint.relation.replace("==", "="))


def _is_there(row: SemParameter) -> bool:
    return row.index is not None or row.value != 0


def _equation(table: ParameterTable, rows: Sequence[SemParameter], level: int, name: str) -> Equation:
    into = [r for r in rows if (r.op == "~" and r.lhs == name) or (r.op == "=~" and r.rhs == name)]
    mean = next((r for r in rows if r.op == "~1" and r.lhs == name), None)
    variance = next(r for r in rows if r.is_variance and r.lhs == name)
    terms: list[Product] = [(_coefficient(table, mean),)] if mean is not None and _is_there(mean) else []
    for row in into:
        other = _variable(table, level, row.rhs if row.op == "~" else row.lhs)
        factor = _coefficient(table, row)
        if row.slope is not None:
            latent = any(slope.name == row.slope and slope.latent for slope in table.slopes)
            # others are of the predictor as it is observed
            other = other if latent else VariableName(row.rhs, _UNITS[level])
            factor = _variable(table, BETWEEN, row.slope)
        terms.append((other,) if factor == Value(1.0, exact=True) else (factor, Sign("*"), other))
    if _is_there(variance):
        terms.append((_residual(level, name),))
    return Equation(_variable(table, level, name), tuple(terms))


def _coefficient(table: ParameterTable, row: SemParameter) -> Atom:
    """Its label, its fixed value, or a letter with the number of the parameter."""
    if row.label:
        return VariableName(row.label)
    if row.index is None:
        return Value(row.value, exact=True)
    alike = list(dict.fromkeys(r.index for r in table.rows if r.op == row.op and r.index is not None and not r.label))
    return Symbol(_LETTERS[row.op], str(alike.index(row.index) + 1))


def _variable(table: ParameterTable, level: int, name: str) -> VariableName:
    return VariableName(name, _UNITS[level], _PART[level] if name in table.both else "")


def _residual(level: int, name: str) -> Symbol:
    return Symbol(_RESIDUAL[level], units=_UNITS[level], of=name)
