"""Collect moments by one SQL statement, written before the columns' types are known, for `FROM mlm()`.

A column that stands alone in a formula may hold numbers or text. So the query has it twice: as a number, zero where
the column is text, and as a key to group by, empty where it holds numbers. Within a unit a factor is then constant, and
its indicators need no sums. With the types and constants in the answer, the moments that the model needs are selected
from all those in it.

To group by a text takes DuckDB several times as long as by a whole number, even by an empty text. So a grouping column
is a key as a whole number and one as text, one of them the same in all rows, and all factors together are one text.

Where the first rows can be seen beforehand, by a connection beside the one that asks, they tell what all this would be
for nothing: the types, and the numbers that are constant within units, which need no products. This is a guess, as the
query may see other rows. So the statement finds out whether it holds, and computes everything where it does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.columns import atoms
from mlm_ops.language.model import PLAIN, Column, Factor, Model, columns_of, walk
from mlm_ops.moments.first_rows import survey_first_rows, survey_of_complete_rows
from mlm_ops.moments.needs import Needs, find_needs, needs_of
from mlm_ops.moments.one_pass import FAR, has_products
from mlm_ops.moments.record import Schema
from mlm_ops.moments.scan import (
    Columns,
    constants_arguments,
    make_schema,
    residual_arguments,
    sums_arguments,
)
from mlm_ops.moments.survey import Survey
from mlm_ops.warehouse.relation import named_relation
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, expression, identifier, literal, render
from mlm_ops.warehouse.types import ROUNDED, TEXT, WHOLE


@dataclass(frozen=True)
class FirstRows:
    """What the first rows of a table tell of all, of the numbers that a statement needs, in order.

    Attributes
    ----------
    centers
        Their means.
    varying
        Which of them vary within units, by place.
    whole
        Which grouping columns hold whole numbers, by place.
    """

    centers: tuple[float, ...]
    varying: tuple[int, ...]
    whole: tuple[int, ...]

    @property
    def text(self) -> str:
        """The guess as text, which the statement's answer repeats."""
        return json.dumps([self.centers, self.varying, self.whole])

    @classmethod
    def of_text(cls, text: str) -> FirstRows:
        """Read what `text` gives."""
        return cls(*map(tuple, json.loads(text)))

    def survey(self, needs: Needs, n_rows: int) -> Survey:
        """A survey of so many complete rows."""
        centers = dict(zip(needs.numbers, self.centers, strict=True))
        varying = frozenset(needs.numbers[place] for place in self.varying)
        return survey_of_complete_rows(needs, n_rows, centers, varying)


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

    def guess(self, source: Source) -> FirstRows | None:
        """Guess from the first rows; None where they are not enough, or the statement would be the same.

        Raises
        ------
        DataError
            The rows cannot serve the model.
        """
        needs = find_needs(source, [self.model], self.levels, self.keys)
        survey = survey_first_rows(source, needs) if needs.numbers == self.needs.numbers else None
        if survey is None or has_products(make_schema(needs, survey, survey.varying)):
            return None
        return FirstRows(
            tuple(survey.centers[n] for n in needs.numbers),
            tuple(i for i, n in enumerate(needs.numbers) if n in survey.varying),
            tuple(i for i, key in enumerate(needs.keys) if WHOLE.fullmatch(source.types[key])),
        )

    def sql(self, guess: FirstRows | None = None) -> str:
        """The statement.

        Parameters
        ----------
        guess
            What the first rows told, which the statement checks; without it everything is computed.
        """
        needs, residual = self.needs, self.model.residual
        strata = {c: identifier(name) for c, name in self._strata.items()}
        pairs = [(identifier(whole), identifier(text)) for whole, text in self._keys.values()]
        keys = [name for pair in pairs for name in pair]
        factors = [identifier(name) for name in self._factors.values()]
        units = keys + ([_joined(factors)] if factors else [])
        centers = {n: f"{self._prefix}center_{i}" for i, n in enumerate(needs.all_numbers)}
        numbers = [expression(n) for n in needs.all_numbers]
        return render(
            "survey_and_moments",
            relation=self.relation,
            columns=self._columns() + ([] if guess is None else [self._as_guessed(guess)]),
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
            guess=None if guess is None else self._guess_arguments(guess),
        )

    def _guess_arguments(self, guess: FirstRows) -> dict[str, Any]:
        """Return the argument `guess` of `survey_and_moments`."""
        survey = guess.survey(self.needs, 0)
        schema = make_schema(self.needs, survey, survey.varying)
        units = [identifier(pair[i not in guess.whole]) for i, pair in enumerate(self._keys.values())]
        return sums_arguments(schema) | {
            "complete": render("is_complete", numbers=[expression(n) for n in self.needs.numbers], others=units)
            + f" and {identifier(f'{self._prefix}as_guessed')}",
            "units": units,
            "constants": constants_arguments(schema.constants),
            "text": guess.text,
            "far": FAR,
        }

    def _as_guessed(self, guess: FirstRows) -> dict[str, str]:
        """Return the column that says whether the columns' types are still the same."""
        numbers = dict.fromkeys(c for n in self.needs.numbers for c in columns_of(n))
        kinds = [f"not {_is_type(name, TEXT)}" for name in numbers]
        kinds += [f"{'' if i in guess.whole else 'not '}{_is_type(key, WHOLE)}" for i, key in enumerate(self._keys)]
        return {"expression": " and ".join(kinds), "name": f"{self._prefix}as_guessed"}

    @cached_property
    def _all_columns(self) -> tuple[str, ...]:
        """Every column of the model, once; DuckDB ignores letter case."""
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
            if WHOLE.fullmatch(source.types[column]):
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
            # of a double a cast takes no time, and a cast that may fail takes a fifth of the time of the sums
            number = (
                f"case when {_is_type(name, ROUNDED)} then cast({identifier(name)} as double)"
                f" else try_cast({identifier(name)} as double) end"
            )
            if name in self._possible_factors:
                number = f"case when {_is_type(name, TEXT)} then 0.0 else {number} end"
            columns.append({"expression": number, "name": name})
        for name, (whole, text) in self._keys.items():
            number = f"case when {_is_type(name, WHOLE)} then try_cast({identifier(name)} as bigint) else 0 end"
            columns.append({"expression": number, "name": whole})
            label = f"case when {_is_type(name, WHOLE)} then '' else {category(name)} end"
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
