"""Name and claim the tables that moments are stored in, and recognise those in which an earlier mlm-ops kept them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from mlm_ops.moments.sums import packed_size
from mlm_ops.warehouse.ownership import PREFIX, Claim, Relation, adopt, columns_of, find_relations, with_schema
from mlm_ops.warehouse.relation import table_parts
from mlm_ops.warehouse.sql import qualified

if TYPE_CHECKING:
    import duckdb

RESIDUAL_COLUMNS = ("unit", "stratum", "past_stratum", "gap", "n")
PARTITION_COLUMNS = ("part", "n_rows", "missing", "fingerprint")
_SIBLING = re.compile(r"(_description(_3)?|_parts|_partitions|_origin|_residual_\d+|_residual_parts_\d+)?")
#: The keys that the descriptions of all versions have.
_DESCRIPTION_KEYS = {"keys", "centers", "monomials", "constants", "levels", "n_rows"}


def sibling(table: str, suffix: str) -> str:
    """Return the name of a table that belongs to another."""
    return f'{table[:-1]}_{suffix}"' if table.endswith('"') else f"{table}_{suffix}"


def table_claim(connection: duckdb.DuckDBPyConnection, table: str, suffix: str = "") -> Claim:
    """Return the claim of the moments of `table` to a table: to itself, or with a suffix to one beside it."""
    *place, schema, name = with_schema(connection, table_parts(table))
    full = f"{name}_{suffix}" if suffix else name
    return Claim(
        (*place, schema, full),
        f"moments kept as {schema}.{name}",
        "Rename one of the two: the table, or the analysis that keeps its moments there.",
        lambda relation: _is_earlier(connection, (*place, schema, name), full[len(name) :], relation),
    )


def claim_tables(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """Refuse to store moments where one of their tables exists that mlm-ops did not make; mark those that it did.

    Raises
    ------
    StoreError
        With the name, and whether it is a table or a view.
    """
    *place, schema, name = with_schema(connection, table_parts(table))
    # listed once: each list takes longer the more tables the database has
    relations = find_relations(connection, schema, *place)
    for other in relations:
        suffix = other[len(name) :]
        if other.startswith(name.lower()) and _SIBLING.fullmatch(suffix):
            claim = table_claim(connection, qualified(*place, schema, name), suffix.removeprefix("_"))
            adopt(connection, claim, relations)


def _is_earlier(connection: duckdb.DuckDBPyConnection, table: tuple[str, ...], suffix: str, relation: Relation) -> bool:
    """Tell whether a table without a mark is one in which an earlier mlm-ops stored moments.

    Its description has to stand beside it, and it has to have the columns that the description or its suffix demands.
    """
    description = _description(connection, table)
    if description is None or relation.kind != "table":
        return False
    columns = columns_of(connection, relation)
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
    """Return the description of a table from the one beside it; None where mlm-ops wrote none."""
    *place, schema, name = table
    beside = find_relations(connection, schema, *place).get(f"{name}_description".lower())
    if beside is None or beside.kind != "table" or columns_of(connection, beside) != ["description"]:
        return None
    if beside.comment is not None and not beside.comment.startswith(PREFIX):
        return None
    rows = connection.execute(
        f"select cast(description as varchar) from {qualified(beside.database, beside.schema, beside.name)} limit 2"
    ).fetchall()
    try:
        description = json.loads(rows[0][0]) if len(rows) == 1 else None
    except (TypeError, ValueError):
        return None
    return description if isinstance(description, dict) and description.keys() >= _DESCRIPTION_KEYS else None


def _has_moments(description: dict[str, Any], columns: list[str]) -> bool:
    """Tell whether columns are those that mlm-ops writes: keys, n, means, scatter, values, and perhaps deviations."""
    keys, size = list(description["keys"]), len(description["monomials"])
    begins = ["mean_"] * size + ["scatter_"] * packed_size(size) + ["value_"] * len(description["constants"])
    begins += ["deviation_"] * (size if "version" in description else 0)
    rest = columns[len(keys) + 1 :]
    return (
        columns[: len(keys) + 1] == [*keys, "n"]
        and len(rest) == len(begins)
        and all(name.startswith(begin) for name, begin in zip(rest, begins, strict=True))
    )
