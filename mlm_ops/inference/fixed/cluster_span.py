"""Reduce each cluster to the small matrices that robust errors need, from cross-products alone.

In a cluster with random columns Z and fixed columns X, ``V = Z T Z' + sigma2 I`` acts as sigma2 I off the span of
``[Z X]``. An orthonormal basis of that span, in which V is diagonal, is determined by the cross-products
``[Z X]'[Z X]``: the eigenvectors of ``Lambda' Z'Z Lambda`` first, the rest of X after them. All is relative to sigma2,
and X is rotated so that ``X' V^-1 X`` summed over all clusters is the identity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.groups import Clusters
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.stacked import premultiply
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.rank import rounding

#: Numbers in the stack of a block's matrices: enough for long vectors, little enough to stay in cache.
_BLOCK = 1 << 18


@dataclass(frozen=True)
class Span:
    """Some clusters, J, in bases of their spans, r the largest dimension; directions that a cluster lacks are zero.

    Attributes
    ----------
    variance
        (J, r) V, diagonal, the largest first.
    x
        (J, r, p) the rotated X.
    residual
        (J, r) ``y - X beta`` within the span.
    score
        (J, p) ``X' V^-1 (y - X beta)``, from cross-products directly: a direction that was taken for rounding is
        missing from `residual`, not from here.
    """

    variance: Array
    x: Array
    residual: Array
    score: Array


@dataclass(frozen=True)
class _Layout:
    """Where the random columns of each cell stand among those of its cluster.

    Attributes
    ----------
    rank
        (cells,) for each level: which of the cluster's units of this level the cell lies in, from 0.
    units
        (clusters,) for each level: units in each cluster.
    sizes
        q of each level.
    """

    rank: tuple[NDArray[np.int64], ...]
    units: tuple[NDArray[np.int64], ...]
    sizes: tuple[int, ...]


def rotation(estimate: Estimate) -> Array:
    """R^-T of ``X' V^-1 X = R R'``, (p, p), V relative to sigma2: what rotates X; engine's beta = R^-T @ rotated."""
    p = len(estimate.optimum.solution.beta)
    return np.linalg.inv(np.linalg.cholesky(estimate.optimum.solution.w[:p, :p])).T


def spans(estimate: Estimate, clusters: Clusters) -> Iterator[Span]:
    """Every cluster once, in blocks of clusters with about as many random effects, so that memory stays flat."""
    layout = _layout(estimate, clusters)
    change = _change_of_columns(estimate)
    p = len(estimate.optimum.solution.beta)
    width = np.zeros(clusters.size, dtype=np.int64)
    for units, size in zip(layout.units, layout.sizes, strict=True):
        width += units * size
    by_width = np.argsort(width, kind="stable")
    cells = np.argsort(clusters.codes, kind="stable")
    starts = np.searchsorted(clusters.codes[cells], np.arange(clusters.size + 1))
    products = estimate.products
    for block in _blocks(width[by_width] + p + 1):
        members = by_width[block]
        lengths = starts[members + 1] - starts[members]
        own = np.repeat(np.arange(len(members)), lengths)
        offset = np.arange(len(own)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        inside = cells[starts[members][own] + offset]
        gram, q = _assemble(products[:, :, inside], change, layout, members, own, inside)
        yield _span(gram, q, rounding(q + p, estimate.design.n_obs))


def _layout(estimate: Estimate, clusters: Clusters) -> _Layout:
    ranks, counts = [], []
    for level in estimate.design.levels:
        first = np.unique(level.codes, return_index=True)[1]
        parent = clusters.codes[first]
        order = np.argsort(parent, kind="stable")
        units = np.bincount(parent, minlength=clusters.size)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order)) - np.repeat(np.cumsum(units) - units, units)
        ranks.append(rank[level.codes])
        counts.append(units)
    return _Layout(tuple(ranks), tuple(counts), tuple(level.size for level in estimate.design.levels))


def _change_of_columns(estimate: Estimate) -> Array:
    """(m, m): ``[Z_1 | Z_2 | … | X y]`` -> ``[Z_1 Lambda_1 | Z_2 Lambda_2 | … | X rotated, y - X beta]``."""
    beta = estimate.optimum.solution.beta
    p, m = len(beta), len(estimate.cross.total)
    change = np.zeros((m, m))
    lams = estimate.criterion.factors(estimate.optimum.theta)
    first = 0
    for placed in estimate.criterion.blocks:
        lam = lams[placed.level][placed.effects, placed.effects]
        change[first : first + len(lam), first : first + len(lam)] = lam
        first += len(lam)
    change[first : first + p, first : first + p] = rotation(estimate)
    change[first : first + p, -1] = -beta
    change[-1, -1] = 1.0
    return change


def _blocks(width: NDArray[np.int64]) -> Iterator[slice]:
    """Cut clusters, in ascending order of their width, so that no block's stack is large."""
    start = 0
    while start < len(width):
        count = max(1, _BLOCK // int(width[start]) ** 2)
        stop = min(start + count, len(width))
        while stop - start > 1 and (stop - start) * int(width[stop - 1]) ** 2 > 2 * _BLOCK:
            stop = start + max(1, (stop - start) // 2)
        yield slice(start, stop)
        start = stop


def _assemble(
    products: Array,
    change: Array,
    layout: _Layout,
    members: NDArray[np.int64],
    own: NDArray[np.int64],
    inside: NDArray[np.int64],
) -> tuple[Array, int]:
    """Sum cells into clusters.

    Parameters
    ----------
    products
        (m, m, C) of the cells `inside` the clusters `members`; `own` (C,) says in which of these a cell lies.

    Returns
    -------
    gram, q
        (J, q + p + 1, q + p + 1) cross-products of a cluster's ``[Z Lambda | X rotated, residual]``, q the most random
        columns of a cluster.
    """
    transformed = premultiply(change.T, premultiply(change.T, products).transpose(1, 0, 2))
    place = np.empty((len(change), len(inside)), dtype=np.int64)
    q = first = 0
    for rank, units, size in zip(layout.rank, layout.units, layout.sizes, strict=True):
        place[first : first + size] = q + rank[inside] * size + np.arange(size)[:, None]
        q += size * int(units[members].max())
        first += size
    rest = len(change) - first
    place[first:] = q + np.arange(rest)[:, None]
    f = q + rest
    target = (own * f + place)[:, None, :] * f + place[None, :, :]
    gram: Array = np.bincount(target.ravel(), transformed.ravel(), len(members) * f * f).astype(np.float64, copy=False)
    return gram.reshape(len(members), f, f), q


def _span(gram: Array, q: int, least: float) -> Span:
    """Cross-products of ``[Z Lambda | X, residual]`` -> coordinates in an orthonormal basis of the span of [Z X].

    Directions whose share of their column's square is below `least` are rounding.
    """
    p = gram.shape[1] - q - 1
    values, vectors = np.linalg.eigh(gram[:, :q, :q])
    # descending: eigh keeps the digits of a graded matrix only where its large elements come first
    values, vectors = np.maximum(values[:, ::-1], 0.0), vectors[:, :, ::-1]
    length = np.sqrt(values)
    present = values > least * np.maximum(values.max(axis=1, initial=1.0), 1.0)[:, None]
    inverse = np.where(present, 1.0 / np.where(present, length, 1.0), 0.0)
    upper = inverse[:, :, None] * (vectors.transpose(0, 2, 1) @ gram[:, :q, q:])
    rest = gram[:, q:, q:] - upper.transpose(0, 2, 1) @ upper
    x, residual = _rest_span(rest, np.einsum("jkk->jk", gram[:, q:, q:])[:, :p], least)
    weighted = upper[:, :, :p] / (1.0 + values)[:, :, None]
    return Span(
        variance=np.concatenate((1.0 + values, np.ones((len(gram), p))), axis=1),
        x=np.concatenate((upper[:, :, :p], x), axis=1),
        residual=np.concatenate((upper[:, :, p], residual), axis=1),
        score=rest[:, :p, p] + (weighted * upper[:, :, p:]).sum(axis=1),
    )


def _rest_span(rest: Array, squares: Array, least: float) -> tuple[Array, Array]:
    """Coordinates of [X, residual] in an orthonormal basis of what Z leaves of X.

    A cluster has fewer rows than there are columns as a rule, so that the matrix is singular. Its elements are known to
    the rounding of the largest, as X is rotated: eigenvalues below that are none. A column that is small in this
    cluster is no measure, as it may be rounding throughout.

    Parameters
    ----------
    rest
        (J, p + 1, p + 1) cross-products of what is left.
    squares
        (J, p) those of the columns of X before anything was taken off, to whose rounding the rest is known.

    Returns
    -------
    x, residual
        (J, p, p), directions by columns, and (J, p).
    """
    p = squares.shape[1]
    values, vectors = np.linalg.eigh(rest[:, :p, :p])
    present = values > least * np.maximum(values.max(axis=1, initial=0.0), squares.max(axis=1, initial=0.0))[:, None]
    root = np.sqrt(np.where(present, values, 0.0))
    inverse = np.where(present, 1.0 / np.where(present, root, 1.0), 0.0)
    x: Array = root[:, :, None] * vectors.transpose(0, 2, 1)
    residual: Array = inverse * np.einsum("jak,ja->jk", vectors, rest[:, :p, p])
    return x, residual
