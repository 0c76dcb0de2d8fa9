"""Search the maximum of one group's likelihood: its start, its nodes, and the constraints to fulfil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeVar

import numpy as np

from mlm_ops.errors import IdentificationError
from mlm_ops.moments.arrays import Array
from mlm_ops.structural.algebra.constraints import Equations, equations_of
from mlm_ops.structural.algebra.matrices import SemStructure
from mlm_ops.structural.estimation.bounds import unit_shares
from mlm_ops.structural.estimation.optimize import BESIDE_BOUND, SemOptimum, minimise
from mlm_ops.structural.estimation.starts import starting_values
from mlm_ops.structural.language.model import Constraint
from mlm_ops.structural.language.parameters import ParameterTable
from mlm_ops.structural.likelihood.cluster_likelihood import ClusterLikelihood
from mlm_ops.structural.likelihood.criterion import SemCriterion
from mlm_ops.structural.likelihood.quadrature import QuadratureLikelihood, unadapted
from mlm_ops.structural.likelihood.random_intercepts import Likelihood
from mlm_ops.structural.statistics.cluster_sums import ClusterSums, Statistics, sums_of_complete_rows

#: The optimum, its likelihood, and the inequalities that hold there as equations.
Search = tuple[SemOptimum, SemCriterion, tuple[Constraint, ...]]

#: The change of the deviance that ends a search with few nodes.
_ROUGHLY = 1e-2
#: Searches with nodes placed anew, and the change of the deviance by them that ends these.
_MOST_ADAPTATIONS, _PLACED = 12, 1e-7
#: Clusters of the search before that over all of them.
_SAMPLE = 1000

#: A likelihood with nodes: of one group, or of all.
_Adapted = TypeVar("_Adapted", bound=SemCriterion)


def search(table: ParameterTable, structure: SemStructure, statistics: Statistics) -> Search:
    """Minimise; with nodes of a quadrature, until their places at the optimum are those that it was found with."""
    if not structure.latent_slopes:
        likelihood = likelihood_of(structure, statistics)
        starts = partial(start_of, likelihood, table, statistics)
        optimum, active = minimise_within(table, likelihood, starts)
        return optimum, likelihood, active
    table = _with_varying_start(table)
    sums = _sums(structure, statistics)
    many = sums.n_clusters >= 4 * _SAMPLE
    theta = starting_values(table, statistics)
    if many:
        with suppress(IdentificationError, np.linalg.LinAlgError):
            theta = search(table, structure, sums.sample(_SAMPLE))[0].theta
    for nodes in unadapted(structure, sums, theta).coarse_counts:
        # what few nodes do not find more of them may
        with suppress(IdentificationError, np.linalg.LinAlgError):
            coarse = unadapted(structure, sums, theta)
            theta = _search_with_nodes(table, coarse, statistics, theta, nodes, _ROUGHLY)[0].theta
    quadrature = unadapted(structure, sums, theta)
    return _search_with_nodes(table, quadrature, statistics, theta, quadrature.count, _PLACED)


def _search_with_nodes(
    table: ParameterTable,
    quadrature: QuadratureLikelihood,
    statistics: Statistics,
    theta: Array,
    nodes: int,
    change: float,
) -> tuple[SemOptimum, QuadratureLikelihood, tuple[Constraint, ...]]:
    """Minimise with so many nodes, placed anew at each minimum until that changes the deviance by less than told."""

    def adapt(likelihood: QuadratureLikelihood, at: Array) -> QuadratureLikelihood:
        check_slopes_vary(table, likelihood, at)
        return likelihood.adapted(at, nodes)

    def starts(at: Array) -> Callable[[int | None], Array]:
        return partial(_from, at, table, statistics)

    return minimise_adapted(table, adapt, quadrature, starts, theta, change=change)


def minimise_adapted(
    table: ParameterTable,
    adapt: Callable[[_Adapted, Array], _Adapted],
    likelihood: _Adapted,
    starts: Callable[[Array], Callable[[int | None], Array]],
    theta: Array,
    *,
    change: float = _PLACED,
    most_starts: int = 8,
) -> tuple[SemOptimum, _Adapted, tuple[Constraint, ...]]:
    """Minimise with nodes at fixed places, and place them anew, until that changes the deviance by less than `change`.

    Parameters
    ----------
    adapt
        A likelihood's nodes placed anew at these parameters, after a check that their integral exists there.
    starts
        From the parameters last found to the starting values of the next search, by seed.
    theta
        (k,) where the first search begins.

    Returns
    -------
    The last minimum, not converged where the places had not come to rest, the decrement then at least their last
    change of the deviance; the likelihood that it is of; and the inequalities that hold there.
    """
    likelihood = adapt(likelihood, theta)
    for _ in range(_MOST_ADAPTATIONS):
        optimum, active = minimise_within(table, likelihood, starts(theta), most_starts)
        theta, used = optimum.theta, likelihood
        likelihood = adapt(used, theta)
        moved = abs(likelihood.deviance(theta) - optimum.evaluation.deviance)
        if moved < change:
            return optimum, used, active
    return replace(optimum, converged=False, decrement=max(optimum.decrement, moved)), used, active


def _with_varying_start(table: ParameterTable) -> ParameterTable:
    """The table without a starting value of zero for the variance of a latent-centred slope, where no integral is."""
    latent = {slope.name for slope in table.slopes if slope.latent}
    rows = (
        replace(r, start=None) if r.is_variance and r.lhs in latent and r.start is not None and r.start <= 0 else r
        for r in table.rows
    )
    return replace(table, rows=tuple(rows))


def check_slopes_vary(table: ParameterTable, quadrature: QuadratureLikelihood, theta: Array) -> None:
    """Refuse latent-centred slopes without variance, or with a correlation of one: nodes have no integral over them.

    Raises
    ------
    IdentificationError
        With their names.
    """
    slopes = [table.slopes[latent] for latent in quadrature.structure.latent_slopes]
    places = [quadrature.structure.levels[1].names.index(slope.name) for slope in slopes]
    spread = quadrature.structure.moments(theta)[1].spread[np.ix_(places, places)]
    variances = np.diag(spread)
    shares = variances * unit_shares(quadrature, theta)[1][places]
    for slope, share in zip(slopes, shares, strict=True):
        if not share > BESIDE_BOUND:
            raise IdentificationError(
                f"The variance of the random slope {slope.name!r} of {slope.predictor} around its latent mean is zero, "
                f"where its likelihood by quadrature has no value. Give it a fixed slope, as in {slope.outcome} ~ "
                f'{slope.predictor}, or take the predictor as it is observed by slopes="observed".'
            )
    if np.linalg.eigvalsh(spread / np.sqrt(np.outer(variances, variances)))[0] > BESIDE_BOUND:
        return
    first, second = slopes
    raise IdentificationError(
        f"The random slopes {first.name!r} of {first.predictor} and {second.name!r} of {second.predictor} around their "
        "latent means have a correlation of one, where their likelihood by quadrature has no value. Give one of them a "
        f"fixed slope, as in {second.outcome} ~ {second.predictor}, fix their covariance, or take the predictors as "
        'they are observed by slopes="observed".'
    )


def _from(theta: Array, table: ParameterTable, statistics: Statistics, seed: int | None) -> Array:
    """These parameters first, then starting values at random."""
    return theta if seed is None else starting_values(table, statistics, seed)


def minimise_within(
    table: ParameterTable, likelihood: SemCriterion, starts: Callable[[int | None], Array], most_starts: int = 8
) -> tuple[SemOptimum, tuple[Constraint, ...]]:
    """The minimum under the table's constraints, and the inequalities that hold there as equations.

    An inequality that a minimum breaks is made an equation, and an equation that holds the deviance up is let go
    (Nocedal and Wright 2006, ch. 16.5).

    Raises
    ------
    IdentificationError
        No set of them does.
    """
    inequalities = [c for c in table.constraints if c.relation != "=="]
    active: tuple[Constraint, ...] = ()
    seen: set[tuple[Constraint, ...]] = set()
    while active not in seen:
        seen.add(active)
        equations = equations_of(table, active)
        try:
            optimum = minimise(likelihood, starts, most_starts, equations)
        except np.linalg.LinAlgError:
            if not active:
                raise
            break
        broken = _most_broken(table, inequalities, active, optimum.theta)
        idle = None if broken is not None or equations is None else _idle(equations, active, optimum)
        if broken is None and idle is None:
            return optimum, active
        active = (*active, broken) if broken is not None else tuple(c for c in active if c != idle)
    raise IdentificationError(
        f"No values were found that fulfil {', '.join(repr(c.text) for c in table.constraints)}. Leave one out, change "
        "it, or give starting values that fulfil them."
    )


def _most_broken(
    table: ParameterTable, inequalities: Sequence[Constraint], active: Sequence[Constraint], theta: Array
) -> Constraint | None:
    """The inequality that the parameters break most, in shares of what it is made of."""
    others = [c for c in inequalities if c not in active]
    if not others:
        return None
    equations = Equations(table, tuple(others))
    shares = equations.values(theta) / np.maximum(equations.sizes(theta), 1e-300)
    # rounding of one that holds by the others
    return others[int(np.argmin(shares))] if shares.min() < -1e-9 else None


def _idle(equations: Equations, active: Sequence[Constraint], optimum: SemOptimum) -> Constraint | None:
    """The inequality whose equation holds the deviance up most."""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(optimum.hessian)), 1e-300))
    multipliers = equations.multipliers(optimum.theta, optimum.evaluation.gradient, scale)
    own = [(m, c) for m, c in zip(multipliers, equations.constraints, strict=True) if c in active]
    worst = max(own, key=lambda pair: pair[0], default=None)
    return worst[1] if worst is not None and worst[0] > 1e-6 else None


def start_of(likelihood: SemCriterion, table: ParameterTable, statistics: Statistics, seed: int | None) -> Array:
    """Starting values; the first ones of many clusters' own sums by a search over a part of the clusters."""
    start = starting_values(table, statistics, seed)
    if seed is not None or not isinstance(likelihood, ClusterLikelihood):
        return start
    # a model whose text begins somewhere begins there
    begins = {row.index for row in table.rows if row.start is not None}
    if likelihood.statistics.n_clusters < 4 * _SAMPLE or len(begins) > table.n_free / 2:
        return start
    sample = replace(likelihood, statistics=likelihood.statistics.sample(_SAMPLE))
    try:
        optimum = minimise(sample, lambda _: start, most_starts=1, equations=equations_of(table))
    except np.linalg.LinAlgError:
        return start
    return start if optimum.singular or not optimum.converged else optimum.theta


def likelihood_of(structure: SemStructure, statistics: Statistics) -> SemCriterion:
    """The likelihood that a structure has over these statistics: of sizes, or of each cluster."""
    if isinstance(statistics, ClusterSums):
        return ClusterLikelihood(structure, statistics)
    if structure.slopes:
        return ClusterLikelihood(structure, _sums(structure, statistics))
    return Likelihood(structure, statistics)


def _sums(structure: SemStructure, statistics: Statistics) -> ClusterSums:
    """Of the clusters, with products of the predictors of random slopes."""
    if isinstance(statistics, ClusterSums):
        return statistics
    return sums_of_complete_rows(statistics, tuple(dict.fromkeys(predictor for _, predictor in structure.slopes)))
