"""Keep BLAS to one thread where its products are of a few long rows, in which threads wait for each other.

On a processor that is busy with other work such a product takes ten times as long on two threads as on one. Where
grouping factors cross, matrices are square and large, and BLAS has all the threads that it is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

_LOCK = Lock()
#: Rows that are not longer than this BLAS multiplies on one thread by itself.
_SHORT = 500
#: The limit in force, and how many blocks are inside it: the number of threads is the process's, and two fits of a
#: process may run at once.
_INSIDE: list[Any] = []


@contextmanager
def one_thread(length: int) -> Iterator[None]:
    """Run a block with one thread of BLAS; the last block that ends gives the others back.

    Parameters
    ----------
    length
        Of the rows.
    """
    if length <= _SHORT:
        yield
        return
    with _LOCK:
        _INSIDE.append(_libraries().limit(limits=1, user_api="blas") if not _INSIDE else None)
    try:
        yield
    finally:
        with _LOCK:
            limit = _INSIDE[0]
            _INSIDE.pop()
            if not _INSIDE:
                limit.restore_original_limits()


@cache
def _libraries() -> Any:
    """The BLAS libraries of this process, numpy's among them."""
    # here, as it looks through all that the process has loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
