"""The quick start of docs/phrase_book.md runs as it is written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from mlm_ops.cli.main import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "phrase_book.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_commands_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    (commands,) = blocks("sh")
    for command in commands.splitlines():
        assert main(shlex.split(command)[1:]) == 0
    # lmer's slope of ses, reference case hsb_random_slope_raw
    assert "2.394" in capsys.readouterr().out


def test_the_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for block in blocks("python"):
        exec(block, names)
    assert names["fit"].to_lme4().count("mathach ~ 1 + ses + (1 + ses | school)") == 1
