"""Check the SQL of an analysis file before it runs: it may read only the database and the project's data files.

DuckDB itself parses the text (``json_serialize_sql``), and every node of the tree has to be of a kind that is known to
read nothing but tables. An unknown node, function or table function is refused, so that a feature of a later DuckDB is
not allowed by default. Functions are known if a new DuckDB without extensions has them; macros and functions of the
database are not, because they were not written for untrusted SQL. What a view reads is its owner's decision.

DuckDB's own settings (``enable_external_access``, ``allowed_directories``) are no second barrier here. They hold
for a whole database instance and cannot be undone, but the connection may be the user's, in Dagster other assets share
it, views of its owner may read files, and results are published by attaching a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.warehouse.files.kinds import is_file_of_sql
from mlm_ops.warehouse.sql import file_pattern, literal, qualified

#: How to let an analysis file read more: on the command line, in Dagster, in Python.
HOW_TO_ALLOW = "mlm fit --allow-files, allow_files: true in defs.yaml, or read_analysis(…, allow_files=True) in Python"
#: A folder that has one of these files is a project.
PROJECT_FILES = ("pyproject.toml", "dbt_project.yml")
Node = dict[str, Any]
#: The most characters of a text; a longer one takes seconds to parse.
MOST_CHARACTERS = 100_000
#: Table functions whose rows depend on nothing but their arguments.
_ROW_MAKERS = frozenset(
    {"unnest", "range", "generate_series", "generate_subscripts", "repeat", "json_each", "json_tree"}
)
_FILE_READERS = frozenset({"read_csv", "read_csv_auto", "read_parquet", "parquet_scan"})
#: The options of these that describe the format of the file, and do nothing else.
_READER_OPTIONS = frozenset(
    {"all_varchar", "auto_detect", "columns", "comment", "dateformat", "decimal_separator", "delim", "dtypes"}
    | {"encoding", "escape", "header", "ignore_errors", "names", "null_padding", "nullstr", "quote", "sample_size"}
    | {"sep", "skip", "strict_mode", "timestampformat", "types", "union_by_name"}
)
#: Macros whose definition matches read the catalog: those that imitate functions of Postgres.
_CATALOG_MACROS = r"(?i)\b(select|duckdb_|pg_|current_|getvariable|query)"
#: DuckDB's own functions that are refused: they read settings and variables, plan other SQL, or wait. Volatile
#: functions are refused too: they change something, or give different rows each time.
REFUSED = frozenset({"current_setting", "getvariable", "json_serialize_plan", "pg_sleep"})
_INTERNAL = "__internal"
#: Window functions, which DuckDB does not list before 1.5.
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
#: Names that DuckDB never takes for a file or an address, so that they may be those of a WITH, or of no table at all.
_PLAIN_NAME = re.compile(r"[\w $-]+")


@dataclass(frozen=True)
class Reach:
    """The files that an analysis may read, beside tables and views.

    Attributes
    ----------
    folders
        The project's folder, and perhaps that of the analysis file. A relative path starts from the first of them that
        has the file. Data files in the project may be read; without a folder none may.
    everything
        Whether everything may be read. The caller decides this, never the analysis file.
    """

    folders: tuple[Path, ...] = ()
    everything: bool = False

    def place(self, path: str) -> Path:
        """Return the path of a data file or folder that an analysis names, links resolved: what is checked is read.

        The path names one file: ``[l]ink.csv`` is the file of that name, not a pattern.

        Raises
        ------
        DataError
            The file lies outside the project.
        """
        places = [folder / path for folder in self.folders] or [Path(path)]
        place = next((place for place in places if _exists(place)), places[0])
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
        """Return the path without links and dots if it lies in the project; otherwise None."""
        if not self.folders:
            return None
        try:
            file, project = path.resolve(), self.folders[0].resolve()
        except (OSError, RuntimeError, ValueError):  # a circle of links, or a name that is not valid
            return None
        return file if file.is_relative_to(project) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def reach_of(file: Path, *, everything: bool = False) -> Reach:
    """Return what an analysis file may read: the data files of the nearest project above it, or else of its folder."""
    folder = file.resolve().parent
    above = (folder, *folder.parents)
    project = next((place for place in above if any((place / name).is_file() for name in PROJECT_FILES)), folder)
    return Reach((project, folder), everything)


def checked_select(text: str, what: str, reach: Reach, tables: Callable[[str], bool]) -> str:
    """Refuse a SELECT that reads more than the database and the project's data files; return the SELECT to run.

    Parameters
    ----------
    text
        One SELECT.
    what
        The key of the analysis file, for the message.
    reach
        The files that may be read.
    tables
        A function that says whether a quoted name is a table or view where the text is run; otherwise DuckDB may read
        a file of that name.

    Returns
    -------
    str
        The text as it is, if it reads no file. Otherwise the checked tree as SQL, with the resolved path of each file:
        without links, which may be changed before the file is read, and never as a pattern.

    Raises
    ------
    DataError
        With the first part that is refused.
    """
    tree, files = _tree(text, what), 0
    for node in _nodes(tree):
        if (refusal := _refusal(node, reach, tables)) is not None:
            raise DataError(
                f"The {what} of an analysis file may read only tables, views and data files of the project. Got "
                f"{refusal}. Read it in a view of the database, or allow it with {HOW_TO_ALLOW}."
            )
        files += _put_file_path(node, reach, tables)
    return _sql_of_tree(tree, what) if files else text


def tables_named(text: str, what: str) -> tuple[str, ...]:
    """Return the tables and files that a SELECT names after FROM and JOIN; it is parsed, and nothing is opened.

    A name that a WITH defines is none of them, nor is the argument of a function.

    Raises
    ------
    DataError
        The text is not a SELECT.
    """
    nodes = list(_nodes(_tree(text, what)))
    own_names = {str(entry["key"]).lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", ())}
    names = [".".join(_path(node)) for node in nodes if node.get("type") == "BASE_TABLE"]
    return tuple(name for name in names if name.lower() not in own_names)


def is_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether a quoted name is a table or view of the database; otherwise DuckDB may read a file of that name."""
    try:
        connection.execute(f"select 1 from pragma_table_info({literal(name)}) limit 1").fetchall()
    except duckdb.Error:
        return False
    return True


def check_length(text: str, what: str) -> None:
    """Refuse a text that would take seconds to parse."""
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
    """Return the SQL of a tree."""
    try:
        rows = (
            _bare_connection().cursor().execute("select json_deserialize_sql(?::json)", [json.dumps(tree)]).fetchall()
        )
    except duckdb.Error as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"The {what} of an analysis file cannot be checked: {reason}. Put it into a view.") from error
    return str(rows[0][0])


def _put_file_path(node: Node, reach: Reach, tables: Callable[[str], bool]) -> bool:
    """Replace the name of a data file in a node by its resolved path; return whether the node reads one."""
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
    """Describe what is refused about a node, without its children; None if nothing is."""
    kind = node.get("type")
    if node.get("sample") is not None:
        return "a sample, which gives different rows each time"
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
        return None  # as a table function it is checked with its arguments; as a scalar function none of them reads
    known, volatile = _functions()
    if name in volatile:
        return f"the function {name}, which changes something or gives different rows each time"
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
        return f"{name}, which describes the database system"
    # DuckDB joins the parts of a name when it looks for a file, and says of one whether it is there
    if _PLAIN_NAME.fullmatch(name) or tables(qualified(*path)) or _project_file(name, reach):
        return None
    return f"{name}, which is not a table of the database"


def _path(node: Node) -> list[str]:
    """Return the parts of a table's name."""
    return [str(node[key]) for key in ("catalog_name", "schema_name", "table_name") if node.get(key)]


def _option_names(function: Node) -> list[str]:
    """Return the names of named arguments; before DuckDB 2.0 they are comparisons of a column with a value."""
    names = []
    for argument in function.get("arguments") or function.get("children") or []:
        inner = argument.get("expression", argument)
        if name := argument.get("name") or argument.get("alias"):
            names.append(str(name).lower())
        elif inner.get("class") == "COMPARISON":
            names.append(".".join(inner["left"].get("column_names", ["?"])).lower())
    return names


def _first_text(function: Node) -> str | None:
    """Return the first argument if it is a text."""
    constant = _first_constant(function)
    return None if constant is None else _text_value(constant)


def _first_constant(function: Node) -> Node | None:
    """Return the first argument if it is a constant; in DuckDB 2.0 an argument has a name and an expression."""
    arguments = function.get("arguments") or function.get("children") or [{}]
    first: Node = arguments[0].get("expression", arguments[0])
    return None if first.get("class") != "CONSTANT" or arguments[0].get("name") else first


def _text_value(constant: Node) -> str | None:
    value = constant["literal"].get("text") if "literal" in constant else (constant.get("value") or {}).get("value")
    return value if isinstance(value, str) else None


def _project_file(path: str, reach: Reach) -> Path | None:
    """Return the data file of the project that a path means from the current folder, which is where DuckDB looks."""
    if not is_file_of_sql(path) or (file := reach.resolved(Path(path))) is None:
        return None
    try:
        return file if file.is_file() and is_file_of_sql(file) else None
    except OSError:
        return None


@cache
def _bare_connection() -> duckdb.DuckDBPyConnection:
    """Open a new DuckDB without extensions, and so without tables, views or functions of a user."""
    return duckdb.connect(config={"autoload_known_extensions": False, "autoinstall_known_extensions": False})


@cache
def _functions() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of DuckDB's own scalar, aggregate and window functions, and of the volatile ones among them."""
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
    """Return the names of DuckDB's system views, without those of information_schema, whose names are common words."""
    rows = _bare_connection().cursor().execute("select lower(view_name) from duckdb_views() where internal").fetchall()
    return frozenset(name for (name,) in rows if name.startswith(_SYSTEM_PREFIXES))
