"""Write the GROUP BY that computes moments, of all rows or by part, and read its columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, RowsChangedError
from mlm_ops.language.model import Column, Factor, Residual, Variable, label
from mlm_ops.moments.arrays import Codes
from mlm_ops.moments.needs import Needs
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.residual import ResidualMoments, read_residual_moments
from mlm_ops.moments.sums import check_squares, packed_size, unit_codes
from mlm_ops.moments.survey import Survey, check_rows, check_whole_numbers, rows_changed_sentence, take_survey, units
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category, expression, literal, render

#: A GROUP BY with more sums than this breaks DuckDB (its aggregates of a group must fit a block of 256 kB).
MOST_SUMS = 10_000

_Result = TypeVar("_Result")

Columns = Mapping[str, NDArray[Any]]
"""The columns of a macro's result, by name."""


def make_schema(needs: Needs, survey: Survey, varying: frozenset[Variable]) -> Schema:
    """Return the schema of the moments that serve the models, if these numbers and factors vary within the units."""
    # the outcome is always a monomial, even where it is constant within units, as in units of one row
    numbers = tuple(n for n in needs.numbers if n not in varying and n not in needs.outcomes)
    constants = (*numbers, *(Factor(c) for c in needs.categories if Factor(c) not in varying))
    monomials = needs.monomials(survey.levels, constants)
    k = len(monomials)
    if k + packed_size(k) > MOST_SUMS:
        largest = max(survey.levels, key=lambda c: len(survey.levels[c]), default=None)
        why, remedy = "", "leave some out"
        if largest:
            why = f"; {largest!r} alone has {len(survey.levels[largest])} levels"
            outcome = next((label(m.outcome) for m in needs.models if largest in needs.of([m]).categories), "y")
            name = label(Column(largest))
            remedy = (
                f"take {name} as a grouping factor, (1 | {name}), or model within({outcome}, {name}), which has the "
                f"same slopes as C({name})"
            )
        raise DataError(
            f"The models have {k} different predictors at the level of rows{why}. At most "
            f"{int((2 * MOST_SUMS) ** 0.5) - 1} are possible; {remedy}."
        )
    single = [m[0] for m in monomials if len(m) == 1]
    centers = {a: survey.centers.get(a, 0.0) for a in dict.fromkeys([*single, *(a for m in monomials for a in m)])}
    return Schema(needs.keys, centers, monomials, constants, survey.levels, needs.text_columns)


def moments_query(
    source: Source,
    needs: Needs,
    schema: Schema,
    part: str | None = None,
    centers: Mapping[Variable, str] | None = None,
    *,
    around_unit_means: bool = False,
) -> str:
    """Return the GROUP BY that computes the moments.

    Parameters
    ----------
    part
        SQL to group by before the keys.
    centers
        SQL of centers other than those of the schema.
    around_unit_means
        Whether to subtract each unit's own means before multiplying.
    """
    return render(
        "moments",
        **_of_rows(source, needs, schema, part),
        **sums_arguments(schema, centers),
        constants=constants_arguments(schema.constants),
        around_unit_means=around_unit_means,
    )


def residual_query(source: Source, needs: Needs, schema: Schema, residual: Residual, part: str | None = None) -> str:
    """Return the GROUP BY that computes the sums for one residual structure."""
    sums = sums_arguments(schema) | residual_arguments(residual, category(residual.strata) if residual.strata else None)
    return render("residual_moments", **_of_rows(source, needs, schema, part), **sums)


def by_part(sql: str, keys: int) -> str:
    """Rename the first key of a GROUP BY to ``part``, and number its other keys from 0."""
    new_names = ", ".join(["u_0 as part", *(f"u_{k + 1} as u_{k}" for k in range(keys))])
    old_names = ", ".join(f"u_{k}" for k in range(keys + 1))
    return f"select {new_names}, * exclude ({old_names}) from ({sql})"


def _of_rows(source: Source, needs: Needs, schema: Schema, part: str | None) -> dict[str, Any]:
    """Return the arguments of the macros that say which rows to read, and what to group by."""
    # the indicators of a level that the survey has not seen would all be 0, as those of the reference
    levels_by_column = ((c, schema.levels.get(c)) for c in needs.all_categories)
    levels = (f"{category(c)} in ({', '.join(map(literal, texts))})" for c, texts in levels_by_column if texts)
    return {
        "relation": source.relation,
        "units": [*([] if part is None else [part]), *units(source, needs)],
        "complete": " and ".join([needs.complete, *levels]),
    }


def sums_arguments(schema: Schema, centers: Mapping[Variable, str] | None = None) -> dict[str, Any]:
    """Return the arguments of `moments` and `residual_moments` that say what to sum up, around which centers."""
    alias = {atom: f"x{i}" for i, atom in enumerate(schema.centers)}
    center = {atom: literal(value) for atom, value in schema.centers.items()} | dict(centers or {})
    return {
        "variables": [{"alias": x, "expression": expression(a), "center": center[a]} for a, x in alias.items()],
        "monomials": [[alias[atom] for atom in factors] for factors in schema.monomials],
    }


def constants_arguments(constants: Sequence[Variable]) -> list[dict[str, str]]:
    """Return the argument `constants` of `moments`, which takes their smallest and largest value in each unit."""
    return [
        {"alias": f"c{i}", "expression": category(c.column) if isinstance(c, Factor) else expression(c)}
        for i, c in enumerate(constants)
    ]


def residual_arguments(residual: Residual, stratum: str | None) -> dict[str, str | None]:
    """Return the arguments of `residual_moments` for a structure; all are SQL, `stratum` too."""
    return {
        "precision": expression(residual.precision) if residual.precision else None,
        "stratum": stratum,
        "time": expression(Column(residual.time)) if residual.time else None,
    }


def retry_once(work: Callable[[], _Result]) -> _Result:
    """Call a function that reads the rows, and once more if they changed meanwhile."""
    try:
        return work()
    except RowsChangedError:
        return work()


def checked_survey(source: Source, needs: Needs) -> Survey:
    """Survey the rows, and refuse those that cannot serve the models.

    Raises
    ------
    DataError
        As `check_rows`.
    RowsChangedError
        The rows changed between two queries.
    """
    survey = take_survey(source, needs)
    check_counts(source.description, survey)
    check_whole_numbers(source, needs, survey)
    check_rows(source, needs, survey)
    return survey


def scan_until_right(needs: Needs, survey: Survey, scan: Callable[[Schema], Columns]) -> tuple[Schema, Columns]:
    """Scan the rows until the schema's constants are constant within units.

    The survey sees the first rows only: a column may vary within units in later ones. The scan tells which, and is then
    repeated with their sums.

    Parameters
    ----------
    scan
        Returns the columns of the macro `moments` for a schema.
    """
    varying = survey.varying
    while True:
        schema = make_schema(needs, survey, varying)
        columns = scan(schema)
        wrong = varying_constants(schema.constants, columns)
        if not wrong:
            return schema, columns
        varying |= wrong


def varying_constants(constants: Sequence[Variable], columns: Columns) -> frozenset[Variable]:
    """Return the constants of a schema that vary within units after all."""
    return frozenset(c for i, c in enumerate(constants) if (columns[f"low_{i}"] != columns[f"high_{i}"]).any())


def check_unchanged(description: str, survey: Survey, columns: Columns) -> None:
    """Compare the number of rows of a scan with that of the survey before it; a scan leaves out rows of new levels.

    Raises
    ------
    RowsChangedError
        The numbers differ.
    """
    if (n_obs := int(np.sum(columns["n"]))) != survey.n_complete:
        raise RowsChangedError(
            rows_changed_sentence(description, f"{survey.n_complete} rows were counted, {n_obs} summed up")
        )


def check_counts(description: str, survey: Survey) -> None:
    """Compare the counts of the survey's own queries: an incomplete row misses a value.

    Raises
    ------
    RowsChangedError
        They cannot be of the same rows.
    """
    incomplete = survey.n_rows - survey.n_complete
    if incomplete < 0 or (incomplete > 0 and not any(survey.missing.values())):
        counts = (
            f"{survey.n_rows} rows were counted, {survey.n_complete} of them complete and none with a missing value"
        )
        raise RowsChangedError(rows_changed_sentence(description, counts))


def as_moments(schema: Schema, survey: Survey, columns: Columns) -> Moments:
    """Make the record from the result of the macro `moments`."""
    size, n = len(schema.monomials), np.asarray(columns["n"], dtype=float)
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    mean = np.empty((size, len(n)))
    scatter = np.empty((len(pairs), len(n)))
    for i in range(size):
        mean[i] = columns[f"mean_{i}"]
        check_squares(" * ".join(map(label, schema.monomials[i])), n, mean[i], columns[f"scatter_{i}_{i}"])
    for row, (i, j) in enumerate(pairs):
        scatter[row] = columns[f"scatter_{i}_{j}"]
        if i == j:
            np.maximum(scatter[row], 0.0, out=scatter[row])
    return Moments(
        schema=schema,
        labels=tuple(np.asarray(columns[f"u_{k}"]) for k in range(len(schema.keys))),
        n=n,
        mean=mean,
        scatter=scatter,
        constants=tuple(np.asarray(columns[f"low_{i}"]) for i in range(len(schema.constants))),
        n_rows=survey.n_rows,
        n_dropped=dict(survey.missing),
    )


def as_residual(moments: Moments, residual: Residual, columns: dict[str, NDArray[Any]]) -> ResidualMoments:
    """Make the record from the result of the macro `residual_moments`, for these moments' units."""
    labels = tuple(np.asarray(columns[f"u_{k}"]) for k in range(len(moments.schema.keys)))
    rows = _unit_of(moments, labels) if labels else np.zeros(len(columns["n"]), dtype=np.int64)
    return read_residual_moments(residual, columns, rows, len(moments.schema.monomials))


def _unit_of(moments: Moments, labels: tuple[NDArray[Any], ...]) -> Codes:
    """Return the moments' unit of each row of a result with the same keys."""
    size = len(labels[0])
    keys = [np.concatenate(pair) for pair in zip(moments.labels, labels, strict=True)]
    codes = unit_codes(keys, moments.n_units + size)
    order = np.argsort(codes[: moments.n_units])
    return order[np.searchsorted(codes[: moments.n_units], codes[moments.n_units :], sorter=order)].astype(np.int64)
