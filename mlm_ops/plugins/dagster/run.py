"""Run a project's code location in this process."""

from __future__ import annotations

import importlib
import os
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import dagster as dg
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.utils import make_new_run_id

from mlm_ops.analyses.project import Project, find_project, make_home
from mlm_ops.analyses.store.recovery import recover
from mlm_ops.errors import DamagedError, MlmError, ProjectError, StoreError
from mlm_ops.language.spelling import did_you_mean, list_names
from mlm_ops.plugins.dagster.event_log import open_event_log
from mlm_ops.plugins.dagster.metadata import ANALYSIS
from mlm_ops.plugins.dagster.progress import Progress, analysis_of
from mlm_ops.plugins.dagster.warehouse import Warehouse
from mlm_ops.reports.page.background_reports import reports_ahead
from mlm_ops.reports.page.report import write_index
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.replacing import locked
from mlm_ops.warehouse.sql import identifier

#: Bytes of a run's log without events; with those of the smallest run it has several times as many.
EMPTY_LOG = 65_536
HOST, PROCESS = "mlm/host", "mlm/process"
UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def run_tags() -> dict[str, str]:
    """Make tags that name the process of a run, and keep a daemon from starting it again: it could not load it."""
    return {HOST: socket.gethostname(), PROCESS: process_name(os.getpid()), "dagster/max_retries": "0"}


def run_start(context: dg.AssetExecutionContext) -> float:
    """Return when the run began, in seconds since 1970; now, where Dagster has no record of it."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return record.start_time if record is not None and record.start_time is not None else time.time()


def close_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Mark as failed the unfinished runs of this host whose process has gone.

    Returns
    -------
    list[str]
        A sentence for each.
    """
    sentences = []
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED, tags={HOST: socket.gethostname()})):
        if not is_alive(run.tags.get(PROCESS, "")):
            instance.report_run_failed(run, "The process of this run was killed before it could finish.")
            sentences.append(f"The run {run.run_id[:8]} was killed before it could finish; it is marked as failed now.")
    return sentences


def forget_old_logs(instance: dg.DagsterInstance, directory: Path) -> int:
    """Remove the logs of old runs of the project that `directory` lies in, from its own Dagster instance.

    A run's log is a file of its own. What the UI plots and lists is kept elsewhere: runs, materializations with their
    metadata, and verdicts of checks. An instance that is not the project's, or keeps its events in another database,
    is left alone.

    Returns
    -------
    int
        How many logs went.
    """
    storage = instance.event_log_storage
    try:
        project = find_project(directory)
    except ProjectError:
        return 0
    project_home = (project.root / "dagster_home").resolve()
    if not isinstance(storage, SqliteEventLogStorage) or Path(instance.root_directory).resolve() != project_home:
        return 0
    run_ids = [name for name in storage.get_all_run_ids() if not _is_empty(Path(storage.path_for_shard(name)))]
    if project.keep_run_logs is None or len(run_ids) <= project.keep_run_logs:
        return 0
    # the newest first
    runs = instance.get_runs(dg.RunsFilter(run_ids=run_ids))
    old_runs = [run for run in runs[project.keep_run_logs :] if run.is_finished]
    for run in old_runs:
        # a log that someone reads at this moment is emptied after the next run
        with suppress(sqlite3.OperationalError):
            _empty(Path(storage.path_for_shard(run.run_id)))
    return len(old_runs)


def _is_empty(log: Path) -> bool:
    return log.stat().st_size <= EMPTY_LOG


def _empty(log: Path) -> None:
    """Delete every event of a run's log, and the tables that Dagster makes beside them and leaves empty.

    The table of events stays: a web server that has the log open reads it.
    """
    with closing(sqlite3.connect(log, isolation_level=None, timeout=1.0)) as connection:
        names = connection.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (name,) in names:
            if name == "event_logs":
                connection.execute("delete from event_logs")
            elif name != "alembic_version" and not name.startswith("sqlite_"):
                connection.execute(f"drop table {identifier(name)}")
        connection.execute("vacuum")
        connection.execute("pragma wal_checkpoint(truncate)")


def process_name(pid: int) -> str:
    """Name a process ``<pid>:<start>``: a number is used again later, so the time of the start is added where known."""
    try:
        # the command, in parentheses, may itself hold spaces and parentheses; the start is field 22 of proc(5)
        start = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        start = ""
    return f"{pid}:{start}"


def is_alive(name: str) -> bool:
    """Say whether the process of `name` still runs; true where that cannot be found out."""
    pid = name.partition(":")[0]
    if not pid.isdigit() or sys.platform == "win32":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return process_name(int(pid)) == name


#: The job that `mlm run` executes; a project without one gets Dagster's own job of all assets.
JOB = "mlm_run"
#: Step output is not captured, because the caller's progress lines would be captured with it.
OVERRIDES = {
    "telemetry": {"enabled": False},
    "compute_logs": {"module": "dagster._core.storage.noop_compute_log_manager", "class": "NoOpComputeLogManager"},
}


@dataclass(frozen=True)
class RunSummary:
    """Sum up a run: the copies of the results that it wrote, and the analyses whose results are in them."""

    run_id: str
    seconds: float
    published: tuple[Path, ...]
    analyses: tuple[str, ...]
    warnings: tuple[str, ...]


def run_project(
    project_directory: Path,
    *,
    warehouse: Path | None,
    progress: Callable[[str], None],
    run_id: str | None = None,
    analysis: str | None = None,
) -> RunSummary:
    """Materialize a project's code location, or one analysis of it, in this process, on the project's own instance.

    Parameters
    ----------
    project_directory
        The project, or a folder in it.
    warehouse
        Folder for warehouse.duckdb and results.duckdb, in place of the one that the code location names.
    progress
        Takes one readable line per asset, as it is materialized.
    run_id
        A UUID for the run; by default a new one.
    analysis
        The analysis to run, with the data that it needs; by default everything.

    Raises
    ------
    ProjectError
        There is no project here, it cannot be loaded, it has no such analysis, or a step failed for a reason that is
        no user's.
    MlmError
        Steps failed: the class and sentence of the cause, or a line for each of several.
    KeyboardInterrupt
        The run was stopped; its message says what was published.
    """
    project = find_project(project_directory)
    start = time.monotonic()
    with _from_project_root(project), _instance(project) as instance, open_event_log(instance):
        definitions = _definitions(project)
        warehouses = warehouses_of(definitions, warehouse)
        config, job = _run_config(definitions, warehouse, warehouses), _job(definitions, project)
        for place in warehouses.values():
            if sentence := recover(place.database, place.results):
                progress(sentence)
        for sentence in close_dead_runs(instance):
            progress(sentence)
        forget_old_logs(instance, project.root)
        analyses = _analyses(job)
        keys = None if analysis is None else _keys_of(job, analyses, analysis)
        if analysis is not None:
            analyses = {key: name for key, name in analyses.items() if name == analysis}
        run_id = run_id or make_new_run_id()
        with reports_ahead() if _has_reports(job) and len(analyses) > 1 else nullcontext() as ahead:
            listener = Progress(progress, None if ahead is None else ahead.ask, analyses)
            _execute(job, instance, project, config, run_id, listener, keys)
        if _has_reports(job) and listener.published and not listener.interrupted:
            for place in warehouses.values():
                _list_reports(place.results, progress)
    try:
        listener.conclude()
    except DamagedError as error:
        recoveries = [recover(place.database, place.results, found_damaged=True) for place in warehouses.values()]
        sentences = " ".join(sentence for sentence in recoveries if sentence)
        raise StoreError(f"{sentences} Run again." if sentences else str(error.args[0])) from error
    return RunSummary(
        run_id,
        time.monotonic() - start,
        tuple(dict.fromkeys(listener.published.values())),
        tuple(listener.analyses[key] for key in listener.published if key in listener.analyses),
        tuple(listener.warnings),
    )


def _execute(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    project: Project,
    config: dict[str, object],
    run_id: str,
    listener: Progress,
    keys: list[dg.AssetKey] | None,
) -> None:
    """Run the job, or some assets of it, in this process; the listener gets its events, an interrupt included."""
    instance.add_event_listener(run_id, listener)
    try:
        job.execute_in_process(
            instance=instance,
            run_id=run_id,
            raise_on_error=False,
            run_config=config,
            asset_selection=keys,
            # files the run under the code location that the UI loads
            tags={".dagster/repository": f"__repository__@{project.location_name}", **run_tags()},
        )
    except (KeyboardInterrupt, DagsterExecutionInterruptedError):
        listener.interrupted = True


def _list_reports(results: Path, progress: Callable[[str], None]) -> None:
    """Write the list of all reports, as `mlm report` does; where it cannot be written, the run has not failed."""
    try:
        file = write_index(results)
    except (MlmError, OSError) as error:
        progress(f"The list of all reports could not be written: {error}")
    else:
        if file is not None:
            progress(f"All reports are listed in {file.path.parent.name}/{file.path.name}.")


def warehouses_of(definitions: dg.Definitions, folder: Path | None) -> dict[str, Warehouse]:
    """The project's warehouses by the keys of their resources; the one that a folder is given for lies in it.

    Raises
    ------
    ProjectError
        A folder is given, and there is no warehouse, or several.
    """
    resources = definitions.resources or {}
    warehouses = {key: resource for key, resource in resources.items() if isinstance(resource, Warehouse)}
    if folder is None:
        return warehouses
    if len(warehouses) != 1:
        names = f" has the warehouses {list_names(warehouses)}" if warehouses else " has no warehouse"
        raise ProjectError(f"The code location{names}, so --warehouse has not one folder to set. Leave it out.")
    ((key, warehouse),) = warehouses.items()
    return {key: warehouse.in_folder(folder)}


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
    definitions = [value for value in vars(module).values() if isinstance(value, dg.Definitions)]
    if len(definitions) != 1:
        raise ProjectError(f"{project.module_name} must hold one dagster.Definitions. Got {len(definitions)}.")
    return definitions[0]


def _require_own(module: ModuleType, project: Project) -> None:
    if module.__file__ is not None and not Path(module.__file__).resolve().is_relative_to(project.root):
        raise ProjectError(
            f"{project.module_name} was imported from {module.__file__}, not from the project {project.root}. "
            "Two projects use the same module name; rename one, or run them in separate environments."
        )


def _job(definitions: dg.Definitions, project: Project) -> dg.JobDefinition:
    """The job to run.

    Raises
    ------
    ProjectError
        The definitions do not go together.
    """
    names = {job.name for job in definitions.jobs or ()}
    try:
        if JOB in names:
            return definitions.resolve_job_def(JOB)
        return definitions.resolve_implicit_global_asset_job_def()
    except dg.DagsterError as error:
        raise ProjectError(f"The assets of {project.module_name} do not go together: {error}") from error


def _analyses(job: dg.JobDefinition) -> dict[str, str]:
    """Names of the analyses that the job publishes, by the key of their results."""
    layer = job.asset_layer
    analyses = {key.to_user_string(): layer.get(key).metadata.get(ANALYSIS) for key in layer.selected_asset_keys}
    return {key: str(name) for key, name in sorted(analyses.items()) if name is not None}


def _has_reports(job: dg.JobDefinition) -> bool:
    return any(key.path[-1] == "report" for key in job.asset_layer.selected_asset_keys)


def _keys_of(job: dg.JobDefinition, analyses: dict[str, str], analysis: str) -> list[dg.AssetKey]:
    """Keys of an analysis' assets and of all that its results are made from.

    Raises
    ------
    ProjectError
        There is no such analysis.
    """
    names = sorted(analyses.values())
    if analysis not in names:
        raise ProjectError(
            f"There is no analysis {analysis} in this project.{did_you_mean(analysis, names)} "
            f"There are {list_names(names) or 'none'}."
        )
    layer = job.asset_layer
    keys = {key for key in layer.selected_asset_keys if analysis_of(key, analyses) == analysis}
    remaining = list(keys)
    while remaining:
        key = remaining.pop()
        keys.add(key)
        remaining += [parent for parent in layer.get(key).parent_keys if parent not in keys]
    return sorted(keys & set(layer.selected_asset_keys))


def _run_config(
    definitions: dg.Definitions, folder: Path | None, warehouses: Mapping[str, Warehouse]
) -> dict[str, object]:
    config: dict[str, object] = {}
    if not definitions.loggers:
        # Dagster's own console log would run through the progress lines
        config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}
    if folder is not None:
        config["resources"] = {
            key: {"config": {"directory": each.directory, "results_folder": each.results_folder}}
            for key, each in warehouses.items()
        }
    return config


@contextmanager
def _instance(project: Project) -> Iterator[dg.DagsterInstance]:
    make_home(project)
    # Dagster makes its databases when it is first asked for them, and of two processes that make them at once one fails
    with locked(project.dagster_home / "dagster.db", "set up"):
        try:
            reference = InstanceRef.from_dir(str(project.dagster_home), overrides=OVERRIDES)
            new_instance = dg.DagsterInstance.from_ref(reference)
            # where its databases are damaged it says so now, and not in the middle of the run
            new_instance.get_run_records(limit=1)
        except Exception as error:
            # Dagster's own, SQLAlchemy's, YAML's, the system's: all are about what stands in this folder
            raise _unusable(project, error) from error
    with new_instance as instance:
        try:
            yield instance
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("sqlalchemy", "sqlite3"):
                raise
            raise _unusable(project, error) from error


def _unusable(project: Project, error: Exception) -> ProjectError:
    return ProjectError(
        f"The Dagster instance in {project.dagster_home} cannot be used: {first_line(error).rstrip('.')}. Mend its "
        "dagster.yaml; or remove the other files there, which hold past runs alone, and run again."
    )


@contextmanager
def _from_project_root(project: Project) -> Iterator[None]:
    """Import from the project's root, with its Dagster instance, in a block."""
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
