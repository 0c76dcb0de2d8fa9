"""Read tables of moments that dbt has made in any warehouse, by the macro `group_moments`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language import options
from mlm_ops.language.columns import Monomial, monomial
from mlm_ops.language.model import Column, Factor, Model, Variable, group_name
from mlm_ops.language.spelling import list_names
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.coverage import moments_for
from mlm_ops.moments.needs import check_models, needs_of
from mlm_ops.moments.record import Moments, Schema
from mlm_ops.moments.sums import packed_place, unit_codes
from mlm_ops.moments.survey import in_order, key_expression, run
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.source import Source, open_source
from mlm_ops.warehouse.sql import category, identifier

if TYPE_CHECKING:
    import duckdb

_PRODUCT = "_by_"
_PREFIXES = ("CENTER_", "MEAN_", "SCATTER_", "VALUE_")
_IN_CAPITALS = re.compile(r"[A-Z_][A-Z0-9_]*")
#: A scatter below this share of the squares of the group means has no digits: sums around a grand mean have sixteen.
_LEAST_SHARE = 1e-10


@dataclass(frozen=True)
class Layout:
    """The columns of a table of moments.

    Attributes
    ----------
    keys
        The grouping columns.
    variables, monomials
        Names and factors of what the table has means and scatters of: columns, and products of columns.
    centered
        Whether the table has columns of centers; merged moments have none.
    constants
        Names of the columns with one value a group.
    scatters
        The scatter column of each pair of variables.
    """

    keys: tuple[str, ...]
    variables: tuple[str, ...]
    monomials: tuple[Monomial, ...]
    has_centers: bool
    constants: tuple[str, ...]
    scatters: Mapping[tuple[str, str], str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Variables that are columns, not products."""
        return tuple(v for v, m in zip(self.variables, self.monomials, strict=True) if len(m) == 1)


def named_as_macros_name(source: Source, names: Collection[str]) -> Source:
    """Return a source whose columns are called as the macros wrote them, if the warehouse stored names in capitals.

    Snowflake makes `MEAN_SES` of `mean_ses`. DuckDB finds a column in any letter case, so only the list of columns
    changes. `names` are those of a user, who may write them in small letters or as the warehouse has them.
    """
    if "n" in source.types or "N" not in source.types:
        return source
    as_stored = any(
        name != name.lower() and {name, f"MEAN_{name}", f"VALUE_{name}"} & source.types.keys() for name in names
    )

    def name(stored: str) -> str:
        if not _IN_CAPITALS.fullmatch(stored):
            return stored
        if not as_stored or stored == "N":
            return stored.lower()
        prefix = next((p for p in _PREFIXES if stored.startswith(p)), "")
        return stored if stored in names else prefix.lower() + stored.removeprefix(prefix)

    return replace(source, types={name(stored): kind for stored, kind in source.types.items()})


def find_layout(source: Source, group: tuple[str, ...]) -> Layout:
    """Find out from the columns' names which moments a table has.

    Raises
    ------
    DataError
        The table does not have the columns of the macro.
    """
    source.require(group)
    if clash := next((name for name in group if name.lower() == "n"), None):
        raise DataError(
            f"The grouping column {clash!r} of {source.table} has the name of the column with the groups' sizes. "
            "Rename it where mlm.group_moments() reads it."
        )
    variables = tuple(c.removeprefix("mean_") for c in source.types if c.startswith("mean_") and c not in group)
    size = next((c for c in source.types if c.lower() == "n"), None)
    if not variables or size is None:
        raise DataError(
            f"There are no moments in {source.table}. Got the columns {list_names(source.types)}; expected n, mean_x "
            "and scatter_x_x of each column x, as mlm.group_moments() makes them."
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
    """Return the columns whose product a variable is, or the one column that it is.

    Raises
    ------
    DataError
        It is no product of columns, or may be several.
    """
    if variable in columns:
        return (Column(variable),)
    splits = [split for split in _splits(variable, frozenset(columns)) if len(split) > 1]
    if len(splits) != 1:
        what = "is no product" if not splits else "may be several products"
        raise DataError(
            f"mean_{variable} in {source.table} has no center_{variable} and {what} of columns that have theirs: "
            f"{list_names(columns)}. Bring the whole table over, and call no column by a name with {_PRODUCT!r}."
        )
    return monomial(tuple(Column(name) for name in splits[0]))


def _splits(text: str, columns: frozenset[str]) -> list[tuple[str, ...]]:
    """Return every way to read a text as names of columns joined by ``_by_``."""
    splits: list[tuple[str, ...]] = [(text,)] if text in columns else []
    for beginning, name in ((name + joint, name) for name in columns for joint in (_PRODUCT, _PRODUCT.upper())):
        if text.startswith(beginning):
            splits += [(name, *rest) for rest in _splits(text[len(beginning) :], columns)]
    return splits


def _find_scatters(source: Source, variables: tuple[str, ...]) -> dict[tuple[str, str], str]:
    """Return the scatter column of each pair of variables.

    Two pairs may have one name: scatter_a_b_c is of a_b and c, or of a and b_c. If only one of the two pairs has
    another column, this one belongs to the other pair.

    Raises
    ------
    DataError
        A column is missing, or may belong to two pairs.
    """
    pairs = [(a, b) for i, a in enumerate(variables) for b in variables[: i + 1]]
    both = {pair: dict.fromkeys((f"scatter_{pair[0]}_{pair[1]}", f"scatter_{pair[1]}_{pair[0]}")) for pair in pairs}
    waiting = {pair: [name for name in names if name in source.types] for pair, names in both.items()}
    if lacking := [f"scatter_{a}_{b}" for (a, b), names in waiting.items() if not names]:
        raise DataError(
            f"{source.table[0].upper()}{source.table[1:]} lacks {list_names(lacking)}, which mlm.group_moments() "
            f"makes of the columns {list_names(variables)}. Bring the whole table over."
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
        waiting = {other: [own for own in names if own != name] or [name] for other, names in waiting.items()}
    return {pair: name for name, pair in owners.items()}


def layout_query(source: Source, layout: Layout) -> str:
    """Return the SELECT of the table's columns under numbered names, with the groups in order."""
    size = next(c for c in source.types if c.lower() == "n")
    numbers = {"n": size}
    for i, first in enumerate(layout.variables):
        numbers[f"mean_{i}"] = f"mean_{first}"
        if layout.has_centers and first in layout.columns:
            numbers[f"center_{i}"] = f"center_{first}"
        for j, second in enumerate(layout.variables[: i + 1]):
            numbers[f"scatter_{i}_{j}"] = layout.scatters[first, second]
    numbers |= {f"number_{i}": f"value_{c}" for i, c in enumerate(layout.constants) if source.is_numeric(f"value_{c}")}
    numbers |= {f"number_u_{i}": key for i, key in enumerate(layout.keys) if source.is_numeric(key)}
    # numbers as text too, for C()
    texts = {f"text_{i}": f"value_{c}" for i, c in enumerate(layout.constants)}
    texts |= {f"text_u_{i}": key for i, key in enumerate(layout.keys) if source.is_text(key) or source.is_numeric(key)}
    expressions = [f"{key_expression(source, key)} as u_{i}" for i, key in enumerate(layout.keys)]
    expressions += [f"cast({identifier(column)} as double) as {alias}" for alias, column in numbers.items()]
    expressions += [f"{category(column)} as {alias}" for alias, column in texts.items()]
    order = f" order by {', '.join(f'u_{i}' for i in range(len(layout.keys)))}" if layout.keys else ""
    return f"select {', '.join(expressions)} from {source.relation}{order}"


@checked(group=options.GROUP, connection=options.CONNECTION)
def read_moments(
    data: Any, group: str | Sequence[str], *, connection: duckdb.DuckDBPyConnection | None = None
) -> Moments:
    """Read moments that dbt has made in any warehouse, by the macro ``mlm.group_moments`` or ``merge_group_moments``.

    `fit` and `sem` take the result in place of rows.

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
        Columns of the macro are missing, a group stands in several rows, or values are missing.

    Examples
    --------
    >>> import polars as pl, mlm_ops as mlm
    >>> sums = {"n": [2, 2, 2], "mean_y": [1.5, 4.5, 8], "scatter_y_y": [0.5, 0.5, 2]}
    >>> table = pl.DataFrame({"g": ["a", "b", "c"], **sums})
    >>> round(mlm.fit("y ~ 1 + (1 | g)", mlm.read_moments(table, "g")).fixed_effects["estimate"][0], 6)
    4.666667
    """
    group = (group,) if isinstance(group, str) else tuple(group)
    source = named_as_macros_name(open_source(data, connection), group)
    return _read(source, find_layout(source, group))


def gather(source: Source, models: Sequence[Model], levels: Sequence[str] = (), keys: Sequence[str] = ()) -> Moments:
    """Read the moments that serve all the models from a table of moments, as `collect` makes them from rows.

    The table is grouped by the models' grouping columns, and by those other columns of the models that it has under
    their own names.
    """
    all_needs = needs_of(models, levels, keys)
    source = named_as_macros_name(source, (*all_needs.keys, *all_needs.columns))

    def layout(some: Sequence[Model]) -> Layout:
        needs = needs_of(some, levels, keys)
        own = (c for c in needs.columns if c in source.types and not _has_moments(source, c))
        return find_layout(source, tuple(dict.fromkeys((*needs.keys, *own))))

    return moments_for(_read(source, check_models(models, layout)), models, levels)


def _has_moments(source: Source, column: str) -> bool:
    """Tell whether the macro makes a column of this name, or makes moments or values of it."""
    return column.lower() == "n" or f"mean_{column}" in source.types or f"value_{column}" in source.types


def _read(source: Source, layout: Layout) -> Moments:
    group = layout.keys
    columns = run(source, layout_query(source, layout), "Moments that were made elsewhere").fetchnumpy()
    n = _numbers(source, columns, ["n"])[0]
    if not len(n):
        raise DataError(f"There are no rows in {source.description}.")
    if (n <= 0).any():
        raise DataError(f"The sizes n in {source.description} are positive. Got {n.min():g} as the smallest.")
    labels = tuple(_complete_labels(source, key, columns[f"u_{k}"]) for k, key in enumerate(group))
    _require_one_row_a_group(source, group, labels, n)
    mean, centers = _around_centers(source, layout, columns, n)
    pairs = [(i, j) for i in range(len(mean)) for j in range(i + 1)]
    scatter = _numbers(source, columns, [f"scatter_{i}_{j}" for i, j in pairs])
    for row, (i, j) in zip(scatter, pairs, strict=True):
        if i == j:
            np.maximum(row, 0.0, out=row)
    _check_digits(layout, n, mean, scatter)
    constants, values, levels = _constants(source, layout, columns)
    text = frozenset(name for name in levels if Column(name) not in constants)
    schema = Schema(group, centers, layout.monomials, constants, levels, text)
    return Moments(schema, labels, n, mean, scatter, values, n_rows=int(n.sum()), n_dropped={})


def _numbers(source: Source, columns: dict[str, NDArray[Any]], names: list[str]) -> Array:
    """Return columns of numbers, (names, J); a missing one is an error."""
    numbers = np.empty((len(names), len(columns["n"])))
    for row, name in zip(numbers, names, strict=True):
        row[:] = np.ma.filled(columns[name].astype(float), np.nan)
        if not np.isfinite(row).all():
            bad = int(np.count_nonzero(~np.isfinite(row)))
            raise DataError(
                f"Moments are missing in {bad} of {len(row)} rows of {source.description}. Make them by "
                "mlm.group_moments(), which leaves out the rows that lack a value."
            )
    return numbers


def _complete_labels(source: Source, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return the labels of a key; null is an error."""
    if (gaps := int(np.ma.getmaskarray(values).sum())) > 0:
        raise DataError(f"{name} is null in {gaps} of {len(values)} rows of {source.description}. Filter these out.")
    return np.asarray(values)


def _require_one_row_a_group(
    source: Source, group: tuple[str, ...], labels: tuple[NDArray[Any], ...], n: Array
) -> None:
    """Refuse several rows of one group, whose rows may overlap."""
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
    source: Source, layout: Layout, columns: dict[str, NDArray[Any]], n: Array
) -> tuple[Array, dict[Variable, float]]:
    """Return the means minus the centers, (K, J), and the centers: those of the table's sums, else the grand means."""
    mean = _numbers(source, columns, [f"mean_{i}" for i in range(len(layout.variables))])
    centers: dict[Variable, float] = {}
    several = []
    for i, factors in enumerate(layout.monomials):
        if len(factors) > 1:
            continue
        values = _numbers(source, columns, [f"center_{i}" if layout.has_centers else f"mean_{i}"])[0]
        center = float(values[0] if (values == values[0]).all() else np.average(values, weights=n))
        if layout.has_centers and (values != center).any():
            several.append(layout.variables[i])
        centers[factors[0]] = center
        mean[i] -= center
    products = [v for v, m in zip(layout.variables, layout.monomials, strict=True) if len(m) > 1]
    if several and products:
        raise DataError(
            f"The rows of {source.description} come from parts with different grand means, as center_{several[0]} "
            f"shows, and products around different means cannot be merged. Got {list_names(products)}; leave products "
            "out, or make the moments of all rows at once."
        )
    return mean, centers


def _check_digits(layout: Layout, n: Array, mean: Array, scatter: Array) -> None:
    """Refuse columns whose scatter has lost its digits beside the squares of the group means, or has none."""
    for i, factors in enumerate(layout.monomials):
        within = scatter[packed_place(i, i)].sum()
        if len(factors) == 1 and n.max() > 1 and within < _LEAST_SHARE * float(n @ mean[i] ** 2):
            name = layout.variables[i]
            raise DataError(
                f"{name!r} varies within groups by less than a part in 100,000 of what their means do, which sums "
                "around a grand mean cannot separate from rounding. Give it to mlm.group_moments() in constants if it "
                "has one value in each group; else mlm.within() of it in columns and mlm.between() of it in constants."
            )


def _constants(
    source: Source, layout: Layout, columns: dict[str, NDArray[Any]]
) -> tuple[tuple[Variable, ...], tuple[NDArray[Any], ...], dict[str, tuple[str, ...]]]:
    """Return the constants of the groups, their values, and the levels of the factors among them.

    Raises
    ------
    DataError
        A constant has several values, or none, in a group.
    """
    names = {str(i): (name, f"value_{name}") for i, name in enumerate(layout.constants)}
    names |= {f"u_{i}": (key, key) for i, key in enumerate(layout.keys)}
    variables: dict[Variable, NDArray[Any]] = {}
    levels: dict[str, tuple[str, ...]] = {}
    for alias, (name, column) in names.items():
        if (texts := columns.get(f"text_{alias}")) is None:
            continue
        if (gaps := int(np.ma.getmaskarray(texts).sum())) > 0:
            raise DataError(
                f"{name!r} has several values, or none, in {gaps} of {len(texts)} groups of {source.description}, and "
                "a constant has one. Give it to mlm.group_moments() in columns if it is a number, or else in group."
            )
        variables[Factor(name)] = np.asarray(texts)
        levels[name] = in_order(source, column, sorted(set(texts.tolist())))
        if source.is_numeric(column):
            variables[Column(name)] = np.asarray(columns[f"number_{alias}"])
    return tuple(variables), tuple(variables.values()), levels
