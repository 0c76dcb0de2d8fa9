"""Find the project of the current folder: the nearest folder above whose pyproject.toml names a code location."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mlm_ops.errors import ProjectError

#: What the name of an analysis file ends in.
ANALYSIS_SUFFIXES = (".yaml", ".yml")
#: The published copy of the result tables, in the folder of the warehouse.
RESULTS_FILE = "results.duckdb"
#: The number of runs whose Dagster logs are kept, unless ``[tool.mlm-ops]`` sets another: a log has 0.4 to 0.6 MB.
KEEP_RUN_LOGS = 100


@dataclass(frozen=True)
class Project:
    """A folder whose pyproject.toml names a code location.

    Attributes
    ----------
    root
        The folder.
    module_name, location_name
        The module of the code location, and the location's name in Dagster.
    keep_run_logs
        The number of runs whose Dagster logs are kept; None for all.
    """

    root: Path
    module_name: str
    location_name: str
    keep_run_logs: int | None = KEEP_RUN_LOGS

    @property
    def dagster_home(self) -> Path:
        """The folder of the Dagster instance: the project's own, or else the one that ``DAGSTER_HOME`` names."""
        own, elsewhere = self.root / "dagster_home", os.environ.get("DAGSTER_HOME")
        return Path(elsewhere) if elsewhere and not own.exists() else own

    @property
    def results(self) -> Path:
        """The file that `mlm run` publishes to, unless ``--warehouse`` names another folder."""
        return self.root / "warehouse" / RESULTS_FILE


#: What to do without a project.
_WITHOUT_PROJECT = "; mlm fit FILE fits a single analysis file, and mlm show --database FILE shows its results."


def find_project(directory: Path, otherwise: str = _WITHOUT_PROJECT) -> Project:
    """Walk up from `directory` to a pyproject.toml with a ``[tool.dagster]`` block.

    Parameters
    ----------
    otherwise
        What can be done without a project, as the end of a sentence.

    Raises
    ------
    ProjectError
        There is none, or it does not name a module.
    """
    start = directory.resolve()
    for folder in (start, *start.parents):
        block = _dagster_block(folder / "pyproject.toml")
        if block is None:
            continue
        module_name = block.get("module_name")
        if not isinstance(module_name, str) or not all(part.isidentifier() for part in module_name.split(".")):
            raise ProjectError(
                f"[tool.dagster] in {folder / 'pyproject.toml'} names no code location. "
                f"Got {', '.join(f'{key} = {value!r}' for key, value in block.items()) or 'nothing'}; "
                'expected module_name = "pipelines.definitions" or the like.'
            )
        keep_run_logs = _keep_run_logs(folder / "pyproject.toml")
        return Project(folder, module_name, str(block.get("code_location_name", module_name)), keep_run_logs)
    raise ProjectError(
        f"There is no project in {start} or above it: no pyproject.toml with a [tool.dagster] block. "
        f"Run this inside a project{otherwise}"
    )


def make_home(project: Project) -> None:
    """Create the folder of the project's Dagster instance if it is missing.

    Raises
    ------
    ProjectError
        It cannot be created, or may not be written.
    """
    try:
        project.dagster_home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"The folder {project.dagster_home} cannot be created: {error.strerror}.") from error
    if not os.access(project.dagster_home, os.R_OK | os.W_OK | os.X_OK):
        raise ProjectError(f"The folder {project.dagster_home} may not be written. Dagster keeps the runs there.")


def _keep_run_logs(path: Path) -> int | None:
    """Read ``keep_run_logs`` of the block ``[tool.mlm-ops]``: a number of runs, or "all"."""
    block = _block(path, "mlm-ops") or {}
    value = block.get("keep_run_logs", KEEP_RUN_LOGS)
    if value == "all":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ProjectError(
            f"keep_run_logs of [tool.mlm-ops] in {path} is a number of runs. Got {value!r}; "
            'expected 1 or more, or "all".'
        )
    return value


def _dagster_block(path: Path) -> dict[str, object] | None:
    return _block(path, "dagster")


def _block(path: Path, name: str) -> dict[str, object] | None:
    import tomllib  # not for those who fit a formula

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"Cannot read {path}: {error}.") from error
    tools = content.get("tool", {})
    if not isinstance(tools, dict):
        raise ProjectError(f"Cannot read {path}: tool is a table. Got tool = {tools!r}; expected [tool.dagster].")
    block = tools.get(name)
    return block if isinstance(block, dict) else None
