"""Kenward's and Roger's adjusted covariance matrix of the fixed effects, degrees of freedom and F tests, from moments.

Kenward and Roger (1997), Biometrics 53, 983-997; Halekoh and Hojsgaard (2014), Journal of Statistical Software 59(9),
whose pbkrtest has the same numbers. The parameters are the elements of each T and sigma2, or each stratum's residual
variance, in which the outcome's covariance is linear; at a singular T all of them count, as in pbkrtest. A T that is
given is no parameter.

In an autocorrelation the covariance is not linear, and moments do not suffice: ``X' V^-1 V_phi V^-1 V_phi V^-1 X``, on
which the adjustment and the information rest, sums products of rows at every distance in time. Already without random
effects, with R_ij = phi^|i-j|, the matrix in the middle is R^-1 R' R^-1 R' R^-1, which has no zeros, while R^-1 and its
derivatives have three diagonals, whose sums are all that moments hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.estimation.blocks import Block
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.estimation.nested import build_nest
from mlm_ops.estimation.residual import ratios
from mlm_ops.inference.fixed.information import Direction, Sums, crossed_sums, single_level_sums
from mlm_ops.inference.fixed.information_nested import nested_sums, stratified_sums
from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.moments.arrays import Array

_STEP = 1e-20


def covariance_directions(estimate: Estimate) -> tuple[list[Direction], list[Direction]]:
    """Directions in which each T was estimated, and the T's that do not lie in their span, as known ones."""
    lams = estimate.criterion.factors(estimate.optimum.theta)
    estimated_directions: list[Direction] = []
    known_directions: list[Direction] = []
    for block in estimate.criterion.blocks:
        size = len(lams[block.level])
        part = np.ix_(*[np.arange(size)[block.effects]] * 2)
        lam = lams[block.level][part]
        inside = np.zeros((0, *lam.shape)) if block.known else linear_directions(block, estimate.optimum.theta)
        relative = lam @ lam.T
        rest = relative - np.einsum("i,iab->ab", _combination(inside, relative), inside)
        remainder = [relative] if np.abs(rest).max(initial=0.0) > 1e-9 * np.abs(relative).max(initial=0.0) else []
        for matrices, directions in ((inside, estimated_directions), (remainder, known_directions)):
            for matrix in matrices:
                full = np.zeros((size, size))
                full[part] = matrix
                directions.append(Direction(block.level, full))
    return estimated_directions, known_directions


def linear_directions(block: Block, theta: Array) -> Array:
    """(n, q, q) matrices that span what a block's T may be.

    A structure in which T is linear (unstructured, diagonal, compound symmetry, a free multiple of a known matrix) has
    as many as parameters: the derivatives of ``Lambda Lambda'`` at a theta in general position. Any other is taken as
    linear around the estimate, without the second derivatives in Kenward's and Roger's formula.
    """
    block_theta, q = theta[block.theta], block.size
    points = np.random.default_rng(RANDOM_SEED).standard_normal((3, len(block_theta)))
    span = np.concatenate([_slopes(block, point) for point in points]).reshape(-1, q * q)
    values, rows = np.linalg.svd(span, full_matrices=False)[1:]
    linear = rows[values > 1e-8 * values.max(initial=0.0)]
    return linear.reshape(-1, q, q) if len(linear) == len(block_theta) else _slopes(block, block_theta)


def _slopes(block: Block, theta: NDArray[Any]) -> Array:
    """(n_theta, q, q) derivatives of ``Lambda Lambda'`` by theta, along the imaginary axis."""
    slopes = np.empty((len(theta), block.size, block.size))
    for k in range(len(theta)):
        shifted: NDArray[Any] = theta.astype(complex)
        shifted[k] += 1j * _STEP
        lam = block.covariance.factor(shifted, block.size)
        slopes[k] = (lam @ lam.T).imag / _STEP
    return slopes


def _combination(matrices: Array, target: Array) -> Array:
    """Coefficients of the matrices in their combination that is nearest to the target."""
    return np.asarray(np.linalg.lstsq(matrices.reshape(len(matrices), target.size).T, target.ravel(), rcond=None)[0])


def coordinates(estimate: Estimate, directions: list[Direction]) -> Array:
    """Coefficients t of the directions in the T's: ``T_level = sum_i t_i E_i``."""
    lams = estimate.criterion.factors(estimate.optimum.theta)
    coefficients = np.zeros(len(directions))
    for level, lam in enumerate(lams):
        indices = [i for i, d in enumerate(directions) if d.level == level]
        matrices = np.array([directions[i].matrix for i in indices]).reshape(-1, *lam.shape)
        coefficients[indices] = _combination(matrices, lam @ lam.T)
    return coefficients


#: Eigenvalues of the scaled information below this are zero.
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Adjustment:
    """What the method needs to know of a model, in the engine's basis and relative to sigma2.

    Attributes
    ----------
    phi, adjusted
        (p, p) covariance matrix of the fixed effects, and the adjusted one.
    first
        (n, p, p) ``Phi (X' V^-1 V_i V^-1 X) Phi``: derivative of phi by the i-th covariance parameter.
    information
        (n, n) covariance matrix W of the parameters' estimates: twice the inverse of the expected information.
    """

    phi: Array
    adjusted: Array
    first: Array
    information: Array


class KenwardRoger:
    """Tests with the adjusted covariance matrix.

    Parameters
    ----------
    estimate
        A fit by REML.

    Raises
    ------
    MlmError
        The fit is by ML, has autocorrelated residuals, or is crossed with strata or with too many random effects.
    """

    def __init__(self, estimate: Estimate) -> None:
        self._estimate = estimate
        _check(estimate)

    @cached_property
    def adjustment(self) -> Adjustment:
        """The sums over units, made once."""
        return adjust(self._estimate)

    @property
    def vcov(self) -> Array:
        """(p, p) adjusted covariance matrix on the user's scale."""
        transform = self._estimate.design.fixed.transform
        relative = self._estimate.scaled_sigma2 * self.adjustment.adjusted
        return np.asarray(transform @ relative @ transform.T)

    def variances(self, contrasts: Array) -> Array:
        """Adjusted variance of each contrast: (k, p) -> (k,)."""
        inner = contrasts @ self._estimate.design.fixed.transform
        relative = self._estimate.scaled_sigma2 * self.adjustment.adjusted
        return np.asarray(np.einsum("kp,pr,kr->k", inner, relative, inner))

    def degrees(self, contrasts: Array) -> Array:
        """``2 / A`` with the relative variance A of each contrast's variance: (k, p) -> (k,)."""
        inner = contrasts @ self._estimate.design.fixed.transform
        adjustment = self.adjustment
        slopes = np.einsum("kp,ipr,kr->ki", inner, adjustment.first, inner)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = slopes / np.einsum("kp,pr,kr->k", inner, adjustment.phi, inner)[:, None]
            return np.asarray(2.0 / np.einsum("ki,ij,kj->k", relative, adjustment.information, relative))

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """Scaling of the F statistic and the denominator's degrees of freedom: Kenward and Roger (1997), sec. 3."""
        if len(contrasts) == 1:
            return 1.0, float(self.degrees(contrasts)[0])
        inner = contrasts @ self._estimate.design.fixed.transform
        adjustment = self.adjustment
        # u_i = (L Phi L')^-1 L Phi_i L' has the traces of Theta Phi P_i Phi
        variance = inner @ adjustment.phi @ inner.T
        u = np.linalg.solve(variance, np.einsum("kp,ipr,lr->ikl", inner, adjustment.first, inner))
        traces = np.einsum("ikk->i", u)
        a1 = float(traces @ adjustment.information @ traces)
        a2 = float(np.einsum("ij,ikl,jlk->", adjustment.information, u, u, optimize=True))
        return scaled_f(len(contrasts), a1, a2)


def scaled_f(q: int, a1: float, a2: float) -> tuple[float, float]:
    """Factor lambda and degrees of freedom m with which ``lambda F ~ F(q, m)`` to second order.

    Kenward and Roger (1997), eqs. 6 to 8, by matching the mean and variance of F, changed so that exact cases come out
    exact. Where m is within 0.01 of 2, F has no mean and lambda is one, as in pbkrtest.
    """
    if a2 <= 0:
        return 1.0, np.inf
    b = (a1 + 6 * a2) / (2 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    divisor = 3 * q + 2 * (1 - g)
    v0 = 1 + g / divisor * b
    v1 = 1 - (q - g) / divisor * b
    v2 = 1 - (q + 2 - g) / divisor * b
    mean = 1 - a2 / q
    ratio = 1.0 if abs(mean) < 1e-14 and abs(v1) < 1e-14 else mean / v1
    rho = ratio**2 * (0.0 if abs(v0) < 1e-10 else v0) / (q * v2)
    m = 4 + (q + 2) / (q * rho - 1)
    return (1.0 if abs(m - 2) < 0.01 else m * mean / (m - 2)), m


def adjust(estimate: Estimate) -> Adjustment:
    """Adjusted covariance matrix and what its tests need."""
    directions, known_directions = covariance_directions(estimate)
    if estimate.criterion.n_relative > estimate.criterion.n_random:
        sums = _sums_by_stratum(estimate, directions)
    else:
        sums = information_sums(estimate, [*directions, *known_directions])
        sums = _with_residual(
            sums, coordinates(estimate, [*directions, *known_directions]), estimate.design.n_obs, len(directions)
        )
    phi = np.linalg.inv(sums.precision).astype(np.float64)
    first = phi @ sums.first @ phi
    information = (
        sums.pairs
        - 2 * np.einsum("pr,ijrp->ij", phi, sums.second)
        + np.einsum("ipr,jrp->ij", sums.first @ phi, sums.first @ phi)
    )
    w = 2 * _inverse(information)
    middle = np.einsum("ij,ijpr->pr", w, sums.second)
    middle -= np.einsum("ij,ipr,rs,jst->pt", w, sums.first, phi, sums.first, optimize=True)
    adjusted = phi + 2 * phi @ middle @ phi
    return Adjustment(phi, (adjusted + adjusted.T) / 2, first, w)


def information_sums(estimate: Estimate, directions: list[Direction]) -> Sums:
    """Traces and cross-products of the fitted model: by unit, level by level, or dense for crossed factors."""
    design = estimate.design
    lams = estimate.criterion.factors(estimate.optimum.theta)
    codes = [level.codes for level in design.levels]
    n_fixed = len(estimate.gamma)
    if not lams:
        return _fixed_sums(estimate.cross.total[:n_fixed, :n_fixed])
    if not design.nested:
        return crossed_sums(estimate.products, codes, lams, directions, n_fixed)
    if len(lams) == 1:
        return single_level_sums(estimate.products, lams[0], directions, n_fixed)
    return nested_sums(build_nest(estimate.cross, [len(lam) for lam in lams], codes)[0], lams, directions)


def _sums_by_stratum(estimate: Estimate, directions: list[Direction]) -> Sums:
    """The sums with the residual variance of every stratum as the last parameters."""
    design, residual = estimate.design, estimate.design.residual
    assert residual is not None
    return stratified_sums(
        residual.products[:, :-1, :-1],
        ratios(residual, estimate.optimum.solution.rho)[residual.stratum] ** 2,
        residual.n,
        [level.codes for level in design.levels],
        estimate.criterion.factors(estimate.optimum.theta),
        directions,
    )


def _fixed_sums(precision: Array) -> Sums:
    p = len(precision)
    return Sums(np.zeros(0), np.zeros((0, 0)), precision, np.zeros((0, p, p)), np.zeros((0, 0, p, p)))


def _with_residual(sums: Sums, t: Array, n_obs: int, n_estimated: int) -> Sums:
    """Add sigma2 as the last direction and leave out those that are known.

    V is linear, so ``V_s = I = V - sum_i t_i V_i``, and every sum with V_s is one of those without.
    """
    places = np.append(np.arange(n_estimated), len(t))
    first_s = sums.precision - np.einsum("i,ipr->pr", t, sums.first)
    second_s = sums.first - np.einsum("ijpr,j->ipr", sums.second, t)
    second_ss = first_s - np.einsum("i,ipr->pr", t, second_s)
    trace_s = n_obs - t @ sums.traces
    pairs_s = sums.traces - sums.pairs @ t
    pairs = np.block([[sums.pairs, pairs_s[:, None]], [pairs_s[None], np.full((1, 1), trace_s - t @ pairs_s)]])
    second = np.concatenate((sums.second, second_s[:, None]), axis=1)
    second = np.concatenate((second, np.concatenate((second_s, second_ss[None]))[None]))
    return Sums(
        traces=np.append(sums.traces, trace_s)[places],
        pairs=pairs[np.ix_(places, places)],
        precision=sums.precision,
        first=np.concatenate((sums.first, first_s[None]))[places],
        second=second[np.ix_(places, places)],
    )


def _inverse(information: Array) -> Array:
    """Inverse of the information, of its curved directions where it is singular."""
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    inverse = np.linalg.pinv(information / np.outer(scale, scale), rcond=_RANK_TOLERANCE, hermitian=True)
    return np.asarray(inverse / np.outer(scale, scale))


def _check(estimate: Estimate) -> None:
    if not estimate.criterion.reml:
        raise MlmError("Kenward-Roger's method is for REML. Got estimator 'ml'; use estimator='reml'.")
    residual = estimate.design.residual
    if residual is not None and residual.serial:
        raise MlmError(
            "Kenward-Roger's method is not available for autocorrelated residuals, ar1(): it needs cross-products of "
            "rows at every distance in time, and moments have those of neighbours. Use df='satterthwaite'."
        )
    if estimate.criterion.n_relative > estimate.criterion.n_random and not estimate.design.nested:
        raise MlmError(
            "Kenward-Roger's method with a residual variance by stratum is for nested grouping factors. Got crossed "
            "ones; use df='satterthwaite'."
        )
