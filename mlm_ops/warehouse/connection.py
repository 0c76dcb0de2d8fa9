"""Open a DuckDB file, waiting while another process has it open; each failure is one sentence that names the file."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from mlm_ops.errors import DamagedError, DataError, MlmError, StoreError
from mlm_ops.language.spelling import list_names
from mlm_ops.logs import Event, tell
from mlm_ops.warehouse.faults import (
    error_class,
    first_line,
    is_damage,
    lock_holder,
    no_database,
    why_it_failed,
    why_not_opened,
)
from mlm_ops.warehouse.ownership import RESULTS
from mlm_ops.warehouse.sql import identifier, literal, qualified

Connection = duckdb.DuckDBPyConnection
OnWait = Callable[[str], None]
Result = TypeVar("Result")

#: What the address of a database that is no file begins with, such as ``postgres:``; one letter is a drive.
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9_]+:")
#: A table's name that needs no quotes; and what a SELECT or a name in quotes has.
_PLAIN_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*){0,2}")
_MAY_BE_SQL = re.compile(r"[\"(]|^\s*(?:select|from|with)\s", re.IGNORECASE)
#: Keys, with their ``=``, and values of an address.
_PIECES = re.compile(r"([^\s=:/@?&;,'\"]+)(\s*=)?")
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0


def free_name(what: str) -> str:
    """Return a name for what is on a connection for a while, which needs no quotes, and which nobody else has there."""
    return f"mlm_{what}_{secrets.token_hex(8)}"


@contextmanager
def registered(connection: Connection, rows: Any) -> Iterator[str]:
    """Let SQL read rows that DuckDB can scan, such as an `ArrowStream`, for a block.

    Yields
    ------
    str
        Their name. It is a new one each time: the connection may be the user's, with tables and frames of any name.
    """
    name = free_name("frame")
    connection.register(name, rows)
    try:
        yield name
    finally:
        # after a failed transaction this fails too, and would hide the first error; the rollback then removes the name
        with suppress(duckdb.Error):
            connection.unregister(name)


class BusyError(Exception):
    """Another process is using the file; the message is the first half of the sentence for the user."""


def connect(
    path: Path | str, *, read_only: bool = False, wait: float = 30.0, on_wait: OnWait | None = None
) -> Connection:
    """Open the DuckDB file at `path`, waiting while another process has it open.

    Parameters
    ----------
    path
        The file; it and its folder are created if missing, unless `read_only`.
    wait
        Seconds to keep trying while the file is locked.
    on_wait
        Called once, with a sentence that names the process that has the file open.

    Raises
    ------
    StoreError
        The file is still locked, is not a DuckDB database, or its permissions do not allow the access.
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


def attach(connection: Connection, name: str, source: str) -> None:
    """Attach another database, to be read alone, unless it is attached already.

    Parameters
    ----------
    name
        What it is called in queries.
    source
        A DuckDB file, or what ATTACH takes, such as ``postgres:dbname=shop``, which may hold a password and so stands
        in no message.

    Raises
    ------
    StoreError
        It cannot be opened.
    """
    try:
        connection.execute(f"attach if not exists {literal(source)} as {identifier(name)} (read_only)")
    except duckdb.Error as error:
        kind, reason = error_class(error), first_line(error)
        if not ADDRESS.match(source):
            raise kind(f"The database {name} cannot be attached: {_bare(reason)}.") from error
    else:
        return
    # without DuckDB's error behind it: what keeps errors, as Dagster does, would keep the password
    raise kind(
        f"The database {name} cannot be attached: {_bare(_without_address(reason, source))}. Check its address, and "
        "that DuckDB has the extension for it."
    )


def _bare(reason: str) -> str:
    return reason.rstrip(".").removeprefix("IO Error: ")


def _without_address(message: str, address: str) -> str:
    """Put … for what a message repeats of an address: the whole, what stands behind the kind, or values in it."""
    values = [value for value, is_key in _PIECES.findall(address.partition(":")[2]) if not is_key]
    secrets = [address, address.partition(":")[2], *sorted(values, key=len, reverse=True)]
    for secret in filter(None, secrets):
        message = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "…", message)
    return message


@contextmanager
def using(
    path: Path | str, *, read_only: bool = False, wait: float = 30.0, on_wait: OnWait | None = None
) -> Iterator[Connection]:
    """Open a DuckDB file as `connect` does, for a block, and close it at the end.

    Raises
    ------
    StoreError
        As `connect`; also if, in the block, the disk is full or the file proves to be damaged.
    """
    connection = connect(path, read_only=read_only, wait=wait, on_wait=on_wait)
    try:
        yield connection
    except MlmError as error:
        if isinstance(error, DamagedError) or not is_damage(error):
            raise
        # an error of any kind that was caused by a damaged file is reported as damage
        raise DamagedError(str(error)) from error
    except duckdb.Error as error:
        sentence = why_it_failed(error)
        if sentence == first_line(error):
            raise
        raise error_class(error)(f"The database {path} cannot be used: {sentence}") from error
    finally:
        connection.close()


def retry_while_busy(attempt: Callable[[], Result], wait: float, on_wait: OnWait | None, remedy: str) -> Result:
    """Repeat `attempt`, with growing pauses, while it raises BusyError, for up to `wait` seconds."""
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
    """Whether a file begins like a DuckDB file; true also of one that is empty, missing or unreadable."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError:
        return True  # DuckDB's own error says why it cannot be opened
    if len(start) == 12:
        return start[8:] == b"DUCK"
    try:
        # of a database that was cut off so early only its checksum is left, which is no text
        return not start or not "".join(start.decode().split()).isprintable()
    except UnicodeDecodeError:
        return True


def _refuse_other_files(path: Path) -> None:
    """Refuse other kinds of files: DuckDB 2.0 opens a CSV as a database in memory, and results would be lost."""
    if not is_database_file(path):
        raise StoreError(no_database(path))


def make_folder(path: Path) -> None:
    """Create the folder of `path` if it is missing."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"The folder {path.parent} for {path.name} cannot be created: {error.strerror}. Choose another place."
        ) from error


def open_database(path: Path | str, table: str | None = None, *, wait: float = 30.0) -> tuple[Connection, str]:
    """Open a DuckDB file read-only, and find the table to fit to.

    Parameters
    ----------
    path
        The file.
    table
        The table; it may be left out if the file has only one.
    wait
        Seconds to keep trying while the file is locked.

    Returns
    -------
    tuple
        The connection and the name of the table.

    Raises
    ------
    DataError, StoreError
        The file cannot be opened, or it has several tables and none was named.
    """
    path = Path(path)
    connection = connect(path, read_only=True, wait=wait)
    return connection, _as_it_stands(connection, path, table) if table else _only_table(connection, path)


def in_memory() -> Connection:
    """Open a database in memory, in which a SELECT may read files."""
    return duckdb.connect()


def _tables(connection: Connection) -> list[tuple[str, str]]:
    """Return the schemas and names of the tables and views in a database."""
    return connection.execute(
        "select table_schema, table_name from information_schema.tables"
        f" where table_catalog = current_database() and table_schema <> {literal(RESULTS)} order by all"
    ).fetchall()


def _only_table(connection: Connection, path: Path) -> str:
    """Return the name of the one table or view in a database."""
    names = _tables(connection)
    if len(names) == 1:
        return qualified(*names[0])
    connection.close()
    choices = ", ".join(".".join(name) for name in names) or "no tables at all"
    raise DataError(f"Which table of {path}? Got {choices}. Name one with --table.")


def database_path(connection: Connection) -> str | None:
    """The file of the database that a connection has open; None for one in memory."""
    query = "select path from duckdb_databases() where database_name = current_database()"
    ((path,),) = connection.execute(query).fetchall()
    return None if path is None else str(path)


def _as_it_stands(connection: Connection, path: Path, text: str) -> str:
    """Return a table's name in quotes if it is one as it stands, such as Employees 2026, perhaps with its schema."""
    if _PLAIN_NAME.fullmatch(text):
        return text
    names = _tables(connection)
    same = [name for name in names if text in (name[1], ".".join(name))]
    if len(same) == 1:
        return qualified(*same[0])
    if same or not _MAY_BE_SQL.search(text):
        connection.close()
        what = f"several tables {text}" if same else f"no table {text}"
        tables = list_names(".".join(name) for name in same or names)
        raise DataError(f"{path} has {what}. Name one of {tables} with --table.")
    return text


def is_reserved(word: str) -> bool:
    """Whether a word is a keyword of DuckDB, which has to be quoted when it is a name."""
    query = "select 1 from duckdb_keywords() where keyword_name = ? and keyword_category <> 'unreserved'"
    with duckdb.connect() as connection:
        return bool(connection.execute(query, [word]).fetchall())


def limit_memory(connection: duckdb.DuckDBPyConnection, limit: str) -> None:
    """Let DuckDB keep less in memory, some megabytes; a limit below a gigabyte stays, or one that it cannot leave."""
    ((current,),) = connection.execute("select current_setting('memory_limit')").fetchall()
    if current.endswith(("GiB", "TiB")):
        with suppress(duckdb.OutOfMemoryException):
            connection.execute(f"set memory_limit = {literal(limit)}")
