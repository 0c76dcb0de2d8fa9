"""The ML deviance with one parameter held at a value, as a function of the others, for profile intervals to minimise.

A fixed effect ``h' beta`` held at c adds ``(c - h' beta)^2 / (h' W_xx^-1 h)`` to the residual sum of squares, the price
of the constraint in the normal equations. Every other parameter is held by writing theta, with 1 / sigma as its last
element where sigma matters, as a function of the value and of what is left (`ThetaConstraint`):

- the residual's standard deviation: ``1 / sigma = 1 / value``, in a stratum ``delta / value``;
- a standard deviation or correlation of an unstructured or diagonal T: Lambda is ``K L`` with L the Cholesky factor of
  the user's T, the effects in question first, so that the value touches one element or one row of L;
- the standard deviation or the correlation of effects that are alike: the length or the direction of their theta.

Each is smooth and free of constraints in what is left, also where the parameter is held at its boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.covariance import Unstructured
from mlm_ops.estimation.criterion import Criterion

Array = NDArray[np.float64]


class Square(Unstructured):
    """Lambda as any square matrix: theta is its elements by rows, more than T needs."""

    def factor(self, theta: Array, q: int) -> Array:
        """Fill the matrix by rows."""
        return theta.reshape(q, q)

    def pull_back(self, lam_bar: Array) -> Array:
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
class Triangle:
    """A block's Lambda by the user's T, with the effects in a chosen order: ``Lambda = (scale H)^-1 P' L``.

    Attributes
    ----------
    criterion
        With the block's Lambda taken as any square matrix.
    place, others
        The block's elements of this criterion's theta, and all others.
    basis
        (q q, free): the block's theta is ``basis @ L[free]``.
    scale
        (q,): the user's standard deviation of effect i is sigma times scale_i times the norm of row i of L.
    lower, rest
        The free elements of L, that of the first effect first, and the other elements of theta at the ML estimate.
    """

    criterion: Criterion
    place: slice
    others: NDArray[np.int64]
    basis: Array
    scale: Array
    lower: Array
    rest: Array

    def expand(self, rest: Array, lower: Array, slopes: Array) -> tuple[Array, Array]:
        """Theta of the others' elements and the free ones of L, and its derivatives by the former and by L's rest.

        ``slopes`` are L's derivatives by what is left of it, (free, k).
        """
        n = len(self.others) + len(self.basis)
        theta, jacobian = np.empty(n), np.zeros((n, len(self.others) + slopes.shape[1]))
        theta[self.others], theta[self.place] = rest, self.basis @ lower
        jacobian[self.others, np.arange(len(self.others))] = 1.0
        jacobian[self.place, len(self.others) :] = self.basis @ slopes
        return theta, jacobian

    def hold_deviation(self) -> ThetaConstraint:
        """The first effect's standard deviation is the value; theta ends in 1 / sigma."""
        k, free = len(self.others), len(self.lower)
        slopes = np.eye(free)[:, 1:]

        def expand(value: float, rest: Array) -> tuple[Array, Array]:
            relative = value / self.scale[0]
            theta, jacobian = self.expand(rest[:k], np.append(relative * rest[k - 1], rest[k:]), slopes)
            jacobian[self.place, k - 1] = relative * self.basis[:, 0]
            return theta, jacobian

        return ThetaConstraint(self.criterion, np.append(self.rest, self.lower[1:]), expand)

    def hold_correlation(self) -> ThetaConstraint:
        """The correlation of the first two effects is the value: row 1 of L is ``d (r, sqrt(1 - r^2))``."""
        k, free = len(self.others), len(self.lower)
        first, length, below = np.eye(free)[:, 0], np.zeros(free), np.eye(free)[:, 3:]

        def expand(value: float, rest: Array) -> tuple[Array, Array]:
            along = length.copy()
            along[1:3] = value, np.sqrt(max(1 - value**2, 0.0))
            slopes = np.column_stack((first, along, below))
            return self.expand(rest[:k], slopes @ rest[k:], slopes)

        own = (self.lower[0], np.hypot(self.lower[1], self.lower[2]), *self.lower[3:])
        return ThetaConstraint(self.criterion, np.append(self.rest, own), expand)


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
    to_user = transform[order] / scale[:, None]
    own = to_user @ block.covariance.factor(theta[block.theta], q)
    lower = Unstructured().factor(Unstructured().from_covariance(own @ own.T), q)
    extra = q * q - block.n_estimated
    blocks = [
        replace(b, theta=slice(b.theta.start + extra, b.theta.stop + extra)) if b.theta.start > block.theta.start else b
        for b in criterion.blocks
    ]
    place = slice(block.theta.start, block.theta.start + q * q)
    blocks[number] = replace(block, theta=place, covariance=Square())
    rows, columns = (np.arange(q), np.arange(q)) if diagonal else np.tril_indices(q)
    to_engine = np.linalg.inv(to_user)
    basis = np.array([np.outer(to_engine[:, a], np.eye(q)[b]).ravel() for a, b in zip(rows, columns, strict=True)]).T
    return Triangle(
        criterion=replace(criterion, blocks=tuple(blocks)),
        place=place,
        others=np.delete(np.arange(len(theta) + extra), place),
        basis=basis,
        scale=scale,
        lower=lower[rows, columns],
        rest=np.delete(theta, block.theta),
    )


def hold_common_deviation(criterion: Criterion, theta: Array, number: int, scale: float) -> ThetaConstraint:
    """The standard deviation of a block's effects is the value.

    Parameters
    ----------
    criterion, theta
        With 1 / sigma as the last element, and its minimum.
    number
        Which block.
    scale
        User's effects in the engine's.
    """
    block = criterion.blocks[number]
    q, place = block.size, block.theta
    others = np.delete(np.arange(len(theta)), place)
    k = len(others)
    weights = np.array([np.sqrt(q), np.sqrt(q / max(q - 1, 1))])

    def expand(value: float, rest: Array) -> tuple[Array, Array]:
        full, jacobian = np.empty(len(theta)), np.zeros((len(theta), len(rest)))
        full[others] = rest[:k]
        jacobian[others, np.arange(k)] = 1.0
        direction = np.ones(1)
        if block.n_estimated == 2:
            cosine, sine = np.cos(rest[k]), np.sin(rest[k])
            direction = weights * (cosine, sine)
            jacobian[place, k] = value / scale * rest[k - 1] * weights * (-sine, cosine)
        jacobian[place, k - 1] = value / scale * direction
        full[place] = jacobian[place, k - 1] * rest[k - 1]
        return full, jacobian

    own = theta[place] / weights[: block.n_estimated]
    angle = [np.arctan2(own[1], own[0])] if block.n_estimated == 2 else []
    return ThetaConstraint(criterion, np.append(theta[others], angle), expand)


def hold_common_correlation(criterion: Criterion, theta: Array, number: int) -> ThetaConstraint:
    """The correlation of a block's effects is the value, between ``-1 / (q - 1)`` and 1."""
    block = criterion.blocks[number]
    q, place = block.size, block.theta
    others = np.delete(np.arange(len(theta)), place)
    k = len(others)

    def expand(value: float, rest: Array) -> tuple[Array, Array]:
        direction = np.sqrt(np.maximum([1 + (q - 1) * value, 1 - value], 0.0))
        full, jacobian = np.empty(len(theta)), np.zeros((len(theta), len(rest)))
        full[others], full[place] = rest[:k], rest[k] * direction
        jacobian[others, np.arange(k)] = 1.0
        jacobian[place, k] = direction
        return full, jacobian

    length = np.sqrt((theta[place][0] ** 2 + (q - 1) * theta[place][1] ** 2) / q)
    return ThetaConstraint(criterion, np.append(theta[others], length), expand)
