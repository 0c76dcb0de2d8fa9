"""Rows -> Moments: a survey of the rows, then one GROUP BY that serves every model of an analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.columns import DesignColumn, Monomial, as_factor, atoms, expand, row_monomials
from mlm_ops.language.model import Column, Factor, Function, Indicator, Model, Variable, columns_of, label, walk
from mlm_ops.moments.moments import Moments, Schema
from mlm_ops.moments.render import category, expression, render
from mlm_ops.moments.source import Source, first_line
from mlm_ops.sql_text import identifier, literal

#: More row-level monomials than this make a scan of tens of thousands of sums.
MOST_MONOMIALS = 200


@dataclass(frozen=True)
class _Needs:
    """What the models ask of the rows, before anything is known of them."""

    keys: tuple[str, ...]
    numbers: tuple[Variable, ...]
    categories: tuple[str, ...]
    text_columns: frozenset[str]


@dataclass(frozen=True)
class _Survey:
    """What the first query found; `varying` holds the numbers and categories seen to vary within units."""

    n_rows: int
    n_complete: int
    missing: Mapping[str, int]
    centers: Mapping[Variable, float]
    ranges: Mapping[Variable, tuple[float, float]]
    levels: Mapping[str, tuple[str, ...]]
    varying: frozenset[Variable]


def collect(source: Source, models: Sequence[Model], levels: Sequence[str] = ()) -> Moments:
    """Moments that serve all the models, over the rows that are complete on all their columns.

    Parameters
    ----------
    source
        The rows.
    models
        Models of one analysis.
    levels
        Grouping columns beyond those that the models name.

    Returns
    -------
    Moments
        Units are the distinct combinations of all grouping columns.

    Raises
    ------
    DataError
        Missing columns, text where numbers are needed, no complete rows, a column without variation.
    """
    needs = _needs(source, models, levels)
    survey = _survey(source, needs)
    _check(source, models, needs, survey)
    varying = survey.varying
    while True:
        schema = _schema(models, needs, survey, varying)
        found = _scan(source, needs, survey, schema)
        refuted = _refuted(schema, found)
        if not refuted:
            return _moments(schema, survey, found)
        # a column looked constant within units in the first rows, and is not: its sums are needed after all
        varying |= refuted


def complete_rows(source: Source, models: Sequence[Model], levels: Sequence[str] = ()) -> str:
    """The SQL condition that a row is among those that the models see: complete on all their columns."""
    return _complete(_needs(source, models, levels))


def _needs(source: Source, models: Sequence[Model], levels: Sequence[str]) -> _Needs:
    keys = tuple(dict.fromkeys([*(c for m in models for g in m.all_groups for c in g), *levels]))
    variables = tuple(dict.fromkeys(v for m in models for v in m.variables))
    source.require([*(c for v in variables for c in columns_of(v)), *keys])
    text_columns = frozenset(c for v in variables for c in columns_of(v) if source.is_text(c))
    outcomes = {c for m in models for c in columns_of(m.outcome)}
    numbers: dict[Variable, None] = {}
    categories: dict[str, None] = {}
    for variable in variables:
        for atom in atoms(variable):
            for node in walk(atom):
                if isinstance(node, Column) and not (source.is_numeric(node.name) or source.is_text(node.name)):
                    kind = source.types[node.name]
                    raise DataError(
                        f"Column {node.name!r} is neither numeric nor text. Got {kind}; cast it in a view or SELECT."
                    )
                if (
                    isinstance(node, Column)
                    and node.name in text_columns
                    and (isinstance(atom, Function) or node.name in outcomes)
                ):
                    role = "outcome" if node.name in outcomes else "column"
                    raise DataError(
                        f"The {role} {node.name!r} holds text ({source.types[node.name]}), and {label(variable)} needs "
                        "numbers. Cast or recode it in a view or SELECT."
                    )
            factor = as_factor(atom, text_columns)
            if factor is None:
                numbers[atom] = None
            else:
                categories[factor.column] = None
    return _Needs(keys, tuple(numbers), tuple(categories), text_columns)


def _complete(needs: _Needs) -> str:
    """The condition that a row has every value."""
    others = [category(c) for c in needs.categories] + [identifier(k) for k in needs.keys]
    return render("is_complete", numbers=[expression(n) for n in needs.numbers], others=others)


def _run(source: Source, sql: str) -> Any:
    try:
        return source.query(sql)
    except duckdb.Error as error:
        raise DataError(f"Cannot read {source.description}: {first_line(error)}") from error


def _survey(source: Source, needs: _Needs) -> _Survey:
    numbers = [{"alias": f"x{i}", "expression": expression(n)} for i, n in enumerate(needs.numbers)]
    categories = [{"alias": f"c{i}", "expression": category(c)} for i, c in enumerate(needs.categories)]
    sql = render(
        "survey",
        relation=source.relation,
        numbers=numbers,
        categories=categories,
        units=[identifier(key) for key in needs.keys],
        complete=_complete(needs),
    )
    result = _run(source, sql)
    names = [column[0] for column in result.description]
    row = dict(zip(names, result.fetchall()[0], strict=True))
    missing = {key: row[f"missing_unit_{i}"] for i, key in enumerate(needs.keys)}
    missing |= {label(n): row[f"missing_x{i}"] for i, n in enumerate(needs.numbers)}
    missing |= {c: row[f"missing_c{i}"] for i, c in enumerate(needs.categories)}
    varying: set[Variable] = {n for i, n in enumerate(needs.numbers) if row[f"varies_x{i}"]}
    varying |= {Factor(c) for i, c in enumerate(needs.categories) if row[f"varies_c{i}"]}
    return _Survey(
        n_rows=row["n_rows"],
        n_complete=row["n_complete"],
        missing=missing,
        centers={n: row[f"mean_x{i}"] for i, n in enumerate(needs.numbers)},
        ranges={n: (row[f"min_x{i}"], row[f"max_x{i}"]) for i, n in enumerate(needs.numbers)},
        levels={c: tuple(sorted(row[f"levels_c{i}"] or ())) for i, c in enumerate(needs.categories)},
        varying=frozenset(varying),
    )


def _check(source: Source, models: Sequence[Model], needs: _Needs, survey: _Survey) -> None:
    """Refuse data that no model can be fitted to."""
    if survey.n_rows == 0:
        raise DataError(f"There are no rows in {source.description}.")
    for number in needs.numbers:
        own = sum(survey.missing.get(column, 0) for column in columns_of(number))
        undefined = survey.missing[label(number)]
        if isinstance(number, Function) and undefined > own:
            raise DataError(
                f"{label(number)} is undefined in {undefined - own} of {survey.n_rows} rows (a logarithm or root out "
                "of its domain, or a division by zero). Filter these rows with where, or transform it otherwise."
            )
    if survey.n_complete == 0:
        gaps = ", ".join(f"{name} ({count})" for name, count in survey.missing.items() if count)
        raise DataError(
            f"No row is complete: each of the {survey.n_rows} rows misses a value. Missing values by column: {gaps}."
        )
    outcomes = {m.outcome for m in models}
    for number, (low, high) in survey.ranges.items():
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(
                f"{label(number)} holds infinite values. Filter these rows with where, or recode them as missing."
            )
        if low == high:
            role = "The outcome" if number in outcomes else "Column" if isinstance(number, Column) else "The predictor"
            remedy = "There is nothing to model" if number in outcomes else "Remove it from the formula"
            raise DataError(f"{role} {label(number)!r} has no variation: every row holds {low:g}. {remedy}.")


def _schema(models: Sequence[Model], needs: _Needs, survey: _Survey, varying: frozenset[Variable]) -> Schema:
    # the outcome is always a monomial, though it be constant within units of one row each
    outcome_atoms = frozenset(a for m in models for a in atoms(m.outcome))
    constant_numbers = frozenset(n for n in needs.numbers if n not in varying) - outcome_atoms
    constant_factors = tuple(Factor(c) for c in needs.categories if Factor(c) not in varying)
    constant_columns = {f.column for f in constant_factors}
    monomials: dict[Monomial, None] = {}
    for model in models:
        columns = [DesignColumn((model.outcome,))]
        for terms in (model.fixed, *(block.terms for block in model.random)):
            columns += expand(terms, survey.levels, needs.text_columns)
        indicators = {a for c in columns for v in c.variables for a in atoms(v) if isinstance(a, Indicator)}
        constant = constant_numbers | {a for a in indicators if a.column in constant_columns}
        monomials |= dict.fromkeys(row_monomials(tuple(columns), constant))
    if len(monomials) > MOST_MONOMIALS:
        largest = max(survey.levels, key=lambda c: len(survey.levels[c]), default=None)
        why = f"; {largest!r} alone has {len(survey.levels[largest])} levels" if largest else ""
        raise DataError(
            f"The models have {len(monomials)} different predictors at the level of rows{why}. At most "
            f"{MOST_MONOMIALS} are possible; take a column with many levels as a grouping factor: (1 | column)."
        )
    single = [m[0] for m in monomials if len(m) == 1]
    centers = {a: survey.centers.get(a, 0.0) for a in dict.fromkeys([*single, *(a for m in monomials for a in m)])}
    constants = (*(n for n in needs.numbers if n in constant_numbers), *constant_factors)
    return Schema(needs.keys, centers, tuple(monomials), constants, survey.levels, needs.text_columns, survey.ranges)


def _scan(source: Source, needs: _Needs, survey: _Survey, schema: Schema) -> dict[str, NDArray[Any]]:
    """The one GROUP BY."""
    alias = {atom: f"x{i}" for i, atom in enumerate(schema.centers)}
    sql = render(
        "moments",
        relation=source.relation,
        units=[identifier(key) for key in schema.keys],
        variables=[
            {"alias": alias[a], "expression": expression(a), "center": literal(c)} for a, c in schema.centers.items()
        ],
        monomials=[[alias[atom] for atom in factors] for factors in schema.monomials],
        constants=[
            {"alias": f"c{i}", "expression": category(c.column) if isinstance(c, Factor) else expression(c)}
            for i, c in enumerate(schema.constants)
        ],
        complete=_complete(needs),
    )
    columns: dict[str, NDArray[Any]] = _run(source, sql).fetchnumpy()
    return columns


def _refuted(schema: Schema, found: dict[str, NDArray[Any]]) -> frozenset[Variable]:
    return frozenset(c for i, c in enumerate(schema.constants) if (found[f"low_{i}"] != found[f"high_{i}"]).any())


def _moments(schema: Schema, survey: _Survey, found: dict[str, NDArray[Any]]) -> Moments:
    size, n = len(schema.monomials), np.asarray(found["n"], dtype=float)
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    mean = np.empty((size, len(n)))
    scatter = np.empty((len(pairs), len(n)))
    for i in range(size):
        mean[i] = found[f"mean_{i}"]
    for row, (i, j) in enumerate(pairs):
        scatter[row] = found[f"scatter_{i}_{j}"]
        if i == j:
            np.maximum(scatter[row], 0.0, out=scatter[row])
    return Moments(
        schema=schema,
        labels=tuple(np.asarray(found[f"u_{k}"]) for k in range(len(schema.keys))),
        n=n,
        mean=mean,
        scatter=scatter,
        constants=tuple(np.asarray(found[f"low_{i}"]) for i in range(len(schema.constants))),
        n_rows=survey.n_rows,
        n_dropped=dict(survey.missing),
    )
