"""DuckDB files: opening one that may be busy, finding its table.

What can go wrong with a file is said here, as one sentence that names it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import duckdb

from mlm_ops.errors import DamagedError, DataError, MlmError, StoreError
from mlm_ops.logs import Event, tell
from mlm_ops.warehouse.faults import first_line, lock_holder, is_damage, error_class, why_it_failed, why_not_opened
from mlm_ops.warehouse.sql import qualified

Connection = duckdb.DuckDBPyConnection
OnWait = Callable[[str], None]
Result = TypeVar("Result")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


class BusyError(Exception):
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
        make_folder(path)
    _refuse_other_files(path)

    def attempt() -> Connection:
        try:
            return duckdb.connect(str(path), read_only=read_only)
        except duckdb.Error as error:
            if "set lock" in str(error):
                raise BusyError(f"The database {path} is open in another process{lock_holder(str(error))}") from error
            raise error_class(error)(why_not_opened(path, error)) from error

    return retry_while_busy(attempt, wait, on_wait, remedy="Close it there, or try again when that process has ended.")


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
    except MlmError as error:
        if isinstance(error, DamagedError) or not is_damage(error):
            raise
        # whatever room met it: the damage is the fault to tell
        raise DamagedError(str(error)) from error
    except duckdb.Error as error:
        sentence = why_it_failed(error)
        if sentence == first_line(error):
            raise
        raise error_class(error)(f"The database {path} cannot be used: {sentence}") from error
    finally:
        connection.close()


def retry_while_busy(attempt: Callable[[], Result], wait: float, on_wait: OnWait | None, remedy: str) -> Result:
    """Repeat `attempt`, with growing pauses, as long as it says that the file is busy."""
    start = time.monotonic()
    deadline, pause, is_announced, reason = start + wait, FIRST_PAUSE, False, ""
    while True:
        try:
            result = attempt()
            if reason:
                seconds = time.monotonic() - start
                tell(Event.WAITED, f"{reason}; waited {seconds:.2f} s for it.", seconds=seconds)
            return result
        except BusyError as busy:
            reason = str(busy)
            seconds_left = deadline - time.monotonic()
            if seconds_left <= 0:
                raise StoreError(f"{busy}; waited {wait:g} s for it. {remedy}") from busy
            if on_wait is not None and not is_announced:
                on_wait(f"{busy}; waiting up to {wait:.0f} s for it.")
                is_announced = True
            time.sleep(min(pause, seconds_left))
            pause = min(1.5 * pause, LONGEST_PAUSE)


def is_database_file(path: Path) -> bool:
    """Whether a file begins as DuckDB's do; one that is empty, missing or not to be read may."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return True  # DuckDB says which
    return not start or start[8:].startswith(b"DUCK"[: max(len(start) - 8, 0)])


def _refuse_other_files(path: Path) -> None:
    """Refuse what is no DuckDB file: DuckDB 2.0 opens a CSV as a database in memory, and results would be lost."""
    if not is_database_file(path):
        raise StoreError(f"{path} is not a DuckDB database. Choose another file; this one was left as it is.")


def make_folder(path: Path) -> None:
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
    choices = ", ".join(".".join(name) for name in names) or "no tables at all"
    raise DataError(f"Which table of {path}? Got {choices}. Name one with --table.")


def is_reserved(word: str) -> bool:
    """Whether a word is one of DuckDB's own, which as a name has to stand in quotes."""
    query = "select 1 from duckdb_keywords() where keyword_name = ? and keyword_category <> 'unreserved'"
    with duckdb.connect() as connection:
        return bool(connection.execute(query, [word]).fetchall())
