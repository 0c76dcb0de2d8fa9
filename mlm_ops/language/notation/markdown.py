"""Names and formulas inside Markdown, where they are text and nothing else."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """Text in one line that makes no table, emphasis, code, tag, link or picture."""
    text = " ".join(text.splitlines())
    for character in "\\|*`":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "&lt;").replace("](", "]\\(")


def span(text: str) -> str:
    """A code span in one line, also of text with backticks."""
    text = " ".join(text.splitlines())
    ticks = "`" * (_longest_run(text) + 1)
    return f"{ticks} {text} {ticks}" if "`" in text else f"`{text}`"


def fenced(text: str, language: str = "") -> str:
    """A block of code, also of text with fences."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
