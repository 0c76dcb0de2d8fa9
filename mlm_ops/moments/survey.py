"""Ask the rows, in a first query, what must be known before moments can be collected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from mlm_ops.errors import DataError, NoRowsError
from mlm_ops.language.model import Column, Factor, Function, Model, Variable, columns_of, label
from mlm_ops.moments.needs import Needs, check_models
from mlm_ops.moments.rank import VALUE_ROUNDING
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, identifier, render

_NATIVE_KEY = re.compile(r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT|VARCHAR")

#: Types of whole numbers, or decimals, with more digits than a double has; from where on a double loses them, and how
#: many of its steps apart the smallest and largest value must be to keep six digits.
_LONG = re.compile(r"U?(BIG|HUGE)INT|DECIMAL")
_WHOLE, _LEAST_APART = 2**53, 10**6
#: A text column with more values than this, in half the rows a new one, and most of them numbers, was meant as numbers.
MOST_LEVELS = 20
#: Strata with a residual variance of their own: each is one more dimension of the search, and 100 take minutes.
MOST_STRATA = 200


@dataclass(frozen=True)
class Survey:
    """What the first query found.

    `varying` holds the numbers and categories seen to vary within units, `ranges` the smallest and largest value of
    numbers that the first rows hold one value of, and of precisions.
    """

    n_rows: int
    n_complete: int
    missing: Mapping[str, int]
    centers: Mapping[Variable, float]
    ranges: Mapping[Variable, tuple[float, float]]
    levels: Mapping[str, tuple[str, ...]]
    varying: frozenset[Variable]


def key_expression(source: Source, key: str) -> str:
    """SQL of a grouping column: as it is where Python has the type, as text elsewhere, so that no digit is lost."""
    return identifier(key) if is_native_key(source.types[key]) else category(key)


def is_native_key(sql_type: str) -> bool:
    """Whether Python has a grouping column's type."""
    return _NATIVE_KEY.fullmatch(sql_type) is not None


def run(source: Source, sql: str) -> Any:
    """Query the rows; what goes wrong there is said in one sentence."""
    try:
        return source.query(sql)
    except duckdb.Error as error:
        raise DataError(f"Cannot read {source.description}: {why_it_failed(error)}") from error


def _rows(source: Source, sql: str) -> list[dict[str, Any]]:
    result = run(source, sql)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]


def _one_row(source: Source, sql: str) -> dict[str, Any]:
    (row,) = _rows(source, sql)
    return row


def take_survey(source: Source, needs: Needs) -> Survey:
    """Run the first query."""
    asked: dict[str, Any] = needs.arguments | {"units": units(source, needs)}
    inside = asked.pop("inside")
    row = _one_row(source, render("survey", relation=source.relation, complete=needs.complete, **asked))
    # where the first rows hold more than one value, the range is not needed
    doubtful = [n for n in asked["numbers"] if not (row[f"differs_{n['alias']}"] or n["ranged"])]
    if doubtful and row["n_complete"]:
        ranges = render("ranges", relation=source.relation, numbers=doubtful, complete=needs.complete)
        row |= _one_row(source, ranges)
    # what is missing where costs a look at every value, and is asked only if something is
    if row["n_complete"] == row["n_rows"]:
        return read_survey(source, needs, row, {})
    asked["numbers"] = [*asked["numbers"], *inside]
    return read_survey(source, needs, row, _one_row(source, render("missing", relation=source.relation, **asked)))


def survey_parts(source: Source, needs: Needs, part: str) -> dict[Any, Survey]:
    """The survey of each part that has rows, by the value of an expression; but for ranges and for what varies."""
    arguments = {"units": units(source, needs), "complete": needs.complete, **needs.arguments}
    undecided = {f"varies_x{i}": False for i in range(len(needs.all_numbers))}
    undecided |= {f"varies_c{i}": False for i in range(len(needs.all_categories))}
    rows = _rows(source, render("part_survey", relation=source.relation, part=part, **arguments))
    return {row["part"]: read_survey(source, needs, undecided | row, row) for row in rows}


def count_parts(source: Source, needs: Needs, part: str) -> list[dict[str, Any]]:
    """A row a value of an expression: ``part``, ``n_rows``, ``fingerprint``, and how many miss a value of what."""
    arguments = {name: needs.arguments[name] for name in ("numbers", "categories")}
    facts = render("partition_facts", relation=source.relation, partition=part, units=units(source, needs), **arguments)
    return _rows(source, facts)


def fingerprint(source: Source, needs: Needs) -> str:
    """``<rows>-<sum of hashes>`` of what is read of the rows, whatever their order."""
    rows = count_parts(source, needs, "0")
    return f"{rows[0]['n_rows']}-{rows[0]['fingerprint']}" if rows else "0-0"


def units(source: Source, needs: Needs) -> list[str]:
    """SQL of the columns to group by."""
    return [key_expression(source, key) for key in needs.keys]


def read_survey(source: Source, needs: Needs, row: Mapping[str, Any], gaps: Mapping[str, Any]) -> Survey:
    """Make the record of what the macros `survey`, `ranges` and, where something is missing, `missing` returned."""
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
    """Levels of a factor: numbers by size, an ENUM's as declared, texts by code point."""
    if source.is_numeric(column):
        return tuple(sorted(levels, key=float))
    declared = [text.replace("''", "'") for text in re.findall(r"'((?:[^']|'')*)'", source.types[column])]
    return tuple(sorted(levels, key=declared.index if declared else str))


def check_rows(source: Source, needs: Needs, survey: Survey) -> None:
    """Refuse data that no model can be fitted to; of several models an error says which have it.

    Raises
    ------
    DataError
        No rows or none that is complete, values out of a function's domain or infinite, no variation, strata that are
        no strata.
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
    """Say of rows that are all incomplete what they miss; of some of the models only what is sure."""
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
    """Whether a smallest and a largest value are the same but for rounding; whole numbers have none."""
    exact = low.is_integer() and high.is_integer()
    return low == high or (not exact and high - low <= VALUE_ROUNDING * max(abs(low), abs(high)))


def check_values(needs: Needs, survey: Survey) -> None:
    """Refuse rows that cannot be added to others: values out of a function's domain, infinite, or weights of none."""

    def check(models: Sequence[Model]) -> None:
        own = needs.of(models)
        _check_domains(own, survey)
        if survey.n_complete:
            _check_sizes(own, survey)

    check_models(needs.models, check)


def _check_domains(needs: Needs, survey: Survey) -> None:
    for number in needs.all_numbers:
        own = sum(survey.missing.get(column, 0) for column in columns_of(number))
        undefined = survey.missing[label(number)]
        if isinstance(number, Function) and undefined > own:
            raise DataError(
                f"{label(number)} is undefined in {undefined - own} of {survey.n_rows} rows (a logarithm or root out "
                "of its domain, or a division by zero). Filter these rows with where, or transform it otherwise."
            )


def long_numbers(source: Source, survey: Survey) -> list[str]:
    """Columns of whole numbers that lie beyond 2^53 on average."""
    far = [v.name for v, mean in survey.centers.items() if isinstance(v, Column) and abs(mean or 0.0) >= _WHOLE]
    return [name for name in far if _LONG.match(source.types[name])]


def check_whole_numbers(source: Source, needs: Needs, survey: Survey) -> None:
    """Refuse whole numbers beyond 2^53 that lie so near to each other that they are one number as doubles.

    Asks only about columns that `long_numbers` names, and about those that stand inside functions alone.
    """
    inside = [name for name in needs.inside_functions if _LONG.match(source.types[name])]
    names = list(dict.fromkeys((*long_numbers(source, survey), *inside)))
    if not names or not survey.n_complete:
        return
    ends = (f"min({identifier(n)}) as low_{i}, max({identifier(n)}) as high_{i}" for i, n in enumerate(names))
    row = _one_row(source, f"select {', '.join(ends)} from {source.relation} where {needs.complete}")
    for i, name in enumerate(names):
        low, high = int(row[f"low_{i}"]), int(row[f"high_{i}"])
        largest = max(abs(low), abs(high))
        if largest >= _WHOLE and (high - low) * _WHOLE < _LEAST_APART * largest:
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
