"""A Postgres server of its own for a test: Debian's, in a folder that goes with the test."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, which Debian keeps out of PATH; none if there is no server."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))
    if (on_path := shutil.which("initdb")) is not None:
        folders.append(Path(on_path).parent)
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


@contextmanager
def server(folder_of_programs: Path) -> Iterator[tuple[Path, str]]:
    """Start a server and give the folder of its socket and its user; it listens at no port."""
    as_root = os.geteuid() == 0  # the server refuses to run as root
    user = "postgres" if as_root else getpass.getuser()
    # not in pytest's folder: the path of a socket has at most 107 bytes, and other users may not enter that folder
    folder = Path(tempfile.mkdtemp(prefix="mlm_postgres_"))
    if as_root:
        shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(folder_of_programs / program), *arguments],
            cwd=folder,
            env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"], "HOME": str(folder)},
            user=user if as_root else None,
            stdout=subprocess.DEVNULL,
            check=True,
        )

    data = str(folder / "data")
    try:
        run("initdb", "--pgdata", data, "--username", user, "--auth", "trust", "--encoding", "UTF8", "--no-sync")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        run("pg_ctl", "--pgdata", data, "--wait", "--options", settings, "--log", str(folder / "log"), "start")
        try:
            yield folder, user
        finally:
            run("pg_ctl", "--pgdata", data, "--wait", "--mode", "immediate", "stop")
    finally:
        shutil.rmtree(folder)
