"""Hold the statistics of several groups of rows; each cluster lies in one group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mlm_ops.errors import DataError, IdentificationError
from mlm_ops.language.model import GroupingFactor, group_name
from mlm_ops.language.spelling import list_names
from mlm_ops.moments.arrays import Array, joined, texts
from mlm_ops.moments.record import Moments
from mlm_ops.moments.survey import run
from mlm_ops.results.words import count
from mlm_ops.structural.language.grouping import MOST_GROUPS
from mlm_ops.structural.statistics.cluster_sums import Statistics, is_same_data, reorder_columns
from mlm_ops.structural.statistics.from_moments import CONSTANT
from mlm_ops.warehouse.source import Source
from mlm_ops.warehouse.sql import category


@dataclass(frozen=True)
class GroupedStatistics:
    """The statistics of each group, of the same columns around the same origin."""

    by_group: tuple[Statistics, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The t columns."""
        return self.by_group[0].columns

    @property
    def n_row_level(self) -> int:
        """Columns p of level 1."""
        return self.by_group[0].n_row_level

    @property
    def origin(self) -> Array:
        """(t,) subtracted from every value."""
        return self.by_group[0].origin

    @property
    def n_obs(self) -> float:
        """Rows of all groups."""
        return sum(part.n_obs for part in self.by_group)

    @property
    def n_clusters(self) -> int:
        """Clusters of all groups."""
        return sum(part.n_clusters for part in self.by_group)

    def choose_columns(self, columns: tuple[str, ...]) -> GroupedStatistics:
        """Of some of the columns."""
        return GroupedStatistics(tuple(part.choose_columns(columns) for part in self.by_group))

    def coverage(self, level: int) -> tuple[Array, float]:
        """Rows or clusters that have both of two columns, and all of them."""
        parts = [part.coverage(level) for part in self.by_group]
        return np.sum([counts for counts, _ in parts], axis=0), sum(whole for _, whole in parts)


AnyStatistics = Statistics | GroupedStatistics
"""Of one group of rows, or of several."""


def around_zero(statistics: AnyStatistics) -> AnyStatistics:
    """The same statistics as if their origin were zero."""
    if isinstance(statistics, GroupedStatistics):
        return GroupedStatistics(tuple(_around_zero(part) for part in statistics.by_group))
    return _around_zero(statistics)


def _around_zero(statistics: Statistics) -> Statistics:
    return replace(statistics, origin=np.zeros_like(statistics.origin))


def in_order(statistics: AnyStatistics, columns: tuple[str, ...]) -> AnyStatistics | None:
    """The same statistics with the columns in another order; None where they are of other columns."""
    if not isinstance(statistics, GroupedStatistics):
        return reorder_columns(statistics, columns)
    parts = [reorder_columns(part, columns) for part in statistics.by_group]
    known = tuple(part for part in parts if part is not None)
    return GroupedStatistics(known) if len(known) == len(parts) else None


def are_same_rows(one: AnyStatistics, other: AnyStatistics) -> bool:
    """Whether two statistics of the same columns in the same order are of the same rows, clusters and groups."""
    parts = one.by_group, other.by_group
    return len(parts[0]) == len(parts[1]) and all(is_same_data(*pair) for pair in zip(*parts, strict=True))


def lost_groups(source: Source, moments: Moments, group: GroupingFactor) -> dict[str, int]:
    """The groups none of whose rows is in the moments, each with how many rows it has.

    None are told of where the rows are others than those that the moments were collected from.
    """
    if not any(moments.n_dropped.values()):
        return {}
    columns = ", ".join(map(category, moments.columns_of(group)))
    sql = f"select {columns}, count(*) from {source.relation} group by all"
    rows = run(source, sql, "Rows of each group").fetchall()
    if sum(row[-1] for row in rows) != moments.n_rows:
        return {}
    labels = [texts(moments.labels[moments.schema.keys.index(name)]) for name in moments.columns_of(group)]
    present = set(zip(*(own.tolist() for own in labels), strict=True))
    lost = [(values, size) for *values, size in rows if None not in values and tuple(values) not in present]
    if not lost:
        return {}
    names = joined([np.array(values) for values in zip(*(values for values, _ in lost), strict=True)])
    return dict(sorted(zip(names.tolist(), (size for _, size in lost), strict=True)))


def moments_by_group(
    moments: Moments, group: GroupingFactor, cluster: GroupingFactor, lost: Sequence[str] = ()
) -> tuple[tuple[str, ...], tuple[Moments, ...]]:
    """The groups' values, sorted, and the moments of each.

    Raises
    ------
    DataError
        One value, or too many; a cluster with rows of several groups.
    """
    codes, labels = moments.units_of(group)
    name = group_name(group)
    if len(labels) < 2:
        others = f" beside {list_names(map(repr, lost))}, whose rows all miss a value" if lost else ""
        raise DataError(f"Groups are two or more. Got one value of {name!r}, {labels[0]}{others}; drop group.")
    if len(labels) > MOST_GROUPS:
        raise DataError(
            f"A model has at most {MOST_GROUPS} groups. Got {count(len(labels))} values of {name!r}; a column of so "
            "many is one of clusters, or is put into classes in a view or SELECT."
        )
    clusters, units = moments.units_of(cluster)
    pairs = np.unique(np.stack([clusters, codes]), axis=1)
    groups_of = np.bincount(pairs[0], minlength=len(units))
    if (groups_of > 1).any():
        first = int(np.flatnonzero(groups_of > 1)[0])
        values = labels[pairs[1][pairs[0] == first]]
        raise DataError(
            f"A cluster lies in one group. Got {count(int((groups_of > 1).sum()))} of {count(len(units))} clusters of "
            f"{group_name(cluster)!r} with rows of several groups of {name!r}, for example {units[first]} with rows of "
            f"{' and '.join(map(str, values[:3]))}. If these are different clusters of one name, distinguish them by "
            f"cluster={':'.join((*group, *cluster))!r}; if not, give each cluster one group."
        )
    return tuple(map(str, labels)), tuple(moments.select(codes == i) for i in range(len(labels)))


def grouped_statistics(
    groups: tuple[str, ...], parts: tuple[Moments, ...], name: str, make: Callable[[Moments], Statistics]
) -> GroupedStatistics:
    """The statistics of each group's moments.

    Raises
    ------
    DataError, IdentificationError
        As `make`, with the group; a column of one value in a group.
    """
    statistics = []
    for value, moments in zip(groups, parts, strict=True):
        try:
            statistics.append(make(moments))
        except (DataError, IdentificationError) as error:
            raise type(error)(f"In group {value!r} of {name!r}: {error}") from error
    variances = np.array([one.column_variances for one in statistics])
    constant = np.argwhere(variances <= CONSTANT * variances.max(axis=0))
    if len(constant):
        group, column = constant[0]
        raise DataError(
            f"{statistics[0].columns[column]!r} has one value in group {groups[group]!r} of {name!r}, where nothing "
            "determines its parameters. Leave the variable out, or the group by a row filter."
        )
    return GroupedStatistics(tuple(statistics))
