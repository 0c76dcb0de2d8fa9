"""Covariance structures of random blocks: theta <-> Lambda, the relative factor with T = sigma2 Lambda Lambda'.

In every structure Lambda is linear in theta, and theta is unbounded: turning a sign gives the same T, so no boundary is
needed to keep variances non-negative, and a variance of zero is an ordinary stationary point, with a way out where the
deviance falls with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.sums import lower_by_columns

Array = NDArray[np.float64]

#: Relative variance of a random effect to start from, for columns of mean square one.
_START = 0.1
#: Relative variance to restart with along a way out, and the singular value below which a direction counts as none.
_RESTART, _NULL = 1e-2, 1e-4
#: Least relative variance to start from.
_LEAST = 1e-3
#: A variance that is a smaller share of sigma2 is zero but for rounding: what a search leaves of one is below 1e-20,
#: and to tell a share of 1e-14 from zero takes some 1e12 rows in each of a thousand units.
_ROUNDING = 1e-14


class Covariance(Protocol):
    """One structure of a (q, q) covariance matrix."""

    def start(self, q: int) -> Array:
        """Parameters to start from: independent effects of a third of the residual's standard deviation."""

    def near(self, relative: Array) -> Array:
        """Parameters of a T / sigma2 near a rough, perhaps indefinite estimate."""

    def factor(self, theta: Array, q: int) -> Array:
        """Lambda, (q, q); complex where theta is."""

    def pull_back(self, lam_bar: Array) -> Array:
        """Derivatives by theta from derivatives by Lambda."""

    def signs(self, theta: Array, q: int) -> Array:
        """Plus or minus one for each element: times these, theta is that of the same T with the usual signs."""

    def scales(self, theta: Array, q: int) -> Array:
        """The size of each element, at least one, which is that of the residual: what is a small change of it."""

    def way_out(self, theta: Array, by_covariance: Array) -> Array | None:
        """A theta near a singular one at which the deviance is lower, if it falls with a variance that is zero.

        ``by_covariance`` is the (q, q) derivative of the deviance by T / sigma2.
        """


class Unstructured:
    """Any positive semi-definite T: Lambda is its lower Cholesky factor, theta its lower triangle by columns."""

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

    def pull_back(self, lam_bar: Array) -> Array:
        """Pick the lower triangle by columns."""
        rows, columns = lower_by_columns(len(lam_bar))
        picked: Array = lam_bar[rows, columns]
        return picked

    def signs(self, theta: Array, q: int) -> Array:
        """For a positive diagonal: a column of Lambda turns as a whole."""
        columns = np.where(np.diag(self.factor(theta, q)) < 0, -1.0, 1.0)
        return self.pull_back(np.broadcast_to(columns, (q, q)))

    def scales(self, theta: Array, q: int) -> Array:
        """An element's is the standard deviation of its effect: the length of its row of Lambda."""
        rows = np.maximum(np.linalg.norm(self.factor(theta, q), axis=1), 1.0)
        return self.pull_back(np.broadcast_to(rows[:, None], (q, q)))

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
        return self.from_root(np.column_stack((lam, np.sqrt(_RESTART) * outward)))

    def from_covariance(self, relative: Array) -> Array:
        """Theta of a T / sigma2, which may be singular: its Cholesky factor, through QR of its square root."""
        values, vectors = np.linalg.eigh(relative)
        return self.from_root(vectors * np.sqrt(np.maximum(values, 0.0)))

    def from_root(self, root: Array) -> Array:
        """Theta of ``T / sigma2 = root root'``."""
        lam = np.asarray(np.linalg.qr(root.T, mode="r")).T
        return self.pull_back(lam * np.where(np.diag(lam) < 0, -1.0, 1.0))


@dataclass(frozen=True)
class Spectral:
    """A T with known eigenspaces: ``Lambda = sum_k theta_k P_k`` for orthogonal projections P_k.

    Attributes
    ----------
    projections
        q -> (k, q, q).
    """

    projections: Callable[[int], Array]

    def start(self, q: int) -> Array:
        """See `Covariance`."""
        return np.full(len(self.projections(q)), np.sqrt(_START))

    def near(self, relative: Array) -> Array:
        """Mean eigenvalues of the estimate in each eigenspace."""
        projections = self.projections(len(relative))
        means = np.tensordot(projections, relative, axes=2) / np.einsum("kaa->k", projections)
        roots: Array = np.sqrt(np.maximum(means, _LEAST))
        return roots

    def factor(self, theta: Array, q: int) -> Array:
        """``sum_k theta_k P_k``."""
        lam: Array = np.tensordot(theta, self.projections(q), axes=1)
        return lam

    def pull_back(self, lam_bar: Array) -> Array:
        """Inner products with the projections."""
        inner: Array = np.tensordot(self.projections(len(lam_bar)), lam_bar, axes=2)
        return inner

    def signs(self, theta: Array, q: int) -> Array:
        """All positive."""
        return np.where(theta < 0, -1.0, 1.0)

    def scales(self, theta: Array, q: int) -> Array:
        """Its own."""
        return np.maximum(np.abs(theta), 1.0)

    def way_out(self, theta: Array, by_covariance: Array) -> Array | None:
        """Every eigenvalue that is zero and with which the deviance falls."""
        slopes = self.pull_back(by_covariance)
        leaving = (np.abs(theta) < _NULL) & (slopes < _flat(by_covariance))
        return np.where(leaving, np.sqrt(_RESTART), theta) if leaving.any() else None


class Known:
    """A T that is given: ``Lambda = theta root`` with theta = 1 / sigma and ``T = root root'``.

    Parameters
    ----------
    root
        (q, q), in the engine's basis and units.
    """

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

    def pull_back(self, lam_bar: Array) -> Array:
        """The inner product with the root."""
        return np.array([(self._root * lam_bar).sum()])

    def signs(self, theta: Array, q: int) -> Array:
        """Positive."""
        return np.where(theta < 0, -1.0, 1.0)

    def scales(self, theta: Array, q: int) -> Array:
        """Its own: there is no sigma to be small beside."""
        return np.abs(theta)

    def way_out(self, theta: Array, by_covariance: Array) -> Array | None:
        """None: a variance that is given as zero stays so."""
        return None


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


def _coordinates(q: int) -> Array:
    return np.eye(q)[:, :, None] * np.eye(q)[:, None, :]


def _mean_and_contrasts(q: int) -> Array:
    mean = np.full((q, q), 1 / q)
    return np.stack((mean, np.eye(q) - mean)) if q > 1 else mean[None]


def _everything(q: int) -> Array:
    return np.eye(q)[None]


#: Structures by name: any T; independent effects; equal variances and equal covariances (the projections on the mean of
#: the effects and on their contrasts); independent effects of equal variance.
COVARIANCES: dict[str, Covariance] = {
    "unstructured": Unstructured(),
    "diagonal": Spectral(_coordinates),
    "compound": Spectral(_mean_and_contrasts),
    "identity": Spectral(_everything),
}

#: Where 1 / sigma stands in theta: last. Blocks of known covariance share it, as Lambda is relative to sigma.
_LAST = slice(-1, None)


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

    @property
    def known(self) -> bool:
        """Whether T is given, not estimated."""
        return self.theta == _LAST

    @property
    def n_estimated(self) -> int:
        """Parameters of its own."""
        return 0 if self.known else int(self.theta.stop - self.theta.start)

    @property
    def slopes(self) -> Array:
        """(n, q, q) derivatives of Lambda by its n elements of theta, in which it is linear."""
        units = np.eye(1 if self.known else self.n_estimated)
        slopes: Array = np.array([self.covariance.factor(unit, self.size) for unit in units])
        return slopes.reshape(len(units), self.size, self.size)


def make_blocks(levels: Sequence[Sequence[tuple[int, Covariance]]]) -> tuple[Block, ...]:
    """Blocks from (size, covariance structure) pairs by level, lowest level first."""
    blocks = []
    used = 0
    for height, parts in enumerate(levels):
        first = 0
        for size, structure in parts:
            place = _LAST
            if not isinstance(structure, Known):
                place = slice(used, used + len(structure.start(size)))
                used = place.stop
            blocks.append(Block(height, slice(first, first + size), place, structure))
            first += size
    return tuple(blocks)
