"""Read the text that names rows, a table's name or one SELECT, and quote it for FROM."""

from __future__ import annotations

import re

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.files.kinds import is_data_file
from mlm_ops.warehouse.sql import literal, qualified

#: A table's name, perhaps with schema and catalog, each part plain or in double quotes.
TABLE = re.compile(r"""(?:"(?:[^"]|"")+"|[^\W\d]\w*)(?:\.(?:"(?:[^"]|"")+"|[^\W\d]\w*)){0,2}""")
_NAME_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d]\w*)')


def quoted_table(name: str) -> str:
    """Quote a table name, perhaps with schema and catalog, part by part.

    Raises
    ------
    DataError
        The text is not a table name.
    """
    return qualified(*table_parts(name))


def table_parts(name: str) -> tuple[str, ...]:
    """Split a table name, perhaps with schema and catalog, into its parts, without quotes.

    Raises
    ------
    DataError
        The text is not a table name.
    """
    if not TABLE.fullmatch(name.strip()):
        raise DataError(f"{name!r} is not a table name; put unusual names in double quotes.")
    return tuple(quoted.replace('""', '"') or plain for quoted, plain in _NAME_PART.findall(name))


def named_relation(text: str) -> tuple[str, str]:
    """Return the text after FROM for a table name or one SELECT, and a description for messages.

    Raises
    ------
    DataError
        The text is neither.
    """
    stripped = text.strip().rstrip(";").strip()
    if TABLE.fullmatch(stripped):
        return quoted_table(stripped), f"table {stripped}"
    try:
        statements = duckdb.extract_statements(stripped)
    except duckdb.Error as error:
        if stripped.startswith("(") and (whole := _selected(stripped)) is not None:
            return f"({whole}\n)", "the SELECT"
        path = stripped.strip("'\"")
        if is_data_file(path) and not {"'", '"'}.intersection(path):
            raise DataError(
                f"The relation is a table name or one SELECT. Got the path {path}; write it as a SELECT: "
                f"from {literal(path)}."
            ) from error
        raise DataError(f"The data are neither a table name nor a SELECT. Got {text!r}: {first_line(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DataError(f"The data are one table name or one SELECT. Got {text!r}.")
    return f"({stripped}\n)", "the SELECT"


def _selected(text: str) -> str | None:
    """Return a SELECT in parentheses with a name after it, as dbt writes a sample of a table, as one SELECT."""
    whole = f"select * from {text}"
    try:
        (statement,) = duckdb.extract_statements(whole)
    except (duckdb.Error, ValueError):
        return None
    return whole if statement.type == duckdb.StatementType.SELECT else None
