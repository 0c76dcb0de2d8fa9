"""Parse formulas and arithmetic into syntax trees; each node has its position, so that errors can point at it.

The grammar is R's, with lme4's bars; precedence from loose to tight: ``| ||``, ``+ -``, ``* /``, ``:``, a sign,
``^ **``. The definitions of structural models are parsed by the same rules, over their own tokens. Unusual names stand
in backticks.

Why not a library: importing formulaic imports pandas, 1.4 s of the 3 s a first fit may take, and its errors cannot
point into the text. The tests compare `mlm_ops.language.formula` with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mlm_ops.errors import FormulaError
from mlm_ops.language.tokens import FORMULA, Grammar, Token, TokenCursor, quoted_name, tokenize

#: How tightly operators bind, loosest first; only the power joins from the right.
_BINDING = {"|": 1, "||": 1, "+": 2, "-": 2, "*": 3, "/": 3, ":": 4, "^": 6, "**": 6}
#: A sign binds what follows it tighter than a product and looser than a power: -2^2 is -4, and 2^-1*a is (2^-1)*a.
_SIGN = 5
#: The operators of arithmetic, in ``I()``, functions and definitions.
ARITHMETIC = ("+", "-", "*", "/", "**")
FUNCTIONS = ("log", "exp", "sqrt", "abs")
_MAX_DEPTH = 50
#: The most operators in a row, ``+`` and ``-`` outside parentheses aside: more would overflow the stack.
_MAX_CHAIN = 100
#: What to do about an operator that cannot follow an expression.
_OUT_OF_PLACE = {
    ")": "no '(' before it is open; remove it or open one",
    "~": "a formula has one ~; remove this one",
    "=": "an equals sign is allowed only in a function's options, as in center(x, at=50)",
    ",": "a comma is allowed only between a function's arguments; join terms with +",
}


@dataclass(frozen=True)
class Name:
    """A column."""

    name: str
    position: int = field(compare=False)


@dataclass(frozen=True)
class Number:
    """A number."""

    value: float
    position: int = field(compare=False)


@dataclass(frozen=True)
class TextLiteral:
    """A quoted string, as in ``C(x, ref='b')``."""

    value: str
    position: int = field(compare=False)


@dataclass(frozen=True)
class Operation:
    """``left operator right``; a sign has no left side."""

    operator: str
    left: Syntax | None
    right: Syntax
    position: int = field(compare=False)


@dataclass(frozen=True)
class Call:
    """``function(arguments, key=value)``."""

    function: str
    arguments: tuple[Syntax, ...]
    options: tuple[tuple[str, Syntax], ...]
    position: int = field(compare=False)


@dataclass(frozen=True)
class Group:
    """``( inner )``; a node of its own, because lme4's bars stand in parentheses."""

    inner: Syntax
    position: int = field(compare=False)


Syntax = Name | Number | TextLiteral | Operation | Call | Group


def parse_sides(text: str) -> tuple[Syntax, Syntax]:
    """Parse ``outcome ~ right-hand side``.

    Raises
    ------
    FormulaError
        With a caret under the place where the text stops making sense.
    """
    if not text.strip():
        raise FormulaError("The formula is empty; write outcome ~ predictors + (1 | group).")
    parser = _FormulaParser(text, tokenize(text, FORMULA))
    if parser.at("~"):
        raise parser.fail("The outcome before the ~ is missing; write outcome ~ predictors.")
    left = parser.expression(0)
    if parser.at("="):
        raise parser.fail("A formula has ~ between the outcome and its predictors, not =; use ~.")
    parser.expect("~", "a formula has the form outcome ~ predictors")
    if parser.token.kind == "end":
        raise parser.fail("The predictors after the ~ are missing; write ~ 1 for an intercept alone.")
    right = parser.expression(0)
    parser.expect_end()
    return left, right


def parse_expression(text: str) -> Syntax:
    """Parse one expression, such as the predictors of a level equation."""
    parser = _FormulaParser(text, tokenize(text, FORMULA))
    result = parser.expression(0)
    parser.expect_end()
    return result


def parse_tokens(text: str, tokens: list[Token], grammar: Grammar) -> Syntax:
    """Parse the arithmetic of a statement from its tokens.

    Parameters
    ----------
    text
        The text that the tokens' positions refer to.
    tokens
        The tokens of the expression alone, and one of kind ``end``.
    """
    parser = _FormulaParser(text, tokens, grammar, long_sums=False)
    result = parser.expression(0)
    parser.expect_end()
    return result


def names_in(arithmetic: Syntax) -> Iterator[str]:
    """Yield the names in an arithmetic expression."""
    for node in _nodes(arithmetic):
        if isinstance(node, Name):
            yield node.name


def no_arithmetic(expression: Syntax) -> Syntax | None:
    """Return the first part of an expression that is no arithmetic of names and numbers; None if all is."""
    for node in _nodes(expression):
        match node:
            case Name() | Number() | Group():
                pass
            case Operation(operator, _, _, _) if operator in ARITHMETIC:
                pass
            case Call(function, (_,), (), _) if function in FUNCTIONS:
                pass
            case _:
                return node
    return None


def _nodes(expression: Syntax) -> Iterator[Syntax]:
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        match node:
            case Operation(_, left, right, _):
                stack += [right, *([left] if left is not None else [])]
            case Group(inner, _):
                stack.append(inner)
            case Call(_, arguments, options, _):
                stack += [*reversed(arguments), *(value for _, value in options)]


class _FormulaParser(TokenCursor):
    """Parses the tokens of one text by precedence climbing; with `long_sums`, sums outside () have any length."""

    def __init__(self, text: str, tokens: list[Token], grammar: Grammar = FORMULA, *, long_sums: bool = True) -> None:
        super().__init__(text, tokens)
        self.grammar, self.what = grammar, grammar.what
        self.long_sums = long_sums
        self.depth = 0
        self.enclosed = 0

    def fail(self, message: str, position: int | None = None) -> FormulaError:
        return self.grammar.fault(message, self.text, self.token.position if position is None else position)

    def out_of_place(self, what: str) -> FormulaError:
        """The error of a token that cannot follow the one before; two words in a row may be meant as one name."""
        error = self.fail(f"The {self.what} does not parse: {what}.")
        if self.grammar is FORMULA and (words := self.words_in_a_row()):
            hint = f" If {words!r} is one column, write it in backticks: {quoted_name(words)}."
            return FormulaError(error.sentence, error.text, error.position, hint)
        return error

    def words_in_a_row(self) -> str | None:
        """The words around the place that only blanks part, as the text has them; None if there are not two."""
        spans = [(token.position, token.position + len(token.text)) for token in self.tokens]

        def is_next(i: int) -> bool:
            between = self.text[spans[i][1] : spans[i + 1][0]]
            return all(self.tokens[j].kind in {"name", "number"} for j in (i, i + 1)) and "\n" not in between

        first = last = self.index
        while first > 0 and is_next(first - 1):
            first -= 1
        if first == last:
            return None
        while is_next(last):
            last += 1
        return self.text[spans[first][0] : spans[last][1]]

    def token_text(self, token: Token) -> str:
        return f"the end of the {self.what}" if token.kind == "end" else f"'{token.text}'"

    def expect(self, operator: str, why: str) -> None:
        if not self.at(operator):
            raise self.out_of_place(f"expected '{operator}' but found {self.token_text(self.token)}; {why}")
        self.advance()

    def expect_end(self) -> None:
        if self.token.kind != "end":
            what = "join terms with +, : or *"
            if self.token.kind == "operator":
                what = _OUT_OF_PLACE.get(self.token.text, what)
            raise self.out_of_place(f"{self.token_text(self.token)} is out of place here; {what}")

    def expression(self, binding: int) -> Syntax:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.fail(f"The {self.what} is nested more than {_MAX_DEPTH} levels deep.")
        left = self.operand()
        chain = 0
        while self.token.kind == "operator" and _BINDING.get(self.token.text, 0) > binding:
            operator = self.advance()
            chain += operator.text not in "+-" or self.enclosed > 0 or not self.long_sums
            if chain > _MAX_CHAIN:
                raise self.fail(
                    f"The {self.what} joins more than {_MAX_CHAIN} parts here; split it.", operator.position
                )
            if operator.text in {"|", "||"} and self.at(")"):
                raise self.fail("The grouping factor after the bar is missing; write (1 | group) or (x | group).")
            # the power operator is right-associative, all others left-associative
            tightness = _BINDING[operator.text]
            right = self.expression(tightness - 1 if operator.text in {"^", "**"} else tightness)
            left = Operation("**" if operator.text == "^" else operator.text, left, right, operator.position)
        self.depth -= 1
        return left

    def operand(self) -> Syntax:
        token = self.advance()
        if token.kind == "number":
            return Number(self.grammar.number(token, self.text), token.position)
        if token.kind == "string":
            return TextLiteral(token.text, token.position)
        if token.kind == "quoted":
            return Name(token.text, token.position)
        if token.kind == "name":
            return self.call(token) if self.at("(") else Name(token.text, token.position)
        if token.text in {"+", "-"} and token.kind == "operator":
            return Operation(token.text, None, self.expression(_SIGN), token.position)
        if token.text == "(" and token.kind == "operator":
            self.enclosed += 1
            inner = self.expression(0)
            self.enclosed -= 1
            self.expect(")", f"the parenthesis opened at column {token.position + 1} is not closed")
            return Group(inner, token.position)
        if token.text in {"|", "||"} and token.kind == "operator":
            raise self.fail("The terms before the bar are missing; write (1 | group) or (x | group).", token.position)
        raise self.fail(
            f"The {self.what} does not parse: expected a column, a number or '(' but found {self.token_text(token)}.",
            token.position,
        )

    def call(self, name: Token) -> Call:
        self.advance()
        self.enclosed += 1
        arguments: list[Syntax] = []
        options: list[tuple[str, Syntax]] = []
        while not self.at(")"):
            following = self.tokens[min(self.index + 1, len(self.tokens) - 1)]
            if self.token.kind == "name" and (following.kind, following.text) == ("operator", "="):
                key = self.advance().text
                self.advance()
                options.append((key, self.expression(0)))
            else:
                arguments.append(self.expression(0))
            if not self.at(","):
                break
            self.advance()
        self.enclosed -= 1
        self.expect(")", f"the parenthesis of {name.text}( is not closed")
        return Call(name.text, tuple(arguments), tuple(options), name.position)
