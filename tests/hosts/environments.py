"""An environment of other packages than the tests' own, from the package index, for the groups that run on request."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = os.environ.get("UV") or shutil.which("uv")


def environment(folder: Path, *packages: str) -> Path:
    """Install the repository and these packages, and return the environment's Python."""
    if UV is None:
        pytest.skip("uv is not installed")
    python = folder / "environment" / "bin" / "python"
    for command in (
        (UV, "venv", "--quiet", "--python", sys.executable, folder / "environment"),
        (UV, "pip", "install", "--quiet", "--python", python, *packages),
    ):
        # elsewhere, where the repository's own versions do not hold
        process = subprocess.run(
            [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert process.returncode == 0, process.stderr
    return python


def lines_of(python: Path, script: str, folder: Path) -> list[str]:
    """Run a script there, and return the lines that it prints."""
    process = subprocess.run([str(python), "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()
