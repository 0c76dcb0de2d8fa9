"""Guess which columns of a table group its rows: the lowest groups, the levels above them, and a factor across them."""

from __future__ import annotations

from collections.abc import Sequence

from mlm_ops.analyses.starter.names import is_collective, is_time, is_unit, outcome_points
from mlm_ops.analyses.starter.survey import ColumnProfile, combinations, explained, same_size, varying
from mlm_ops.errors import DataError
from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.source import Source

#: Fewest groups, and rows in each on average, of a column that is taken for a grouping factor.
FEWEST_GROUPS, FEWEST_ROWS = 6, 2.0
#: The number of columns tried as predictors and as groups.
MOST_CANDIDATES, MOST_GROUPS = 100, 12
#: A time that units have once has so many combinations with them in each row.
ONCE = 0.9
#: Of two crossed factors, each unit meets so many of the other's on average, and has so many rows.
FEWEST_MET, MANY_ROWS = 2, 5


class UndecidedError(DataError):
    """No column looks like the group or the outcome; `role` says which."""

    def __init__(self, role: str, message: str) -> None:
        super().__init__(message)
        self.role = role


def likely_groups(
    source: Source, columns: Sequence[ColumnProfile], rows: int, outcome: str | None
) -> list[ColumnProfile]:
    """Return the columns that may well group the rows, the likeliest first.

    A unit has a unit's name; other columns do not change within it; it has each time once; all have as many rows.
    """
    candidates = [
        c
        for c in columns
        if c.name != outcome
        and (c.whole or not c.number)
        and c.distinct >= FEWEST_GROUPS
        and rows >= FEWEST_ROWS * c.distinct
    ]
    if not candidates:
        raise UndecidedError(
            "group",
            f"No column looks like groups of rows: {FEWEST_GROUPS} or more values, each in several rows. "
            f"Name it with --group. The columns are {list_names(c.name for c in columns)}.",
        )
    by_name = {c.name: _group_points(c) for c in candidates}
    candidates.sort(key=lambda c: (-by_name[c.name], -c.distinct))
    candidates = candidates[:MOST_GROUPS]
    times = [c for c in columns if is_time(c.name) and 1 < c.distinct < rows][:2]
    facts = [c for c in columns if c.distinct > 1 and not is_unit(c.name)][:MOST_CANDIDATES]
    points: dict[str, float] = {}
    for c in candidates:
        coarser = [fact.name for fact in facts if fact is not c and fact.distinct < c.distinct]
        has_facts = len(varying(source, coarser, c.name)) < len(coarser)
        has_times = any(t is not c and combinations(source, t.name, c.name) == rows for t in times)
        has_size = same_size(source, c.name)
        points[c.name] = by_name[c.name] + 2 * has_facts + 2 * has_times + has_size
        if not (has_facts or has_times or has_size):
            # the number of a student within the school, which begins anew in each
            units = [other for other in candidates if other.distinct < c.distinct and is_unit(other.name)]
            points[c.name] -= 3 * any(combinations(source, c.name, unit.name) >= ONCE * rows for unit in units)
    best = max(points.values())
    likely = [c for c in candidates if points[c.name] >= max(best - 2, min(best, 1))]
    return sorted(likely, key=lambda c: -c.distinct)


def _group_points(column: ColumnProfile) -> float:
    name = column.name
    if is_time(name):
        return -6.0
    points = 4.0 * is_unit(name) + 1.0 * (not column.number)
    return points - 3.0 * (outcome_points(name) != 0 and not is_unit(name))


def guess_parents(source: Source, columns: Sequence[ColumnProfile], lowest: ColumnProfile) -> list[ColumnProfile]:
    """Return the higher levels: columns named like groups, each value with several whole groups of the level below."""
    levels = [lowest]
    for c in sorted(columns, key=lambda c: -c.distinct):
        below = levels[-1]
        if not (is_unit(c.name) and FEWEST_GROUPS <= c.distinct <= below.distinct / 2):
            continue
        if (not c.number or c.whole) and combinations(source, below.name, c.name) == below.distinct:
            levels.append(c)
    return levels[1:]


def guess_crossed(
    source: Source, candidates: Sequence[ColumnProfile], levels: Sequence[ColumnProfile], rows: int, outcome: str
) -> ColumnProfile | None:
    """Return the candidate with most units that is crossed with the lowest groups, as lecturers are with students.

    Its units and the groups meet several of each other and have many rows each, and the outcome's means differ between
    them. A number that begins anew in each school or household, each of which has it once, is none.
    """
    lowest = levels[0]
    for c in sorted(candidates, key=lambda c: -c.distinct):
        if c in levels or c.distinct < FEWEST_GROUPS or rows < MANY_ROWS * max(c.distinct, lowest.distinct):
            continue
        pairs = combinations(source, c.name, lowest.name)
        if pairs < FEWEST_MET * max(c.distinct, lowest.distinct):
            continue
        begins_anew = is_collective(lowest.name) and pairs >= ONCE * rows
        if not begins_anew and explained(source, c.name, outcome).is_beyond_chance:
            return c
    return None
