"""Open Dagster's UI on a project, on this machine alone."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mlm_ops.analyses.project import Project, find_project, make_home
from mlm_ops.errors import ProjectError

LOCALHOST = "127.0.0.1"
LOG = "ui.log"
#: The graph of all assets: the page at the root shows a timeline, which is empty without schedules.
GRAPH = "asset-groups"
#: Seconds between two requests to see whether the server answers, and for it to end after an interrupt.
PAUSE, PATIENCE = 0.25, 30.0
#: Seconds for the processes that a server leaves behind.
GRACE = 5.0


def serve_ui(project_directory: Path, port: int, tell: Callable[[str], None] = print, *, browser: bool = False) -> int:
    """Start Dagster's UI and daemon for the project, until interrupted; what they log goes to ``ui.log``.

    Parameters
    ----------
    project_directory
        The project, or a folder in it.
    port
        Of this machine, for no other to reach.
    tell
        Takes the address of the asset graph, once the server answers.
    browser
        Open the address in the user's browser, where there is a screen.

    Returns
    -------
    int
        0 after an interrupt.

    Raises
    ------
    ProjectError
        There is no project here, the port is taken, or the server ended by itself.
    """
    project = find_project(project_directory)
    _require_free(port)
    make_home(project)
    # before the server: one that starts meanwhile would stay behind
    for number in (signal.SIGTERM, *([signal.SIGHUP] if sys.platform != "win32" else [])):
        signal.signal(number, _interrupt)
    log = project.dagster_home / LOG
    with log.open("wb") as output:
        server = subprocess.Popen(
            _command(port),
            cwd=project.root,
            env={**os.environ, **_home(project)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # an interrupt from the terminal would reach every process of the server at once; we pass it on to the first
            start_new_session=True,
        )
    try:
        if _answers(server, port):
            address = f"http://{LOCALHOST}:{port}/{GRAPH}"
            tell(f"Dagster UI: {address}  (Ctrl-C stops it)")
            if browser and _has_screen():
                webbrowser.open(address)
        status = server.wait()
    except KeyboardInterrupt:
        _stop(server)
        return 0
    _end_group(server)
    ended = f"Dagster's UI ended by itself, with status {status}"
    raise ProjectError(f"{ended}{_last_line(log)} All that it said is in {log}.")


def _last_line(log: Path) -> str:
    """The end of a sentence: the last line that the server wrote, which is the error if it has failed."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f": {lines[-1][:300].rstrip('.')}." if lines else "."


def _command(port: int) -> list[str]:
    # -W: `dagster dev` warns that `dg dev` succeeds it, which is another package
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "--log-level", "warning"]
    return [*command, "--host", LOCALHOST, "--port", str(port)]


def _home(project: Project) -> dict[str, str]:
    return {"DAGSTER_HOME": str(project.dagster_home), "DAGSTER_DISABLE_TELEMETRY": "yes"}


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        # the web server would take the next free port without a word
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError as error:
            raise ProjectError(
                f"Port {port} of {LOCALHOST} cannot be used: {error.strerror}. Choose another with --port."
            ) from error


def _answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the server answers; False when it has ended instead."""
    while server.poll() is None:
        connection = http.client.HTTPConnection(LOCALHOST, port, timeout=5.0)
        try:
            connection.request("GET", "/server_info")
            if connection.getresponse().status == http.client.OK:
                return True
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(PAUSE)
    return False


def _has_screen() -> bool:
    """Whether a browser would have a window of its own: one in the terminal would take the place of our output."""
    return sys.platform in {"darwin", "win32"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server in an orderly way, or at once when it takes too long, and the processes that it leaves."""
    server.send_signal(signal.SIGINT)
    try:
        server.wait(PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        server.kill()
        server.wait()
    finally:
        _end_group(server)


def _end_group(server: subprocess.Popen[bytes]) -> None:
    """End what is left of the server's processes: a code server outlives a server that was stopped while starting."""
    if sys.platform == "win32":
        return
    # the server leads a group of its own
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGTERM)
        end = time.monotonic() + GRACE
        while time.monotonic() < end:
            os.killpg(server.pid, 0)
            time.sleep(PAUSE)
        os.killpg(server.pid, signal.SIGKILL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
