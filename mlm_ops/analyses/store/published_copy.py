"""Check that a file may be replaced by a published copy: it must be one itself, and contain nothing else."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb

from mlm_ops.analyses.store.version import UNPUBLISHED
from mlm_ops.errors import StoreError
from mlm_ops.language.spelling import list_names
from mlm_ops.logs import Event, tell
from mlm_ops.warehouse.connection import Connection, is_database_file
from mlm_ops.warehouse.faults import is_damage, why_not_opened
from mlm_ops.warehouse.ownership import PREFIX, Relation, columns_of, find_relations
from mlm_ops.warehouse.replacing import set_aside
from mlm_ops.warehouse.sql import qualified

#: The comment on table ``store_version``, which says whether the database is a store or a published copy of one.
STORE, PUBLISHED = "results store", "published copy of a results store"
_REMEDY = "Give the file another name, or publish elsewhere."
#: The query for sequences and functions, which a published copy does not have.
_SEQUENCES_AND_FUNCTIONS = (
    "select schema_name, sequence_name from duckdb_sequences() where database_name = current_database() union all"
    " select schema_name, function_name from duckdb_functions() where database_name = current_database()"
    " and not internal"
)


#: Files that were found to be published copies, or were published, by this process, as they were then. To open one
#: costs as much as to publish it, as DuckDB reads the comments of seven hundred columns.
_SOUND: dict[Path, tuple[int, ...]] = {}


def remember_published(path: Path, file: Path) -> None:
    """Remember that `file`, which is moved to `path`, is a published copy until it changes."""
    _SOUND[path] = _signature(file)


def _signature(path: Path) -> tuple[int, ...]:
    """What another file, or another version of it, has not."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def is_sound(path: Path) -> bool:
    """Whether a file was found to be a published copy, or was published, by this process, and has not changed since."""
    return path.exists() and _SOUND.get(path) == _signature(path) and not path.with_name(path.name + ".wal").exists()


def check_published_copy(path: Path, schema: str, is_result: Callable[[str], bool]) -> None:
    """Refuse to replace a file that is not a published copy; rename one that is damaged.

    Parameters
    ----------
    path
        The file; it need not exist.
    schema, is_result
        The schema of the results, and a function that says whether a table or view is named like a result; this
        recognises copies that an earlier mlm-ops made without marks.

    Raises
    ------
    StoreError
        The file is not a DuckDB database, contains something that mlm-ops did not make, or is a results store itself.
    """
    log = path.with_name(path.name + ".wal")
    if path.is_dir():
        raise StoreError(f"{path} is a folder, and the published results would take its place. {_REMEDY}")
    if not path.exists():
        if log.exists():
            _log_set_aside(log, set_aside(log, "without-database"))
        return
    signature = _signature(path)
    if path.stat().st_size == 0 or (_SOUND.get(path) == signature and not log.exists()):
        return
    if not is_database_file(path):
        raise StoreError(f"{path} is not a DuckDB database, and the published results would take its place. {_REMEDY}")
    try:
        _check(path, path, schema, is_result)
        _SOUND[path] = signature
    except duckdb.Error as error:
        if is_damage(error):
            _log_set_aside(path, set_aside(path, "damaged"))
            if log.exists():
                set_aside(log, "damaged")
            return
        # another process has it open, so a copy is checked
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy.duckdb"
            try:
                shutil.copyfile(path, copy)
                if log.exists():
                    shutil.copyfile(log, copy.with_name(copy.name + ".wal"))
                _check(copy, path, schema, is_result)
            except (duckdb.Error, OSError):
                raise StoreError(why_not_opened(path, error)) from error


def _check(opened: Path, path: Path, schema: str, is_result: Callable[[str], bool]) -> None:
    with duckdb.connect(str(opened), read_only=True) as connection:
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
