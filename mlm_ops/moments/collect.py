"""Rows -> Moments: a survey of the rows, then one GROUP BY that serves every model of an analysis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, RowsChangedError
from mlm_ops.language.columns import DesignColumn, Levels, Monomial, atoms, expand, row_monomials
from mlm_ops.language.model import PLAIN, Column, Factor, GroupingFactor, Indicator, Model, Residual, Variable, label
from mlm_ops.moments.record import Codes, Moments, Schema
from mlm_ops.moments.residual import ResidualMoments, read_residual_moments
from mlm_ops.moments.sums import check_squares, unit_codes
from mlm_ops.moments.survey import (
    Needs,
    Survey,
    check_rows,
    check_whole_numbers,
    complete,
    find_needs,
    key_expression,
    run,
    take_survey,
)
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, expression, literal, render

#: A GROUP BY with more sums than this breaks DuckDB (its aggregates of a group must fit a block of 256 kB).
MOST_SUMS = 10_000
#: Ratio of between to within sums of squares from which the scatter is taken around each unit's own mean.
CANCELLATION = 1e6


def collect(source: Source, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = ()) -> Moments:
    """Moments that serve all the models, over the rows that are complete on all their columns.

    Parameters
    ----------
    source
        The rows.
    models
        Models of one analysis.
    levels
        Grouping columns, lowest first, of which each is taken to be nested in the next: where labels of a lower one
        repeat across the higher, they name different units.
    keys
        Further columns to group by.

    Returns
    -------
    Moments
        Units are the distinct combinations of all grouping columns.

    Raises
    ------
    DataError
        Missing columns, text where numbers are needed, no complete rows, a column without variation.
    """
    try:
        return _collect(source, models, levels, keys)
    except RowsChangedError:
        return _collect(source, models, levels, keys)


def _collect(source: Source, models: Sequence[Model], levels: Sequence[str], keys: Sequence[str]) -> Moments:
    """Survey and scan the rows as they are at one moment, where that can be had."""
    needs = find_needs(source, models, (*levels, *keys))
    with source.snapshot():
        survey = take_survey(source, needs)
        check_counts(source.description, survey)
        check_whole_numbers(source, needs, survey)
        check_rows(source, models, needs, survey)
        moments = _scan_until_right(source, models, needs, survey)
        moments = replace(moments, nested_in=nested_levels(moments, levels))
        structures = dict.fromkeys(m.residual for m in models if m.residual != PLAIN)
        return replace(moments, residuals={r: _residual(source, needs, moments, r) for r in structures})


def _scan_until_right(source: Source, models: Sequence[Model], needs: Needs, survey: Survey) -> Moments:
    """The moments, after as many scans as it takes to know what is constant within units."""
    varying = survey.varying
    while True:
        schema = make_schema(models, needs, survey, varying)
        found = _scan(source, needs, schema)
        check_unchanged(source.description, survey, found)
        wrong = refuted(schema, found)
        if not wrong:
            moments = read_moments(schema, survey, found)
            if cancels(moments):
                found = _scan(source, needs, schema, around_unit_means=True)
                check_unchanged(source.description, survey, found)
                moments = replace(read_moments(schema, survey, found), around_unit_means=True)
            if lost := lost_levels(moments):
                raise RowsChangedError(changed(source.description, lost))
            return moments
        # a column looked constant within units in the first rows, and is not: its sums are needed after all
        varying |= wrong


def check_counts(description: str, survey: Survey) -> None:
    """Compare the counts of the survey's own looks at the rows: what is not complete misses something.

    Raises
    ------
    RowsChangedError
        They cannot be of the same rows.
    """
    incomplete = survey.n_rows - survey.n_complete
    if incomplete < 0 or (incomplete > 0 and not any(survey.missing.values())):
        told = f"{survey.n_rows} rows were counted, {survey.n_complete} of them complete and none with a missing value"
        raise RowsChangedError(changed(description, told))


def check_unchanged(description: str, survey: Survey, found: Mapping[str, NDArray[Any]]) -> None:
    """Compare the rows of a scan with those of the survey before it; a row with a new level is in no scan.

    Raises
    ------
    RowsChangedError
        They are not as many.
    """
    if (summed := int(np.sum(found["n"]))) != survey.n_complete:
        raise RowsChangedError(changed(description, f"{survey.n_complete} rows were counted, {summed} summed up"))


def changed(description: str, what: str) -> str:
    """The sentence about rows that changed."""
    return (
        f"The rows of {description} changed while they were read: {what}. Fit them when nothing writes to them, or "
        "from a copy (create table … as from …)."
    )


def make_schema(models: Sequence[Model], needs: Needs, survey: Survey, varying: frozenset[Variable]) -> Schema:
    """Which moments serve the models, if these numbers and factors vary within the units."""
    # the outcome is always a monomial, though it be constant within units of one row each
    outcome_atoms = frozenset(a for m in models for a in atoms(m.outcome))
    constant_numbers = frozenset(n for n in needs.numbers if n not in varying) - outcome_atoms
    constant_factors = tuple(Factor(c) for c in needs.categories if Factor(c) not in varying)
    monomials: dict[Monomial, None] = {}
    for model in models:
        constant = constant_numbers | frozenset(constant_factors)
        monomials |= dict.fromkeys(needed_monomials(model, survey.levels, needs.text_columns, constant))
    k = len(monomials)
    if k * (k + 3) // 2 > MOST_SUMS:
        largest = max(survey.levels, key=lambda c: len(survey.levels[c]), default=None)
        why = f"; {largest!r} alone has {len(survey.levels[largest])} levels" if largest else ""
        raise DataError(
            f"The models have {k} different predictors at the level of rows{why}. At most "
            f"{int((2 * MOST_SUMS) ** 0.5) - 1} are possible; take a column with many levels as a grouping factor, "
            "(1 | column)."
        )
    single = [m[0] for m in monomials if len(m) == 1]
    centers = {a: survey.centers.get(a, 0.0) for a in dict.fromkeys([*single, *(a for m in monomials for a in m)])}
    constants = (*(n for n in needs.numbers if n in constant_numbers), *constant_factors)
    return Schema(needs.keys, centers, tuple(monomials), constants, survey.levels, needs.text_columns)


def needed_monomials(
    model: Model, levels: Levels, text_columns: frozenset[str], constants: frozenset[Variable]
) -> tuple[Monomial, ...]:
    """The monomials whose moments serve a model, if these numbers and factors are constant within the units."""
    columns = [DesignColumn((model.outcome,))]
    for terms in (model.fixed, *(block.terms for block in model.random)):
        columns += expand(terms, levels, text_columns)
    indicators = {a for c in columns for v in c.variables for a in atoms(v) if isinstance(a, Indicator)}
    return row_monomials(tuple(columns), constants | {a for a in indicators if Factor(a.column) in constants})


def _residual(source: Source, needs: Needs, moments: Moments, residual: Residual) -> ResidualMoments:
    """Moments for one residual structure: a GROUP BY of its own."""
    sql = render("residual_moments", **residual_arguments(source, needs, moments.schema, residual))
    found = run(source, sql).fetchnumpy()
    if (summed := int(np.sum(found["n"]))) != moments.n_obs:
        raise RowsChangedError(changed(source.description, f"{moments.n_obs} rows were summed up, then {summed}"))
    return residual_sums(moments, residual, found)


def residual_arguments(source: Source, needs: Needs, schema: Schema, residual: Residual) -> dict[str, Any]:
    """Arguments of the macro `residual_moments`."""
    return row_arguments(source, needs, schema) | {
        "precision": expression(residual.precision) if residual.precision else None,
        "stratum": category(residual.strata) if residual.strata else None,
        "time": expression(Column(residual.time)) if residual.time else None,
    }


def residual_sums(moments: Moments, residual: Residual, found: dict[str, NDArray[Any]]) -> ResidualMoments:
    """Make the record of what the macro `residual_moments` returned, columns by name."""
    labels = tuple(np.asarray(found[f"u_{k}"]) for k in range(len(moments.schema.keys)))
    units = unit_of(moments, labels) if labels else np.zeros(len(found["n"]), dtype=np.int64)
    return read_residual_moments(residual, found, units, len(moments.schema.monomials))


def unit_of(moments: Moments, labels: tuple[NDArray[Any], ...]) -> Codes:
    """The moments' unit of each row of a result with the same keys."""
    size = len(labels[0])
    keys = [np.concatenate(pair) for pair in zip(moments.labels, labels, strict=True)]
    codes = unit_codes(keys, moments.n_units + size)
    order = np.argsort(codes[: moments.n_units])
    return order[np.searchsorted(codes[: moments.n_units], codes[moments.n_units :], sorter=order)].astype(np.int64)


def row_arguments(source: Source, needs: Needs, schema: Schema) -> dict[str, Any]:
    """Arguments that the macros of moments share."""
    alias = {atom: f"x{i}" for i, atom in enumerate(schema.centers)}
    return {
        "relation": source.relation,
        "units": [key_expression(source, key) for key in schema.keys],
        "variables": [
            {"alias": alias[a], "expression": expression(a), "center": literal(c)} for a, c in schema.centers.items()
        ],
        "monomials": [[alias[atom] for atom in factors] for factors in schema.monomials],
        "complete": " and ".join([complete(needs), *_known_levels(needs, schema)]),
    }


def _known_levels(needs: Needs, schema: Schema) -> Iterator[str]:
    """Conditions that a row has levels that the survey has seen: indicators would count another as the reference."""
    for column in needs.all_categories:
        if known := schema.levels.get(column):
            yield f"{category(column)} in ({', '.join(map(literal, known))})"


def cancels(moments: Moments) -> bool:
    """Whether group means lie so far apart that scatter around the grand mean has lost the within part's digits."""
    for i, mean in enumerate(moments.mean):
        within = moments.scatter[i * (i + 3) // 2].sum()
        # a column without any variation within units leaves none; what rounding leaves may be negative
        if within != 0 and (moments.n * mean**2).sum() > CANCELLATION * within:
            return True
    return False


def nested_levels(moments: Moments, levels: Sequence[str]) -> dict[str, GroupingFactor]:
    """Lower levels whose labels repeat across the higher ones, and the columns that tell their units apart."""
    found: dict[str, GroupingFactor] = {}
    if moments.nested_in:  # by other levels
        moments = replace(moments, nested_in={})
    for i, level in enumerate(levels[:-1]):
        qualified = (*reversed(levels[i + 1 :]), level)
        if len(moments.units_of(qualified)[1]) > len(moments.units_of((level,))[1]):
            found[level] = qualified
    return found


def _scan(source: Source, needs: Needs, schema: Schema, *, around_unit_means: bool = False) -> dict[str, NDArray[Any]]:
    """The one GROUP BY."""
    sql = render(
        "moments",
        around_unit_means=around_unit_means,
        **row_arguments(source, needs, schema),
        constants=[
            {"alias": f"c{i}", "expression": category(c.column) if isinstance(c, Factor) else expression(c)}
            for i, c in enumerate(schema.constants)
        ],
    )
    columns: dict[str, NDArray[Any]] = run(source, sql).fetchnumpy()
    return columns


def refuted(schema: Schema, found: dict[str, NDArray[Any]]) -> frozenset[Variable]:
    """What was taken to be constant within units, and is not."""
    return frozenset(c for i, c in enumerate(schema.constants) if (found[f"low_{i}"] != found[f"high_{i}"]).any())


def read_moments(schema: Schema, survey: Survey, found: Mapping[str, NDArray[Any]]) -> Moments:
    """Make the record of what the macro `moments` returned, columns by name."""
    size, n = len(schema.monomials), np.asarray(found["n"], dtype=float)
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    mean = np.empty((size, len(n)))
    scatter = np.empty((len(pairs), len(n)))
    for i in range(size):
        mean[i] = found[f"mean_{i}"]
        check_squares(" * ".join(map(label, schema.monomials[i])), n, mean[i], found[f"scatter_{i}_{i}"])
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


def lost_levels(moments: Moments) -> str | None:
    """Which levels of a factor no row has any more; None if all are there."""
    for column, levels in moments.schema.levels.items():
        present = _present(moments, column, levels)
        if lost := [level for level in levels if level not in present]:
            return f"{column} has lost the level{'s' * (len(lost) > 1)} {', '.join(lost)}"
    return None


def _present(moments: Moments, column: str, levels: tuple[str, ...]) -> set[str]:
    """The levels that some row has; all, where the moments cannot tell, as of strata."""
    if Factor(column) in moments.schema.constants:
        values: NDArray[np.object_] = moments.constants[moments.schema.constants.index(Factor(column))]
        return set(map(str, values))
    counts = {
        factors[0].level: float(moments.n @ moments.mean[i])
        for i, factors in enumerate(moments.schema.monomials)
        if len(factors) == 1 and isinstance(factors[0], Indicator) and _is_plain(factors[0], column)
    }
    others = [level for level in levels if level not in counts]
    if len(others) > 1:
        return set(levels)
    counts |= {level: float(moments.n.sum()) - sum(counts.values()) for level in others}
    return {level for level, count in counts.items() if count > 0.5}


def _is_plain(indicator: Indicator, column: str) -> bool:
    return indicator.column == column and indicator.against is None
