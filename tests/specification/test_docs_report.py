"""The commands and options of docs/report.md are those that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mlm_ops.cli import main as cli
from mlm_ops.cli.parser import command_parser

PAGE = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")


def test_the_options_are_those_of_the_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["report", "--help"])
    known = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) == known


def test_every_command_is_understood():
    for line in re.findall(r"^    mlm (report.*)$", PAGE, re.MULTILINE):
        arguments = line.partition("#")[0].split()
        assert command_parser().parse_args(arguments).command == "report"
