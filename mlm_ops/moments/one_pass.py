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
from mlm_ops.moments.first_rows import survey_first_rows
from mlm_ops.moments.needs import Needs
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    check_unchanged,
    checked_survey,
    scan_until_right,
)
from mlm_ops.moments.survey import Survey, long_numbers
from mlm_ops.warehouse.source import Source

#: Standard deviations between the first rows' mean and the grand mean from which the rows are surveyed: sums of squares
#: around it are then less than a hundred times the variance, and lose two of sixteen digits.
FAR = 10.0


@dataclass(frozen=True)
class _Grand:
    """Of a number over all units: its mean less the center, and its standard deviation."""

    distance: float
    deviation: float

    @property
    def is_near(self) -> bool:
        """Whether the center serves; of what is not finite it never does."""
        return abs(self.distance) <= FAR * self.deviation


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
    survey = survey_first_rows(source, needs)
    if survey is None:
        return None
    schema, columns = scan_until_right(needs, survey, scan)
    if has_products(schema):
        return None
    if int(np.sum(columns["n"])) != survey.n_complete:
        survey = replace(checked_survey(source, needs), centers=survey.centers)
    check_unchanged(source.description, survey, columns)
    if not _serves(schema, columns):
        return None
    moments = around_grand_means(schema, survey, columns)
    return None if long_numbers(source, replace(survey, centers=moments.schema.centers)) else (survey, moments)


def has_products(schema: Schema) -> bool:
    """Whether numbers are multiplied with each other at the level of rows."""
    return any(len(factors) > 1 for factors in schema.monomials)


def _serves(schema: Schema, columns: Columns) -> bool:
    """Whether the centers lie near the grand means, and all numbers are finite."""
    n = np.asarray(columns["n"], dtype=float)
    for i in range(len(schema.monomials)):
        mean, scatter = (np.asarray(columns[name], dtype=float) for name in (f"mean_{i}", f"scatter_{i}_{i}"))
        if not _grand(n, mean, scatter).is_near:
            return False
    constants = (columns[f"low_{i}"] for i, one in enumerate(schema.constants) if not isinstance(one, Factor))
    return all(np.isfinite(np.asarray(values, dtype=float)).all() for values in constants)


def around_grand_means(schema: Schema, survey: Survey, columns: Columns) -> Moments:
    """Make the record around the grand means of numbers, none of which are multiplied with each other."""
    n = np.asarray(columns["n"], dtype=float)
    means: dict[str, NDArray[Any]] = {}
    centers: dict[Variable, float] = {}
    for i, (atom,) in enumerate(schema.monomials):
        mean = np.asarray(columns[f"mean_{i}"], dtype=float)
        centers[atom] = _steady(schema.centers[atom] + float((n * mean).sum() / n.sum()))
        means[f"mean_{i}"] = mean - (centers[atom] - schema.centers[atom])
    return as_moments(replace(schema, centers=centers), survey, {**columns, **means})


def _grand(n: NDArray[Any], mean: NDArray[Any], scatter: NDArray[Any]) -> _Grand:
    """A number's grand mean and standard deviation from those of its units, (J,) each."""
    with np.errstate(all="ignore"):
        total = n * mean
        distance, square = float(total.sum() / n.sum()), float((scatter.sum() + (total * mean).sum()) / n.sum())
    return _Grand(distance, float(np.sqrt(max(square - distance * distance, 0.0))))


def _steady(value: float) -> float:
    """A number without its last seventeen bits, in which sums of the same rows differ: the macro `round_to_36_bits`."""
    high = 131073.0 * value
    return high - (high - value)
