"""The Moments record: sizes, means and scatter of row-level monomials in every unit; merge and subtract.

A linear multilevel model depends on its rows only through these, so one record serves every model of an analysis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.columns import Monomial
from mlm_ops.language.model import GroupingFactor, Residual, Variable, group_name, label
from mlm_ops.moments.checksum import checksum
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.triangles import lower_by_rows

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Schema:
    """What the moments are moments of; equal schemas can be merged.

    Attributes
    ----------
    keys
        Grouping columns; a unit is a distinct combination of their values.
    centers
        Fixed center of every row-level atom, subtracted before multiplying.
    monomials
        The K products of centered atoms, a single atom being the product of one.
    constants
        The L atoms, or categorical columns, that do not vary within units.
    levels
        Levels of every categorical column.
    text_columns
        Columns that are categorical wherever they stand.
    """

    keys: tuple[str, ...]
    centers: Mapping[Variable, float]
    monomials: tuple[Monomial, ...]
    constants: tuple[Variable, ...]
    levels: Mapping[str, tuple[str, ...]]
    text_columns: frozenset[str]


@dataclass(frozen=True)
class Moments:
    """Per-unit moments; units stand last in every array.

    Attributes
    ----------
    schema
        What the columns are.
    labels
        (J,) labels a key column: ``labels[k][j]`` is unit j's value of ``schema.keys[k]``.
    n
        (J,) rows in each unit.
    mean
        (K, J) unit means of the monomials, around the centers.
    scatter
        (K (K + 1) / 2, J) cross-products around the unit's own means, lower triangle by rows.
    constants
        A (J,) array a constant: numbers, or texts for a categorical column.
    n_rows
        Rows that the source held.
    n_dropped
        Rows that miss a value, by column; a row may count in several.
    residuals
        Further sums for each residual structure that a model asks for. They do not merge: over ordered times the rows
        at a seam belong to both sides.
    nested_in
        Grouping columns whose labels repeat across the levels above them, each with the columns that name its units.
    """

    schema: Schema
    labels: tuple[NDArray[Any], ...]
    n: Array
    mean: Array
    scatter: Array
    constants: tuple[NDArray[Any], ...]
    n_rows: int
    n_dropped: Mapping[str, int]
    residuals: Mapping[Residual, ResidualMoments] = field(default_factory=dict)
    nested_in: Mapping[str, GroupingFactor] = field(default_factory=dict)

    @property
    def n_obs(self) -> int:
        """Complete rows."""
        return int(self.n.sum())

    @property
    def n_units(self) -> int:
        """Units J."""
        return len(self.n)

    @cached_property
    def checksum(self) -> str:
        """A fingerprint of the data: equal for equal rows, in whatever order a parallel scan has summed them."""
        what = repr((self.schema.keys, self.schema.monomials, self.schema.constants))
        return checksum(what, self.n, self.mean, self.scatter, (*self.labels, *self.constants))

    @cached_property
    def _known_units(self) -> dict[GroupingFactor, tuple[Codes, NDArray[Any]]]:
        return {}

    def units_of(self, group: GroupingFactor) -> tuple[Codes, NDArray[Any]]:
        """The unit of a grouping factor that each smallest unit lies in.

        Returns
        -------
        codes
            (J,) index of the factor's unit.
        labels
            (J_group,) names of the factor's units, those of several columns joined by ``:``.
        """
        if group not in self._known_units:
            self._known_units[group] = self._find_units(self.columns_of(group))
        return self._known_units[group]

    def columns_of(self, group: GroupingFactor) -> GroupingFactor:
        """The columns that tell a grouping factor's units apart, those of the levels above it included where needed."""
        return self.nested_in.get(group[0], group) if len(group) == 1 else group

    def select(self, kept: NDArray[np.bool_]) -> Moments:
        """Moments of some of the units, (J,) true where one is kept; rows that were dropped count as before."""
        return replace(
            self,
            labels=tuple(values[kept] for values in self.labels),
            n=self.n[kept],
            mean=self.mean[:, kept],
            scatter=self.scatter[:, kept],
            constants=tuple(values[kept] for values in self.constants),
            residuals={structure: found.select(kept) for structure, found in self.residuals.items()},
        )

    def _find_units(self, group: GroupingFactor) -> tuple[Codes, NDArray[Any]]:
        missing = [name for name in group if name not in self.schema.keys]
        if missing:
            raise DataError(f"The moments hold no units of {group_name(group)}. Got {', '.join(self.schema.keys)}.")
        if not group:
            return np.zeros(self.n_units, dtype=np.int64), np.array(["all"])
        parts = [np.unique(self.labels[self.schema.keys.index(name)], return_inverse=True) for name in group]
        if len(parts) == 1:
            ((values, inverse),) = parts
            return inverse.astype(np.int64), _texts(values)
        combined: Codes = np.zeros(self.n_units, dtype=np.int64)
        for values, inverse in parts:
            combined = combined * len(values) + inverse
        _, first, codes = np.unique(combined, return_index=True, return_inverse=True)
        columns = [_texts(values)[inverse[first]].astype(str) for values, inverse in parts]
        joined = columns[0]
        for column in columns[1:]:
            joined = np.char.add(np.char.add(joined, ":"), column)
        return codes.astype(np.int64), joined


def _texts(values: NDArray[Any]) -> NDArray[Any]:
    """Labels as text; numpy writes out whole numbers ten times as slowly as polars."""
    if np.issubdtype(values.dtype, np.integer):
        return pl.Series(values).cast(pl.String).to_numpy()
    return values.astype(str)


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of the union of two disjoint sets of rows, by the parallel-axis rule.

    Chan, Golub and LeVeque (1983), The American Statistician 37, eq. 2.1: means are weighted by size, scatters add
    with the scatter of the means.

    Raises
    ------
    DataError
        The two have other columns or centers, or a constant of a shared unit differs.
    """
    _check_schemas(first, second)
    keys = [np.concatenate(pair) for pair in zip(first.labels, second.labels, strict=True)]
    codes = unit_codes(keys, first.n_units + second.n_units)
    _, position = np.unique(codes, return_index=True)
    n = np.concatenate((first.n, second.n))
    mean, scatter = np.hstack((first.mean, second.mean)), np.hstack((first.scatter, second.scatter))
    pooled_n, pooled_mean, pooled_scatter = pool(codes, len(position), n, mean, scatter)
    if atoms := disagreeing(first, second):
        raise DataError(
            f"{', '.join(label(atom) for atom in atoms)}: one value in each unit of either set of rows, but not of "
            "both together. Collect the moments of all rows anew."
        )
    constants = [np.concatenate(pair)[position] for pair in zip(first.constants, second.constants, strict=True)]
    return replace(
        first,
        labels=tuple(key[position] for key in keys),
        n=pooled_n,
        mean=pooled_mean,
        scatter=pooled_scatter,
        constants=tuple(constants),
        n_rows=first.n_rows + second.n_rows,
        n_dropped={k: v + second.n_dropped.get(k, 0) for k, v in first.n_dropped.items()},
    )


def disagreeing(first: Moments, second: Moments) -> tuple[Variable, ...]:
    """Constants that differ in a unit that both have."""
    if not first.schema.constants:
        return ()
    keys = [np.concatenate(pair) for pair in zip(first.labels, second.labels, strict=True)]
    codes = unit_codes(keys, first.n_units + second.n_units)
    _, position = np.unique(codes, return_index=True)
    found = []
    for atom, pair in zip(first.schema.constants, zip(first.constants, second.constants, strict=True), strict=True):
        values = np.concatenate(pair)
        if (values != values[position][codes]).any():
            found.append(atom)
    return tuple(found)


def subtract(whole: Moments, part: Moments) -> Moments:
    """Moments of the rows of `whole` that are not in `part`: the inverse of `merge`.

    Raises
    ------
    DataError
        `part` holds units or rows that `whole` does not.
    """
    _check_schemas(whole, part)
    keys = [np.concatenate(pair) for pair in zip(whole.labels, part.labels, strict=True)]
    codes = unit_codes(keys, whole.n_units + part.n_units)
    if len(np.unique(codes)) > whole.n_units:
        raise DataError("The part to subtract has units that the whole does not have.")
    order = np.argsort(codes[: whole.n_units])
    at = order[np.searchsorted(codes[: whole.n_units], codes[whole.n_units :], sorter=order)]
    n = whole.n.copy()
    n[at] -= part.n
    if (n < 0).any():
        raise DataError("The part to subtract has units with more rows than the whole has in them.")
    mean, scatter = whole.mean.copy(), whole.scatter.copy()
    left = np.maximum(n[at], 1.0)
    shift = (whole.mean[:, at] - part.mean) * (part.n / left)
    mean[:, at] += shift
    rows, cols = lower_by_rows(len(mean))
    between = whole.n[at] * left / part.n
    scatter[:, at] -= part.scatter + between * shift[rows] * shift[cols]
    squares = rows == cols
    scatter[squares] = np.maximum(scatter[squares], 0.0)
    left_over = replace(whole, n=n, mean=mean, scatter=scatter, residuals={})
    return replace(
        left_over.select(n > 0),
        n_rows=whole.n_rows - part.n_rows,
        n_dropped={k: v - part.n_dropped.get(k, 0) for k, v in whole.n_dropped.items()},
    )


def pool(codes: Codes, size: int, n: Array, mean: Array, scatter: Array) -> tuple[Array, Array, Array]:
    """Pool units that share a code: (J,), (K, J), (K (K + 1) / 2, J) -> the same of `size` units."""
    total = np.bincount(codes, n, size).astype(float)
    pooled, added = np.empty((len(mean), size)), np.empty((len(scatter), size))
    for i, m in enumerate(mean):
        pooled[i] = np.bincount(codes, n * m, size) / total
    deviation = mean - pooled[:, codes]
    rows, cols = lower_by_rows(len(mean))
    for k in range(len(scatter)):
        added[k] = np.bincount(codes, scatter[k] + n * deviation[rows[k]] * deviation[cols[k]], size)
    return total, pooled, added


def unit_codes(keys: list[NDArray[Any]], size: int) -> Codes:
    """Number the distinct combinations of key columns, each (size,)."""
    codes: Codes = np.zeros(size, dtype=np.int64)
    for number, key in enumerate(keys):
        values, inverse = np.unique(key, return_inverse=True)
        # the codes of one key are dense already
        codes = inverse if number == 0 else np.unique(codes * len(values) + inverse, return_inverse=True)[1]
    return codes.astype(np.int64)


def _check_schemas(first: Moments, second: Moments) -> None:
    for name in ("keys", "monomials", "constants", "centers"):
        ours, theirs = getattr(first.schema, name), getattr(second.schema, name)
        if ours != theirs:
            raise DataError(f"Moments with different {name} cannot be combined. Got {ours} and {theirs}.")
