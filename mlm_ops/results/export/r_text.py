"""Write names, texts and calls as R reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence

_RESERVED = frozenset(
    {
        "if",
        "else",
        "repeat",
        "while",
        "function",
        "for",
        "next",
        "break",
        "TRUE",
        "FALSE",
        "NULL",
        "Inf",
        "NaN",
        "NA",
        "in",
    }
)


def column(name: str) -> str:
    """``data$ses``."""
    return f"data${r_name(name)}"


def r_name(name: str) -> str:
    """A name, in backticks where R asks for them."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9._]*", name) and name not in _RESERVED:
        return name
    return "`" + _escaped(name).replace("`", "\\`") + "`"


def r_string(text: str) -> str:
    """A text in quotes."""
    return '"' + _escaped(text).replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """What may stand between quotes: control characters as Unicode escapes, which R does not mix with others."""
    line = text.replace("\\", "\\\\").replace("\n", "\\n")
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in line)


def call(function: str, arguments: Sequence[str]) -> str:
    """A call with one argument a line."""
    return f"{function}(\n  " + ",\n  ".join(arguments) + "\n)"
