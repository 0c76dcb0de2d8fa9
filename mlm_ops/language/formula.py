"""Read lme4's formulas, with centering, into a `Model`.

``(x | g)`` includes the intercept, ``(x || g)`` makes the terms' coefficients independent (a block a term, as lme4
does), ``(1 | a/b)`` is ``(1 | a) + (1 | a:b)``. Terms stand in R's order: by number of variables, then by appearance.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import (
    PLAIN,
    Centering,
    Column,
    Factor,
    GroupingFactor,
    GroupMean,
    Model,
    Poly,
    RandomBlock,
    Residual,
    Term,
    Variable,
    averages_groups,
    columns_of,
    group_name,
    label,
    walk,
)
from mlm_ops.language.syntax import Group, Number, Operation, Syntax, parse_expression, parse_sides
from mlm_ops.language.variables import VariableCompiler

Namer = Callable[[Variable], str]

#: A product, a power or level equations may multiply out to at most so many terms; each variable of ``a*b*…`` doubles
#: them.
MOST_TERMS = 4_000


def parse_formula(text: str, levels: tuple[str, ...] = (), residual: Residual = PLAIN) -> Model:
    """Compile a formula to a Model.

    Parameters
    ----------
    text
        ``outcome ~ terms + (terms | grouping factor)``.
    levels
        Grouping columns of the analysis, lowest first; they serve `within` and `between` where the formula itself
        has no single grouping factor.
    residual
        The residual's structure, which the formula does not say.

    Raises
    ------
    FormulaError
        One sentence and a caret under the place in the text.
    """
    left, right = parse_sides(text)
    compiler = FormulaCompiler(text)
    outcome = compiler.outcome(left)
    fixed, random = compiler.right_side(right)
    model = Model(outcome, fixed, random, default_group(outcome, random, levels), residual, text)
    check_model(model, text)
    return model


def default_group(outcome: Variable, random: tuple[RandomBlock, ...], levels: tuple[str, ...]) -> GroupingFactor | None:
    """Return the grouping factor over whose units `within` and `between` take means where they name none.

    It is the one that a within() or between() outcome names, else the only one of the model; None if it has several.
    """
    if isinstance(outcome, Centering) and isinstance(outcome.mean, GroupMean) and outcome.mean.group is not None:
        return outcome.mean.group
    groups = list(dict.fromkeys(block.group for block in random)) or level_groups(levels)
    return groups[0] if len(groups) == 1 else None


def check_model(model: Model, text: str) -> None:
    """Refuse an outcome among the predictors, and centering if the model does not say over which groups."""
    outcome_columns = set(columns_of(model.outcome))
    for variable in model.predictors:
        if outcome_columns & set(columns_of(variable)):
            same = variable == model.outcome or isinstance(variable, Column)
            what = "" if same else f", in {label(variable)}"
            raise FormulaError(
                f"The outcome {model.outcome_name!r} is also among the predictors{what}; remove it from one side.",
                text,
                0,
            )
    for group in model.groups:
        if outcome_columns & set(group):
            raise FormulaError(
                f"The outcome {model.outcome_name!r} is also the grouping factor {group_name(group)}; name the "
                "column of the units after the bar.",
                text,
                0,
            )
    if averages_groups(model.outcome) and model.residual != PLAIN:
        raise FormulaError(
            f"Weights and residual structures apply to rows, and {model.outcome_name} is not observed row by row. "
            "Leave them out, or model the outcome as it is.",
            text,
            0,
        )
    if model.default_group is None:
        for variable in model.variables:
            for node in walk(variable):
                if isinstance(node, Centering) and isinstance(node.mean, GroupMean) and node.mean.group is None:
                    name = node.word
                    groups = ", ".join(group_name(g) for g in model.groups) or "none"
                    raise FormulaError(
                        f"{name}(…) needs the groups over which to take means, because the model does not have "
                        f"exactly one grouping factor. Got {groups}; write {name}(x, group).",
                        text,
                        max(text.find(name), 0),
                    )


class FormulaCompiler(VariableCompiler):
    """Turns one formula's syntax into terms and blocks."""

    def outcome(self, node: Syntax) -> Variable:
        """Compile the left side: one number a row."""
        if isinstance(node, Operation) and node.operator not in {"|", "||"}:
            raise self.fail("The outcome is one column, or I(…) or a function of columns.", node)
        outcome = self.variable(node)
        if isinstance(outcome, Factor | Poly):
            raise self.fail(f"The outcome is one number a row, and {label(outcome)} is several columns.", node)
        return outcome

    def right_side(self, node: Syntax) -> tuple[tuple[Term, ...], tuple[RandomBlock, ...]]:
        """Compile a right-hand side: its fixed terms, and the blocks of its parts with bars."""
        fixed: list[tuple[str, Syntax]] = []
        blocks: list[RandomBlock] = []
        for sign, part in summands(node):
            bar = part.inner if isinstance(part, Group) else part
            if isinstance(bar, Operation) and bar.operator in {"|", "||"}:
                if part is bar:
                    raise self.fail(
                        "A random part needs parentheses: write (… | group), with + before what follows it.", bar
                    )
                if sign == "-":
                    raise self.fail("A random part cannot be subtracted; leave it out, or write + before it.", part)
                more = self.blocks(bar)
                self.check_terms_stand_once([*blocks, *more], bar)
                blocks += more
            else:
                fixed.append((sign, part))
        return self.terms(fixed), tuple(blocks)

    def check_terms_stand_once(self, blocks: Sequence[RandomBlock], bar: Operation) -> None:
        """Refuse a coefficient that varies twice over a factor: no data can separate the two variances."""
        effects = [(term, block.group) for block in blocks for term in block.terms]
        twice = next((effect for number, effect in enumerate(effects) if effect in effects[:number]), None)
        if twice is not None:
            term, group = twice
            raise self.fail(
                f"The random effect of {term.name} over {group_name(group)} is given twice; keep one of them, as in "
                "(x | group), or (1 | group) + (0 + x | group) without a covariance.",
                bar,
            )

    def terms(self, summands: list[tuple[str, Syntax]]) -> tuple[Term, ...]:
        """Compile a sum to its terms, with the intercept unless it is removed, in R's order."""
        products: dict[frozenset[Variable], None] = {frozenset(): None}
        appearance: dict[Variable, int] = {}
        for sign, part in summands:
            removes = sign == "-"
            if isinstance(part, Number) and part.value in (0, 1):
                if (part.value == 1) != removes:
                    products[frozenset()] = None
                else:
                    products.pop(frozenset(), None)
                continue
            for variables in self.expand(part, appearance):
                if removes:
                    products.pop(variables, None)
                else:
                    products.setdefault(variables)
        by_size = sorted(products, key=len)
        return tuple(Term(tuple(sorted(variables, key=appearance.__getitem__))) for variables in by_size)

    def expand(self, node: Syntax, appearance: dict[Variable, int]) -> list[frozenset[Variable]]:
        """Multiply out ``+ : * / **`` into sets of variables."""
        if isinstance(node, Group):
            return self.expand(node.inner, appearance)
        if isinstance(node, Operation) and node.operator in {"|", "||"}:
            raise self.fail("A random part (… | group) cannot be inside a product.", node)
        if isinstance(node, Operation) and node.left is not None:
            left = self.expand(node.left, appearance)
            if node.operator == "**":
                return self.power(left, node.right)
            right = self.expand(node.right, appearance)
            if len(left) * len(right) > MOST_TERMS:
                raise self.fail(f"The product multiplies out to more than {MOST_TERMS} terms; write fewer.", node)
            products = [a | b for a in left for b in right]
            if node.operator == "+":
                return list(dict.fromkeys(left + right))
            if node.operator == ":":
                return list(dict.fromkeys(products))
            if node.operator == "*":
                return list(dict.fromkeys(left + right + products))
            if node.operator == "/":
                everything = frozenset[Variable]().union(*left)
                return list(dict.fromkeys(left + [everything | b for b in right]))
            return [t for t in left if t not in right]
        if isinstance(node, Number):
            if node.value == 1:
                return [frozenset()]
            raise self.fail(f"The number {node.value:g} is no predictor; 1 and 0 add and remove the intercept.", node)
        variable = self.variable(node)
        appearance.setdefault(variable, len(appearance))
        return [frozenset({variable})]

    def power(self, terms: list[frozenset[Variable]], exponent: Syntax) -> list[frozenset[Variable]]:
        """Multiply out a sum to a power: products of up to so many of its terms."""
        if not isinstance(exponent, Number) or exponent.value not in range(1, 9):
            raise self.fail(
                "The power of a sum of terms is a whole number from 1 to 8; write I(x**2) for x squared.", exponent
            )
        if len(terms) == 1 and exponent.value > 1:
            raise self.fail("A term to a power is the term itself in a formula; write I(x**2) for x squared.", exponent)
        if sum(comb(len(terms), size) for size in range(1, int(exponent.value) + 1)) > MOST_TERMS:
            raise self.fail(f"The power multiplies out to more than {MOST_TERMS} terms; write fewer.", exponent)
        result: list[frozenset[Variable]] = []
        for size in range(1, int(exponent.value) + 1):
            result += [frozenset().union(*factors) for factors in combinations(terms, size)]
        return list(dict.fromkeys(result))

    def blocks(self, bar: Operation) -> list[RandomBlock]:
        """Compile one ``(terms | grouping)`` to its blocks."""
        if bar.left is None:
            raise self.fail("A random part needs terms before its bar: write (1 | group) or (x | group).", bar)
        if isinstance(bar.left, Operation) and bar.left.operator in {"|", "||"}:
            raise self.fail("A random part has one bar; write (1 | g) + (1 | h) for two grouping factors.", bar)
        terms = self.terms(summands(bar.left))
        if not terms:
            raise self.fail("A random part without any term: write (1 | group) or (0 + x | group).", bar)
        groups = self.groupings(bar.right)
        if bar.operator == "||":
            return [RandomBlock((term,), group) for group in groups for term in terms]
        return [RandomBlock(terms, group) for group in groups]


def level_groups(levels: Sequence[str]) -> list[GroupingFactor]:
    """Return the grouping factors of ``levels``: a column each, or columns joined by colons, as in ``school:class``."""
    return [
        tuple(level.split(":")) if re.fullmatch(r"[\w.]+(:[\w.]+)+", level) else (_without_backticks(level),)
        for level in levels
    ]


def _without_backticks(name: str) -> str:
    in_backticks = len(name) > 2 and name[0] == name[-1] == "`"
    return name[1:-1].replace("``", "`") if in_backticks else name


def level_columns(levels: Sequence[str]) -> tuple[str, ...]:
    """Return each level's own column: ``class`` for ``school:class``."""
    return tuple(group[-1] for group in level_groups(levels))


def summands(node: Syntax) -> list[tuple[str, Syntax]]:
    """Split a sum into parts with their signs: ``a + b - c`` -> [(+, a), (+, b), (-, c)]."""
    parts = []
    rest: Syntax | None = node
    while isinstance(rest, Operation) and rest.operator in {"+", "-"}:
        parts.append((rest.operator, rest.right))
        rest = rest.left
    return [*([_sign_and_part(rest)] if rest is not None else ()), *reversed(parts)]


def _sign_and_part(node: Syntax) -> tuple[str, Syntax]:
    """Return the sign and the rest of a sum's first part; a sign before a product is that of the whole product."""
    products = []
    first = node
    while isinstance(first, Operation) and first.operator in {"*", "/", ":"} and first.left is not None:
        products.append(first)
        first = first.left
    if not products or not (isinstance(first, Operation) and first.left is None):
        return "+", node
    sign, whole = first.operator, first.right
    for product in reversed(products):
        whole = replace(product, left=whole)
    return sign, whole


def group_text(group: GroupingFactor) -> str:
    """Write a grouping factor: ``school:class``, unusual names in backticks."""
    return ":".join(label(Column(column)) for column in group)


def formula_text(model: Model, name: Namer = label, group: Callable[[GroupingFactor], str] = group_text) -> str:
    """Write a model as a formula, with ``1`` or ``0`` for every intercept.

    Parameters
    ----------
    name, group
        How variables and grouping factors are written; by default as the language names them.
    """
    random = [f"({sum_of_terms(block.terms, name)} | {group(block.group)})" for block in model.random]
    return f"{name(model.outcome)} ~ {' + '.join([sum_of_terms(model.fixed, name), *random])}"


def sum_of_terms(terms: Sequence[Term], name: Namer = label) -> str:
    """Write terms as a sum, with ``1`` or ``0`` for the intercept.

    Their order is one that, when it is read again, gives the variables of each product the same order.
    """
    if not _in_order(terms):
        # products first: the first mention of a variable decides where it stands in every product
        terms = sorted(terms, key=lambda term: -len(term.variables))
    products = [":".join(map(name, term.variables)) for term in terms if term.variables]
    return " + ".join(["1" if Term() in terms else "0", *products])


def _in_order(terms: Sequence[Term]) -> bool:
    appearance = {v: i for i, v in enumerate(dict.fromkeys(v for term in terms for v in term.variables))}
    places = [[appearance[v] for v in term.variables] for term in terms]
    return all(place == sorted(place) for place in places)


def parse_term(text: str, model: Model) -> tuple[Term, ...]:
    """Compile one fixed term, or a product that multiplies out to several, to add to a model.

    Raises
    ------
    FormulaError
        It does not parse, has a random part or no predictor, or `check_model` refuses it in the model.
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
    """Compile ``x`` or ``x | group`` to terms with random coefficients, each with its grouping factor.

    Raises
    ------
    FormulaError
        It does not parse, has no predictor, or has no grouping factor and neither has the model.
    """
    compiler = FormulaCompiler(text)
    node = parse_expression(text)
    if isinstance(node, Operation) and node.operator == "|":
        blocks = compiler.blocks(node)
    elif model.groups:
        blocks = [RandomBlock(compiler.terms(summands(node)), model.groups[0])]
    else:
        raise FormulaError("Name the units over which the coefficient varies: write x | group.", text, 0)
    slopes = tuple((term, block.group) for block in blocks for term in block.terms if term.variables)
    if not slopes:
        raise FormulaError(f"A term whose slope may vary is expected here, such as x. Got {text!r}.", text, 0)
    check_model(replace(model, fixed=(*model.fixed, *(term for term, _ in slopes))), text)
    return slopes
