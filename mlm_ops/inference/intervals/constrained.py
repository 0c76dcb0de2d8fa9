"""The ML deviance with one parameter held at a value, as a function of the others, for profile intervals to minimise.

A fixed effect ``h' beta`` held at c adds ``(c - h' beta)^2 / (h' W_xx^-1 h)`` to the residual sum of squares, the price
of the constraint in the normal equations. Every other parameter is held by writing theta, with 1 / sigma as its last
element where sigma matters, as a function of the value and of what is left:

- the residual's standard deviation: ``1 / sigma = 1 / value``, in a stratum ``delta / value``;
- a standard deviation or correlation of random effects: as their covariance structure says (`EffectConstraint`).

Each is smooth and free of constraints in what is left, also where the parameter is held at its boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.covariance import Path, Unstructured
from mlm_ops.estimation.criterion import Criterion
from mlm_ops.moments.arrays import Array


class Square(Unstructured):
    """Lambda as any square matrix: theta is its elements by rows, more than T needs."""

    def factor(self, theta: Array, q: int) -> Array:
        """Fill the matrix by rows."""
        return theta.reshape(q, q)

    def pull_back(self, theta: Array, lam_bar: Array) -> Array:
        """All elements by rows."""
        return lam_bar.ravel()


class ConstrainedDeviance(Protocol):
    """A deviance with one parameter held."""

    @property
    def start(self) -> Array:
        """The other parameters at the ML estimate."""

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives by the others."""


@dataclass(frozen=True)
class FixedEffectConstraint:
    """A combination ``h' beta`` of the engine's coefficients is held; the rest is theta."""

    criterion: Criterion
    start: Array
    contrast: Array

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives: by the envelope theorem those of ``|y - X beta|^2`` at the constrained beta."""
        solution = self.criterion.solve(rest)
        p = len(solution.beta)
        direction = np.linalg.solve(solution.w[:p, :p], self.contrast)
        price = self.contrast @ direction
        distance = value - self.contrast @ solution.beta
        residual = solution.residual + float(distance**2 / price)
        constrained = replace(solution, beta=solution.beta + direction * (distance / price), residual=residual)
        if not self.criterion.profiled:
            rise = (residual - solution.residual) / solution.sigma2
            return float(solution.criterion + rise), self.criterion.gradient(constrained)
        constrained = replace(constrained, sigma2=residual / solution.degrees)
        rise = solution.degrees * np.log(residual / solution.residual)
        return float(solution.criterion + rise), self.criterion.gradient(constrained)


@dataclass(frozen=True)
class ThetaConstraint:
    """Theta as a function of the held value and the rest.

    Attributes
    ----------
    expand
        (value, rest) -> theta, (n,), and its derivatives by the rest, (n, len(rest)).
    """

    criterion: Criterion
    start: Array
    expand: Callable[[float, Array], tuple[Array, Array]]

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives."""
        theta, jacobian = self.expand(value, rest)
        solution = self.criterion.solve(theta)
        return float(solution.criterion), self.criterion.gradient(solution) @ jacobian


def hold_element(criterion: Criterion, theta: Array, place: int) -> ThetaConstraint:
    """An element of theta is the value."""
    jacobian = np.delete(np.eye(len(theta)), place, axis=1)

    def expand(value: float, rest: Array) -> tuple[Array, Array]:
        return np.insert(rest, place, value), jacobian

    return ThetaConstraint(criterion, np.delete(theta, place), expand)


def hold_sigma(criterion: Criterion, theta: Array, stratum: int | None = None) -> ThetaConstraint:
    """The residual's standard deviation, in the engine's units, is the value.

    Parameters
    ----------
    criterion, theta
        With 1 / sigma as the last element.
    stratum
        Place in theta of the logarithm of the stratum's ratio to sigma; None for sigma itself.
    """
    jacobian = np.eye(len(theta))[:, :-1]

    def expand(value: float, rest: Array) -> tuple[Array, Array]:
        precision = (1.0 if stratum is None else np.exp(rest[stratum])) / value
        slopes = jacobian.copy()
        if stratum is not None:
            slopes[-1, stratum] = precision
        return np.append(rest, precision), slopes

    return ThetaConstraint(criterion, theta[:-1], expand)


@dataclass(frozen=True)
class EffectConstraint:
    """A standard deviation or correlation of a block's effects held, by the path that its structure has for it.

    Attributes
    ----------
    criterion
        With the block's Lambda taken as any square matrix.
    place, others
        The block's elements of this criterion's theta, and all others.
    path
        Lambda in the user's columns.
    to_engine
        (q, q): the block's Lambda is ``to_engine`` times that.
    start
        The elements of theta that are not the block's, then the path's free numbers.
    scale
        The user's standard deviation is sigma times this times the path's value, theta ending in 1 / sigma; None of a
        correlation.
    """

    criterion: Criterion
    place: slice
    others: NDArray[np.int64]
    path: Path
    to_engine: Array
    start: Array
    scale: float | None

    def at(self, value: float, rest: Array) -> tuple[float, Array]:
        """Deviance and its derivatives, those of Lambda by imaginary steps."""
        k, h = len(self.others), 1e-30
        theta = np.empty(k + self.to_engine.size)
        theta[self.others], theta[self.place] = rest[:k], self._lam(value, rest).ravel()
        solution = self.criterion.solve(theta)
        by_theta = self.criterion.gradient(solution)
        gradient = np.append(by_theta[self.others], np.zeros(len(rest) - k))
        for i in range(k - (self.scale is not None), len(rest)):
            step = self._lam(value, rest + 1j * h * (np.arange(len(rest)) == i)).imag / h
            gradient[i] += by_theta[self.place] @ step.ravel()
        return float(solution.criterion), gradient

    def _lam(self, value: float, rest: Array) -> Array:
        k = len(self.others)
        relative = value if self.scale is None else value / self.scale * rest[k - 1]
        return self.to_engine @ self.path.factor(relative, rest[k:])


def hold_effect(
    criterion: Criterion, theta: Array, number: int, transform: Array, effects: tuple[int, ...]
) -> EffectConstraint:
    """Hold the standard deviation of one of a block's effects, or the correlation of two.

    Parameters
    ----------
    criterion, theta
        The ML criterion and its minimum; for a standard deviation with 1 / sigma as the last element.
    number
        Which block.
    transform
        (q, q) H: user's random effects = H @ engine's.
    """
    block = criterion.blocks[number]
    q = block.size
    scale = np.linalg.norm(transform, axis=1)
    to_user = transform / scale[:, None]
    lam = to_user @ block.covariance.factor(theta[block.theta], q)
    hold = block.covariance.hold_deviation if len(effects) == 1 else block.covariance.hold_correlation
    path = hold(lam, *effects)
    extra = q * q - block.n_estimated
    blocks = [
        replace(b, theta=slice(b.theta.start + extra, b.theta.stop + extra)) if b.theta.start > block.theta.start else b
        for b in criterion.blocks
    ]
    place = slice(block.theta.start, block.theta.start + q * q)
    blocks[number] = replace(block, theta=place, covariance=Square())
    return EffectConstraint(
        criterion=replace(criterion, blocks=tuple(blocks)),
        place=place,
        others=np.delete(np.arange(len(theta) + extra), place),
        path=path,
        to_engine=np.linalg.inv(to_user),
        start=np.append(np.delete(theta, block.theta), path.start),
        scale=float(scale[effects[0]]) if len(effects) == 1 else None,
    )
