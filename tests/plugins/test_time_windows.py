"""Windows of time partition the time line, in zones whose clocks jump by half an hour, two hours or a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import dagster as dg
import pytest

from mlm_ops.plugins.dagster.partition_windows import Window, windows_of

#: Around each jump of the clocks, so many days of windows.
DAYS = 3
SINCE, UNTIL = datetime(1970, 1, 2, tzinfo=UTC), datetime(2037, 1, 1, tzinfo=UTC)
ODD = [
    ("Australia/Lord_Howe", "2025-04-05"),
    ("Australia/Lord_Howe", "2025-10-04"),
    ("Pacific/Apia", "2011-12-29"),
    ("Pacific/Kwajalein", "1993-08-20"),
    ("Antarctica/Troll", "2025-03-29"),
    ("Antarctica/Troll", "2025-10-25"),
    ("Europe/Berlin", "2025-10-25"),
    ("America/Sao_Paulo", "2018-11-03"),
    ("Africa/Cairo", "2023-04-27"),
    ("Asia/Pyongyang", "2018-05-04"),
    ("America/Caracas", "2007-12-08"),
]


def definition(kind: str, zone: str, day: str) -> dg.TimeWindowPartitionsDefinition:
    end = (datetime.fromisoformat(day) + timedelta(days=DAYS)).strftime("%Y-%m-%d")
    if kind == "daily":
        return dg.DailyPartitionsDefinition(day, end_date=end, timezone=zone)
    return dg.HourlyPartitionsDefinition(f"{day}-00:00", end_date=f"{end}-00:00", timezone=zone)


def windows(kind: str, zone: str, day: str) -> list[Window]:
    made = definition(kind, zone, day)
    found = windows_of(made, made.get_partition_keys())
    return [window for window in found.values() if window is not None]


def faults(kind: str, zone: str, day: str) -> list[str]:
    """Gaps and overlaps between windows: in real time, and on the zone's clocks."""
    found = windows(kind, zone, day)
    wrong = []
    for before, after in pairwise(found):
        if before.end.astimezone(UTC) != after.start.astimezone(UTC):
            wrong.append(f"{kind} {zone} {day}: {before.end} is followed by {after.start}")
        if before.clock[1] != after.clock[0]:
            wrong.append(f"{kind} {zone} {day}: the clock {before.clock[1]} is followed by {after.clock[0]}")
    return wrong


def jumps(zone: str) -> list[datetime]:
    """Times at which the zone's clocks jump, found by halving."""
    at = ZoneInfo(zone)
    found, step, left = [], timedelta(days=7), SINCE
    while left < UNTIL:
        right = left + step
        if left.astimezone(at).utcoffset() != right.astimezone(at).utcoffset():
            low, high = left, right
            while high - low > timedelta(minutes=1):
                middle = low + (high - low) / 2
                same = middle.astimezone(at).utcoffset() == low.astimezone(at).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        left = right
    return found


@pytest.mark.parametrize(("zone", "day"), ODD)
@pytest.mark.parametrize("kind", ["daily", "hourly"])
def test_every_moment_is_in_one_window(kind: str, zone: str, day: str) -> None:
    assert faults(kind, zone, day) == []


def test_a_day_that_a_zone_left_out_has_no_time() -> None:
    made = dg.DailyPartitionsDefinition("2011-12-29", end_date="2012-01-02", timezone="Pacific/Apia")
    found = windows_of(made, made.get_partition_keys())
    lengths = {key: window.length for key, window in found.items() if window is not None}
    assert lengths == {
        "2011-12-29": timedelta(days=1),
        "2011-12-30": timedelta(0),
        "2011-12-31": timedelta(days=1),
        "2012-01-01": timedelta(days=1),
    }


@pytest.mark.fuzz
def test_every_jump_of_every_zone() -> None:
    """Where several jumps of a zone are alike (in size and hour), one of them."""
    wrong: list[str] = []
    for zone in sorted(available_timezones() - {"localtime"}):
        at = ZoneInfo(zone)
        kinds: dict[object, datetime] = {}
        for jump in jumps(zone):
            before, after = (jump - timedelta(minutes=2)).astimezone(at), jump.astimezone(at)
            kinds[after.utcoffset() - before.utcoffset(), before.hour] = before  # type: ignore[operator]
        for before in kinds.values():
            day = (before - timedelta(days=1)).strftime("%Y-%m-%d")
            wrong += faults("daily", zone, day) + faults("hourly", zone, day)
    assert wrong == []
