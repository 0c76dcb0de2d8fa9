"""The dashboard in a real browser: it asks nothing of another host, shows what is chosen, and obeys no name.

It needs Chromium, node, and a package of npm: ``npm install --prefix tests/hosts/browser``.
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlm_ops.analyses.store.latest import read_latest_results
from mlm_ops.analyses.store.runs import Run, write_run
from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.warehouse.connection import connect
from tests.hosts.test_report_in_browser import CHROMIUM, HERE, MODULES, _missing
from tests.reports.pages import HOSTILE, hostile
from tests.reports.stores import CASES, write_store

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.hosts, pytest.mark.skipif(bool(_missing()), reason=_missing() or "nothing is missing")]


@contextmanager
def served(app: Path, *arguments: str) -> Iterator[str]:
    """The address of a running app, on a port that the system chooses."""
    command = [sys.executable, "-m", "marimo", "run", str(app), "--headless", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield _address(process)
        finally:
            process.terminate()


def _address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    said, end = b"", time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if select.select([process.stdout], [], [], 1)[0]:
            said += os.read(process.stdout.fileno(), 65536)
            if match := re.search(rb"http://localhost:(\d+)", said):
                return f"http://127.0.0.1:{_answering(int(match[1]), end)}"
    raise AssertionError(f"the app does not start: {said.decode()}")


def _answering(port: int, end: float) -> int:
    """The port, once something answers there: the app names it before it listens."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "the app does not answer"
            time.sleep(0.1)
        else:
            return port


def looked_at(database: Path, words: str, *models: str) -> dict[str, Any]:
    """What the browser made of the dashboard over a store, and of it with each model chosen."""
    with served(ROOT / "pipelines" / "dashboard.py", "--", "--database", str(database)) as address:
        command = ["node", str(HERE / "dashboard.mjs"), str(CHROMIUM), str(MODULES), address, words, *models]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (found["foreign"], found["dialogs"], found["faults"]) == ([], [], [])
    assert found["errors"] == 0
    return found


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("hsb"), *CASES["hsb"]).path


def test_another_model_has_other_numbers(store):
    found = looked_at(store, "History", "anova", "slopes_as_outcomes")
    # it opens on the model that the report is about
    assert found["first"]["tables"][0] == found["models"]["slopes_as_outcomes"]["tables"][0]
    assert found["first"]["drawings"] == 1
    slopes, anova = found["models"]["slopes_as_outcomes"], found["models"]["anova"]
    (row,) = [row for row in slopes["tables"][0] if row[0] == "within(ses):sector[Public]"]
    assert row[:5] == ["within(ses):sector[Public]", "gamma_11", "2", "1.643", "0.2398"]
    assert [row[:4] for row in anova["tables"][0]] == [["(Intercept)", "gamma_00", "1", "12.64"]]
    assert slopes["everyTable"] == {
        "fixed_effects": 6,
        "variance_components": 4,
        "random_effects": 15,
        "unit_lines": 15,
    }


def test_names_do_nothing(store, tmp_path):
    tables = hostile(read_latest_results(store), 0)
    # marimo shows an address of an image in a table as the image
    image = pl.col("term").replace("(Intercept)", "https://example.org/x.png")
    tables["fixed_effects"] = tables["fixed_effects"].with_columns(image)
    run = tables.pop("runs").row(0, named=True)
    path = tmp_path / "store.duckdb"
    with connect(path) as connection:
        rows = {name: tables[name].drop("run_id", "analysis") for name in TABLES if name in tables}
        write_run(connection, Run(**{field.name: run[field.name] for field in fields(Run)}), rows)
    models = list(tables["models"]["model"])[-2:]
    found = looked_at(path, "History", *models)
    for seen in found["models"].values():
        assert seen["images"] == 0
        assert seen["drawings"] == 1
        assert seen["everyTable"]["fixed_effects"] > 0
        assert seen["tables"][0][0][0] == "https://example.org/x.png"
    text = found["models"][models[1]]["text"]
    assert f"7,185 rows of {HOSTILE[18]}" in text
    assert HOSTILE[11] in text


def test_it_listens_on_this_machine_alone(tmp_path):
    """Another address of this machine has the port free, which a server of all addresses would have taken."""
    with served(ROOT / "pipelines" / "dashboard.py", "--", "--database", str(tmp_path / "none.duckdb")) as address:
        port = int(address.rpartition(":")[2])
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", port))
        with socket.socket() as other:
            other.bind(("127.0.0.2", port))


def test_without_results_there_is_one_sentence(tmp_path):
    found = looked_at(tmp_path / "results.duckdb", "There are no results")
    assert "Run the pipeline first, uv run mlm run, and reload this page." in found["first"]["text"]


def test_a_failing_cell_would_be_seen(tmp_path):
    """The page of an app that fails has what the other tests look for."""
    app = tmp_path / "app.py"
    cells = ["import marimo as mo\n    return (mo,)", "1 / 0\n    return", "mo.md('History')\n    return"]
    bodies = [f"@app.cell\ndef _({'mo' if 'md' in cell else ''}):\n    {cell}\n" for cell in cells]
    app.write_text("\n".join(["import marimo", "app = marimo.App()", *bodies]))
    with served(app) as address:
        command = ["node", str(HERE / "dashboard.mjs"), str(CHROMIUM), str(MODULES), address, "History"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    assert json.loads(done.stdout)["errors"] >= 1
