"""Long thin products run on one thread of BLAS, and the process has its threads back afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from mlm_ops.estimation.threads import one_thread


def in_use() -> set[int]:
    """How many threads numpy's BLAS would take now."""
    libraries = ThreadpoolController().select(user_api="blas").info()
    return {library["num_threads"] for library in libraries if "numpy" in library["filepath"]}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Two threads, whatever the tests' own environment says."""
    assert np.ones(2) @ np.ones(2) == 2  # numpy is loaded
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        yield


def test_one_thread_inside_and_two_after() -> None:
    with one_thread(10_000):
        assert in_use() == {1}
    assert in_use() == {2}


def test_short_rows_leave_the_threads_alone() -> None:
    with one_thread(500):
        assert in_use() == {2}


def test_an_error_gives_the_threads_back() -> None:
    with pytest.raises(ValueError, match="no"), one_thread(10_000):
        raise ValueError("no")
    assert in_use() == {2}


def test_of_two_blocks_at_once_the_first_gives_the_threads_back() -> None:
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with one_thread(10_000):
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with one_thread(10_000):
        other.start()
        inside.wait(10)
        with one_thread(10_000):
            assert in_use() == {1}
        assert in_use() == {1}
    assert in_use() == {2}
    leave.set()
    other.join()
    assert in_use() == {2}
