"""Estimate a fit without each unit of its top grouping factor, by one Newton step from moments or by a refit.

``W = [X y]' V^-1 [X y]`` and ``log |V|`` are sums over the units of the top factor, so that the criterion without one
of them is known exactly at the fit's theta, and its derivatives too. The fixed effects follow without a step:
``gamma - (W_xx - W_j)^-1 X_j' V_j^-1 e_j`` at a given theta. Snijders and Berkhof (2008), in de Leeuw and Meijer,
Handbook of Multilevel Analysis, section 3.5; Demidenko and Stukel (2005), Statistics in Medicine 24, 893-909.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError, IdentificationError
from mlm_ops.estimation.criterion import Criterion
from mlm_ops.estimation.design.build import build_design
from mlm_ops.estimation.estimate import Estimate, estimate_design
from mlm_ops.estimation.nested import CHUNK, Nest, build_nest, eliminate_below
from mlm_ops.estimation.stacked import premultiply, unit_cholesky, unit_inverse
from mlm_ops.language.model import Model
from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import lower_by_rows, packed_diagonal, packed_place, packed_size

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
    estimate
        The fit with all of them.
    gamma
        (p, J) fixed effects, on the user's scale; not a number where the other units do not identify them.
    tau
        (q, q, J) for each random block, on the user's scale, to first order in theta.
    sigma2
        (J,) residual variances, on the user's scale.
    """

    labels: NDArray[Any]
    estimate: Estimate
    gamma: Array
    tau: tuple[Array, ...]
    sigma2: Array

    @cached_property
    def cooks(self) -> Array:
        """(J,) Cook's distance of the fixed effects: ``(change)' Phi^-1 (change) / p``, Phi their covariance matrix."""
        change = self.gamma - self.estimate.gamma[:, None]
        scaled = np.linalg.solve(self.estimate.vcov, change)
        return np.asarray(np.einsum("pj,pj->j", change, scaled) / max(len(change), 1))


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
    unidentified = _unidentified(shares.w, len(estimate.optimum.solution.beta))
    gamma = np.empty((len(estimate.gamma), len(size)))
    tau = tuple(np.empty((*block.shape, len(size))) for block in estimate.tau)
    sigma2 = np.empty(len(size))
    for start in range(0, len(size), CHUNK):
        units = slice(start, start + CHUNK)
        without = _without(estimate, shares.of(units), total, size[units], unidentified[units])
        gamma[:, units], sigma2[units] = without[0], without[2]
        for block, values in zip(tau, without[1], strict=True):
            block[..., units] = values
    return Deletions(top.labels, estimate, gamma, tau, sigma2)


@dataclass(frozen=True)
class _Shares:
    """The shares of J top units in W and in the derivatives by the n parameters of theta.

    Of symmetric matrices the m elements of the lower triangle are kept, row by row, those of X before those of y.

    Attributes
    ----------
    w
        (m, J) of W.
    w_by_theta, log_by_theta
        (n, m, J) of W's derivatives, (n, J) of those of log |V|.
    """

    w: Array
    w_by_theta: Array
    log_by_theta: Array

    def of_all(self) -> _Shares:
        """Their sums over the units, J being one."""
        arrays = (self.w, self.w_by_theta, self.log_by_theta)
        return _Shares(*(array.sum(axis=-1, keepdims=True) for array in arrays))

    def of(self, units: slice) -> _Shares:
        """Those of some units."""
        return _Shares(*(array[..., units] for array in (self.w, self.w_by_theta, self.log_by_theta)))


def _without(
    estimate: Estimate, own: _Shares, total: _Shares, size: Array, unidentified: NDArray[np.bool_]
) -> tuple[Array, tuple[Array, ...], Array]:
    """Gamma, tau and sigma2 without each of J units, of ``size`` rows and these shares of the sums over all units."""
    fixed, solution = estimate.design.fixed, estimate.optimum.solution
    p = len(solution.beta)
    rest = total.w - own.w
    step = _theta_steps(estimate, rest, own, total, size, unidentified)
    # to first order the rest's W at the new theta
    rest += total.w_by_theta[..., 0].T @ step
    for by_theta, length in zip(own.w_by_theta, step, strict=True):
        rest -= length * by_theta
    beta, residual, _ = _regress(rest, p, unidentified)
    gamma = fixed.transform @ beta + fixed.offset[:, None]
    shares = residual / (solution.degrees - size) / solution.sigma2
    return gamma, _tau(estimate, step, shares), estimate.sigma2 * shares


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
    n, units = estimate.criterion.n_random, len(design.levels[-1].labels)
    m = packed_size(len(estimate.optimum.solution.w))
    shares = _Shares(np.empty((m, units)), np.empty((n, m, units)), np.empty((n, units)))
    of_part = _shares_of_one_level if len(sizes) == 1 else _shares_by_imaginary_steps
    for start in range(0, units, CHUNK):
        cells = np.flatnonzero((top >= start) & (top < start + CHUNK))
        parents = [np.unique(level_codes[cells], return_inverse=True)[1] for level_codes in codes]
        nest, _ = build_nest(estimate.cross.take(cells), sizes, parents, parents[-1])
        part, own = of_part(nest, estimate.criterion, estimate.optimum.theta), shares.of(slice(start, start + CHUNK))
        own.w[:], own.w_by_theta[:], own.log_by_theta[:] = part.w, part.w_by_theta, part.log_by_theta
    return shares


def _shares_of_one_level(nest: Nest, criterion: Criterion, theta: Array) -> _Shares:
    """With one level of effects, ``dW = -(Z' V^-1 [X y])' dT Z' V^-1 [X y]`` and ``d log |V| = tr(Z' V^-1 Z dT)``."""
    (lam,) = criterion.factors(theta)
    w, _, (elimination,) = eliminate_below(nest, [lam])
    zx, zz = elimination.zx, elimination.zz
    q, r, units = zx.shape
    t_by_theta = np.empty((criterion.n_random, q, q))
    for change, unit in zip(t_by_theta, np.eye(len(theta)), strict=False):
        slope = criterion.factors(theta + 1j * _STEP * unit)[0].imag / _STEP @ lam.T
        change[:] = slope + slope.T
    # W's derivative by each element of T, of which both of a pair change together
    elements, places = lower_by_rows(q), lower_by_rows(r)
    by_element = np.empty((packed_size(q), packed_size(r), units))
    for (a, b), products in zip(zip(*elements, strict=True), by_element, strict=True):
        for i in range(r):
            row = products[packed_place(i, 0) : packed_place(i + 1, 0)]
            np.multiply(zx[a, i], zx[b, : i + 1], out=row)
            if a != b:
                row += zx[b, i] * zx[a, : i + 1]
    return _Shares(
        w[places],
        premultiply(-t_by_theta[:, elements[0], elements[1]], by_element),
        t_by_theta.reshape(-1, q * q) @ zz.reshape(q * q, units),
    )


def _shares_by_imaginary_steps(nest: Nest, criterion: Criterion, theta: Array) -> _Shares:
    """With several levels the elimination itself is differentiated."""
    contributions = [
        _contributions(nest, criterion, theta + 1j * _STEP * unit) for unit in np.eye(len(theta))[: criterion.n_random]
    ]
    places = lower_by_rows(len(contributions[0][0]))
    # the step is too small for the real part to see it
    return _Shares(
        contributions[0][0].real[places],
        np.array([part.imag[places] / _STEP for part, _ in contributions]),
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


def _theta_steps(
    estimate: Estimate, rest: Array, own: _Shares, total: _Shares, size: Array, unidentified: NDArray[np.bool_]
) -> Array:
    """(n, J): ``-H^-1 gradient`` of the profiled criterion without each unit, H being that of all units.

    Parameters
    ----------
    rest
        (m, J) W without each unit.
    """
    solution = estimate.optimum.solution
    p = len(solution.beta)
    beta, residual, inverse_of = _regress(rest, p, unidentified)
    # of each element of dW what it adds to the gradient, those off the diagonal standing for two
    weights = np.empty_like(rest)
    direction = np.concatenate((-beta, np.ones((1, len(size)))))
    scaled = direction * ((solution.degrees - size) / residual)
    for i in range(p + 1):
        np.multiply(scaled[i], direction[: i + 1], out=weights[packed_place(i, 0) : packed_place(i + 1, 0)])
    if estimate.criterion.reml and p:
        weights[: packed_size(p)] += inverse_of()
    rows, columns = lower_by_rows(p + 1)
    weights[rows != columns] *= 2.0
    slopes = total.log_by_theta - own.log_by_theta + total.w_by_theta[..., 0] @ weights
    slopes -= np.einsum("mj,kmj->kj", weights, own.w_by_theta)
    steps: Array = -np.linalg.pinv(estimate.optimum.hessian, rcond=1e-10, hermitian=True) @ slopes
    return steps


def _unidentified(w: Array, p: int) -> NDArray[np.bool_]:
    """(J,) whether a combination of coefficients is known from this unit alone, so that W_xx without it is singular.

    The largest eigenvalue of the unit's share in ``W_xx`` is then one, whatever the columns' scales; the difference of
    the two matrices would hold rounding in place of zeros, and seem to be of full rank.
    """
    units, places = w[: packed_size(p)], lower_by_rows(p)
    whole = np.empty((p, p))
    whole[places] = whole.T[places] = units.sum(axis=1)
    whitened = np.linalg.inv(np.linalg.cholesky(whole))
    # no eigenvalue is larger than the trace, which leaves few units to look at as a rule
    weights = 2.0 * (whitened.T @ whitened)[places]
    weights[packed_diagonal(p)] /= 2.0
    flags: NDArray[np.bool_] = weights @ units > 1 - _REMAINDER
    few = np.empty((int(flags.sum()), p, p))
    few[:, places[0], places[1]] = few[:, places[1], places[0]] = units[:, flags].T
    flags[flags] = np.linalg.eigvalsh(whitened @ few @ whitened.T).max(axis=1, initial=0.0) > 1 - _REMAINDER
    return flags


def _regress(w: Array, p: int, unidentified: NDArray[np.bool_]) -> tuple[Array, Array, Callable[[], Array]]:
    """Regress y on X in each unit; not a number where ``W_xx`` is singular.

    Parameters
    ----------
    w
        (m, J) lower triangles of ``[X y]' V^-1 [X y]``, row by row.

    Returns
    -------
    beta, residual, inverse
        (p, J); (J,); and what makes ``W_xx^-1``, (p (p + 1) / 2, J).
    """
    rows = [list(w[packed_place(i, 0) : packed_place(i + 1, 0)]) for i in range(p + 1)]
    if unidentified.any():
        rows = [[np.where(unidentified, float(i == j), e) for j, e in enumerate(row)] for i, row in enumerate(rows)]
    lower, pivots = unit_cholesky(rows)
    beta = np.array(lower[p]).reshape(p, w.shape[1])
    for i in reversed(range(p)):
        for k in range(i + 1, p):
            beta[i] -= lower[k][i] * beta[k]
    residual = pivots[p]
    if unidentified.any():
        beta[:, unidentified] = residual[unidentified] = np.nan
    return beta, residual, lambda: unit_inverse(lower[:p], pivots[:p])
