"""Read the moments of a model from the result of its one SQL statement, for `FROM mlm()`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import PLAIN, Column, Factor
from mlm_ops.moments.collect import cancels
from mlm_ops.moments.coverage import nested_levels
from mlm_ops.moments.needs import Needs, find_needs
from mlm_ops.moments.one_pass import around_grand_means
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    as_residual,
    check_unchanged,
    make_schema,
    varying_constants,
)
from mlm_ops.moments.single_statement import FirstRows, SingleStatement
from mlm_ops.moments.survey import Survey, check_rows, long_numbers, read_survey
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import identifier


class TypesOnlySource(Source):
    """Rows that cannot be queried again; only the types of their columns are known."""

    def stray_cells(self, column: str) -> str:
        """Return nothing: a clause about cells would take another query."""
        return ""

    def not_numbers(self, column: str) -> str:
        """Say which cells are no numbers, as a query finds them."""
        return f" Cells that are no numbers are those where try_cast({identifier(column)} as double) is null."


def refuse_query(sql: str) -> Any:
    """Refuse any query: `TypesOnlySource` has no rows."""
    raise AssertionError(f"mlm() reads its rows by one statement, and this is a second: {sql}")


@dataclass(frozen=True)
class Answer:
    """The result of the statement.

    Attributes
    ----------
    types
        SQL type of every column of the relation.
    survey, missing
        The one row of these macros, by column.
    moments, residual
        The columns of these macros; `residual` is empty for a plain residual.
    guessed
        Where a guess holds: its text, the number of rows, and the columns of the macro `moments` of it. The others are
        then of no rows.
    """

    types: Mapping[str, str]
    survey: Mapping[str, Any]
    missing: Mapping[str, Any]
    moments: Columns
    residual: Columns
    guessed: tuple[str, int, Columns] | None = None


def read_answer(query: SingleStatement, answer: Answer) -> Moments:
    """Return the moments that the model needs, from the statement's result.

    Raises
    ------
    DataError
        As `collect`; also where the model needs a second query.
    """
    source = TypesOnlySource(query.relation, refuse_query, query.description, dict(answer.types), query.description)
    needs = find_needs(source, [query.model], query.levels, query.keys)
    if answer.guessed is not None:
        return _guessed_moments(query, source, needs, *answer.guessed)
    factors = tuple(c for c in needs.categories if c not in needs.keys)
    survey = _survey(query, source, needs, answer)
    check_rows(source, needs, survey)
    _check_numbers(source, survey)
    if query.model.residual.time and factors:
        raise DataError(
            f"ar1({query.model.residual.time}) beside the factor {factors[0]!r} takes more than one SQL statement. "
            "Fit the model with mlm_ops.fit in Python, or make the factor's indicators columns of numbers."
        )
    sums = answer.moments
    check_unchanged(query.description, survey, sums)
    varying = varying_constants(query.needs.numbers, sums)
    schema = replace(make_schema(needs, survey, varying), keys=(*needs.keys, *factors))
    labels = [query.labels(key, sums, source) for key in schema.keys]
    order = np.lexsort(labels[::-1]) if labels else np.arange(len(sums["n"]))
    moments = _checked(query, as_moments(schema, survey, _select_moments(query, schema, sums, labels, order)))
    if query.model.residual == PLAIN:
        return moments
    return replace(moments, residuals={query.model.residual: _residual(query, source, moments, answer.residual)})


def _guessed_moments(
    query: SingleStatement, source: Source, needs: Needs, text: str, n_rows: int, sums: Columns
) -> Moments:
    """Return the moments that the model needs from those of a guess that holds."""
    guess = FirstRows.of_text(text)
    survey = guess.survey(needs, n_rows)
    labels = [np.asarray(sums[f"u_{i}"]).astype(np.int64 if i in guess.whole else str) for i in range(len(needs.keys))]
    order = np.lexsort(labels[::-1]) if labels else np.arange(len(sums["n"]))
    columns = dict(sums) | {f"u_{i}": own for i, own in enumerate(labels)}
    columns = {name: values[order] for name, values in columns.items()}
    moments = around_grand_means(make_schema(needs, survey, survey.varying), survey, columns)
    _check_numbers(source, replace(survey, centers=moments.schema.centers))
    return _checked(query, moments)


def _check_numbers(source: Source, survey: Survey) -> None:
    """Refuse numbers that a double does not hold."""
    if long := long_numbers(source, survey):
        raise DataError(
            f"Whole numbers beyond 2^53, as {long[0]!r} holds them, take more than one SQL statement. Fit the model "
            "with mlm_ops.fit in Python, or take a constant off them."
        )


def _checked(query: SingleStatement, moments: Moments) -> Moments:
    """Refuse moments that have lost digits, and find what is nested in what."""
    if cancels(moments):
        raise DataError(
            "The means of the groups lie so far apart that one SQL statement loses digits of what varies within "
            "them. Fit the model with mlm_ops.fit in Python, which looks at the rows again."
        )
    return replace(moments, nested_in=nested_levels(moments, query.levels))


def _survey(query: SingleStatement, source: Source, needs: Needs, answer: Answer) -> Survey:
    """Make the survey, with the statement's columns renamed as `read_survey` expects them for the model."""
    number = {n: f"x{i}" for i, n in enumerate(query.needs.all_numbers)}
    row, gaps = {key: answer.survey[key] for key in ("n_rows", "n_complete")}, {}
    for i, n in enumerate(needs.all_numbers):
        kinds = ("mean", "min", "max", "varies")
        row |= {f"{kind}_x{i}": answer.survey.get(f"{kind}_{number[n]}") for kind in kinds}
        gaps[f"missing_x{i}"] = answer.missing[f"missing_{number[n]}"]
    strata = list(query.needs.strata)
    for i, c in enumerate(needs.all_categories):
        row[f"varies_c{i}"] = False
        if c in strata:
            row[f"levels_c{i}"] = answer.survey[f"levels_c{strata.index(c)}"]
            gaps[f"missing_c{i}"] = answer.missing[f"missing_c{strata.index(c)}"]
        else:
            levels = np.unique(query.labels(c, answer.moments, source).astype(str)) if row["n_complete"] else ()
            row[f"levels_c{i}"] = [str(level) for level in levels]
            gaps[f"missing_c{i}"] = answer.missing[query.missing_of(c)]
    for i, n in enumerate(needs.all_numbers):
        if n in needs.numbers and row["n_complete"]:
            at = query.needs.numbers.index(n)
            row[f"min_x{i}"] = answer.moments[f"low_{at}"].min()
            row[f"max_x{i}"] = answer.moments[f"high_{at}"].max()
    inside = {c: f"x{i}" for i, c in enumerate(query.needs.inside_functions, start=len(number))}
    for i, column in enumerate(needs.inside_functions, start=len(needs.all_numbers)):
        gaps[f"missing_x{i}"] = answer.missing[f"missing_{inside.get(column) or number[Column(column)]}"]
    for i, key in enumerate(needs.keys):
        gaps[f"missing_unit_{i}"] = answer.missing[query.missing_of(key)]
    return read_survey(source, needs, row, gaps)


def _select_moments(
    query: SingleStatement, schema: Schema, sums: Columns, labels: list[NDArray[Any]], order: NDArray[np.int64]
) -> Columns:
    """Select the moments of `schema` from the statement's, renamed as `as_moments` expects them."""
    place = {m: i for i, m in enumerate(query.schema.monomials)}
    number = {n: i for i, n in enumerate(query.needs.numbers)}
    columns = {"n": sums["n"]} | {f"u_{k}": values for k, values in enumerate(labels)}
    rows = [place[m] for m in schema.monomials]
    for i, at in enumerate(rows):
        columns[f"mean_{i}"] = sums[f"mean_{at}"]
        for j, other in enumerate(rows[: i + 1]):
            columns[f"scatter_{i}_{j}"] = sums[f"scatter_{max(at, other)}_{min(at, other)}"]
    for i, constant in enumerate(schema.constants):
        if isinstance(constant, Factor):
            columns[f"low_{i}"] = labels[schema.keys.index(constant.column)].astype(str)
        else:
            columns[f"low_{i}"] = sums[f"low_{number[constant]}"]
    return {name: values[order] for name, values in columns.items()}


def _residual(query: SingleStatement, source: Source, moments: Moments, sums: Columns) -> ResidualMoments:
    """Select the residual's sums of the model's monomials from the statement's."""
    place = {m: i + 1 for i, m in enumerate(query.schema.monomials)}
    rows = [0, *(place[m] for m in moments.schema.monomials)]
    columns = {name: sums[name] for name in ("stratum", "past_stratum", "gap", "n", "log_precision")}
    labels = [query.labels(key, sums, source) for key in moments.schema.keys]
    columns |= {f"u_{k}": values for k, values in enumerate(labels)}
    for kind in ("now", "cross", "past"):
        for i, at in enumerate(rows):
            for j, other in enumerate(rows[: i + 1]):
                name = f"{kind}_{max(at, other)}_{min(at, other)}"
                if name in sums:
                    columns[f"{kind}_{i}_{j}"] = sums[name]
    return as_residual(moments, query.model.residual, columns)
