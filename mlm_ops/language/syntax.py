"""Text -> syntax tree of a formula, with the place of every node, so that errors can point at it.

The grammar is that of R's formulas with lme4's bars; precedence from loose to tight: ``| ||``, ``+ -``, ``* /``,
``:``, ``^ **``. Names that are no identifiers stand in backticks.

Why not a library: importing formulaic imports pandas, 1.4 s of the 3 s a first fit may take, and its errors cannot
point into the text. It stays in the tests as the oracle of `mlm_ops.language.formula`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mlm_ops.errors import FormulaError

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>[^\W\d][\w.]*)
    | `(?P<quoted>(?:[^`]|``)+)`
    | (?P<string>"[^"]*"|'[^']*')
    | (?P<operator>\*\*|\|\||[-~+*/:^|(),=])
    )""",
    re.VERBOSE,
)
_BINDING = {"|": 1, "||": 1, "+": 2, "-": 2, "*": 3, "/": 3, ":": 4, "^": 6, "**": 6}
_MAX_DEPTH = 50
#: Operators in a row below a sum's top: more would overflow the stack, and no formula needs them.
_MAX_CHAIN = 100
#: What to do about a token that stands where a sum could go on.
_OUT_OF_PLACE = {
    ")": "no '(' before it is open; remove it or open one",
    "~": "a formula has one ~; remove this one",
    "=": "an equals sign stands only in a function's options, as in center(x, at=50)",
    ",": "a comma stands only between a function's arguments; join terms with +",
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
class Text:
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
    """``( inner )``: kept, because lme4's bars stand in parentheses."""

    inner: Syntax
    position: int = field(compare=False)


Syntax = Name | Number | Text | Operation | Call | Group


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


def parse_sides(text: str) -> tuple[Syntax, Syntax]:
    """Parse ``outcome ~ right-hand side``.

    Raises
    ------
    FormulaError
        With a caret under the place where the text stops making sense.
    """
    if not text.strip():
        raise FormulaError("The formula is empty; write outcome ~ predictors + (1 | group).")
    parser = _Parser(text)
    if parser.token.text == "~":
        raise parser.fail("The outcome before the ~ is missing; write outcome ~ predictors.")
    left = parser.expression(0)
    if parser.token.text == "=":
        raise parser.fail("A formula has ~ between the outcome and its predictors, not =; use ~.")
    parser.expect("~", "a formula has the form outcome ~ predictors")
    if parser.token.kind == "end":
        raise parser.fail("The predictors after the ~ are missing; write ~ 1 for an intercept alone.")
    right = parser.expression(0)
    parser.expect_end()
    return left, right


def parse_expression(text: str) -> Syntax:
    """Parse one expression, such as the predictors of a level equation."""
    parser = _Parser(text)
    result = parser.expression(0)
    parser.expect_end()
    return result


class _Parser:
    """Precedence climbing over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokenize(text)
        self.index = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.index]

    def advance(self) -> _Token:
        token = self.token
        self.index += 1
        return token

    def fail(self, message: str, position: int | None = None) -> FormulaError:
        return FormulaError(message, self.text, self.token.position if position is None else position)

    def expect(self, operator: str, why: str) -> None:
        if self.token.text != operator or self.token.kind != "operator":
            raise self.fail(f"The formula does not parse: expected '{operator}' but found {_found(self.token)}; {why}.")
        self.advance()

    def expect_end(self) -> None:
        if self.token.kind != "end":
            what = "join terms with +, : or *"
            if self.token.kind == "operator":
                what = _OUT_OF_PLACE.get(self.token.text, what)
            raise self.fail(f"The formula does not parse: {_found(self.token)} is out of place here; {what}.")

    def expression(self, binding: int) -> Syntax:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.fail(f"The formula is nested more than {_MAX_DEPTH} levels deep.")
        left = self.operand()
        chain = 0
        while self.token.kind == "operator" and _BINDING.get(self.token.text, 0) > binding:
            operator = self.advance()
            chain += operator.text not in "+-" or self.depth > 2
            if chain > _MAX_CHAIN:
                raise self.fail(f"The formula joins more than {_MAX_CHAIN} parts here; split it.", operator.position)
            if operator.text in {"|", "||"} and self.token.text == ")":
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
            return Number(float(token.text), token.position)
        if token.kind == "string":
            return Text(token.text, token.position)
        if token.kind == "quoted":
            return Name(token.text, token.position)
        if token.kind == "name":
            return self.call(token) if self.token.text == "(" else Name(token.text, token.position)
        if token.text in {"+", "-"} and token.kind == "operator":
            return Operation(token.text, None, self.expression(_BINDING["+"]), token.position)
        if token.text == "(" and token.kind == "operator":
            inner = self.expression(0)
            self.expect(")", f"the parenthesis opened at column {token.position + 1} is not closed")
            return Group(inner, token.position)
        if token.text in {"|", "||"} and token.kind == "operator":
            raise self.fail("The terms before the bar are missing; write (1 | group) or (x | group).", token.position)
        raise self.fail(
            f"The formula does not parse: expected a column, a number or '(' but found {_found(token)}.", token.position
        )

    def call(self, name: _Token) -> Call:
        self.advance()
        arguments: list[Syntax] = []
        options: list[tuple[str, Syntax]] = []
        while self.token.text != ")":
            following = self.tokens[min(self.index + 1, len(self.tokens) - 1)]
            if self.token.kind == "name" and following.text == "=":
                key = self.advance().text
                self.advance()
                options.append((key, self.expression(0)))
            else:
                arguments.append(self.expression(0))
            if self.token.text != ",":
                break
            self.advance()
        self.expect(")", f"the parenthesis of {name.text}( is not closed")
        return Call(name.text, tuple(arguments), tuple(options), name.position)


def _tokenize(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    end = len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.lastgroup is None:
            while text[position].isspace():
                position += 1
            hint = "put unusual column names in backticks"
            if text[position] in "`'\"":
                hint = "close the quotation mark" if text[position] != "`" else "close the backtick"
                hint = "a column's name stands between backticks" if text.startswith("``", position) else hint
            raise FormulaError(
                f"The formula does not parse: unexpected character {text[position]!r}; {hint}.", text, position
            )
        kind, value = match.lastgroup, match.group(match.lastgroup)
        if kind == "string":
            value = value[1:-1]
        if kind == "quoted":
            value = value.replace("``", "`")
        start = match.start(match.lastgroup) - (kind == "quoted")
        tokens.append(_Token(kind, value, start))
        position = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


def _found(token: _Token) -> str:
    return "the end of the formula" if token.kind == "end" else f"'{token.text}'"
