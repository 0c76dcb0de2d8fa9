"""Find codes such as -99 that stand for missing values among the numbers of a data file.

The least and largest number of a column are among DuckDB's statistics of a table in memory, so that nothing is read
unless one of them is such a code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import duckdb

from mlm_ops.warehouse.sql import has_value, identifier, literal, render

#: Numbers that data files have for missing values, below all others and above.
_BELOW, _ABOVE = (-9, -99, -999, -9999), (99, 999, 9999)
#: A code stands in so many cells at least, and in at most this share of them.
_LEAST, _LARGEST_SHARE = 3, 0.5


def likely_codes(query: Callable[[str], Any], relation: str, columns: Iterable[str]) -> list[str]:
    """Say of each column which code is likely to mean that a value is missing.

    A number is a likely code if it is one of those above, occurs more than twice, and lies farther from the nearest
    other number than the others do from each other.

    Parameters
    ----------
    query
        Runs SQL.
    relation
        The rows, as they stand behind FROM: a table.
    columns
        Columns of numbers.

    Returns
    -------
    list of str
        A sentence for each such column, without a full stop.
    """
    names = list(columns)
    if not names:
        return []
    parts = ", ".join(f"stats({identifier(name)})" for name in names)
    try:
        rows = query(f"select {parts} from {relation} limit 1").fetchall()
    except duckdb.Error:
        return []  # there are no statistics of it
    sentences = []
    for name, statistics in zip(names, rows[0] if rows else (), strict=False):
        # before DuckDB 2.0 they are a text
        ends = (statistics.get("min"), statistics.get("max")) if isinstance(statistics, dict) else (None, None)
        for end, codes in zip(ends, (_BELOW, _ABOVE), strict=True):
            if end in codes and (sentence := _sentence(query, relation, name, int(end))):
                sentences.append(sentence)
    return sentences


def _sentence(query: Callable[[str], Any], relation: str, name: str, code: int) -> str | None:
    """The sentence about a number that may be a code; None where it is rare or not far from the others."""
    number = {"alias": "x", "expression": identifier(name)}
    conditions = has_value(name), f"{identifier(name)} <> {literal(code)}"
    (_, _, n), (low, high, n_others) = (
        query(render("ranges", relation=relation, numbers=[number], complete=condition)).fetchone()
        for condition in conditions
    )
    n_coded = n - n_others
    if low is None or low == high or not _LEAST <= n_coded <= _LARGEST_SHARE * n:
        return None
    gap = low - code if code < 0 else code - high
    if gap <= high - low:
        return None
    return (
        f"{name} is {code} in {n_coded:,} of {n:,} rows and from {low:g} to {high:g} in the others; if {code} means "
        f"missing, make it so (--null {code}, or options in an analysis file)"
    )
