"""Every block of Python and SQL in docs/sql.md runs, in order, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import duckdb
import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(python|sql)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = _BLOCK.findall((ROOT / "docs" / "sql.md").read_text(encoding="utf-8"))
    assert {language for language, _ in blocks} == {"python", "sql"}
    names: dict[str, Any] = {}
    try:
        for language, text in blocks:
            if language == "python":
                exec(text, names)
                continue
            for statement in duckdb.extract_statements(text):
                rows = names["connection"].execute(statement).fetchall()
                assert rows, statement.query
    finally:
        names["connection"].close()
