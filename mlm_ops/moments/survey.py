"""The first query: what the moments need to know of the rows before they can be collected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from mlm_ops.errors import DataError, NoRowsError
from mlm_ops.language.columns import as_factor, atoms
from mlm_ops.language.model import Column, Factor, Function, Model, Variable, columns_of, label, walk
from mlm_ops.moments.rank import VALUE_ROUNDING
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, expression, has_value, identifier, render

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
class Needs:
    """What the models ask of the rows, before anything is known of them.

    ``numbers`` and ``categories`` serve the design; ``known`` numbers (times, precisions) and ``strata`` the residual.
    """

    keys: tuple[str, ...]
    numbers: tuple[Variable, ...]
    categories: tuple[str, ...]
    text_columns: frozenset[str]
    known: tuple[Variable, ...]
    strata: tuple[str, ...]

    @property
    def all_numbers(self) -> tuple[Variable, ...]:
        """Numbers of the design and of the residual."""
        return tuple(dict.fromkeys((*self.numbers, *self.known)))

    @property
    def inside_functions(self) -> dict[int, str]:
        """Columns that stand in functions alone, by the place of their count of missing values, after all numbers."""
        columns = dict.fromkeys(c for n in self.all_numbers for c in columns_of(n) if Column(c) not in self.all_numbers)
        return dict(enumerate(columns, start=len(self.all_numbers)))

    @property
    def all_categories(self) -> tuple[str, ...]:
        """Categories of the design and of the residual."""
        return tuple(dict.fromkeys((*self.categories, *self.strata)))


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


def complete_rows(source: Source, models: Sequence[Model], levels: Sequence[str] = ()) -> str:
    """The SQL condition that a row is among those that the models see: complete on all their columns."""
    return complete(find_needs(source, models, levels))


def find_needs(source: Source, models: Sequence[Model], levels: Sequence[str]) -> Needs:
    """Which columns the models ask for, and as what."""
    keys = tuple(dict.fromkeys([*(c for m in models for g in m.all_groups for c in g), *levels]))
    variables = tuple(dict.fromkeys(v for m in models for v in m.variables))
    source.require([*(c for v in variables for c in columns_of(v)), *keys])
    text_columns = frozenset(c for v in variables for c in columns_of(v) if source.is_text(c))
    outcomes = {c for m in models for c in columns_of(m.outcome)}
    numbers: dict[Variable, None] = {}
    categories: dict[str, None] = {}
    for variable in variables:
        for atom in atoms(variable):
            for node in walk(atom):
                if isinstance(node, Column) and not (source.is_numeric(node.name) or source.is_text(node.name)):
                    kind = source.types[node.name]
                    raise DataError(
                        f"Column {node.name!r} is neither numeric nor text. Got {kind}; cast it in a view or SELECT."
                    )
                if (
                    isinstance(node, Column)
                    and node.name in text_columns
                    and (isinstance(atom, Function) or node.name in outcomes)
                ):
                    role = "outcome" if node.name in outcomes else "column"
                    what = "a model" if isinstance(variable, Column) else label(variable)
                    raise DataError(
                        f"The {role} {node.name!r} holds text ({source.types[node.name]}), and {what} needs numbers."
                        f"{source.stray_cells(node.name)} Cast or recode it in a view or SELECT."
                    )
            factor = as_factor(atom, text_columns)
            if factor is None:
                numbers[atom] = None
            else:
                categories[factor.column] = None
    known, strata = _residual_needs(source, models)
    return Needs(keys, tuple(numbers), tuple(categories), text_columns, known, strata)


def _residual_needs(source: Source, models: Sequence[Model]) -> tuple[tuple[Variable, ...], tuple[str, ...]]:
    """Times and precisions, and the columns of strata."""
    known: dict[Variable, None] = {}
    strata: dict[str, None] = {}
    for residual in (m.residual for m in models):
        numbers = [residual.precision] if residual.precision else []
        numbers += [Column(residual.time)] if residual.time else []
        source.require([*(c for n in numbers for c in columns_of(n)), *([residual.strata] if residual.strata else [])])
        for name in (c for n in numbers for c in columns_of(n)):
            if not source.is_numeric(name):
                raise DataError(f"The residual structure needs numbers in {name!r}. Got {source.types[name]}.")
        known |= dict.fromkeys(numbers)
        if residual.strata:
            strata[residual.strata] = None
    return tuple(known), tuple(strata)


def key_expression(source: Source, key: str) -> str:
    """SQL of a grouping column: as it is where Python has the type, as text elsewhere, so that no digit is lost."""
    return identifier(key) if is_native_key(source.types[key]) else category(key)


def is_native_key(sql_type: str) -> bool:
    """Whether Python has a grouping column's type."""
    return _NATIVE_KEY.fullmatch(sql_type) is not None


def complete(needs: Needs) -> str:
    """The condition that a row has every value."""
    numbers = render("is_complete", numbers=[expression(n) for n in needs.all_numbers])
    return " and ".join([numbers, *(has_value(c) for c in dict.fromkeys((*needs.all_categories, *needs.keys)))])


def run(source: Source, sql: str) -> Any:
    """Query the rows; what goes wrong there is said in one sentence."""
    try:
        return source.query(sql)
    except duckdb.Error as error:
        raise DataError(f"Cannot read {source.description}: {why_it_failed(error)}") from error


def _one_row(source: Source, sql: str) -> dict[str, Any]:
    result = run(source, sql)
    names = [column[0] for column in result.description]
    return dict(zip(names, result.fetchall()[0], strict=True))


def take_survey(source: Source, needs: Needs) -> Survey:
    """Run the first query."""
    numbers = [
        {"alias": f"x{i}", "expression": expression(n), "ranged": n in needs.known}
        for i, n in enumerate(needs.all_numbers)
    ]
    categories = [{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(needs.all_categories)]
    asked = {
        "relation": source.relation,
        "numbers": numbers,
        "categories": categories,
        "units": [key_expression(source, key) for key in needs.keys],
    }
    row = _one_row(source, render("survey", **asked, complete=complete(needs)))
    # where the first rows hold more than one value, the range is not needed
    doubtful = [n for n in numbers if not (row[f"differs_{n['alias']}"] or n["ranged"])]
    if doubtful and row["n_complete"]:
        row |= _one_row(source, render("ranges", relation=source.relation, numbers=doubtful, complete=complete(needs)))
    # what is missing where costs a look at every value, and is asked only if something is
    if row["n_complete"] == row["n_rows"]:
        return read_survey(source, needs, row, {})
    inside = [{"alias": f"x{i}", "expression": expression(Column(c))} for i, c in needs.inside_functions.items()]
    gaps = _one_row(source, render("missing", **asked | {"numbers": [*numbers, *inside]}))
    return read_survey(source, needs, row, gaps)


def read_survey(source: Source, needs: Needs, row: Mapping[str, Any], gaps: Mapping[str, Any]) -> Survey:
    """Make the record of what the macros `survey`, `ranges` and, where something is missing, `missing` returned."""
    missing = {key: gaps.get(f"missing_unit_{i}", 0) for i, key in enumerate(needs.keys)}
    missing |= {label(n): gaps.get(f"missing_x{i}", 0) for i, n in enumerate(needs.all_numbers)}
    missing |= {c: gaps.get(f"missing_x{i}", 0) for i, c in needs.inside_functions.items()}
    missing |= {c: gaps.get(f"missing_c{i}", 0) for i, c in enumerate(needs.all_categories)}
    varying: set[Variable] = {n for i, n in enumerate(needs.all_numbers) if row[f"varies_x{i}"]}
    varying |= {Factor(c) for i, c in enumerate(needs.all_categories) if row[f"varies_c{i}"]}
    return Survey(
        n_rows=row["n_rows"],
        n_complete=row["n_complete"],
        missing=missing,
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


def check_rows(source: Source, models: Sequence[Model], needs: Needs, survey: Survey) -> None:
    """Refuse data that no model can be fitted to."""
    if survey.n_rows == 0:
        raise NoRowsError(f"There are no rows in {source.description}.")
    for column in needs.text_columns & survey.levels.keys():
        size = len(survey.levels[column])
        if size > MOST_LEVELS and 2 * size > min(survey.n_rows, 400) and (stray := source.stray_cells(column)):
            raise DataError(
                f"Column {column!r} holds text ({source.types[column]}), with {size} values."
                f"{stray} Mend these cells, or recode the column in a view or SELECT."
            )
    _check_domains(needs, survey)
    if survey.n_complete == 0:
        gaps = ", ".join(f"{name} ({count})" for name, count in survey.missing.items() if count)
        raise DataError(
            f"No row is complete: each of the {survey.n_rows} rows misses a value. Missing values by column: {gaps}."
        )
    _check_sizes(models, survey)
    outcomes = {m.outcome for m in models}
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


def check_values(models: Sequence[Model], needs: Needs, survey: Survey) -> None:
    """Refuse rows that cannot be added to others: values out of a function's domain, infinite, or weights of none."""
    _check_domains(needs, survey)
    if survey.n_complete:
        _check_sizes(models, survey)


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
    inside = [name for name in needs.inside_functions.values() if _LONG.match(source.types[name])]
    names = list(dict.fromkeys((*long_numbers(source, survey), *inside)))
    if not names or not survey.n_complete:
        return
    ends = (f"min({identifier(n)}) as low_{i}, max({identifier(n)}) as high_{i}" for i, n in enumerate(names))
    row = _one_row(source, f"select {', '.join(ends)} from {source.relation} where {complete(needs)}")
    for i, name in enumerate(names):
        low, high = int(row[f"low_{i}"]), int(row[f"high_{i}"])
        largest = max(abs(low), abs(high))
        if largest >= _WHOLE and (high - low) * _WHOLE < _LEAST_APART * largest:
            raise DataError(
                f"Column {name!r} holds whole numbers that lie too near to each other for their size, so that a double "
                f"loses their differences. Got values from {low} to {high}. Take a constant off them in a view or "
                f"SELECT: {name} - {low}."
            )


def _check_sizes(models: Sequence[Model], survey: Survey) -> None:
    for number, center in survey.centers.items():
        if not np.isfinite(center):
            raise DataError(
                f"{label(number)} holds infinite values. Filter these rows with where, or recode them as missing."
            )
    for precision in (m.residual.precision for m in models if m.residual.precision):
        if survey.ranges[precision][0] <= 0:
            raise DataError(
                f"Weights and known variances are positive. Got {survey.ranges[precision][0]:g} as the smallest of "
                f"{label(precision)}; filter these rows with where, or mend the column."
            )


def fingerprint(source: Source, models: Sequence[Model], keys: Sequence[str] = ()) -> str:
    """``<rows>-<sum of hashes>`` of the rows, whatever their order.

    Parameters
    ----------
    source
        The rows.
    models, keys
        As `collect` takes them: what is read of the rows.
    """
    needs = find_needs(source, models, keys)
    sql = render(
        "partition_facts",
        relation=source.relation,
        partition="0",
        numbers=[{"alias": f"x{i}", "expression": expression(n)} for i, n in enumerate(needs.all_numbers)],
        categories=[{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(needs.all_categories)],
        units=[key_expression(source, key) for key in needs.keys],
    )
    result = run(source, sql)
    names = [column[0] for column in result.description]
    rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    return f"{rows[0]['n_rows']}-{rows[0]['fingerprint']}" if rows else "0-0"
