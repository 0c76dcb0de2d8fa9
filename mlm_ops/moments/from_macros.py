"""Read moments that another warehouse has made with the macro `group_moments`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language import options
from mlm_ops.language.columns import Monomial, monomial
from mlm_ops.language.model import Column, Factor, Model, Variable, group_name
from mlm_ops.language.spelling import listed
from mlm_ops.moments.coverage import serve
from mlm_ops.moments.needs import asked_by, check_models
from mlm_ops.moments.record import Array, Moments, Schema
from mlm_ops.moments.sums import packed_place, unit_codes
from mlm_ops.moments.survey import in_order, key_expression, run
from mlm_ops.warehouse.boundary import checked
from mlm_ops.warehouse.source import Source, open_source
from mlm_ops.warehouse.sql import category, identifier

if TYPE_CHECKING:
    import duckdb

_PRODUCT = "_by_"
#: Share of the squares of group means below which scatter has lost its digits: sums around a grand mean hold sixteen.
LOST = 1e-10


@dataclass(frozen=True)
class Layout:
    """Which columns a table of moments has.

    Attributes
    ----------
    keys
        The grouping columns.
    variables, monomials
        What there are means and scatters of, by name: columns, and products of columns.
    centered
        Whether the table tells what its sums were taken around; merged moments do not.
    constants
        What has one value a group.
    scatters
        The column with the cross-product of each variable and each up to it, by the pair.
    """

    keys: tuple[str, ...]
    variables: tuple[str, ...]
    monomials: tuple[Monomial, ...]
    centered: bool
    constants: tuple[str, ...]
    scatters: Mapping[tuple[str, str], str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Variables that are columns, not products."""
        return tuple(v for v, m in zip(self.variables, self.monomials, strict=True) if len(m) == 1)


def find_layout(source: Source, group: tuple[str, ...]) -> Layout:
    """Take the names of the columns apart.

    Raises
    ------
    DataError
        The table has not the columns of the macro.
    """
    source.require(group)
    if clash := next((name for name in group if name.lower() == "n"), None):
        raise DataError(
            f"The groups of {source.table} are told by a column {clash!r}, which is what the sizes of groups are "
            "called. Rename it where mlm.group_moments() reads it."
        )
    variables = tuple(c.removeprefix("mean_") for c in source.types if c.startswith("mean_") and c not in group)
    size = next((c for c in source.types if c.lower() == "n"), None)
    if not variables or size is None:
        raise DataError(
            f"There are no moments in {source.table}. Got the columns {listed(source.types)}; expected n, mean_x and "
            "scatter_x_x of each column x, as mlm.group_moments() makes them."
        )
    # merged moments have no centers, and no products either
    columns = tuple(v for v in variables if f"center_{v}" in source.types) or variables
    monomials = tuple(_factors(source, v, columns) for v in variables)
    scatters = _find_scatters(source, variables)
    constants = tuple(c.removeprefix("value_") for c in source.types if c.startswith("value_") and c not in group)
    for name in constants:
        if not (source.is_numeric(f"value_{name}") or source.is_text(f"value_{name}")):
            raise DataError(
                f"The constant {name!r} is neither a number nor a text. Got {source.types[f'value_{name}']}; cast it "
                "where mlm.group_moments() reads it."
            )
    return Layout(group, variables, monomials, f"center_{columns[0]}" in source.types, constants, scatters)


def _factors(source: Source, variable: str, columns: tuple[str, ...]) -> Monomial:
    """A column, or the columns whose product a variable is.

    Raises
    ------
    DataError
        It is no product of columns, or of different ones.
    """
    if variable in columns:
        return (Column(variable),)
    found = [split for split in _splits(variable, frozenset(columns)) if len(split) > 1]
    if len(found) != 1:
        what = "is no product" if not found else "may be several products"
        raise DataError(
            f"mean_{variable} in {source.table} has no center_{variable} and {what} of columns that have theirs: "
            f"{listed(columns)}. Bring the whole table over, and call no column by a name with {_PRODUCT!r}."
        )
    return monomial(tuple(Column(name) for name in found[0]))


def _splits(text: str, columns: frozenset[str]) -> list[tuple[str, ...]]:
    """Every way in which a text is names of columns joined by ``_by_``."""
    found: list[tuple[str, ...]] = [(text,)] if text in columns else []
    for name in columns:
        if text.startswith(name + _PRODUCT):
            found += [(name, *rest) for rest in _splits(text[len(name + _PRODUCT) :], columns)]
    return found


def _find_scatters(source: Source, variables: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """The column with the cross-product of each pair of variables, by the pair.

    The name of a pair may be that of another too: scatter_a_b_c is of a_b and c, or of a and b_c. Where one of the two
    has no other column it is that one's.

    Raises
    ------
    DataError
        Columns are not there, or their names do not tell whose they are.
    """
    pairs = [(a, b) for i, a in enumerate(variables) for b in variables[: i + 1]]
    both = {pair: dict.fromkeys((f"scatter_{pair[0]}_{pair[1]}", f"scatter_{pair[1]}_{pair[0]}")) for pair in pairs}
    waiting = {pair: [name for name in names if name in source.types] for pair, names in both.items()}
    if lacking := [f"scatter_{a}_{b}" for (a, b), names in waiting.items() if not names]:
        raise DataError(
            f"{source.table[0].upper()}{source.table[1:]} lacks {listed(lacking)}, which mlm.group_moments() makes of "
            f"the columns {listed(variables)}. Bring the whole table over."
        )
    owners: dict[str, tuple[str, str]] = {}
    while waiting:
        pair = next((pair for pair, names in waiting.items() if len(names) == 1), next(iter(waiting)))
        names = [name for name in waiting.pop(pair) if name not in owners]
        name = names[0] if names else next(name for name in both[pair] if name in owners)
        rival = owners.get(name) or next((p for p, own in waiting.items() if len(names) > 1 and name in own), None)
        if rival is not None:
            raise DataError(
                f"{name} in {source.table} may be of {rival[0]!r} and {rival[1]!r}, or of {pair[0]!r} and {pair[1]!r}. "
                "Rename one of these columns where mlm.group_moments() reads it."
            )
        owners[name] = pair
        waiting = {other: [own for own in left if own != name] or [name] for other, left in waiting.items()}
    return {pair: name for name, pair in owners.items()}


def layout_query(source: Source, layout: Layout) -> str:
    """The table's columns by number, groups in order."""
    size = next(c for c in source.types if c.lower() == "n")
    numbers = {"n": size}
    for i, first in enumerate(layout.variables):
        numbers[f"mean_{i}"] = f"mean_{first}"
        if layout.centered and first in layout.columns:
            numbers[f"center_{i}"] = f"center_{first}"
        for j, second in enumerate(layout.variables[: i + 1]):
            numbers[f"scatter_{i}_{j}"] = layout.scatters[first, second]
    numbers |= {f"number_{i}": f"value_{c}" for i, c in enumerate(layout.constants) if source.is_numeric(f"value_{c}")}
    numbers |= {f"number_u_{i}": key for i, key in enumerate(layout.keys) if source.is_numeric(key)}
    # numbers as texts too, for C()
    texts = {f"text_{i}": f"value_{c}" for i, c in enumerate(layout.constants)}
    texts |= {f"text_u_{i}": key for i, key in enumerate(layout.keys) if source.is_text(key) or source.is_numeric(key)}
    selected = [f"{key_expression(source, key)} as u_{i}" for i, key in enumerate(layout.keys)]
    selected += [f"cast({identifier(column)} as double) as {alias}" for alias, column in numbers.items()]
    selected += [f"{category(column)} as {alias}" for alias, column in texts.items()]
    order = f" order by {', '.join(f'u_{i}' for i in range(len(layout.keys)))}" if layout.keys else ""
    return f"select {', '.join(selected)} from {source.relation}{order}"


@checked(group=options.GROUP, connection=options.CONNECTION)
def read_moments(
    data: Any, group: str | Sequence[str], *, connection: duckdb.DuckDBPyConnection | None = None
) -> Moments:
    """Read moments that dbt has made in any warehouse, by its macro ``mlm.group_moments`` or ``merge_group_moments``.

    `fit` and `sem` take the result in the place of rows.

    Parameters
    ----------
    data
        The table, one row per group: whatever `fit` takes as data.
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
    source = open_source(data, connection)
    return _read(source, find_layout(source, (group,) if isinstance(group, str) else tuple(group)))


def gather(source: Source, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = ()) -> Moments:
    """Moments that serve all the models, as `collect` makes them of rows, from a table of moments.

    Its rows are taken to be grouped by the models' grouping columns, and by what else the models name that is in the
    table under its own name.
    """

    def layout(some: Sequence[Model]) -> Layout:
        needs = asked_by(some, levels, keys)
        own = (c for c in needs.columns if c in source.types and not _has_moments(source, c))
        return find_layout(source, tuple(dict.fromkeys((*needs.keys, *own))))

    return serve(_read(source, check_models(models, layout)), models, levels)


def _has_moments(source: Source, column: str) -> bool:
    """Whether a column is one that the macro makes, or one that it makes something of."""
    return column.lower() == "n" or f"mean_{column}" in source.types or f"value_{column}" in source.types


def _read(source: Source, layout: Layout) -> Moments:
    group = layout.keys
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
            f"{group_name(group)} {unit}; expected one row per group. Name all the columns that it is grouped by, or "
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
        within = scatter[packed_place(i, i)].sum()
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
