"""Moments of many parts of the rows, of each as `collect` would find them alone, by one GROUP BY for many parts.

What the moments are moments of is found once, from all parts together. A part that this does not fit, as one that lacks
a level of a factor, or where a predictor does not vary, is left to `collect`, which also says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import PLAIN, Column, Factor, Model, Variable
from mlm_ops.moments.collect import CANCELLATION, make_schema, nested_levels, read_moments, row_arguments
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.sums import packed_diagonal
from mlm_ops.moments.survey import (
    Needs,
    Survey,
    check_rows,
    complete,
    find_needs,
    key_expression,
    long_numbers,
    read_survey,
    run,
    take_survey,
)
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, expression, identifier, literal, render

#: Rows of a GROUP BY over several parts; its moments are at most as many, and are held all at once.
MOST_ROWS = 2_000_000


@dataclass(frozen=True)
class Part:
    """The rows whose value of a column is `low`, or lies from `low` up to `high`; both SQL expressions."""

    low: str
    high: str | None = None

    def condition(self, column: str) -> str:
        """The SQL condition that a row lies in it."""
        return _belongs(identifier(column), self.low, self.high)


@dataclass(frozen=True)
class _Names:
    """Columns beside the rows, named as no column of theirs: the part's number and bounds, and centers by atom."""

    part: str
    low: str
    high: str
    centers: Mapping[Variable, str]


@dataclass(frozen=True)
class _Parts:
    """Numbered parts of some rows, and what is asked of them."""

    source: Source
    column: str
    parts: Mapping[int, Part]
    needs: Needs
    names: _Names

    def beside(self, numbers: Sequence[int], centers: Mapping[int, Sequence[str]] | None = None) -> Source:
        """The rows of some parts, beside the part's number and, where they are given, its centers."""
        names = self.names
        chosen = {number: self.parts[number] for number in numbers}
        windows = any(part.high is not None for part in chosen.values())
        columns = [names.part, names.low, *([names.high] if windows else ())]
        columns += names.centers.values() if centers is not None else ()
        rows = [
            [str(number), part.low, *([part.high or "null"] if windows else ()), *(centers or {}).get(number, ())]
            for number, part in chosen.items()
        ]
        relation = render(
            "rows_in_parts",
            relation=self.source.relation,
            columns=[identifier(name) for name in columns],
            parts=rows,
            belongs=_belongs(
                identifier(self.column), identifier(names.low), identifier(names.high) if windows else None
            ),
        )
        return replace(self.source, relation=relation, types=self.source.types | {names.part: "INTEGER"})


def collect_each(
    source: Source,
    column: str,
    parts: Sequence[Part],
    models: Sequence[Model],
    levels: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> Iterator[Moments | None]:
    """Moments of each part, in their order; None where `collect` has to look at its rows alone.

    Parameters
    ----------
    source
        All rows.
    column
        By whose values they lie in parts.
    models, levels, keys
        As `collect` takes them.
    """
    try:
        found = _survey(source, column, parts, models, (*levels, *keys))
    except DataError:
        # `collect` says of each part what is wrong
        found = None
    if found is None:
        yield from [None] * len(parts)
        return
    asked, schema, surveys = found
    for batch in _batches([surveys[i].n_rows if i in surveys else 0 for i in range(len(parts))]):
        usable = [number for number in batch if number in surveys]
        moments = _scan(asked, schema, {number: surveys[number] for number in usable}) if usable else {}
        for number in batch:
            one = moments.get(number)
            yield None if one is None else replace(one, nested_in=nested_levels(one, levels))


def _survey(
    source: Source, column: str, parts: Sequence[Part], models: Sequence[Model], keys: Sequence[str]
) -> tuple[_Parts, Schema, dict[int, Survey]] | None:
    """What the moments of all parts are moments of, and the surveys of those parts that it fits."""
    if any(model.residual != PLAIN for model in models):
        return None
    needs = find_needs(source, models, keys)
    taken = {name.lower() for name in source.types}
    prefix = next(p for i in range(len(taken) + 1) if not any(n.startswith(p := f"mlm{'_' * i}part") for n in taken))
    names = _Names(
        prefix, f"{prefix}_low", f"{prefix}_high", {n: f"{prefix}_center_{i}" for i, n in enumerate(needs.numbers)}
    )
    asked = _Parts(source, column, dict(enumerate(parts)), needs, names)
    rows = asked.beside(range(len(parts)))
    whole = take_survey(rows, replace(needs, keys=(names.part, *needs.keys)))
    schema = make_schema(models, needs, whole, whole.varying)
    surveys = {
        number: survey
        for number, survey in _part_surveys(rows, needs, names.part)
        if survey.levels == whole.levels and _is_sound(rows, models, needs, survey)
    }
    return asked, schema, surveys


def _part_surveys(rows: Source, needs: Needs, part: str) -> Iterator[tuple[int, Survey]]:
    """The survey of each part that has rows, but for ranges and for what varies."""
    inside = [{"alias": f"x{i}", "expression": expression(Column(c))} for i, c in needs.inside_functions.items()]
    sql = render(
        "part_survey",
        relation=rows.relation,
        part=identifier(part),
        numbers=[{"alias": f"x{i}", "expression": expression(n)} for i, n in enumerate(needs.all_numbers)],
        inside=inside,
        categories=[{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(needs.all_categories)],
        units=[key_expression(rows, key) for key in needs.keys],
        complete=complete(needs),
    )
    result = run(rows, sql)
    columns = [column[0] for column in result.description]
    undecided = {f"varies_x{i}": False for i in range(len(needs.all_numbers))}
    undecided |= {f"varies_c{i}": False for i in range(len(needs.all_categories))}
    for values in result.fetchall():
        row = dict(zip(columns, values, strict=True))
        yield row["part"], read_survey(rows, needs, undecided | row, row)


def _is_sound(rows: Source, models: Sequence[Model], needs: Needs, survey: Survey) -> bool:
    """Whether `check_rows` has nothing against a part, and no second look is due; what varies, the moments tell."""
    try:
        check_rows(rows, models, needs, survey)
    except DataError:
        return False
    return not long_numbers(rows, survey)


def _batches(n_rows: Sequence[int]) -> Iterator[range]:
    """Runs of parts that together have at most `MOST_ROWS` rows, or are one part."""
    start = total = 0
    for number, rows in enumerate(n_rows):
        if number > start and total + rows > MOST_ROWS:
            yield range(start, number)
            start, total = number, 0
        total += rows
    if start < len(n_rows):
        yield range(start, len(n_rows))


def _scan(asked: _Parts, schema: Schema, surveys: Mapping[int, Survey]) -> dict[int, Moments]:
    """The GROUP BY over some parts; the moments of those in which all is as the schema takes it to be."""
    names = asked.names
    centers = {number: [literal(float(survey.centers[n])) for n in names.centers] for number, survey in surveys.items()}
    rows = asked.beside(list(surveys), centers)
    arguments = row_arguments(rows, asked.needs, schema)
    by_center = [
        variable | {"center": identifier(names.centers[atom])} if atom in names.centers else variable
        for variable, atom in zip(arguments["variables"], schema.centers, strict=True)
    ]
    sql = render(
        "moments",
        **(arguments | {"units": [identifier(names.part), *arguments["units"]], "variables": by_center}),
        constants=[
            {"alias": f"c{i}", "expression": category(c.column) if isinstance(c, Factor) else expression(c)}
            for i, c in enumerate(schema.constants)
        ],
    )
    found: dict[str, NDArray[Any]] = run(rows, sql).fetchnumpy()
    part = np.asarray(found.pop("u_0"))
    own = {f"u_{k}": found.pop(f"u_{k + 1}") for k in range(len(schema.keys))}
    made = {}
    for number, survey in surveys.items():
        here = slice(*np.searchsorted(part, (number, number + 1)))
        columns = {name: values[here] for name, values in (found | own).items()}
        if not _is_constant_within(schema, columns):
            continue
        centered = {atom: survey.centers.get(atom, 0.0) for atom in schema.centers}
        try:
            moments = read_moments(replace(schema, centers=centered), survey, columns)
        except DataError:  # collected alone, it says what is wrong
            continue
        if moments.n_obs == survey.n_complete and _varies(moments):
            made[number] = moments
    return made


def _is_constant_within(schema: Schema, columns: Mapping[str, NDArray[Any]]) -> bool:
    """Whether what is taken to be constant within units is, and differs between them where it is a number."""
    for i, constant in enumerate(schema.constants):
        low, high = columns[f"low_{i}"], columns[f"high_{i}"]
        if (low != high).any() or (not isinstance(constant, Factor) and (low == low[0]).all()):
            return False
    return True


def _varies(moments: Moments) -> bool:
    """Whether every monomial varies within units, by no less than its scatter has digits for."""
    size = len(moments.mean)
    within = moments.scatter[packed_diagonal(size)].sum(axis=1)
    return bool(((moments.n * moments.mean**2).sum(axis=1) < CANCELLATION * within).all())


def _belongs(column: str, low: str, high: str | None) -> str:
    return f"{column} = {low}" if high is None else f"{column} >= {low} and {column} < {high}"
