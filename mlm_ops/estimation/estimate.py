"""Estimate a design's parameters, on the user's scale."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.estimation.blocks import make_blocks
from mlm_ops.estimation.covariance import COVARIANCES, Covariance, Known, square_root, without_rounding
from mlm_ops.estimation.criterion import Criterion
from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.design.record import BlockDesign, Design
from mlm_ops.estimation.determination import Undetermined, find_undetermined
from mlm_ops.estimation.engine import Engine, build_engine, left_by_effects
from mlm_ops.estimation.optimize import FEW_ROWS, FLAT, Optimum, minimise
from mlm_ops.estimation.residual import n_rho, ratios, reproduced_strata, weighted_products
from mlm_ops.estimation.threads import one_thread
from mlm_ops.language.model import group_name
from mlm_ops.moments.arrays import Array

#: A residual sum of squares below this share of the outcome's is a rounding error, and no variance can be estimated.
_PERFECT_FIT = 1e-13
#: A Lambda under which random effects are as free as fixed ones, and what it leaves of a column that they span.
_FREE, _SPANNED = 1e12, 1e-16
#: A stratum's residual variance, where the outcome's is about one, below which the search has left for zero.
_NO_VARIANCE = 1e-8
#: Singular values below this share of the largest are rounding: of columns that are combinations once groups are out.
_ROUNDING = 1e-14
#: Where factors cross, or residuals have a structure, cross-products are whole squares, and bear no larger Lambda. What
#: this leaves of a column falls with its square: where it is little, a second one tells how much is left in the limit.
_FREE_CROSSED, _SECOND, _LITTLE = 1e5, 10.0, 1e-8


@dataclass(frozen=True)
class Estimate:
    """The estimated parameters of a design.

    Attributes
    ----------
    design, criterion, optimum
        The design, its deviance, and the deviance's minimum.
    gamma
        (p,) fixed effects.
    vcov
        (p, p) their covariance matrix.
    sigma2
        Residual variance.
    tau
        (q, q) covariance matrix T of each block, in the design's order.
    log_likelihood
        Of the outcome on the user's scale; restricted for REML.
    parameters_vcov
        (n + 1, n + 1) inverse observed information of the n parameters relative to sigma2 and sigma2, on the engine's
        scale.
    share_left
        What predictors and groups, all free, leave of the outcome; its rounding is that of the residual variance.
    """

    design: Design
    criterion: Criterion
    optimum: Optimum
    gamma: Array
    vcov: Array
    sigma2: float
    tau: tuple[Array, ...]
    log_likelihood: float
    parameters_vcov: Array
    share_left: float

    @property
    def blocks(self) -> tuple[BlockDesign, ...]:
        """Random blocks in the order of theta: lowest level first."""
        return tuple(block for level in self.design.levels for block in level.blocks)

    @property
    def cross(self) -> CrossProducts:
        """Cross-products of the m columns ``[Z_1 | Z_2 | … | X y]``, in units of the residual variance sigma2."""
        return _cross(self.design, self.optimum.solution.rho)

    @property
    def products(self) -> Array:
        """(m, m, cells): `cross` written out."""
        return self.cross.full

    @cached_property
    def undetermined(self) -> Undetermined:
        """Variances, covariances and parameters of the residual that the data do not determine."""
        return find_undetermined(self.design, self.criterion, self.optimum, EngineOf)

    @property
    def digits(self) -> float:
        """Significant digits that the residual variance has kept: what is left of the outcome has its rounding."""
        return -math.log10(4 * np.finfo(np.float64).eps / self.share_left)

    @property
    def n_covariance(self) -> int:
        """Parameters of the outcome's covariance relative to sigma2 that the data determine."""
        return self.criterion.n_relative - self.undetermined.missing

    @property
    def n_parameters(self) -> int:
        """Fixed effects, variances and covariances; of those that the data determine jointly, as many as they do."""
        return len(self.gamma) + self.n_covariance + 1

    @property
    def deviance(self) -> float:
        """Minus twice the log-likelihood."""
        return -2 * self.log_likelihood

    @property
    def aic(self) -> float:
        """Akaike's criterion."""
        return self.deviance + 2 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's criterion, by the number of rows."""
        return self.deviance + math.log(self.design.n_rows) * self.n_parameters

    @property
    def scaled_sigma2(self) -> float:
        """Residual variance on the engine's scale, as standard errors use it."""
        return self.sigma2 / self.design.sigma2_scale


@dataclass(frozen=True)
class EngineOf:
    """The engine of a design, for the residual's parameters: an object, so that an estimate can be stored."""

    design: Design

    def __call__(self, rho: Array) -> Engine:
        """The engine at rho; at zero, where each search begins, one for all criteria of the design."""
        return self._made_at(rho) if np.iscomplexobj(rho) or rho.any() else self._at_zero

    @cached_property
    def _at_zero(self) -> Engine:
        n_parameters = 0 if self.design.residual is None else n_rho(self.design.residual)
        return self._made_at(np.zeros(n_parameters))

    def _made_at(self, rho: Array) -> Engine:
        """Weight the cross-products by the residual structure and lay out the random effects."""
        levels = self.design.levels
        sizes, codes = [level.size for level in levels], [level.codes for level in levels]
        return build_engine(_cross(self.design, rho), sizes, codes, nested=self.design.nested)


def estimate_design(design: Design, *, reml: bool, start: Array | None = None) -> Estimate:
    """Estimate a design's parameters.

    Parameters
    ----------
    reml
        Restricted or full maximum likelihood. Single-level regression is least squares by either, with the residual
        variance's divisor N - p as regression has it; only the likelihood differs.

    Raises
    ------
    IdentificationError
        The predictors, or they and the groups, reproduce the outcome exactly.
    """
    blocks = make_blocks([[(len(b.columns), _structure(b)) for b in level.blocks] for level in design.levels])
    profiled = not any(block.known for block in blocks)
    criterion = Criterion(EngineOf(design), blocks, design.n_obs, reml, design.residual, profiled)
    with one_thread(design.long_rows):
        share_left = _share_left(design, criterion)
        return _estimate_at(design, _optimum(design, criterion, start), criterion, share_left)


def estimate_again(estimate: Estimate, *, reml: bool) -> Estimate:
    """Estimate the same design by the other likelihood, from where the first search ended.

    Of few rows, which may have several minima, as `estimate_design` would: from the beginning.
    """
    design, criterion = estimate.design, replace(estimate.criterion, reml=reml)
    start = None if design.n_obs <= FEW_ROWS else estimate.optimum.theta
    with one_thread(design.long_rows):
        return _estimate_at(design, _optimum(design, criterion, start), criterion, estimate.share_left)


def _optimum(design: Design, criterion: Criterion, start: Array | None) -> Optimum:
    """The least deviance.

    Raises
    ------
    IdentificationError
        By full maximum likelihood there is none: a stratum's residual variance goes to zero.
    """
    residual = design.residual
    strata = () if criterion.reml or residual is None else reproduced_strata(residual, design.n_random)
    if residual is None or not strata:
        return minimise(criterion, start)
    try:
        optimum = minimise(criterion, start)
    except np.linalg.LinAlgError:  # the search has gone as far as numbers go
        gone = strata
    else:
        variances = optimum.solution.sigma2 * ratios(residual, optimum.solution.rho) ** 2
        gone = tuple(stratum for stratum in strata if variances[stratum] < _NO_VARIANCE)
        if not gone:
            return optimum
    names = ", ".join(repr(str(residual.strata[stratum])) for stratum in gone)
    raise IdentificationError(
        f"By maximum likelihood the residual variance of {names} in by() has no estimate: the predictors can reproduce "
        "its few rows, and the nearer they come, the larger the likelihood. REML, or joining it with another value, "
        "gives one."
    )


def _estimate_at(design: Design, optimum: Optimum, criterion: Criterion, share_left: float) -> Estimate:
    """What an optimum is on the user's scale."""
    reml, solution, fixed, scale = criterion.reml, optimum.solution, design.fixed, design.outcome_scale
    p = len(solution.beta)
    # plain regression's residual variance has the divisor N - p by either estimator
    sigma2 = solution.sigma2 if design.levels or design.residual else solution.residual / (design.n_obs - p)
    deviance = solution.criterion + 2 * solution.degrees * np.log(scale) - (2 * fixed.log_determinant if reml else 0.0)
    return Estimate(
        design=design,
        criterion=criterion,
        optimum=optimum,
        gamma=fixed.transform @ solution.beta + fixed.offset,
        vcov=sigma2 * fixed.transform @ np.linalg.inv(solution.w[:p, :p]) @ fixed.transform.T,
        sigma2=sigma2 * design.sigma2_scale,
        tau=block_covariances(design, criterion, optimum),
        log_likelihood=-deviance / 2,
        parameters_vcov=_parameters_vcov(criterion, optimum),
        share_left=share_left,
    )


def block_covariances(design: Design, criterion: Criterion, optimum: Optimum) -> tuple[Array, ...]:
    """(q, q) covariance matrix T of each block on the user's scale, in the design's order."""
    lams, blocks = criterion.factors(optimum.theta), (block for level in design.levels for block in level.blocks)
    tau = []
    for block, placed in zip(blocks, criterion.blocks, strict=True):
        lam = lams[placed.level][placed.effects, placed.effects]
        factor = block.transform @ (lam if placed.known else without_rounding(lam))
        tau.append(optimum.solution.sigma2 * factor @ factor.T)
    return tuple(tau)


def _structure(block: BlockDesign) -> Covariance:
    """The block's structure in the engine's basis."""
    if isinstance(block.covariance, str):
        return COVARIANCES[block.covariance]
    root = np.asarray(np.linalg.solve(block.transform, square_root(np.array(block.covariance))), dtype=np.float64)
    return Known(root)


def _cross(design: Design, rho: Array) -> CrossProducts:
    """Cross-products weighted by the residual structure."""
    return design.cross if design.residual is None else CrossProducts.of(weighted_products(design.residual, rho))


def _share_left(design: Design, criterion: Criterion) -> float:
    """Share of the outcome's squares that predictors and groups, all free, leave, of a whole that the moments store.

    That is the outcome's square around the groups' means where these are eliminated without a difference of squares
    (`nested.split_off`), and its whole square elsewhere. The residual sum of squares has the rounding of that number.

    Raises
    ------
    IdentificationError
        Nothing but rounding is left, so that no residual variance can be estimated.
    """
    fixed = slice(sum(criterion.engine.sizes), None)
    w = _cross(design, np.zeros(n_rho(design.residual) if design.residual else 0)).total[fixed, fixed]
    residual, whole = _squares_outside(w, np.ones(len(w) - 1, dtype=np.bool_)), float(w[-1, -1])
    if residual <= _PERFECT_FIT * whole:
        raise IdentificationError(
            "The predictors reproduce the outcome exactly, so no residual variance is left to estimate. "
            "Is the outcome, or a copy of it, among the predictors?"
        )
    if not design.levels or not criterion.profiled:  # effects of a given T are not free
        return residual / whole
    around = design.cross.around_means
    if design.nested and design.residual is None and around is not None:
        whole = float(around.total[-1, -1])
        residual = _left_by_groups(criterion, w, _FREE)
    else:
        residual = _left_by_groups(criterion, w, _FREE_CROSSED)
        if residual < _LITTLE * whole:
            more = _left_by_groups(criterion, w, _FREE_CROSSED / _SECOND)
            residual = (_SECOND**2 * residual - more) / (_SECOND**2 - 1)
    if not np.isfinite(residual):
        return 1.0
    if residual <= _PERFECT_FIT * whole:
        names = ", ".join(group_name(level.group) for level in design.levels)
        raise IdentificationError(
            f"The predictors and the random effects of {names} reproduce the outcome but for rounding, so no residual "
            "variance is left to estimate. Is a copy of the outcome among the predictors, or is it computed from them "
            "in each group?"
        )
    return residual / whole


def _left_by_groups(criterion: Criterion, w: Array, lam: float) -> float:
    """What predictors and random effects leave of the outcome, every Lambda being `lam` times the identity."""
    with np.errstate(divide="ignore", invalid="ignore"):  # of columns that are nearly combinations: nothing is known
        w_left = left_by_effects(criterion.engine, lam)
    return _squares_outside(w_left, np.diag(w_left)[:-1] > _SPANNED * np.diag(w)[:-1])


def _squares_outside(w: Array, columns: NDArray[np.bool_]) -> float:
    """Squares of y outside the span of columns of X, which may be combinations of others, from ``[X y]' [X y]``."""
    x, y = w[:-1, :-1][np.ix_(columns, columns)], w[:-1, -1][columns]
    size = np.sqrt(np.diag(x))
    coefficients = np.linalg.lstsq(x / np.outer(size, size), y / size, rcond=_ROUNDING)[0]
    return float(w[-1, -1] - (y / size) @ coefficients)


def _parameters_vcov(criterion: Criterion, optimum: Optimum) -> Array:
    """Twice the inverse Hessian of the deviance in (theta, sigma2), from that of the profiled deviance.

    With the profiled residual r2(theta), s = sigma2 and nu degrees: f_ss = nu / s^2, f_ts = -r2' / s^2 and
    f_tt = (profiled Hessian) + r2' r2'^T / (nu s^2). Directions without curvature, as at a zero variance, are dropped.
    Where sigma2 is not profiled out, the Hessian is that of (theta, 1 / sigma).
    """
    solution = optimum.solution
    s, nu = solution.sigma2, solution.degrees
    if criterion.profiled:
        slope = criterion.residual_gradient(solution)
        full = np.empty((len(slope) + 1, len(slope) + 1))
        full[:-1, :-1] = optimum.hessian + np.outer(slope, slope) / (nu * s**2)
        full[:-1, -1] = full[-1, :-1] = -slope / s**2
        full[-1, -1] = nu / s**2
    else:
        by_sigma2 = np.append(np.ones(criterion.n_relative), -(s**-1.5) / 2)
        full = optimum.hessian * np.outer(by_sigma2, by_sigma2)
    # what the data do not determine has rounding in its row, which a unit diagonal would make as large as the others
    flat = np.abs(np.diag(optimum.hessian)) * criterion.scales(optimum.theta) ** 2 < FLAT
    undetermined = np.append(flat, False)[: len(full)]
    full[undetermined] = full[:, undetermined] = 0.0
    scale = np.sqrt(np.where(undetermined, 1.0, np.maximum(np.abs(np.diag(full)), 1e-300)))
    inverse = np.linalg.pinv(full / np.outer(scale, scale), rcond=1e-10, hermitian=True)
    vcov: Array = 2.0 * inverse / np.outer(scale, scale)
    return vcov
