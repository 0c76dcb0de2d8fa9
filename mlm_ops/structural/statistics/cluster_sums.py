"""Sum up each cluster's rows for random slopes and missing cells, from moments, without another scan."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.sums import lower_by_rows, packed_place, packed_size
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.statistics.from_moments import SAME, ColumnStatistics, TwoLevelStatistics, same_data

#: Among the covariates, in the place of a column: minus the value at a node of a quadrature of the first slope that is
#: integrated over; that of the next slope is one less.
NODE = -1


@dataclass(frozen=True)
class PooledSums:
    """Sums over all clusters by pattern: rows (O,), values (O, p) and cross-products (O, p, p)."""

    counts: Array
    sums: Array
    squares: Array


@dataclass(frozen=True)
class ClusterSums(ColumnStatistics):
    """Each cluster's own sums by pattern of observed cells; missing cells count as zero.

    Attributes
    ----------
    covariates
        Places of the columns that have random slopes, whose values enter as they are.
    patterns
        (O, p) which cells of level 1 the rows of a pattern have.
    counts
        (J, O) rows.
    sums
        (J, O, 1 + c, p) of the p columns, and of their products with each covariate.
    products
        (J, O, (1 + c) (2 + c) / 2) of one and the covariates with each other, lower triangle by rows.
    squares
        (J, O, p (p + 1) / 2) cross-products of the p columns.
    level2
        (J, r) the between-only columns.
    level2_patterns, level2_codes
        (A, r) which of them the clusters of a pattern have, and (J,) each cluster's pattern.
    shares
        (J,) weights of the clusters in pooled sums; None for ones.
    """

    covariates: tuple[int, ...]
    patterns: NDArray[np.bool_]
    counts: Array
    sums: Array
    products: Array
    squares: Array
    level2: Array
    level2_patterns: NDArray[np.bool_]
    level2_codes: Codes
    shares: Array | None = None

    def share(self, clusters: NDArray[np.int64]) -> Array:
        """The weights of some clusters."""
        return np.ones(len(clusters)) if self.shares is None else self.shares[clusters]

    @property
    def n_clusters(self) -> int:
        """Clusters J."""
        return len(self.counts)

    @cached_property
    def pooled(self) -> PooledSums:
        """The sums over all clusters."""
        share = self.share(np.arange(self.n_clusters))
        p, packed = self.n_row_level, np.tensordot(share, self.squares, axes=1)
        squares = np.empty((len(self.patterns), p, p))
        rows, cols = lower_by_rows(p)
        squares[:, rows, cols] = squares[:, cols, rows] = packed
        return PooledSums(share @ self.counts, np.tensordot(share, self.sums[:, :, 0], axes=1), squares)

    @property
    def column_means(self) -> Array:
        """(t,) means over the rows, or clusters, that have a value."""
        p, pooled = self.n_row_level, self.pooled
        rows = np.maximum(pooled.counts @ self.patterns, 1.0)
        has_value = self.level2_patterns[self.level2_codes]
        means = [pooled.sums.sum(axis=0) / rows, self.level2.sum(axis=0) / np.maximum(has_value.sum(axis=0), 1)]
        return np.concatenate(means) + self.origin[: p + self.level2.shape[1]]

    @property
    def pooled_within(self) -> Array:
        """(p, p) the within covariance matrix's estimate by moments, each element of the rows that have the pair."""
        return self._by_moments[0]

    @property
    def between_estimate(self) -> Array:
        """(t, t) the between covariance matrix's estimate by moments, perhaps indefinite."""
        return self._by_moments[1]

    @cached_property
    def _by_moments(self) -> tuple[Array, Array]:
        p, t = self.n_row_level, len(self.columns)
        within, means = np.zeros((p, p)), np.full((t, self.n_clusters), np.nan)
        rows_of = self.counts @ self.patterns
        with np.errstate(all="ignore"):
            means[:p] = (self.sums[:, :, 0].sum(axis=1) / rows_of).T
        means[p:] = np.where(self.level2_patterns[self.level2_codes], self.level2, np.nan).T
        share = np.zeros((p, p))
        for k, (i, j) in enumerate(zip(*lower_by_rows(p), strict=True)):
            pair = self.patterns[:, i] & self.patterns[:, j]
            n = self.counts[:, pair].sum(axis=1)
            has_pair, divisor = n > 0, np.maximum(n, 1.0)
            sums = [self.sums[:, pair, 0, c].sum(axis=1) for c in (i, j)]
            scatter = self.squares[:, pair, k].sum(axis=1) - sums[0] * sums[1] / divisor
            within[i, j] = within[j, i] = scatter.sum() / max(n.sum() - has_pair.sum(), 1.0)
            share[i, j] = share[j, i] = float((1 / divisor[has_pair]).mean()) if has_pair.any() else 0.0
        deviations = np.nan_to_num(means - np.nanmean(means, axis=1, keepdims=True))
        is_there = (~np.isnan(means)).astype(float)
        between = deviations @ deviations.T / np.maximum(is_there @ is_there.T, 1.0)
        between[:p, :p] -= within * share
        return within, between

    def choose_columns(self, columns: tuple[str, ...]) -> ClusterSums:
        """The sums of some of the columns, in this order, those of level 1 first, without products with covariates."""
        at = np.array([self.columns.index(name) for name in columns], dtype=np.int64)
        p = int((at < self.n_row_level).sum())
        own, rest = at[:p], at[p:] - self.n_row_level
        rows, cols = lower_by_rows(p)
        squares = packed_place(np.maximum(own[rows], own[cols]), np.minimum(own[rows], own[cols]))
        patterns, codes = np.unique(self.patterns[:, own], axis=0, return_inverse=True)
        into = (codes.reshape(-1, 1) == np.arange(len(patterns))).astype(float)
        has_value = self.level2_patterns[self.level2_codes][:, rest]
        level2_patterns, level2_codes = np.unique(has_value, axis=0, return_inverse=True)
        return replace(
            self,
            columns=columns,
            n_row_level=p,
            origin=self.origin[at],
            covariates=(),
            patterns=patterns,
            counts=self.counts @ into,
            sums=np.einsum("joi,oq->jqi", self.sums[:, :, 0, own], into)[:, :, None],
            products=(self.counts @ into)[:, :, None],
            squares=np.einsum("joi,oq->jqi", self.squares[:, :, squares], into),
            level2=self.level2[:, rest],
            level2_patterns=level2_patterns,
            level2_codes=level2_codes.reshape(-1),
        )

    def at_nodes(self, nodes: Array) -> ClusterSums:
        """Each cluster once for every node of its random slopes, which it then shows at level 2; cluster by cluster.

        Minus the value of each is one more covariate, as the slope multiplies the predictor less its part between
        clusters.

        Parameters
        ----------
        nodes
            (J, Q, d) values of d slopes.
        """
        count = nodes.shape[1]
        minus = -nodes.reshape(-1, nodes.shape[2])
        sums, products, counts, squares, level2 = (
            np.repeat(array, count, axis=0)
            for array in (self.sums, self.products, self.counts, self.squares, self.level2)
        )
        firsts = np.arange(len(self.covariates) + 1)
        with_one, rows = [sums], [products]
        for k, value in enumerate(minus.T):
            with_one.append(value[:, None, None, None] * sums[:, :, :1])
            with_columns = products[:, :, firsts * (firsts + 1) // 2]
            with_nodes = minus[:, None, : k + 1] * counts[:, :, None]
            rows.append(value[:, None, None] * np.concatenate([with_columns, with_nodes], axis=2))
        there = np.ones((len(self.level2_patterns), minus.shape[1]), dtype=bool)
        return replace(
            self,
            covariates=(*self.covariates, *(NODE - k for k in range(minus.shape[1]))),
            counts=counts,
            sums=np.concatenate(with_one, axis=2),
            products=np.concatenate(rows, axis=2),
            squares=squares,
            level2=np.concatenate([level2, -minus], axis=1),
            level2_patterns=np.concatenate([self.level2_patterns, there], axis=1),
            level2_codes=np.repeat(self.level2_codes, count),
        )

    def choose_clusters(self, clusters: slice | NDArray[np.int64]) -> ClusterSums:
        """The sums of some of the clusters."""
        names = ("counts", "sums", "products", "squares", "level2", "level2_codes")
        arrays = {name: getattr(self, name)[clusters] for name in names}
        shares = None if self.shares is None else self.shares[clusters]
        return replace(self, n_obs=float(self.counts[clusters].sum()), shares=shares, **arrays)

    def sample(self, size: int) -> ClusterSums:
        """The sums of some of the clusters, evenly from all of them."""
        return self.choose_clusters(np.unique(np.linspace(0, self.n_clusters - 1, size).astype(np.int64)))

    def coverage(self, level: int) -> tuple[Array, float]:
        """Rows (level 1, (p, p)) or clusters (level 2, (t, t)) that have both of two columns, and all of them."""
        if level == WITHIN:
            rows = self.patterns.astype(float)
            return rows.T @ (self.pooled.counts[:, None] * rows), self.n_obs
        there = np.concatenate([self.counts @ self.patterns > 0, self.level2_patterns[self.level2_codes]], axis=1)
        clusters = there.astype(float)
        return clusters.T @ clusters, float(self.n_clusters)

    @property
    def has_all_pairs(self) -> bool:
        """Whether some row has each pair of columns of level 1, and some cluster each pair of all columns."""
        return all(bool((self.coverage(level)[0] > 0).all()) for level in (WITHIN, BETWEEN))

    def level2_groups(self) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
        """For each pattern of level 2 which variables are observed, and the clusters."""
        return self._level2_groups

    @cached_property
    def _level2_groups(self) -> list[tuple[NDArray[np.bool_], NDArray[np.int64]]]:
        return [(row, np.flatnonzero(self.level2_codes == code)) for code, row in enumerate(self.level2_patterns)]


Statistics = TwoLevelStatistics | ClusterSums
"""Of complete rows, or of rows with missing cells."""


def reorder_columns(statistics: Statistics, columns: tuple[str, ...]) -> Statistics | None:
    """The same statistics with the columns in another order; None where they are of other columns."""
    p = statistics.n_row_level
    if sorted(columns[:p]) != sorted(statistics.columns[:p]) or sorted(columns) != sorted(statistics.columns):
        return None
    return statistics.choose_columns(columns)


def is_same_data(one: Statistics, other: Statistics) -> bool:
    """Whether two statistics of the same columns in the same order are of the same rows and clusters."""
    if isinstance(one, ClusterSums) and isinstance(other, ClusterSums):
        if (one.n_obs, one.n_clusters) != (other.n_obs, other.n_clusters):
            return False
        scale = np.sqrt(one.column_variances)
        pairs = (
            (one.column_means / scale, other.column_means / scale),
            (one.pooled_within, other.pooled_within),
            (one.between_estimate, other.between_estimate),
        )
        return all(np.allclose(ours, theirs, rtol=SAME, atol=SAME) for ours, theirs in pairs)
    if isinstance(one, TwoLevelStatistics) and isinstance(other, TwoLevelStatistics):
        return same_data(one, other)
    return False


@dataclass(frozen=True)
class ClusterUnits:
    """Rows of one cluster and pattern each: codes (U,), rows (U,), means (t, U) around the origin, scatter packed."""

    clusters: Codes
    patterns: Codes
    n: Array
    mean: Array
    scatter: Array


def cluster_sums(
    columns: tuple[str, ...],
    n_row_level: int,
    origin: Array,
    covariates: tuple[int, ...],
    patterns: NDArray[np.bool_],
    units: ClusterUnits,
    level2: Array,
    is_observed: NDArray[np.bool_],
) -> ClusterSums:
    """Turn moments of clusters and patterns into sums.

    Parameters
    ----------
    level2, is_observed
        (J, r) the between-only columns around the origin, and whether a cluster has them.
    """
    p, clusters, count = n_row_level, len(level2), len(patterns)
    size = len(covariates) + 1
    n, mean, scatter = units.n, units.mean, units.scatter
    place = units.clusters * count + units.patterns

    def spread(values: Array) -> Array:
        """(J, O) of values by unit."""
        return np.bincount(place, values, clusters * count).astype(float).reshape(clusters, count)

    def product(i: int, j: int) -> Array:
        """Sums of the products of two columns around the origin."""
        return np.asarray(scatter[packed_place(max(i, j), min(i, j))] + n * mean[i] * mean[j])

    counts = spread(n)
    sums = np.zeros((clusters, count, size, p))
    products = np.zeros((clusters, count, packed_size(size)))
    products[:, :, 0] = counts
    for i in range(p):
        sums[:, :, 0, i] = spread(n * mean[i])
        for a, x in enumerate(covariates, start=1):
            sums[:, :, a, i] = spread(product(x, i) + origin[x] * n * mean[i])
    for a, x in enumerate(covariates, start=1):
        raw = mean[x] + origin[x]
        products[:, :, packed_place(a, 0)] = spread(n * raw)
        for b, other in enumerate(covariates[:a], start=1):
            within = scatter[packed_place(max(x, other), min(x, other))]
            products[:, :, packed_place(a, b)] = spread(within + n * raw * (mean[other] + origin[other]))
    squares = np.stack([spread(product(i, j)) for i, j in zip(*lower_by_rows(p), strict=True)], axis=-1)
    level2_patterns, codes = np.unique(is_observed, axis=0, return_inverse=True)
    return ClusterSums(
        columns=columns,
        n_row_level=p,
        # rows without any value at level 1 say nothing
        n_obs=float(n @ np.asarray(patterns.any(axis=1))[units.patterns]),
        origin=origin,
        covariates=covariates,
        patterns=patterns,
        counts=counts,
        sums=sums,
        products=products,
        squares=squares,
        level2=np.where(is_observed, level2, 0.0),
        level2_patterns=level2_patterns,
        level2_codes=np.asarray(codes).reshape(clusters).astype(np.int64),
    )


def sums_of_complete_rows(statistics: TwoLevelStatistics, covariates: tuple[int, ...]) -> ClusterSums:
    """The sums of statistics of complete rows, for random slopes of some columns."""
    clusters, p, t = statistics.clusters, statistics.n_row_level, len(statistics.columns)
    scatter = np.zeros((packed_size(t), len(clusters.n)))
    scatter[: len(clusters.scatter)] = clusters.scatter
    number = np.arange(len(clusters.n), dtype=np.int64)
    units = ClusterUnits(number, np.zeros_like(number), clusters.n, clusters.mean, scatter)
    complete = np.ones((len(number), t - p), dtype=bool)
    return cluster_sums(
        statistics.columns,
        p,
        statistics.origin,
        covariates,
        np.ones((1, p), dtype=bool),
        units,
        clusters.mean[p:].T,
        complete,
    )
