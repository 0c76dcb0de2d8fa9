"""Clusters for robust errors: sets of cells that hold whole units of every grouping factor of the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.language.model import GroupingFactor, Model, group_name
from mlm_ops.moments.moments import Codes, Moments


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
        """How many there are."""
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
