"""The answer of the one statement -> Moments: what the model needs of all that was taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import PLAIN, Column, Factor
from mlm_ops.moments.collect import cancels, check_unchanged, make_schema, nested_levels, read_moments, unit_of
from mlm_ops.moments.moments import Moments, Schema
from mlm_ops.moments.one_query import Described, OneQuery, refuse
from mlm_ops.moments.residual import ResidualMoments, read_residual_moments
from mlm_ops.moments.source import Source
from mlm_ops.moments.survey import Needs, Survey, check_rows, find_needs, is_native_key, long_numbers, read_survey

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Answer:
    """What the query returned.

    Attributes
    ----------
    described
        SQL type of every column of the relation.
    survey, missing
        Their one row, by column.
    moments, residual
        Their columns; `residual` is empty for a plain residual.
    """

    described: Mapping[str, str]
    survey: Mapping[str, Any]
    missing: Mapping[str, Any]
    moments: Columns
    residual: Columns


def read_answer(query: OneQuery, answer: Answer) -> Moments:
    """The moments that the model needs.

    Raises
    ------
    DataError
        As `collect`; also where the model needs a second look at the rows.
    """
    source = Described(query.relation, refuse, query.description, dict(answer.described), query.description)
    needs = find_needs(source, [query.model], query.keys)
    factors = tuple(c for c in needs.categories if c not in needs.keys)
    survey = _survey(query, source, needs, answer)
    check_rows(source, [query.model], needs, survey)
    if long := long_numbers(source, survey):
        raise DataError(
            f"Whole numbers beyond 2^53, as {long[0]!r} holds them, take more than one SQL statement. Fit the model "
            "with mlm_ops.fit in Python, or take a constant off them."
        )
    if query.model.residual.time and factors:
        raise DataError(
            f"ar1({query.model.residual.time}) beside the factor {factors[0]!r} takes more than one SQL statement. "
            "Fit the model with mlm_ops.fit in Python, or make the factor's indicators columns of numbers."
        )
    found = answer.moments
    check_unchanged(query.description, survey, found)
    varying = frozenset(n for i, n in enumerate(query.needs.numbers) if (found[f"low_{i}"] != found[f"high_{i}"]).any())
    schema = make_schema([query.model], needs, survey, varying)
    schema = replace(schema, keys=(*needs.keys, *factors))
    labels = _labels(query, source, schema.keys, found)
    order = np.lexsort(labels[::-1]) if labels else np.arange(len(found["n"]))
    moments = read_moments(schema, survey, _chosen(query, schema, found, labels, order))
    if cancels(moments):
        raise DataError(
            "The means of the groups lie so far apart that one SQL statement loses digits of what varies within "
            "them. Fit the model with mlm_ops.fit in Python, which looks at the rows again."
        )
    moments = replace(moments, nested_in=nested_levels(moments, query.levels))
    if query.model.residual == PLAIN:
        return moments
    return replace(moments, residuals={query.model.residual: _residual(query, source, moments, answer.residual)})


def _survey(query: OneQuery, source: Source, needs: Needs, answer: Answer) -> Survey:
    """The survey as the model needs it, under the names that it would have of its own."""
    number = {n: f"x{i}" for i, n in enumerate(query.needs.all_numbers)}
    texts = [*query.units, *query.needs.strata]
    text = {c: f"c{i}" for i, c in enumerate(texts)}
    renamed = {f"x{i}": number[n] for i, n in enumerate(needs.all_numbers)}
    renamed |= {f"c{i}": text[c] for i, c in enumerate(needs.all_categories)}
    units = list(query.units)
    row, gaps = {key: answer.survey[key] for key in ("n_rows", "n_complete")}, {}
    for new, old in renamed.items():
        row |= {f"{kind}_{new}": answer.survey.get(f"{kind}_{old}") for kind in ("mean", "min", "max", "varies")}
        row[f"levels_{new}"] = answer.survey.get(f"levels_{old}")
        gaps[f"missing_{new}"] = answer.missing[f"missing_{old}"]
    for i, n in enumerate(needs.all_numbers):
        if n in needs.numbers and row["n_complete"]:
            at = query.needs.numbers.index(n)
            row[f"min_x{i}"] = answer.moments[f"low_{at}"].min()
            row[f"max_x{i}"] = answer.moments[f"high_{at}"].max()
    inside = {column: f"x{i}" for i, column in query.needs.inside_functions.items()}
    for i, column in needs.inside_functions.items():
        gaps[f"missing_x{i}"] = answer.missing[f"missing_{inside.get(column) or number[Column(column)]}"]
    for i, key in enumerate(needs.keys):
        gaps[f"missing_unit_{i}"] = answer.missing[f"missing_unit_{units.index(key)}"]
    return read_survey(source, needs, row, gaps)


def _labels(query: OneQuery, source: Source, keys: Iterable[str], found: Columns) -> list[NDArray[Any]]:
    """(J,) a key: whole numbers where the column holds them, texts elsewhere, as `collect` has them."""
    units, labels = list(query.units), []
    for key in keys:
        values = found[f"u_{units.index(key)}"]
        whole = is_native_key(source.types[key]) and not source.is_text(key) and key in query.needs.keys
        labels.append(values.astype(np.int64) if whole else values.astype(str))
    return labels


def _chosen(
    query: OneQuery, schema: Schema, found: Columns, labels: list[NDArray[Any]], order: NDArray[np.int64]
) -> Columns:
    """The moments of `schema` out of all that were taken, under the names that they would have of their own."""
    place = {m: i for i, m in enumerate(query.schema.monomials)}
    number = {n: i for i, n in enumerate(query.needs.numbers)}
    chosen = {"n": found["n"]} | {f"u_{k}": values for k, values in enumerate(labels)}
    rows = [place[m] for m in schema.monomials]
    for i, at in enumerate(rows):
        chosen[f"mean_{i}"] = found[f"mean_{at}"]
        for j, other in enumerate(rows[: i + 1]):
            chosen[f"scatter_{i}_{j}"] = found[f"scatter_{max(at, other)}_{min(at, other)}"]
    for i, constant in enumerate(schema.constants):
        if isinstance(constant, Factor):
            chosen[f"low_{i}"] = labels[schema.keys.index(constant.column)].astype(str)
        else:
            chosen[f"low_{i}"] = found[f"low_{number[constant]}"]
    return {name: values[order] for name, values in chosen.items()}


def _residual(query: OneQuery, source: Source, moments: Moments, found: Columns) -> ResidualMoments:
    """The sums of the model's monomials out of all that were taken."""
    labels = tuple(_labels(query, source, moments.schema.keys, found))
    units = unit_of(moments, labels) if labels else np.zeros(len(found["n"]), dtype=np.int64)
    place = {m: i + 1 for i, m in enumerate(query.schema.monomials)}
    rows = [0, *(place[m] for m in moments.schema.monomials)]
    chosen = {name: found[name] for name in ("stratum", "past_stratum", "gap", "n", "log_precision")}
    for kind in ("now", "cross", "past"):
        for i, at in enumerate(rows):
            for j, other in enumerate(rows[: i + 1]):
                name = f"{kind}_{max(at, other)}_{min(at, other)}"
                if name in found:
                    chosen[f"{kind}_{i}_{j}"] = found[name]
    return read_residual_moments(query.model.residual, chosen, units, len(moments.schema.monomials))
