"""Find and read the results that a command shows: those of the database that is named, or else of the project."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlm_ops.cli.messages import command, short_path
from mlm_ops.errors import StoreError

if TYPE_CHECKING:
    import polars as pl


#: What a command that reads results can do without a project.
_WITHOUT_PROJECT = ", or name the file of the results: add --database FILE to the command."


def results_path(database: Path | None) -> Path:
    """The database that is named, or the project's results.

    Raises
    ------
    StoreError
        The project has none yet.
    ProjectError
        There is no project here.
    """
    from mlm_ops.analyses.project import find_project

    path = database or find_project(Path.cwd(), _WITHOUT_PROJECT).results
    if not path.exists() and database is None:
        raise StoreError(
            f"There are no results yet: {short_path(path)} does not exist. Make them with: {command('run')}"
        )
    return path


def read_results(
    database: Path | None, names: Sequence[str], tell: Callable[[str], None], named: Sequence[str] = ()
) -> tuple[Path, pl.DataFrame, dict[str, pl.DataFrame]]:
    """Read tables of the latest runs of a database, by default the project's results.

    Parameters
    ----------
    named
        Tables of which one row of each model is enough, as they are only named where they have rows.

    Returns
    -------
    tuple
        The database, table runs, and the tables by name.

    Raises
    ------
    StoreError
        There is no such table, or there are no results.
    """
    path = results_path(database)

    from mlm_ops.analyses.store.runs import read_latest
    from mlm_ops.warehouse.connection import using

    with using(path, read_only=True, on_wait=tell) as connection:
        runs = read_latest(connection, "runs")
        tables = {name: read_latest(connection, name) for name in names}
        tables |= {name: read_latest(connection, name, one_row=True) for name in named}
    if runs.is_empty():
        raise no_results(path)
    return path, runs, tables


def no_results(path: Path) -> StoreError:
    """The error of a database whose store has no finished run."""
    return StoreError(f"There are no finished results in {short_path(path)} yet.")
