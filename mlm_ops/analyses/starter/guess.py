"""Guess which columns of a table are grouping factors, the time, the outcome and predictors, as a person would."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mlm_ops.analyses.starter.groups import (
    MOST_CANDIDATES,
    ONCE,
    UndecidedError,
    guess_crossed,
    guess_parents,
    likely_groups,
)
from mlm_ops.analyses.starter.names import (
    is_code,
    is_collective,
    is_identifier,
    is_perhaps_time,
    is_predictor,
    is_time,
    is_unit,
    outcome_points,
)
from mlm_ops.analyses.starter.survey import (
    ColumnProfile,
    balanced,
    combinations,
    has_order,
    same_line,
    same_within,
    survey,
    varying,
)
from mlm_ops.errors import DataError
from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.source import Source

#: A text column with more values is not a predictor, and a number column with fewer values is not an outcome, but where
#: its name says so.
MOST_LEVELS, FEWEST_VALUES, FEWEST_NAMED_VALUES = 12, 8, 4
#: A column with a larger share of missing values is left out, because its incomplete rows would be dropped.
MOST_MISSING = 0.1
MOST_PREDICTORS = 3
#: The most columns that a table may have.
MOST_COLUMNS = 4_000
#: An outcome is sure if the next has so many points less.
SURE = 1.25
#: A time this far from zero, in units of its range, is centered.
FAR = 2.0

UNITS = "names or numbers of units, or codes of categories"
OTHER_TIME = "other times"
AT_TIMES = "the same in every group at one time"
UNORDERED = "whole numbers without order, going by the means of the outcome"
WORDS = f"texts of more than {MOST_LEVELS} values"
GAPS = f"more than {MOST_MISSING:.0%} of the values are missing"
SAME = "the same value in every row"
NO_NUMBERS = "neither numbers nor text, such as dates"
MEANS = "means of groups, which between() computes"
OUTCOMES = "likely outcomes themselves"
LATER = f"a first model has {MOST_PREDICTORS} predictors of a kind"


@dataclass(frozen=True)
class Guess:
    """The roles of a table's columns.

    Attributes
    ----------
    levels
        The grouping columns, lowest first.
    outcome
        The outcome, a column of numbers.
    varying, constant, factors
        The predictors: numbers that vary within groups, numbers that do not, texts.
    n_rows, n_groups
        The number of rows, and of groups of each level.
    redundant
        Columns that are left out because the outcome or a predictor has the same information, each with that column.
    balanced
        Those of `varying` that have the same mean in every group, and so no between part.
    time
        The time of repeated measurements, a column of numbers.
    far_from_zero
        Whether the time is to be centered, as calendar years are.
    crossed, n_crossed
        A second grouping factor that lies across the levels, and the number of its groups.
    left_out
        The other columns that no role is given to, by the reason.
    other_outcomes, other_groups
        Columns that might have been chosen as well; the outcome is a guess to be asked for if there are any.
    """

    levels: tuple[str, ...]
    outcome: str
    varying: tuple[str, ...]
    constant: tuple[str, ...]
    factors: tuple[str, ...]
    n_rows: int
    n_groups: tuple[int, ...]
    redundant: tuple[tuple[str, str], ...] = ()
    balanced: frozenset[str] = frozenset()
    time: str | None = None
    far_from_zero: bool = False
    crossed: str | None = None
    n_crossed: int = 0
    left_out: tuple[tuple[str, tuple[str, ...]], ...] = ()
    other_outcomes: tuple[str, ...] = ()
    other_groups: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that have a role."""
        others = (name for name in (self.crossed, self.time) if name is not None)
        return (*self.levels, *others, self.outcome, *self.varying, *self.constant, *self.factors)


@dataclass
class _Remaining:
    """Columns that have no role yet, and the reasons of those that get none."""

    columns: list[ColumnProfile]
    reasons: dict[str, str] = field(default_factory=dict)

    def drop(self, names: Iterable[str], reason: str) -> None:
        """Take columns out, for a reason."""
        for name in names:
            self.reasons.setdefault(name, reason)
        self.columns = [c for c in self.columns if c.name not in self.reasons]


def guess(source: Source, outcome: str | None = None, group: str | None = None) -> Guess:
    """Guess the roles of a table's columns, from their names, types and values.

    Parameters
    ----------
    outcome, group
        Columns whose role is known; a group is the only one then.

    Raises
    ------
    DataError
        A named column is missing or has the wrong type, or no column looks like a group or an outcome.
    """
    _check_names(source, outcome, group)
    rows, columns = survey(source)
    profiles = {column.name: column for column in columns}
    _check_types(source, profiles, outcome, group)
    likely = likely_groups(source, columns, rows, outcome) if group is None else []
    lowest = profiles[group] if group is not None else likely[0]
    levels = (lowest, *guess_parents(source, columns, lowest)) if group is None else (lowest,)
    within = varying(source, [c.name for c in columns if c not in levels], lowest.name)
    rest = _Remaining([c for c in columns if c not in levels and c.name != outcome])
    rest.drop((c.name for c in rest.columns if c.distinct <= 1), SAME)
    units = {c.name for c in likely if c.number or c.distinct > MOST_LEVELS}
    rest.drop((c.name for c in rest.columns if c.name in units or _only_names(c, rows)), UNITS)
    time = _guess_time(source, rest, within, lowest, rows)
    other_outcomes: tuple[str, ...] = ()
    if outcome is not None:
        outcome_column = profiles[outcome]
    else:
        outcome_column, others = _guess_outcome(rest.columns, within, rows, list(source.types))
        same = same_line(source, others, outcome_column.name)
        other_outcomes = tuple(name for name in others if name not in same)
    rest.columns = [c for c in rest.columns if c is not outcome_column]
    rest.drop((c.name for c in rest.columns if c.missing > MOST_MISSING * rows), GAPS)
    rest.drop((name for name in other_outcomes if outcome_points(name) > 0), OUTCOMES)
    numbers = [c.name for c in rest.columns if c.whole and c.distinct > MOST_LEVELS and c.name in within]
    labels = [x for x in numbers[:MOST_CANDIDATES] if not has_order(source, x, outcome_column.name)]
    rest.drop(labels, UNORDERED)
    named = [c for c in likely if is_unit(c.name) and c is not outcome_column]
    candidates = [*named, *(profiles[name] for name in labels)] if group is None else []
    crossed = guess_crossed(source, candidates, levels, rows, outcome_column.name)
    rest.columns = [c for c in rest.columns if c is not crossed]
    return _with_predictors(
        source,
        rest,
        within,
        Guess(
            levels=tuple(c.name for c in levels),
            outcome=outcome_column.name,
            varying=(),
            constant=(),
            factors=(),
            n_rows=rows,
            n_groups=tuple(c.distinct for c in levels),
            time=time.name if time is not None else None,
            far_from_zero=time is not None and time.distance > FAR,
            crossed=crossed.name if crossed is not None else None,
            n_crossed=crossed.distinct if crossed is not None else 0,
            other_outcomes=other_outcomes,
            other_groups=tuple(c.name for c in likely[1:] if c not in levels and c is not crossed),
        ),
    )


def _check_types(source: Source, profiles: Mapping[str, ColumnProfile], outcome: str | None, group: str | None) -> None:
    """Refuse a named outcome or group of a type that has no role."""
    for name in (outcome, group):
        if name is not None and name not in profiles:
            raise DataError(
                f"{name!r} has a type that cannot be an outcome or group. Got {source.types[name]}; expected text or "
                "numbers. Make it one of these in a view, or name another column."
            )
    if outcome is not None and not profiles[outcome].number:
        raise DataError(f"The outcome must be a column of numbers. Got {outcome!r}, which is text.")


def too_wide(what: str, columns: int) -> str:
    """Write the error message for a table with too many columns to guess from."""
    return (
        f"{what[0].upper()}{what[1:]} has too many columns to guess from. Got {columns:,}; expected at most "
        f"{MOST_COLUMNS:,}. Make a file or view of those that matter."
    )


def _check_names(source: Source, outcome: str | None, group: str | None) -> None:
    source.require([name for name in (outcome, group) if name is not None])
    if outcome is not None and outcome == group:
        raise DataError(f"The outcome and the group are two columns. Got {outcome!r} for both; name another.")
    if len(source.types) > MOST_COLUMNS:
        raise DataError(too_wide(source.description, len(source.types)))


def _only_names(column: ColumnProfile, rows: int) -> bool:
    """Whether a column's values only identify rows, units or categories, and measure nothing."""
    if column.distinct == rows - column.missing and (column.whole or not column.number) and rows > MOST_LEVELS:
        return outcome_points(column.name) <= 0 or not column.number
    if is_time(column.name):
        return False
    if not column.number:
        return column.distinct > MOST_LEVELS and is_code(column.name)
    if not column.whole or column.distinct <= 2:
        return False
    return is_identifier(column.name) or (is_code(column.name) and outcome_points(column.name) <= 0)


def _guess_time(
    source: Source, rest: _Remaining, within: frozenset[str], lowest: ColumnProfile, rows: int
) -> ColumnProfile | None:
    """Return the time of repeated measurements, and drop other times, and what only depends on the time."""
    is_like_time = is_time if is_collective(lowest.name) else is_perhaps_time
    candidates = [c for c in rest.columns if c.number and c.name in within and is_like_time(c.name)]
    once = {c.name for c in candidates if combinations(source, c.name, lowest.name) >= ONCE * rows}
    candidates = [c for c in candidates if is_time(c.name) or c.name in once]
    if not candidates:
        return None
    time = max(candidates, key=lambda c: (c.name in once, is_time(c.name), c.distinct))
    rest.columns = [c for c in rest.columns if c is not time]
    rest.drop((c.name for c in candidates if c is not time), OTHER_TIME)
    names = [c.name for c in rest.columns if c.number and c.name in within]
    if time.name in once and time.distinct < rows:
        rest.drop(set(names) - varying(source, names, time.name), AT_TIMES)
    return time


def _guess_outcome(
    columns: Sequence[ColumnProfile], within: frozenset[str], rows: int, order: list[str]
) -> tuple[ColumnProfile, tuple[str, ...]]:
    """Return the likeliest outcome, and the names of those that are about as likely."""
    candidates = [
        c
        for c in columns
        if c.number
        and c.name in within
        and c.distinct >= (FEWEST_NAMED_VALUES if outcome_points(c.name) > 0 else FEWEST_VALUES)
    ]
    if not candidates:
        raise UndecidedError(
            "outcome",
            f"No column looks like an outcome: numbers with {FEWEST_VALUES} or more values that vary within groups. "
            f"Name it with --outcome. The columns are {list_names(order)}.",
        )
    place = {name: i for i, name in enumerate(order)}
    first, last = (pick(candidates, key=lambda c: place[c.name]) for pick in (min, max))
    points = {
        c.name: outcome_points(c.name)
        + 0.5 * (c is first)
        + 0.5 * (c is last)
        + 0.5 * (not c.whole)
        + 0.25 * c.distinct / max(rows, 1)
        - 2.0 * (c.missing > MOST_MISSING * rows)
        for c in candidates
    }
    best = max(candidates, key=lambda c: points[c.name])
    close = [c for c in candidates if c is not best and points[c.name] > points[best.name] - SURE]
    close.sort(key=lambda c: -points[c.name])
    return best, tuple(c.name for c in close)


def _with_predictors(source: Source, rest: _Remaining, within: frozenset[str], roles: Guess) -> Guess:
    """Choose the predictors, and name the columns that are left out."""
    lowest = roles.levels[0]
    rest.drop((c.name for c in rest.columns if not c.number and c.distinct > MOST_LEVELS), WORDS)
    rest.drop((c.name for c in rest.columns if c.number and c.name not in within and _is_mean(c.name, within)), MEANS)
    # usual predictors first, then measured variables before indicators
    ordered = sorted(rest.columns, key=lambda c: (not is_predictor(c.name), outcome_points(c.name) > 0, -c.distinct))
    texts = [c.name for c in ordered if not c.number][:MOST_CANDIDATES]
    numbers = [c.name for c in ordered if c.number][:MOST_CANDIDATES]
    measured = [name for name in numbers if name in within]
    other_times = [name for name, reason in rest.reasons.items() if reason == OTHER_TIME]
    redundant = _versions(source, measured, [*measured, *other_times], lowest)
    # a second name of the groups
    texts_of_groups = [c.name for c in ordered if not c.number and c.distinct == roles.n_groups[0]]
    redundant |= {x: lowest for x in texts_of_groups if combinations(source, x, lowest) == roles.n_groups[0]}
    # texts first: of sex and its code 0 or 1, the text makes the readable result
    factors = _choose(texts, redundant, lambda text: set(texts + numbers) - varying(source, texts + numbers, text))
    redundant |= dict.fromkeys(same_line(source, numbers, roles.outcome), roles.outcome)
    if roles.time is not None:
        redundant |= dict.fromkeys(same_line(source, numbers, roles.time) - set(redundant), roles.time)
    on_one_line = functools.partial(same_line, source, numbers)
    varied = _choose([name for name in numbers if name in within], redundant, on_one_line)
    constant = _choose([name for name in numbers if name not in within], redundant, on_one_line)
    chosen = {*factors, *varied, *constant, *redundant}
    rest.drop((c.name for c in rest.columns if c.name not in chosen), LATER)
    has_role = {*roles.levels, roles.crossed, roles.outcome, roles.time, *chosen}
    reasons = {n: NO_NUMBERS for n in source.types if n not in rest.reasons} | rest.reasons
    by_reason: dict[str, list[str]] = {}
    for name in source.types:
        if name not in has_role:
            by_reason.setdefault(reasons[name], []).append(name)
    return Guess(
        **{
            **vars(roles),
            "varying": varied,
            "constant": constant,
            "factors": factors,
            "redundant": tuple((name, redundant[name]) for name in source.types if name in redundant),
            "balanced": balanced(source, varied, lowest),
            "left_out": tuple((reason, tuple(names)) for reason, names in by_reason.items()),
        }
    )


def _choose(
    names: Sequence[str], redundant: dict[str, str], redundant_with: Callable[[str], set[str]]
) -> tuple[str, ...]:
    """Choose the first few columns that are not redundant, and add to `redundant` the columns that each makes so."""
    chosen: list[str] = []
    for name in names:
        if name not in redundant and len(chosen) < MOST_PREDICTORS:
            chosen.append(name)
            redundant |= {
                other: name for other in redundant_with(name) if other not in chosen and other not in redundant
            }
    return tuple(chosen)


def _versions(source: Source, names: Sequence[str], originals: Sequence[str], group: str) -> dict[str, str]:
    """Return each column that is another one centered or squared and has its name in its own, with that other."""
    lower = {of: of.lower() for of in originals}
    pairs = [(name, of) for name in names for of in originals if name != of and lower[of] in name.lower()]
    same = same_within(source, pairs[:MOST_CANDIDATES], group)
    return {name: of for name, of in same if (of, name) not in same}


def _is_mean(name: str, within: frozenset[str]) -> bool:
    """Whether a column's name says that it is the group mean of another column, which between() computes."""
    lower = name.lower()
    return ("mean" in lower or "avg" in lower) and any(other.lower() in lower for other in within)
