"""A project's code location: run all of it in process, or open its UI."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from dagster._core.utils import make_new_run_id

from mlm_ops.errors import MlmError, ProjectError
from mlm_ops.plugins.dagster.progress import Progress
from mlm_ops.project import Project, find_project

#: The job that `mlm run` executes; a project without one gets Dagster's own job of all assets.
JOB = "mlm_run"
LOCALHOST = "127.0.0.1"
#: Step output is not captured, because the caller's progress lines would be captured with it.
OVERRIDES = {
    "telemetry": {"enabled": False},
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
}


@dataclass(frozen=True)
class Report:
    """What a run left behind."""

    run_id: str
    seconds: float
    published: tuple[Path, ...]
    warnings: tuple[str, ...]


def run_project(project_directory: Path, *, warehouse: Path | None, progress: Callable[[str], None]) -> Report:
    """Materialize everything in the project's code location, in this process, on the project's own instance.

    Parameters
    ----------
    project_directory
        The project, or a folder in it.
    warehouse
        Folder for warehouse.duckdb and results.duckdb, in place of the one that the code location names.
    progress
        Takes one readable line an asset, as it is done.

    Raises
    ------
    ProjectError
        There is no project here, it cannot be loaded, or a step failed for a reason that is no user's.
    MlmError
        A step failed: the class and sentence of the cause.
    """
    project = find_project(project_directory)
    started = time.monotonic()
    with _standing_in(project), _instance(project) as instance:
        definitions = _definitions(project)
        config = _run_config(definitions, warehouse)
        run_id, watcher = make_new_run_id(), Progress(progress)
        instance.add_event_listener(run_id, watcher)
        _job(definitions).execute_in_process(
            instance=instance,
            run_id=run_id,
            raise_on_error=False,
            run_config=config,
            # files the run under the code location that the UI loads
            tags={".dagster/repository": f"__repository__@{project.location_name}"},
        )
    watcher.raise_first_failure()
    return Report(run_id, time.monotonic() - started, tuple(watcher.published), tuple(watcher.warnings))


def serve_ui(project_directory: Path, port: int) -> int:
    """Start Dagster's UI and daemon for the project on this machine alone, until interrupted.

    Returns
    -------
    int
        The exit status of ``dagster dev``.

    Raises
    ------
    ProjectError
        There is no project here, or the port is taken.
    """
    project = find_project(project_directory)
    with socket.socket() as probe:
        # the web server would take the next free port without a word
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOCALHOST, port))
        except OSError as error:
            raise ProjectError(
                f"Port {port} of {LOCALHOST} cannot be used: {error.strerror}. Choose another."
            ) from error
    _make_home(project)
    # -W: `dagster dev` warns that `dg dev` succeeds it, which is another package
    command = [sys.executable, "-W", "ignore", "-m", "dagster", "dev", "--log-level", "warning"]
    command += ["--host", LOCALHOST, "--port", str(port)]
    home = {"DAGSTER_HOME": str(project.dagster_home), "DAGSTER_DISABLE_TELEMETRY": "yes"}
    server = subprocess.Popen(command, cwd=project.root, env={**os.environ, **home})
    # a terminated parent would leave the server running; an interrupt from the terminal reaches both
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    while True:
        try:
            return server.wait()
        except KeyboardInterrupt:
            continue


def _definitions(project: Project) -> dg.Definitions:
    """Import the code location.

    Raises
    ------
    ProjectError
        The module is missing, is another project's, or holds no Definitions. Errors of the analysis files pass.
    """
    try:
        module = importlib.import_module(project.module_name)
    except MlmError:
        raise
    except Exception as error:
        # a code location is the user's code: whatever it raises is theirs to mend
        raise ProjectError(
            f"Cannot import {project.module_name} from {project.root}: {type(error).__name__}: {error}"
        ) from error
    _require_own(module, project)
    found = [value for value in vars(module).values() if isinstance(value, dg.Definitions)]
    if len(found) != 1:
        raise ProjectError(f"{project.module_name} must hold one dagster.Definitions. Got {len(found)}.")
    return found[0]


def _require_own(module: ModuleType, project: Project) -> None:
    if module.__file__ is not None and not Path(module.__file__).resolve().is_relative_to(project.root):
        raise ProjectError(
            f"{project.module_name} was imported from {module.__file__}, not from the project {project.root}. "
            "Two projects use the same module name; rename one, or run them in separate environments."
        )


def _job(definitions: dg.Definitions) -> dg.JobDefinition:
    named = {job.name for job in definitions.jobs or ()}
    return definitions.resolve_job_def(JOB) if JOB in named else definitions.resolve_implicit_global_asset_job_def()


def _run_config(definitions: dg.Definitions, warehouse: Path | None) -> dict[str, object]:
    config: dict[str, object] = {}
    if not definitions.loggers:
        # Dagster's own console log would run through the progress lines
        config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}
    if warehouse is not None:
        if "warehouse" not in (definitions.resources or {}):
            raise ProjectError("The code location has no resource named warehouse, so --warehouse has nothing to set.")
        config["resources"] = {"warehouse": {"config": {"directory": str(warehouse.resolve())}}}
    return config


def _make_home(project: Project) -> None:
    try:
        project.dagster_home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"The folder {project.dagster_home} cannot be created: {error.strerror}.") from error
    if not os.access(project.dagster_home, os.W_OK):
        raise ProjectError(f"The folder {project.dagster_home} may not be written. Dagster keeps the runs there.")


@contextmanager
def _instance(project: Project) -> Iterator[dg.DagsterInstance]:
    _make_home(project)
    reference = InstanceRef.from_dir(str(project.dagster_home), overrides=OVERRIDES)
    with dg.DagsterInstance.from_ref(reference) as instance:
        yield instance


@contextmanager
def _standing_in(project: Project) -> Iterator[None]:
    """Import and run as from the project's root."""
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(project.dagster_home)
    sys.path.insert(0, str(project.root))
    try:
        yield
    finally:
        sys.path.remove(str(project.root))
        if before is None:
            del os.environ["DAGSTER_HOME"]
        else:
            os.environ["DAGSTER_HOME"] = before
