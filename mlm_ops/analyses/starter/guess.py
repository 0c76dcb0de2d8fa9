"""Guess which columns of a table are grouping factors, the outcome and predictors."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlm_ops.errors import DataError
from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import identifier

#: Words in the names of grouping columns, and below in those of outcomes.
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
#: Column types that numpy has too.
_NUMPY_TYPES = frozenset({f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "")}) | {
    *("INTEGER", "UINTEGER", "FLOAT", "DOUBLE", "VARCHAR")
}
#: A text column with more values is not a predictor, and a number column with fewer values is not an outcome.
MOST_LEVELS, FEWEST_VALUES = 8, 8
#: A column with a larger share of missing values is left out, because its incomplete rows would be dropped.
MOST_MISSING = 0.1
MOST_PREDICTORS = 3
#: The most columns that a table may have; and the number of columns, those with the most values, tried as predictors.
MOST_COLUMNS, MOST_CANDIDATES = 2_000, 100
#: The number of cells that one query reads, and of columns that one query compares.
MOST_CELLS, MOST_COMPARED = 20_000_000, 100


@dataclass(frozen=True)
class ColumnProfile:
    """The number of distinct and of missing values of a column, and whether they are (whole) numbers."""

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
        Those of `varying` that have the same mean in every group, such as the waves of a complete panel, and so no
        between part.
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


def guess(source: Source, outcome: str | None = None, group: str | None = None) -> Guess:
    """Guess the roles of a table's columns, from their names, types and values.

    Raises
    ------
    DataError
        A named column is missing or has the wrong type, or no column looks like a group or an outcome.
    """
    source.require([name for name in (outcome, group) if name is not None])
    if outcome is not None and outcome == group:
        raise DataError(f"The outcome and the group are two columns. Got {outcome!r} for both; name another.")
    if len(source.types) > MOST_COLUMNS:
        raise DataError(too_wide(source.description, len(source.types)))
    rows, columns = _columns(source)
    profiles = {column.name: column for column in columns}
    for name in (outcome, group):
        if name is not None and name not in profiles:
            raise DataError(
                f"{name!r} is of a type that no analysis is begun with. Got {source.types[name]}; expected text or "
                "numbers. Make it one of these in a view, or name another column."
            )
    lowest = profiles[group] if group is not None else _guess_group(columns, rows, outcome)
    levels = (lowest, *_guess_parents(source, columns, lowest))
    others = [c for c in columns if c not in levels and c.missing <= MOST_MISSING * rows]
    varying = _varying(source, [c.name for c in columns if c not in levels], lowest.name)
    if outcome is not None and not profiles[outcome].number:
        raise DataError(f"The outcome must be a column of numbers. Got {outcome!r}, which is text.")
    # a whole number that is different in every row is a row number or an id
    others = [c for c in others if c.name == outcome or not (c.whole and c.distinct == rows)]
    outcome_column = profiles[outcome] if outcome is not None else _guess_outcome(others, varying)
    # measured variables before indicators
    possible_predictors = sorted(
        (c for c in others if c is not outcome_column and c.distinct > 1), key=lambda c: -c.distinct
    )
    texts = [c.name for c in possible_predictors if not c.number and c.distinct <= MOST_LEVELS][:MOST_CANDIDATES]
    numbers = [c.name for c in possible_predictors if c.number][:MOST_CANDIDATES]
    numbers = [name for name in numbers if name in varying or not _is_mean(name, varying)]
    redundant: dict[str, str] = {}
    # texts first: of sex and its code 0 or 1, the text makes the readable result
    factors = _choose(texts, redundant, lambda text: set(texts + numbers) - _varying(source, texts + numbers, text))
    redundant |= dict.fromkeys(_same_line(source, numbers, outcome_column.name), outcome_column.name)
    same_line = functools.partial(_same_line, source, numbers)
    within = _choose([name for name in numbers if name in varying], redundant, same_line)
    return Guess(
        levels=tuple(c.name for c in levels),
        outcome=outcome_column.name,
        varying=within,
        constant=_choose([name for name in numbers if name not in varying], redundant, same_line),
        factors=factors,
        n_rows=rows,
        n_groups=tuple(c.distinct for c in levels),
        redundant=tuple((c.name, redundant[c.name]) for c in columns if c.name in redundant),
        balanced=_balanced(source, within, lowest.name),
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


def _same_line(source: Source, names: Sequence[str], reference: str) -> set[str]:
    """Return the columns that are a linear function of `reference`, such as the same measure in other units."""
    others = [name for name in names if name != reference]
    if not others:
        return set()
    # rounding moves a correlation of one by some 1e-15, and squares of large numbers overflow; the correlation with a
    # constant is NaN, which DuckDB orders above all numbers
    expressions = {n: f"case when abs({identifier(n)}) < 1e100 then {identifier(n)} end" for n in (reference, *others)}
    within = "between 1 - 1e-12 and 1 + 1e-12"
    correlations = ", ".join(f"abs(corr({expressions[reference]}, {expressions[name]})) {within}" for name in others)
    (flags,) = source.query(f"select {correlations} from {source.relation}").fetchall()
    return {name for name, same in zip(others, flags, strict=True) if same}


def _balanced(source: Source, names: Sequence[str], group: str) -> frozenset[str]:
    """Return the columns of numbers whose mean is the same in every group, except for rounding."""
    if not names:
        return frozenset()
    means = ", ".join(f"avg({identifier(name)}) as c{i}" for i, name in enumerate(names))
    grouped_rows = f"{source.relation} where {identifier(group)} is not null"
    same = ", ".join(f"max(c{i}) - min(c{i}) <= 1e-10 * max(abs(c{i}))" for i, _ in enumerate(names))
    (flags,) = source.query(
        f"select {same} from (select {means} from {grouped_rows} group by {identifier(group)})"
    ).fetchall()
    return frozenset(name for name, is_same in zip(names, flags, strict=True) if is_same)


def _is_mean(name: str, varying: frozenset[str]) -> bool:
    """Whether a column's name says that it is the group mean of another column, which between() computes."""
    return "mean" in name.lower() and any(other.lower() in name.lower() for other in varying)


def _columns(source: Source) -> tuple[int, list[ColumnProfile]]:
    """Return the number of rows, and the profile of every column of numbers or text; a few columns per query."""
    ((rows,),) = source.query(f"select count(*) from {source.relation}").fetchall()
    names = [name for name in source.types if source.is_numeric(name) or source.is_text(name)]
    columns = []
    # DuckDB's count(distinct) keeps a hash table per column and thread, which takes minutes for hundreds of columns
    for chunk in _chunks(names, max(1, MOST_CELLS // max(rows, 1))):
        expressions = ", ".join(f"{_plain_values(source, name)} as c{i}" for i, name in enumerate(chunk))
        cells = source.query(f"select {expressions} from {source.relation}").fetchnumpy()
        for i, name in enumerate(chunk):
            values = np.ma.compressed(np.ma.asanyarray(cells[f"c{i}"]))
            distinct = len(set(values)) if values.dtype == object else len(np.unique(values))
            whole = "INT" in source.types[name].upper()
            columns.append(ColumnProfile(name, distinct, rows - len(values), source.is_numeric(name), whole))
    return rows, columns


def _plain_values(source: Source, name: str) -> str:
    """Write the SQL of a column's values: as text where numpy does not have the type, such as a decimal."""
    plain = source.types[name].upper() in _NUMPY_TYPES
    return identifier(name) if plain else f"cast({identifier(name)} as varchar)"


def _chunks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _guess_group(columns: Sequence[ColumnProfile], rows: int, outcome: str | None) -> ColumnProfile:
    """Return the likeliest grouping column: by its name, or else the one with the most groups of several rows."""
    candidates = [
        c
        for c in columns
        if c.name != outcome
        and (c.whole or not c.number)
        and c.distinct >= FEWEST_GROUPS
        and rows >= FEWEST_ROWS * c.distinct
    ]
    likely_columns = [c for c in candidates if _GROUP_WORDS.search(c.name)]
    if not candidates:
        raise DataError(
            f"No column looks like groups of rows: {FEWEST_GROUPS} or more values, each in several rows. "
            f"Name it with --group. The columns are {list_names(c.name for c in columns)}."
        )
    return max(likely_columns or candidates, key=lambda c: c.distinct)


def _guess_parents(source: Source, columns: Sequence[ColumnProfile], lowest: ColumnProfile) -> list[ColumnProfile]:
    """Return the higher levels: columns named like groups, each value with several whole groups of the level below."""
    levels = [lowest]
    for c in sorted(columns, key=lambda c: -c.distinct):
        below = levels[-1]
        if not (_GROUP_WORDS.search(c.name) and FEWEST_GROUPS <= c.distinct <= below.distinct / 2):
            continue
        if not c.number or c.whole:
            pairs = f"select distinct {identifier(below.name)}, {identifier(c.name)} from {source.relation}"
            ((combinations,),) = source.query(f"select count(*) from ({pairs})").fetchall()
            if combinations == below.distinct:
                levels.append(c)
    return levels[1:]


def _varying(source: Source, names: Sequence[str], group: str) -> frozenset[str]:
    """Return the columns that have more than one value in some group."""
    grouped_rows = f"{source.relation} where {identifier(group)} is not null"
    varying: list[str] = []
    for chunk in _chunks(names, MOST_COMPARED):
        tests = ", ".join(
            f"min({identifier(n)}) is distinct from max({identifier(n)}) as c{i}" for i, n in enumerate(chunk)
        )
        aggregates = ", ".join(f"bool_or(c{i})" for i, _ in enumerate(chunk))
        by_group = f"select {tests} from {grouped_rows} group by {identifier(group)}"
        (flags,) = source.query(f"select {aggregates} from ({by_group})").fetchall()
        varying += [name for name, varies in zip(chunk, flags, strict=True) if varies]
    return frozenset(varying)


def too_wide(what: str, columns: int) -> str:
    """Write the error message for a table with too many columns to guess from."""
    return (
        f"{what[0].upper()}{what[1:]} has too many columns to guess from. Got {columns:,}; expected at most "
        f"{MOST_COLUMNS:,}. Make a file or view of those that matter."
    )


def _guess_outcome(columns: Sequence[ColumnProfile], varying: frozenset[str]) -> ColumnProfile:
    candidates = [c for c in columns if c.number and c.name in varying and c.distinct >= FEWEST_VALUES]
    if not candidates:
        raise DataError(
            f"No column looks like an outcome: numbers with {FEWEST_VALUES} or more values that vary within groups. "
            f"Name it with --outcome. The columns are {list_names(c.name for c in columns)}."
        )
    likely_columns = [c for c in candidates if _OUTCOME_WORDS.search(c.name)]
    return max(likely_columns or candidates, key=lambda c: (not c.whole, c.distinct))
