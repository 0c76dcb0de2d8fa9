"""The residual's structure: ``by(sex) + ar1(t) + fixed(w)``, and precision weights."""

from __future__ import annotations

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import Column, Constant, Function, Residual, Variable
from mlm_ops.language.syntax import Call, Group, Name, Operation, Syntax, parse_expression

_PARTS = ("by", "ar1", "fixed")


def parse_residual(text: str | None, weights: str | None = None) -> Residual:
    """Compile a residual structure.

    Parameters
    ----------
    text
        A sum of ``by(column)``: a variance for each of its values; ``ar1(column)``: autocorrelation within the lowest
        groups over an integer time; ``fixed(column)``: variance proportional to a known column.
    weights
        A column of precision weights: variance proportional to its reciprocal, as lme4 takes them.

    Raises
    ------
    FormulaError
        Unknown or doubled parts, or known variances given in two ways.
    """
    found: dict[str, str] = {}
    for call in _calls(parse_expression(text), text) if text is not None else ():
        if call.function in found:
            raise FormulaError(f"The residual structure has {call.function}(…) twice.", text, call.position)
        (column,) = call.arguments
        assert isinstance(column, Name)
        found[call.function] = column.name
    if weights is not None and "fixed" in found:
        raise FormulaError(
            f"Known variances are given twice: weights={weights} and fixed({found['fixed']}); keep one of them.",
            text,
            0,
        )
    precision: Variable | None = Column(weights) if weights is not None else None
    if "fixed" in found:
        precision = Function("/", (Constant(1.0), Column(found["fixed"])))
    return Residual(found.get("by"), found.get("ar1"), precision)


def _calls(node: Syntax, text: str) -> list[Call]:
    if isinstance(node, Group):
        return _calls(node.inner, text)
    if isinstance(node, Operation) and node.operator == "+" and node.left is not None:
        return _calls(node.left, text) + _calls(node.right, text)
    if isinstance(node, Call) and node.function in _PARTS:
        if len(node.arguments) == 1 and isinstance(node.arguments[0], Name) and not node.options:
            return [node]
        raise FormulaError(f"{node.function}() takes one column.", text, node.position)
    raise FormulaError(
        "The residual structure is a sum of by(column), ar1(column) and fixed(column).", text, node.position
    )
