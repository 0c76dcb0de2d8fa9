"""Collect the moments of rows: one GROUP BY serves every model of an analysis, after a survey where one is needed.

With `by`, one GROUP BY collects the moments of many parts of the rows, such as partitions: which moments to collect is
found once, from all parts together. A part that differs, as one that lacks a level of a factor or where a predictor
does not vary, gets None: the caller collects it alone, which also tells what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, RowsChangedError
from mlm_ops.language.model import Factor, Model, Residual, Variable
from mlm_ops.moments.coverage import lost_levels, nested_levels
from mlm_ops.moments.needs import Needs, find_needs
from mlm_ops.moments.one_pass import collect_in_one_pass
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    as_residual,
    by_part,
    check_unchanged,
    checked_survey,
    make_schema,
    moments_query,
    residual_query,
    retry_once,
    scan_until_right,
    varying_constants,
)
from mlm_ops.moments.sums import packed_diagonal, packed_place
from mlm_ops.moments.survey import (
    Survey,
    check_rows,
    long_numbers,
    rows_changed_sentence,
    run,
    survey_parts,
    take_survey,
)
from mlm_ops.warehouse.queries import script
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import identifier, literal, render

#: Ratio of between to within sums of squares from which the scatter is taken around each unit's own mean.
CANCELLATION = 1e6
#: What the GROUP BY is for.
MOMENTS_OF_UNITS = "Moments of each unit"
#: The most rows of a GROUP BY over several parts; it has at most as many units, all of them in memory at once.
MOST_ROWS = 2_000_000


@dataclass(frozen=True)
class RowPart:
    """The rows whose value of a column is `low`, or lies from `low` up to `high`; both SQL expressions."""

    low: str
    high: str | None = None

    def condition(self, column: str) -> str:
        """Return the SQL condition that a row lies in the part."""
        return _part_condition(identifier(column), self.low, self.high)


@dataclass(frozen=True)
class By:
    """How to split the rows: a column, and the parts by its values."""

    column: str
    parts: Sequence[RowPart]


@overload
def collect(
    source: Source, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = (), by: None = None
) -> Moments: ...


@overload
def collect(
    source: Source, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = (), *, by: By
) -> Iterator[Moments | None]: ...


def collect(
    source: Source,
    models: Sequence[Model],
    levels: Sequence[str] = (),
    keys: Sequence[str] = (),
    by: By | None = None,
) -> Moments | Iterator[Moments | None]:
    """Collect the moments that serve all the models, over the rows that have a value in all their columns.

    Parameters
    ----------
    source
        The rows.
    models
        Models of one analysis.
    levels
        Grouping columns, lowest first, each nested in the next: where labels of a lower one repeat across the higher,
        they name different units.
    keys
        Further columns to group by.
    by
        Parts of the rows, to collect the moments of each part; None for those of all rows together.

    Returns
    -------
    Moments
        Units are the distinct combinations of all grouping columns. With `by`, an iterator over the parts' moments, in
        order, equal to those of each part's rows alone; None for a part that has to be collected alone.

    Raises
    ------
    DataError
        Missing columns, text where numbers are needed, no complete rows, a column without variation. With `by` nothing
        is raised: the parts are None.
    """
    if by is not None:
        return _collect_parts(source, by, models, levels, keys)
    needs = find_needs(source, models, levels, keys)
    return retry_once(lambda: _collect(replace(source, statements=[]), needs))


def _collect(source: Source, needs: Needs) -> Moments:
    """Scan the rows, and survey them before where that is needed; in one snapshot where the source has snapshots."""

    def scan(schema: Schema) -> Columns:
        return _fetch(source, moments_query(source, needs, schema), MOMENTS_OF_UNITS)

    with source.snapshot():
        survey, moments = collect_in_one_pass(source, needs, scan) or _survey_and_scan(source, needs, scan)
        if cancels(moments):
            query = moments_query(source, needs, moments.schema, around_unit_means=True)
            columns = _fetch(source, query, f"{MOMENTS_OF_UNITS}, whose means lie far apart")
            check_unchanged(source.description, survey, columns)
            moments = replace(as_moments(moments.schema, survey, columns), around_unit_means=True)
        if loss := lost_levels(moments):
            raise RowsChangedError(rows_changed_sentence(source.description, loss))
        ranges = {number: survey.ranges[number] for number in needs.numbers if number in needs.referred}
        moments = replace(moments, nested_in=nested_levels(moments, needs.levels), ranges=ranges)
        residuals = {r: _residual(source, needs, moments, r) for r in needs.residuals}
        return replace(moments, residuals=residuals, sql=script(source.statements or (), source.origin))


def _survey_and_scan(source: Source, needs: Needs, scan: Callable[[Schema], Columns]) -> tuple[Survey, Moments]:
    """Survey all rows, then scan them around their means."""
    survey = checked_survey(source, needs)
    schema, columns = scan_until_right(needs, survey, scan)
    check_unchanged(source.description, survey, columns)
    return survey, as_moments(schema, survey, columns)


def _residual(source: Source, needs: Needs, moments: Moments, residual: Residual) -> ResidualMoments:
    columns = _fetch(source, residual_query(source, needs, moments.schema, residual), "Sums of a residual structure")
    if (n_obs := int(np.sum(columns["n"]))) != moments.n_obs:
        raise RowsChangedError(
            rows_changed_sentence(source.description, f"{moments.n_obs} rows were summed up, then {n_obs}")
        )
    return as_residual(moments, residual, columns)


def _fetch(source: Source, sql: str, purpose: str) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = run(source, sql, purpose).fetchnumpy()
    return columns


def cancels(moments: Moments) -> bool:
    """Tell whether group means lie so far apart that sums around the grand mean lose the digits of the scatter."""
    for i, mean in enumerate(moments.mean):
        within = moments.scatter[packed_place(i, i)].sum()
        # a column without any variation within units leaves none; what rounding leaves may be negative
        if within != 0 and (moments.n * mean**2).sum() > CANCELLATION * within:
            return True
    return False


@dataclass(frozen=True)
class _Names:
    """Names of the columns that are joined to the rows, none of them a name of the rows' columns.

    They hold the part's number, its bounds, and its center of each atom.
    """

    part: str
    low: str
    high: str
    centers: Mapping[Variable, str]


@dataclass(frozen=True)
class _NumberedParts:
    """Numbered parts of some rows, and what the models need of them."""

    source: Source
    column: str
    parts: Mapping[int, RowPart]
    needs: Needs
    names: _Names

    def beside(self, numbers: Sequence[int], centers: Mapping[int, Sequence[str]] | None = None) -> Source:
        """Return the rows of some parts, with columns of the part's number and, unless None, its centers."""
        names = self.names
        parts = {number: self.parts[number] for number in numbers}
        windows = any(part.high is not None for part in parts.values())
        columns = [names.part, names.low, *([names.high] if windows else ())]
        columns += names.centers.values() if centers is not None else ()
        rows = [
            [str(number), part.low, *([part.high or "null"] if windows else ()), *(centers or {}).get(number, ())]
            for number, part in parts.items()
        ]
        relation = render(
            "rows_in_parts",
            relation=self.source.relation,
            columns=[identifier(name) for name in columns],
            parts=rows,
            belongs=_part_condition(
                identifier(self.column), identifier(names.low), identifier(names.high) if windows else None
            ),
        )
        return replace(self.source, relation=relation, types=self.source.types | {names.part: "INTEGER"})


def _collect_parts(
    source: Source, by: By, models: Sequence[Model], levels: Sequence[str], keys: Sequence[str]
) -> Iterator[Moments | None]:
    try:
        plan = _survey(source, by, find_needs(source, models, levels, keys))
    except DataError:
        # collected alone, each part has an error of its own
        plan = None
    if plan is None:
        yield from [None] * len(by.parts)
        return
    parts, schema, surveys = plan
    for batch in _batches([surveys[i].n_rows if i in surveys else 0 for i in range(len(by.parts))]):
        usable = {number: surveys[number] for number in batch if number in surveys}
        moments = _scan_parts(parts, schema, usable) if usable else {}
        for number in batch:
            one = moments.get(number)
            yield None if one is None else replace(one, nested_in=nested_levels(one, parts.needs.levels))


def _survey(source: Source, by: By, needs: Needs) -> tuple[_NumberedParts, Schema, dict[int, Survey]] | None:
    """Return the schema of all parts' moments, and the surveys of the parts that have it.

    None with residual structures: each part is then collected alone.
    """
    if needs.residuals:
        return None
    columns = {name.lower() for name in source.types}
    prefix = next(
        p for i in range(len(columns) + 1) if not any(n.startswith(p := f"mlm{'_' * i}part") for n in columns)
    )
    centers = {n: f"{prefix}_center_{i}" for i, n in enumerate(needs.numbers)}
    names = _Names(prefix, f"{prefix}_low", f"{prefix}_high", centers)
    parts = _NumberedParts(source, by.column, dict(enumerate(by.parts)), needs, names)
    rows = parts.beside(range(len(by.parts)))
    whole = take_survey(rows, replace(needs, keys=(names.part, *needs.keys)))
    surveys = {
        number: survey
        for number, survey in survey_parts(rows, needs, identifier(names.part)).items()
        if survey.levels == whole.levels and _is_sound(rows, needs, survey)
    }
    return parts, make_schema(needs, whole, whole.varying), surveys


def _is_sound(rows: Source, needs: Needs, survey: Survey) -> bool:
    """Tell whether a part passes `check_rows` and needs no second query; variation is checked by its moments."""
    try:
        check_rows(rows, needs, survey)
    except DataError:
        return False
    return not long_numbers(rows, survey)


def _batches(n_rows: Sequence[int]) -> Iterator[range]:
    """Yield ranges of parts that together have at most `MOST_ROWS` rows, or are one part."""
    start = total = 0
    for number, rows in enumerate(n_rows):
        if number > start and total + rows > MOST_ROWS:
            yield range(start, number)
            start, total = number, 0
        total += rows
    if start < len(n_rows):
        yield range(start, len(n_rows))


def _scan_parts(parts: _NumberedParts, schema: Schema, surveys: Mapping[int, Survey]) -> dict[int, Moments]:
    """Run the GROUP BY over some parts, and return the moments of those that have the schema."""
    names = parts.names
    centers = {number: [literal(float(survey.centers[n])) for n in names.centers] for number, survey in surveys.items()}
    own_centers = {atom: identifier(name) for atom, name in names.centers.items() if atom in schema.centers}
    rows = parts.beside(list(surveys), centers)
    query = moments_query(rows, parts.needs, schema, identifier(names.part), own_centers)
    columns = _fetch(rows, by_part(query, len(schema.keys)), "Moments of each unit of each part")
    part = np.asarray(columns.pop("part"))
    moments = {}
    for number, survey in surveys.items():
        here = slice(*np.searchsorted(part, (number, number + 1)))
        part_columns = {name: values[here] for name, values in columns.items()}
        if not _is_constant_within(schema, part_columns):
            continue
        part_centers = {atom: survey.centers.get(atom, 0.0) for atom in schema.centers}
        try:
            part_moments = as_moments(replace(schema, centers=part_centers), survey, part_columns)
        except DataError:  # collected alone, the part has this error
            continue
        if part_moments.n_obs == survey.n_complete and _varies(part_moments):
            moments[number] = part_moments
    return moments


def _is_constant_within(schema: Schema, columns: Mapping[str, NDArray[Any]]) -> bool:
    """Tell whether the schema's constants are constant within units, and the numbers differ between them."""
    if varying_constants(schema.constants, columns):
        return False
    lows = [columns[f"low_{i}"] for i, constant in enumerate(schema.constants) if not isinstance(constant, Factor)]
    return not any((low == low[0]).all() for low in lows)


def _varies(moments: Moments) -> bool:
    """Tell whether every monomial varies within units by enough for its scatter to have digits."""
    size = len(moments.mean)
    within = moments.scatter[packed_diagonal(size)].sum(axis=1)
    return bool(((moments.n * moments.mean**2).sum(axis=1) < CANCELLATION * within).all())


def _part_condition(column: str, low: str, high: str | None) -> str:
    return f"{column} = {low}" if high is None else f"{column} >= {low} and {column} < {high}"
