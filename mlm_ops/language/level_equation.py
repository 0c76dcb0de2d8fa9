"""One level equation as text -> the terms that explain a coefficient, and whether it is random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from mlm_ops.errors import FormulaError
from mlm_ops.language.formula import FormulaCompiler, summands
from mlm_ops.language.model import Term, Variable
from mlm_ops.language.syntax import Call, Group, Name, Number, Operation, Syntax, parse_expression, parse_sides

Parsed = TypeVar("Parsed")
INTERCEPT_NAMES = frozenset({"intercept", "Intercept", "(Intercept)", "1"})


@dataclass(frozen=True)
class Random:
    """``random``, with its options.

    Attributes
    ----------
    block
        Effects of one block covary; None is a block of its own.
    covariance
        Structure of the block, if said here.
    """

    block: str | None = ""
    covariance: str | None = None


@dataclass(frozen=True)
class Equation:
    """What explains a coefficient: terms, the empty one being its mean, and a random effect or none."""

    terms: tuple[Term, ...] = (Term(),)
    random: Random | None = None


class EquationCompiler(FormulaCompiler):
    """Compiles one equation; its errors begin with the place that it has among the level equations."""

    def __init__(self, text: str, place: str) -> None:
        super().__init__(text)
        self.place = place

    def fail(self, message: str, node: Syntax) -> FormulaError:
        """The error, with the equation's place and a caret under the node."""
        return FormulaError(f"{self.place}: {message}", self.text, node.position)

    def outcome_equation(self) -> tuple[Variable, list[Term]]:
        """Outcome and coefficients of level 1."""
        left, right = self.parse(parse_sides)
        parts = summands(right)
        for _, part in parts:
            if (mark := self.find_random(part)) is not None:
                raise self.fail(
                    "random marks a coefficient in its equation at level 2; at level 1 the residual is always there.",
                    mark,
                )
            self.refuse_bar(part)
        return self.variable(left), list(self.terms(parts))

    def coefficient(self) -> frozenset[Variable]:
        """The product that a coefficient multiplies; the empty one for the intercept."""
        if self.text in INTERCEPT_NAMES:
            return frozenset()
        node = self.parse(parse_expression)
        products = self.expand(node, {})
        if len(products) != 1:
            raise self.fail("An equation explains one coefficient; give each its own line.", node)
        return products[0]

    def equation(self) -> Equation:
        """Predictors of a coefficient, and whether it is random."""
        random: Random | None = None
        rest = []
        for sign, part in summands(self.parse(parse_expression)):
            inner = part.inner if isinstance(part, Group) else part
            if self.is_random(inner):
                if sign == "-" or random is not None:
                    what = "cannot be subtracted; leave it out" if sign == "-" else "stands twice; keep one"
                    raise self.fail(f"random {what}.", part)
                random = self.options(inner)
                continue
            if (mark := self.find_random(part)) is not None:
                raise self.fail("random stands alone in the sum: write … + random.", mark)
            self.refuse_bar(part)
            rest.append((sign, part))
        return Equation(self.terms(rest), random)

    def parse(self, how: Callable[[str], Parsed]) -> Parsed:
        """The syntax of the text; where it does not parse, the error names the equation."""
        try:
            return how(self.text)
        except FormulaError as error:
            raise FormulaError(f"{self.place}: {error}") from error

    def is_random(self, node: Syntax) -> bool:
        """``random`` or ``random(…)``; in backticks it is a column."""
        if isinstance(node, Name):
            return node.name == "random" and self.text[node.position] != "`"
        return isinstance(node, Call) and node.function == "random"

    def find_random(self, node: Syntax) -> Syntax | None:
        """Where random stands, be it inside a larger expression."""
        if self.is_random(node):
            return node
        inside: tuple[Syntax | None, ...] = ()
        if isinstance(node, Operation):
            inside = (node.left, node.right)
        elif isinstance(node, Group):
            inside = (node.inner,)
        elif isinstance(node, Call):
            inside = node.arguments
        return next((found for part in inside if part and (found := self.find_random(part))), None)

    def refuse_bar(self, node: Syntax) -> None:
        """Level equations have no ``(… | group)``."""
        bar = node.inner if isinstance(node, Group) else node
        if isinstance(bar, Operation) and bar.operator in {"|", "||"}:
            raise self.fail("Level equations mark random coefficients by random, not by (… | group).", bar)

    def options(self, node: Syntax) -> Random:
        """``random(independent)``, ``random(block=2, covariance=diagonal)``."""
        if not isinstance(node, Call):
            return Random()
        words = [a.name if isinstance(a, Name) else "" for a in node.arguments]
        named = {key: _word(value) for key, value in node.options}
        if set(words) - {"independent"} or set(named) - {"block", "covariance"} or "" in named.values():
            raise self.fail("random takes independent, block=name and covariance=structure.", node)
        if words and named:
            raise self.fail(
                "An independent effect is a block of its own, of one variance; drop the other options.", node
            )
        return Random(None if words else named.get("block", ""), named.get("covariance"))


def _word(node: Syntax) -> str:
    if isinstance(node, Number):
        return f"{node.value:g}"
    return node.name if isinstance(node, Name) else ""
