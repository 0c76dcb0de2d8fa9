"""Check a row filter, one SQL condition, and say in one sentence why it does not fit the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.language.spelling import did_you_mean, list_names
from mlm_ops.warehouse.faults import first_line
from mlm_ops.warehouse.sql import identifier

#: DuckDB's words for a column that is not there, and for text where a number is expected.
_NO_COLUMN = re.compile(r'Referenced column "(.+?)" (?:was )?not found')
_TEXT_FOR_NUMBER = re.compile(r"VARCHAR.*(?:INTEGER|DECIMAL|DOUBLE|INT)|(?:INTEGER|DECIMAL|DOUBLE|INT).*VARCHAR")


def condition(where: str) -> str:
    """Put a row filter in parentheses, once it is proved to be one expression that cannot end the query around it.

    Raises
    ------
    DataError
        The text is not exactly one SQL expression.
    """
    problem = DataError(f"The row filter 'where' is one SQL condition. Got {where!r}.")
    try:
        statements = duckdb.extract_statements(f"select 1 where ({where}\n)")
        # a filter that closes the parenthesis of the first query and opens another does not parse here; nor do two
        other_statements = duckdb.extract_statements(f"select [case when {where}\n then 1 end]")
    except duckdb.Error as error:
        raise problem from error
    if len(statements) != 1 or len(other_statements) != 1:
        raise problem
    return f"({where}\n)"


def filter_fault(
    where: str,
    description: str,
    columns: Sequence[str],
    texts: Sequence[str],
    stray_cells: Callable[[str], str],
    error: duckdb.Error,
) -> DataError:
    """Return the error for a row filter that DuckDB refuses.

    Parameters
    ----------
    description
        The rows, in words.
    columns, texts
        All columns, and those that are text.
    stray_cells
        Says of a text column that is mostly numbers which cells are none; nothing of another.
    """
    head = f"The row filter where: {where} does not fit {description}: "
    message = first_line(error)
    if (missing := _NO_COLUMN.search(message)) is not None:
        name = missing[1]
        return DataError(
            f"{head}it has no column {name!r}.{did_you_mean(name, columns)} Its columns are {list_names(columns)}."
        )
    used = [name for name in texts if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", where, re.IGNORECASE)]
    if not used or _TEXT_FOR_NUMBER.search(message) is None:
        return DataError(f"{head}{message}")
    for name in used:
        if stray := stray_cells(name):
            return DataError(
                f"{head}column {name!r} is text, and a number is expected.{stray} Write try_cast({identifier(name)} as "
                "double), which is missing in such cells."
            )
    return DataError(
        f"{head}column {used[0]!r} is text, and a number is expected. Compare it with a text in single quotes, or name "
        "a column of numbers."
    )
