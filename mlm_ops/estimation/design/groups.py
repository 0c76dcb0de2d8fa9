"""Find the units of a model's grouping factors, the cells where they cross, and the clusters of robust errors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.language.model import Centering, GrandMean, GroupingFactor, GroupMean, Model, group_name, walk
from mlm_ops.moments.arrays import Codes
from mlm_ops.moments.record import Moments


@dataclass(frozen=True)
class FactorUnits:
    """A grouping factor: codes (J,) of its units over the moments' units."""

    group: GroupingFactor
    codes: Codes
    labels: NDArray[Any]


def grouping_factors(groups: tuple[GroupingFactor, ...], moments: Moments) -> list[FactorUnits]:
    """Grouping factors, the one with most units first, which is the order of a nest."""
    factors = [FactorUnits(group, *moments.units_of(group)) for group in groups]
    return sorted(factors, key=lambda factor: -len(factor.labels))


def cells_of(factors: list[FactorUnits], n_units: int) -> tuple[Codes, NDArray[np.int64]]:
    """The cell of each of the moments' units, and the first unit of each cell."""
    codes: Codes = np.zeros(n_units, dtype=np.int64)
    for factor in factors:
        codes = np.unique(codes * len(factor.labels) + factor.codes, return_inverse=True)[1].astype(np.int64)
    return codes, np.unique(codes, return_index=True)[1]


def meanings(model: Model, moments: Moments) -> dict[GroupingFactor, GroupingFactor]:
    """Grouping factors that centering names -> the nested ones that they mean: ``class`` -> ``school:class``.

    A column whose labels repeat across the units of another grouping factor that the model names means
    ``parent/column`` if the model has that factor; to pool the different units of one label would be an error that
    nobody sees.
    """
    full_names: dict[GroupingFactor, GroupingFactor] = {}
    pooling = _pooling_groups(model)
    for group in pooling:
        if len(group) > 1 or group in model.groups:
            continue
        longer = [other for other in model.groups if len(other) > 1 and other[-1] == group[0]]
        if longer:
            full_names[group] = longer[0]
            continue
        labels = len(moments.units_of(group)[1])
        for parent in dict.fromkeys((*model.groups, *pooling)):
            codes, _ = cells_of([FactorUnits(g, *moments.units_of(g)) for g in (group, parent)], moments.n_units)
            pairs = int(codes.max()) + 1
            if pairs > max(labels, len(moments.units_of(parent)[1])):
                name, above = group_name(group), group_name(parent)
                raise IdentificationError(
                    f"The labels of {name} repeat across the units of {above}: {labels} labels, {pairs} combinations. "
                    f"Write {above}/{name} for {name} in the centering, or make the labels unique."
                )
    return full_names


def _pooling_groups(model: Model) -> tuple[GroupingFactor, ...]:
    """Grouping factors over whose units rows are pooled; units of ``over`` in a within() or between() lie in others."""
    # the innermost first: what a mean of means is taken of lies lower
    nodes = [node for variable in model.variables for node in reversed(list(walk(variable)))]
    means = [node.mean for node in nodes if isinstance(node, Centering)]
    named = [mean.group for mean in means if isinstance(mean, GroupMean)]
    named += [mean.over for mean in means if isinstance(mean, GrandMean)]
    return tuple(dict.fromkeys(group for group in (model.default_group, *named) if group is not None))


@dataclass(frozen=True)
class Clusters:
    """Independent parts of the data.

    Attributes
    ----------
    group
        The columns that name them.
    codes
        (cells,) the cluster that each cell lies in.
    labels
        (clusters,) their names.
    """

    group: GroupingFactor
    codes: Codes
    labels: NDArray[Any]

    @property
    def size(self) -> int:
        """Number of clusters."""
        return len(self.labels)


class _Units(Protocol):
    """Units of a grouping factor: codes over the same cells as the clusters'."""

    @property
    def group(self) -> GroupingFactor: ...

    @property
    def codes(self) -> Codes: ...

    @property
    def labels(self) -> NDArray[Any]: ...


def default_cluster(model: Model, moments: Moments) -> GroupingFactor | None:
    """The top grouping factor, that with fewest units; none in single-level regression."""
    if len(model.groups) < 2:
        return model.groups[0] if model.groups else None
    sizes = {group: len(moments.units_of(group)[1]) for group in model.groups}
    return min(reversed(model.groups), key=sizes.__getitem__)


def make_clusters(group: GroupingFactor, codes: Codes, labels: NDArray[Any], levels: Iterable[_Units]) -> Clusters:
    """Clusters, checked against the model's grouping factors.

    Raises
    ------
    IdentificationError
        One cluster, or a unit that lies in several: errors of different clusters would be correlated.
    """
    name = group_name(group)
    if len(labels) < 2:
        raise IdentificationError(
            f"Cluster-robust errors need two clusters or more. Got one, {name} = {labels[0]!s}; name another column."
        )
    for level in levels:
        pairs = np.unique(level.codes * len(labels) + codes)
        clusters_of = np.bincount(pairs // len(labels), minlength=len(level.labels))
        cut = int(np.argmax(clusters_of))
        if clusters_of[cut] > 1:
            raise IdentificationError(
                f"The clusters of {name} cut through units of the grouping factor {group_name(level.group)}. Got "
                f"{level.labels[cut]!s} in {clusters_of[cut]} clusters; cluster by a column that holds its units whole."
            )
    return Clusters(group, codes, labels)
