"""Define the `Moments` record: sizes, means and scatter of the columns in every unit; merge and subtract such records.

A linear multilevel model depends on its rows only through these, so one record serves every model of an analysis.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, MlmError
from mlm_ops.language.columns import Monomial
from mlm_ops.language.model import GroupingFactor, Residual, Variable, group_name, label
from mlm_ops.moments.arrays import Array, Codes, joined, texts
from mlm_ops.moments.residual import ResidualMoments
from mlm_ops.moments.sums import (
    PackedSums,
    has_lost_digits,
    lower_by_rows,
    put_in,
    read_units,
    take_out,
    unit_codes,
    write_units,
)

Derived = TypeVar("Derived")

#: Digits of each sum in the checksum; more would differ between orders of summation, fewer would miss a change of one
#: row among a million.
DIGITS = 8


def checksum(what: str, n: Array, mean: Array, scatter: Array, texts: Iterable[NDArray[Any]]) -> str:
    """Return a checksum of sixteen hexadecimal digits.

    Sums of the same numbers in another order differ in their last digits. So each mean and scatter is rounded to
    `DIGITS` digits of the largest that its column could have, by the unit with the largest sum of squares: a scatter
    that is zero but for rounding then counts as zero. A number halfway between two roundings may still be rounded
    either way: one in some hundred million, so that of a thousand scans of 20,000 groups a few have another checksum.

    Parameters
    ----------
    what
        A text that says which moments the numbers are.
    n, mean, scatter
        (J,), all positive, (K, J), (K (K + 1) / 2, J), as `Moments` has them.
    texts
        Labels and constants, (J,) each.
    """
    digest = hashlib.sha256(what.encode())
    digest.update(n.tobytes())
    rows, cols = lower_by_rows(len(mean))
    squares = scatter[rows == cols] + n * mean**2
    sizes = np.sqrt(squares.max(axis=1, initial=0.0))
    digest.update(" ".join(f"{size:.{DIGITS - 1}e}" for size in sizes).encode())
    roots = np.sqrt((squares / n).max(axis=1, initial=0.0))
    for array, scale in ((mean, roots), (scatter, sizes[rows] * sizes[cols])):
        for row, largest in zip(array, scale, strict=True):
            digest.update((np.round(row / (largest or 1.0), DIGITS) + 0.0).tobytes())
    for values in texts:
        digest.update("\x1f".join(map(str, values)).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Schema:
    """What the moments are computed from and by; moments of equal schemas can be merged.

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
        Columns of text, categorical wherever they stand.
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
        The keys, monomials and constants that the arrays hold, in order.
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
        Further sums for each residual structure of a model. They do not merge: over ordered times the first rows of one
        set follow the last ones of the other.
    nested_in
        Grouping columns whose labels repeat across the levels above them, each with the columns that name its units.
    ranges
        Smallest and largest value of the numbers that a model centers at a value of the user's. They are known of rows
        that were collected at once, and not of partitions put together.
    around_unit_means
        Whether each unit's own means were taken off before multiplying: then the scatter has all its digits, however
        far the units lie apart.
    sql
        The statements that they were collected by; None of moments that were put together, kept, or made elsewhere.
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
    ranges: Mapping[Variable, tuple[float, float]] = field(default_factory=dict)
    around_unit_means: bool = False
    sql: str | None = field(default=None, repr=False, compare=False)

    @property
    def statements(self) -> str:
        """The statements that they were collected by.

        Raises
        ------
        MlmError
            They were not collected from rows here.
        """
        if self.sql is None:
            raise MlmError(
                "There is no SQL of these moments: they were kept, put together of parts, or made elsewhere. Fit the "
                "rows to have it."
            )
        return self.sql

    @property
    def sums(self) -> PackedSums:
        """Size, mean and scatter."""
        return self.n, self.mean, self.scatter

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
        """A checksum of the data: equal for equal rows, whatever the order in which a parallel scan sums them."""
        what = repr((self.schema.keys, self.schema.monomials, self.schema.constants))
        return checksum(what, self.n, self.mean, self.scatter, (*self.labels, *self.constants))

    @cached_property
    def _derived(self) -> dict[tuple[str, Hashable], Any]:
        return {}

    def derived(self, what: str, depends_on: Hashable, compute: Callable[[], Derived]) -> Derived:
        """Return what several models derive from these moments alike, which is computed for the first of them.

        A copy, such as that of `replace`, has nothing that was derived, as it may hold other numbers.

        Parameters
        ----------
        what
            A name that no other value has.
        depends_on
            All that the value depends on besides these moments: the parts of a model that it reads, the estimator, the
            grouping factor. Of two models for which this is equal the second gets the value of the first.
        compute
            Computes the value, which nobody may change.
        """
        key = (what, depends_on)
        if key not in self._derived:
            self._derived[key] = compute()
        value: Derived = self._derived[key]
        return value

    @cached_property
    def _units_by_factor(self) -> dict[GroupingFactor, tuple[Codes, NDArray[Any]]]:
        return {}

    def units_of(self, group: GroupingFactor) -> tuple[Codes, NDArray[Any]]:
        """Return the units of a grouping factor, and the one that each smallest unit lies in.

        Returns
        -------
        codes
            (J,) index of the factor's unit.
        labels
            (J_group,) names of the factor's units, those of several columns joined by `joined`.
        """
        if group not in self._units_by_factor:
            self._units_by_factor[group] = self._find_units(self.columns_of(group))
        return self._units_by_factor[group]

    def columns_of(self, group: GroupingFactor) -> GroupingFactor:
        """Return the columns that identify a factor's units, those of the levels above it included where needed."""
        return self.nested_in.get(group[0], group) if len(group) == 1 else group

    def select(self, flags: NDArray[np.bool_]) -> Moments:
        """Return the moments of the units whose flag is true, (J,); the counts of dropped rows stay."""
        if flags.all():
            return self
        return replace(
            self,
            labels=tuple(values[flags] for values in self.labels),
            n=self.n[flags],
            mean=self.mean[:, flags],
            scatter=self.scatter[:, flags],
            constants=tuple(values[flags] for values in self.constants),
            residuals={structure: sums.select(flags) for structure, sums in self.residuals.items()},
            sql=None,
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
            return inverse.astype(np.int64), texts(values)
        numbers: Codes = np.zeros(self.n_units, dtype=np.int64)
        for values, inverse in parts:
            numbers = numbers * len(values) + inverse
        _, first, codes = np.unique(numbers, return_index=True, return_inverse=True)
        return codes.astype(np.int64), joined([texts(values)[inverse[first]] for values, inverse in parts])


@dataclass(frozen=True)
class Exchange:
    """The result of `exchange`.

    Attributes
    ----------
    moments
        Moments of the rows after the exchange.
    moved
        Constants that have one value in a unit's remaining rows and another in its new rows.
    lost_digits
        Whether so much was taken out of a unit that rounding errors show in the rest.
    """

    moments: Moments
    moved_constants: frozenset[Variable]
    lost_digits: bool


def exchange(whole: Moments, old: Moments, new: Moments, others: Moments | None = None) -> Exchange:
    """Take rows out of moments and put others in; only the units of these rows are computed.

    Parameters
    ----------
    others
        Moments of further rows, whose units are in none of the three: by a row's share of all is judged which digits
        are lost.

    Raises
    ------
    DataError
        `old` or `new` has other columns or centers; `old` holds units or rows that `whole` does not; one of the three
        has a unit twice.
    """
    _check_schemas(whole, old)
    _check_schemas(whole, new)
    size, numbers = _number_units(whole, old, new)
    if any(len(own) and np.bincount(own).max() > 1 for own in numbers):
        raise DataError("Moments that are combined have each unit once. Got a unit twice; merge its rows first.")
    units, old_units, new_units = numbers
    sums = n, mean, scatter = np.zeros(size), np.zeros((len(whole.mean), size)), np.zeros((len(whole.scatter), size))
    write_units(sums, units, whole.sums)
    before = read_units(sums, old_units)
    if not before[0].all():
        raise DataError("The part to subtract has units that the whole does not have.")
    if (before[0] < old.n).any():
        raise DataError("The part to subtract has units with more rows than the whole has in them.")
    rest = take_out(before, old.sums)
    write_units(sums, old_units, rest)
    lost_digits = has_lost_digits(before, rest, *([sums] if others is None else [sums, others.sums]))
    stays = n[units] > 0
    constants = [
        _spread(size, new_units, theirs, units[stays], ours[stays])
        for ours, theirs in zip(whole.constants, new.constants, strict=True)
    ]
    moved_constants = frozenset(
        atom
        for atom, ours, theirs in zip(whole.schema.constants, constants, new.constants, strict=True)
        if (ours[new_units] != theirs).any()
    )
    write_units(sums, new_units, put_in(read_units(sums, new_units), new.sums))
    labels = [
        _spread(size, new_units, theirs, units, ours) for ours, theirs in zip(whole.labels, new.labels, strict=True)
    ]
    moments = replace(
        whole,
        labels=tuple(labels),
        n=n,
        mean=mean,
        scatter=scatter,
        constants=tuple(constants),
        residuals={},
        ranges={},
        around_unit_means=whole.around_unit_means and new.around_unit_means and not old.n_units,
        sql=None,
    )
    return Exchange(moments.select(n > 0), moved_constants, lost_digits)


def merge(first: Moments, second: Moments) -> Moments:
    """Return the moments of the union of two disjoint sets of rows.

    Raises
    ------
    DataError
        The two differ in columns or centers, or in a constant of a shared unit.
    """
    result = exchange(first, _nothing(first), second)
    if result.moved_constants:
        names = ", ".join(label(c) for c in first.schema.constants if c in result.moved_constants)
        raise DataError(
            f"{names}: one value in each unit of either set of rows, but not of both together. Collect the moments of "
            "all rows anew."
        )
    n_dropped = {k: v + second.n_dropped.get(k, 0) for k, v in first.n_dropped.items()}
    return replace(result.moments, n_rows=first.n_rows + second.n_rows, n_dropped=n_dropped)


def subtract(whole: Moments, part: Moments) -> Moments:
    """Return the moments of the rows of `whole` that are not in `part`: the inverse of `merge`.

    Raises
    ------
    DataError
        `part` holds units or rows that `whole` does not.
    """
    rest = exchange(whole, part, _nothing(whole)).moments
    n_dropped = {k: v - part.n_dropped.get(k, 0) for k, v in whole.n_dropped.items()}
    return replace(rest, n_rows=whole.n_rows - part.n_rows, n_dropped=n_dropped)


def _nothing(moments: Moments) -> Moments:
    return moments.select(np.zeros(moments.n_units, dtype=np.bool_))


def _number_units(*several: Moments) -> tuple[int, list[Codes]]:
    """Number the units of several records together: how many there are, and each record's numbers."""
    sizes = [moments.n_units for moments in several]
    keys = [np.concatenate(values) for values in zip(*(moments.labels for moments in several), strict=True)]
    codes = unit_codes(keys, sum(sizes))
    return int(codes.max(initial=-1)) + 1, np.split(codes, np.cumsum(sizes)[:-1])


def _spread(size: int, at: Codes, values: NDArray[Any], over: Codes, others: NDArray[Any]) -> NDArray[Any]:
    """Put values at their units, and then others over them."""
    spread = np.empty(size, np.result_type(values, others))
    spread[at] = values
    spread[over] = others
    return spread


def _check_schemas(first: Moments, second: Moments) -> None:
    for name in ("keys", "monomials", "constants", "centers"):
        ours, theirs = getattr(first.schema, name), getattr(second.schema, name)
        if ours != theirs:
            raise DataError(f"Moments with different {name} cannot be combined. Got {ours} and {theirs}.")
