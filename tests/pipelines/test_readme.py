"""README's look at the results prints what it says, pasted as it stands into a shell."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.pipelines.conftest import Materialized

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


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
