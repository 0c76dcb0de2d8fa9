"""Maximum likelihood of a two-level model: start, minimise, and the covariance matrix of the estimates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.moments.arrays import Array, Flags, Numbers
from mlm_ops.structural.algebra.constraints import equations_of
from mlm_ops.structural.algebra.identification import curvature
from mlm_ops.structural.algebra.matrices import GroupedStructure, SemStructure, Structure, structure_of
from mlm_ops.structural.estimation.grouped_search import search_groups
from mlm_ops.structural.estimation.optimize import SemOptimum
from mlm_ops.structural.estimation.recentre import recentre_function
from mlm_ops.structural.estimation.search import search
from mlm_ops.structural.language.model import Constraint
from mlm_ops.structural.language.parameters import ParameterTable
from mlm_ops.structural.likelihood.criterion import Evaluated, SemCriterion
from mlm_ops.structural.likelihood.grouped import GroupedEvaluation, GroupedLikelihood
from mlm_ops.structural.likelihood.quadrature import CHECK, QuadratureLikelihood
from mlm_ops.structural.statistics.cluster_sums import Statistics
from mlm_ops.structural.statistics.grouped import AnyStatistics, GroupedStatistics, around_zero

#: A parameter with a smaller part than this in every flat direction is determined.
_DETERMINED = 1e-4
_STEP = 1e-30


@dataclass(frozen=True)
class GroupEstimate:
    """What is one group's of an estimate: its table, statistics, matrices, likelihood and parameters.

    Attributes
    ----------
    places
        (k_g,) of its parameters among all.
    theta, search_theta
        (k_g,) its parameters, on the user's scale and as the likelihood has them.
    log_likelihood
        Its part.
    """

    table: ParameterTable
    statistics: Statistics
    structure: SemStructure
    likelihood: SemCriterion
    places: NDArray[np.int64]
    theta: Array
    search_theta: Array
    log_likelihood: float


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
    statistics: AnyStatistics
    structure: Structure
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
        errors = [error for one in self.by_group if (error := _quadrature_error(one)) is not None]
        return sum(errors) if errors else None

    @cached_property
    def by_group(self) -> tuple[GroupEstimate, ...]:
        """What is each group's, of one group all."""
        evaluations: tuple[Evaluated, ...] = (self.optimum.evaluation,)
        likelihoods: tuple[SemCriterion, ...] = (self.likelihood,)
        if isinstance(self.likelihood, GroupedLikelihood):
            assert isinstance(self.optimum.evaluation, GroupedEvaluation)
            evaluations, likelihoods = self.optimum.evaluation.by_group, self.likelihood.by_group
        parts = zip(
            self.table.by_group, self.statistics.by_group, self.structure.parts, likelihoods, evaluations, strict=True
        )
        return tuple(
            GroupEstimate(
                table,
                statistics,
                structure,
                likelihood,
                places,
                self.theta[places],
                self.optimum.theta[places],
                -at.deviance / 2,
            )
            for (table, places), statistics, (structure, _), likelihood, at in parts
        )

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood at the maximum."""
        return -self.optimum.evaluation.deviance / 2

    @property
    def n_parameters(self) -> int:
        """Number of free parameters, less the equations that they fulfil."""
        equations = equations_of(self.table)
        return self.table.n_free - (0 if equations is None else equations.rank(self.theta))


def _quadrature_error(group: GroupEstimate) -> float | None:
    likelihood, theta = group.likelihood, group.search_theta
    if not isinstance(likelihood, QuadratureLikelihood):
        return None
    more = CHECK[len(group.structure.latent_slopes)]
    return -group.log_likelihood - likelihood.adapted(theta, more).deviance(theta) / 2


def estimate_sem(table: ParameterTable, statistics: AnyStatistics) -> SemEstimate:
    """Estimate a model's parameters.

    Raises
    ------
    IdentificationError
        No start has covariance matrices that are positive definite.
    """
    structure = structure_of(table)
    recentre = recentre_function(table, structure, statistics)
    search_statistics = statistics if recentre is None else around_zero(statistics)
    try:
        if isinstance(structure, GroupedStructure):
            assert isinstance(search_statistics, GroupedStatistics)
            optimum, likelihood, active = search_groups(table, structure, search_statistics)
        else:
            assert not isinstance(search_statistics, GroupedStatistics)
            optimum, likelihood, active = search(table, structure, search_statistics)
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
        table=table,
        statistics=statistics,
        structure=structure,
        optimum=optimum,
        theta=theta,
        vcov=vcov,
        undetermined=coefficients,
        flat=jacobian @ spread,
        likelihood=likelihood,
        theta_jacobian=jacobian,
        active=active,
    )


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


def _coefficients(structure: Structure, flags: Flags) -> Flags:
    """Flags of coefficients alone; of these only a variance of zero leaves any unknown."""
    result = np.zeros(len(flags), dtype=bool)
    for level in structure.levels:
        index = level.arrows.index[level.arrows.index >= 0]
        result[index] = flags[index]
    return result
