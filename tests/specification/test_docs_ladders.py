"""The Python of docs/ladders.md, docs/diagnostics.md and docs/pictures.md runs, in order, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["ladders", "diagnostics", "pictures"])
def test_the_examples_run(page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for language, text in _BLOCK.findall((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")):
        if language == "yaml":
            names["text"] = text
        else:
            exec(text, names)
    printed = capsys.readouterr().out
    expected = {
        "ladders": ("build_up_1", "between(ses)", "taken"),
        "diagnostics": ("normality", "spread"),
        "pictures": ("Does ses work alike", "differ by 2.19 (95% interval 1.98 to 2.40)"),
    }[page]
    assert all(word in printed for word in expected)
