"""DuckDB files: opening one that may be busy, finding its table, replacing a published copy.

What can go wrong with a file is said here, as one sentence that names it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import duckdb

from mlm_ops.database_faults import first_line, holder, why_it_failed, why_not_opened
from mlm_ops.errors import DataError, StoreError
from mlm_ops.logs import Event, tell
from mlm_ops.sql_text import qualified

Connection = duckdb.DuckDBPyConnection
OnWait = Callable[[str], None]
Result = TypeVar("Result")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class _BusyError(Exception):
    """Another process is using the file; the message is the sentence's first half."""


def connect(
    path: Path | str, *, read_only: bool = False, wait: float = 30.0, on_wait: OnWait | None = None
) -> Connection:
    """Open the DuckDB file at `path`, waiting while another process has it open.

    Parameters
    ----------
    path
        Created, with its folder, unless `read_only`.
    wait
        Seconds to go on trying while the file is locked.
    on_wait
        Called once with a sentence that says who is being waited for.

    Raises
    ------
    StoreError
        The file is still locked, is no DuckDB database, or may not be read or written.
    """
    path = Path(path)
    if not read_only:
        _make_folder(path)
    _refuse_other_files(path)

    def attempt() -> Connection:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            if "set lock" in str(error):
                raise _BusyError(f"The database {path} is open in another process{holder(str(error))}") from error
            raise StoreError(why_not_opened(path, error)) from error

    return _patiently(attempt, wait, on_wait, remedy="Close it there, or try again when that process has ended.")


@contextmanager
def using(
    path: Path | str, *, read_only: bool = False, wait: float = 30.0, on_wait: OnWait | None = None
) -> Iterator[Connection]:
    """`connect` for the time of a block, and close whatever happens.

    Raises
    ------
    StoreError
        As `connect`; and where the disk is full, or the file turns out to be damaged, while the block works.
    """
    connection = connect(path, read_only=read_only, wait=wait, on_wait=on_wait)
    try:
        yield connection
    except duckdb.Error as error:
        sentence = why_it_failed(error)
        if sentence == first_line(error):
            raise
        raise StoreError(f"The database {path} cannot be used: {sentence}") from error
    finally:
        connection.close()


def _patiently(attempt: Callable[[], Result], wait: float, on_wait: OnWait | None, remedy: str) -> Result:
    """Repeat `attempt`, with growing pauses, as long as it says that the file is busy."""
    began = time.monotonic()
    deadline, pause, told, reason = began + wait, FIRST_PAUSE, False, ""
    while True:
        try:
            result = attempt()
            if reason:
                seconds = time.monotonic() - began
                tell(Event.WAITED, f"{reason}; waited {seconds:.2f} s for it.", seconds=seconds)
            return result
        except _BusyError as busy:
            reason = str(busy)
            left = deadline - time.monotonic()
            if left <= 0:
                raise StoreError(f"{busy}; waited {wait:g} s for it. {remedy}") from busy
            if on_wait is not None and not told:
                on_wait(f"{busy}; waiting up to {wait:.0f} s for it.")
                told = True
            time.sleep(min(pause, left))
            pause = min(1.5 * pause, LONGEST_PAUSE)


def _refuse_other_files(path: Path) -> None:
    """Refuse what is no DuckDB file: DuckDB 2.0 opens a CSV as a database in memory, and results would be lost."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return  # not there, or not to be read: DuckDB says which
    if start and not start[8:].startswith(b"DUCK"[: max(len(start) - 8, 0)]):
        raise StoreError(f"{path} is not a DuckDB database. Choose another file; this one was left as it is.")


def _make_folder(path: Path) -> None:
    """Create the folder of `path` where it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {path.parent} for {path.name} cannot be created: {error.strerror}. Choose another place."
        ) from error


def open_database(path: Path | str, table: str | None = None, *, wait: float = 30.0) -> tuple[Connection, str]:
    """Open a DuckDB file for fitting, read-only.

    Parameters
    ----------
    path
        The file.
    table
        May be left out when there is just one.
    wait
        Seconds to go on trying while the file is locked.

    Returns
    -------
    tuple
        A connection and the name of the table in it.

    Raises
    ------
    DataError, StoreError
        The file cannot be opened, or the table has to be named.
    """
    path = Path(path)
    connection = connect(path, read_only=True, wait=wait)
    return connection, table or _only_table(connection, path)


def _only_table(connection: Connection, path: Path) -> str:
    """Return the name of the one table or view in a database."""
    names = connection.execute(
        "select table_schema, table_name from information_schema.tables"
        " where table_catalog = current_database() and table_schema <> 'mlm' order by all"
    ).fetchall()
    if len(names) == 1:
        return qualified(*names[0])
    connection.close()
    found = ", ".join(".".join(name) for name in names) or "no tables at all"
    raise DataError(f"Which table of {path}? Got {found}. Name one with --table.")


@contextmanager
def replacing(destination: Path | str, *, wait: float = 30.0) -> Iterator[Path]:
    """Give a path to build a new version of `destination` at; put it in place when the block ends well.

    Readers that have the old file open keep it; no one ever sees half a file. When the block fails the old file stays
    and the new one is removed. One process at a time: the others wait.
    """
    destination = Path(destination)
    _make_folder(destination)
    building = destination.with_name(destination.name + ".building")
    with locked(destination, "replaced", wait):
        # A process that was killed here may have left its half behind.
        _remove(building)
        try:
            yield building
            _put_in_place(building, destination)
        finally:
            _remove(building)


def _put_in_place(building: Path, destination: Path) -> None:
    """Rename `building` to `destination`, on the disk before and after."""
    try:
        _sync(building)
        # The log of someone who wrote into the published copy belongs to the file that goes.
        destination.with_name(destination.name + ".wal").unlink(missing_ok=True)
        os.replace(building, destination)
        _sync(destination.parent)
    except OSError as error:
        raise StoreError(f"{destination} cannot be replaced: {error.strerror}.") from error


def _remove(database: Path) -> None:
    for path in (database, database.with_name(database.name + ".wal")):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the operating system write a file, or a folder's list of names, to the disk."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(destination: Path, doing: str, wait: float = 30.0) -> Iterator[None]:
    """Hold the lock file beside `destination`; the system lets go of it when the process dies.

    The file stays: whoever removed it could let two processes hold locks of one name. It is hidden, so that it does
    not look like something left over.
    """
    lock = destination.with_name(f".{destination.name}.lock")
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{destination} cannot be written: {error.strerror}. Choose another place.") from error

    def attempt() -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _BusyError(f"{destination} is being {doing} by another process") from error

    try:
        _patiently(attempt, wait, None, remedy="Try again when that process has ended.")
        yield
    finally:
        os.close(handle)


def is_reserved(word: str) -> bool:
    """Whether a word is one of DuckDB's own, which as a name has to stand in quotes."""
    asked = "select 1 from duckdb_keywords() where keyword_name = ? and keyword_category <> 'unreserved'"
    with duckdb.connect() as connection:
        return bool(connection.execute(asked, [word]).fetchall())
