"""Search the maximum of the likelihood of several groups, and of each alone if they share no parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.algebra.matrices import GroupedStructure
from mlm_ops.structural.estimation.optimize import SemOptimum
from mlm_ops.structural.estimation.search import (
    Search,
    check_slopes_vary,
    likelihood_of,
    minimise_adapted,
    minimise_within,
    search,
    start_of,
)
from mlm_ops.structural.language.parameters import ParameterTable
from mlm_ops.structural.likelihood.grouped import GroupedLikelihood
from mlm_ops.structural.likelihood.quadrature import QuadratureLikelihood
from mlm_ops.structural.statistics.grouped import GroupedStatistics


def search_groups(table: ParameterTable, structure: GroupedStructure, statistics: GroupedStatistics) -> Search:
    """Minimise the deviance of all groups."""
    tables = [own for own, _ in table.by_group]
    groups = list(zip(tables, (own for own, _ in structure.parts), statistics.by_group, strict=True))
    if not table.crosses_groups or structure.latent_slopes:
        alone = [search(*group) for group in groups]
        likelihood = GroupedLikelihood(structure, statistics, tuple(one for _, one, _ in alone))
        optima = [optimum for optimum, _, _ in alone]
        if not table.crosses_groups:
            return _joined(likelihood, optima), likelihood, ()
        return _with_nodes(table, likelihood, _mean(structure, [one.theta for one in optima]))
    parts = tuple(likelihood_of(own, of_group) for _, own, of_group in groups)
    likelihood = GroupedLikelihood(structure, statistics, parts)

    def starts(seed: int | None) -> Array:
        begins = [start_of(one, own, of_group, seed) for one, (own, _, of_group) in zip(parts, groups, strict=True)]
        return _mean(structure, begins)

    optimum, active = minimise_within(table, likelihood, starts)
    return optimum, likelihood, active


def _mean(structure: GroupedStructure, thetas: Sequence[Array]) -> Array:
    """(k,) parameters of all groups, those in common the mean of theirs."""
    total, count = np.zeros(structure.n_free), np.zeros(structure.n_free)
    for (_, places), theta in zip(structure.parts, thetas, strict=True):
        total[places] += theta
        count[places] += 1
    return np.asarray(total / count)


def _with_nodes(table: ParameterTable, likelihood: GroupedLikelihood, theta: Array) -> Search:
    """The minimum with nodes of a quadrature in each group, until their places are those that it was found with."""

    def adapt(used: GroupedLikelihood, at: Array) -> GroupedLikelihood:
        parts = []
        for one, (_, places), (own, _) in zip(used.by_group, used.structure.parts, table.by_group, strict=True):
            assert isinstance(one, QuadratureLikelihood)
            check_slopes_vary(own, one, at[places])
            parts.append(one.adapted(at[places]))
        return replace(used, by_group=tuple(parts))

    return minimise_adapted(table, adapt, likelihood, lambda at: partial(_at, at), theta, most_starts=1)


def _at(theta: Array, _: int | None) -> Array:
    """Where the search begins."""
    return theta


def _joined(likelihood: GroupedLikelihood, optima: Sequence[SemOptimum]) -> SemOptimum:
    """The optimum of groups that have no parameter in common."""
    structure = likelihood.structure
    at = likelihood.joined([one.evaluation for one in optima])
    widths = [one.tangent.shape[1] for one in optima]
    tangent, hessian = np.zeros((structure.n_free, sum(widths))), np.zeros((structure.n_free,) * 2)
    start = 0
    for (_, places), one, width in zip(structure.parts, optima, widths, strict=True):
        tangent[np.ix_(places, np.arange(start, start + width))] = one.tangent
        hessian[np.ix_(places, places)] = one.hessian
        start += width
    return SemOptimum(
        theta=_mean(structure, [one.theta for one in optima]),
        evaluation=at,
        hessian=hessian,
        tangent=tangent,
        decrement=sum(one.decrement for one in optima),
        converged=all(one.converged for one in optima),
        at_zero=_flags(structure, [one.at_zero for one in optima]),
        boundary=_flags(structure, [one.boundary for one in optima]),
        singular=any(one.singular for one in optima),
        evaluations=sum(one.evaluations for one in optima),
        starts=max(one.starts for one in optima),
    )


def _flags(structure: GroupedStructure, flags: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    return np.asarray(_mean(structure, [one.astype(float) for one in flags]) > 0)
