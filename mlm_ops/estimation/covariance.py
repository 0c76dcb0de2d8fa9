"""Covariance structures of random blocks: theta <-> Lambda, the relative factor with T = sigma2 Lambda Lambda'.

A structure is a class here, with all that is computed of it, and a row of words in `language.covariances`.

Theta is unbounded: turning a sign gives the same T, so no boundary is needed to keep variances non-negative, and a
variance of zero is an ordinary stationary point, with a way out where the deviance falls with it. In every structure
here Lambda is linear in theta; one in which it is not says so by its own `slopes` and `bend`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlm_ops.language.model import Matrix
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.sums import lower_by_columns, lower_by_rows

Freedom = Literal["rotate", "scale", "common"]

#: Relative variance of a random effect to start from, for columns of mean square one.
_START = 0.1
#: Relative variance to restart with along a way out, and the singular value below which a direction counts as none.
_RESTART, _NULL = 1e-2, 1e-4
#: Least relative variance to start from.
_LEAST = 1e-3
#: A variance that is a smaller share of sigma2 is zero but for rounding: what a search leaves of one is below 1e-20,
#: and to tell a share of 1e-14 from zero takes some 1e12 rows in each of a thousand units.
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Path:
    """Lambda with one standard deviation or correlation held at a value, as a function of numbers that stay free.

    Attributes
    ----------
    start
        (k,) the free numbers at the estimate.
    factor
        (value, free numbers) -> Lambda, (q, q), complex where these are. A standard deviation is relative to the
        residual's.
    edges
        Between which the value can be.
    """

    start: Array
    factor: Callable[[float, Array], Array]
    edges: tuple[float, float] = (0.0, np.inf)


class Covariance(ABC):
    """One structure of a (q, q) covariance matrix."""

    #: How the block's columns may be changed without changing the model: combined in any way, scaled one by one, or all
    #: by one factor.
    freedom: ClassVar[Freedom]

    @abstractmethod
    def start(self, q: int) -> Array:
        """Parameters to start from: independent effects of a third of the residual's standard deviation."""

    @abstractmethod
    def near(self, relative: Array) -> Array:
        """Parameters of a T / sigma2 near a rough, perhaps indefinite estimate."""

    @abstractmethod
    def factor(self, theta: Array, q: int) -> Array:
        """Lambda, (q, q); complex where theta is."""

    def slopes(self, theta: Array, q: int) -> Array:
        """(n, q, q) derivatives of Lambda by theta: what it is at the unit vectors where it is linear in theta."""
        slopes: Array = np.array([self.factor(unit, q) for unit in np.eye(len(theta))]).reshape(-1, q, q)
        return slopes

    def bend(self, theta: Array, lam_bar: Array) -> Array:
        """(n, n) second derivatives by theta of the inner product of Lambda and `lam_bar`: zero where it is linear."""
        return np.zeros((len(theta), len(theta)))

    def pull_back(self, theta: Array, lam_bar: Array) -> Array:
        """Derivatives by theta from derivatives by Lambda."""
        inner: Array = np.tensordot(self.slopes(theta, len(lam_bar)), lam_bar, axes=2)
        return inner

    @abstractmethod
    def signs(self, theta: Array, q: int) -> Array:
        """Plus or minus one for each element: times these, theta is that of the same T with the usual signs."""

    @abstractmethod
    def scales(self, theta: Array, q: int) -> Array:
        """The size of each element, at least one, which is that of the residual: what is a small change of it."""

    @abstractmethod
    def way_out(self, theta: Array, by_covariance: Array) -> Array | None:
        """A theta near a singular one at which the deviance is lower, if it falls with a variance that is zero.

        ``by_covariance`` is the (q, q) derivative of the deviance by T / sigma2.
        """

    def directions(self, relative: Array) -> Array:
        """(n, q, q) directions in which T can change at the user's T / sigma2, one a parameter of its own."""
        return np.zeros((0, *relative.shape))

    def hold_deviation(self, lam: Array, effect: int) -> Path:
        """Lambda with an effect's standard deviation held; `lam` is the estimate, in the user's columns."""
        raise AssertionError(f"{type(self).__name__} has no standard deviations to estimate")

    def hold_correlation(self, lam: Array, first: int, second: int) -> Path:
        """Lambda with the correlation of two effects held."""
        raise AssertionError(f"{type(self).__name__} has no correlations to estimate")


class Unstructured(Covariance):
    """Any positive semi-definite T: Lambda is its lower Cholesky factor, theta its lower triangle by columns."""

    freedom: ClassVar[Freedom] = "rotate"

    def start(self, q: int) -> Array:
        """See `Covariance`."""
        return self.from_covariance(_START * np.eye(q))

    def near(self, relative: Array) -> Array:
        """The estimate's own covariance with its small eigenvalues raised: zero would be a trap."""
        values, vectors = np.linalg.eigh((relative + relative.T) / 2)
        return self.from_covariance((vectors * np.maximum(values, _LEAST)) @ vectors.T)

    def factor(self, theta: Array, q: int) -> Array:
        """Fill the lower triangle by columns."""
        rows, columns = lower_by_columns(q)
        lam = np.zeros((q, q), dtype=theta.dtype)
        lam[rows, columns] = theta
        return lam

    def pull_back(self, theta: Array, lam_bar: Array) -> Array:
        """Pick the lower triangle by columns."""
        return _lower(lam_bar)

    def signs(self, theta: Array, q: int) -> Array:
        """For a positive diagonal: a column of Lambda turns as a whole."""
        columns = np.where(np.diag(self.factor(theta, q)) < 0, -1.0, 1.0)
        return _lower(np.broadcast_to(columns, (q, q)))

    def scales(self, theta: Array, q: int) -> Array:
        """An element's is the standard deviation of its effect: the length of its row of Lambda."""
        rows = np.maximum(np.linalg.norm(self.factor(theta, q), axis=1), 1.0)
        return _lower(np.broadcast_to(rows[:, None], (q, q)))

    def way_out(self, theta: Array, by_covariance: Array) -> Array | None:
        """Along the null direction in which the deviance falls most steeply."""
        # of Lambda, not of T: beside a large variance the square of a small one is rounding
        lam = self.factor(theta, len(by_covariance))
        vectors, values, _ = np.linalg.svd(lam)
        null = vectors[:, values < _NULL]
        if not null.shape[1]:
            return None
        slopes, directions = np.linalg.eigh(null.T @ by_covariance @ null)
        if slopes[0] >= _flat(by_covariance):
            return None
        outward = null @ directions[:, 0]
        return _lower(_triangle(np.column_stack((lam, np.sqrt(_RESTART) * outward))))

    def directions(self, relative: Array) -> Array:
        """Each element of the lower triangle, by rows."""
        found = np.zeros((len(lower_by_rows(len(relative))[0]), *relative.shape))
        for direction, i, j in zip(found, *lower_by_rows(len(relative)), strict=True):
            direction[i, j] = direction[j, i] = 1.0
        return found

    def hold_deviation(self, lam: Array, effect: int) -> Path:
        """With the effect put first, it is the one element in the first row of T's Cholesky factor."""
        own, units = self._effects_first(lam, (effect,))
        return Path(own[1:], lambda value, rest: np.tensordot(np.append(value, rest), units, axes=1))

    def hold_correlation(self, lam: Array, first: int, second: int) -> Path:
        """With the two put first, row 1 of the Cholesky factor is ``d (r, sqrt(1 - r^2))``."""
        own, units = self._effects_first(lam, (first, second))

        def factor(value: float, rest: Array) -> Array:
            row = rest[1] * np.array([value, np.sqrt(max(1 - value**2, 0.0))])
            lam: Array = np.tensordot(np.concatenate((rest[:1], row, rest[2:])), units, axes=1)
            return lam

        return Path(np.array([own[0], np.hypot(own[1], own[2]), *own[3:]]), factor, (-1.0, 1.0))

    @staticmethod
    def _effects_first(lam: Array, first: tuple[int, ...]) -> tuple[Array, Array]:
        """The Cholesky factor of T's with these effects first: its triangle by rows, and Lambda for each element."""
        q = len(lam)
        order = np.array([*first, *(i for i in range(q) if i not in first)])
        rows, columns = lower_by_rows(q)
        units = np.zeros((len(rows), q, q))
        units[np.arange(len(rows)), order[rows], columns] = 1.0
        return _triangle(lam[order])[rows, columns], units

    @staticmethod
    def from_covariance(relative: Array) -> Array:
        """Theta of a T / sigma2, which may be singular: its Cholesky factor, through QR of its square root."""
        values, vectors = np.linalg.eigh(relative)
        return _lower(_triangle(vectors * np.sqrt(np.maximum(values, 0.0))))


class Spectral(Covariance):
    """A T with known eigenspaces: ``Lambda = sum_k theta_k P_k`` for orthogonal projections P_k."""

    @abstractmethod
    def projections(self, q: int) -> Array:
        """(k, q, q)."""

    def start(self, q: int) -> Array:
        """See `Covariance`."""
        return np.full(len(self.projections(q)), np.sqrt(_START))

    def near(self, relative: Array) -> Array:
        """Mean eigenvalues of the estimate in each eigenspace."""
        roots: Array = np.sqrt(np.maximum(self._means(relative), _LEAST))
        return roots

    def _means(self, matrix: Array) -> Array:
        """Mean eigenvalues of a matrix in each eigenspace."""
        projections = self.projections(len(matrix))
        means: Array = np.tensordot(projections, matrix, axes=2) / np.einsum("kaa->k", projections)
        return means

    def factor(self, theta: Array, q: int) -> Array:
        """``sum_k theta_k P_k``."""
        lam: Array = np.tensordot(theta, self.projections(q), axes=1)
        return lam

    def slopes(self, theta: Array, q: int) -> Array:
        """The projections."""
        return self.projections(q)

    def signs(self, theta: Array, q: int) -> Array:
        """All positive."""
        return np.where(theta < 0, -1.0, 1.0)

    def scales(self, theta: Array, q: int) -> Array:
        """Its own."""
        return np.maximum(np.abs(theta), 1.0)

    def way_out(self, theta: Array, by_covariance: Array) -> Array | None:
        """Every eigenvalue that is zero and with which the deviance falls."""
        slopes = self.pull_back(theta, by_covariance)
        leaving = (np.abs(theta) < _NULL) & (slopes < _flat(by_covariance))
        return np.where(leaving, np.sqrt(_RESTART), theta) if leaving.any() else None

    def directions(self, relative: Array) -> Array:
        """The projections, in which T is linear too."""
        return self.projections(len(relative))


class Diagonal(Spectral):
    """Independent effects."""

    freedom: ClassVar[Freedom] = "scale"

    def projections(self, q: int) -> Array:
        """On each effect."""
        return np.eye(q)[:, :, None] * np.eye(q)[:, None, :]

    def hold_deviation(self, lam: Array, effect: int) -> Path:
        """The effect's element is the value, the others are free."""
        return Path(np.delete(np.diag(lam), effect), lambda value, rest: np.diag(np.insert(rest, effect, value)))


class Compound(Spectral):
    """Equal variances and equal covariances."""

    freedom: ClassVar[Freedom] = "common"

    def projections(self, q: int) -> Array:
        """On the mean of the effects, and on their contrasts."""
        mean = np.full((q, q), 1 / q)
        return np.stack((mean, np.eye(q) - mean)) if q > 1 else mean[None]

    def directions(self, relative: Array) -> Array:
        """The variance and the covariance."""
        unit = np.eye(len(relative))
        return np.stack((unit, 1.0 - unit)) if len(unit) > 1 else unit[None]

    def hold_deviation(self, lam: Array, effect: int) -> Path:
        """The length of theta, its elements weighted by their share of the variance; its direction is free."""
        q, theta = len(lam), self._means(lam)
        weights = np.sqrt([q, q / (q - 1)] if q > 1 else [1.0])
        spaces = weights[:, None, None] * self.projections(q)

        def factor(value: float, rest: Array) -> Array:
            direction = np.concatenate((np.cos(rest), np.sin(rest))) if len(rest) else np.ones(1)
            lam: Array = value * np.tensordot(direction, spaces, axes=1)
            return lam

        return Path(np.arctan2(theta[1:] / weights[1:], theta[0] / weights[0]), factor)

    def hold_correlation(self, lam: Array, first: int, second: int) -> Path:
        """The direction of theta; its length is free."""
        q, theta = len(lam), self._means(lam)

        def factor(value: float, rest: Array) -> Array:
            direction = np.sqrt(np.maximum([1 + (q - 1) * value, 1 - value], 0.0))
            return self.factor(rest[0] * direction, q)

        length = np.sqrt((theta[0] ** 2 + (q - 1) * theta[1] ** 2) / q)
        return Path(np.array([length]), factor, (-1.0 / (q - 1), 1.0))


class Identity(Spectral):
    """Independent effects of equal variance."""

    freedom: ClassVar[Freedom] = "common"

    def projections(self, q: int) -> Array:
        """On everything."""
        return np.eye(q)[None]

    def hold_deviation(self, lam: Array, effect: int) -> Path:
        """Nothing else is free."""
        unit = np.eye(len(lam))
        return Path(np.zeros(0), lambda value, _: value * unit)


class Known(Covariance):
    """A T that is given: ``Lambda = theta root`` with theta = 1 / sigma and ``T = root root'``.

    Parameters
    ----------
    root
        (q, q), in the engine's basis and units.
    """

    freedom: ClassVar[Freedom] = "rotate"

    def __init__(self, root: Array) -> None:
        self._root = root

    def start(self, q: int) -> Array:
        """Of sigma one, which is the outcome's root mean square."""
        return np.ones(1)

    def near(self, relative: Array) -> Array:
        """As `start`: there is nothing to estimate."""
        return self.start(len(relative))

    def factor(self, theta: Array, q: int) -> Array:
        """``theta root``."""
        lam: Array = theta[0] * self._root
        return lam

    def signs(self, theta: Array, q: int) -> Array:
        """Positive."""
        return np.where(theta < 0, -1.0, 1.0)

    def scales(self, theta: Array, q: int) -> Array:
        """Its own: there is no sigma to be small beside."""
        return np.abs(theta)

    def way_out(self, theta: Array, by_covariance: Array) -> Array | None:
        """None: a variance that is given as zero stays so."""
        return None


def n_parameters(covariance: str | Matrix, q: int) -> int:
    """Parameters of a block's (q, q) T: by its structure's name, none where T is given."""
    return len(COVARIANCES[covariance].start(q)) if isinstance(covariance, str) else 0


def freedom(covariance: str | Matrix) -> Freedom:
    """How a block's columns may be changed without changing the model."""
    return COVARIANCES[covariance].freedom if isinstance(covariance, str) else Known.freedom


def without_rounding(factor: Array) -> Array:
    """Lambda, (q, q), with rows of zeros for effects whose variance is zero but for rounding.

    What rests on a variance's being zero (correlations, reliabilities, shares explained) must not rest on what is left
    of it where the search ended, which is other noise on every processor.
    """
    return np.where((factor**2).sum(axis=1, keepdims=True) > _ROUNDING, factor, 0.0)


def square_root(matrix: Array) -> Array:
    """A square root ``R R' = matrix`` of a positive semi-definite matrix, whatever the effects' units."""
    scale = np.sqrt(np.diag(matrix))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    root: Array = scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _flat(by_covariance: Array) -> float:
    """The slope above which a deviance does not fall."""
    return -1e-6 * max(1.0, float(np.abs(by_covariance).max()))


def _lower(matrix: Array) -> Array:
    """The lower triangle by columns."""
    picked: Array = matrix[lower_by_columns(len(matrix))]
    return picked


def _triangle(root: Array) -> Array:
    """The lower Cholesky factor of ``root root'``, which may be singular."""
    lam = np.asarray(np.linalg.qr(root.T, mode="r")).T
    return lam * np.where(np.diag(lam) < 0, -1.0, 1.0)


#: The class of each structure in `language.covariances.STRUCTURES`, by its name.
COVARIANCES: dict[str, Covariance] = {
    "unstructured": Unstructured(),
    "diagonal": Diagonal(),
    "compound": Compound(),
    "identity": Identity(),
}
