"""Keep Dagster's event log open during a run, instead of opening its SQLite database again for every event.

Dagster opens and closes the database some thirty times a step, and SQLite waits for the disk at every commit and, as
the last connection closes, copies its write-ahead log into the database. With one connection for the whole run nothing
is copied before its end, and commits are not waited for: a power cut may take the last events of a log, and never its
soundness.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import dagster as dg
import sqlalchemy
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy.pool import StaticPool

#: Seconds to wait while another process, such as the web server, writes to the database.
WAIT = 30.0
#: Private attributes of Dagster's storage. A class of storage named in dagster.yaml would override the same method, and
#: take the place of a storage that the user names there.
_RELIED_ON = ("_connect", "_db_lock")


@contextmanager
def open_event_log(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep the event log of an instance open in a block.

    One that is not of SQLite is left as it is, and so is that of a Dagster whose storage no longer has the private
    method and lock that are relied on: it is then opened for every event.
    """
    storage = instance.event_log_storage
    if type(storage) is not SqliteEventLogStorage or not all(hasattr(storage, name) for name in _RELIED_ON):
        yield
        return
    with ExitStack() as connections:
        # in place of the method, on this object alone
        vars(storage)["_connect"] = _connect(storage, connections)
        try:
            yield
        finally:
            del vars(storage)["_connect"]


def _connect(
    storage: SqliteEventLogStorage, connections: ExitStack
) -> Callable[[str], AbstractContextManager[sqlalchemy.Connection]]:
    """The storage's own method, with connections that are closed when `connections` are."""
    first_connect = storage._connect
    by_shard: dict[str, sqlalchemy.Connection] = {}

    def opened(shard: str) -> sqlalchemy.Connection:
        # makes the database and its tables where there are none yet
        with first_connect(shard):
            pass
        engine = sqlalchemy.create_engine(
            storage.conn_string_for_shard(shard),
            poolclass=StaticPool,
            connect_args={"timeout": WAIT, "check_same_thread": False},
        )
        connections.callback(engine.dispose)
        connection = connections.enter_context(engine.connect())
        connection.exec_driver_sql("pragma synchronous = normal")
        connection.rollback()
        return connection

    @contextmanager
    def connect(shard: str) -> Iterator[sqlalchemy.Connection]:
        if shard not in by_shard:
            by_shard[shard] = opened(shard)
        with storage._db_lock, by_shard[shard].begin():
            yield by_shard[shard]

    return connect
