"""Every block of Python and SQL in docs/sql.md runs, in order, as a reader would run it."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from tests.specification.examples import ROOT, blocks, printed_by


def test_the_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    examples = blocks("sql", "python", "sql")
    assert {language for language, _ in examples} == {"python", "sql"}
    names: dict[str, Any] = {}
    try:
        for language, text in examples:
            if language == "python":
                printed_by(text, names)
                continue
            for statement in duckdb.extract_statements(text):
                rows = names["connection"].execute(statement).fetchall()
                assert rows, statement.query
    finally:
        names["connection"].close()
