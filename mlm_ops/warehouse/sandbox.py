"""SQL text of an analysis file, checked before it runs: it reads the database and data files of the project alone.

DuckDB itself parses the text (``json_serialize_sql``), and every node of the tree has to be of a kind that is known to
read nothing but tables: an unknown node, function or table function is refused, so that what a later DuckDB can do is
not allowed unseen. Functions count as known if a new DuckDB without extensions has them; macros and functions of the
database's owner, who did not think of strangers, do not. What a view reads is its owner's decision.

DuckDB's own settings (``enable_external_access``, ``allowed_directories``) are no second wall here. They hold for a
whole database instance and cannot be taken back: the connection may be the user's, in Dagster other assets share it,
views of the owner may read files, and results are published by attaching one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.warehouse.files import is_data_file
from mlm_ops.warehouse.sql import file_pattern, literal, qualified

#: How each host lets an analysis file read more.
HOW_TO_ALLOW = "mlm fit --allow-files, allow_files: true in defs.yaml, or read_analysis(…, allow_files=True) in Python"
#: A folder with one of these is a project.
PROJECT_FILES = ("pyproject.toml", "dbt_project.yml")


@dataclass(frozen=True)
class Reach:
    """What an analysis may read beside tables and views.

    Attributes
    ----------
    folders
        The project, from which relative paths start, and perhaps the analysis file's own folder, from which they start
        where the project has no such file. Data files in the project may be read. Without a folder none may.
    everything
        Whether everything may be read, which is the caller's word, not the file's.
    """

    folders: tuple[Path, ...] = ()
    everything: bool = False

    def place(self, path: str) -> Path:
        """Where a data file lies that an analysis names: links followed, so that what is read is what was looked at.

        A path names one file: ``[l]ink.csv`` is the file of that very name, never those that a pattern finds.

        Raises
        ------
        DataError
            It lies outside the project.
        """
        places = [folder / path for folder in self.folders] or [Path(path)]
        place = next((place for place in places if _is_file(place)), places[0])
        if self.everything:
            return place
        if (file := self.resolved(place)) is None:
            expected = f"one under {self.folders[0].resolve()}" if self.folders else "a table of the database"
            raise DataError(
                f"The path of the data leaves the project. Got {path}; expected {expected}. Move the file, or allow it "
                f"with {HOW_TO_ALLOW}."
            )
        return file

    def resolved(self, path: Path) -> Path | None:
        """The path without links and dots, if it lies in the project; None of one that may not be read."""
        if not self.folders:
            return None
        try:
            file, project = path.resolve(), self.folders[0].resolve()
        except (OSError, RuntimeError, ValueError):  # a circle of links, or a name that no file system has
            return None
        return file if file.is_relative_to(project) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def reach_of(file: Path, *, everything: bool = False) -> Reach:
    """What an analysis file may read: the data files of the nearest project above it, else of its own folder."""
    folder = file.resolve().parent
    above = (folder, *folder.parents)
    project = next((place for place in above if any((place / name).is_file() for name in PROJECT_FILES)), folder)
    return Reach((project, folder), everything)


Node = dict[str, Any]
#: Longer texts take seconds to parse.
MOST_CHARACTERS = 100_000
#: Table functions that make rows of their arguments alone.
_ROW_MAKERS = frozenset(
    {"unnest", "range", "generate_series", "generate_subscripts", "repeat", "json_each", "json_tree"}
)
_FILE_READERS = frozenset({"read_csv", "read_csv_auto", "read_parquet", "parquet_scan"})
#: Options of theirs that say how the file is written, and nothing else.
_READER_OPTIONS = frozenset(
    {"all_varchar", "auto_detect", "columns", "comment", "dateformat", "decimal_separator", "delim", "dtypes"}
    | {"encoding", "escape", "header", "ignore_errors", "names", "null_padding", "nullstr", "quote", "sample_size"}
    | {"sep", "skip", "strict_mode", "timestampformat", "types", "union_by_name"}
)
#: Macros that take the place of Postgres' functions tell of the catalog.
_CATALOG_MACROS = r"(?i)\b(select|duckdb_|pg_|current_|getvariable|query)"
#: Functions of DuckDB's that are known and refused: they read settings and variables, plan other SQL, or wait.
#: Volatile ones are refused too: they change something, or give other rows each time.
REFUSED = frozenset({"current_setting", "getvariable", "json_serialize_plan", "pg_sleep"})
_INTERNAL = "__internal"
#: Before 1.5 DuckDB does not list window functions.
_WINDOW_FUNCTIONS = frozenset(
    {"row_number", "rank", "rank_dense", "dense_rank", "percent_rank", "cume_dist", "ntile", "fill"}
) | {"lead", "lag", "first", "first_value", "last", "last_value", "nth_value"}
_EXPRESSION_CLASSES = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA"}
) | {"LAMBDA_REF", "OPERATOR", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY", "TYPE", "WINDOW"}
_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "CTE_NODE", "RECURSIVE_CTE_NODE"})
_FROM_NODES = frozenset({"EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SUBQUERY"})
_ORDERS = frozenset({"ASCENDING", "DESCENDING", "ORDER_DEFAULT"})
_MODIFIERS = frozenset({"DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"})
_QUERY_PARTS = _QUERY_NODES | _FROM_NODES | _ORDERS | _MODIFIERS
_SYSTEM_SCHEMAS = frozenset({"information_schema", "pg_catalog"})
_SYSTEM_PREFIXES = ("duckdb_", "pg_", "pragma_", "sqlite_")


def checked_select(text: str, what: str, reach: Reach, tables: Callable[[str], bool]) -> str:
    """Refuse a SELECT that reads more than the database and the project's data files; return the one to run.

    Parameters
    ----------
    text
        One SELECT.
    what
        The key of the analysis file, for the message.
    reach
        Which files may be read.
    tables
        Whether a quoted name is a table or view where the text is run; one that is none may be a file's.

    Returns
    -------
    str
        The text as it is, if it reads no file. Else DuckDB's own writing of what was checked, each file by the path
        that was looked at: without links, which may lead elsewhere by the time it is read, and never as a pattern.

    Raises
    ------
    DataError
        With the first thing that is refused.
    """
    tree, files = _tree(text, what), 0
    for node in _nodes(tree):
        if (refusal := _refusal(node, reach, tables)) is not None:
            raise DataError(
                f"The {what} of an analysis file reads tables, views and data files of the project alone. Got {refusal}. "
                f"Read it in a view of the database, or allow it with {HOW_TO_ALLOW}."
            )
        files += _put_file_path(node, reach, tables)
    return _sql_of_tree(tree, what) if files else text


def is_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether a quoted name is a table or view of the database; one that is none DuckDB may take for a file's."""
    try:
        connection.execute(f"select 1 from pragma_table_info({literal(name)}) limit 1").fetchall()
    except duckdb.Error:
        return False
    return True


def check_length(text: str, what: str) -> None:
    """Refuse a text that takes long to parse alone."""
    if len(text) > MOST_CHARACTERS:
        raise DataError(
            f"The {what} of an analysis file is too long. Got {len(text):,} characters; expected at most "
            f"{MOST_CHARACTERS:,}. Put it into a view or table."
        )


def _tree(text: str, what: str) -> Node:
    try:
        rows = _bare_connection().cursor().execute("select json_serialize_sql(?::varchar)", [text]).fetchall()
        tree: Node = json.loads(rows[0][0])
    except RecursionError as error:
        raise DataError(f"The {what} of an analysis file is nested too deeply. Put it into a view.") from error
    if tree["error"]:
        reason = str(tree["error_message"]).partition("\n")[0]
        raise DataError(f"The {what} of an analysis file cannot be checked: {reason}. Put it into a view.")
    return tree


def _sql_of_tree(tree: Node, what: str) -> str:
    """The SQL of a tree."""
    try:
        rows = (
            _bare_connection().cursor().execute("select json_deserialize_sql(?::json)", [json.dumps(tree)]).fetchall()
        )
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"The {what} of an analysis file cannot be checked: {reason}. Put it into a view.") from error
    return str(rows[0][0])


def _put_file_path(node: Node, reach: Reach, tables: Callable[[str], bool]) -> bool:
    """Put the place of a file that may be read where its name is; whether there was one."""
    if node.get("type") == "BASE_TABLE":
        path = _path(node)
        if (
            "." not in ".".join(path)
            or tables(qualified(*path))
            or (file := _project_file(".".join(path), reach)) is None
        ):
            return False
        node["alias"] = node["alias"] or Path(".".join(path)).name.partition(".")[0]
        node |= {"catalog_name": "", "schema_name": "", "table_name": file_pattern(file)}
        if "qualified_name" in node:
            node["qualified_name"] = {"path": [file_pattern(file)]}
        return True
    if node.get("type") == "TABLE_FUNCTION" and str(node["function"]["function_name"]).lower() in _FILE_READERS:
        constant = _first_constant(node["function"])
        if constant is None or (file := _project_file(_text_value(constant) or "", reach)) is None:
            return False
        holder, key = (constant["literal"], "text") if "literal" in constant else (constant["value"], "value")
        holder[key] = file_pattern(file)
        return True
    return False


def _nodes(tree: Any) -> Iterator[Node]:
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _refusal(node: Node, reach: Reach, tables: Callable[[str], bool]) -> str | None:
    """What is refused about a node alone, as a person would name it."""
    kind = node.get("type")
    if node.get("sample") is not None:
        return "a sample, which gives other rows each time"
    if "class" in node:
        if node["class"] not in _EXPRESSION_CLASSES:
            return f"an expression of the kind {node['class'].lower()}"
        return _refused_function(node) if "function_name" in node else None
    if not isinstance(kind, str) or kind.endswith("_TYPE_INFO"):
        return None
    if kind == "BASE_TABLE":
        return _refused_table(node, reach, tables)
    if kind == "TABLE_FUNCTION":
        return _refused_table_function(node["function"], reach)
    return None if kind in _QUERY_PARTS else f"a part of the kind {kind.lower().replace('_', ' ')}"


def _refused_function(node: Node) -> str | None:
    name = str(node["function_name"]).lower()
    if name in _FILE_READERS | _ROW_MAKERS:
        return None  # as a table function it is looked at with its arguments, and as any other there is none that reads
    known, volatile = _functions()
    if name in volatile:
        return f"the function {name}, which changes something or gives other rows each time"
    own = {node.get("schema"), node.get("catalog")} <= {"", None, "main", "pg_catalog", "system"}
    if own and name in known and name not in REFUSED and not name.startswith(_INTERNAL):
        return None
    return f"the function {'.'.join(filter(None, (node.get('catalog'), node.get('schema'), name)))}"


def _refused_table_function(function: Node, reach: Reach) -> str | None:
    name = str(function["function_name"]).lower()
    if name in _ROW_MAKERS:
        return None
    if name in _FILE_READERS:
        path = _first_text(function)
        if other_options := [option for option in _option_names(function) if option not in _READER_OPTIONS]:
            return f"{name}(…, {other_options[0]} = …)"
        return None if path is not None and _project_file(path, reach) else f"{name}({literal(path) if path else '…'})"
    return f"the table function {name}"


def _refused_table(node: Node, reach: Reach, tables: Callable[[str], bool]) -> str | None:
    path = _path(node)
    name = ".".join(path)
    lowered = [part.lower() for part in path]
    if _SYSTEM_SCHEMAS.intersection(lowered) or lowered[-1] in _system_views():
        return f"{name}, which tells of the database system"
    # DuckDB puts the parts of a name together when it looks for a file, and a file's name has a dot
    if "." not in name or tables(qualified(*path)) or _project_file(name, reach):
        return None
    return f"{name}, which is no table of the database"


def _path(node: Node) -> list[str]:
    """The parts of a table's name."""
    return [str(node[key]) for key in ("catalog_name", "schema_name", "table_name") if node.get(key)]


def _option_names(function: Node) -> list[str]:
    """Names of the arguments that have one; before DuckDB 2.0 these are comparisons of a column with a value."""
    names = []
    for argument in function.get("arguments") or function.get("children") or []:
        inner = argument.get("expression", argument)
        if name := argument.get("name") or argument.get("alias"):
            names.append(str(name).lower())
        elif inner.get("class") == "COMPARISON":
            names.append(".".join(inner["left"].get("column_names", ["?"])).lower())
    return names


def _first_text(function: Node) -> str | None:
    """The first argument, if it is a text."""
    constant = _first_constant(function)
    return None if constant is None else _text_value(constant)


def _first_constant(function: Node) -> Node | None:
    """The first argument, if it is a constant: in DuckDB 2.0 an argument has a name and an expression."""
    arguments = function.get("arguments") or function.get("children") or [{}]
    first: Node = arguments[0].get("expression", arguments[0])
    return None if first.get("class") != "CONSTANT" or arguments[0].get("name") else first


def _text_value(constant: Node) -> str | None:
    value = constant["literal"].get("text") if "literal" in constant else (constant.get("value") or {}).get("value")
    return value if isinstance(value, str) else None


def _project_file(path: str, reach: Reach) -> Path | None:
    """The data file of the project that a path leads to from the folder we stand in, as DuckDB would look for it."""
    if not is_data_file(path) or (file := reach.resolved(Path(path))) is None:
        return None
    try:
        return file if file.is_file() and is_data_file(file) else None
    except OSError:
        return None


@cache
def _bare_connection() -> duckdb.DuckDBPyConnection:
    """A DuckDB without extensions, tables or functions of anyone's."""
    return duckdb.connect(config={"autoload_known_extensions": False, "autoinstall_known_extensions": False})


@cache
def _functions() -> tuple[frozenset[str], frozenset[str]]:
    """Names of DuckDB's own functions, but for those of tables, and the volatile ones among them."""
    result = (
        _bare_connection()
        .cursor()
        .execute(
            "select lower(function_name), bool_or(coalesce(stability = 'VOLATILE', false)) from duckdb_functions() "
            "where function_type in ('scalar', 'aggregate', 'window') "
            "or (function_type = 'macro' and not regexp_matches(macro_definition, ?)) group by all",
            [_CATALOG_MACROS],
        )
    )
    rows = result.fetchall()
    return frozenset(name for name, _ in rows) | _WINDOW_FUNCTIONS, frozenset(
        name for name, volatile in rows if volatile
    )


@cache
def _system_views() -> frozenset[str]:
    """Views that every database has, but for those of information_schema with their everyday names."""
    rows = _bare_connection().cursor().execute("select lower(view_name) from duckdb_views() where internal").fetchall()
    return frozenset(name for (name,) in rows if name.startswith(_SYSTEM_PREFIXES))
