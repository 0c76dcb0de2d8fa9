"""Cut the text of formulas and structural models into tokens, in time proportional to its length.

One scanner reads both languages, each by its `Grammar`. Each token is matched where the one before ends, so that a run
of blanks or comment signs is read once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mlm_ops.errors import FormulaError
from mlm_ops.language.other_programs import sign_here

_NUMBER = r"(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_NAME = r"(?P<name>[^\W\d][\w.]*)"
_QUOTED = r"`(?P<quoted>(?:[^`]|``)+)`"


@dataclass(frozen=True)
class Token:
    """A word, number, operator or end of a statement, and where it begins."""

    kind: str
    text: str
    position: int


@dataclass(frozen=True)
class Grammar:
    """The tokens of a language.

    Attributes
    ----------
    what
        The name of a text in messages.
    blank
        Blanks and comments, which separate tokens.
    token
        The tokens; the name of the group that matches is a token's kind.
    hint
        The remedy for a character that begins no token.
    by_line
        Whether a message shows one line of the text, not all of it.
    """

    what: str
    blank: re.Pattern[str]
    token: re.Pattern[str]
    hint: str = ""
    by_line: bool = False

    def fault(self, message: str, text: str, position: int) -> FormulaError:
        """Return an error that shows the text, or its line, with a caret under the position."""
        if not self.by_line:
            return FormulaError(message, text, position)
        start = text.rfind("\n", 0, position) + 1
        line = text[start:].split("\n", 1)[0].rstrip()
        return FormulaError(message, line, min(position - start, len(line)))

    def number(self, token: Token, text: str) -> float:
        """Return the value of a number.

        Raises
        ------
        FormulaError
            It is larger than a double can be.
        """
        value = float(token.text)
        if math.isinf(value):
            raise self.fault("A number is too large. Expected one below 1.8e308.", text, token.position)
        return value


FORMULA = Grammar(
    "formula",
    re.compile(r"\s*"),
    re.compile(rf"{_NUMBER}|{_NAME}|{_QUOTED}|(?P<string>\"[^\"]*\"|'[^']*')|(?P<operator>\*\*|\|\||[-~+*/:^|(),=])"),
    "; put unusual column names in backticks",
)
COMMENT = re.compile(r"[#!][^\n]*")
#: lavaan's: statements end with the line or a semicolon, and run to the comment that begins with # or !.
STRUCTURAL = Grammar(
    "model",
    re.compile(r"(?:[^\S\n]+|[#!][^\n]*)*"),
    re.compile(
        rf"(?P<newline>\n|;)|{_NUMBER}|{_NAME}|(?P<string>\"[^\"\n]*\"|'[^'\n]*')"
        r"|(?P<operator>=~|~~|:=|==|<~|~\*~|\*\*|[~+*:()?,<>|/^%-])"
    ),
    by_line=True,
)


def tokenize(text: str, grammar: Grammar) -> list[Token]:
    """Cut a text into tokens; the last is of kind ``end``.

    Raises
    ------
    FormulaError
        A character that begins no token.
    """
    tokens: list[Token] = []
    position = _past(grammar.blank, text, 0)
    while position < len(text):
        match = grammar.token.match(text, position)
        if match is None or match.lastgroup is None:
            message = f"The {grammar.what} does not parse: unexpected character {text[position]!r}"
            raise grammar.fault(f"{message}{_hint(text, position, grammar)}", text, position)
        kind, value = match.lastgroup, match[match.lastgroup]
        if kind == "string":
            value = value[1:-1]
        elif kind == "quoted":
            value = value.replace("``", "`")
        tokens.append(Token(kind, value, position))
        position = _past(grammar.blank, text, match.end())
    return [*tokens, Token("end", "", len(text))]


def _past(blank: re.Pattern[str], text: str, position: int) -> int:
    match = blank.match(text, position)
    return match.end() if match is not None else position


def _hint(text: str, position: int, grammar: Grammar) -> str:
    sign = sign_here(text[position:])
    if sign:
        return f".{sign}"
    if grammar is not FORMULA or text[position] not in "`'\"":
        return f"{grammar.hint}."
    if text[position] != "`":
        return "; close the quotation mark."
    return "; put a column's name between backticks." if text.startswith("``", position) else "; close the backtick."


def is_plain_name(name: str) -> bool:
    """Whether a column's name is a word that formulas have without backticks."""
    return re.fullmatch(_NAME, name) is not None


def quoted_name(name: str) -> str:
    """Write a column's name in backticks.

    >>> quoted_name("job satisfaction")
    '`job satisfaction`'
    """
    return "`" + name.replace("`", "``") + "`"


def column_at(text: str, position: int, columns: Iterable[str]) -> str | None:
    """The longest name of a column that needs backticks and stands at a place of a formula without them.

    >>> column_at("job satisfaction ~ x", 4, ["x", "satisfaction", "job satisfaction"])
    'job satisfaction'
    """
    for name in sorted((name for name in columns if not is_plain_name(name)), key=len, reverse=True):
        if 0 <= text.find(name, max(0, position - len(name))) <= position:
            return name
    return None


class TokenCursor:
    """A place in the tokens of one text, for a parser to read on from."""

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.index = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.index]

    def at(self, *operators: str) -> bool:
        """Tell whether one of these operators is next; a quoted string that looks like it is none."""
        return self.token.kind == "operator" and self.token.text in operators

    def advance(self) -> Token:
        """Return the next token, and move behind it."""
        token = self.token
        self.index += 1
        return token
