"""Check that a file may be replaced by a published copy: it must be one itself, of the same store, and no more."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from mlm_ops.analyses.store.version import UNPUBLISHED
from mlm_ops.errors import StoreError
from mlm_ops.language.spelling import list_names
from mlm_ops.logs import Event, tell
from mlm_ops.warehouse.connection import Connection, is_database_file
from mlm_ops.warehouse.faults import is_damage, why_not_opened
from mlm_ops.warehouse.ownership import PREFIX, RESULTS, Claim, Relation, columns_of, find_relations
from mlm_ops.warehouse.replacing import set_aside
from mlm_ops.warehouse.sql import literal, qualified

#: The comment on table ``store_version``, which says whether the database is a store or a published copy of one.
STORE, PUBLISHED = "results store", "published copy of a results store"
_REMEDY = "Give the file another name, or publish elsewhere."
_OTHER_FOLDER = (
    "Give each database a folder of its own, or publish the results of one of them to another folder: results_folder "
    "of its Warehouse, or of its components."
)
#: What stands in the comment before the store that a copy is of.
_SOURCE = " | of "
#: The query for sequences and functions, which a published copy does not have.
_SEQUENCES_AND_FUNCTIONS = (
    "select schema_name, sequence_name from duckdb_sequences() where database_name = current_database() union all"
    " select schema_name, function_name from duckdb_functions() where database_name = current_database()"
    " and not internal"
)


@dataclass(frozen=True)
class _Sound:
    """A file as it was when it was found to be a published copy, or was published, and the store that it is of."""

    signature: tuple[int, ...]
    source: str | None


#: Files that were found to be published copies, or were published, by this process, as they were then. To open one
#: costs as much as to publish it, as DuckDB reads the comments of seven hundred columns.
_SOUND: dict[Path, _Sound] = {}


def remember_published(path: Path, file: Path, source: str | None) -> None:
    """Remember that `file`, which is moved to `path`, is a published copy of the store `source` until it changes."""
    _SOUND[path] = _Sound(_signature(file), source)


def _signature(path: Path) -> tuple[int, ...]:
    """What another file, or another version of it, has not."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def is_sound(path: Path) -> bool:
    """Whether a file was found to be a published copy, or was published, by this process, and has not changed since."""
    known = _SOUND.get(path)
    return (
        known is not None
        and path.exists()
        and known.signature == _signature(path)
        and not path.with_name(path.name + ".wal").exists()
    )


def source_name(connection: Connection, path: Path) -> str | None:
    """Name the current database as a copy at `path` names it: its file, seen from the copy's folder.

    Both may be moved together. None for a database in memory.
    """
    query = "select path from duckdb_databases() where database_name = current_database()"
    ((database,),) = connection.execute(query).fetchall()
    if database is None:
        return None
    file = Path(os.path.realpath(database))
    try:
        return Path(os.path.relpath(file, path.parent)).as_posix()
    except ValueError:
        # on another drive
        return file.as_posix()


def mark_source(connection: Connection, version: Claim, source: str | None) -> None:
    """Write into the comment on a copy's table of versions which store the copy is of."""
    comment = version.comment if source is None else f"{version.comment}{_SOURCE}{json.dumps(source)}"
    connection.execute(f"comment on table {version.quoted} is {literal(comment)}")


def _read_source(comment: str | None) -> str | None:
    _, mark, name = (comment or "").rpartition(_SOURCE)
    with suppress(ValueError):
        return str(json.loads(name)) if mark else None
    return None


def check_published_copy(path: Path, schema: str, is_result: Callable[[str], bool], connection: Connection) -> None:
    """Refuse to replace a file that is not a published copy of this store; rename one that is damaged.

    Parameters
    ----------
    path
        The file; it need not exist.
    schema, is_result
        The schema of the results, and a function that says whether a table or view is named like a result; this
        recognises copies that an earlier mlm-ops made without marks.
    connection
        The store that is to be published.

    Raises
    ------
    StoreError
        The file is not a DuckDB database, contains something that mlm-ops did not make, is a results store itself, or
        has results of another store, which would be lost.
    """
    log = path.with_name(path.name + ".wal")
    if path.is_dir():
        raise StoreError(f"{path} is a folder, and the published results would take its place. {_REMEDY}")
    if not path.exists():
        if log.exists():
            _log_set_aside(log, set_aside(log, "without-database"))
        return
    if path.stat().st_size == 0:
        return
    if not is_sound(path):
        signature = _signature(path)
        if not is_database_file(path):
            raise StoreError(
                f"{path} is not a DuckDB database, and the published results would take its place. {_REMEDY}"
            )
        try:
            with _opened(path) as copy:
                _SOUND[path] = _Sound(signature, _check(copy, path, schema, is_result))
        except duckdb.Error as error:
            if not is_damage(error):
                raise
            _log_set_aside(path, set_aside(path, "damaged"))
            if log.exists():
                set_aside(log, "damaged")
            return
    source, own = _SOUND[path].source, source_name(connection, path)
    if source is None or source != own:
        _check_nothing_is_lost(connection, path, schema, source, own)


def is_of_another(connection: Connection, path: Path) -> bool:
    """Whether a published copy says that it is of another store than the current database.

    Raises
    ------
    duckdb.Error
        It cannot be read.
    """
    path = Path(os.path.realpath(path))
    with duckdb.connect(str(path), read_only=True) as copy:
        version = find_relations(copy, RESULTS).get("store_version")
    source = None if version is None else _read_source(version.comment)
    return source is not None and source != source_name(connection, path)


@contextmanager
def _opened(path: Path) -> Iterator[Connection]:
    """Open a file to be read, or a copy of it where another process has it open.

    Raises
    ------
    StoreError
        It can be neither opened nor copied.
    duckdb.Error
        It is damaged.
    """
    try:
        connection = duckdb.connect(str(path), read_only=True)
    except duckdb.Error as error:
        if is_damage(error):
            raise
        with tempfile.TemporaryDirectory() as folder:
            copy, log = Path(folder) / "copy.duckdb", path.with_name(path.name + ".wal")
            try:
                shutil.copyfile(path, copy)
                if log.exists():
                    shutil.copyfile(log, copy.with_name(copy.name + ".wal"))
                with duckdb.connect(str(copy), read_only=True) as connection:
                    yield connection
            except (duckdb.Error, OSError):
                raise StoreError(why_not_opened(path, error)) from error
    else:
        with connection:
            yield connection


def _check_nothing_is_lost(
    connection: Connection, path: Path, schema: str, source: str | None, own: str | None
) -> None:
    """Refuse to replace a copy of another store; one of this store before its file was renamed is none.

    Of every analysis a store keeps the latest run, so that its own copy has none that it lacks.
    """
    columns = "analysis, run_id, epoch_us(finished_at)"
    with _opened(path) as copy:
        table = "latest_runs" if "latest_runs" in find_relations(copy, schema) else "runs"
        published = copy.execute(f"select {columns} from {qualified(schema, table)}").fetchall()
    stored = []
    if "store_version" in find_relations(connection, schema):
        stored = connection.execute(f"select {columns} from {qualified(schema, 'runs')}").fetchall()
    if lost := {*published}.difference(stored):
        other = "another database" if source is None else os.path.normpath(path.parent / source)
        this = "this one" if own is None else os.path.normpath(path.parent / own)
        raise StoreError(
            f"{path} has the published results of {other} ({list_names(sorted({run[0] for run in lost}), 3)}), and "
            f"those of {this} would take their place. {_OTHER_FOLDER}"
        )


def _check(connection: Connection, path: Path, schema: str, is_result: Callable[[str], bool]) -> str | None:
    """Refuse a database that is no published copy; return the name of the store that it is of, if it says so."""
    relations = _relations(connection)
    foreign = [f"{s}.{n}" for s, n in connection.execute(_SEQUENCES_AND_FUNCTIONS).fetchall()]
    version = next((r for r in relations if (r.schema, r.name) == (schema, "store_version")), None)
    if version is not None and version.is_marked(STORE):
        raise StoreError(
            f"{path} is a results store that runs are written to, and the published results would take its place. "
            f"{_REMEDY}"
        )
    has_mark = version is not None and version.is_marked(PUBLISHED)
    for relation in relations:
        has_our_name = relation.schema == schema and is_result(relation.name) and version is not None
        is_marked_ours = (
            (relation.comment or "").startswith(PREFIX)
            if has_mark
            else has_our_name and _is_earlier(connection, relation)
        )
        if not (has_our_name and is_marked_ours):
            foreign.append(relation.shown)
    if foreign:
        raise StoreError(
            f"{path} holds {list_names(foreign, 3)}, which mlm-ops did not publish, and the published results would "
            f"take its place. {_REMEDY}"
        )
    return None if version is None else _read_source(version.comment)


def _relations(connection: Connection) -> list[Relation]:
    schemas = connection.execute(
        "select distinct schema_name from duckdb_schemas() where database_name = current_database()"
    ).fetchall()
    return [relation for (name,) in schemas for relation in find_relations(connection, name).values()]


def _is_earlier(connection: Connection, relation: Relation) -> bool:
    """Whether a table or view without a mark is one of a published copy, in which what is not published has no rows."""
    columns = columns_of(connection, relation)
    if relation.name == "store_version":
        return columns == ["version"]
    if relation.name in UNPUBLISHED:
        rows = f"select 1 from {qualified(relation.schema, relation.name)} limit 1"
        return not connection.execute(rows).fetchall()
    return columns[:2] == ["run_id", "analysis"]


def _log_set_aside(path: Path, place: Path) -> None:
    tell(Event.SET_ASIDE, f"{path} is damaged, or belongs to no database; it is now {place.name}", path=str(place))
