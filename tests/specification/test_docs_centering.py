"""The command of docs/centering.md prints what stands below it."""

from __future__ import annotations

import shlex

import pytest

from mlm_ops.cli.main import main
from tests.specification.examples import ROOT, blocks


def test_what_the_command_prints(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    pairs = blocks("centering", "sh", "text")
    assert [language for language, _ in pairs] == ["sh", "text"]
    (_, command), (_, text) = pairs
    program, *arguments = shlex.split(command)
    assert program == "mlm"
    assert main(arguments) == 0
    assert capsys.readouterr().out == text
