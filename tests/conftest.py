"""Hosts first: tests that start one take longest, and would run alone at the end. One thread a test; no uv."""

from __future__ import annotations

import os

import pytest

# The tests run on all cores already: matrix products that ask for a second one wait for it, most of all small ones.
# Here, as the workers inherit it before they import numpy.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# by it `uv run pytest` would have commands in messages begin with `uv run`
os.environ.pop("UV", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("hosts") is None)
