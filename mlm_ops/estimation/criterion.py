"""The ML or REML deviance as a function of theta, profiled over the fixed effects and, where it can be, sigma2.

Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1), eqs. 35 and 42, from moments. A T that
is given ties Lambda to sigma, so that sigma2 is a parameter then: theta ends in 1 / sigma, in which Lambda is linear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mlm_ops.estimation.blocks import Block
from mlm_ops.estimation.design.residual import ResidualDesign
from mlm_ops.estimation.engine import Engine
from mlm_ops.estimation.residual import (
    autocorrelations,
    is_flat,
    log_determinant_derivatives,
    n_rho,
    weight_derivatives,
)
from mlm_ops.estimation.residual import (
    log_determinant as residual_log_determinant,
)
from mlm_ops.estimation.second_order import average_information, profiled_hessian
from mlm_ops.moments.arrays import Array


@dataclass(frozen=True)
class Solution:
    """The profiled model at one theta.

    Attributes
    ----------
    criterion
        -2 log-likelihood, restricted or not.
    w
        (p + 1, p + 1) ``[X y]' V^-1 [X y]``, V relative to sigma2.
    beta
        (p,) fixed effects.
    residual
        Profiled residual sum of squares.
    degrees
        What it is divided by: N - p for REML, N for ML.
    sigma2
        The residual variance.
    theta
        The theta of this solution.
    lams
        (q, q) Lambda of each factor.
    rho
        Parameters of the residual structure.
    engine, trace
        The engine, and its record of the elimination, from which derivatives are taken.
    """

    criterion: float
    w: Array
    beta: Array
    residual: float
    degrees: int
    sigma2: float
    theta: Array
    lams: list[Array]
    rho: Array
    engine: Engine
    trace: Any


@dataclass(frozen=True)
class Criterion:
    """A model's deviance as a function of theta.

    Attributes
    ----------
    engine_of
        The engine for the residual's parameters rho: cross-products, and how to eliminate the random effects from them.
    residual
        The residual structure; None where residuals are independent with one variance.
    blocks
        Random blocks in the order of theta.
    n_obs
        Rows N.
    reml
        Whether the likelihood is restricted.
    profiled
        Whether sigma2 is profiled out; else 1 / sigma is theta's last element.
    """

    engine_of: Callable[[Array], Engine]
    blocks: tuple[Block, ...]
    n_obs: int
    reml: bool
    residual: ResidualDesign | None = None
    profiled: bool = True

    @property
    def n_random(self) -> int:
        """Parameters of the random effects, which stand first in theta."""
        return sum(block.n_estimated for block in self.blocks)

    @property
    def n_relative(self) -> int:
        """Parameters of the outcome's covariance relative to sigma2: random effects, then the residual's rho."""
        return self.n_random + (n_rho(self.residual) if self.residual is not None else 0)

    @property
    def n_theta(self) -> int:
        """Length of theta."""
        return self.n_relative + (not self.profiled)

    @cached_property
    def engine(self) -> Engine:
        """The engine at rho = 0."""
        return self.engine_of(np.zeros(self.n_relative - self.n_random))

    def start(self) -> Array:
        """Starting value of theta: a consistent estimate of T / sigma2 for one grouping factor, else moderate effects.

        The estimate is quadratic in the data, MINQUE of Rao (1972), with the moderate effects as the prior: one step of
        Fisher's scoring in T and sigma2, which may be long, as the expectations are linear in these.
        """
        moderate = np.zeros(self.n_theta)
        for block in self.blocks:
            moderate[block.theta] = block.covariance.start(block.size)
        if not self.engine.sizes or len(moderate) > self.n_random:
            return moderate
        solution = self.solve(moderate)
        slopes = self.engine.pull_back_to_covariance(solution.trace, self.weights(solution))
        traces = self.engine.pull_back_to_covariance(solution.trace, np.zeros_like(solution.w))
        slope, trace = (np.concatenate([part.ravel() for part in parts]) for parts in (slopes, traces))
        # with d the change of T in units of the prior's sigma2: s = 1 - tr(trace d) / degrees estimates sigma2
        ends = np.cumsum([size**2 for size in self.engine.sizes])
        profiled = -np.outer(trace, trace) / solution.degrees
        for end, information in zip(ends, self.engine.expected_information(solution.trace), strict=True):
            place = slice(end - len(information), end)
            profiled[place, place] += information
        change = -np.linalg.lstsq(profiled, slope, rcond=1e-10)[0]
        sigma2 = 1.0 - float(trace @ change) / solution.degrees
        if sigma2 <= 0:
            return moderate
        changes = [
            part.reshape(lam.shape) for part, lam in zip(np.split(change, ends[:-1]), solution.lams, strict=True)
        ]
        relative = [lam @ lam.T + part / sigma2 for lam, part in zip(solution.lams, changes, strict=True)]
        return np.concatenate([b.covariance.near(relative[b.level][b.effects, b.effects]) for b in self.blocks])

    def large_effects(self) -> Array:
        """Another starting value: independent effects of the residual's standard deviation, as lme4 begins with."""
        theta = np.zeros(self.n_theta)
        for block in self.blocks:
            theta[block.theta] = block.covariance.near(np.eye(block.size))
        return theta

    def other_autocorrelations(self, theta: Array) -> list[Array]:
        """The same theta with other autocorrelations, ascending, where the deviance may be flat around zero; else none.

        See `residual.autocorrelations`.
        """
        if self.residual is None:
            return []
        thetas = []
        for value in autocorrelations(self.residual):
            other = theta.copy()
            other[self.n_relative - 1] = value
            thetas.append(other)
        return thetas

    def is_flat_in_residual(self, theta: Array) -> bool:
        """Whether theta lies where the deviance hardly depends on the autocorrelation, all gaps being long."""
        return self.residual is not None and is_flat(self.residual, theta[self.n_random : self.n_relative])

    def signs(self, theta: Array) -> Array:
        """Plus or minus one for each element: times these, theta is that of the same model with the usual signs."""
        signs = np.ones(len(theta))
        for block in self.blocks:
            signs[block.theta] = block.covariance.signs(theta[block.theta], block.size)
        return signs

    def scales(self, theta: Array) -> Array:
        """The size of each element of theta, by which derivatives are judged; of a logarithm it is one."""
        scales = np.ones(len(theta))
        for block in self.blocks:
            scales[block.theta] = block.covariance.scales(theta[block.theta], block.size)
        return scales

    def factors(self, theta: Array) -> list[Array]:
        """Lambda of each level, block-diagonal, lowest level first."""
        lams = [np.zeros((size, size), dtype=theta.dtype) for size in self.engine.sizes]
        for block in self.blocks:
            lams[block.level][block.effects, block.effects] = block.covariance.factor(theta[block.theta], block.size)
        return lams

    def solve(self, theta: Array) -> Solution:
        """Profile out fixed effects and sigma2; where there is no likelihood the criterion is no number, or infinite.

        There is none at a perfect fit, which `estimate_design` refuses before, and at an autocorrelation of one in
        double precision, which the search leaves again.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return self._solve(theta)

    def _solve(self, theta: Array) -> Solution:
        lams = self.factors(theta)
        rho = theta[self.n_random : self.n_relative]
        engine = self.engine_of(rho) if len(rho) else self.engine
        w, log_determinant, trace = engine.eliminate(lams)
        if self.residual is not None:
            log_determinant = log_determinant + residual_log_determinant(self.residual, rho)
        p = len(w) - 1
        beta = np.linalg.solve(w[:p, :p], w[:p, p])
        residual = w[p, p] - w[p, :p] @ beta
        degrees = self.n_obs - p if self.reml else self.n_obs
        sigma2 = residual / degrees if self.profiled else theta[-1] ** -2
        squares = degrees if self.profiled else residual / sigma2
        criterion = log_determinant + degrees * np.log(2.0 * np.pi * sigma2) + squares
        if self.reml:
            criterion = criterion + _log_determinant(w[:p, :p])
        return Solution(criterion, w, beta, residual, degrees, sigma2, theta, lams, rho, engine, trace)

    def weights(self, solution: Solution) -> Array:
        """Derivative of the criterion by W, (p + 1, p + 1)."""
        p = len(solution.beta)
        direction = np.append(-solution.beta, 1.0)
        w_bar: Array = np.outer(direction, direction) / solution.sigma2
        if self.reml:
            w_bar[:p, :p] += np.linalg.inv(solution.w[:p, :p])
        return w_bar

    def gradient(self, solution: Solution) -> Array:
        """Derivative of the criterion by theta."""
        gradient = self._pull_back(solution, self.weights(solution), 1.0)
        if not self.profiled:
            gradient[-1] += 2 * solution.theta[-1] * solution.residual - 2 * solution.degrees / solution.theta[-1]
        return gradient

    def hessian(self, theta: Array, solution: Solution | None = None) -> Array:
        """Second derivatives of the criterion by theta, exact to rounding where the engine takes complex numbers.

        The gradient is analytic, so its imaginary part at ``theta + i h e_k`` is h times its derivative, with no
        difference to cancel (Squire and Trapp 1998, SIAM Review 40, 110-112). Elsewhere by central differences of the
        gradient, good to eight digits as they are in units of theta's size.
        """
        solution = solution or (self.solve(theta) if self.residual is None else None)
        if solution is not None and self.has_curvature(solution):
            return self._closed_form_hessian(solution)
        h, steps = 1e-30, 1e-4 * self.scales(theta)
        rows = []
        for unit, step in zip(np.eye(len(theta)), steps, strict=True):
            if self.engine.complex_step:
                rows.append(self.gradient(self.solve(theta + 1j * h * unit)).imag / h)
            else:
                ahead, behind = (self.gradient(self.solve(theta + sign * step * unit)) for sign in (1, -1))
                rows.append((ahead - behind) / (2 * step))
        hessian = np.array(rows).reshape(len(theta), len(theta))
        symmetric: Array = (hessian + hessian.T) / 2
        return symmetric

    def has_curvature(self, solution: Solution) -> bool:
        """Whether second derivatives are known in closed form here: never of a residual structure's parameters."""
        return self.residual is None and solution.engine.has_curvature(solution.trace)

    def _directions(self, solution: Solution) -> tuple[list[Array], list[Array]]:
        """(n, q, q) derivatives of each level's Lambda and of its ``T / sigma2`` by theta."""
        moves = [np.zeros((self.n_theta, size, size)) for size in self.engine.sizes]
        for block in self.blocks:
            moves[block.level][block.theta, block.effects, block.effects] = block.slopes(solution.theta)
        halves = [move @ lam.T for move, lam in zip(moves, solution.lams, strict=True)]
        return moves, [half + half.transpose(0, 2, 1) for half in halves]

    def _closed_form_hessian(self, solution: Solution) -> Array:
        """The chain from T / sigma2 = Lambda Lambda' to theta."""
        theta, w_bar = solution.theta, self.weights(solution)
        moves, directions = self._directions(solution)
        by_level = solution.engine.pull_back_to_covariance(solution.trace, w_bar)
        bend = np.zeros((self.n_theta, self.n_theta))
        for move, by_covariance in zip(moves, by_level, strict=True):
            bend += 2 * np.einsum("kac,lbc,ab->kl", move, move, by_covariance)
        for block in self.blocks:
            lam_bar = 2 * (by_level[block.level] @ solution.lams[block.level])[block.effects, block.effects]
            bend[block.theta, block.theta] += block.covariance.bend(theta[block.theta], lam_bar)
        degrees = solution.degrees if self.profiled else None
        parts = solution.engine.second_order(solution.trace, directions, w_bar)
        hessian = profiled_hessian(parts, solution.w, solution.beta, solution.sigma2, degrees, reml=self.reml)
        by_theta: Array = hessian + bend
        if not self.profiled:
            # what residual / sigma2 + degrees log(sigma2) has of 1 / sigma itself
            slope = 2 * solution.theta[-1] * self.residual_gradient(solution)
            by_theta[-1] += slope
            by_theta[:, -1] += slope
            by_theta[-1, -1] += 2 * solution.residual + 2 * solution.degrees / solution.theta[-1] ** 2
        return by_theta

    def information(self, solution: Solution) -> Array:
        """A metric for steps, positive semi-definite: the expected information's leading term, or the average one."""
        information = self._expected(solution)
        if not self.engine.complex_step:
            average = self._average(solution)
            # far away the average may be far too small, where the data have much less variance than theta says
            lacking = np.maximum(np.diag(information) - np.diag(average), 0.0)
            information = average + np.diag(np.where(lacking > np.diag(information) / 2, lacking, 0.0))
        # a residual parameter is known about as well as a log-variance of all rows would be
        rest = np.arange(self.n_random, self.n_relative)
        information[rest, rest] = 2.0 * self.n_obs
        if not self.profiled:
            information[-1, -1] += 4.0 * solution.degrees / solution.theta[-1] ** 2
        return information

    def _expected(self, solution: Solution) -> Array:
        by_level = solution.engine.expected_information(solution.trace)
        information = np.zeros((self.n_theta, self.n_theta))
        for block in self.blocks:
            q_level, q = self.engine.sizes[block.level], block.size
            inside = np.arange(q_level)[block.effects]
            elements = (inside[:, None] * q_level + inside[None, :]).ravel()
            by_covariance = by_level[block.level][np.ix_(elements, elements)]
            lam = solution.lams[block.level][block.effects, block.effects]
            change = block.slopes(solution.theta) @ lam.T
            derivatives = (change + change.transpose(0, 2, 1)).reshape(-1, q * q).T
            information[block.theta, block.theta] += derivatives.T @ by_covariance @ derivatives
        return information

    def _average(self, solution: Solution) -> Array:
        direction = np.append(-solution.beta, 1.0)
        weights = np.outer(direction, direction) / solution.sigma2
        _, directions = self._directions(solution)
        parts = solution.engine.second_order(solution.trace, directions, weights, determinant=False)
        degrees = solution.degrees if self.profiled else None
        return average_information(parts, solution.w, solution.beta, solution.sigma2, degrees)

    def covariance_gradients(self, solution: Solution) -> list[Array]:
        """Derivatives by each T / sigma2, (q, q): not zero where a zero T is no minimum, as those by theta are."""
        by_level = solution.engine.pull_back_to_covariance(solution.trace, self.weights(solution))
        return [by_level[b.level][b.effects, b.effects] for b in self.blocks]

    def residual_gradient(self, solution: Solution) -> Array:
        """Derivative by theta of the profiled residual sum of squares."""
        direction = np.append(-solution.beta, 1.0)
        return self._pull_back(solution, np.outer(direction, direction), 0.0)

    def variance_gradients(self, solution: Solution, contrasts: Array) -> Array:
        """Derivatives by theta of ``l' (X' V^-1 X)^-1 l`` for each contrast l: (k, p) -> (k, n_theta)."""
        p = contrasts.shape[1]
        directions = np.linalg.solve(solution.w[:p, :p], contrasts.T).T
        padded = np.column_stack((directions, np.zeros(len(directions))))
        gradients = [self._pull_back(solution, -np.outer(d, d), 0.0) for d in padded]
        return np.array(gradients).reshape(len(gradients), self.n_theta)

    def _pull_back(self, solution: Solution, w_bar: Array, weight: float) -> Array:
        """Derivatives by theta of ``f(W) + weight log |V|``, w_bar being the derivative of f by W."""
        by_theta = self._from_factors(solution.theta, solution.engine.pull_back(solution.trace, w_bar, weight))
        if self.residual is not None and len(solution.rho):
            by_product = solution.engine.pull_back_to_products(solution.trace, w_bar, weight)
            by_weight = np.einsum("ijk,cijk->c", by_product, self.residual.products)
            by_rho = weight_derivatives(self.residual, solution.rho) @ by_weight
            by_rho = by_rho + weight * log_determinant_derivatives(self.residual, solution.rho)
            by_theta = by_theta.astype(by_rho.dtype)
            by_theta[self.n_random : self.n_relative] = by_rho
        return by_theta

    def _from_factors(self, theta: Array, by_lam: Sequence[Array]) -> Array:
        """The chain from derivatives by every Lambda to theta."""
        by_theta = np.zeros(self.n_theta, dtype=np.result_type(np.float64, *by_lam))
        for block in self.blocks:
            own = by_lam[block.level][block.effects, block.effects]
            by_theta[block.theta] += block.covariance.pull_back(theta[block.theta], own)
        return by_theta


def _log_determinant(matrix: Array) -> Any:
    if np.iscomplexobj(matrix):
        # slogdet's sign carries the phase, which is the imaginary part of the logarithm
        sign, value = np.linalg.slogdet(matrix)
        complex_value: Any = value + np.log(sign)
        return complex_value
    return float(np.linalg.slogdet(matrix)[1])
