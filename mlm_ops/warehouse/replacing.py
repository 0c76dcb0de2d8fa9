"""Replace a file at one stroke, under a lock, so that a reader sees the old one or the new one, never half of either.

The new file takes over the mode, the owner and the group of the old one, and a link stays a link: what it points to is
replaced. The lock is the system's own (flock), which ends with the process, also after kill -9; where there is none, as
on Windows, processes are not kept apart. The package filelock is not used because it empties the file that it locks.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlm_ops.errors import StoreError
from mlm_ops.warehouse.connection import BusyError, make_folder, retry_while_busy


@contextmanager
def replacing(
    destination: Path | str, *, wait: float = 30.0, check: Callable[[Path], object] = lambda _: None
) -> Iterator[Path]:
    """Give a path to build a new version of `destination` at; put it in place when the block ends well.

    Readers that have the old file open keep it. When the block fails the old file stays and the new one is removed. One
    process at a time: the others wait.

    Parameters
    ----------
    check
        Refuses to replace the file that is there, by an error.

    Raises
    ------
    StoreError
        The place cannot be written, or another process does not let go of it.
    """
    target = Path(os.path.realpath(destination))
    make_folder(target)
    with locked(target, "replaced", wait):
        _remove_leftovers(target)
        check(target)
        try:
            # no one else may look into it before it has the mode of the old file
            folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".building", dir=target.parent))
        except OSError as error:
            raise StoreError(f"{destination} cannot be written: {error.strerror}. Choose another place.") from error
        try:
            yield folder / target.name
            _put_in_place(folder / target.name, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def set_aside(path: Path, why: str) -> Path:
    """Give a file a name that is free, such as ``results.duckdb.damaged-1``, and return it; nothing is deleted.

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
    """What a process that was killed here has left half-built: folders of our own making, by a name that no one has."""
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]{{8}}\.building")
    for path in target.parent.iterdir():
        if pattern.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _put_in_place(building: Path, target: Path) -> None:
    """Rename `building` to `target`, on the disk before and after."""
    try:
        with suppress(FileNotFoundError):
            _copy_attributes(target, building)
        _sync(building)
        # The log of someone who wrote into the published copy belongs to the file that goes.
        target.with_name(target.name + ".wal").unlink(missing_ok=True)
        os.replace(building, target)
        _sync(target.parent)
    except OSError as error:
        raise StoreError(f"{target} cannot be replaced: {error.strerror}.") from error


def _copy_attributes(old: Path, new: Path) -> None:
    """Give the new file the owner, group, mode and extended attributes (access lists among them) of the old one.

    Where the system does not let us give the file to its group, the group we have gets no more than everyone has.
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
    not look like something left over. Nothing is ever written to it, and a link of its name is not followed.

    Raises
    ------
    StoreError
        The file cannot be made, or is no file; another process holds the lock for longer than `wait` seconds.
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
