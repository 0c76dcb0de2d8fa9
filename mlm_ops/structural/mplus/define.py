"""Read the DEFINE command and the missing codes of Mplus as columns of a SELECT, one step after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import number_text
from mlm_ops.language.syntax import Call, Group, Name, Number, Operation, Syntax, names_in, parse_expression
from mlm_ops.structural.mplus.commands import NamesOfInput, Refusals, StatementOfInput
from mlm_ops.warehouse.sql import identifier, render

_CENTER = re.compile(r"CENTER(?:ING)?\s*=?\s*(.*?)\(\s*(GROUPMEAN|GRANDMEAN)[^)]*\)", re.DOTALL | re.IGNORECASE)
_CENTERING = re.compile(r"CENTERING\s*=\s*(GROUPMEAN|GRANDMEAN)\s*\((.*)\)", re.DOTALL | re.IGNORECASE)
_MEAN = re.compile(r"(\w+)\s*=\s*CLUSTER_MEAN\s*\(\s*(\w+)\s*\)", re.IGNORECASE)
_ARITHMETIC = re.compile(r"([A-Za-z]\w*)\s*=\s*(.+)", re.DOTALL)
_OPERATORS = frozenset({"+", "-", "*", "/", "**"})
_FUNCTIONS = {"LOG": "ln", "LOG10": "log10", "EXP": "exp", "SQRT": "sqrt", "ABS": "abs"}
_CODES = re.compile(r"\s*([A-Za-z][\w\s-]*?)\s*\(([^)]*)\)")
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)")


@dataclass(frozen=True)
class DefineStep:
    """Columns that are made anew of a relation's.

    Attributes
    ----------
    columns
        Their expressions in SQL, by name.
    needs
        The columns that these are made of.
    is_new
        Whether it is one column that was not there, or columns in the place of others.
    """

    columns: Mapping[str, str]
    needs: tuple[str, ...]
    is_new: bool = False

    def of(self, relation: str) -> str:
        """A SELECT of all columns with these."""
        columns = ", ".join(f"{expression} as {identifier(name)}" for name, expression in self.columns.items())
        return (
            f"select *, {columns} from {relation}" if self.is_new else f"select * replace ({columns}) from {relation}"
        )


def missing_codes(statement: StatementOfInput, value: str, names: NamesOfInput, refusals: Refusals) -> dict[str, str]:
    """Columns without the codes of ``MISSING = ALL (-9)``; none for a period or a blank, which are null in a table."""
    columns: dict[str, str] = {}
    rest = "" if value.upper() in {".", "*", "BLANK"} else value
    while rest.strip():
        match = _CODES.match(rest)
        listed = None if match is None else names.listed(re.sub(r"\s*-\s*", "-", match[1]))
        codes = [] if match is None else match[2].replace(",", " ").split()
        if match is None or listed is None or not codes or not all(map(_NUMBER.fullmatch, codes)):
            refusals.add(statement, "missing cells are a period, or numbers as in MISSING = ALL (-9 99)")
            return {}
        for name in listed:
            column = identifier(name)
            columns[name] = f"case when {column} in ({', '.join(codes)}) then null else {column} end"
        rest = rest[match.end() :]
    return columns


def centering_step(statement: StatementOfInput, cluster: str, names: NamesOfInput) -> DefineStep | None:
    """``CENTER x (GROUPMEAN)``, or in VARIABLE the older ``CENTERING = GROUPMEAN (x)``; None where it is neither."""
    match = _CENTERING.fullmatch(statement.text)
    columns, kind = (match[2], match[1]) if match is not None else ("", "")
    if match is None and (match := _CENTER.fullmatch(statement.text)) is not None:
        columns, kind = match[1], match[2]
    listed = names.listed(re.sub(r"\s*-\s*", "-", columns))
    if not listed:
        return None
    center = partial(render, "within", group=[cluster]) if kind.upper() == "GROUPMEAN" else partial(render, "center")
    return DefineStep({name: center(column=name) for name in listed}, tuple(listed))


def define_step(statement: StatementOfInput, cluster: str, names: NamesOfInput) -> DefineStep | None:
    """One statement of DEFINE; None of one that is not offered."""
    centering = centering_step(statement, cluster, names)
    if centering is not None:
        return centering
    mean = _MEAN.fullmatch(statement.text)
    arithmetic = _ARITHMETIC.fullmatch(statement.text)
    if arithmetic is None:
        return None
    if mean is not None and names.is_column(mean[2]):
        needs = [names.of(mean[2])]
        expression: str | None = render("between", column=needs[0], group=[cluster])
    else:
        expression, needs = _expression(arithmetic[2], names)
    if expression is None:
        return None
    target = names.of(arithmetic[1])
    return DefineStep({target: expression}, tuple(needs), is_new=not names.is_column(target))


def defined_columns(statement: StatementOfInput) -> list[str]:
    """The column that a statement of DEFINE assigns to, read or not; none of one that centers."""
    match = _ARITHMETIC.fullmatch(statement.text)
    centers = _CENTERING.fullmatch(statement.text) or _CENTER.fullmatch(statement.text)
    return [] if match is None or centers else [match[1]]


def _expression(text: str, names: NamesOfInput) -> tuple[str | None, list[str]]:
    """Arithmetic of columns as SQL, and the columns; None where it is anything else."""
    try:
        tree = parse_expression(" ".join(text.split()))
    except FormulaError:
        return None, []
    return _sql(tree, names), [names.of(name) for name in names_in(tree)]


def _sql(node: Syntax, names: NamesOfInput) -> str | None:
    """A part of it, in brackets: SQL binds signs and powers in another order than arithmetic does."""
    match node:
        case Number(value):
            return number_text(value)
        case Name(name) if names.is_column(name):
            return identifier(names.of(name))
        case Group(inner):
            return _sql(inner, names)
        case Call(function, (argument,), ()) if function.upper() in _FUNCTIONS:
            inside = _sql(argument, names)
            return None if inside is None else f"{_FUNCTIONS[function.upper()]}({inside})"
        case Operation(operator, left, right) if operator in _OPERATORS:
            second = _sql(right, names)
            first = "" if left is None else _sql(left, names)
            if first is None or second is None or (not first and operator not in "+-"):
                return None
            return f"pow({first}, {second})" if operator == "**" else f"({first} {operator} {second})"
    return None


def select_of(relation: str, steps: Sequence[DefineStep]) -> str:
    """A SELECT of a relation with the steps, each over the one before."""
    for number, step in enumerate(steps):
        relation = step.of(relation if number == 0 else f"({relation})")
    return relation
