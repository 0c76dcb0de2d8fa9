"""Replace a file atomically, under a lock: a reader sees the old file or the new one, never a mixture.

The new file gets the mode, owner and group of the old one. Where the path is a link, the file it points to is replaced.
The lock is the operating system's (flock), which ends with the process, also after kill -9; on Windows, which has none,
two processes are not kept apart. The package filelock is not used because it empties the file that it locks.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlm_ops.errors import StoreError
from mlm_ops.warehouse.connection import BusyError, make_folder, retry_while_busy

#: How the files begin that are written under each ending, behind white space; of other text nothing is known.
_BEGINNINGS: Mapping[str, bytes] = {
    ".html": b"<",
    ".htm": b"<",
    ".svg": b"<",
    ".png": b"\x89PNG",
    ".pdf": b"%PDF",
    ".parquet": b"PAR1",
    ".docx": b"PK",
}
_LOOKED_AT = 4096


@contextmanager
def replacing(
    destination: Path | str, *, wait: float = 30.0, check: Callable[[Path], object] = lambda _: None
) -> Iterator[Path]:
    """Yield a path for a new version of `destination`, and move it into place if the block ends without an error.

    A reader that has the old file open keeps it. If the block fails, the old file stays and the new one is removed. One
    process at a time replaces a file; others wait.

    Parameters
    ----------
    check
        A function of the existing file that raises an error if it must not be replaced.

    Raises
    ------
    StoreError
        The folder cannot be written, or another process holds the lock for more than `wait` seconds.
    """
    target = Path(os.path.realpath(destination))
    make_folder(target)
    with locked(target, "replaced", wait):
        _remove_leftovers(target)
        check(target)
        with new_version(destination) as building:
            yield building


def check_kind(destination: Path | str, endings: Sequence[str], what: str) -> None:
    """Refuse to write a file where another kind of file is, such as a database or an analysis file.

    Parameters
    ----------
    endings
        Those that the name may have, and the name of the file that it is a link to.
    what
        The file that is to be written, for the message: ``A picture``.

    Raises
    ------
    StoreError
        Nothing is then changed.
    """
    path = Path(destination)
    *others, last = endings
    expected, ending = (f"{', '.join(others)} or {last}", "one of these endings") if others else (last, "this ending")
    if path.suffix.lower() not in endings:
        raise StoreError(f"{what} is saved as {expected}. Got {path.name}; give it {ending}.")
    target = Path(os.path.realpath(path))
    if target.suffix.lower() not in endings:
        raise StoreError(f"{path} is a link to {target}, and {what.lower()} is saved as {expected}. Name another file.")
    if target.exists() and not _is_of_kind(target):
        raise StoreError(
            f"{path} is there, and is no file of the kind {target.suffix.lower()}. Name another file; this one was "
            "left as it is."
        )


def _is_of_kind(file: Path) -> bool:
    """Whether a file that is there may have been written under its ending; an empty one may."""
    if not file.is_file():
        return False
    with file.open("rb") as content:
        start = content.read(_LOOKED_AT)
    begins = _BEGINNINGS.get(file.suffix.lower())
    # every database has zeros at its start, and no text has
    return (
        b"\0" not in start if begins is None else not start or start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(begins)
    )


@contextmanager
def new_file(destination: Path | str, endings: Sequence[str], what: str) -> Iterator[Path]:
    """Do what `new_version` does for a file whose name a user gave, unless `check_kind` refuses."""
    check_kind(destination, endings, what)
    with new_version(destination) as building:
        yield building


@contextmanager
def new_version(destination: Path | str) -> Iterator[Path]:
    """Yield a path for a new version of `destination`, as `replacing` does, without a lock: the last one stays.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    target = Path(os.path.realpath(destination))
    make_folder(target)
    try:
        # no other user may read it before it has the mode of the old file
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".building", dir=target.parent))
    except OSError as error:
        raise StoreError(f"{destination} cannot be written: {error.strerror}. Choose another place.") from error
    try:
        yield folder / target.name
        _put_in_place(folder / target.name, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def set_aside(path: Path, why: str) -> Path:
    """Rename a file to an unused name such as ``results.duckdb.damaged-1``, and return its new path.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    number = 1
    while (place := path.with_name(f"{path.name}.{why}-{number}")).exists() or place.is_symlink():
        number += 1
    try:
        path.rename(place)
    except OSError as error:
        raise StoreError(f"{path} cannot be renamed to {place.name}: {error.strerror}.") from error
    return place


def _remove_leftovers(target: Path) -> None:
    """Remove the temporary folders of processes that were killed; their names are recognised by the exact pattern."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.building")
    for path in target.parent.iterdir():
        if pattern.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _put_in_place(building: Path, target: Path) -> None:
    """Rename `building` to `target`, with everything written to the disk before and after."""
    try:
        with suppress(FileNotFoundError):
            _copy_attributes(target, building)
        _sync(building)
        # a write-ahead log beside the published copy belongs to the file that is replaced
        target.with_name(target.name + ".wal").unlink(missing_ok=True)
        os.replace(building, target)
        _sync(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be replaced: {error.strerror}.") from error


def _copy_attributes(old: Path, new: Path) -> None:
    """Give the new file the owner, group, mode and extended attributes (access lists among them) of the old one.

    Where the system does not allow the group to be set, the file's own group gets the rights of everyone, no more.
    """
    status = old.stat()
    mode = stat.S_IMODE(status.st_mode)
    if hasattr(os, "chown"):
        for owner in (status.st_uid, -1):
            with suppress(PermissionError):
                os.chown(new, owner, status.st_gid)
                break
        if new.stat().st_gid != status.st_gid:
            mode = mode & ~0o070 | (mode & 0o007) << 3 & mode
    if hasattr(os, "listxattr"):
        with suppress(OSError):
            for name in os.listxattr(old):
                with suppress(OSError):
                    os.setxattr(new, name, os.getxattr(old, name))
    new.chmod(mode)


def _sync(path: Path) -> None:
    """Make the operating system write a file, or a folder's list of names, to the disk."""
    if sys.platform == "win32" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(destination: Path, doing: str, wait: float = 30.0) -> Iterator[None]:
    """Hold the lock on a file beside `destination` for a block; the system releases it if the process dies.

    The lock file is never removed, because two processes could then hold locks on two files of one name. Its name
    begins with a dot, to hide it. Nothing is written to it, and a link of its name is not followed.

    Parameters
    ----------
    doing
        What the lock is for, as a participle for the message: ``replaced``.

    Raises
    ------
    StoreError
        The lock file cannot be created or is a link, or another process holds the lock for more than `wait` seconds.
    """
    lock = destination.with_name(f".{destination.name}.lock")
    try:
        handle = os.open(
            lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o644
        )
    except OSError as error:
        if error.errno == errno.ELOOP or lock.is_symlink():
            raise StoreError(f"{lock} is a link, which a lock cannot be. Remove the link and run again.") from error
        raise StoreError(f"{destination} cannot be written: {error.strerror}. Choose another place.") from error

    def attempt() -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"{destination} is being {doing} by another process") from error

    try:
        retry_while_busy(attempt, wait, None, remedy="Try again when that process has ended.")
        yield
    finally:
        os.close(handle)
