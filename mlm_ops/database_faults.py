"""What DuckDB says of a file that fails -> one sentence that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb

from mlm_ops.errors import DamagedError, StoreError

#: The classes under which DuckDB reports a full disk or a damaged file; a damaged index may be an internal error.
FILE_FAULTS = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.TransactionException,
    duckdb.InternalException,
    duckdb.SerializationException,
)
DAMAGED = "Restore it, or remove it and run again."
_FULL = ("No space left on device", "File too large", "Disk quota exceeded")
_BROKEN = ("Corrupt database file", "checksum", "read enough bytes", "Failed to load metadata", "been invalidated")


def why_it_failed(error: Exception) -> str:
    """Say why a statement failed; what DuckDB says where it is neither a full disk nor a damaged file."""
    message = str(error)
    if any(words in message for words in _FULL):
        return "there is no room left on the disk. Make room and run again; what stood there before still stands."
    if any(words in message for words in _BROKEN):
        return f"the database file is damaged. {DAMAGED}"
    return first_line(error)


def is_damage(error: Exception) -> bool:
    """Whether the file is one of DuckDB's whose content is broken, by an error of DuckDB's or one raised from it."""
    cause: BaseException | None = error
    while cause is not None:
        # by its class too: the name of a column may have these words in it; a broken log is of none in particular
        of_a_file = isinstance(cause, FILE_FAULTS) or type(cause) is duckdb.Error
        if of_a_file and any(words in str(cause) for words in _BROKEN):
            return True
        cause = cause.__cause__
    return False


def kind_of(error: Exception) -> type[StoreError]:
    """The class of our error for one of DuckDB's about a file."""
    return DamagedError if is_damage(error) else StoreError


def first_line(error: Exception) -> str:
    """Return what an error says, without the SQL that DuckDB shows below it."""
    return str(error).partition("\n")[0]


def holder(message: str) -> str:
    """Return `` (PID 7, python3.11)`` out of DuckDB's message about a lock, as far as it says so."""
    found = re.search(r"held in (?:(\S.*?) )?\(PID (\d+)\)", message)
    if found is None:
        return ""
    program = f", {Path(found[1]).name}" if found[1] else ""
    return f" (PID {found[2]}{program})"


def why_not_opened(path: Path, error: duckdb.Error) -> str:
    """Say in one sentence why DuckDB could not open `path`."""
    message = str(error)
    if path.is_dir():
        return f"{path} is a folder, not a DuckDB database. Name a file in it."
    if "does not exist" in message:
        return f"There is no database at {path}."
    if "not a valid DuckDB" in message:
        return f"{path} is not a DuckDB database. Choose another file; this one was left as it is."
    if "read enough bytes" in message:
        return f"The database {path} is damaged: it ends too early. {DAMAGED}"
    if any(words in message for words in _BROKEN):
        return f"The database {path} is damaged: its content does not fit its checksums. {DAMAGED}"
    if "version number" in message:
        return (
            f"The database {path} was written by a newer DuckDB than {duckdb.__version__}. Upgrade the duckdb package."
        )
    if "different configuration" in message:
        return f"The database {path} is already open in this process, with other settings. Close that connection first."
    if "Permission denied" in message or "Read-only file system" in message or "not permitted" in message:
        return f"The database {path} cannot be opened here: permission denied. Choose a place that you may write to."
    if any(words in message for words in _FULL):
        return f"The database {path} cannot be opened: there is no room left on the disk. Make room and run again."
    reason = first_line(error).removeprefix("IO Error: ")
    return f"The database {path} cannot be opened: {reason}"
