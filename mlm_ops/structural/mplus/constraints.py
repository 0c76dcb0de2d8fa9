"""Read the MODEL CONSTRAINT command of Mplus: new parameters, and constraints between parameters."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from mlm_ops.errors import FormulaError
from mlm_ops.structural.mplus.commands import NamesOfInput, Refusals, StatementOfInput, new_names

_FUNCTIONS = {"EXP": "exp", "LOG": "log", "SQRT": "sqrt", "ABS": "abs"}
_NEW = re.compile(r"NEW\s*\((.*)\)", re.DOTALL | re.IGNORECASE)
_SIDES = re.compile(r"([^=<>]+)([=<>])([^=<>]+)", re.DOTALL)
_WORD = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|[A-Za-z]\w*|\*\*|\S")
_SIGNS = frozenset({"+", "-", "*", "/", "^", "(", ")"})


def constraint_lines(
    statements: Sequence[StatementOfInput], labels: Collection[str], names: NamesOfInput, refusals: Refusals
) -> list[str]:
    """The lines of the model's text: definitions, each behind those that it names, and constraints.

    Raises
    ------
    FormulaError
        A new parameter without an equation.
    """
    new: list[str] = []
    definitions: dict[str, list[str]] = {}
    relations: list[str] = []
    for statement in statements:
        match = _NEW.fullmatch(statement.text)
        if match is not None:
            listed = new_names(re.sub(r"[*@]\s*-?[\d.]+", " ", match[1]))
            if listed is None:
                refusals.add(statement, "NEW names parameters, with starting values behind *")
            new += [names.of(name) for name in listed or []]
            continue
        sides = _SIDES.fullmatch(statement.text)
        parts = [] if sides is None else [_arithmetic(side, {*labels, *new}, names) for side in (sides[1], sides[3])]
        if sides is None or parts[0] is None or parts[1] is None:
            refusals.add(statement, "expected an equation or inequality of labels and numbers")
            continue
        left, right = _spaced(parts[0]), parts[1]
        if sides[2] == "=" and left in new and left not in definitions:
            definitions[left] = right
        else:
            relations.append(f"{left} {'==' if sides[2] == '=' else sides[2]} {_spaced(right)}")
    missing = next((name for name in new if name not in definitions), None)
    if missing is not None and not refusals.faults:
        raise FormulaError(f"The new parameter {missing!r} of MODEL CONSTRAINT has no equation {missing} = ….")
    return [*_in_order(definitions), *relations]


def _in_order(definitions: Mapping[str, list[str]]) -> list[str]:
    """Definitions after those that they name; of a circle in the order that they have."""
    left, lines = dict(definitions), list[str]()
    while left:
        ready = [name for name, words in left.items() if not any(word in left and word != name for word in words)]
        for name in ready or list(left):
            lines.append(f"{name} := {_spaced(left.pop(name))}")
    return lines


def _arithmetic(text: str, labels: Collection[str], names: NamesOfInput) -> list[str] | None:
    """One side's words in our arithmetic; None where it names what is no label."""
    words = _WORD.findall(text)
    result: list[str] = []
    for place, word in enumerate(words):
        if word[0].isalpha():
            is_call = words[place + 1 : place + 2] == ["("]
            name = _FUNCTIONS.get(word.upper()) if is_call else names.of(word)
            if name is None or (not is_call and name not in labels):
                return None
            result.append(name)
        elif word == "**":
            result.append("^")
        elif word in _SIGNS or word[0].isdigit() or word[0] == ".":
            result.append(word)
        else:
            return None
    return result


def _spaced(words: Sequence[str]) -> str:
    """Signs of sums with blanks around them."""
    text = ""
    for place, word in enumerate(words):
        before = words[place - 1] if place else "("
        is_sum = word in {"+", "-"} and before not in {"(", "+", "-", "*", "/", "^"}
        text += f" {word} " if is_sum else word
    return text
