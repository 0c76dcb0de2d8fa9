"""Log the queries of rows, without the values in them, and keep the statements that moments are collected by."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import duckdb

from mlm_ops.logs import logs_queries, tell_query

_VALUES = (duckdb.token_type.string_const, duckdb.token_type.numeric_const)


@dataclass(frozen=True)
class SqlStatement:
    """A statement that was sent about some rows, and what it was for."""

    purpose: str
    sql: str


def logged(query: Callable[[str], Any]) -> Callable[[str], Any]:
    """The same function, which logs each query where somebody asked for them."""

    def logged_query(sql: str) -> Any:
        if not logs_queries():
            return query(sql)
        started = time.perf_counter()
        result = query(sql)
        if isinstance(result, duckdb.DuckDBPyRelation):
            # a relation runs when its rows are asked for
            result = result.materialize()
        tell_query(without_values(sql), time.perf_counter() - started)
        return result

    return logged_query


def without_values(sql: str) -> str:
    """SQL with a question mark for every text and number: levels, centers and bounds are values of rows."""
    content = sql.encode()
    # places are in bytes
    places = [*duckdb.tokenize(sql), (len(content), None)]
    parts = [content[: places[0][0]]]
    for (start, kind), (end, _) in pairwise(places):
        text = content[start:end]
        parts.append(b"?" + text[len(text.rstrip()) :] if kind in _VALUES else text)
    return b"".join(parts).decode()


def script(statements: Sequence[SqlStatement], rows: str | None = None) -> str:
    """Statements as one text, each behind a comment of what it is for.

    Parameters
    ----------
    rows
        What comes first: how the rows come to be what the statements call them.
    """
    parts = [] if rows is None else [rows]
    parts += [f"-- {statement.purpose}\n{statement.sql};" for statement in statements]
    return "\n\n".join(parts)
