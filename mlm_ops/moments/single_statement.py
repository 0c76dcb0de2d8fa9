"""Collect moments by one SQL statement, written before the columns' types are known, for `FROM mlm()`.

A column that stands alone in a formula may hold numbers or text. So the query has it twice: as a number, zero where
the column is text, and as a key to group by, empty where it holds numbers. Within a unit a factor is then constant, and
its indicators need no sums. With the types and constants in the answer, the moments that the model needs are selected
from all those in it.

To group by a text takes DuckDB several times as long as by a whole number, even by an empty text. So a grouping column
is a key as a whole number and one as text, one of them the same in all rows, and all factors together are one text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.columns import atoms
from mlm_ops.language.model import PLAIN, Column, Factor, Model, columns_of, walk
from mlm_ops.moments.collect import cancels
from mlm_ops.moments.coverage import nested_levels
from mlm_ops.moments.needs import Needs, find_needs, needs_of
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    as_residual,
    check_unchanged,
    constants_arguments,
    make_schema,
    residual_arguments,
    sums_arguments,
    varying_constants,
)
from mlm_ops.moments.survey import Survey, check_rows, long_numbers, read_survey
from mlm_ops.warehouse.relation import named_relation
from mlm_ops.warehouse.source import TEXT, Source
from mlm_ops.warehouse.sql import category, expression, identifier, literal, render

#: Types of whole numbers that are no longer than a bigint.
_WHOLE = re.compile(r"U?(TINY|SMALL)INT|U?INTEGER|BIGINT", re.IGNORECASE)


class TypesOnlySource(Source):
    """Rows of which only the columns' types are known, and which cannot be queried again."""

    def stray_cells(self, column: str) -> str:
        """Return nothing: a clause about cells would take another query."""
        return ""


class SingleStatement:
    """The statement for one model and relation; `read_answer` reads its result.

    Parameters
    ----------
    model
        The model; columns of its formula may turn out to be text.
    relation
        A table name or one SELECT.
    levels, keys
        As `collect` takes them.

    Raises
    ------
    DataError
        The relation is neither a table name nor one SELECT.
    """

    def __init__(self, model: Model, relation: str, levels: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> None:
        self.model = model
        self.levels, self.keys = levels, keys
        self.relation, self.description = named_relation(relation)

    @cached_property
    def sql(self) -> str:
        """The statement."""
        needs, residual = self.needs, self.model.residual
        strata = {c: identifier(name) for c, name in self._strata.items()}
        pairs = [(identifier(whole), identifier(text)) for whole, text in self._keys.values()]
        keys = [name for pair in pairs for name in pair]
        factors = [identifier(name) for name in self._factors.values()]
        units = keys + ([_joined(factors)] if factors else [])
        centers = {n: f"{self._prefix}center_{i}" for i, n in enumerate(needs.all_numbers)}
        numbers = [expression(n) for n in needs.all_numbers]
        return render(
            "one_query",
            relation=self.relation,
            columns=self._columns(),
            expected=list(self._all_columns),
            repeatable=self.description.startswith("table"),
            complete=render("is_complete", numbers=numbers, others=[*keys, *factors, *strata.values()]),
            # what varies within units, and levels, are seen in the moments, whose units have one level of each factor
            survey_of=needs.arguments
            | {"categories": [{"alias": f"c{i}", "expression": sql} for i, sql in enumerate(strata.values())]},
            missing_units=[*(f"case when {whole} is not null then {text} end" for whole, text in pairs), *factors],
            centers=[{"name": name, "mean": f"mean_x{i}"} for i, name in enumerate(centers.values())],
            # factors are constant, as they are grouped by; the ranges within units tell which numbers are
            moments_of=sums_arguments(self.schema, {n: identifier(name) for n, name in centers.items()})
            | {"units": units, "constants": constants_arguments(needs.numbers)},
            residual_of=None
            if residual == PLAIN
            else residual_arguments(residual, strata[residual.strata] if residual.strata else None),
        )

    @cached_property
    def _all_columns(self) -> tuple[str, ...]:
        """Every column of the model, once: DuckDB does not tell letter case apart."""
        needs = self.needs
        names = [c for n in needs.all_numbers for c in columns_of(n)]
        names += [*needs.keys, *needs.all_categories]
        return tuple({name.lower(): name for name in names}.values())

    @cached_property
    def needs(self) -> Needs:
        """What the model needs if every column that stands alone holds numbers."""
        return needs_of([self.model], self.levels, self.keys)

    @cached_property
    def schema(self) -> Schema:
        """The schema of all moments that the model may need: every number varies, factors are constant within units."""
        needs = self.needs
        references: dict[str, list[str]] = {c: [] for c in needs.categories}
        for node in (node for v in self.model.variables for node in walk(v)):
            if isinstance(node, Factor) and node.reference is not None:
                references[node.column].append(node.reference)
        # factors are constants, whose indicators are no monomials: any two levels do
        levels = {c: (*dict.fromkeys(names), "first", "second") for c, names in references.items()}
        survey = Survey(0, 0, {}, {}, {}, levels, frozenset())
        return make_schema(needs, survey, varying=frozenset(needs.numbers))

    @cached_property
    def _possible_factors(self) -> frozenset[str]:
        """Columns that are factors if they hold text."""
        predictors = (a for v in self.model.predictors for a in atoms(v))
        return frozenset(a.name for a in predictors if isinstance(a, Column))

    @cached_property
    def _keys(self) -> dict[str, tuple[str, str]]:
        """The grouping columns, and their names in the query's rows: as whole numbers, and as text."""
        return {key: (f"{self._prefix}whole_{i}", f"{self._prefix}text_{i}") for i, key in enumerate(self.needs.keys)}

    @cached_property
    def _factors(self) -> dict[str, str]:
        """The other columns that are factors, or may be, and their names in the query's rows."""
        names = dict.fromkeys((*self.needs.categories, *sorted(self._possible_factors)))
        return {c: f"{self._prefix}factor_{i}" for i, c in enumerate(c for c in names if c not in self._keys)}

    def missing_of(self, column: str) -> str:
        """Where the statement's row of missing values has those of a grouping column or factor."""
        return f"missing_unit_{[*self._keys, *self._factors].index(column)}"

    def labels(self, column: str, sums: Columns, source: Source) -> NDArray[Any]:
        """(J,) labels of a grouping column or factor, as from `collect`: whole numbers or texts."""
        if column in self._keys:
            at = list(self._keys).index(column)
            if _WHOLE.fullmatch(source.types[column]):
                return np.asarray(sums[f"u_{2 * at}"], dtype=np.int64)
            return np.asarray(sums[f"u_{2 * at + 1}"]).astype(str)
        texts, codes = np.unique(np.asarray(sums[f"u_{2 * len(self._keys)}"]).astype(str), return_inverse=True)
        at = list(self._factors).index(column)
        return np.array([_parts(text)[at] for text in texts.tolist()], dtype=str)[codes]

    @cached_property
    def _prefix(self) -> str:
        """A beginning of names that no column of the model has."""
        prefix = "mlm_"
        while any(name.startswith(prefix) for name in map(str.lower, self._all_columns)):
            prefix += "_"
        return prefix

    @cached_property
    def _strata(self) -> dict[str, str]:
        """The column of the residual's strata, and its name in the query's rows."""
        return dict.fromkeys(self.needs.strata, f"{self._prefix}stratum")

    def _columns(self) -> list[dict[str, str]]:
        """Return the columns of the query's rows: numbers under their own names, keys and strata as text."""
        needs = self.needs
        columns = []
        for name in dict.fromkeys(c for n in needs.all_numbers for c in columns_of(n)):
            number = f"try_cast({identifier(name)} as double)"
            if name in self._possible_factors:
                number = f"case when {_is_type(name, TEXT)} then 0.0 else {number} end"
            columns.append({"expression": number, "name": name})
        for name, (whole, text) in self._keys.items():
            number = f"case when {_is_type(name, _WHOLE)} then try_cast({identifier(name)} as bigint) else 0 end"
            columns.append({"expression": number, "name": whole})
            label = f"case when {_is_type(name, _WHOLE)} then '' else {category(name)} end"
            columns.append({"expression": label, "name": text})
        for name, factor in self._factors.items():
            label = category(name)
            if name not in needs.categories:
                label = f"case when {_is_type(name, TEXT)} then {label} else '' end"
            columns.append({"expression": label, "name": factor})
        for name, stratum in self._strata.items():
            columns.append({"expression": category(name), "name": stratum})
        return columns


def _is_type(name: str, pattern: re.Pattern[str]) -> str:
    """Return SQL that tells whether a column is of one of some types; DuckDB folds it to a constant."""
    return f"regexp_full_match(typeof({identifier(name)}), {literal(pattern.pattern)}, 'i')"


def _joined(texts: Sequence[str]) -> str:
    """Return SQL that makes one text of some, each behind its length; `_parts` takes it apart."""
    return " || ".join(f"length({text}) || ':' || {text}" for text in texts)


def _parts(text: str) -> list[str]:
    """Take apart what `_joined` made."""
    parts = []
    while text:
        length, _, rest = text.partition(":")
        parts.append(rest[: int(length)])
        text = rest[int(length) :]
    return parts


def refuse_query(sql: str) -> Any:
    """Refuse any query: `TypesOnlySource` has no rows."""
    raise AssertionError(f"mlm() reads its rows by one statement, and this is a second: {sql}")


@dataclass(frozen=True)
class Answer:
    """The result of the statement.

    Attributes
    ----------
    described
        SQL type of every column of the relation.
    survey, missing
        The one row of these macros, by column.
    moments, residual
        The columns of these macros; `residual` is empty for a plain residual.
    """

    types: Mapping[str, str]
    survey: Mapping[str, Any]
    missing: Mapping[str, Any]
    moments: Columns
    residual: Columns


def read_answer(query: SingleStatement, answer: Answer) -> Moments:
    """Return the moments that the model needs, from the statement's result.

    Raises
    ------
    DataError
        As `collect`; also where the model needs a second query.
    """
    source = TypesOnlySource(query.relation, refuse_query, query.description, dict(answer.types), query.description)
    needs = find_needs(source, [query.model], query.levels, query.keys)
    factors = tuple(c for c in needs.categories if c not in needs.keys)
    survey = _survey(query, source, needs, answer)
    check_rows(source, needs, survey)
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
    sums = answer.moments
    check_unchanged(query.description, survey, sums)
    varying = varying_constants(query.needs.numbers, sums)
    schema = replace(make_schema(needs, survey, varying), keys=(*needs.keys, *factors))
    labels = [query.labels(key, sums, source) for key in schema.keys]
    order = np.lexsort(labels[::-1]) if labels else np.arange(len(sums["n"]))
    moments = as_moments(schema, survey, _select_moments(query, schema, sums, labels, order))
    if cancels(moments):
        raise DataError(
            "The means of the groups lie so far apart that one SQL statement loses digits of what varies within "
            "them. Fit the model with mlm_ops.fit in Python, which looks at the rows again."
        )
    moments = replace(moments, nested_in=nested_levels(moments, query.levels))
    if query.model.residual == PLAIN:
        return moments
    return replace(moments, residuals={query.model.residual: _residual(query, source, moments, answer.residual)})


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
