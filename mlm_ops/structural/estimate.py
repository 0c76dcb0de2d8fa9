"""Maximum likelihood of a two-level model: start, minimise, and the covariance matrix of the estimates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.moments.arrays import Array, Flags, Numbers
from mlm_ops.structural.bounds import unit_shares
from mlm_ops.structural.cluster_likelihood import ClusterLikelihood
from mlm_ops.structural.cluster_sums import ClusterSums, Statistics, sums_of_complete_rows
from mlm_ops.structural.constraints import Equations, equations_of
from mlm_ops.structural.criterion import SemCriterion
from mlm_ops.structural.identification import curvature
from mlm_ops.structural.likelihood import Likelihood
from mlm_ops.structural.matrices import SemStructure, build_structure
from mlm_ops.structural.model import Constraint
from mlm_ops.structural.optimize import BESIDE_BOUND, SemOptimum, minimise
from mlm_ops.structural.parameters import ParameterTable
from mlm_ops.structural.quadrature import CHECK, QuadratureLikelihood, unadapted
from mlm_ops.structural.starts import starting_values

#: The change of the deviance that ends a search with few nodes.
_ROUGHLY = 1e-2
#: A parameter with a smaller part than this in every flat direction is determined.
_DETERMINED = 1e-4
_STEP = 1e-30
#: Searches with nodes placed anew, and the change of the deviance by them that ends these.
_MOST_ADAPTATIONS, _ADAPTED = 12, 1e-7
#: Clusters of the search before that over all of them.
_SAMPLE = 1000


@dataclass(frozen=True)
class SemEstimate:
    """The estimate, on the user's scale.

    Attributes
    ----------
    table, statistics, structure
        The parameter table, the statistics that it was fitted to, and the model's matrices.
    optimum
        Of the search, over means around `statistics.origin` where the means are unrestricted.
    theta
        (k,) free parameters.
    vcov
        (k, k) covariance matrix by the observed information, null (NaN) for what is held at zero, flat,
        or beside a bound.
    undetermined
        (k,) coefficients that nothing determines: of variables whose variance is zero, or that are collinear because
        the variance of their difference is.
    flat
        (k, f) directions in which the deviance does not change to second order.
    likelihood, theta_jacobian
        The likelihood that was searched, and the derivatives of `theta` by its parameters.
    active
        Inequalities of the text that hold as equations.
    """

    table: ParameterTable
    statistics: Statistics
    structure: SemStructure
    optimum: SemOptimum
    theta: Array
    vcov: Array
    undetermined: Flags
    flat: Array
    likelihood: SemCriterion
    theta_jacobian: Array
    active: tuple[Constraint, ...] = ()

    @cached_property
    def robust_vcov(self) -> Array:
        """(k, k) the sandwich of the clusters' scores (White 1982; Liang and Zeger 1986)."""
        bread, _, determined = inverse_curvature(self.optimum)
        mean = self.structure.implied(self.optimum.theta).mean
        free = np.flatnonzero(~self.optimum.at_zero)
        scores = self.likelihood.scores(self.optimum.evaluation, mean)[:, free]
        sandwich = bread @ (scores.T @ scores) @ bread
        regular = determined & ~self.optimum.boundary[free]
        return _transform_vcov(_place_in_full(sandwich, free, regular, self.table.n_free), self.theta_jacobian)

    @cached_property
    def quadrature_error(self) -> float | None:
        """Change of the log-likelihood by more nodes than the search had; None without a quadrature."""
        if not isinstance(self.likelihood, QuadratureLikelihood):
            return None
        theta = self.optimum.theta
        more = CHECK[len(self.structure.latent_slopes)]
        return (self.optimum.evaluation.deviance - self.likelihood.adapted(theta, more).deviance(theta)) / 2

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood at the maximum."""
        return -self.optimum.evaluation.deviance / 2

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, less the equations that they fulfil."""
        equations = equations_of(self.table)
        return self.table.n_free - (0 if equations is None else equations.rank(self.theta))


def estimate_sem(table: ParameterTable, statistics: Statistics) -> SemEstimate:
    """Estimate a model's parameters.

    Raises
    ------
    IdentificationError
        No start has covariance matrices that are positive definite.
    """
    structure = build_structure(table)
    recentre = _recentre_function(table, structure, statistics)
    search_statistics = statistics if recentre is None else replace(statistics, origin=np.zeros_like(statistics.origin))
    try:
        optimum, likelihood, active = _search(table, structure, search_statistics)
    except np.linalg.LinAlgError as error:
        raise IdentificationError(
            "The likelihood cannot be computed where the search begins: a covariance matrix is not positive definite "
            "there. Look at the fixed values and starting values of the variances and covariances."
        ) from error
    jacobian = np.eye(len(optimum.theta)) if recentre is None else _complex_jacobian(recentre, optimum.theta)
    theta = optimum.theta if recentre is None else np.asarray(recentre(optimum.theta), dtype=float)
    bread, flat, determined = inverse_curvature(optimum)
    free = np.flatnonzero(~optimum.at_zero)
    vcov = _transform_vcov(_place_in_full(2 * bread, free, determined & ~optimum.boundary[free], len(theta)), jacobian)
    unknown = optimum.at_zero.copy()
    unknown[free[~determined]] = True
    spread = np.zeros((len(theta), flat.shape[1]))
    spread[~optimum.at_zero] = flat
    coefficients = _coefficients(structure, unknown)
    return SemEstimate(
        table,
        statistics,
        structure,
        optimum,
        theta,
        vcov,
        coefficients,
        jacobian @ spread,
        likelihood,
        jacobian,
        active,
    )


def _search(
    table: ParameterTable, structure: SemStructure, statistics: Statistics
) -> tuple[SemOptimum, SemCriterion, tuple[Constraint, ...]]:
    """Minimise; with nodes of a quadrature, until their places at the optimum are those that it was found with."""
    if not structure.latent_slopes:
        likelihood = _likelihood(structure, statistics)
        starts = partial(_start, likelihood, table, statistics)
        optimum, active = _minimise_within(table, likelihood, starts)
        return optimum, likelihood, active
    table = _with_varying_start(table)
    sums = _sums(structure, statistics)
    many = sums.n_clusters >= 4 * _SAMPLE
    theta = starting_values(table, statistics)
    if many:
        with suppress(IdentificationError, np.linalg.LinAlgError):
            theta = _search(table, structure, sums.sample(_SAMPLE))[0].theta
    for nodes in unadapted(structure, sums, theta).coarse_counts:
        # what few nodes do not find more of them may
        with suppress(IdentificationError, np.linalg.LinAlgError):
            coarse = unadapted(structure, sums, theta)
            theta = _search_with_nodes(table, coarse, statistics, theta, nodes, _ROUGHLY)[0].theta
    quadrature = unadapted(structure, sums, theta)
    return _search_with_nodes(table, quadrature, statistics, theta, quadrature.count, _ADAPTED)


def _search_with_nodes(
    table: ParameterTable,
    quadrature: QuadratureLikelihood,
    statistics: Statistics,
    theta: Array,
    nodes: int,
    change: float,
) -> tuple[SemOptimum, QuadratureLikelihood, tuple[Constraint, ...]]:
    """Minimise with so many nodes, placed anew at each minimum until that changes the deviance by less than told."""
    _check_slope_varies(table, quadrature, theta)
    quadrature = quadrature.adapted(theta, nodes)
    for _ in range(_MOST_ADAPTATIONS):
        near = partial(_from, theta, table, statistics)
        optimum, active = _minimise_within(table, quadrature, near)
        theta, used = optimum.theta, quadrature
        _check_slope_varies(table, used, theta)
        quadrature = used.adapted(theta)
        if abs(quadrature.deviance(theta) - optimum.evaluation.deviance) < change:
            break
    return optimum, used, active


def _with_varying_start(table: ParameterTable) -> ParameterTable:
    """The table without a starting value of zero for the variance of a latent-centred slope, where no integral is."""
    latent = {slope.name for slope in table.slopes if slope.latent}
    rows = (
        replace(r, start=None) if r.is_variance and r.lhs in latent and r.start is not None and r.start <= 0 else r
        for r in table.rows
    )
    return replace(table, rows=tuple(rows))


def _check_slope_varies(table: ParameterTable, quadrature: QuadratureLikelihood, theta: Array) -> None:
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


def _minimise_within(
    table: ParameterTable, likelihood: SemCriterion, starts: Callable[[int | None], Array]
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
            optimum = minimise(likelihood, starts, equations=equations)
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


def _start(likelihood: SemCriterion, table: ParameterTable, statistics: Statistics, seed: int | None) -> Array:
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


def _likelihood(structure: SemStructure, statistics: Statistics) -> SemCriterion:
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


def _recentre_function(
    table: ParameterTable, structure: SemStructure, statistics: Statistics
) -> Callable[[Numbers], Numbers] | None:
    """Function from parameters for means around the origin to the user's; None where means are restricted.

    With a free intercept of its own for each column the means are whatever they are, and data at a million can be
    fitted around their mean: intercepts alone move, by the solution of the means' linear equations. The predictor of a
    random slope stays where it is, as another origin has another variance of the intercepts.
    """
    if structure.slopes or _restricts_means(table):
        return None
    rows = [row for row in table.rows if row.op == "~1" and row.index is not None]
    counts = np.bincount([row.index for row in table.rows if row.index is not None], minlength=table.n_free)
    columns = [row.lhs for row in rows if row.lhs in table.columns]
    if sorted(columns) != sorted(table.columns) or len(rows) != len(columns) or any(counts[r.index] > 1 for r in rows):
        return None
    index = np.array([row.index for row in rows])

    def recentre(theta: Numbers) -> Numbers:
        result = np.array(theta)
        result[index] += np.linalg.solve(structure.jacobian(theta)[2][index].T, statistics.origin)
        return result

    return recentre


def _restricts_means(table: ParameterTable) -> bool:
    """Whether an intercept stands in a constraint."""
    means = [row.index for row in table.rows if row.op == "~1" and row.index is not None]
    anywhere = np.random.default_rng(1).uniform(0.2, 0.8, table.n_free)
    return bool(table.constraints and Equations(table, table.constraints).jacobian(anywhere)[:, means].any())


def _complex_jacobian(function: Callable[[Numbers], Numbers], theta: Array) -> Array:
    """(k, k) by the complex step (Squire and Trapp 1998, SIAM Review 40): exact to rounding."""
    columns = []
    for i in range(len(theta)):
        shifted = theta.astype(complex)
        shifted[i] += _STEP * 1j
        columns.append(function(shifted).imag / _STEP)
    return np.array(columns).T.reshape(len(theta), len(theta))


def _transform_vcov(matrix: Array, jacobian: Array) -> Array:
    """``T V T'`` with what is null in V null in the result, and nothing else."""
    null = np.isnan(np.diag(matrix))
    result = jacobian @ np.where(np.isnan(matrix), 0.0, matrix) @ jacobian.T
    result[null] = result[:, null] = np.nan
    return np.asarray(result)


def inverse_curvature(optimum: SemOptimum) -> tuple[Array, Array, Flags]:
    """The inverse Hessian of the deviance over what is not held, its flat directions, and what is determined."""
    free = np.flatnonzero(~optimum.at_zero)
    directions = optimum.tangent[free]
    eigen = curvature(optimum.tangent.T @ optimum.hessian @ optimum.tangent)
    curved = eigen.curved
    vectors = directions @ (eigen.vectors / eigen.scale[:, None])
    inverse = (vectors[:, curved] / eigen.values[curved]) @ vectors[:, curved].T
    scale = np.sqrt(np.abs(np.diag(optimum.hessian)[free]))
    scale = np.where(scale > 0, scale, 1.0)
    flat = vectors[:, ~curved] * scale[:, None]
    flat = np.where(np.abs(flat) < _DETERMINED, 0.0, flat)
    determined: Flags = np.abs(flat).max(axis=1, initial=0.0) == 0
    return inverse, flat / scale[:, None], determined


def _place_in_full(matrix: Array, free: NDArray[np.int64], determined: Flags, k: int) -> Array:
    """(k, k) with a matrix over the free parameters in its place, null where nothing is determined."""
    full = np.full((k, k), np.nan)
    full[np.ix_(free[determined], free[determined])] = matrix[np.ix_(determined, determined)]
    return full


def _coefficients(structure: SemStructure, flags: Flags) -> Flags:
    """Flags of coefficients alone; of these only a variance of zero leaves any unknown."""
    result = np.zeros(len(flags), dtype=bool)
    for level in structure.levels:
        index = level.arrows.index[level.arrows.index >= 0]
        result[index] = flags[index]
    return result
