"""Turn the errors of DuckDB, the operating system and other libraries into one sentence that says what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from mlm_ops.errors import DamagedError, MlmError, StoreError

#: The classes of DuckDB's errors about a full disk, a damaged file or a lack of memory. A damaged block may be reported
#: as an internal error, or by the base class.
FILE_FAULTS = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.TransactionException,
    duckdb.InternalException,
    duckdb.SerializationException,
    duckdb.OutOfMemoryException,
)
#: Errors of the system that last until somebody corrects a path, and words of DuckDB's that say the same.
_WRONG_PATH = (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError)
_NO_FILES = "No files found that match the pattern"
DAMAGED = "Restore it, or remove it and run again."
NO_MEMORY = "there is not enough memory. Close other programs, take fewer rows, or raise DuckDB's memory_limit"
FOLDER_GONE = "The current folder no longer exists. Change to one that exists."
_DISK_FULL = ("No space left on device", "File too large", "Disk quota exceeded")
_FILE_DAMAGE = (
    "Corrupt database file",
    "checksum",
    "read enough bytes",
    "Failed to load metadata",
    "been invalidated",
    "Failed to deserialize",
    "Serialization Error",
    "Block ID mismatch",
    "Could not read from file",
    "metadata block",
)
#: The most characters of another program's message that are repeated.
_MESSAGE_LENGTH = 600
#: What follows the reason in DuckDB's messages: the SQL, suggestions of names, and how to set options.
_DETAILS = re.compile(
    r"\n\s*(?:\n|LINE \d+:|Candidate|Did you mean|The search space|Possible |\* |See also|Database is launched)"
)
#: DuckDB's words for a cell that a cast does not take: the cell, the type and the column.
_NOT_CAST = re.compile(r"Could not convert string '(.{0,40}?)' to (\w+) when casting from source column ([^\n]+)")
#: Libraries whose errors are about files, texts and settings that a user can correct.
_LIBRARIES = (
    "dagster",
    "dagster_shared",
    "sqlalchemy",
    "sqlite3",
    "alembic",
    "yaml",
    "polars",
    "pyarrow",
    "dbt",
    "jinja2",
)


def why_it_failed(error: Exception) -> str:
    """Say why a statement failed: a full disk, a damaged file, a lack of memory, or else DuckDB's own reason."""
    message = str(error)
    if any(words in message for words in _DISK_FULL):
        return "there is no room left on the disk. Make room and run again; what was stored before is unchanged."
    if isinstance(error, duckdb.OutOfMemoryException):
        return f"{NO_MEMORY} ({first_line(error).removeprefix('Out of Memory Error: ')})."
    if is_damage(error):
        return f"the database file is damaged. {DAMAGED}"
    if (cell := _NOT_CAST.search(message)) is not None:
        return f"column {cell[3]} has the cell {cell[1]!r}, which is no {cell[2]}; try_cast makes it missing."
    return first_line(error)


def is_damage(error: BaseException) -> bool:
    """Whether an error, or one of its causes, is DuckDB's about a damaged file."""
    # errors of SQL have subclasses; DuckDB raises the base class itself where it reads a damaged block
    kinds = (*FILE_FAULTS[:-1], duckdb.HTTPException)
    cause: BaseException | None = error
    while cause is not None:
        if type(cause) is duckdb.Error:
            return True
        if isinstance(cause, kinds) and any(words in str(cause) for words in _FILE_DAMAGE):
            return True
        cause = cause.__cause__
    return False


def is_temporary_error(error: BaseException) -> bool:
    """Whether a later try may go well though nobody corrects anything.

    So it is where locks, disks, networks or memory are the cause, and where rows changed meanwhile; not where a file is
    damaged, missing or forbidden.
    """
    passing = (OSError, MemoryError, duckdb.HTTPException, *FILE_FAULTS)
    causes = list(_causes(error))
    if any(isinstance(cause, (DamagedError, *_WRONG_PATH)) or _NO_FILES in str(cause) for cause in causes):
        return False
    return any(cause.is_temporary if isinstance(cause, MlmError) else isinstance(cause, passing) for cause in causes)


def error_class(error: BaseException) -> type[StoreError]:
    """Return the class of mlm-ops' error for an error of DuckDB's about a file."""
    return DamagedError if is_damage(error) else StoreError


def first_line(error: BaseException) -> str:
    """Return an error's message on one line, without the SQL, suggestions and advice that DuckDB adds below it."""
    text = " ".join(_DETAILS.split(str(error).strip(), maxsplit=1)[0].split())
    return text if len(text) <= _MESSAGE_LENGTH else f"{text[:_MESSAGE_LENGTH]}…"


def lock_holder(message: str) -> str:
    """Return the process that holds a lock, as `` (PID 7, python3.11)``, as far as DuckDB's message names it."""
    match = re.search(r"held in (?:(\S.*?) )?\(PID (\d+)\)", message)
    if match is None:
        return ""
    program = f", {Path(match[1]).name}" if match[1] else ""
    return f" (PID {match[2]}{program})"


def no_database(path: Path) -> str:
    """Say that a file is of another kind."""
    return f"{path} is not a DuckDB database. Choose another file; this one was left as it is."


def why_not_opened(path: Path, error: duckdb.Error) -> str:
    """Say in one sentence why DuckDB could not open `path`."""
    message = str(error)
    if "Could not get working directory" in message:
        return FOLDER_GONE
    if path.is_dir():
        return f"{path} is a folder, not a DuckDB database. Name a file in it."
    if "does not exist" in message:
        return f"There is no database at {path}."
    if "not a valid DuckDB" in message:
        return no_database(path)
    if "read enough bytes" in message:
        return f"The database {path} is damaged: it ends too early. {DAMAGED}"
    if is_damage(error):
        return f"The database {path} is damaged: its content does not fit its checksums. {DAMAGED}"
    if "version number" in message:
        return (
            f"The database {path} was written by a newer DuckDB than {duckdb.__version__}. Upgrade the duckdb package."
        )
    if "different configuration" in message:
        return f"The database {path} is already open in this process, with other settings. Close that connection first."
    if "Permission denied" in message or "Read-only file system" in message or "not permitted" in message:
        return f"The database {path} cannot be opened here: permission denied. Choose a place that you may write to."
    if any(words in message for words in _DISK_FULL):
        return f"The database {path} cannot be opened: there is no room left on the disk. Make room and run again."
    reason = first_line(error).removeprefix("IO Error: ")
    return f"The database {path} cannot be opened: {reason}"


def sentence_of(error: BaseException) -> str | None:
    """Return one sentence for an error of another program; None for an error that is a bug of mlm-ops.

    The errors of DuckDB, the operating system, memory, arithmetic, texts and the libraries around them have causes that
    a user can remove. A TypeError or KeyError, or any other that Python raises for wrong code, has not.
    """
    if isinstance(error, OSError):
        return _operating_system_sentence(error)
    if isinstance(error, duckdb.Error):
        return f"The database failed: {why_it_failed(error)}"
    if isinstance(error, MemoryError):
        return "There is not enough memory. Close other programs, or take fewer rows or smaller models."
    if isinstance(error, RecursionError):
        return "Something is nested too deeply to be read. Take it apart."
    if isinstance(error, UnicodeEncodeError) and error.encoding.lower().replace("-", "") != "utf8":
        return (
            f"A character cannot be written in the encoding {error.encoding}: {error.object[error.start]!a}. Set "
            "PYTHONIOENCODING=utf-8, or the terminal's encoding to UTF-8."
        )
    if isinstance(error, UnicodeError):
        return f"A text cannot be read or written: {first_line(error)}. Save the file as UTF-8, or rename it."
    if isinstance(error, ArithmeticError) or type(error).__name__ == "LinAlgError":
        return (
            f"The numbers cannot be worked with ({type(error).__name__}: {first_line(error)}). Very large or small "
            "values are the usual reason: bring the columns to a similar scale."
        )
    if type(error).__name__ == "PanicException":  # polars': no Exception, but a BaseException
        return f"polars failed: {first_line(error)}"
    if type(error).__module__.partition(".")[0].lstrip("_") in _LIBRARIES:
        return f"{type(error).__module__.partition('.')[0].lstrip('_')} failed: {first_line(_innermost(error))}"
    return None


def _operating_system_sentence(error: OSError) -> str:
    """Return the sentence for an error of the operating system, with the file that it is about."""
    reasons = {
        errno.ENAMETOOLONG: "the name is too long for the file system. Choose a shorter one.",
        errno.EACCES: "permission denied. Ask for the permission, or choose another place.",
        errno.EPERM: "permission denied. Ask for the permission, or choose another place.",
        errno.EROFS: "nothing can be written there. Choose another place.",
        errno.ENOSPC: "there is no room left on the disk. Make room and run again.",
        errno.EDQUOT: "there is no room left for this user. Make room and run again.",
        errno.EFBIG: "the file gets too large. Choose another place.",
        errno.ENOENT: "there is no such file or folder.",
        errno.EMFILE: "too many files are open. Close other programs.",
    }
    reason = reasons.get(error.errno or 0, f"{error.strerror or first_line(error) or type(error).__name__}.")
    if error.filename is None and error.errno == errno.ENOENT:
        return FOLDER_GONE
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "The output cannot be written: there is no room left on the disk. Make room, or write it elsewhere."
    if error.filename is None:
        return f"The system refuses: {reason}"
    name = str(error.filename)
    return f"{name if len(name) <= 100 else f'{name[:100]}…'} cannot be used: {reason}"


def _innermost(error: BaseException) -> BaseException:
    *_, last = _causes(error)
    return last


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
