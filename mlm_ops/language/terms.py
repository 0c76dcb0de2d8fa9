"""Single terms, to be added to a model: the candidates of a strategy."""

from __future__ import annotations

from dataclasses import replace

from mlm_ops.errors import FormulaError
from mlm_ops.language.formula import FormulaCompiler, check_model, summands
from mlm_ops.language.model import GroupingFactor, Model, RandomBlock, Term
from mlm_ops.language.syntax import Operation, parse_expression


def parse_term(text: str, model: Model) -> tuple[Term, ...]:
    """Compile one fixed term, or a product that multiplies out to several, to be added to a model.

    Raises
    ------
    FormulaError
        It does not parse, holds a random part or no predictor, or does not go with the model.
    """
    compiler = FormulaCompiler(text)
    node = parse_expression(text)
    fixed, random = compiler.right_side(node)
    terms = tuple(term for term in fixed if term.variables)
    if random or not terms:
        raise FormulaError(f"A fixed term is expected here, such as x or x:z. Got {text!r}.", text, 0)
    check_model(replace(model, fixed=(*model.fixed, *terms)), text)
    return terms


def parse_random_term(text: str, model: Model) -> tuple[tuple[Term, GroupingFactor], ...]:
    """Compile ``x`` or ``x | group`` to terms whose coefficients shall vary, each with its grouping factor.

    Raises
    ------
    FormulaError
        It does not parse, has no predictor, or names no factor where the model has none.
    """
    compiler = FormulaCompiler(text)
    node = parse_expression(text)
    if isinstance(node, Operation) and node.operator == "|":
        blocks = compiler.blocks(node)
    elif model.groups:
        blocks = [RandomBlock(compiler.terms(summands(node)), model.groups[0])]
    else:
        raise FormulaError("Name the units over which the coefficient varies: write x | group.", text, 0)
    found = tuple((term, block.group) for block in blocks for term in block.terms if term.variables)
    if not found:
        raise FormulaError(f"A term whose slope may vary is expected here, such as x. Got {text!r}.", text, 0)
    check_model(replace(model, fixed=(*model.fixed, *(term for term, _ in found))), text)
    return found
