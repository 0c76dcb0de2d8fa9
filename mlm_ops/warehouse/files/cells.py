"""Find the numbers in text columns: words for missing values, decimal commas, groups of thousands."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.files.reading import ChangedColumn, FileOptions
from mlm_ops.warehouse.sql import identifier, literal
from mlm_ops.warehouse.types import ROUNDED

Query = Callable[[str], Any]

#: Words that are missing values where the rest of a column is numbers. The empty cell and R's NA are missing anywhere.
WORDS = (".", "-", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "?", r"\N")
#: Signs between groups of thousands, beside the point or the comma, whichever is not the decimal sign.
_SPACES = "\u00a0\u202f '’"
#: The rows by which a text column is dismissed, and the share of numbers that it needs in them.
_SAMPLE, _SHARE = 1_000, 0.5
_NUMBERLIKE = re.compile(r"[+-]?[\d.,\u00a0\u202f '’]*\d[.,]?(?:[eE][+-]?\d+)?")
_MOST_AT_ONCE = 100


@dataclass(frozen=True)
class _Convention:
    """A decimal sign, and the signs that may stand between groups of thousands."""

    decimal: str
    groups: str

    @property
    def pattern(self) -> str:
        """The regular expression of a number, with groups of three digits or without any.

        One sign separates all groups of a number, and the first begins with no zero: 0.370 has none.
        """
        decimal = re.escape(self.decimal)
        grouped = "".join(rf"|[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+" for sign in self.groups)
        return rf"[+-]?(?:(?:\d+{grouped})(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][+-]?\d+)?"

    def without_groups(self, sql: str) -> str:
        return f"translate({sql}, {literal(self.groups)}, '')" if self.groups else sql

    def number(self, sql: str) -> str:
        """Return the SQL of the text that DuckDB casts to a number."""
        plain = self.without_groups(sql)
        return f"replace({plain}, ',', '.')" if self.decimal == "," else plain


@dataclass(frozen=True)
class _Counts:
    """How many cells of a text column are what; `filled` are neither empty nor a word.

    Attributes
    ----------
    plain, whole, point, comma
        Cells that DuckDB casts to a number; of digits alone; that are numbers with a decimal point, and with a comma.
    no_comma
        Cells with a point or comma that are no numbers with a decimal comma.
    signed, with_comma
        Cells with a point or comma; with a comma.
    """

    n_cells: int
    filled: int
    plain: int
    whole: int
    point: int
    comma: int
    leading_zero: int
    no_comma: int
    signed: int
    with_comma: int
    words: tuple[str, ...]
    groups: str

    @property
    def may_be_plain(self) -> bool:
        return self.plain == self.filled

    @property
    def may_be_point(self) -> bool:
        return self.point == self.filled

    @property
    def may_be_comma(self) -> bool:
        return self.comma == self.filled

    @property
    def is_comma(self) -> bool:
        """Whether the decimal sign is a comma for certain, as in 3,5."""
        return self.may_be_comma and not self.may_be_point and not self.may_be_plain

    @property
    def is_point(self) -> bool:
        """Whether the decimal sign is a point for certain, as in 3.5 and 0.370."""
        return (self.may_be_point or self.may_be_plain) and self.no_comma > 0

    @property
    def is_either(self) -> bool:
        """Whether each cell is a number both ways, but not the same one, as 1,234 and 1.234 are."""
        return self.may_be_comma and (self.may_be_point or self.may_be_plain) and self.signed > 0


@dataclass(frozen=True)
class CellChanges:
    """What was found out about the cells of a relation.

    Attributes
    ----------
    changed
        The columns to change.
    ambiguous
        Those whose numbers could be either of two, and nothing tells which, or other columns contradict each other.
    either_sign
        Those whose cells are like 1,234 or 1.234 alone: what another column holds may make them other numbers.
    commas, points
        Columns that have a decimal comma, and a decimal point, for certain.
    """

    changed: tuple[ChangedColumn, ...]
    ambiguous: tuple[str, ...] = ()
    either_sign: tuple[str, ...] = ()
    commas: tuple[str, ...] = ()
    points: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is said of the columns that stay text; nothing where none does."""
        if not self.ambiguous:
            return ()
        names = list_names(self.ambiguous, most=4)
        stay = "stays" if len(self.ambiguous) == 1 else "stay"
        told = f"numbers such as 1,234 may have a decimal comma or a thousand in {names}, which {stay} text"
        if self.commas and self.points:
            return (f"{told}, as others have either sign: give a frame or a SELECT",)
        return (f"{told}: say which with options: {{decimal: …}} in an analysis file, or give a frame",)


def change_cells(
    query: Query,
    relation: str,
    types: Mapping[str, str],
    options: FileOptions,
    delimiter: str,
    *,
    find: bool,
    doubles: Collection[str] = (),
) -> CellChanges:
    """Find the columns whose cells have to be changed, and how.

    What a column's own cells can be decides. Where each could be either of two numbers, as 1,234 and 1.234, the columns
    that are certain decide for all such, if they agree; where none is, the delimiter does.

    Parameters
    ----------
    query
        A function that runs SQL.
    relation
        The text after FROM.
    types
        The SQL type of each column.
    options
        What the user said: ``null``, ``decimal`` and ``thousands``.
    delimiter
        Where 1,234 may be two numbers, a file in which commas separate means a thousand, and one with semicolons does
        not; with another delimiter the column stays text.
    find
        Whether numbers are looked for in text columns, because the file has no types of its own.
    doubles
        Text columns that DuckDB would read as numbers with a decimal point.
    """
    words = tuple(word for word in (WORDS if options.null is None else options.null) if word)
    text = [name for name, kind in types.items() if kind == "VARCHAR"]
    unknown = [name for name in text if name not in doubles]
    candidates = [*_numberlike(query, relation, unknown, words), *doubles] if find else []
    counts = dict(_count(query, relation, candidates, words, options))
    numbers = {name: c for name, c in counts.items() if _is_number(c, options) or (name in doubles and c.may_be_plain)}
    decimal = options.decimal or _decimal(numbers.values(), delimiter)
    either_sign = tuple(name for name, c in numbers.items() if c.is_either)
    ambiguous = tuple(name for name in either_sign if decimal is None)
    changed = [
        _number(name, c, sign, options)
        for name, c in numbers.items()
        if name not in ambiguous and ((sign := _sign_of(c, decimal, options)) == "," or name not in doubles)
    ]
    if options.null:
        others = {name: kind for name, kind in types.items() if name not in {c.name for c in changed}}
        changed += _without_words(query, relation, others, words)
    return CellChanges(
        tuple(changed),
        ambiguous,
        either_sign,
        tuple(name for name, c in numbers.items() if c.is_comma),
        tuple(name for name, c in numbers.items() if c.is_point),
    )


def may_have_commas(query: Query, relation: str, names: Sequence[str], options: FileOptions) -> bool:
    """Whether the cells of one of some text columns are all numbers if a comma is the decimal sign, as 1.234 and 7."""
    pattern = literal(_conventions(options)[1].pattern)
    cells = ", ".join(f"bool_and(regexp_full_match(trim({identifier(name)}), {pattern}))" for name in names)
    (row,) = query(f"select {cells} from {relation}").fetchall()
    return any(value is not False for value in row)


def _numberlike(query: Query, relation: str, text: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """Yield the text columns of which half of the first cells look like numbers, or nothing is in them but words."""
    if not text:
        return
    rows = query(f"select {', '.join(map(identifier, text))} from {relation} limit {_SAMPLE}").fetchall()
    for name, cells in zip(text, zip(*rows, strict=True) if rows else ((),) * len(text), strict=True):
        filled = [cell.strip() for cell in cells if cell is not None and cell.strip() not in words]
        if sum(_NUMBERLIKE.fullmatch(cell) is not None for cell in filled) >= _SHARE * len(filled):
            yield name


def _conventions(options: FileOptions) -> tuple[_Convention, _Convention]:
    """The decimal point and the decimal comma, with the signs of thousands that each may have."""
    if options.thousands is not None:
        return _Convention(".", options.thousands), _Convention(",", options.thousands)
    return _Convention(".", f",{_SPACES}"), _Convention(",", f".{_SPACES}")


def _count(
    query: Query, relation: str, names: Sequence[str], words: Sequence[str], options: FileOptions
) -> Iterator[tuple[str, _Counts]]:
    point, comma = _conventions(options)
    listed = ", ".join(map(literal, words)) or "null"
    for start in range(0, len(names), _MOST_AT_ONCE):
        part = names[start : start + _MOST_AT_ONCE]
        selection = []
        for name in part:
            cell = f"trim({identifier(name)})"
            filled = f"{cell} not in ({listed})" if words else "true"
            group = f"regexp_extract({cell}, {literal(rf'^[+-]?[0-9]+([{re.escape(_SPACES)}.,])[0-9]{{3}}')}, 1)"
            signed = f"regexp_matches({cell}, '[.,]')"
            selection += [
                f"count({identifier(name)})",
                f"count({identifier(name)}) filter (where {filled})",
                f"count(try_cast({cell} as double)) filter (where {filled})",
                f"count_if(regexp_full_match({cell}, '[+-]?[0-9]{{1,18}}') and {filled})",
                *(f"count_if(regexp_full_match({cell}, {literal(c.pattern)}) and {filled})" for c in (point, comma)),
                f"count_if(regexp_full_match({cell}, '[+-]?0[0-9]+.*'))",
                f"count_if({signed} and not regexp_full_match({cell}, {literal(comma.pattern)}) and {filled})",
                f"count_if({signed} and {filled})",
                f"count_if(contains({cell}, ',') and {filled})",
                f"list(distinct {cell}) filter (where not ({filled}))",
                f"list(distinct {group}) filter (where {group} <> '')",
            ]
        (row,) = query(f"select {', '.join(selection)} from {relation}").fetchall()
        for i, name in enumerate(part):
            *sizes, words_in_cells, groups = row[12 * i : 12 * i + 12]
            in_order = tuple(word for word in words if word in (words_in_cells or ()))
            signs = "".join(sorted(groups or ()))
            yield name, _Counts(*(*sizes, in_order, signs))


def _is_number(counts: _Counts, options: FileOptions) -> bool:
    """Whether a text column is numbers; plain numbers and nothing else are text for a reason, such as 007."""
    if not counts.filled or counts.leading_zero:
        return False
    if options.decimal == ",":
        return counts.may_be_comma
    if counts.may_be_plain and not counts.words:
        return False
    if options.decimal == ".":
        return counts.may_be_point or counts.may_be_plain
    return counts.may_be_plain or counts.may_be_point or counts.may_be_comma


def _decimal(counts: Collection[_Counts], delimiter: str) -> str | None:
    """Return the decimal sign of the columns that could have either; None where nothing tells, or both are told."""
    certain = {sign for c in counts for sign, is_so in ((",", c.is_comma), (".", c.is_point)) if is_so}
    if certain:
        return certain.pop() if len(certain) == 1 else None
    either = [c for c in counts if c.is_either]
    if not any(c.with_comma for c in either):
        return "."
    likely = {sign for sign in ({";": ",", ",": "."}.get(delimiter),) if sign}
    likely |= {"." for c in either if not c.with_comma}
    return likely.pop() if len(likely) == 1 else None


def _sign_of(counts: _Counts, decimal: str | None, options: FileOptions) -> str:
    """Return the decimal sign of a column of numbers, given that of those that could have either."""
    if options.decimal is not None:
        return options.decimal
    return "," if counts.is_comma or (counts.is_either and decimal == ",") else "."


def _number(name: str, counts: _Counts, decimal: str, options: FileOptions) -> ChangedColumn:
    point, comma = _conventions(options)
    if decimal == "," and counts.may_be_comma:
        convention = comma
    else:
        convention = _Convention(".", "") if counts.may_be_plain else point
    thousands = "".join(sign for sign in counts.groups if sign in convention.groups)
    convention = _Convention(convention.decimal, thousands)
    cell = f"trim({identifier(name)})"
    kind = "bigint" if counts.whole == counts.filled else "double"
    value = f"cast({convention.number(cell)} as {kind})"
    if counts.words:
        value = f"case when {cell} in ({', '.join(map(literal, counts.words))}) then null else {value} end"
    n_missing = counts.n_cells - counts.filled
    return ChangedColumn(name, value, convention.decimal, thousands, counts.words, n_missing, counts.n_cells)


def _without_words(
    query: Query, relation: str, types: Mapping[str, str], words: Sequence[str]
) -> Iterator[ChangedColumn]:
    """Yield the columns in which the user's words for missing values occur, as text or as the number that they are."""
    numbers = {word: value for word in words if (value := _as_number(word)) is not None}
    conditions: dict[str, dict[str, str]] = {}
    for name, kind in types.items():
        column = identifier(name)
        if kind == "VARCHAR" or kind.startswith("ENUM"):
            conditions[name] = {word: f"trim({column}::varchar) = {literal(word)}" for word in words}
        elif ROUNDED.fullmatch(kind):
            conditions[name] = {word: f"{column} = {literal(value)}" for word, value in numbers.items()}
    names = [name for name, by_word in conditions.items() if by_word]
    for start in range(0, len(names), _MOST_AT_ONCE):
        part = names[start : start + _MOST_AT_ONCE]
        counted = [
            f"count({identifier(n)}), {', '.join(f'count_if({c})' for c in conditions[n].values())}" for n in part
        ]
        (row,) = query(f"select {', '.join(counted)} from {relation}").fetchall()
        counts = iter(row)
        for name in part:
            n_cells = next(counts)
            missing = {word: count for word in conditions[name] if (count := next(counts))}
            if missing:
                condition = " or ".join(conditions[name][word] for word in missing)
                sql = f"case when {condition} then null else {identifier(name)} end"
                yield ChangedColumn(name, sql, words=tuple(missing), n_missing=sum(missing.values()), n_cells=n_cells)


def _as_number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
