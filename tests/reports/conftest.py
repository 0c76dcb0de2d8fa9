"""Each store is written once."""

from __future__ import annotations

import pytest

from tests.reports.stores import CASES, Store, write_store


@pytest.fixture(scope="session", params=CASES)
def store(request, tmp_path_factory) -> Store:
    """Every store in turn."""
    if request.param == "hsb":
        return request.getfixturevalue("hsb")
    return write_store(tmp_path_factory.mktemp(request.param), *CASES[request.param])


@pytest.fixture(scope="session")
def hsb(tmp_path_factory) -> Store:
    """The store of the shipped analysis."""
    return write_store(tmp_path_factory.mktemp("hsb"), *CASES["hsb"])
