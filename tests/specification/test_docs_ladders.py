"""The Python of the pages on ladders, diagnostics, assumptions and pictures runs, in order, as a reader runs it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.specification.examples import ROOT, blocks, printed_by


@pytest.mark.parametrize("page", ["ladders", "diagnostics", "assumptions", "pictures"])
def test_the_examples_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    printed = ""
    for language, text in blocks(page, "python", "yaml"):
        if language == "yaml":
            names["text"] = text
        else:
            printed += printed_by(text, names)
    expected = {
        "ladders": ("build_up_1", "between(ses)", "taken"),
        "diagnostics": ("normality", "spread"),
        "assumptions": (
            "condition_number",
            "47.762347",
            "47.310264",
            "HC3",
            "[2.41661",
            "1.091996",
        ),
        "pictures": ("Does ses work alike", "differ by 2.19 (95% interval 1.98 to 2.40)"),
    }[page]
    assert all(word in printed for word in expected)
