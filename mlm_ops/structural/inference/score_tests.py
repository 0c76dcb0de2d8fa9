"""Test each restriction of a fitted model by its score, without another fit: modification indices.

With g the derivative of the deviance by a parameter that a restriction has fixed, and I the expected second derivatives
by it and the model's own parameters, one step of scoring from the estimates moves the parameter by its expected change
EPC = -g / V, V = I_22 - I_21 I_11^-1 I_12, and lowers the deviance by about MI = g^2 / (2 V), the modification index:
chi-square of one degree of freedom where the restriction holds (Rao 1948, Proceedings of the Cambridge Philosophical
Society 44; Soerbom 1989, Psychometrika 54; Saris, Satorra and Soerbom 1987, Sociological Methodology 17). For rows that
are not normal 2 V gives way to the sum over clusters of (s_2 - I_21 I_11^-1 s_1)^2 with their scores s (White 1982,
Econometrica 50; Boos 1992, American Statistician 46).

Random slopes and missing cells have no expected second derivatives in closed form: there the observed ones stand, as
Kenward and Molenberghs (1998, Statistical Science 13) advise where cells are missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import chdtrc

from mlm_ops.moments.arrays import Array
from mlm_ops.moments.rank import ALIASING_TOLERANCE
from mlm_ops.results.tables.columns import frame
from mlm_ops.structural.algebra.constraints import Equations, equations_of
from mlm_ops.structural.algebra.derived import standardizing_factors
from mlm_ops.structural.algebra.identification import ERROR, Seen, curvature, moment_derivatives
from mlm_ops.structural.algebra.matrices import Structure, structure_of
from mlm_ops.structural.estimation.estimate import SemEstimate
from mlm_ops.structural.estimation.recentre import recentre_function
from mlm_ops.structural.inference.releases import Release, extend_table, releases
from mlm_ops.structural.language.parameters import SemParameter
from mlm_ops.structural.likelihood.criterion import SemCriterion
from mlm_ops.structural.likelihood.grouped import GroupedLikelihood
from mlm_ops.structural.likelihood.random_intercepts import Likelihood
from mlm_ops.structural.statistics.missing import seen_moments
from mlm_ops.structural.table_columns import SEM_SCORE_TESTS

#: Elements of the clusters' scores, and of derivatives of covariance matrices, that are held at once.
_BLOCK = 8_000_000
_FEWEST = 16


@dataclass(frozen=True)
class ScoreTest:
    """The test of one restriction; NaN where the data tell next to nothing of what it restricts.

    Attributes
    ----------
    statistic, p_value
        The modification index, for normal rows.
    scaling_factor, statistic_scaled, p_value_scaled
        For others; NaN where a variance of the model is zero or a correlation one.
    epc, epc_std_all
        The expected parameter change, in the parameter's units and completely standardised by its level's deviations
        in its group; of an equal parameter from the common value; of an equation the expected difference of its sides.
    at_bound
        Whether it is of a variance that is zero, or of a covariance with a variable whose variance is.
    """

    release: Release
    statistic: float
    p_value: float
    scaling_factor: float
    statistic_scaled: float
    p_value_scaled: float
    epc: float
    epc_std_all: float
    at_bound: bool


@dataclass(frozen=True)
class ScoreTests:
    """The tests, the largest first, and of what they are made.

    Attributes
    ----------
    information
        ``expected`` or ``observed`` second derivatives.
    n_undetermined
        Restrictions without which the model would not be identified, which have no test.
    """

    tests: tuple[ScoreTest, ...]
    information: str
    n_undetermined: int


def sem_score_tests(results: ScoreTests, populations: Sequence[str | None]) -> pl.DataFrame:
    """One row per restriction, the largest index first; populations are the values of the groups of rows."""
    groups = [test.release.group for test in results.tests]
    columns: dict[str, list[Any]] = {"population": [None if group is None else populations[group] for group in groups]}
    columns |= {
        name: [getattr(test.release, name) for test in results.tests]
        for name in ("level", "lhs", "op", "rhs", "restriction")
    }
    for name in SEM_SCORE_TESTS.keys() - columns.keys() - {"df", "information"}:
        columns[name] = [getattr(test, name) for test in results.tests]
    count = len(results.tests)
    return frame(SEM_SCORE_TESTS, {**columns, "df": [1] * count, "information": [results.information] * count})


def score_tests(estimate: SemEstimate, *, observed: bool = False) -> ScoreTests:
    """Test every restriction of a model that can be released.

    Parameters
    ----------
    observed
        Take the observed second derivatives where the expected ones exist too.
    """
    is_expected = all(isinstance(part.likelihood, Likelihood) for part in estimate.by_group) and not observed
    tests: list[ScoreTest] = []
    everything = releases(estimate.table)
    of_rows = [release for release in everything if release.constraint is None]
    of_equations = [release for release in everything if release.constraint is not None]
    size = _block_size(estimate)
    around_zero = _need_zero(estimate, of_rows)
    for is_around_zero in (False, True):
        own = [release for release in of_rows if (release in around_zero) == is_around_zero]
        for start in range(0, len(own), size):
            extended = _extended(estimate, own[start : start + size], is_around_zero=is_around_zero)
            tests += _block_tests(estimate, own[start : start + size], extended, is_expected=is_expected)
    if of_equations:
        tests += _block_tests(
            estimate, of_equations, _without_equations(estimate, of_equations), is_expected=is_expected
        )
    # those without a statistic stand last
    tests.sort(key=lambda test: np.inf if math.isnan(test.statistic) else -test.statistic)
    return ScoreTests(tuple(tests), "expected" if is_expected else "observed", len(everything) - len(tests))


def _block_size(estimate: SemEstimate) -> int:
    t, k = estimate.structure.parts[0][0].n_columns, estimate.structure.n_free
    rows = max(estimate.statistics.n_clusters, t * t)
    return max(_FEWEST, _BLOCK // rows - k)


def _need_zero(estimate: SemEstimate, of_rows: Sequence[Release]) -> set[Release]:
    """Releases in groups of equal intercepts that are other ones where means are around the data's origin.

    The search has them there if intercepts alone then differ. Those that groups have in common may not make up for it
    any more where an arrow of one group is free; and an intercept of one group moves with the arrows.
    """
    table, statistics = estimate.table, estimate.statistics
    counts = Counter(row.index for row in table.rows if row.op == "~1" and row.index is not None)
    arrows = [release for release in of_rows if release.op in {"=~", "~"}]
    if max(counts.values(), default=0) < 2 or recentre_function(table, estimate.structure, statistics) is None:
        return set()

    def needs(some: Sequence[Release]) -> bool:
        larger, _ = extend_table(table, some)
        return recentre_function(larger, structure_of(larger), statistics) is None

    intercepts = {release for release in of_rows if release.op == "~1"}
    return intercepts | ({release for release in arrows if needs([release])} if arrows and needs(arrows) else set())


@dataclass(frozen=True)
class _Extended:
    """A model with the parameters of some releases behind its own.

    Attributes
    ----------
    likelihood, theta
        Of k + m parameters, at the model's estimates.
    nuisance
        (k + m, f) directions in which the model's own parameters are free.
    added
        (k + m, c) directions of the releases.
    reported
        (k + m, c) what a change is told of: the parameter, or the difference of an equation's sides.
    """

    likelihood: SemCriterion
    theta: Array
    nuisance: Array
    added: Array
    reported: Array

    def choose(self, chosen: NDArray[np.bool_]) -> _Extended:
        """Some of the releases."""
        return replace(self, added=self.added[:, chosen], reported=self.reported[:, chosen])


def _extended(estimate: SemEstimate, block: Sequence[Release], *, is_around_zero: bool) -> _Extended:
    """Of parameters; with means as the user has them, or as the search had them."""
    optimum, table = estimate.optimum, estimate.table
    larger, pooled = extend_table(table, block)
    own = estimate.theta if is_around_zero else optimum.theta
    tangent = estimate.theta_jacobian @ optimum.tangent if is_around_zero else optimum.tangent
    values = [0.0 if release.row is None else table.rows[release.row].value for release in block]
    of_block = pooled[table.n_free :]
    theta = np.concatenate([own, np.where(of_block.any(axis=1), of_block @ own, values)])
    origin = estimate.statistics.origin if is_around_zero else None
    likelihood = _of_structure(estimate.likelihood, structure_of(larger), origin)
    added = np.eye(larger.n_free)[:, table.n_free :]
    return _Extended(likelihood, theta, pooled @ tangent, added, added)


def _of_structure(likelihood: Any, structure: Structure, origin: Array | None) -> SemCriterion:
    """The likelihood of the same rows, and nodes, of a larger model; of values around zero with their origin."""
    if isinstance(likelihood, GroupedLikelihood):
        pairs = zip(likelihood.by_group, structure.parts, strict=True)
        parts = tuple(_of_structure(one, part, origin) for one, (part, _) in pairs)
        likelihood = replace(likelihood, by_group=parts)
    elif origin is not None:
        likelihood = replace(likelihood, statistics=replace(likelihood.statistics, origin=origin))
    larger: SemCriterion = replace(likelihood, structure=structure)
    return larger


def _without_equations(estimate: SemEstimate, block: Sequence[Release]) -> _Extended:
    """Of equations, which add no parameter: the direction that is free without each."""
    optimum = estimate.optimum
    equations = equations_of(estimate.table, estimate.active)
    assert equations is not None
    diagonal = np.abs(np.diag(optimum.hessian))
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)) * ~optimum.at_zero
    own = np.flatnonzero(scale)
    tangent = optimum.tangent[own] / scale[own, None]
    directions, gaps = np.zeros((len(scale), len(block))), np.zeros((len(scale), len(block)))
    for number, release in enumerate(block):
        assert release.constraint is not None
        others = tuple(c for c in equations.constraints if c is not release.constraint)
        around = replace(equations, constraints=others).tangent(optimum.theta, scale)[own] / scale[own, None]
        # both are orthonormal, so that what the equation takes is one direction
        rest = around - tangent @ (tangent.T @ around)
        left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
        if len(sizes) and sizes[0] > ALIASING_TOLERANCE:
            directions[own, number] = scale[own] * left[:, 0]
            gaps[:, number] = Equations(estimate.table, (release.constraint,)).jacobian(optimum.theta)[0]
    return _Extended(estimate.likelihood, optimum.theta, optimum.tangent, directions, gaps)


def _block_tests(
    estimate: SemEstimate, block: Sequence[Release], extended: _Extended, *, is_expected: bool
) -> list[ScoreTest]:
    seen = seen_moments(estimate.structure, estimate.statistics)
    determined = _determined(extended, seen)
    if not determined.any():
        return []
    extended = extended.choose(determined)
    chosen = [release for release, is_determined in zip(block, determined, strict=True) if is_determined]
    gradient, information, spread, step = _efficient(estimate, extended, is_expected=is_expected)
    if estimate.optimum.singular:
        # on a bound estimates are not normal, whatever the rows are
        spread = np.full_like(spread, np.nan)
    statistic, scaled = gradient**2 / (2 * information), gradient**2 / spread
    epc = -gradient / information * step
    columns = {
        "statistic": statistic,
        "p_value": chdtrc(1, statistic),
        "scaling_factor": statistic / scaled,
        "statistic_scaled": scaled,
        "p_value_scaled": chdtrc(1, scaled),
        "epc": epc,
        "epc_std_all": epc * _factors(estimate, chosen),
    }
    at_bound = _at_bound(estimate, chosen)
    return [
        ScoreTest(release, at_bound=at_bound[i], **{name: float(values[i]) for name, values in columns.items()})
        for i, release in enumerate(chosen)
    ]


def _determined(extended: _Extended, seen: Sequence[Seen] | None) -> NDArray[np.bool_]:
    """(c,) releases that change what the model implies otherwise than its own parameters do, at the estimates."""
    derivatives = moment_derivatives(extended.likelihood.structure, extended.theta, seen)
    own, added = extended.nuisance.T @ derivatives, extended.added.T @ derivatives
    # the data's units are no matter: moments first, then parameters
    lengths = np.linalg.norm(np.concatenate([_unit_rows(own), _unit_rows(added)]), axis=0)
    own, added = (_unit_rows(_unit_rows(part) / np.where(lengths > 0, lengths, 1.0)) for part in (own, added))
    left, sizes, _ = np.linalg.svd(own.T, full_matrices=False)
    span = left[:, sizes > ALIASING_TOLERANCE * sizes.max(initial=0.0)]
    for _ in range(2):  # twice is enough (Giraud, Langou and Rozloznik 2005)
        added = added - (added @ span) @ span.T
    return np.asarray(np.linalg.norm(added, axis=1) > ALIASING_TOLERANCE)


def _unit_rows(matrix: Array) -> Array:
    lengths = np.linalg.norm(matrix, axis=1)
    return np.asarray(matrix / np.where(lengths > 0, lengths, 1.0)[:, None])


def _efficient(estimate: SemEstimate, extended: _Extended, *, is_expected: bool) -> tuple[Array, Array, Array, Array]:
    """Gradient, information and clusters' squared scores (c,) of releases, what the model's parameters take left out.

    All of the deviance; information that is zero or negative is NaN. Last, (c,) how far a step of one moves what is
    reported: a parameter that was equal to others is where they go, and further by one.
    """
    likelihood, theta, own = extended.likelihood, extended.theta, extended.nuisance
    at = likelihood.evaluate(theta)
    assert at is not None
    whole = likelihood.expected_information(at) if is_expected else likelihood.hessian(theta, at)
    inner = own.T @ whole @ own + _curvature_beside(estimate, is_expected=is_expected)
    eigen = curvature(inner)
    values = eigen.values[eigen.curved]
    white = own @ (eigen.vectors[:, eigen.curved] / eigen.scale[:, None] / np.sqrt(values))
    cross = white.T @ whole @ extended.added
    alone = np.einsum("ic,ij,jc->c", extended.added, whole, extended.added, optimize=True)
    information = alone - (cross**2).sum(axis=0)
    # the error of the second derivatives, by how much the model's parameters move with the release
    with np.errstate(divide="ignore", invalid="ignore"):
        moves = (cross**2 / values[:, None]).sum(axis=0) / np.abs(alone)
        is_known = information > ERROR * (1 + moves) * np.abs(alone)
    residual = extended.added - white @ cross
    scores = likelihood.scores(at, likelihood.structure.implied(theta).mean) @ residual
    gradient, spread = residual.T @ at.gradient, (scores**2).sum(axis=0)
    step = (extended.reported * residual).sum(axis=0)
    return gradient, np.where(is_known, information, np.nan), np.where(is_known & (spread > 0), spread, np.nan), step


def _curvature_beside(estimate: SemEstimate, *, is_expected: bool) -> Array:
    """(f, f) what bounds and curved equations add to the deviance's second derivatives along the free directions."""
    optimum = estimate.optimum
    if is_expected and not optimum.boundary.any():
        return np.zeros((optimum.tangent.shape[1],) * 2)
    beside = optimum.hessian - estimate.likelihood.hessian(optimum.theta, optimum.evaluation)
    return np.asarray(optimum.tangent.T @ beside @ optimum.tangent)


def _factors(estimate: SemEstimate, chosen: Sequence[Release]) -> Array:
    """(c,) by what changes are multiplied to be standardised; NaN for equations."""
    factors = np.full(len(chosen), np.nan)
    for group, part in enumerate(estimate.by_group):
        rows = {
            place: SemParameter(release.level, release.lhs, release.op, release.rhs, None, None, 0.0, None)
            for place, release in enumerate(chosen)
            if release.op != "==" and release.group == group
        }
        own = standardizing_factors(part.table, list(rows.values()), part.structure, part.theta)
        factors[list(rows)] = own
    return factors


def _at_bound(estimate: SemEstimate, chosen: Sequence[Release]) -> list[bool]:
    """Whether each is of a variance of zero, or of a covariance that one would allow."""
    optimum = estimate.optimum
    zero = {
        (row.group, row.level, row.lhs)
        for row in estimate.table.rows
        if row.is_variance
        and (row.value == 0 if row.index is None else optimum.at_zero[row.index] or optimum.boundary[row.index])
    }
    pairs = [{(release.group, release.level, name) for name in (release.lhs, release.rhs)} for release in chosen]
    return [release.op == "~~" and not zero.isdisjoint(pair) for release, pair in zip(chosen, pairs, strict=True)]
