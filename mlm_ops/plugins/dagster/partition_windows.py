"""Translate Dagster's partition keys into values of the partition column: one value, or a window of time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import moments_table
from mlm_ops.errors import DataError
from mlm_ops.moments.collect import RowPart
from mlm_ops.moments.partition_tables import Parts, same_value
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import identifier, literal, render


@dataclass(frozen=True)
class Window:
    """Hold the time of one partition: from its start until the start of the next, so that every moment is in one.

    Attributes
    ----------
    start, end
        With the partitions' time zone.
    clock
        Start and end as the zone's clocks show them, for columns without zone. Where clocks are put back an hour is
        shown twice; its rows are of the first partition that it belongs to.
    """

    start: datetime
    end: datetime
    clock: tuple[datetime, datetime]

    @property
    def length(self) -> timedelta:
        """Real time, which clocks that are put forward or back do not show."""
        return self.end.astimezone(UTC) - self.start.astimezone(UTC)


#: So many windows before one are compared with it: clocks were put back by up to a day (Vostok: seven hours, in 1994).
NEAR = 25
#: Values of a partition column in one window of time: the days of a year. Each costs a row a group.
MOST_VALUES = 366


def holds_times(kind: str) -> bool:
    """Say whether a column of a SQL type holds days or times."""
    return kind.startswith(("DATE", "TIMESTAMP"))


def window_ends(window: Window, kind: str) -> tuple[str, str]:
    """Write start and end as SQL; a column without time zone is read as the clock of the partitions' time zone."""
    ends = (window.start, window.end) if kind == "TIMESTAMP WITH TIME ZONE" else window.clock
    low, high = (f"cast({literal(at.isoformat(sep=' '))} as {kind})" for at in ends)
    return low, high


def part_of(key: str, window: Window | None, kind: str, numeric: bool) -> RowPart:
    """Choose a partition's rows; values are compared as the column's own type, so that DuckDB can skip the others."""
    if window is None or not holds_times(kind):
        return RowPart(same_value(key, kind, numeric))
    return RowPart(*window_ends(window, kind))


def windows_of(partitions_def: dg.PartitionsDefinition[str], keys: Iterable[str]) -> dict[str, Window | None]:
    """List start and end of each partition; None where partitions are not windows of time."""
    if not isinstance(partitions_def, dg.TimeWindowPartitionsDefinition):
        return dict.fromkeys(keys)
    partition_keys = tuple(keys)
    return {
        key: _window(partitions_def, key, near) for key, near in _neighbours(partitions_def, partition_keys).items()
    }


def _neighbours(
    partitions_def: dg.TimeWindowPartitionsDefinition, keys: Sequence[str]
) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
    """Keys shortly before each, and the one after it if there is one."""
    if not keys:
        return {}
    latest = max((partitions_def.time_window_for_partition_key(key).end for key in keys), key=_moment)
    # the next one may be of the future: it tells where the last ends
    all_keys = partitions_def.get_partition_keys(
        current_time=max(datetime.now(UTC), _moment(latest)) + timedelta(days=32)
    )
    places = {key: place for place, key in enumerate(all_keys)}
    neighbours: dict[str, tuple[Sequence[str], Sequence[str]]] = {}
    for key in keys:
        place = places.get(key)
        near = ([], []) if place is None else (all_keys[max(place - NEAR, 0) : place], all_keys[place + 1 : place + 2])
        neighbours[key] = near
    return neighbours


def _window(
    partitions_def: dg.TimeWindowPartitionsDefinition, key: str, near: tuple[Sequence[str], Sequence[str]]
) -> Window:
    """The window of a partition; its end is the next one's start.

    Where a zone's clocks jump by half an hour (Lord Howe), or a day is left out (Apia), Dagster's windows leave gaps
    between them, or overlap.
    """
    before = [_start(partitions_def, other) for other in (*near[0], key)]
    after = [_start(partitions_def, other) for other in near[1]]
    own = partitions_def.time_window_for_partition_key(key)
    end = after[0] if after else max(own.end, before[-1], key=_moment)
    start = max(before, key=_moment)
    low = max(map(_clock, before))
    return Window(start, max(start, end, key=_moment), (low, max(low, _clock(end))))


def _start(partitions_def: dg.TimeWindowPartitionsDefinition, key: str) -> datetime:
    """The start of a partition, by its key.

    After a jump by half an hour Dagster's keys go on at the half hour, and it looks them up at the full one.
    """
    start = partitions_def.time_window_for_partition_key(key).start
    if start.strftime(partitions_def.fmt) == key or start.tzinfo is None:
        return start
    try:
        at = datetime.strptime(key, partitions_def.fmt).replace(tzinfo=start.tzinfo)
    except ValueError:  # with an offset, as of an hour that is there twice
        return start
    # a time that the clocks leave out is that of the moment after the jump
    return _moment(at).astimezone(start.tzinfo)


def _moment(at: datetime) -> datetime:
    return at.astimezone(UTC)


def _clock(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


def check_windows(source: Source, column: str, windows: Mapping[str, Window | None]) -> None:
    """Refuse partitions that the column cannot distinguish.

    Raises
    ------
    DataError
        The column is not there; it holds days and a partition is shorter; or it holds no times and a partition is
        longer than a day, of which one value alone would be found.
    """
    source.require([column])
    times = {key: window for key, window in windows.items() if window is not None}
    long = [key for key, window in times.items() if window.length > timedelta(hours=25)]
    if long and not holds_times(source.types[column]):
        raise DataError(
            f"The partition {long[0]} is longer than a day. Got a column {column!r} of type {source.types[column]}; "
            "expected DATE or TIMESTAMP. Cast it in a view or SELECT."
        )
    for key, window in times.items():
        if source.types[column] == "DATE" and _is_short(window):
            raise DataError(
                f"The partition {key} is shorter than a day. Got a column {column!r} of type DATE; expected TIMESTAMP. "
                "Make the partitions daily, or name a column with times."
            )


def partition_values(
    connection: Connection, analysis: Analysis, windows: Mapping[str, Window | None]
) -> dict[str, list[str]]:
    """List the values of the analysis' partition column by partition key, as the moments name their parts.

    A window of time has the values in the table, and those in the stored moments, which the table may no longer have.

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
    if not times or not holds_times(kind):
        return {key: list(parts_of(connection, analysis).names_of(source, [key])) for key in windows}
    values_by_key: dict[str, list[str]] = {key: [] for key in times}
    for key, part in connection.execute(_in_windows(connection, analysis, source, times)).fetchall():
        values_by_key[key].append(part)
    full = next((key for key, values in values_by_key.items() if len(values) > MOST_VALUES), None)
    if full is not None:
        hours = _is_short(times[full])
        name = identifier(column)
        unit = f"date_trunc('hour', {name}) as hour" if hours else f"cast({name} as date) as day"
        raise DataError(
            f"The moments of {analysis.analysis} are kept for every value of {column!r}, which has too many. Got "
            f"{len(values_by_key[full]):,} in the partition {full}; expected at most {MOST_VALUES}. Write "
            f"`data: select *, {unit} from …` and `partition: {'hour' if hours else 'day'}` in the analysis."
        )
    return values_by_key


def parts_of(connection: Connection, analysis: Analysis) -> Parts:
    """The tables that hold the moments of an analysis by partition."""
    return Parts(connection, moments_table(analysis), str(analysis.partition))


def _is_short(window: Window) -> bool:
    """Whether a window is shorter than a day, which has 23 hours when clocks are put forward."""
    return timedelta(0) < window.length < timedelta(hours=22)


def _in_windows(connection: Connection, analysis: Analysis, source: Source, times: Mapping[str, Window]) -> str:
    kind = source.types[str(analysis.partition)]
    parts = ", ".join(f"({literal(part)})" for part in parts_of(connection, analysis).names())
    kept_values = f"select try_cast(part as {kind}), part from (values {parts}) as kept (part)" if parts else None
    first, past = min((w.start for w in times.values()), key=_moment), max((w.end for w in times.values()), key=_moment)
    clock = min(window.clock[0] for window in times.values()), max(window.clock[1] for window in times.values())
    low, high = window_ends(Window(first, past, clock), kind)
    return render(
        "values_in_windows",
        relation=source.relation,
        column=identifier(str(analysis.partition)),
        kept=kept_values,
        windows=[[literal(key), *window_ends(window, kind)] for key, window in times.items()],
        first=low,
        past=high,
    )
