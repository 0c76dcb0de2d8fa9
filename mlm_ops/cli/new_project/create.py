"""Create the project of ``mlm init``: all of its files in a new folder, or none."""

from __future__ import annotations

import functools
import keyword
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mlm_ops.analyses.starter.analysis_file import analysis_text
from mlm_ops.analyses.starter.groups import UndecidedError
from mlm_ops.analyses.starter.guess import MOST_COLUMNS, Guess, guess, too_wide
from mlm_ops.cli.new_project.files import NewProject, dagster_files, dbt_files
from mlm_ops.cli.rows import refuse_table
from mlm_ops.errors import DataError, ProjectError
from mlm_ops.warehouse.connection import is_reserved, open_database
from mlm_ops.warehouse.files.encoding import open_bytes
from mlm_ops.warehouse.files.folders import parquet_folder
from mlm_ops.warehouse.files.kinds import FileKind, is_data_file, is_database, kind_of, stem_of
from mlm_ops.warehouse.files.reading import PATH, Reading
from mlm_ops.warehouse.relation import quoted_table
from mlm_ops.warehouse.source import Source, open_source
from mlm_ops.warehouse.sql import file_literal

#: Names that a project cannot have: schemas and catalogs of DuckDB and mlm-ops, and names that Dagster reserves.
RESERVED_NAMES = frozenset(
    {"main", "temp", "system", "memory", "information_schema", "mlm", "source", "warehouse", "results"}
) | {
    *("context", "conf", "config", "meta", "arg_dict", "dict", "input_arg_dict", "output_arg_dict"),
    *("int", "str", "float", "bool", "input", "output", "type"),
}
#: Asks for a column: takes the question, the default answer or None, and the columns that may be answered.
Ask = Callable[[str, str | None, Sequence[str]], str]
#: The most bytes of a first line that are read.
MOST_HEADER = 10_000_000


def create_project(
    folder: Path,
    data: Path,
    *,
    table: str | None = None,
    outcome: str | None = None,
    group: str | None = None,
    dbt: bool = False,
    ask: Ask | None = None,
) -> Guess:
    """Create a project in a new or empty folder, and return the guessed roles of the columns.

    Parameters
    ----------
    ask
        Confirms the guessed groups and outcome, where they are not named; without it they are taken.

    Raises
    ------
    ProjectError
        The folder is not empty, or cannot be written. Nothing is overwritten.
    DataError
        The data cannot be read, or no column can be the group or the outcome.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProjectError(f"{folder} exists and is not an empty folder; nothing is overwritten. Name a new folder.")
    above = next((path for path in folder.absolute().parents if path.exists()), None)
    if above is not None and not above.is_dir():
        raise ProjectError(f"{folder} cannot be a folder: {above} is a file. Name a new folder.")
    roles, table_sql, reading = _guess_roles(
        data, table, functools.partial(_roles, outcome=outcome, group=group, ask=ask)
    )
    path = os.path.relpath(data.resolve(), folder.resolve())
    rows = None
    if data.is_dir():
        rows = parquet_folder(data, path)
    elif reading is not None and reading.sql is not None:
        rows = reading.sql.replace(PATH, file_literal(path), 1)
    if dbt and table_sql is None and rows is None:
        raise ProjectError(
            f"dbt cannot read {data}, as DuckDB cannot by itself. Write it to a CSV or Parquet file, or load it into a "
            "DuckDB file."
        )
    project = NewProject(_project_name(stem_of(data)), path, table_sql, rows, roles)
    files = (
        dbt_files(project)
        if dbt
        else dagster_files(project, analysis_text(project.name, f"main.{project.name}", roles))
    )
    is_new = not folder.exists()
    try:
        for name, content in files.items():
            file_path = folder / name
            file_path.parent.mkdir(parents=True, exist_ok=True)
            with file_path.open("x", encoding="utf-8") as file:
                file.write(content)
    except OSError as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise ProjectError(f"The project cannot be written to {folder}: {error.strerror}.") from error
    return roles


def _guess_roles(
    data: Path, table: str | None, roles_of: Callable[[Source], Guess]
) -> tuple[Guess, str | None, Reading | None]:
    """Guess the roles of the columns; return the quoted table of a database too, or how a data file is read."""
    if not is_database(data):
        refuse_table(data, table)
        _refuse_wide(data)
        rows = open_source(data)
        return roles_of(rows), None, rows.reading
    connection, name = open_database(data, table)
    with connection:
        source: Source = open_source(name, connection)
        return roles_of(source), quoted_table(name), None


def _roles(source: Source, outcome: str | None, group: str | None, ask: Ask | None) -> Guess:
    """Guess the roles of the columns, and have the groups and the outcome confirmed."""
    if ask is None:
        return guess(source, outcome, group)
    columns = list(source.types)
    while True:
        try:
            roles = guess(source, outcome, group)
        except UndecidedError as error:
            if error.role == "group":
                group = ask("Which column groups the rows?", None, columns)
            else:
                outcome = ask("Which column is the outcome?", None, columns)
            continue
        if group is None:
            group = ask("Which column groups the rows?", roles.levels[0], columns)
            if group != roles.levels[0]:
                continue  # other groups, and perhaps another outcome
        if outcome is None:
            outcome = ask("Which column is the outcome?", roles.outcome, columns)
            if outcome != roles.outcome:
                # groups that were confirmed keep the levels above them
                return guess(source, outcome, None if group == roles.levels[0] and len(roles.levels) > 1 else group)
        return roles


def _refuse_wide(data: Path) -> None:
    """Refuse a very wide text file by its first line, because finding the types of its columns would take minutes."""
    if not is_data_file(data) or not data.is_file() or kind_of(data) is not FileKind.DELIMITED:
        return
    with open_bytes(data) as file:
        first = file.readline(MOST_HEADER)
    columns = 1 + max(first.count(mark) for mark in (b",", b"\t", b";", b"|"))
    # quoted names may contain these characters too, so DuckDB counts the columns of a file near the limit
    if columns > 2 * MOST_COLUMNS:
        raise DataError(too_wide(str(data), columns))


def _project_name(text: str) -> str:
    """Make a word out of a text that can be a name in Python, SQL and Dagster, and of a file."""
    word = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    return word if word and not word[0].isdigit() and not is_reserved_name(word) else f"data_{word}".rstrip("_")


def is_reserved_name(word: str) -> bool:
    """Whether a word is reserved by Python, DuckDB or Dagster, so that it cannot be a name."""
    if keyword.iskeyword(word) or word in RESERVED_NAMES or word.startswith(("pg_", "duckdb_", "sqlite_", "mlm_")):
        return True
    return is_reserved(word)
