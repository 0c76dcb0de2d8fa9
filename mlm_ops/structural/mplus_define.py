"""Read the DEFINE command and the missing codes of Mplus as columns of a SELECT, one step after the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import number_text
from mlm_ops.language.syntax import Call, Group, Name, Number, Operation, Syntax, parse_expression
from mlm_ops.structural.mplus_commands import NamesOfInput, Refusals, StatementOfInput
from mlm_ops.warehouse.sql import identifier

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
    """Columns that are made anew of a relation's, by their expressions in SQL; a new one, or in the place of others."""

    columns: Mapping[str, str]
    is_new: bool = False

    @property
    def needs(self) -> list[str]:
        """The columns that the expressions are made of; names in Mplus have no quotation marks."""
        return [name for expression in self.columns.values() for name in re.findall(r'"(\w+)"', expression)]

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
    return (
        DefineStep({name: f"{identifier(name)} - {_mean(name, cluster, kind)}" for name in listed}) if listed else None
    )


def define_step(statement: StatementOfInput, cluster: str, names: NamesOfInput) -> DefineStep | None:
    """One statement of DEFINE; None of one that is not offered."""
    centering = centering_step(statement, cluster, names)
    if centering is not None:
        return centering
    mean = _MEAN.fullmatch(statement.text)
    arithmetic = _ARITHMETIC.fullmatch(statement.text)
    expression: str | None = None
    if mean is not None and names.is_column(mean[2]):
        expression = _mean(names.of(mean[2]), cluster, "GROUPMEAN")
    elif arithmetic is not None:
        expression = _expression(arithmetic[2], names)
    if arithmetic is None or expression is None:
        return None
    target = names.of(arithmetic[1])
    return DefineStep({target: expression}, is_new=not names.is_column(target))


def defined_columns(statement: StatementOfInput) -> list[str]:
    """The column that a statement of DEFINE assigns to, read or not; none of one that centers."""
    match = _ARITHMETIC.fullmatch(statement.text)
    centers = _CENTERING.fullmatch(statement.text) or _CENTER.fullmatch(statement.text)
    return [] if match is None or centers else [match[1]]


def _mean(name: str, cluster: str, kind: str) -> str:
    over = f"partition by {identifier(cluster)}" if kind.upper() == "GROUPMEAN" else ""
    return f"avg({identifier(name)}) over ({over})"


def _expression(text: str, names: NamesOfInput) -> str | None:
    """Arithmetic of columns as SQL; None where it is anything else."""
    try:
        return _sql(parse_expression(" ".join(text.split())), names)
    except FormulaError:
        return None


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
