"""Survey only the first of many rows, for the centers and the numbers that are constant within units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.model import Variable
from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.needs import Needs
from mlm_ops.moments.rank import VALUE_ROUNDING
from mlm_ops.moments.sums import unit_codes
from mlm_ops.moments.survey import Survey, check_whole_numbers, long_numbers, run, units
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import expression, render

#: Rows that give the centers, and how many there must be for a second pass over all to be worth avoiding.
FIRST_ROWS, LEAST_ROWS = 10_000, 100_000


def survey_first_rows(source: Source, needs: Needs) -> Survey | None:
    """What the first rows show about all rows; None if they are not enough."""
    if needs.all_categories or needs.residuals or needs.referred:
        return None
    ((n_rows,),) = run(source, render("row_count", relation=source.relation), "Number of rows").fetchall()
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
    survey = survey_of_complete_rows(needs, n_rows, centers, varying)
    if long_numbers(source, survey):
        return None
    check_whole_numbers(source, needs, survey)
    return survey


def survey_of_complete_rows(
    needs: Needs, n_rows: int, centers: Mapping[Variable, float], varying: frozenset[Variable]
) -> Survey:
    """Make the survey of rows that have only numbers and no missing values."""
    return Survey(n_rows, n_rows, dict.fromkeys(needs.gaps(), 0), centers, {}, {}, varying)


def _first_rows(source: Source, needs: Needs) -> tuple[list[NDArray[Any]], list[Array]] | None:
    """Keys and numbers of the first rows; None where one of them is missing, or no number."""
    keys = {f"u_{k}": key for k, key in enumerate(units(source, needs))}
    numbers = {f"x_{i}": expression(number) for i, number in enumerate(needs.numbers)}
    columns = [{"expression": sql, "alias": name} for name, sql in (keys | numbers).items()]
    sql = render("first_rows", relation=source.relation, columns=columns, rows=FIRST_ROWS)
    rows = run(source, sql, "First rows, which give the centers").fetchnumpy()
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
