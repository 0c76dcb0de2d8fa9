"""The commands and the code of the README print what it says, pasted as they are."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.cli.main import main
from mlm_ops.plugins.duckdb import register
from tests.pipelines.conftest import Materialized

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", README, re.MULTILINE)]


def block(beginning: str) -> str:
    """The indented block that begins so."""
    (text,) = [text for text in BLOCKS if text.strip().startswith(beginning)]
    return text.strip()


def test_the_first_fit_prints_its_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    command, *lines = block("$ uv run mlm fit").splitlines()
    assert main(shlex.split(command)[4:]) == 0
    printed = capsys.readouterr().out
    for part in "\n".join(lines).split("…\n"):
        assert part.rstrip("…\n") in printed


def test_the_python_gives_what_it_says(tmp_path: Path) -> None:
    code = block("import mlm_ops").replace("pipelines/data", str(ROOT / "pipelines" / "data"))
    code = code.replace("two_slopes.svg", str(tmp_path / "two_slopes.svg"))
    *statements, last = code.splitlines()
    names: dict[str, Any] = {}
    exec("\n".join([*statements, "effects = " + last.replace(")   #", ").contextual   #")]), names)
    assert (tmp_path / "two_slopes.svg").read_text().startswith("<svg")
    effects = dict(names["effects"].select("means", "estimate").iter_rows())
    assert f"latent means: {effects['latent']:.2f}; observed ones give {effects['observed']:.2f}" in last


def test_the_select_and_the_analysis_file_run() -> None:
    with duckdb.connect() as connection:
        register(connection)
        connection.execute(f"create table students as from '{ROOT / 'pipelines' / 'data' / 'hsb.csv'}'")
        assert len(connection.sql(block("select term")).fetchall()) == 4
    assert list(parse_analysis(block("analysis: hsb")).models) == ["anova", "rancova", "slopes"]


def test_the_select_prints_its_rows(materialized: Materialized, tmp_path: Path) -> None:
    (command, shown) = re.findall(r"^    \$ uv run (python -c .*?\))\"\n(.*?)^$", README, re.MULTILINE | re.DOTALL)[0]
    (tmp_path / "warehouse").symlink_to(materialized.warehouse)
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} {command.removeprefix("python ")}"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if "│" in line]
    printed = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line]
    assert rows
    assert [row for row in rows if row not in printed] == []
