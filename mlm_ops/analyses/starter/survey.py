"""Survey the columns of a table for a first analysis: their numbers of values, and which columns determine others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlm_ops.analyses.starter.names import is_logarithm
from mlm_ops.moments.arrays import Array
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import identifier

#: Column types that numpy has too.
_NUMPY_TYPES = frozenset({f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "")}) | {
    *("INTEGER", "UINTEGER", "FLOAT", "DOUBLE", "VARCHAR")
}
#: The number of cells that one query reads, and of columns that one query compares.
_MOST_CELLS, _MOST_COMPARED = 20_000_000, 100

#: Numbers have no order if they explain more of the outcome than a line by this share of its variance, and neighbours'
#: means are as alike as any, by a ratio in this range; a few large outliers bring it above. With fewer rows of each
#: number on average nothing can be said.
_LEAST_EXPLAINED, _WITHOUT_ORDER, _FEWEST_ROWS = 0.05, (0.6, 1.4), 5


@dataclass(frozen=True)
class ColumnProfile:
    """The number of distinct and of missing values of a column, and whether they are (whole) numbers.

    Attributes
    ----------
    distance
        The mean of whole numbers in units of their range; 0 for other columns.
    """

    name: str
    distinct: int
    missing: int
    number: bool
    whole: bool
    distance: float = 0.0


def survey(source: Source) -> tuple[int, list[ColumnProfile]]:
    """Return the number of rows, and the profile of every column of numbers or text; a few columns per query."""
    ((rows,),) = source.query(f"select count(*) from {source.relation}").fetchall()
    names = [name for name in source.types if source.is_numeric(name) or source.is_text(name)]
    columns = []
    # DuckDB's count(distinct) keeps a hash table per column and thread, which takes minutes for hundreds of columns
    for chunk in _chunks(names, max(1, _MOST_CELLS // max(rows, 1))):
        expressions = ", ".join(f"{_plain_values(source, name)} as c{i}" for i, name in enumerate(chunk))
        cells = source.query(f"select {expressions} from {source.relation}").fetchnumpy()
        for i, name in enumerate(chunk):
            columns.append(_profile(source, name, rows, np.ma.compressed(np.ma.asanyarray(cells[f"c{i}"]))))
    return rows, columns


def _profile(source: Source, name: str, rows: int, values: np.ndarray) -> ColumnProfile:
    distinct_values = np.asarray(list(set(values))) if values.dtype == object else np.unique(values)
    number, distance = source.is_numeric(name), 0.0
    whole = "INT" in source.types[name].upper()
    if values.dtype.kind == "f" and len(values):
        # a whole number with missing values is a DOUBLE in a frame of pandas
        whole = bool(np.all(np.isfinite(distinct_values)) and np.all(distinct_values == np.round(distinct_values)))
    if whole and values.dtype.kind in "iuf" and len(distinct_values) > 1:
        least, most = float(distinct_values[0]), float(distinct_values[-1])
        distance = abs(least + most) / 2 / (most - least)
    return ColumnProfile(name, len(distinct_values), rows - len(values), number, whole, distance)


def _plain_values(source: Source, name: str) -> str:
    """Write the SQL of a column's values: as text where numpy does not have the type, such as a decimal."""
    plain = source.types[name].upper() in _NUMPY_TYPES
    return identifier(name) if plain else f"cast({identifier(name)} as varchar)"


def _chunks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def varying(source: Source, names: Sequence[str], group: str) -> frozenset[str]:
    """Return the columns that have more than one value in some group."""
    grouped_rows = f"{source.relation} where {identifier(group)} is not null"
    columns: list[str] = []
    for chunk in _chunks(names, _MOST_COMPARED):
        tests = ", ".join(
            f"min({identifier(n)}) is distinct from max({identifier(n)}) as c{i}" for i, n in enumerate(chunk)
        )
        aggregates = ", ".join(f"bool_or(c{i})" for i, _ in enumerate(chunk))
        by_group = f"select {tests} from {grouped_rows} group by {identifier(group)}"
        (flags,) = source.query(f"select {aggregates} from ({by_group})").fetchall()
        columns += [name for name, varies in zip(chunk, flags, strict=True) if varies]
    return frozenset(columns)


def combinations(source: Source, one: str, other: str) -> int:
    """Return the number of combinations of two columns' values."""
    pairs = f"select distinct {identifier(one)}, {identifier(other)} from {source.relation}"
    ((number,),) = source.query(f"select count(*) from ({pairs})").fetchall()
    return int(number)


def same_size(source: Source, name: str) -> bool:
    """Whether all values of a column have the same number of rows."""
    column = identifier(name)
    sizes = f"select count(*) as n from {source.relation} where {column} is not null group by {column}"
    ((least, most),) = source.query(f"select min(n), max(n) from ({sizes})").fetchall()
    return bool(least == most)


def same_line(source: Source, names: Sequence[str], reference: str) -> set[str]:
    """Return the columns that are a linear function of `reference`, or its logarithm or that of which it is one."""
    others = [name for name in names if name != reference]
    if not others:
        return set()
    # rounding moves a correlation of one by some 1e-15, and squares of large numbers overflow; the correlation with a
    # constant is NaN, which DuckDB orders above all numbers
    expressions = {n: f"case when abs({identifier(n)}) < 1e100 then {identifier(n)} end" for n in (reference, *others)}
    tests = []
    for name in others:
        line = f"abs(corr({expressions[reference]}, {expressions[name]})) between 1 - 1e-12 and 1 + 1e-12"
        curves = []
        for raw, logarithm in ((reference, name), (name, reference)):
            if is_logarithm(logarithm, raw):
                x = identifier(raw)
                log = f"case when {x} > 0 and {x} < 1e100 then ln({x}) end"
                # the digits of logarithms in a file are few; without the zeros and less, two points may be left
                same = f"corr({log}, {expressions[logarithm]}) between 1 - 1e-7 and 1 + 1e-7"
                curves.append(f"(min({x}) > 0 and {same})")
        tests.append(f"({' or '.join([line, *curves])})")
    (flags,) = source.query(f"select {', '.join(tests)} from {source.relation}").fetchall()
    return {name for name, same in zip(others, flags, strict=True) if same}


def balanced(source: Source, names: Sequence[str], group: str) -> frozenset[str]:
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


def same_within(source: Source, pairs: Sequence[tuple[str, str]], group: str) -> list[tuple[str, str]]:
    """Return the pairs of which the first differs by one number in all rows of each group, or is the square."""
    if not pairs:
        return []
    tests = []
    for i, pair in enumerate(pairs):
        # whole numbers and decimals have products that they cannot hold, and the squares of some reals are infinite
        one, other = (f"case when abs({identifier(x)}) < 1e100 then cast({identifier(x)} as double) end" for x in pair)
        least = f"1e-6 * greatest(max(abs({one})), 1e-300)"
        tests.append(f"max(({one}) - ({other})) - min(({one}) - ({other})) <= {least} as c{i}")
        tests.append(f"max(abs(({one}) - ({other}) * ({other}))) <= {least} as d{i}")
    grouped_rows = f"{source.relation} where {identifier(group)} is not null group by {identifier(group)}"
    aggregates = ", ".join(f"bool_and(c{i}) or bool_and(d{i})" for i, _ in enumerate(pairs))
    (flags,) = source.query(f"select {aggregates} from (select {', '.join(tests)} from {grouped_rows})").fetchall()
    return [pair for pair, same in zip(pairs, flags, strict=True) if same]


@dataclass(frozen=True)
class Explained:
    """What a column's values explain of an outcome, as groups.

    Attributes
    ----------
    share
        Of the variance, less what as many values without any effect would explain.
    chance
        Three standard errors of what these would.
    line
        The correlation of the outcome with the values, where they are numbers; 0 elsewhere.
    sizes, means
        Rows and mean of the outcome at each value, by rising value; values and outcomes that are there.
    """

    share: float
    chance: float
    line: float
    sizes: Array
    means: Array

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the outcome's means differ by more than chance."""
        return self.share > self.chance


def explained(source: Source, name: str, outcome: str) -> Explained:
    """Return what a column's values explain of an outcome; nothing where there are too few rows of each to say."""
    x, y = identifier(name), identifier(outcome)
    finite = f"{x} is not null and abs({y}) < 1e100"
    means = f"select {x} as x, count(*) as n, avg({y}) as m from {source.relation} where {finite} group by {x}"
    line = f"corr({x}, {y})" if source.is_numeric(name) else "0.0"
    ((variance, slope),) = source.query(f"select var_pop({y}), {line} from {source.relation} where {finite}").fetchall()
    columns = source.query(f"select n, m from ({means}) order by x").fetchnumpy()
    sizes, m = np.asarray(columns["n"], float), np.asarray(columns["m"], float)
    n, k = sizes.sum(), len(sizes)
    if not variance or k < 3 or n < _FEWEST_ROWS * k:
        return Explained(0.0, 0.0, 0.0, sizes, m)
    mean = (sizes * m).sum() / n
    share = (sizes * (m - mean) ** 2).sum() / n / variance
    adjusted = float(1 - (1 - share) * (n - 1) / (n - k))
    return Explained(adjusted, 3 * math.sqrt(2 * k) / n, slope or 0.0, sizes, m)


def has_order(source: Source, name: str, outcome: str) -> bool:
    """Whether the outcome's means by a column's whole numbers follow their order, as far as they differ at all.

    Numbers without order, such as those of lecturers, explain more than a line does, and neighbours are no more alike
    than others: von Neumann's ratio, half the mean squared difference of neighbours by the variance, is about 1.
    """
    facts = explained(source, name, outcome)
    if facts.share - facts.line**2 < _LEAST_EXPLAINED + facts.chance:
        return True
    sizes, m = facts.sizes, facts.means
    n = sizes.sum()
    mean = (sizes * m).sum() / n
    pairs = np.minimum(sizes[1:], sizes[:-1])
    neighbours = (pairs * np.diff(m) ** 2).sum() / pairs.sum() / 2
    ratio = neighbours / ((sizes * (m - mean) ** 2).sum() / n)
    least, most = _WITHOUT_ORDER
    return not least < ratio < most
