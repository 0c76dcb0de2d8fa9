"""The ML or REML deviance as a function of theta, profiled over the fixed effects and sigma2.

Bates, Maechler, Bolker and Walker (2015), Journal of Statistical Software 67(1), eqs. 35 and 42, from moments.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.covariance import COVARIANCES, Covariance
from mlm_ops.estimation.curvature import hessian_by_covariance
from mlm_ops.estimation.engine import Engine
from mlm_ops.estimation.residual import log_determinant as residual_log_determinant
from mlm_ops.estimation.residual import log_determinant_derivatives, n_rho, weight_derivatives
from mlm_ops.moments.residual import ResidualDesign

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """A random block: its level in the nest, its place among the level's effects, and the place of its theta."""

    level: int
    effects: slice
    theta: slice
    covariance: Covariance

    @property
    def size(self) -> int:
        """Random effects q."""
        return int(self.effects.stop - self.effects.start)


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
    lams
        (q, q) Lambda of each factor.
    rho
        Parameters of the residual structure.
    engine, trace
        What the engine left for derivatives.
    """

    criterion: float
    w: Array
    beta: Array
    residual: float
    degrees: int
    lams: list[Array]
    rho: Array
    engine: Engine
    trace: Any

    @property
    def sigma2(self) -> float:
        """The residual variance."""
        return self.residual / self.degrees


@dataclass(frozen=True)
class Criterion:
    """A model's deviance; data outside, theta inside.

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
    """

    engine_of: Callable[[Array], Engine]
    blocks: tuple[Block, ...]
    n_obs: int
    reml: bool
    residual: ResidualDesign | None = None

    @property
    def n_random(self) -> int:
        """Parameters of the random effects, which stand first in theta."""
        return int(self.blocks[-1].theta.stop) if self.blocks else 0

    @property
    def n_theta(self) -> int:
        """Length of theta: random effects, then the residual's rho."""
        return self.n_random + (n_rho(self.residual) if self.residual is not None else 0)

    @cached_property
    def engine(self) -> Engine:
        """The engine at rho = 0."""
        return self.engine_of(np.zeros(self.n_theta - self.n_random))

    def start(self) -> Array:
        """Where to begin: for one grouping factor at a consistent estimate of T / sigma2, else at moderate effects.

        The estimate is quadratic in the data, MINQUE of Rao (1972), with the moderate effects as the prior: one step of
        Fisher's scoring in T and sigma2, which may be long, as the expectations are linear in these.
        """
        parts = [b.covariance.start(b.size) for b in self.blocks]
        moderate = np.concatenate([*parts, np.zeros(self.n_theta - self.n_random)])
        if len(self.engine.sizes) != 1 or len(moderate) > self.n_random:
            return moderate
        solution = self.solve(moderate)
        (slope,) = self.engine.pull_back_to_covariance(solution.trace, self.weights(solution))
        (trace,) = self.engine.pull_back_to_covariance(solution.trace, np.zeros_like(solution.w))
        (information,) = self.engine.expected_information(solution.trace)
        # with d the change of T in units of the prior's sigma2: s = 1 - tr(trace d) / degrees estimates sigma2
        profiled = information - np.outer(trace, trace) / solution.degrees
        change = -np.linalg.lstsq(profiled, slope.ravel(), rcond=1e-10)[0].reshape(slope.shape)
        sigma2 = 1.0 - float((trace * change).sum()) / solution.degrees
        if sigma2 <= 0:
            return moderate
        (lam,) = solution.lams
        relative = lam @ lam.T + change / sigma2
        return np.concatenate([b.covariance.near(relative[b.effects, b.effects]) for b in self.blocks])

    def factors(self, theta: Array) -> list[Array]:
        """Lambda of each level, block-diagonal, lowest level first."""
        lams = [np.zeros((size, size), dtype=theta.dtype) for size in self.engine.sizes]
        for block in self.blocks:
            lams[block.level][block.effects, block.effects] = block.covariance.factor(theta[block.theta], block.size)
        return lams

    def solve(self, theta: Array) -> Solution:
        """Profile out fixed effects and sigma2."""
        lams = self.factors(theta)
        rho = theta[self.n_random :]
        engine = self.engine_of(rho) if len(rho) else self.engine
        w, log_determinant, trace = engine.eliminate(lams)
        if self.residual is not None:
            log_determinant = log_determinant + residual_log_determinant(self.residual, rho)
        p = len(w) - 1
        beta = np.linalg.solve(w[:p, :p], w[:p, p])
        residual = w[p, p] - w[p, :p] @ beta
        degrees = self.n_obs - p if self.reml else self.n_obs
        with np.errstate(divide="ignore"):  # a perfect fit is minus infinity, and refused by whoever asks
            criterion = log_determinant + degrees * (1.0 + np.log(2.0 * np.pi * residual / degrees))
        if self.reml:
            criterion = criterion + _log_determinant(w[:p, :p])
        return Solution(criterion, w, beta, residual, degrees, lams, rho, engine, trace)

    def weights(self, solution: Solution) -> Array:
        """Derivative of the criterion by W, (p + 1, p + 1)."""
        p = len(solution.beta)
        direction = np.append(-solution.beta, 1.0)
        w_bar: Array = (solution.degrees / solution.residual) * np.outer(direction, direction)
        if self.reml:
            w_bar[:p, :p] += np.linalg.inv(solution.w[:p, :p])
        return w_bar

    def gradient(self, solution: Solution) -> Array:
        """Derivative of the criterion by theta."""
        return self._pull_back(solution, self.weights(solution), 1.0)

    def hessian(self, theta: Array, solution: Solution | None = None) -> Array:
        """Second derivatives of the criterion by theta, exact to rounding where the engine takes complex numbers.

        The gradient is analytic, so its imaginary part at ``theta + i h e_k`` is h times its derivative, with no
        difference to cancel (Squire and Trapp 1998, SIAM Review 40, 110-112). Elsewhere by central differences of the
        gradient, good to eight digits on theta's scale of one.
        """
        if self.has_curvature:
            return self._closed_form_hessian(solution or self.solve(theta))
        h, step = 1e-30, 1e-4
        rows = []
        for unit in np.eye(len(theta)):
            if self.engine.complex_step:
                rows.append(self.gradient(self.solve(theta + 1j * h * unit)).imag / h)
            else:
                ahead, behind = (self.gradient(self.solve(theta + sign * step * unit)) for sign in (1, -1))
                rows.append((ahead - behind) / (2 * step))
        hessian = np.array(rows).reshape(len(theta), len(theta))
        symmetric: Array = (hessian + hessian.T) / 2
        return symmetric

    @property
    def has_curvature(self) -> bool:
        """Whether second derivatives are known in closed form: one grouping factor, one residual variance."""
        return len(self.engine.sizes) == 1 and self.residual is None

    def _closed_form_hessian(self, solution: Solution) -> Array:
        """The chain from T / sigma2 = Lambda Lambda' to theta: Lambda is linear in theta."""
        (lam,), (step,) = solution.lams, solution.trace
        w_bar = self.weights(solution)
        moves = np.zeros((self.n_theta, *lam.shape))
        for block in self.blocks:
            for k, unit in enumerate(np.eye(block.theta.stop - block.theta.start)):
                factor = block.covariance.factor(unit, block.size)
                moves[block.theta.start + k, block.effects, block.effects] = factor
        directions = moves @ lam.T
        directions = directions + directions.transpose(0, 2, 1)
        (by_covariance,) = solution.engine.pull_back_to_covariance(solution.trace, w_bar)
        bend = 2 * np.einsum("kac,lbc,ab->kl", moves, moves, by_covariance)
        w, beta, residual, degrees = solution.w, solution.beta, solution.residual, solution.degrees
        hessian = hessian_by_covariance(step, w_bar, directions, w, beta, residual, degrees, reml=self.reml)
        curved: Array = hessian + bend
        return curved

    def expected_information(self, solution: Solution) -> Array:
        """Leading term of the expected information by theta: a metric for steps, positive semi-definite."""
        by_level = solution.engine.expected_information(solution.trace)
        information = np.zeros((self.n_theta, self.n_theta))
        for block in self.blocks:
            q_level, q = self.engine.sizes[block.level], block.size
            inside = np.arange(q_level)[block.effects]
            elements = (inside[:, None] * q_level + inside[None, :]).ravel()
            by_covariance = by_level[block.level][np.ix_(elements, elements)]
            lam = solution.lams[block.level][block.effects, block.effects]
            derivatives = np.empty((q * q, block.theta.stop - block.theta.start))
            for k, unit in enumerate(np.eye(derivatives.shape[1])):
                change = block.covariance.factor(unit, q) @ lam.T
                derivatives[:, k] = (change + change.T).ravel()
            information[block.theta, block.theta] = derivatives.T @ by_covariance @ derivatives
        # a residual parameter is known about as well as a log-variance of all rows would be
        rest = np.arange(self.n_random, self.n_theta)
        information[rest, rest] = 2.0 * self.n_obs
        return information

    def covariance_gradients(self, solution: Solution) -> list[Array]:
        """Derivative of the criterion by T / sigma2 of each block, (q, q): on the boundary it tells the way out."""
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
        return np.array([self._pull_back(solution, -np.outer(d, d), 0.0) for d in padded])

    def _pull_back(self, solution: Solution, w_bar: Array, weight: float) -> Array:
        """Derivatives by theta of ``f(W) + weight log |V|``, w_bar being the derivative of f by W."""
        by_level = solution.engine.pull_back(solution.trace, w_bar, weight)
        parts = [b.covariance.pull_back(by_level[b.level][b.effects, b.effects]) for b in self.blocks]
        if self.residual is not None and len(solution.rho):
            by_product = solution.engine.pull_back_to_products(solution.trace, w_bar, weight)
            by_weight = np.einsum("ijk,cijk->c", by_product, self.residual.products)
            by_rho = weight_derivatives(self.residual, solution.rho) @ by_weight
            parts.append(by_rho + weight * log_determinant_derivatives(self.residual, solution.rho))
        return np.concatenate(parts) if parts else np.zeros(0)


def make_blocks(levels: Sequence[Sequence[tuple[int, str]]]) -> tuple[Block, ...]:
    """Blocks from (size, covariance structure) pairs by level, lowest level first."""
    blocks = []
    used = 0
    for height, parts in enumerate(levels):
        first = 0
        for size, name in parts:
            structure = COVARIANCES[name]
            n_theta = len(structure.start(size))
            blocks.append(Block(height, slice(first, first + size), slice(used, used + n_theta), structure))
            first, used = first + size, used + n_theta
    return tuple(blocks)


def _log_determinant(matrix: Array) -> Any:
    if np.iscomplexobj(matrix):
        # slogdet's sign carries the phase, which is the imaginary part of the logarithm
        sign, value = np.linalg.slogdet(matrix)
        complex_value: Any = value + np.log(sign)
        return complex_value
    return float(np.linalg.slogdet(matrix)[1])
