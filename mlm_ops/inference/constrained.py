"""The ML deviance with one parameter held at a value, as a function of the others: what profiling minimises.

With ``f(theta) = log |V| + N (1 + log(2 pi r2 / N))`` profiled over fixed effects and sigma2, and s = sigma2:

- sigma held: ``log |V| + N log(2 pi s) + r2 / s``;
- a fixed effect ``h' beta`` held at c: r2 grows by ``(c - h' beta)^2 / (h' W_xx^-1 h)``, the price of the constraint in
  the normal equations, and by the envelope theorem its derivative is that of ``|y - X beta_c|^2`` at the constrained
  ``beta_c``;
- a standard deviation or correlation held: Lambda is written as ``K L`` with L the Cholesky factor of the user's T,
  the effects in question first, so that the constraint touches one element or one row of L.

Each is smooth and free of constraints in what is left, also where the parameter is held at its boundary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.covariance import Unstructured
from mlm_ops.estimation.criterion import Criterion, Solution

Array = NDArray[np.float64]


class Square(Unstructured):
    """Lambda as any square matrix: theta is its elements by rows, more than T needs."""

    def n_theta(self, q: int) -> int:
        """``q^2``."""
        return q * q

    def factor(self, theta: Array, q: int) -> Array:
        """Fill the matrix by rows."""
        return theta.reshape(q, q)

    def pull_back(self, lam_bar: Array) -> Array:
        """All elements by rows."""
        return lam_bar.ravel()


class Constrained(Protocol):
    """A deviance with one parameter held."""

    @property
    def start(self) -> Array:
        """The other parameters at the ML estimate."""

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives by the others."""


@dataclass(frozen=True)
class SigmaHeld:
    """The residual's standard deviation, in the engine's units, is held; the rest is theta."""

    criterion: Criterion
    start: Array

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives."""
        solution = self.criterion.solve(rest)
        return _deviance(solution, value**2), _gradient(self.criterion, solution, value**2)


@dataclass(frozen=True)
class FixedHeld:
    """A combination ``h' beta`` of the engine's coefficients is held; the rest is theta."""

    criterion: Criterion
    start: Array
    contrast: Array

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives."""
        solution = self.criterion.solve(rest)
        p = len(solution.beta)
        direction = np.linalg.solve(solution.w[:p, :p], self.contrast)
        price = self.contrast @ direction
        distance = value - self.contrast @ solution.beta
        residual = solution.residual + float(distance**2 / price)
        held = replace(solution, beta=solution.beta + direction * (distance / price), residual=residual)
        n = solution.degrees
        deviance = _log_determinant(solution) + n * float(1 + np.log(2 * np.pi * residual / n))
        return deviance, self.criterion.gradient(held)


@dataclass(frozen=True)
class Triangle:
    """A block's Lambda by the user's T, with the effects in a chosen order: ``Lambda = (scale H)^-1 P' L``.

    Attributes
    ----------
    criterion
        With the block's Lambda taken as any square matrix.
    theta
        The block's place in this criterion's theta.
    back
        (q, q): Lambda = back @ L.
    scale
        (q,): the user's standard deviation of effect i is sigma times scale_i times the norm of row i of L.
    free
        Rows and columns of L's elements that are parameters, that of the first effect first.
    lower, others
        L, (q, q), and the other blocks' theta at the ML estimate.
    """

    criterion: Criterion
    theta: slice
    back: Array
    scale: Array
    free: tuple[NDArray[np.signedinteger], NDArray[np.signedinteger]]
    lower: Array
    others: Array

    def place(self, lower: Array, others: Array) -> Array:
        """Theta of a given L, the other blocks' theta being `others`."""
        own = (self.back @ lower).ravel()
        return np.concatenate((others[: self.theta.start], own, others[self.theta.start :]))

    def split(self, gradient: Array) -> tuple[Array, Array]:
        """Derivatives by all elements of L, (q, q), and by the other blocks' theta."""
        q = len(self.back)
        others = np.concatenate((gradient[: self.theta.start], gradient[self.theta.stop :]))
        return self.back.T @ gradient[self.theta].reshape(q, q), others


@dataclass(frozen=True)
class DeviationHeld:
    """The first effect's standard deviation is held; the rest: log sigma, L without its first element, other theta."""

    triangle: Triangle
    log_sigma: float

    @property
    def start(self) -> Array:
        """At the ML estimate."""
        own = self.triangle.lower[self.triangle.free][1:]
        return np.concatenate(([self.log_sigma], own, self.triangle.others))

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives."""
        t = self.triangle
        s = np.exp(2 * rest[0])
        lower = np.zeros_like(t.back)
        used = len(t.free[0])
        first = value / (np.exp(rest[0]) * t.scale[0])
        lower[t.free] = np.concatenate(([first], rest[1:used]))
        solution = t.criterion.solve(t.place(lower, rest[used:]))
        by_lower, others = t.split(_gradient(t.criterion, solution, s))
        by_log_sigma = 2 * (solution.degrees - solution.residual / s) - by_lower[0, 0] * first
        return _deviance(solution, s), np.concatenate(([by_log_sigma], by_lower[t.free][1:], others))


@dataclass(frozen=True)
class CorrelationHeld:
    """The correlation of the first two effects is held: row 1 of L is ``d (r, sqrt(1 - r^2))``.

    The rest: L's first element, d, its rows from the third on, the other blocks' theta; sigma2 is profiled out.
    """

    triangle: Triangle

    @property
    def start(self) -> Array:
        """At the ML estimate."""
        t = self.triangle
        own = t.lower[t.free][3:]
        return np.concatenate(([t.lower[0, 0], np.hypot(t.lower[1, 0], t.lower[1, 1])], own, t.others))

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives."""
        t = self.triangle
        used = len(t.free[0]) - 1
        along = np.array([value, np.sqrt(max(1 - value**2, 0.0))])
        lower = np.zeros_like(t.back)
        lower[t.free] = np.concatenate(([rest[0]], rest[1] * along, rest[2:used]))
        solution = t.criterion.solve(t.place(lower, rest[used:]))
        by_lower, others = t.split(t.criterion.gradient(solution))
        by_length = by_lower[1, :2] @ along
        gradient = np.concatenate(([by_lower[0, 0], by_length], by_lower[t.free][3:], others))
        return float(solution.criterion), gradient


def make_triangle(
    criterion: Criterion, theta: Array, number: int, transform: Array, first: tuple[int, ...], *, diagonal: bool
) -> Triangle:
    """Write a block's Lambda by the user's T, the effects `first` put first.

    Parameters
    ----------
    criterion, theta
        The ML criterion and its minimum.
    number
        Which block.
    transform
        (q, q) H: user's random effects = H @ engine's.
    diagonal
        Whether T is diagonal, so that L is.
    """
    block = criterion.blocks[number]
    q = block.size
    order = np.array([*first, *(i for i in range(q) if i not in first)])
    scale = np.linalg.norm(transform, axis=1)[order]
    forth = transform[order] / scale[:, None]
    own = forth @ block.covariance.factor(theta[block.theta], q)
    lower = Unstructured().factor(Unstructured().from_covariance(own @ own.T), q)
    grown = q * q - (block.theta.stop - block.theta.start)
    blocks = [
        replace(b, theta=slice(b.theta.start + grown, b.theta.stop + grown)) if b.theta.start > block.theta.start else b
        for b in criterion.blocks
    ]
    place = slice(block.theta.start, block.theta.start + q * q)
    blocks[number] = replace(block, theta=place, covariance=Square())
    rows, columns = (np.arange(q), np.arange(q)) if diagonal else np.tril_indices(q)
    others = np.concatenate((theta[: block.theta.start], theta[block.theta.stop :]))
    back = np.linalg.inv(forth)
    return Triangle(replace(criterion, blocks=tuple(blocks)), place, back, scale, (rows, columns), lower, others)


def _log_determinant(solution: Solution) -> float:
    """``log |V|`` of the ML criterion."""
    n = solution.degrees
    return float(solution.criterion - n * (1 + np.log(2 * np.pi * solution.residual / n)))


def _deviance(solution: Solution, s: float) -> float:
    """The ML deviance at a given sigma2."""
    return float(_log_determinant(solution) + solution.degrees * np.log(2 * np.pi * s) + solution.residual / s)


def _gradient(criterion: Criterion, solution: Solution, s: float) -> Array:
    """Derivative by theta of `_deviance`: the criterion's, with sigma2 = s in the place of r2 / N."""
    return criterion.gradient(replace(solution, residual=s * solution.degrees))
