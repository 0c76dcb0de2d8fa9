"""The tables that moments are kept in: their names, how they are marked as ours, what those of an earlier mlm-ops had.

Beside ``<table>`` stands ``<table>_description``, which says what its columns are; moments by partition have
``_parts``, ``_partitions`` and ``_origin`` too, and residual structures ``_residual_0`` and ``_residual_parts_0``, ….
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mlm_ops.moments.source import table_parts
from mlm_ops.ownership import PREFIX, Claim, Relation, adopt, columns_of, find_relations, with_schema
from mlm_ops.sql_text import qualified

if TYPE_CHECKING:
    import duckdb

RESIDUAL_COLUMNS = ("unit", "stratum", "past_stratum", "gap", "n")
PARTITION_COLUMNS = ("part", "n_rows", "missing", "fingerprint")
_SIBLING = re.compile(r"(_description|_parts|_partitions|_origin|_residual_\d+|_residual_parts_\d+)?")
#: What every description says, since there are any.
_DESCRIBED = {"keys", "centers", "monomials", "constants", "levels", "n_rows"}


def sibling(table: str, suffix: str) -> str:
    """The name of a table that belongs to another."""
    return f'{table[:-1]}_{suffix}"' if table.endswith('"') else f"{table}_{suffix}"


def kept_table(connection: duckdb.DuckDBPyConnection, table: str, suffix: str = "") -> Claim:
    """What the moments of `table` take as theirs: the table itself, or one beside it."""
    *place, schema, name = with_schema(connection, table_parts(table))
    full = f"{name}_{suffix}" if suffix else name
    return Claim(
        (*place, schema, full),
        f"moments kept as {schema}.{name}",
        "Rename one of the two: the table, or the analysis that keeps its moments there.",
        lambda found: _is_earlier(connection, (*place, schema, name), full[len(name) :], found),
    )


def claim_kept_tables(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Refuse to keep moments where any of their tables is not ours; mark those of an earlier mlm-ops.

    Raises
    ------
    StoreError
        With the name, and whether it is a table or a view.
    """
    *place, schema, name = with_schema(connection, table_parts(table))
    for found in find_relations(connection, schema, *place):
        suffix = found[len(name) :]
        if found.startswith(name.lower()) and _SIBLING.fullmatch(suffix):
            adopt(connection, kept_table(connection, table, suffix.removeprefix("_")))


def _is_earlier(connection: duckdb.DuckDBPyConnection, table: tuple[str, ...], suffix: str, found: Relation) -> bool:
    """Whether a table without a mark is one that an earlier mlm-ops kept moments in.

    Its description has to stand beside it, and its columns have to be those that the description, or the table's part,
    calls for.
    """
    description = _description(connection, table)
    if description is None or found.kind != "table":
        return False
    columns = columns_of(connection, found)
    if suffix == "_description":
        return True
    if suffix == "":
        return _has_moments(description, columns)
    if suffix == "_partitions":
        return tuple(columns) == PARTITION_COLUMNS
    if suffix == "_origin":
        return columns == ["origin"]
    if suffix.startswith("_residual_parts"):
        return columns[:1] == ["part"] and "stratum" in columns
    if suffix.startswith("_residual"):
        return tuple(columns[: len(RESIDUAL_COLUMNS)]) == RESIDUAL_COLUMNS
    return columns[:1] == ["part"] and "n" in columns


def _description(connection: duckdb.DuckDBPyConnection, table: tuple[str, ...]) -> dict[str, Any] | None:
    """What the table beside one says of it; None where there is none that we wrote."""
    *place, schema, name = table
    found = find_relations(connection, schema, *place).get(f"{name}_description".lower())
    if found is None or found.kind != "table" or columns_of(connection, found) != ["description"]:
        return None
    if found.comment is not None and not found.comment.startswith(PREFIX):
        return None
    rows = connection.execute(
        f"select cast(description as varchar) from {qualified(found.database, found.schema, found.name)} limit 2"
    ).fetchall()
    try:
        told = json.loads(rows[0][0]) if len(rows) == 1 else None
    except (TypeError, ValueError):
        return None
    return told if isinstance(told, dict) and told.keys() >= _DESCRIBED else None


def _has_moments(description: dict[str, Any], columns: list[str]) -> bool:
    """Whether columns are as mlm-ops writes them: keys, n, means, scatter, values, and perhaps deviations."""
    keys, size = list(description["keys"]), len(description["monomials"])
    begins = ["mean_"] * size + ["scatter_"] * (size * (size + 1) // 2) + ["value_"] * len(description["constants"])
    begins += ["deviation_"] * (size if "version" in description else 0)
    rest = columns[len(keys) + 1 :]
    return (
        columns[: len(keys) + 1] == [*keys, "n"]
        and len(rest) == len(begins)
        and all(name.startswith(begin) for name, begin in zip(rest, begins, strict=True))
    )
