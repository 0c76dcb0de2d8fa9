"""Examples of the pages in docs/: their blocks of code, run in order as a reader would run them."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: A language and a text, such as ("python", "fit = ...").
Block = tuple[str, str]


def page(name: str) -> str:
    """The text of a page of docs/."""
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def blocks(name: str, *languages: str) -> list[Block]:
    """The blocks of code of a page of docs/, of all languages or of these."""
    pairs = re.findall(r"^```(\w+)\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in pairs if not languages or language in languages]


def printed_by(code: str, names: dict[str, Any]) -> str:
    """Run Python with these names, which it adds to, and return what it prints."""
    target = io.StringIO()
    with redirect_stdout(target):
        exec(code, names)
    return target.getvalue()


def check_printed(pairs: Iterable[Block]) -> None:
    """Run blocks of Python that are each followed by a text, which has to be what is printed."""
    listed = list(pairs)
    assert listed
    assert [language for language, _ in listed] == ["python", "text"] * (len(listed) // 2)
    names: dict[str, Any] = {}
    for (_, code), (_, text) in zip(listed[::2], listed[1::2], strict=True):
        assert printed_by(code, names) == text
