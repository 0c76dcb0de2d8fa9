"""Compute the statistics that the two-level likelihood needs from moments, without another scan.

Rows within clusters enter by their pooled scatter alone, clusters by their means, which are exchangeable among clusters
of one size (McDonald and Goldstein 1989, British Journal of Mathematical and Statistical Psychology 42).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, IdentificationError
from mlm_ops.estimation.design.products import unpack
from mlm_ops.language.model import Column, GroupingFactor, group_name
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.patterns import PATTERN
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import lower_by_rows, packed_place, packed_size, pool
from mlm_ops.structural.algebra.matrices import Implied
from mlm_ops.structural.language.model import WITHIN
from mlm_ops.structural.language.parameters import ParameterTable
from mlm_ops.warehouse.source import Source

#: Scatter within clusters below this part of the whole is rounding: the variable is constant there.
CONSTANT = 1e-12
#: Statistics that differ by less, in standard deviations, are of the same rows.
SAME = 1e-8


@dataclass(frozen=True)
class ClusterStatistics:
    """Each cluster's own statistics; clusters stand last.

    Attributes
    ----------
    n
        (J,) rows.
    mean
        (t, J) means of all columns, around `TwoLevelStatistics.origin`.
    scatter
        (p (p + 1) / 2, J) cross-products of the row-level columns around their means, lower triangle by rows.
    """

    n: Array
    mean: Array
    scatter: Array


@dataclass(frozen=True)
class ColumnStatistics(ABC):
    """What statistics of complete rows and of rows with missing cells have alike.

    Attributes
    ----------
    columns
        The t columns: p of level 1, then the between-only ones.
    n_row_level
        p.
    n_obs
        Rows N.
    origin
        (t,) subtracted from every value, for precision.
    """

    columns: tuple[str, ...]
    n_row_level: int
    n_obs: float
    origin: Array

    @property
    @abstractmethod
    def pooled_within(self) -> Array:
        """(p, p) the within covariance matrix's estimate by moments."""

    @property
    @abstractmethod
    def between_estimate(self) -> Array:
        """(t, t) the between covariance matrix's estimate by moments, perhaps indefinite."""

    @property
    def by_group(self) -> tuple[Self, ...]:
        """Itself, of the one group of rows."""
        return (self,)

    @property
    def column_variances(self) -> Array:
        """(t,) whole variances of the columns, by moments."""
        variances = np.maximum(np.diag(self.between_estimate), 0.0)
        variances[: self.n_row_level] += np.diag(self.pooled_within)
        return variances


@dataclass(frozen=True)
class TwoLevelStatistics(ColumnStatistics):
    """The statistics that the likelihood of a two-level model depends on, of complete rows.

    Attributes
    ----------
    n_clusters
        Clusters J.
    scatter
        (p, p) pooled within clusters.
    sizes, counts
        (S,) distinct cluster sizes, and clusters of each.
    means, covariances
        (S, t) and (S, t, t): of the cluster means, by size; divisor `counts`.
    clusters
        The clusters one by one, for robust errors.
    """

    n_clusters: int
    scatter: Array
    sizes: Array
    counts: Array
    means: Array
    covariances: Array
    clusters: ClusterStatistics

    def choose_columns(self, columns: tuple[str, ...]) -> TwoLevelStatistics:
        """The statistics of some of the columns, in this order, those of level 1 first."""
        at = np.array([self.columns.index(name) for name in columns], dtype=np.int64)
        p = int((at < self.n_row_level).sum())
        clusters = self.clusters
        high, low = lower_by_rows(p)
        first, second = np.maximum(at[high], at[low]), np.minimum(at[high], at[low])
        return replace(
            self,
            columns=columns,
            n_row_level=p,
            origin=self.origin[at],
            scatter=self.scatter[np.ix_(at[:p], at[:p])],
            means=self.means[:, at],
            covariances=self.covariances[:, at[:, None], at],
            clusters=ClusterStatistics(clusters.n, clusters.mean[at], clusters.scatter[packed_place(first, second)]),
        )

    @property
    def pooled_within(self) -> Array:
        """(p, p) the within covariance matrix's estimate by moments."""
        return self.scatter / (self.n_obs - self.n_clusters)

    def coverage(self, level: int) -> tuple[Array, float]:
        """Rows (level 1) or clusters (level 2) that have both of two columns, (t, t), and all of them."""
        whole = self.n_obs if level == WITHIN else float(self.n_clusters)
        return np.full((len(self.columns),) * 2, whole), whole

    @property
    def column_means(self) -> Array:
        """(t,) means over rows."""
        return np.asarray(self.counts * self.sizes @ self.means / self.n_obs + self.origin)

    @property
    def between_estimate(self) -> Array:
        """(t, t) the between covariance matrix's estimate by moments, perhaps indefinite."""
        weights = self.counts / self.n_clusters
        grand = weights @ self.means
        deviations = self.means - grand
        spread = np.einsum("s,sij->ij", weights, self.covariances)
        spread += np.einsum("s,si,sj->ij", weights, deviations, deviations)
        p = self.n_row_level
        spread[:p, :p] -= self.pooled_within * float(weights @ (1 / self.sizes))
        return np.asarray(spread)


def implied_statistics(statistics: TwoLevelStatistics, implied: Implied) -> TwoLevelStatistics:
    """The statistics that a model implies, for as many rows and clusters: those that it fits exactly."""
    p = statistics.n_row_level
    covariances = np.repeat(implied.between[None], len(statistics.sizes), axis=0)
    covariances[:, :p, :p] += implied.within / statistics.sizes[:, None, None]
    return replace(
        statistics,
        scatter=implied.within * (statistics.n_obs - statistics.n_clusters),
        means=np.repeat((implied.mean - statistics.origin)[None], len(statistics.sizes), axis=0),
        covariances=covariances,
    )


def same_data(one: TwoLevelStatistics, other: TwoLevelStatistics) -> bool:
    """Whether two statistics of the same columns in the same order are of the same rows and clusters.

    Two scans of the same rows may differ by rounding: a hundred-millionth of a column's standard deviation is none.
    """
    if (one.n_obs, one.n_clusters) != (other.n_obs, other.n_clusters) or not np.array_equal(one.sizes, other.sizes):
        return False
    if not np.array_equal(one.counts, other.counts):
        return False
    p = one.n_row_level
    scale = np.sqrt(one.column_variances)
    products = np.outer(scale, scale)
    pairs = (
        ((one.means + one.origin) / scale, (other.means + other.origin) / scale),
        (one.covariances / products, other.covariances / products),
        (one.scatter / products[:p, :p] / one.n_obs, other.scatter / products[:p, :p] / one.n_obs),
    )
    # a mean far from zero is known to sixteen of its own digits
    return all(np.allclose(ours, theirs, rtol=1e-13, atol=SAME) for ours, theirs in pairs)


def two_level_statistics(
    table: ParameterTable, moments: Moments, cluster: GroupingFactor, whole: Moments | None = None
) -> TwoLevelStatistics:
    """Pool the moments over the clusters and check that each variable varies where the model says.

    Parameters
    ----------
    whole
        The moments of all groups of rows, whose origin each group's statistics have.

    Raises
    ------
    DataError
        A between-only variable that varies within clusters, or one of level 1 that does not.
    IdentificationError
        Fewer than two clusters, or one row per cluster.
    """
    codes, labels = moments.units_of(cluster)
    n, origin, mean, scatter = column_moments(table.columns, moments, whole)
    n, mean, scatter = pool(codes, len(labels), n, mean, scatter)
    p, t = len(table.within.observed), len(table.columns)
    rows, cols = lower_by_rows(t)
    pooled = unpack(scatter.sum(axis=1))
    _check_variation(table, group_name(cluster), pooled, n, mean, scatter, labels)
    keep = (rows < p) & (cols < p)
    sizes, which = np.unique(n, return_inverse=True)
    counts = np.bincount(which).astype(float)
    means = np.stack([np.bincount(which, row) / counts for row in mean], axis=1)
    deviations = mean - means[which].T
    covariances = np.empty((len(sizes), t, t))
    for i, j in zip(rows.tolist(), cols.tolist(), strict=True):
        covariances[:, i, j] = covariances[:, j, i] = np.bincount(which, deviations[i] * deviations[j]) / counts
    return TwoLevelStatistics(
        columns=table.columns,
        n_row_level=p,
        n_obs=float(n.sum()),
        n_clusters=len(n),
        origin=origin,
        scatter=pooled[:p, :p],
        sizes=sizes,
        counts=counts,
        means=means,
        covariances=covariances,
        clusters=ClusterStatistics(n, mean, scatter[keep]),
    )


def column_moments(
    names: tuple[str, ...], moments: Moments, whole: Moments | None = None
) -> tuple[Array, Array, Array, Array]:
    """Sizes, origin, means around it and scatter of plain columns; those constant within units have no scatter."""
    schema, all_rows = moments.schema, moments if whole is None else whole
    at = {m[0].name: i for i, m in enumerate(schema.monomials) if len(m) == 1 and isinstance(m[0], Column)}
    constant = {c.name: i for i, c in enumerate(schema.constants) if isinstance(c, Column)}
    origin, mean = np.empty(len(names)), np.empty((len(names), moments.n_units))
    for i, name in enumerate(names):
        if name in at:
            origin[i], mean[i] = schema.centers[Column(name)], moments.mean[at[name]]
        elif name in constant:
            values = np.asarray(moments.constants[constant[name]], dtype=float)
            origin[i] = float(np.average(np.asarray(all_rows.constants[constant[name]], float), weights=all_rows.n))
            mean[i] = values - origin[i]
        else:
            raise DataError(
                f"{name!r} is no column of numbers in the moments. Recode text as numbers in a view or SELECT."
            )
    scatter = np.zeros((packed_size(len(names)), moments.n_units))
    for k, (i, j) in enumerate(np.argwhere(np.tri(len(names))).tolist()):
        if names[i] in at and names[j] in at:
            high, low = sorted((at[names[i]], at[names[j]]), reverse=True)
            scatter[k] = moments.scatter[packed_place(high, low)]
    return moments.n, origin, mean, scatter


def check_clusters(n: Array, cluster: str) -> None:
    """Refuse fewer than two clusters, or clusters of one row; n is (J,) their rows.

    Raises
    ------
    IdentificationError
        In a sentence.
    """
    if len(n) < 2:
        raise IdentificationError(f"A two-level model needs two clusters or more. Got {len(n)} in {cluster!r}.")
    if n.max() < 2:
        raise IdentificationError(
            f"Every cluster of {cluster!r} has one row, so that levels 1 and 2 cannot be separated. Fit a model of "
            "one level, or name the grouping column."
        )


def not_constant_sentence(name: str, cluster: str, where: str) -> str:
    """Say that a between-only variable varies within clusters."""
    return (
        f"{name!r} is at level 2 only, but varies within clusters of {cluster!r}, for example in {where}. "
        f"Name it at level 1 too ({name} ~~ {name} does), or take its mean by cluster in a view."
    )


def not_varying_sentence(table: ParameterTable, name: str, cluster: str) -> str:
    """Say that a variable of level 1 does not vary within clusters."""
    slope = next((slope for slope in table.slopes if slope.predictor == name), None)
    if slope is not None:
        return (
            f"The random slope {slope.name!r} is of {name!r}, which does not vary within clusters of {cluster!r}, so "
            f"that no cluster has a slope of its own. Let {name!r} predict {slope.outcome!r} at level 2 instead."
        )
    return (
        f"{name!r} is at level 1, but does not vary within clusters of {cluster!r}. Name it at level 2 only; as a "
        f"covariate of a ready model it is | between({name})."
    )


def _check_variation(
    table: ParameterTable, cluster: str, whole: Array, n: Array, mean: Array, scatter: Array, labels: NDArray[np.str_]
) -> None:
    check_clusters(n, cluster)
    p = len(table.within.observed)
    spread = (n * (mean - (mean @ n / n.sum())[:, None]) ** 2).sum(axis=1)
    for i, name in enumerate(table.columns):
        varies = whole[i, i] > CONSTANT * spread[i]
        if varies and i >= p:
            where = labels[int(np.argmax(scatter[packed_place(i, i)]))]
            raise DataError(not_constant_sentence(name, cluster, where))
        if not varies and i < p:
            raise DataError(not_varying_sentence(table, name, cluster))
    check_independent(table.columns[:p], whole[:p, :p])


def check_independent(columns: tuple[str, ...], within: Array) -> None:
    """Refuse columns of level 1 of which one is a linear combination of others.

    Parameters
    ----------
    within
        (p, p) their covariance matrix or scatter within clusters; of pairs of cells it may be indefinite, which is no
        combination.

    Raises
    ------
    IdentificationError
        With their names.
    """
    scale = np.sqrt(np.diag(within))
    values, vectors = np.linalg.eigh(within / np.outer(scale, scale))
    least = int(np.argmin(np.abs(values)))
    if abs(values[least]) < 1e-10:
        names = [columns[i] for i in np.flatnonzero(np.abs(vectors[:, least]) > 1e-3)]
        raise IdentificationError(
            f"Within clusters, {', '.join(names)} are linear combinations of each other. Leave one of them out."
        )


def check_columns(table: ParameterTable, cluster: GroupingFactor, source: Source, group: GroupingFactor = ()) -> None:
    """Refuse columns that are no numbers, before the scan.

    Raises
    ------
    DataError
        A missing column, text, the cluster's own column as a variable, or the name of the patterns of missing cells.
    """
    source.require([*table.columns, *cluster, *group])
    if PATTERN in (*table.columns, *cluster, *group):
        raise DataError(
            f"{PATTERN!r} is the name of the pattern of missing cells. Got it as a column of the model; give the "
            "column another name in a view or SELECT."
        )
    for name in table.columns:
        if name in cluster:
            raise DataError(f"{name!r} names the clusters and is in the model too. Leave it out of the model.")
        if name in group:
            raise DataError(f"{name!r} names the groups and is in the model too. Leave it out of the model.")
        if not source.is_numeric(name):
            raise DataError(
                f"Column {name!r} holds {source.types[name]}, and a structural equation model needs numbers."
                f"{source.stray_cells(name) if source.is_text(name) else ''} Recode it in a view or SELECT, "
                f"for example 0 and 1; the clusters are those of {group_name(cluster)!r}."
            )
