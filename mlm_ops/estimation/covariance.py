"""Covariance structures of random blocks: theta <-> Lambda, the relative factor with T = sigma2 Lambda Lambda'.

Theta is unbounded: a column of Lambda with its sign turned gives the same T, so no boundary is needed to keep variances
non-negative, and a variance of zero is an ordinary stationary point.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Covariance(Protocol):
    """One structure of a (q, q) covariance matrix."""

    #: Whether Lambda is linear in theta.
    linear: bool

    def n_theta(self, q: int) -> int:
        """Number of parameters."""

    def start(self, q: int) -> Array:
        """Parameters to start from, for columns of mean square one."""

    def factor(self, theta: Array, q: int) -> Array:
        """Lambda, (q, q); complex where theta is."""

    def pull_back(self, lam_bar: Array) -> Array:
        """Derivatives by theta from derivatives by Lambda."""

    def from_covariance(self, relative: Array) -> Array:
        """Theta of a positive semi-definite T / sigma2, (q, q)."""


class Unstructured:
    """Any positive semi-definite T: Lambda is its lower Cholesky factor, theta its lower triangle by columns."""

    linear = True

    def n_theta(self, q: int) -> int:
        """``q (q + 1) / 2``."""
        return q * (q + 1) // 2

    def start(self, q: int) -> Array:
        """Independent effects of a third of the residual's standard deviation."""
        return self.from_covariance(0.1 * np.eye(q))

    def factor(self, theta: Array, q: int) -> Array:
        """Fill the lower triangle by columns."""
        columns, rows = np.triu_indices(q)
        lam = np.zeros((q, q), dtype=theta.dtype)
        lam[rows, columns] = theta
        return lam

    def pull_back(self, lam_bar: Array) -> Array:
        """Pick the lower triangle by columns."""
        columns, rows = np.triu_indices(len(lam_bar))
        picked: Array = lam_bar[rows, columns]
        return picked

    def from_covariance(self, relative: Array) -> Array:
        """Cholesky factor of a matrix that may be singular, through QR of its square root."""
        values, vectors = np.linalg.eigh(relative)
        root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
        lam = np.asarray(np.linalg.qr(root, mode="r")).T
        signs = np.where(np.diag(lam) < 0, -1.0, 1.0)
        return self.pull_back(lam * signs)


COVARIANCES: dict[str, Covariance] = {"unstructured": Unstructured()}
