"""Collect moments by one SQL statement, written before anything is known of the rows, for `FROM mlm()`.

A column that stands alone in a formula may hold numbers or text. So the query makes both of it: a number, zero where
the column is text, and a key to group by, empty where it holds numbers. Within a unit a factor is then constant, and
its indicators need no sums. What the answer says of types and of what is constant picks the moments that the model
needs from those that were taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from mlm_ops.moments.needs import Needs, asked_by, find_needs
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.scan import (
    Columns,
    as_moments,
    as_residual,
    check_unchanged,
    constants_asked,
    make_schema,
    refuted,
    residual_asked,
    sums_asked,
)
from mlm_ops.moments.survey import Survey, check_rows, is_native_key, long_numbers, read_survey
from mlm_ops.warehouse.source import TEXT, Source, named_relation
from mlm_ops.warehouse.sql import category, expression, identifier, literal, render


class Described(Source):
    """Rows of which only the columns' types are known, and that cannot be asked again."""

    def stray_cells(self, column: str) -> str:
        """Nothing: that would take another query."""
        return ""


class SingleStatement:
    """The statement for one model and relation; `read_answer` reads what it returns.

    Parameters
    ----------
    model
        Its formula's columns may turn out to be text.
    relation
        A table name or one SELECT.
    levels, keys
        As `collect` takes them.

    Raises
    ------
    DataError
        The relation is neither.
    """

    def __init__(self, model: Model, relation: str, levels: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> None:
        self.model = model
        self.levels, self.keys = levels, keys
        self.relation, self.description = named_relation(relation)

    @cached_property
    def sql(self) -> str:
        """The statement."""
        needs, residual = self.needs, self.model.residual
        groups = [identifier(name) for name in self.units.values()]
        strata = {c: identifier(name) for c, name in self._strata.items()}
        others = [*groups, *strata.values()]
        centers = {n: f"(select mean_x{i} from mlm_survey)" for i, n in enumerate(needs.all_numbers)}
        return render(
            "one_query",
            relation=self.relation,
            columns=self._columns(),
            expected=list(self._mentioned),
            repeatable=self.description.startswith("table"),
            complete=render("is_complete", numbers=[expression(n) for n in needs.all_numbers], others=others),
            survey_of=needs.arguments
            | {"units": groups, "categories": [{"alias": f"c{i}", "expression": sql} for i, sql in enumerate(others)]},
            # factors are constant by the grouping, and of the numbers the ranges within units say which are
            moments_of=sums_asked(self.schema, centers)
            | {"units": groups, "constants": constants_asked(needs.numbers)},
            residual_of=None
            if residual == PLAIN
            else residual_asked(residual, strata[residual.strata] if residual.strata else None),
        )

    @cached_property
    def _mentioned(self) -> tuple[str, ...]:
        """Every column of the model, once: DuckDB does not tell letter case apart."""
        needs = self.needs
        names = [c for n in needs.all_numbers for c in columns_of(n)]
        names += [*needs.keys, *needs.all_categories]
        return tuple({name.lower(): name for name in names}.values())

    @cached_property
    def needs(self) -> Needs:
        """What the model needs if every column that stands alone holds numbers."""
        return asked_by([self.model], self.levels, self.keys)

    @cached_property
    def schema(self) -> Schema:
        """All the moments that the model may need: every number varies, and factors are constant within units."""
        needs = self.needs
        references: dict[str, list[str]] = {c: [] for c in needs.categories}
        for node in (node for v in self.model.variables for node in walk(v)):
            if isinstance(node, Factor) and node.reference is not None:
                references[node.column].append(node.reference)
        # indicators fall away, so that any two levels stand for all
        levels = {c: (*dict.fromkeys(found), "first", "second") for c, found in references.items()}
        survey = Survey(0, 0, {}, {}, {}, levels, frozenset())
        return make_schema(needs, survey, varying=frozenset(needs.numbers))

    @cached_property
    def _perhaps_text(self) -> frozenset[str]:
        """Columns that are factors if they hold text."""
        predictors = (a for v in self.model.predictors for a in atoms(v))
        return frozenset(a.name for a in predictors if isinstance(a, Column))

    @cached_property
    def units(self) -> dict[str, str]:
        """The columns to group by, and what they are called among the rows that the query makes."""
        names = (*self.needs.keys, *self.needs.categories, *sorted(self._perhaps_text))
        return {name: f"{self._ours}unit_{i}" for i, name in enumerate(dict.fromkeys(names))}

    @cached_property
    def _ours(self) -> str:
        """How names begin that no column of the model has."""
        prefix = "mlm_"
        while any(name.startswith(prefix) for name in map(str.lower, self._mentioned)):
            prefix += "_"
        return prefix

    @cached_property
    def _strata(self) -> dict[str, str]:
        """The column of the residual's strata, and what it is called among the rows that the query makes."""
        return dict.fromkeys(self.needs.strata, f"{self._ours}stratum")

    def _columns(self) -> list[dict[str, str]]:
        """Numbers under their own names, what is grouped by and strata as text."""
        needs = self.needs
        always_text = {*needs.keys, *needs.categories}
        columns = []
        for name in dict.fromkeys(c for n in needs.all_numbers for c in columns_of(n)):
            number = f"try_cast({identifier(name)} as double)"
            if name in self._perhaps_text:
                number = f"case when {_is_text(name)} then 0.0 else {number} end"
            columns.append({"expression": number, "name": name})
        for name, unit in self.units.items():
            text = category(name)
            if name not in always_text:
                text = f"case when {_is_text(name)} then {text} else '' end"
            columns.append({"expression": text, "name": unit})
        for name, stratum in self._strata.items():
            columns.append({"expression": category(name), "name": stratum})
        return columns


def _is_text(name: str) -> str:
    """SQL that DuckDB folds to true or false: whether a column is categorical wherever it stands."""
    return f"regexp_full_match(typeof({identifier(name)}), {literal(TEXT.pattern)}, 'i')"


def refuse(sql: str) -> Any:
    """Stand for the query of rows that cannot be asked again."""
    raise AssertionError(f"one query was to be enough, and this is a second: {sql}")


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


def read_answer(query: SingleStatement, answer: Answer) -> Moments:
    """The moments that the model needs.

    Raises
    ------
    DataError
        As `collect`; also where the model needs a second look at the rows.
    """
    source = Described(query.relation, refuse, query.description, dict(answer.described), query.description)
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
    varying = refuted(query.needs.numbers, sums)
    schema = replace(make_schema(needs, survey, varying), keys=(*needs.keys, *factors))
    labels = _labels(query, source, schema.keys, sums)
    order = np.lexsort(labels[::-1]) if labels else np.arange(len(sums["n"]))
    moments = as_moments(schema, survey, _chosen(query, schema, sums, labels, order))
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
    inside = {c: f"x{i}" for i, c in enumerate(query.needs.inside_functions, start=len(number))}
    for i, column in enumerate(needs.inside_functions, start=len(needs.all_numbers)):
        gaps[f"missing_x{i}"] = answer.missing[f"missing_{inside.get(column) or number[Column(column)]}"]
    for i, key in enumerate(needs.keys):
        gaps[f"missing_unit_{i}"] = answer.missing[f"missing_unit_{units.index(key)}"]
    return read_survey(source, needs, row, gaps)


def _labels(query: SingleStatement, source: Source, keys: Iterable[str], found: Columns) -> list[NDArray[Any]]:
    """(J,) a key: whole numbers where the column holds them, texts elsewhere, as `collect` has them."""
    units, labels = list(query.units), []
    for key in keys:
        values = found[f"u_{units.index(key)}"]
        whole = is_native_key(source.types[key]) and not source.is_text(key) and key in query.needs.keys
        labels.append(values.astype(np.int64) if whole else values.astype(str))
    return labels


def _chosen(
    query: SingleStatement, schema: Schema, found: Columns, labels: list[NDArray[Any]], order: NDArray[np.int64]
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


def _residual(query: SingleStatement, source: Source, moments: Moments, sums: Columns) -> ResidualMoments:
    """The sums of the model's monomials out of all that were taken."""
    place = {m: i + 1 for i, m in enumerate(query.schema.monomials)}
    rows = [0, *(place[m] for m in moments.schema.monomials)]
    chosen = {name: sums[name] for name in ("stratum", "past_stratum", "gap", "n", "log_precision")}
    chosen |= {f"u_{k}": labels for k, labels in enumerate(_labels(query, source, moments.schema.keys, sums))}
    for kind in ("now", "cross", "past"):
        for i, at in enumerate(rows):
            for j, other in enumerate(rows[: i + 1]):
                name = f"{kind}_{max(at, other)}_{min(at, other)}"
                if name in sums:
                    chosen[f"{kind}_{i}_{j}"] = sums[name]
    return as_residual(moments, query.model.residual, chosen)
