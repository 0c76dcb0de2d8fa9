"""The text of a model -> tokens with their places."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlm_ops.errors import FormulaError

_TOKEN = re.compile(
    r"""[ \t\r]*(?:
      (?P<newline>\n|;)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>[^\W\d][\w.]*)
    | (?P<string>"[^"\n]*"|'[^'\n]*')
    | (?P<operator>=~|~~|:=|==|<~|~\*~|[~+*:()?,<>|/^%-])
    | (?P<other>\S)
    )""",
    re.VERBOSE,
)
COMMENT = re.compile(r"[#!][^\n]*")


@dataclass(frozen=True)
class Token:
    """A word, number, operator or end of a statement, and where it begins."""

    kind: str
    text: str
    position: int


def tokenize(text: str) -> list[Token]:
    """Tokens, without the newlines over which a statement goes on; comments are blanked, so that positions stay."""
    blanked = COMMENT.sub(lambda found: " " * len(found[0]), text)
    found: list[Token] = []
    depth = 0
    for match in _TOKEN.finditer(blanked):
        kind = match.lastgroup or "other"
        token = Token(kind, match[kind], match.start(kind))
        if kind == "other":
            raise fault(text, f"The model does not parse: unexpected character {token.text!r}.", token.position)
        depth += (token.text == "(") - (token.text == ")")
        goes_on = not found or found[-1].kind in {"newline"} or (found[-1].kind == "operator" and found[-1].text != ")")
        if kind == "newline" and (goes_on or depth > 0) and token.text == "\n":
            continue
        if kind == "operator" and token.text in {"+", "*"} and found and found[-1].kind == "newline":
            found.pop()
        found.append(token)
    end = len(blanked.rstrip())
    return [*found, Token("newline", "\n", end), Token("end", "", end)]


def fault(text: str, message: str, position: int) -> FormulaError:
    """An error that shows the line and a caret under the place."""
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].split("\n", 1)[0].rstrip()
    return FormulaError(message, line, min(position - start, len(line)))


def found(token: Token) -> str:
    """The token as a message names it."""
    if token.kind in {"newline", "end"}:
        return "the end of the line" if token.kind == "newline" else "the end of the model"
    return f"'{token.text}'"
