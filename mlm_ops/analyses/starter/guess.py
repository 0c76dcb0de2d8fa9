"""What the columns of an unknown table are probably for: groups, an outcome, predictors."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlm_ops.errors import DataError
from mlm_ops.warehouse.source import Source, listed
from mlm_ops.warehouse.sql import identifier

#: Words in the names of grouping columns and of outcomes, the likeliest first where a column has none.
_GROUP_WORDS = re.compile(
    r"school|class|group|cluster|site|cent(er|re)|clinic|hospital|ward|subject|patient|person|participant|team|store"
    r"|teacher|firm|country|region|district|family|couple|_id$|^id_|^id$",
    re.IGNORECASE,
)
_OUTCOME_WORDS = re.compile(
    r"^y$|outcome|score|ach|math|read|test|result|rating|response|value|grade|popular|satisf|sales|time",
    re.IGNORECASE,
)
#: Fewest groups, and rows in each on average, of a column that is taken for a grouping factor.
FEWEST_GROUPS, FEWEST_ROWS = 6, 2.0
#: Types that numpy has too.
_PLAIN = frozenset({f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "")}) | {
    *("INTEGER", "UINTEGER", "FLOAT", "DOUBLE", "VARCHAR")
}
#: A text column with more values is no predictor, a number with fewer no outcome.
MOST_LEVELS, FEWEST_VALUES = 8, 8
#: A column with a larger share of missing values is left out: a row without one serves no model.
MOST_MISSING = 0.1
MOST_PREDICTORS = 3
#: Columns of a table that is looked at; and those among which predictors are sought, the numbers with most values.
MOST_COLUMNS, MOST_CANDIDATES = 2_000, 100
#: Cells that are read at a time, and columns that one statement compares.
MOST_CELLS, MOST_COMPARED = 20_000_000, 100


@dataclass(frozen=True)
class Column:
    """What a column holds: distinct values, missing ones, and whether they are numbers."""

    name: str
    distinct: int
    missing: int
    number: bool
    whole: bool


@dataclass(frozen=True)
class Guess:
    """The roles of a table's columns.

    Attributes
    ----------
    levels
        Grouping columns, lowest first.
    outcome
        A number.
    varying, constant, factors
        Predictors: numbers that vary within groups, numbers that do not, texts.
    n_rows, n_groups
        Of the table, and of each level.
    told
        Columns that are no predictors because the outcome or a predictor tells their values, and which does.
    balanced
        Of `varying`, those with the same mean in every group, as waves that everybody has: they have no between part.
    """

    levels: tuple[str, ...]
    outcome: str
    varying: tuple[str, ...]
    constant: tuple[str, ...]
    factors: tuple[str, ...]
    n_rows: int
    n_groups: tuple[int, ...]
    told: tuple[tuple[str, str], ...] = ()
    balanced: frozenset[str] = frozenset()


def guess(source: Source, outcome: str | None = None, group: str | None = None) -> Guess:
    """Look at a table once for its columns, once for what varies within groups.

    Raises
    ------
    DataError
        A named column is not there or cannot serve, or no column looks like a group or an outcome.
    """
    source.require([name for name in (outcome, group) if name is not None])
    if outcome is not None and outcome == group:
        raise DataError(f"The outcome and the group are two columns. Got {outcome!r} for both; name another.")
    if len(source.types) > MOST_COLUMNS:
        raise DataError(too_wide(source.description, len(source.types)))
    rows, columns = _columns(source)
    found = {column.name: column for column in columns}
    for name in (outcome, group):
        if name is not None and name not in found:
            raise DataError(
                f"{name!r} is of a type that no analysis is begun with. Got {source.types[name]}; expected text or "
                "numbers. Make it one of these in a view, or name another column."
            )
    lowest = found[group] if group is not None else _group(columns, rows, outcome)
    levels = (lowest, *_parents(source, columns, lowest))
    others = [c for c in columns if c not in levels and c.missing <= MOST_MISSING * rows]
    varying = _varying(source, [c.name for c in columns if c not in levels], lowest.name)
    if outcome is not None and not found[outcome].number:
        raise DataError(f"The outcome must be a column of numbers. Got {outcome!r}, which is text.")
    # a number of the row is neither measured nor a predictor
    others = [c for c in others if c.name == outcome or not (c.whole and c.distinct == rows)]
    chosen = found[outcome] if outcome is not None else _outcome(others, varying)
    # measured variables before indicators
    rest = sorted((c for c in others if c is not chosen and c.distinct > 1), key=lambda c: -c.distinct)
    texts = [c.name for c in rest if not c.number and c.distinct <= MOST_LEVELS][:MOST_CANDIDATES]
    numbers = [c.name for c in rest if c.number][:MOST_CANDIDATES]
    numbers = [name for name in numbers if name in varying or not _is_mean(name, varying)]
    told: dict[str, str] = {}
    # texts first: of sex and its code 0 or 1, the text is the one whose results say which is which
    factors = _chosen(texts, told, lambda text: set(texts + numbers) - _varying(source, texts + numbers, text))
    told |= dict.fromkeys(_same_line(source, numbers, chosen.name), chosen.name)
    same_line = functools.partial(_same_line, source, numbers)
    within = _chosen([name for name in numbers if name in varying], told, same_line)
    return Guess(
        levels=tuple(c.name for c in levels),
        outcome=chosen.name,
        varying=within,
        constant=_chosen([name for name in numbers if name not in varying], told, same_line),
        factors=factors,
        n_rows=rows,
        n_groups=tuple(c.distinct for c in levels),
        told=tuple((c.name, told[c.name]) for c in columns if c.name in told),
        balanced=_balanced(source, within, lowest.name),
    )


def _chosen(names: Sequence[str], told: dict[str, str], tells: Callable[[str], set[str]]) -> tuple[str, ...]:
    """The first few that no other has told, each of which may tell others: these are added to `told`."""
    chosen: list[str] = []
    for name in names:
        if name not in told and len(chosen) < MOST_PREDICTORS:
            chosen.append(name)
            told |= {other: name for other in tells(name) if other not in chosen and other not in told}
    return tuple(chosen)


def _same_line(source: Source, names: Sequence[str], kept: str) -> set[str]:
    """Columns of numbers that are another one in other units."""
    others = [name for name in names if name != kept]
    if not others:
        return set()
    # sums of doubles leave a correlation of one within some 1e-15 of it, and overflow where squares do; a correlation
    # with a constant is NaN, which to DuckDB is above all numbers
    possible = {n: f"case when abs({identifier(n)}) < 1e100 then {identifier(n)} end" for n in (kept, *others)}
    within = "between 1 - 1e-12 and 1 + 1e-12"
    straight = ", ".join(f"abs(corr({possible[kept]}, {possible[name]})) {within}" for name in others)
    (found,) = source.query(f"select {straight} from {source.relation}").fetchall()
    return {name for name, same in zip(others, found, strict=True) if same}


def _balanced(source: Source, names: Sequence[str], group: str) -> frozenset[str]:
    """Columns of numbers whose mean is the same in every group, but for rounding."""
    if not names:
        return frozenset()
    means = ", ".join(f"avg({identifier(name)}) as c{i}" for i, name in enumerate(names))
    known = f"{source.relation} where {identifier(group)} is not null"
    same = ", ".join(f"max(c{i}) - min(c{i}) <= 1e-10 * max(abs(c{i}))" for i, _ in enumerate(names))
    (found,) = source.query(f"select {same} from (select {means} from {known} group by {identifier(group)})").fetchall()
    return frozenset(name for name, is_same in zip(names, found, strict=True) if is_same)


def _is_mean(name: str, varying: frozenset[str]) -> bool:
    """Whether a column's name says that it is the group mean of another, which between() makes by itself."""
    return "mean" in name.lower() and any(other.lower() in name.lower() for other in varying)


def _columns(source: Source) -> tuple[int, list[Column]]:
    """What every column of numbers or text holds, a few columns at a time."""
    ((rows,),) = source.query(f"select count(*) from {source.relation}").fetchall()
    names = [name for name in source.types if source.is_numeric(name) or source.is_text(name)]
    columns = []
    # DuckDB's count(distinct) makes a table for each column and thread, which for hundreds of columns takes minutes
    for part in _parts(names, max(1, MOST_CELLS // max(rows, 1))):
        asked = ", ".join(f"{_plain_values(source, name)} as c{i}" for i, name in enumerate(part))
        found = source.query(f"select {asked} from {source.relation}").fetchnumpy()
        for i, name in enumerate(part):
            values = np.ma.compressed(np.ma.asanyarray(found[f"c{i}"]))
            distinct = len(set(values)) if values.dtype == object else len(np.unique(values))
            whole = "INT" in source.types[name].upper()
            columns.append(Column(name, distinct, rows - len(values), source.is_numeric(name), whole))
    return rows, columns


def _plain_values(source: Source, name: str) -> str:
    """A column as numbers or texts: what is neither in numpy, such as a decimal, is text."""
    plain = source.types[name].upper() in _PLAIN
    return identifier(name) if plain else f"cast({identifier(name)} as varchar)"


def _parts(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _group(columns: Sequence[Column], rows: int, outcome: str | None) -> Column:
    """The likeliest grouping column: by its name, else the one with the most groups of several rows."""
    possible = [
        c
        for c in columns
        if c.name != outcome
        and (c.whole or not c.number)
        and c.distinct >= FEWEST_GROUPS
        and rows >= FEWEST_ROWS * c.distinct
    ]
    named = [c for c in possible if _GROUP_WORDS.search(c.name)]
    if not possible:
        raise DataError(
            f"No column looks like groups of rows: {FEWEST_GROUPS} or more values, each in several rows. "
            f"Name it with --group. The columns are {listed(c.name for c in columns)}."
        )
    return max(named or possible, key=lambda c: c.distinct)


def _parents(source: Source, columns: Sequence[Column], lowest: Column) -> list[Column]:
    """Columns that are named as groups and hold several whole groups of the level below."""
    found = [lowest]
    for c in sorted(columns, key=lambda c: -c.distinct):
        below = found[-1]
        if not (_GROUP_WORDS.search(c.name) and FEWEST_GROUPS <= c.distinct <= below.distinct / 2):
            continue
        if not c.number or c.whole:
            pairs = f"select distinct {identifier(below.name)}, {identifier(c.name)} from {source.relation}"
            ((combinations,),) = source.query(f"select count(*) from ({pairs})").fetchall()
            if combinations == below.distinct:
                found.append(c)
    return found[1:]


def _varying(source: Source, names: Sequence[str], group: str) -> frozenset[str]:
    """Columns with more than one value in some group."""
    known = f"{source.relation} where {identifier(group)} is not null"
    varying: list[str] = []
    for part in _parts(names, MOST_COMPARED):
        tests = ", ".join(
            f"min({identifier(n)}) is distinct from max({identifier(n)}) as c{i}" for i, n in enumerate(part)
        )
        ever = ", ".join(f"bool_or(c{i})" for i, _ in enumerate(part))
        by_group = f"select {tests} from {known} group by {identifier(group)}"
        (found,) = source.query(f"select {ever} from ({by_group})").fetchall()
        varying += [name for name, varies in zip(part, found, strict=True) if varies]
    return frozenset(varying)


def too_wide(what: str, columns: int) -> str:
    """What is said of a table that nobody has chosen columns from."""
    return (
        f"{what[0].upper()}{what[1:]} has too many columns to guess from. Got {columns:,}; expected at most "
        f"{MOST_COLUMNS:,}. Make a file or view of those that matter."
    )


def _outcome(columns: Sequence[Column], varying: frozenset[str]) -> Column:
    possible = [c for c in columns if c.number and c.name in varying and c.distinct >= FEWEST_VALUES]
    if not possible:
        raise DataError(
            f"No column looks like an outcome: numbers with {FEWEST_VALUES} or more values that vary within groups. "
            f"Name it with --outcome. The columns are {listed(c.name for c in columns)}."
        )
    named = [c for c in possible if _OUTCOME_WORDS.search(c.name)]
    return max(named or possible, key=lambda c: (not c.whole, c.distinct))
