"""A run beside `dbt build` on one database file: whoever comes second waits, or says who holds the file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from tests.hosts.operations.conftest import CODE_LOCATION, Place, whole_runs

pytestmark = pytest.mark.hosts

DBT_PROJECT = """
name: beside
version: 0.1.0
config-version: 2
profile: beside
flags: {send_anonymous_usage_stats: false}
"""
PROFILE = """
beside:
  target: dev
  outputs:
    dev:
      type: duckdb
      path: ../warehouse/warehouse.duckdb
"""
#: As docs/dbt.md has them.
RETRIES = """\
      retries:
        connect_attempts: 6
"""
#: A model that keeps dbt at work until it is told to go on.
HELD = """
import time
from pathlib import Path

def model(dbt, session):
    Path("../holding").touch()
    while not Path("../go").exists():
        time.sleep(0.05)
    return session.sql("select 1 as x")
"""
#: An asset that does the same within a run.
HOLDING = CODE_LOCATION.replace(
    "        connection.execute(",
    """        (HERE / "holding").touch()
        while not (HERE / "go").exists():
            time.sleep(0.05)
        connection.execute(""",
).replace("from pathlib", "import time\nfrom pathlib", 1)


def make_dbt(place: Place, model: tuple[str, str]) -> Path:
    folder = place.folder / "dbt"
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text(DBT_PROJECT)
    (folder / "profiles.yml").write_text(PROFILE)
    (folder / "models" / model[0]).write_text(model[1])
    place.warehouse.parent.mkdir(exist_ok=True)
    return folder


def start_dbt(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from dbt.cli.main import cli; cli()", "--no-version-check", "--no-use-colors"]
    environment = {"DBT_PROFILES_DIR": str(folder), "HOME": str(folder), "PATH": os.environ["PATH"]}
    return subprocess.Popen(
        [*command, "build"], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until_it_holds(place: Place, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not (place.folder / "holding").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_and_a_fit_wait_for_dbt_build(place: Place) -> None:
    folder = make_dbt(place, ("held.py", HELD))
    place.database.rename(place.warehouse)
    dbt = start_dbt(folder)
    wait_until_it_holds(place, dbt)
    wait_words = f"is open in another process (PID {dbt.pid}, {Path(os.path.realpath(sys.executable)).name})"
    run, fit = place.start("run"), place.start("fit", "small.yaml", "--database", place.warehouse)
    assert run.stderr is not None
    assert fit.stderr is not None
    line_of_fit = fit.stderr.readline()
    assert line_of_fit == f"The database {place.warehouse} {wait_words}; waiting up to 30 s for it.\n"
    while wait_words not in (line := run.stderr.readline()):
        assert line
    (place.folder / "go").touch()
    for process in (dbt, run, fit):
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, f"{output}{errors}"
    both = whole_runs(place.warehouse)
    assert len(both) == 2
    # a fit publishes nothing; the run published what was there by then
    assert set() < whole_runs(place.results) <= both
    with duckdb.connect(str(place.warehouse), read_only=True) as connection:
        assert connection.execute("select x from main.held").fetchall() == [(1,)]


def test_dbt_build_beside_a_run(place: Place) -> None:
    """dbt gives up at once, and says who holds the file; with retries it waits 1, 2, 4, … seconds."""
    folder = make_dbt(place, ("counted.sql", "select count(*) as n from main.pupils"))
    (place.folder / "small_pipeline.py").write_text(HOLDING)
    run = place.start("run")
    wait_until_it_holds(place, run)
    dbt = start_dbt(folder)
    output, _ = dbt.communicate(timeout=60)
    assert dbt.returncode == 2, output
    assert "Could not set lock on file" in output
    assert f"(PID {run.pid})" in output
    (folder / "profiles.yml").write_text(PROFILE + RETRIES)
    dbt = start_dbt(folder)
    # without retries it gave up within its first connection
    with pytest.raises(subprocess.TimeoutExpired):
        dbt.wait(10)
    (place.folder / "go").touch()
    for process in (run, dbt):
        output, errors = process.communicate(timeout=120)
        assert process.returncode == 0, f"{output}{errors}"
    assert len(whole_runs(place.results)) == 1
    with duckdb.connect(str(place.warehouse), read_only=True) as connection:
        assert connection.execute("select n from main.counted").fetchall() == [(300,)]
