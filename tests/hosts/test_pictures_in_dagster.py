"""The pictures of a model in Dagster's own UI, looked at in a browser.

It needs Chromium, node, and a package of npm: ``npm install --prefix tests/hosts/browser``.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlm_ops.analyses.file.analysis import read_analysis
from mlm_ops.plugins.dagster.pictures import report_model
from tests.hosts.test_report_in_browser import CHROMIUM, HERE, MODULES

HSB = Path(__file__).parents[2] / "pipelines" / "data" / "hsb.csv"
PROGRAMS = Path(sys.executable).parent
_ABSENT = [name for name, path in (("Chromium", CHROMIUM), ("node", shutil.which("node"))) if path is None]
if not (MODULES / "node_modules" / "puppeteer-core").is_dir():
    _ABSENT.append("the npm package puppeteer-core (npm install --prefix tests/hosts/browser)")

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(bool(_ABSENT), reason=f"looking at Dagster's UI needs {', '.join(_ABSENT)}"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project as `mlm init` makes it, which has run."""
    shutil.copy(HSB, tmp_path / "students.csv")
    mlm = str(PROGRAMS / "mlm")
    for command, folder in (([mlm, "init", "exams", "students.csv"], tmp_path), ([mlm, "run"], tmp_path / "exams")):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    return tmp_path / "exams"


@contextmanager
def webserver(project: Path) -> Iterator[str]:
    """The address of Dagster's webserver over the project."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    environment = os.environ | {"DAGSTER_HOME": str(project / "dagster_home"), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    command = [
        str(PROGRAMS / "dagster-webserver"),
        "-h",
        "127.0.0.1",
        "-p",
        port,
        "-m",
        "students_pipelines.definitions",
    ]
    with (project / "webserver.log").open("w") as log:
        server = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/server_info", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (project / "webserver.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=60)


def test_the_dialog_of_pictures_shows_them(project: Path) -> None:
    model = report_model(read_analysis(project / "students_pipelines" / "analyses" / "students.yaml"))
    assert (project / "warehouse" / "report" / "students.html").exists()
    with webserver(project) as address:
        page = f"{address}/assets/students/models/{model}?view=events"
        command = ["node", str(HERE / "dialog.mjs"), str(CHROMIUM), str(MODULES), page, "pictures"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    images = json.loads(done.stdout)
    assert 2 <= len(images) <= 3
    assert all(image["width"] > 0 and image["height"] > 0 for image in images)
    assert "What explains the variance?" in [image["alternative"] for image in images]
