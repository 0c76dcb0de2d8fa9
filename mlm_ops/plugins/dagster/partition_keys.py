"""Partition keys of Dagster -> values of the partition column: a key is a value, or names a window of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta

import dagster as dg

from mlm_ops.analyze import moments_table
from mlm_ops.database import Connection
from mlm_ops.errors import DataError
from mlm_ops.language.analysis import Analysis
from mlm_ops.moments.analysis_rows import open_rows
from mlm_ops.moments.persist import sibling
from mlm_ops.moments.render import render
from mlm_ops.moments.source import Source, listed, quoted_table
from mlm_ops.plugins.dagster.fit_partitions import Window, window_ends
from mlm_ops.sql_text import identifier, literal

#: Values of a partition column in one window of time: the days of a year. Each costs a row a group.
MOST_VALUES = 366


def windows_of(partitions_def: dg.PartitionsDefinition[str], keys: Iterable[str]) -> dict[str, Window | None]:
    """Start and end of each partition; None where partitions are not windows of time."""
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        return dict.fromkeys(keys)
    found = ((key, partitions_def.time_window_for_partition_key(key)) for key in keys)
    return {key: (window.start, window.end) for key, window in found}


def check_windows(source: Source, column: str, windows: Mapping[str, Window | None]) -> None:
    """Refuse partitions that the column cannot tell apart.

    Raises
    ------
    DataError
        The column is not there, or holds days and a partition is shorter.
    """
    source.require([column])
    for key, window in windows.items():
        if window is not None and source.types[column] == "DATE" and _is_short(window):
            raise DataError(
                f"The partition {key} is shorter than a day. Got a column {column!r} of type DATE; expected TIMESTAMP. "
                "Make the partitions daily, or name a column with times."
            )


def partition_values(
    connection: Connection, analysis: Analysis, windows: Mapping[str, Window | None]
) -> dict[str, list[str]]:
    """Values of the analysis' partition column by partition key, as the moments name their parts.

    A window of time holds those that are in the table and those that are kept, which the table may have lost.

    Raises
    ------
    DataError
        Keys that are no values of the column, windows that it cannot tell apart, or too many values in one.
    """
    column = str(analysis.partition)
    source = open_rows(analysis, connection)
    check_windows(source, column, windows)
    kind = source.types[column]
    times = {key: window for key, window in windows.items() if window is not None}
    if not times or not kind.startswith(("DATE", "TIMESTAMP")):
        return _canonical(connection, analysis, kind, list(windows))
    found: dict[str, list[str]] = {key: [] for key in times}
    for key, part in connection.execute(_in_windows(connection, analysis, source, times)).fetchall():
        found[key].append(part)
    crowded = next((key for key, values in found.items() if len(values) > MOST_VALUES), None)
    if crowded is not None:
        hours = _is_short(times[crowded])
        name = identifier(column)
        unit = f"date_trunc('hour', {name}) as hour" if hours else f"cast({name} as date) as day"
        raise DataError(
            f"The moments of {analysis.analysis} are kept for every value of {column!r}, which has too many. Got "
            f"{len(found[crowded]):,} in the partition {crowded}; expected at most {MOST_VALUES}. Write "
            f"`data: select *, {unit} from …` and `partition: {'hour' if hours else 'day'}` in the analysis."
        )
    return found


def _is_short(window: Window) -> bool:
    """Whether a window is shorter than a day, which has 23 hours when clocks are put forward."""
    return window[1] - window[0] < timedelta(hours=23)


def _canonical(connection: Connection, analysis: Analysis, kind: str, keys: list[str]) -> dict[str, list[str]]:
    """Each key as the column's values read as text: the key 01 of a column of numbers is 1."""
    if not keys:
        return {}
    read = ", ".join(f"cast(try_cast({literal(key)} as {kind}) as varchar)" for key in keys)
    values = connection.execute(f"select {read}").fetchall()[0]
    wrong = [key for key, value in zip(keys, values, strict=True) if value is None]
    if wrong:
        raise DataError(
            f"Partition keys of {analysis.analysis} are no values of the column {analysis.partition!r}. Got "
            f"{listed(wrong)}; expected {kind}. Partitions of windows of time need a column of type DATE or TIMESTAMP."
        )
    return {key: [value] for key, value in zip(keys, values, strict=True)}


def _in_windows(connection: Connection, analysis: Analysis, source: Source, times: Mapping[str, Window]) -> str:
    kind = source.types[str(analysis.partition)]
    facts = quoted_table(sibling(moments_table(analysis), "partitions"))
    kept = f"select try_cast(part as {kind}), part from {facts}" if _is_there(connection, facts) else None
    first, past = min(start for start, _ in times.values()), max(end for _, end in times.values())
    low, high = window_ends((first, past), kind)
    return render(
        "values_in_windows",
        relation=source.relation,
        column=identifier(str(analysis.partition)),
        kept=kept,
        windows=[[literal(key), *window_ends(window, kind)] for key, window in times.items()],
        first=low,
        past=high,
    )


def _is_there(connection: Connection, table: str) -> bool:
    import duckdb

    try:
        connection.execute(f"select 1 from {table} limit 0")
    except duckdb.CatalogException:
        return False
    return True
