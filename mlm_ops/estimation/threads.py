"""Keep BLAS to one thread where its products are of a few long rows, in which threads wait for each other.

On a machine that is busy with other work, a fit of twenty predictors in 2,000 groups took six times the processor time
on two threads that it took on one. Where grouping factors cross, matrices are square and large, and BLAS has all the
threads that it is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

#: For rows that are not longer than this the first look at the libraries, some 15 ms, costs more than it saves.
_SHORT = 500
#: Held by the block that has set the limit, which is the process's: blocks inside it or beside it leave it alone.
_LIMIT = Lock()


@contextmanager
def one_thread(length: int) -> Iterator[None]:
    """Run a block with one thread of BLAS; of blocks that run at once the first sets the limit, and ends it.

    Parameters
    ----------
    length
        Of the rows.
    """
    if length <= _SHORT or not _LIMIT.acquire(blocking=False):
        yield
        return
    try:
        with _libraries().limit(limits=1, user_api="blas"):
            yield
    finally:
        _LIMIT.release()


@cache
def _libraries() -> Any:
    """The BLAS libraries that this process has loaded when it first fits, numpy's among them."""
    # lazily, as only long rows need it
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
