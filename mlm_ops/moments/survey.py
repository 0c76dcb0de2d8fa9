"""Survey the rows in a first query: counts, means, ranges and levels, which the scan needs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np

from mlm_ops.errors import DataError, NoRowsError, RowsChangedError
from mlm_ops.language.model import Column, Factor, Function, Model, Variable, columns_of, label
from mlm_ops.moments.needs import Needs, check_models
from mlm_ops.moments.rank import VALUE_ROUNDING
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.queries import SqlStatement
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, identifier, render
from mlm_ops.warehouse.types import LONG, WHOLE

_NATIVE_KEY = re.compile(rf"{WHOLE.pattern}|VARCHAR", re.IGNORECASE)

#: The size from which a double loses digits,
#: and how many of its steps apart the smallest and largest value must be for six digits.
_FIRST_ROUNDED, _LEAST_APART = 2**53, 10**6
#: A text column with more values than this, in half the rows a new one, and most of them numbers, was meant as numbers.
MOST_LEVELS = 20
#: Strata with a residual variance of their own: each is one more dimension of the search, and 100 take minutes.
MOST_STRATA = 200


@dataclass(frozen=True)
class Survey:
    """The result of the first query.

    `varying` holds the numbers and categories that vary within units in the first rows; `ranges` the smallest and
    largest value of numbers that have one value in the first rows, and of the residual's numbers.
    """

    n_rows: int
    n_complete: int
    missing: Mapping[str, int]
    centers: Mapping[Variable, float]
    ranges: Mapping[Variable, tuple[float, float]]
    levels: Mapping[str, tuple[str, ...]]
    varying: frozenset[Variable]


def key_expression(source: Source, key: str) -> str:
    """Return SQL of a grouping column: as it is where Python has the type, else as text, so that no digit is lost."""
    return identifier(key) if is_native_key(source.types[key]) else category(key)


def is_native_key(sql_type: str) -> bool:
    """Tell whether Python has a grouping column's type."""
    return _NATIVE_KEY.fullmatch(sql_type) is not None


def run(source: Source, sql: str, purpose: str) -> Any:
    """Query the rows; an error of DuckDB becomes a DataError of one sentence.

    Parameters
    ----------
    purpose
        What the query is for, in words for who reads the statements of a fit.
    """
    if source.statements is not None:
        source.statements.append(SqlStatement(purpose, sql))
    try:
        return source.query(sql)
    except duckdb.Error as error:
        raise DataError(f"Cannot read {source.description}: {why_it_failed(error)}") from error


def rows_changed_sentence(description: str, what: str) -> str:
    """Return the sentence about rows that changed."""
    return (
        f"The rows of {description} changed while they were read: {what}. Fit them when nothing writes to them, or "
        "from a copy (create table … as from …)."
    )


def _rows(source: Source, sql: str, purpose: str) -> list[dict[str, Any]]:
    result = run(source, sql, purpose)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _one_row(source: Source, sql: str, purpose: str) -> dict[str, Any]:
    (row,) = _rows(source, sql, purpose)
    return row


def take_survey(source: Source, needs: Needs) -> Survey:
    """Run the first query, and two more where they are needed: for ranges, and for counts of missing values."""
    arguments: dict[str, Any] = needs.arguments | {"units": units(source, needs)}
    inside = arguments.pop("inside")
    survey = render("survey", relation=source.relation, complete=needs.complete, **arguments)
    row = _one_row(source, survey, "Survey of the rows: how many, means, levels, and what varies within groups")
    # where the first rows hold more than one value, the range is not needed
    doubtful = [n for n in arguments["numbers"] if not (row[f"differs_{n['alias']}"] or n["ranged"])]
    if doubtful and row["n_complete"]:
        ranges = render("ranges", relation=source.relation, numbers=doubtful, complete=needs.complete)
        row |= _one_row(source, ranges, "Ranges of the numbers that have one value in the first rows")
    # counts of missing values by column cost a pass over all values, and are needed only if there are any
    if row["n_complete"] == row["n_rows"]:
        return read_survey(source, needs, row, {})
    arguments["numbers"] = [*arguments["numbers"], *inside]
    missing = render("missing", relation=source.relation, **arguments)
    return read_survey(source, needs, row, _one_row(source, missing, "Missing values by column"))


def survey_parts(source: Source, needs: Needs, part: str) -> dict[Any, Survey]:
    """Survey each part that has rows, by the value of an expression; without ranges, and without what varies."""
    return {row["part"]: _survey_of_part(source, needs, row) for row in _part_rows(source, needs, part)}


def _part_rows(source: Source, needs: Needs, part: str) -> list[dict[str, Any]]:
    arguments = {"units": units(source, needs), "complete": needs.complete, **needs.arguments}
    sql = render("part_survey", relation=source.relation, part=part, **arguments)
    return _rows(source, sql, "Survey of each part of the rows")


def _survey_of_part(source: Source, needs: Needs, row: Mapping[str, Any]) -> Survey:
    unknown = {f"varies_x{i}": False for i in range(len(needs.all_numbers))}
    unknown |= {f"varies_c{i}": False for i in range(len(needs.all_categories))}
    return read_survey(source, needs, unknown | dict(row), row)


def count_parts(source: Source, needs: Needs, part: str, complete: str | None = None) -> list[dict[str, Any]]:
    """Count each value of an expression, as text: the columns of the macro `partition_facts`."""
    columns = {name: needs.arguments[name] for name in ("numbers", "categories")}
    sql = render(
        "partition_facts",
        relation=source.relation,
        partition=part,
        units=units(source, needs),
        complete=complete,
        **columns,
    )
    return _rows(source, sql, "Counts of each part of the rows")


def survey_partitions(source: Source, needs: Needs, column: str) -> list[dict[str, Any]]:
    """Survey each value of a column, as `count_parts` counts them; with missing values by column, ``missing_...``.

    Raises
    ------
    RowsChangedError
        The missing values were counted among other numbers of rows.
    """
    rows = count_parts(source, needs, identifier(column), needs.complete)
    gaps: dict[str | None, dict[str, Any]] = {}
    # counting them costs as much as all else, and is needed only if there are any
    if any(row["n_complete"] < row["n_rows"] for row in rows):
        with_gaps = _part_rows(source, needs, category(column))
        _check_same_counts(source, column, rows, with_gaps)
        gaps = {row["part"]: row for row in with_gaps}
    none = dict.fromkeys(needs.gaps().values(), 0)
    return [none | {name: gaps.get(row["part"], none)[name] for name in none} | row for row in rows]


def _check_same_counts(
    source: Source, column: str, rows: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]
) -> None:
    """Compare the rows and complete rows of each partition in two results."""
    before, after = _counts_by_part(rows), _counts_by_part(again)
    for part in dict.fromkeys((*before, *after)):
        (n_rows, n_complete), (n_rows_after, n_complete_after) = before[part], after[part]
        if (n_rows, n_complete) != (n_rows_after, n_complete_after):
            what = (
                f"{n_complete} of {n_rows} rows of {column} {part} were complete, then {n_complete_after} of "
                f"{n_rows_after}"
            )
            raise RowsChangedError(rows_changed_sentence(source.description, what))


def _counts_by_part(rows: Sequence[Mapping[str, Any]]) -> defaultdict[str | None, tuple[int, int]]:
    counts: defaultdict[str | None, tuple[int, int]] = defaultdict(lambda: (0, 0))
    # values that are put together apart may have one name, as NaN and null have
    for row in rows:
        n_rows, n_complete = counts[row["part"]]
        counts[row["part"]] = n_rows + row["n_rows"], n_complete + row["n_complete"]
    return counts


def pooled_survey(source: Source, needs: Needs, rows: Sequence[Mapping[str, Any]]) -> Survey:
    """Return the survey of the partitions of `survey_partitions` together; of none, one of no rows."""
    if not rows:
        return Survey(0, 0, dict.fromkeys(needs.gaps(), 0), {}, {}, {}, frozenset())
    pooled: dict[str, Any] = {}
    n_complete, whole = sum(row["n_complete"] for row in rows), [row for row in rows if row["n_complete"]]
    for name in rows[0].keys() - {"part", "fingerprint"}:
        values = [row[name] for row in whole]
        if name.startswith(("missing_", "n_")):
            pooled[name] = sum(row[name] for row in rows)
        elif name.startswith("levels_"):
            pooled[name] = sorted({level for levels in values for level in levels})
        elif name.startswith("mean_"):
            # an infinite value in one partition makes this mean infinite or NaN, and so is refused
            pooled[name] = sum(row["n_complete"] / n_complete * row[name] for row in whole)
        else:
            pooled[name] = (min if name.startswith("min_") else max)(values, default=None)
    return _survey_of_part(source, needs, pooled)


def fingerprint(source: Source, needs: Needs) -> str:
    """Return ``<rows>-<sum of hashes>`` of the values that are read, which does not depend on the rows' order."""
    rows = count_parts(source, needs, "0")
    return f"{rows[0]['n_rows']}-{rows[0]['fingerprint']}" if rows else "0-0"


def units(source: Source, needs: Needs) -> list[str]:
    """Return SQL of the columns to group by."""
    return [key_expression(source, key) for key in needs.keys]


def read_survey(source: Source, needs: Needs, row: Mapping[str, Any], gaps: Mapping[str, Any]) -> Survey:
    """Make the record from the results of the macros `survey`, `ranges` and, where a value is missing, `missing`."""
    varying: set[Variable] = {n for i, n in enumerate(needs.all_numbers) if row[f"varies_x{i}"]}
    varying |= {Factor(c) for i, c in enumerate(needs.all_categories) if row[f"varies_c{i}"]}
    return Survey(
        n_rows=row["n_rows"],
        n_complete=row["n_complete"],
        missing={name: gaps.get(alias, 0) for name, alias in needs.gaps().items()},
        centers={n: row[f"mean_x{i}"] for i, n in enumerate(needs.all_numbers)},
        ranges={n: (row[f"min_x{i}"], row[f"max_x{i}"]) for i, n in enumerate(needs.all_numbers) if f"min_x{i}" in row},
        levels={c: in_order(source, c, row[f"levels_c{i}"] or ()) for i, c in enumerate(needs.all_categories)},
        varying=frozenset(varying),
    )


def in_order(source: Source, column: str, levels: Sequence[str]) -> tuple[str, ...]:
    """Sort the levels of a factor: numbers by size, an ENUM's as declared, texts by code point."""
    if source.is_numeric(column):
        return tuple(sorted(levels, key=Decimal))  # as floats, whole numbers beyond 2^53 would be equal
    enum_values = [text.replace("''", "'") for text in re.findall(r"'((?:[^']|'')*)'", source.types[column])]
    return tuple(sorted(levels, key=enum_values.index if enum_values else str))


def check_rows(source: Source, needs: Needs, survey: Survey) -> None:
    """Refuse data that the models cannot be fitted to; of several models the error says which.

    Raises
    ------
    DataError
        No rows or none that is complete, values out of a function's domain or infinite, no variation, too few strata or
        too many.
    """
    check_models(needs.models, lambda some: _check_rows(source, needs.of(some), survey))


def _check_rows(source: Source, needs: Needs, survey: Survey) -> None:
    if survey.n_rows == 0:
        raise NoRowsError(f"There are no rows in {source.description}.")
    for column in (c for c in needs.all_categories if c in needs.text_columns):
        size = len(survey.levels[column])
        if size > MOST_LEVELS and 2 * size > min(survey.n_rows, 400) and (stray := source.stray_cells(column)):
            raise DataError(
                f"Column {column!r} holds text ({source.types[column]}), with {size} values."
                f"{stray} Mend these cells, or recode the column in a view or SELECT."
            )
    _check_domains(needs, survey)
    if survey.n_complete == 0:
        _refuse_gaps(needs, survey)
        return
    _check_sizes(needs, survey)
    _check_variation(needs, survey)


def _refuse_gaps(needs: Needs, survey: Survey) -> None:
    """Refuse rows that are all incomplete, with counts of what they miss.

    If these are counts for some of several models only, their rows may be complete: refuse them only where every row
    misses one and the same column.
    """
    gaps = {name: survey.missing[name] for name in needs.gaps()}
    if gaps.keys() == survey.missing.keys() or survey.n_rows in gaps.values():
        counts = ", ".join(f"{name} ({count})" for name, count in gaps.items() if count)
        raise DataError(
            f"No row is complete: each of the {survey.n_rows} rows misses a value. Missing values by column: {counts}."
        )


def _check_variation(needs: Needs, survey: Survey) -> None:
    outcomes = {m.outcome for m in needs.models}
    for number, (low, high) in survey.ranges.items():
        if _is_one_value(low, high) and number in needs.numbers:
            role = "The outcome" if number in outcomes else "Column" if isinstance(number, Column) else "The predictor"
            remedy = "There is nothing to model" if number in outcomes else "Remove it from the formula"
            but = "" if low == high else " but for rounding"
            raise DataError(f"{role} {label(number)!r} has no variation{but}: every row holds {low:g}. {remedy}.")
    for column in needs.strata:
        if len(survey.levels[column]) < 2:
            raise DataError(f"by({column}) needs two strata or more. Got only {survey.levels[column][0]!r}.")
        if (count := len(survey.levels[column])) > MOST_STRATA:
            raise DataError(
                f"by({column}) has too many strata, each with a variance of its own. Got {count}; expected at most "
                f"{MOST_STRATA}. Put values together in a view."
            )


def _is_one_value(low: float, high: float) -> bool:
    """Tell whether a smallest and a largest value are the same but for rounding; whole numbers have no rounding."""
    exact = low.is_integer() and high.is_integer()
    return low == high or (not exact and high - low <= VALUE_ROUNDING * max(abs(low), abs(high)))


def check_values(needs: Needs, survey: Survey) -> None:
    """Refuse rows that would spoil a total: values out of a function's domain, infinite ones, weights not positive."""

    def check(models: Sequence[Model]) -> None:
        own = needs.of(models)
        _check_domains(own, survey)
        if survey.n_complete:
            _check_sizes(own, survey)

    check_models(needs.models, check)


def _check_domains(needs: Needs, survey: Survey) -> None:
    for number in needs.all_numbers:
        own = sum(survey.missing.get(column, 0) for column in columns_of(number))
        n_undefined = survey.missing[label(number)]
        if isinstance(number, Function) and n_undefined > own:
            raise DataError(
                f"{label(number)} is undefined in {n_undefined - own} of {survey.n_rows} rows (a logarithm or root out "
                "of its domain, or a division by zero). Filter these rows with where, or transform it otherwise."
            )


def long_numbers(source: Source, survey: Survey) -> list[str]:
    """Return the columns of whole numbers whose mean is beyond 2^53."""
    far = [v.name for v, mean in survey.centers.items() if isinstance(v, Column) and abs(mean or 0.0) >= _FIRST_ROUNDED]
    return [name for name in far if LONG.match(source.types[name])]


def check_whole_numbers(source: Source, needs: Needs, survey: Survey) -> None:
    """Refuse whole numbers beyond 2^53 that lie so near to each other that doubles lose their differences.

    Queries only the columns that `long_numbers` returns, and those that stand inside functions only.
    """
    inside = [name for name in needs.inside_functions if LONG.match(source.types[name])]
    names = list(dict.fromkeys((*long_numbers(source, survey), *inside)))
    if not names or not survey.n_complete:
        return
    ends = (f"min({identifier(n)}) as low_{i}, max({identifier(n)}) as high_{i}" for i, n in enumerate(names))
    sql = f"select {', '.join(ends)} from {source.relation} where {needs.complete}"
    row = _one_row(source, sql, "Ranges of whole numbers that a double may not tell apart")
    for i, name in enumerate(names):
        low, high = int(row[f"low_{i}"]), int(row[f"high_{i}"])
        largest = max(abs(low), abs(high))
        if largest >= _FIRST_ROUNDED and (high - low) * _FIRST_ROUNDED < _LEAST_APART * largest:
            raise DataError(
                f"Column {name!r} holds whole numbers that lie too near to each other for their size, so that a double "
                f"loses their differences. Got values from {low} to {high}. Take a constant off them in a view or "
                f"SELECT: {name} - {low}."
            )


def _check_sizes(needs: Needs, survey: Survey) -> None:
    for number in needs.all_numbers:
        if not np.isfinite(survey.centers[number]):
            raise DataError(
                f"{label(number)} holds infinite values. Filter these rows with where, or recode them as missing."
            )
    for precision in (r.precision for r in needs.residuals if r.precision):
        if survey.ranges[precision][0] <= 0:
            raise DataError(
                f"Weights and known variances are positive. Got {survey.ranges[precision][0]:g} as the smallest of "
                f"{label(precision)}; filter these rows with where, or mend the column."
            )
