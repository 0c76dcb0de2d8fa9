"""Moments that another warehouse has made: a table with the columns of the macro `group_moments` -> Moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language import options
from mlm_ops.language.model import Column, Factor, Model, Variable, columns_of, group_name
from mlm_ops.moments.layout import Layout, find_layout, layout_query
from mlm_ops.moments.moments import Array, Moments, Schema
from mlm_ops.moments.serving import serve
from mlm_ops.moments.source import Source, listed, open_source
from mlm_ops.moments.sums import unit_codes
from mlm_ops.moments.survey import in_order, run

if TYPE_CHECKING:
    import duckdb

#: Share of the squares of group means below which scatter has lost its digits: sums around a grand mean hold sixteen.
LOST = 1e-10


@options.checked(group=options.GROUP, connection=options.CONNECTION)
def read_moments(
    data: Any, group: str | Sequence[str], *, connection: duckdb.DuckDBPyConnection | None = None
) -> Moments:
    """Read moments that dbt has made in any warehouse, by its macro ``mlm.group_moments`` or ``merge_group_moments``.

    `fit` and `sem` take the result in the place of rows.

    Parameters
    ----------
    data
        The table, one row a group: whatever `fit` takes as data.
    group
        The column, or all the columns, that the macro grouped by. Each may also stand in a formula, as text or numbers
        that are the same in all rows of a group.
    connection
        The database of a table that is named.

    Raises
    ------
    DataError
        One sentence: columns of the macro that are not there, groups that stand in several rows, missing values.

    Examples
    --------
    >>> import polars as pl, mlm_ops as mlm
    >>> sums = {"n": [2, 2, 2], "mean_y": [1.5, 4.5, 8], "scatter_y_y": [0.5, 0.5, 2]}
    >>> table = pl.DataFrame({"g": ["a", "b", "c"], **sums})
    >>> round(mlm.fit("y ~ 1 + (1 | g)", mlm.read_moments(table, "g")).fixed_effects["estimate"][0], 6)
    4.666667
    """
    return _read(open_source(data, connection), (group,) if isinstance(group, str) else tuple(group))


def gather(source: Source, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = ()) -> Moments:
    """Moments that serve all the models, as `collect` makes them of rows, from a table of moments.

    Its rows are taken to be grouped by the models' grouping columns, and by what else the models name that is in the
    table under its own name.
    """
    named = (c for model in models for variable in model.variables for c in columns_of(variable))
    groups = [*(c for model in models for group in model.all_groups for c in group), *levels, *keys]
    group = dict.fromkeys([*groups, *(c for c in named if c in source.types and not _has_moments(source, c))])
    return serve(_read(source, tuple(group)), models, levels)


def _has_moments(source: Source, column: str) -> bool:
    """Whether a column is one that the macro makes, or one that it makes something of."""
    return column.lower() == "n" or f"mean_{column}" in source.types or f"value_{column}" in source.types


def _read(source: Source, group: tuple[str, ...]) -> Moments:
    layout = find_layout(source, group)
    found = run(source, layout_query(source, layout)).fetchnumpy()
    n = _numbers(source, found, ["n"])[0]
    if not len(n):
        raise DataError(f"There are no rows in {source.description}.")
    if (n <= 0).any():
        raise DataError(f"The sizes n in {source.description} are positive. Got {n.min():g} as the smallest.")
    labels = tuple(_whole(source, key, found[f"u_{k}"]) for k, key in enumerate(group))
    _require_one_row_a_group(source, group, labels, n)
    mean, centers = _around_centers(source, layout, found, n)
    pairs = [(i, j) for i in range(len(mean)) for j in range(i + 1)]
    scatter = _numbers(source, found, [f"scatter_{i}_{j}" for i, j in pairs])
    for row, (i, j) in zip(scatter, pairs, strict=True):
        if i == j:
            np.maximum(row, 0.0, out=row)
    _check_digits(layout, n, mean, scatter)
    constants, values, levels = _constants(source, layout, found)
    text = frozenset(name for name in levels if Column(name) not in constants)
    schema = Schema(group, centers, layout.monomials, constants, levels, text)
    return Moments(schema, labels, n, mean, scatter, values, n_rows=int(n.sum()), n_dropped={})


def _numbers(source: Source, found: dict[str, NDArray[Any]], names: list[str]) -> Array:
    """(names, J) columns of numbers, every one of them there."""
    made = np.empty((len(names), len(found["n"])))
    for row, name in zip(made, names, strict=True):
        row[:] = np.ma.filled(found[name].astype(float), np.nan)
        if not np.isfinite(row).all():
            bad = int(np.count_nonzero(~np.isfinite(row)))
            raise DataError(
                f"Moments are missing in {bad} of {len(row)} rows of {source.description}. Make them by "
                "mlm.group_moments(), which leaves out the rows that lack a value."
            )
    return made


def _whole(source: Source, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Labels, none of them null."""
    if (gaps := int(np.ma.getmaskarray(values).sum())) > 0:
        raise DataError(f"{name} is null in {gaps} of {len(values)} rows of {source.description}. Filter these out.")
    return np.asarray(values)


def _require_one_row_a_group(
    source: Source, group: tuple[str, ...], labels: tuple[NDArray[Any], ...], n: Array
) -> None:
    """Refuse rows that a further column tells apart, as no one knows whether their groups are disjoint."""
    if not group:
        return
    codes = unit_codes(list(labels), len(n))
    counts = np.bincount(codes)
    if counts.max() > 1:
        first = int(np.flatnonzero(counts[codes] > 1)[0])
        unit = ":".join(str(values[first]) for values in labels)
        raise DataError(
            f"{source.description[0].upper()}{source.description[1:]} has {counts[codes[first]]} rows of "
            f"{group_name(group)} {unit}; expected one row a group. Name all the columns that it is grouped by, or "
            "merge its parts with mlm.merge_group_moments()."
        )


def _around_centers(
    source: Source, layout: Layout, found: dict[str, NDArray[Any]], n: Array
) -> tuple[Array, dict[Variable, float]]:
    """(K, J) means around centers, and the centers: those that the sums were taken around, else the grand means."""
    mean = _numbers(source, found, [f"mean_{i}" for i in range(len(layout.variables))])
    centers: dict[Variable, float] = {}
    moved = []
    for i, factors in enumerate(layout.monomials):
        if len(factors) > 1:
            continue
        given = _numbers(source, found, [f"center_{i}" if layout.centered else f"mean_{i}"])[0]
        center = float(given[0] if (given == given[0]).all() else np.average(given, weights=n))
        if layout.centered and (given != center).any():
            moved.append(layout.variables[i])
        centers[factors[0]] = center
        mean[i] -= center
    products = [v for v, m in zip(layout.variables, layout.monomials, strict=True) if len(m) > 1]
    if moved and products:
        raise DataError(
            f"The rows of {source.description} are of parts with grand means of their own, as center_{moved[0]} tells, "
            f"and products around different ones do not go together. Got {listed(products)}; leave products out, or "
            "make the moments of all rows at once."
        )
    return mean, centers


def _check_digits(layout: Layout, n: Array, mean: Array, scatter: Array) -> None:
    """Refuse columns whose scatter has lost its digits beside the squares of the group means, or has none."""
    for i, factors in enumerate(layout.monomials):
        within = scatter[i * (i + 3) // 2].sum()
        if len(factors) == 1 and n.max() > 1 and within < LOST * float(n @ mean[i] ** 2):
            name = layout.variables[i]
            raise DataError(
                f"{name!r} varies within groups by less than a part in 100,000 of what their means do, which sums "
                "around a grand mean cannot tell from rounding. Give it to mlm.group_moments() in constants if it has "
                "one value in each group; else mlm.within() of it in columns and mlm.between() of it in constants."
            )


def _constants(
    source: Source, layout: Layout, found: dict[str, NDArray[Any]]
) -> tuple[tuple[Variable, ...], tuple[NDArray[Any], ...], dict[str, tuple[str, ...]]]:
    """Constants of the groups, their values, and the levels of those that are texts.

    Raises
    ------
    DataError
        A constant that has several values in a group.
    """
    names = {str(i): (name, f"value_{name}") for i, name in enumerate(layout.constants)}
    names |= {f"u_{i}": (key, key) for i, key in enumerate(layout.keys)}
    variables: dict[Variable, NDArray[Any]] = {}
    levels: dict[str, tuple[str, ...]] = {}
    for alias, (name, column) in names.items():
        if (texts := found.get(f"text_{alias}")) is None:
            continue
        if (gaps := int(np.ma.getmaskarray(texts).sum())) > 0:
            raise DataError(
                f"{name!r} has several values, or none, in {gaps} of {len(texts)} groups of {source.description}, and "
                "a constant has one. Give it to mlm.group_moments() in columns if it is a number, or else in group."
            )
        variables[Factor(name)] = np.asarray(texts)
        levels[name] = in_order(source, column, sorted(set(texts.tolist())))
        if source.is_numeric(column):
            variables[Column(name)] = np.asarray(found[f"number_{alias}"])
    return tuple(variables), tuple(variables.values()), levels
