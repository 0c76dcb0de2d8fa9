"""The UI: on this machine alone, its address told once it answers, its log in a file."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlm_ops.errors import ProjectError
from mlm_ops.plugins.dagster import serve_ui, ui

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
print("daemon chatter", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.dagster]\nmodule_name = "quiet"\n')
    return tmp_path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[tuple[list[str], dict[str, Any]]]]:
    """Start a program of ours in place of Dagster's; return what Dagster would have been started with."""
    calls: list[tuple[list[str], dict[str, Any]]] = []
    popen = subprocess.Popen

    def replace(program: str) -> list[tuple[list[str], dict[str, Any]]]:
        def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
            calls.append((command, options))
            return popen([sys.executable, "-c", program, command[-1]], **options)

        monkeypatch.setattr(ui.subprocess, "Popen", start)
        monkeypatch.setattr(ui.signal, "signal", lambda *_: None)
        monkeypatch.setattr(ui, "PAUSE", 0.02)
        return calls

    return replace


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_it_tells_its_address_and_ends_with_an_interrupt(project: Path, started: Any, capfd: Any) -> None:
    calls, told, port = started(SERVER), [], free_port()

    def tell(line: str) -> None:
        told.append(line)
        raise KeyboardInterrupt

    assert serve_ui(project, port, tell) == 0
    assert told == [f"Dagster UI: http://127.0.0.1:{port}/asset-groups  (Ctrl-C stops it)"]
    ((command, options),) = calls
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert options["env"]["DAGSTER_HOME"] == str(project / "dagster_home")
    assert options["env"]["DAGSTER_DISABLE_TELEMETRY"]
    assert "daemon chatter" in (project / "dagster_home" / "ui.log").read_text()
    assert capfd.readouterr().err == ""


def test_no_process_of_the_server_stays_behind(project: Path, started: Any) -> None:
    """A code server does not end with the server that started it."""
    child = "import subprocess, sys\nprint(subprocess.Popen(['sleep', '600']).pid, flush=True)\n"
    started(child + SERVER)

    def tell(_: str) -> None:
        raise KeyboardInterrupt

    assert serve_ui(project, free_port(), tell) == 0
    pid = int((project / "dagster_home" / "ui.log").read_text().split()[0])
    # an orphan that has ended may wait for its parent
    state = Path(f"/proc/{pid}/stat")
    deadline = time.monotonic() + 10
    while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("display", "browser", "pages"), [(":0", True, ["asset-groups"]), ("", True, []), (":0", False, [])]
)
def test_a_browser_opens_where_there_is_a_screen(
    display: str, browser: bool, pages: list[str], project: Path, started: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    monkeypatch.setattr(ui.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(ui.webbrowser, "open", addresses.append)
    # a server that answers, and ends by itself a second later
    started(SERVER.replace("serve_forever()", "handle_request()"))
    with pytest.raises(ProjectError, match="ended by itself"):
        serve_ui(project, port := free_port(), str, browser=browser)
    assert addresses == [f"http://127.0.0.1:{port}/{page}" for page in pages]


def test_a_server_that_ends_by_itself(project: Path, started: Any) -> None:
    started("raise SystemExit(3)")
    with pytest.raises(ProjectError, match=r"ended by itself, with status 3\. All that it said is in .*ui\.log"):
        serve_ui(project, free_port(), str)


def test_a_server_that_fails_says_why(project: Path, started: Any) -> None:
    started("print('some words'); raise ImportError('no such module.')")
    with pytest.raises(ProjectError, match=r"with status 1: ImportError: no such module\. All that it said is in"):
        serve_ui(project, free_port(), str)


def test_a_taken_port(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ProjectError, match=r"cannot be used: Address already in use\. Choose another with --port"):
            serve_ui(project, taken.getsockname()[1])


def test_the_environment_cannot_open_the_ui_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands on the command line goes before what the environment says, in both programs that start."""
    from dagster._cli.dev import dev_command
    from dagster_webserver.cli import dagster_webserver

    command = ui._command(3000)
    given = command[command.index("dev") + 1 :]
    for variable in ("DAGSTER_WEBSERVER_HOST", "DAGIT_HOST", "DAGSTER_DEV_HOST", "DAGSTER_HOST", "HOST"):
        monkeypatch.setenv(variable, "0.0.0.0")
    context = dev_command.make_context("dev", list(given), auto_envvar_prefix="DAGSTER_DEV")
    assert context.params["host"] == "127.0.0.1"
    passed_on = ["--host", context.params["host"], "--port", str(context.params["port"])]
    server = dagster_webserver.make_context("server", passed_on, auto_envvar_prefix="DAGSTER_WEBSERVER")
    assert server.params["host"] == "127.0.0.1"
