"""Compute the sums of full-information maximum likelihood from moments by pattern of missing cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, IdentificationError
from mlm_ops.language.model import GroupingFactor, group_name
from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.patterns import observed_cells
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import lower_by_rows
from mlm_ops.structural.algebra.identification import Seen, undetermined
from mlm_ops.structural.algebra.matrices import Structure
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.parameters import ParameterTable
from mlm_ops.structural.statistics.cluster_sums import ClusterSums, ClusterUnits, Statistics, cluster_sums
from mlm_ops.structural.statistics.from_moments import (
    CONSTANT,
    check_clusters,
    check_independent,
    column_moments,
    not_constant_sentence,
    not_varying_sentence,
    two_level_statistics,
)
from mlm_ops.structural.statistics.grouped import AnyStatistics


def statistics_of_patterns(
    table: ParameterTable, moments: Moments, cluster: GroupingFactor, whole: Moments | None = None
) -> Statistics:
    """The sums of clusters by pattern; where no cell is missing, the statistics of complete rows.

    Raises
    ------
    DataError, IdentificationError
        As `two_level_statistics`.
    """
    observed = observed_cells(moments, table.columns)
    if observed.all():
        return two_level_statistics(table, moments, cluster, whole)
    codes, labels = moments.units_of(cluster)
    check_clusters(np.bincount(codes, moments.n, len(labels)).astype(float), group_name(cluster))
    p = len(table.within.observed)
    n, origin, mean, scatter = column_moments(table.columns, moments, whole)
    mean = np.where(observed, mean, 0.0)
    rows, cols = lower_by_rows(len(table.columns))
    scatter = np.where(observed[rows] & observed[cols], scatter, 0.0)
    level2, is_observed = _level2(table, group_name(cluster), codes, labels, (n, mean, scatter), observed)
    patterns, which = np.unique(observed[:p].T, axis=0, return_inverse=True)
    predictors = dict.fromkeys(table.columns.index(slope.predictor) for slope in table.slopes)
    units = ClusterUnits(codes, which.reshape(-1).astype(np.int64), n, mean, scatter)
    sums = cluster_sums(table.columns, p, origin, tuple(predictors), patterns, units, level2, is_observed)
    _check_variation(table, group_name(cluster), sums)
    return sums


def _level2(
    table: ParameterTable,
    cluster: str,
    codes: Codes,
    labels: NDArray[np.str_],
    units: tuple[Array, Array, Array],
    observed: NDArray[np.bool_],
) -> tuple[Array, NDArray[np.bool_]]:
    """(J, r) the between-only columns around the origin, and whether a cluster has them."""
    n, mean, scatter = units
    p, size = len(table.within.observed), len(labels)
    rows, cols = lower_by_rows(len(table.columns))
    own = scatter[rows == cols]
    values, is_observed = (
        np.zeros((size, len(table.between_only))),
        np.zeros((size, len(table.between_only)), dtype=bool),
    )
    for k, name in enumerate(table.between_only):
        weight = n * observed[p + k]
        total = np.bincount(codes, weight, size)
        is_observed[:, k] = total > 0
        values[:, k] = np.bincount(codes, weight * mean[p + k], size) / np.maximum(total, 1.0)
        within = np.bincount(codes, own[p + k] + weight * (mean[p + k] - values[codes, k]) ** 2, size)
        average = float(total @ values[:, k] / total.sum())
        if within.sum() > CONSTANT * float(total @ (values[:, k] - average) ** 2):
            raise DataError(not_constant_sentence(name, cluster, labels[int(np.argmax(within))]))
    return values, is_observed


def _check_variation(table: ParameterTable, cluster: str, sums: ClusterSums) -> None:
    for i, name in enumerate(table.within.observed):
        if not sums.counts[:, sums.patterns[:, i]].any():
            raise DataError(f"{name!r} has no value in any row. Leave it out.")
    within, between = np.diag(sums.pooled_within), np.diag(sums.between_estimate)
    for i, name in enumerate(table.within.observed):
        if not within[i] > CONSTANT * between[i]:
            raise DataError(not_varying_sentence(table, name, cluster))
    check_independent(table.within.observed, sums.pooled_within)


def has_all_pairs(statistics: Statistics) -> bool:
    """Whether some row has each pair of columns of level 1, and some cluster each pair of all columns."""
    return not isinstance(statistics, ClusterSums) or statistics.has_all_pairs


def check_information(table: ParameterTable, structure: Structure, statistics: AnyStatistics) -> None:
    """Refuse parameters on which the cells that are there tell nothing.

    Raises
    ------
    IdentificationError
        With these parameters, and the variables that are never seen together.
    """
    seen = seen_moments(structure, statistics)
    if seen is None:
        return
    unknown = undetermined(table, structure, seen)
    names = [name for name, is_unknown in zip(table.names(), unknown, strict=True) if is_unknown]
    if not names:
        return
    columns, apart = statistics.columns, []
    for number, levels in enumerate(seen):
        where = f" of {table.groups[number]}" if table.groups else ""
        for unit, is_seen in zip(("row", "cluster"), levels, strict=True):
            absent = np.argwhere(np.triu(~is_seen[: len(columns), : len(columns)])).tolist()
            apart += [f"{columns[i]} and {columns[j]} in no {unit}{where}" for i, j in absent]
    raise IdentificationError(
        f"The missing values leave no information on {', '.join(names)}. Got values of {'; '.join(apart)} together. "
        "Fix these parameters, or leave one of the variables out."
    )


def seen_moments(structure: Structure, statistics: AnyStatistics) -> list[Seen] | None:
    """Of each group, elements of Sigma_W and Sigma_B on which its cells tell anything; None where all are seen.

    Those of Sigma_B are of the columns and random slopes, which are seen with all that their clusters have.
    """
    if all(has_all_pairs(part) for part in statistics.by_group):
        return None
    seen = []
    for (part, _), own in zip(structure.parts, statistics.by_group, strict=True):
        within, between = (own.coverage(level)[0] > 0 for level in (WITHIN, BETWEEN))
        t = len(between)
        whole = np.ones((part.n_columns, part.n_columns), dtype=bool)
        whole[:t, :t] = between
        seen.append((within[: part.n_row_level, : part.n_row_level], whole))
    return seen
