"""Estimate a fit without each unit of its top grouping factor, by one Newton step from moments; or refit without one.

``W = [X y]' V^-1 [X y]`` and ``log |V|`` are sums over the units of the top factor, so that the criterion without one
of them is known exactly at the fit's theta, and its derivatives too. The fixed effects follow without a step:
``gamma - (W_xx - W_j)^-1 X_j' V_j^-1 e_j`` at a given theta. Snijders and Berkhof (2008), in de Leeuw and Meijer,
Handbook of Multilevel Analysis, section 3.5; Demidenko and Stukel (2005), Statistics in Medicine 24, 893-909.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, IdentificationError
from mlm_ops.estimation.criterion import Criterion
from mlm_ops.estimation.design.build import build_design
from mlm_ops.estimation.estimate import Estimate, estimate_design
from mlm_ops.estimation.nested import CHUNK, Nest, build_nest, eliminate_below
from mlm_ops.estimation.stacked import cholesky, inverse, premultiply, solve_lower, solve_upper
from mlm_ops.language.model import Model
from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.moments.record import Moments

#: A step along the imaginary axis: the derivative without a difference (Squire and Trapp 1998).
_STEP = 1e-30
#: Where one unit has all but this share of the information on a combination of coefficients, the others have none.
_REMAINDER = 1e-9


@dataclass(frozen=True)
class Deletions:
    """The fit without each of J units.

    Attributes
    ----------
    labels
        (J,) names of the units.
    gamma
        (p, J) fixed effects, on the user's scale; not a number where the other units do not identify them.
    cooks
        (J,) Cook's distance of the fixed effects, ``(change)' Phi^-1 (change) / p``, Phi their covariance matrix.
    tau
        (q, q, J) for each random block, on the user's scale, to first order in theta.
    sigma2
        (J,) residual variances, on the user's scale.
    """

    labels: NDArray[Any]
    gamma: Array
    cooks: Array
    tau: tuple[Array, ...]
    sigma2: Array


def one_step_deletions(estimate: Estimate, moments: Moments) -> Deletions | None:
    """All deletions by one Newton step of theta; None where there is no nest of units to delete from.

    Crossed factors share the rows of each unit with all others', and an estimated residual structure or a given T have
    parameters besides theta's: for these there are none.
    """
    design, criterion = estimate.design, estimate.criterion
    if not design.levels or not design.nested or criterion.n_theta > criterion.n_random:
        return None
    top = design.levels[-1]
    size = np.bincount(moments.units_of(top.group)[0], moments.n, len(top.labels)).astype(float)
    shares = _shares(estimate)
    total = shares.of_all()
    unidentified = _unidentified(shares.w)
    parts = []
    for start in range(0, len(size), CHUNK):
        units = slice(start, start + CHUNK)
        parts.append(_without(estimate, shares.rest(total, units), size[units], unidentified[units]))
    gamma, cooks, tau, sigma2 = zip(*parts, strict=True)
    return Deletions(
        top.labels,
        np.concatenate(gamma, axis=1),
        np.concatenate(cooks),
        tuple(np.concatenate(block, axis=2) for block in zip(*tau, strict=True)),
        np.concatenate(sigma2),
    )


@dataclass(frozen=True)
class _Shares:
    """The shares of J top units in W and in the derivatives by the n parameters of theta.

    Attributes
    ----------
    w
        (r, r, J) of W.
    w_by_theta, log_by_theta
        (n, r, r, J) of W's derivatives, (n, J) of those of log |V|.
    """

    w: Array
    w_by_theta: Array
    log_by_theta: Array

    def of_all(self) -> _Shares:
        """Their sums over the units, J being one."""
        arrays = (self.w, self.w_by_theta, self.log_by_theta)
        return _Shares(*(array.sum(axis=-1, keepdims=True) for array in arrays))

    def rest(self, total: _Shares, units: slice) -> _Shares:
        """What is left of the sums without each of some units."""
        own, whole = ((one.w, one.w_by_theta, one.log_by_theta) for one in (self, total))
        return _Shares(*(all_units - array[..., units] for array, all_units in zip(own, whole, strict=True)))


def _without(
    estimate: Estimate, rest: _Shares, size: Array, unidentified: NDArray[np.bool_]
) -> tuple[Array, Array, tuple[Array, ...], Array]:
    """Gamma, Cook's distances, tau and sigma2 without each of J units, of ``size`` rows, from what is then left."""
    fixed, solution = estimate.design.fixed, estimate.optimum.solution
    step = _theta_steps(estimate, rest, size, unidentified)
    # to first order the rest's W at the new theta
    w = rest.w + np.einsum("kj,kabj->abj", step, rest.w_by_theta)
    beta = _solve(w, unidentified)
    gamma = fixed.transform @ beta + fixed.offset[:, None]
    change = gamma - estimate.gamma[:, None]
    cooks = np.einsum("pj,pj->j", change, np.linalg.solve(estimate.vcov, change)) / max(len(change), 1)
    p = len(beta)
    residual = w[p, p] - np.einsum("pj,pj->j", w[p, :p], beta)
    shares = residual / (solution.degrees - size) / solution.sigma2
    return gamma, cooks, _tau(estimate, step, shares), estimate.sigma2 * shares


def refit_without(model: Model, moments: Moments, estimate: Estimate, unit: int) -> Estimate | None:
    """The fit without a unit of the top grouping factor, refitted from the other units' moments.

    Returns
    -------
    Estimate or None
        None where the other units do not identify the model, or not all of its coefficients.
    """
    top = estimate.design.levels[-1]
    codes, _ = moments.units_of(top.group)
    others = moments.select(codes != unit)
    try:
        refit = estimate_design(build_design(model, others), reml=estimate.criterion.reml, start=estimate.optimum.theta)
    except (DataError, IdentificationError):  # a predictor that varied in this unit alone, or no second unit is left
        return None
    return refit if refit.design.fixed.columns == estimate.design.fixed.columns else None


def _shares(estimate: Estimate) -> _Shares:
    """The shares of all top units, some of them at a time, whose arrays stay in cache."""
    design = estimate.design
    sizes, codes = [level.size for level in design.levels], [level.codes for level in design.levels]
    top = codes[-1]
    n, r, units = estimate.criterion.n_random, len(estimate.optimum.solution.w), len(design.levels[-1].labels)
    shares = _Shares(np.empty((r, r, units)), np.empty((n, r, r, units)), np.empty((n, units)))
    of_part = _shares_of_one_level if len(sizes) == 1 else _shares_by_imaginary_steps
    for start in range(0, units, CHUNK):
        cells = np.flatnonzero((top >= start) & (top < start + CHUNK))
        parents = [np.unique(level_codes[cells], return_inverse=True)[1] for level_codes in codes]
        nest, _ = build_nest(estimate.cross.take(cells), sizes, parents, parents[-1])
        part = of_part(nest, estimate.criterion, estimate.optimum.theta)
        own = slice(start, start + CHUNK)
        shares.w[..., own], shares.w_by_theta[..., own] = part.w, part.w_by_theta
        shares.log_by_theta[..., own] = part.log_by_theta
    return shares


def _shares_of_one_level(nest: Nest, criterion: Criterion, theta: Array) -> _Shares:
    """With one level of effects, ``dW = -(Z' V^-1 [X y])' dT Z' V^-1 [X y]`` and ``d log |V| = tr(Z' V^-1 Z dT)``."""
    (lam,) = criterion.factors(theta)
    w, _, (elimination,) = eliminate_below(nest, [lam])
    zx, zz = elimination.zx, elimination.zz
    w_by_theta, log_by_theta = [], []
    for unit in np.eye(len(theta))[: criterion.n_random]:
        slope = criterion.factors(theta + 1j * _STEP * unit)[0].imag / _STEP @ lam.T
        t_by_theta = slope + slope.T
        w_by_theta.append(-np.einsum("aij,akj->ikj", zx, premultiply(t_by_theta, zx)))
        log_by_theta.append(np.einsum("ab,abj->j", t_by_theta, zz))
    return _Shares(w, np.array(w_by_theta), np.array(log_by_theta))


def _shares_by_imaginary_steps(nest: Nest, criterion: Criterion, theta: Array) -> _Shares:
    """With several levels the elimination itself is differentiated."""
    contributions = [
        _contributions(nest, criterion, theta + 1j * _STEP * unit) for unit in np.eye(len(theta))[: criterion.n_random]
    ]
    # the step is too small for the real part to see it
    return _Shares(
        contributions[0][0].real,
        np.array([part.imag / _STEP for part, _ in contributions]),
        np.array([part.imag / _STEP for _, part in contributions]),
    )


def _contributions(nest: Nest, criterion: Criterion, theta: Numbers) -> tuple[Numbers, Numbers]:
    """Each top unit's share of W, (r, r, J), and of log |V|, (J,)."""
    w, by_level, _ = eliminate_below(nest, criterion.factors(theta))
    above = np.arange(w.shape[2])
    total = np.zeros(w.shape[2], dtype=w.dtype)
    for own, rung in zip(reversed(by_level), reversed(nest.rungs), strict=True):
        above = above[rung.parents]
        for part, unit in ((1.0, own.real), (1j, own.imag)) if np.iscomplexobj(own) else ((1.0, own),):
            total += part * np.bincount(above, unit, len(total))
    return w, total


def _tau(estimate: Estimate, step: Array, shares: Array) -> tuple[Array, ...]:
    """(q, q, J) of each block: ``sigma2 (L L' + sum_k step_k d(L L') / d theta_k)``, sigma2 (J,) times the fit's."""
    criterion, theta, sigma2 = estimate.criterion, estimate.optimum.theta, estimate.optimum.solution.sigma2
    lams_by_theta = [criterion.factors(theta + 1j * _STEP * unit) for unit in np.eye(len(theta))[: criterion.n_random]]
    taus = []
    for block, placed, tau in zip(estimate.blocks, criterion.blocks, estimate.tau, strict=True):
        effects = (placed.effects, placed.effects)
        factor = block.transform @ criterion.factors(theta)[placed.level][effects]
        slopes = [block.transform @ lams[placed.level][effects].imag / _STEP @ factor.T for lams in lams_by_theta]
        change = sigma2 * np.einsum("kab,kj->abj", np.array([slope + slope.T for slope in slopes]), step)
        taus.append(tau[:, :, None] * shares + change)
    return tuple(taus)


def _theta_steps(estimate: Estimate, rest: _Shares, size: Array, unidentified: NDArray[np.bool_]) -> Array:
    """(n, J): ``-H^-1 gradient`` of the profiled criterion without each unit, H being that of all units."""
    solution, w = estimate.optimum.solution, rest.w
    p = len(solution.beta)
    chol = cholesky(_identified(w, unidentified))
    beta = np.where(unidentified, np.nan, solve_upper(chol, solve_lower(chol, w[:p, p:]))[:, 0])
    residual = w[p, p] - np.einsum("pj,pj->j", w[p, :p], beta)
    degrees = solution.degrees - size
    direction = np.concatenate((-beta, np.ones((1, len(size)))))
    slopes = rest.log_by_theta + degrees / residual * np.einsum(
        "aj,kabj,bj->kj", direction, rest.w_by_theta, direction, optimize=True
    )
    if estimate.criterion.reml and p:
        slopes = slopes + np.einsum("abj,kabj->kj", inverse(chol), rest.w_by_theta[:, :p, :p])
    hessian = estimate.optimum.hessian
    steps: Array = -np.linalg.pinv(hessian, rcond=1e-10, hermitian=True) @ slopes
    return steps


def _unidentified(w: Array) -> NDArray[np.bool_]:
    """(J,) whether a combination of coefficients is known from this unit alone, so that W_xx without it is singular.

    The largest eigenvalue of the unit's share in ``W_xx`` is then one, whatever the columns' scales; the difference of
    the two matrices would hold rounding in place of zeros, and seem to be of full rank.
    """
    p = len(w) - 1
    units = w[:p, :p]
    whitened = np.linalg.inv(np.linalg.cholesky(units.sum(axis=2)))
    # no eigenvalue is larger than the trace, which leaves few units to look at as a rule
    trace = (whitened.T @ whitened).ravel() @ units.reshape(p * p, units.shape[2])
    flags: NDArray[np.bool_] = trace > 1 - _REMAINDER
    shares = whitened @ np.moveaxis(units[:, :, flags], 2, 0) @ whitened.T
    flags[flags] = np.linalg.eigvalsh(shares).max(axis=1, initial=0.0) > 1 - _REMAINDER
    return flags


def _solve(w: Array, unidentified: NDArray[np.bool_]) -> Array:
    """``W_xx^-1 W_xy`` of each unit: (r, r, J) -> (p, J); not a number where W_xx is singular."""
    p = len(w) - 1
    a = _identified(w, unidentified)
    beta = np.linalg.solve(np.moveaxis(a, 2, 0), w[:p, p].T[:, :, None])[:, :, 0].T
    return np.where(unidentified, np.nan, beta)


def _identified(w: Array, unidentified: NDArray[np.bool_]) -> Array:
    """(p, p, J): W_xx, with the identity in the place of singular ones."""
    p = len(w) - 1
    return np.where(unidentified, np.eye(p)[:, :, None], w[:p, :p])
