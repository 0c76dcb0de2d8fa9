"""The quick start of docs/phrase_book.md runs as it is written."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from mlm_ops.cli.main import main
from tests.specification.examples import ROOT, blocks, printed_by


def test_the_commands_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    ((_, commands),) = blocks("phrase_book", "sh")
    for command in commands.splitlines():
        assert main(shlex.split(command)[1:]) == 0
    # lmer's slope of ses, reference case hsb_random_slope_raw
    assert "2.394" in capsys.readouterr().out


def test_the_python_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for _, code in blocks("phrase_book", "python"):
        printed_by(code, names)
    assert names["fit"].to_lme4().count("mathach ~ 1 + ses + (1 + ses | school)") == 1
