"""Collect the moments of many rows of plain numbers in one pass, around centers that the first rows give.

The survey of all rows takes a third of the time of a scan. Numbers that are not multiplied with each other at the level
of rows do without: their scatter around unit means is the same around any center, and their means are moved to the
grand means when these are known. What that cannot serve is surveyed: factors, whose levels have to be known; products;
values that are infinite, or missing among the first rows; and first rows that are unlike the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.model import Factor, Variable
from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.needs import Needs
from mlm_ops.moments.rank import VALUE_ROUNDING
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    check_unchanged,
    checked_survey,
    scan_until_right,
)
from mlm_ops.moments.sums import unit_codes
from mlm_ops.moments.survey import Survey, check_whole_numbers, long_numbers, run, units
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import expression, render

#: Rows that give the centers, and how many there must be for a second pass over all to be worth avoiding.
FIRST_ROWS, LEAST_ROWS = 10_000, 100_000
#: Standard deviations between the first rows' mean and the grand mean from which the rows are surveyed: sums of squares
#: around it are then less than a hundred times the variance, and lose two of sixteen digits.
_FAR = 10.0


@dataclass(frozen=True)
class _Grand:
    """Of a number over all units: its mean less the center, and its standard deviation."""

    distance: float
    deviation: float

    @property
    def is_near(self) -> bool:
        """Whether the center serves; of what is not finite it never does."""
        return abs(self.distance) <= _FAR * self.deviation


def collect_in_one_pass(
    source: Source, needs: Needs, scan: Callable[[Schema], Columns]
) -> tuple[Survey, Moments] | None:
    """Collect the moments without a survey of all rows.

    Parameters
    ----------
    scan
        Returns the columns of the macro `moments` for a schema.

    Returns
    -------
    survey, moments
        What the scan knows of the rows, and their moments: those around the surveyed means but for rounding, with the
        same centers. None where all rows have to be surveyed.

    Raises
    ------
    DataError
        The rows cannot serve the models, as `check_rows` says.
    RowsChangedError
        The rows changed between two queries.
    """
    survey = _survey_first_rows(source, needs)
    if survey is None:
        return None
    schema, columns = scan_until_right(needs, survey, scan)
    if any(len(factors) > 1 for factors in schema.monomials):
        return None
    if int(np.sum(columns["n"])) != survey.n_complete:
        survey = replace(checked_survey(source, needs), centers=survey.centers)
    check_unchanged(source.description, survey, columns)
    moments = _around_grand_means(source, schema, survey, columns)
    return None if moments is None else (survey, moments)


def _survey_first_rows(source: Source, needs: Needs) -> Survey | None:
    """What the first rows tell of all; None where they are not enough."""
    if needs.all_categories or needs.residuals or needs.referred:
        return None
    ((n_rows,),) = run(source, render("row_count", relation=source.relation)).fetchall()
    if n_rows < LEAST_ROWS:
        return None
    first = _first_rows(source, needs)
    if first is None:
        return None
    keys, values = first
    # a number with one value may have others later, and then has a range to be judged by
    if any(np.ptp(own) <= VALUE_ROUNDING * np.abs(own).max() for own in values):
        return None
    centers = {number: float(own.mean()) for number, own in zip(needs.numbers, values, strict=True)}
    units_of_rows = unit_codes(keys, len(values[0]))
    varying = frozenset(
        number for number, own in zip(needs.numbers, values, strict=True) if _varies_within(own, units_of_rows)
    )
    survey = Survey(n_rows, n_rows, dict.fromkeys(needs.gaps(), 0), centers, {}, {}, varying)
    if long_numbers(source, survey):
        return None
    check_whole_numbers(source, needs, survey)
    return survey


def _first_rows(source: Source, needs: Needs) -> tuple[list[NDArray[Any]], list[Array]] | None:
    """Keys and numbers of the first rows; None where one of them is missing, or no number."""
    keys = {f"u_{k}": key for k, key in enumerate(units(source, needs))}
    numbers = {f"x_{i}": expression(number) for i, number in enumerate(needs.numbers)}
    columns = [{"expression": sql, "alias": name} for name, sql in (keys | numbers).items()]
    sql = render("first_rows", relation=source.relation, columns=columns, rows=FIRST_ROWS)
    rows = run(source, sql).fetchnumpy()
    if any(np.ma.is_masked(values) for values in rows.values()):
        return None
    values = [np.asarray(rows[name], dtype=float) for name in numbers]
    if not all(np.isfinite(own).all() for own in values):
        return None
    return [np.asarray(rows[name]) for name in keys], values


def _varies_within(values: Array, units_of_rows: Codes) -> bool:
    """Whether a number is not the same in all rows of some unit."""
    first = np.zeros(units_of_rows.max() + 1)
    first[units_of_rows] = values  # one row's of each
    return bool((first[units_of_rows] != values).any())


def _around_grand_means(source: Source, schema: Schema, survey: Survey, columns: Columns) -> Moments | None:
    """The record around the grand means of numbers; None where one is far from its center, or is not finite."""
    n = np.asarray(columns["n"], dtype=float)
    means: dict[str, NDArray[Any]] = {}
    centers: dict[Variable, float] = {}
    for i, (atom,) in enumerate(schema.monomials):
        mean, scatter = (np.asarray(columns[name], dtype=float) for name in (f"mean_{i}", f"scatter_{i}_{i}"))
        grand = _grand(n, mean, scatter)
        if not grand.is_near:
            return None
        centers[atom] = _steady(schema.centers[atom] + grand.distance)
        means[f"mean_{i}"] = mean - (centers[atom] - schema.centers[atom])
    constants = (columns[f"low_{i}"] for i, one in enumerate(schema.constants) if not isinstance(one, Factor))
    if not all(np.isfinite(np.asarray(values, dtype=float)).all() for values in constants):
        return None
    if long_numbers(source, replace(survey, centers=centers)):
        return None
    return as_moments(replace(schema, centers=centers), survey, {**columns, **means})


def _grand(n: NDArray[Any], mean: NDArray[Any], scatter: NDArray[Any]) -> _Grand:
    """A number's grand mean and standard deviation from those of its units, (J,) each."""
    with np.errstate(all="ignore"):
        total = n * mean
        distance, square = float(total.sum() / n.sum()), float((scatter.sum() + (total * mean).sum()) / n.sum())
    return _Grand(distance, float(np.sqrt(max(square - distance * distance, 0.0))))


def _steady(value: float) -> float:
    """A number without its last seventeen bits, in which sums of the same rows differ, as the macro `steady` has it."""
    high = 131073.0 * value
    return high - (high - value)
