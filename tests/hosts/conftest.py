"""The Dagster project of another: a copy for each test, loaded as Dagster loads it."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

PROJECT = Path(__file__).parent / "dagster_project"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "shop"
    shutil.copytree(PROJECT, root, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(str(root / "src"))
    yield root
    for name in [name for name in sys.modules if name == "shop" or name.startswith("shop.")]:
        del sys.modules[name]


@pytest.fixture
def load(project: Path) -> Callable[[], dg.Definitions]:
    def load_definitions() -> dg.Definitions:
        attribute = importlib.import_module("shop.definitions").defs
        return attribute() if callable(attribute) else attribute

    return load_definitions
