"""Cluster-robust standard errors with small-sample corrections, and tests by them.

Liang and Zeger (1986), Biometrika 73, 13-22 (CR0); Bell and McCaffrey (2002), Survey Methodology 28, 169-181 (CR2 and
its degrees of freedom); Pustejovsky and Tipton (2018), Journal of Business & Economic Statistics 36, 672-683, for any
working model and for several coefficients at once. The working model is the fitted one.

With M = (X' V^-1 X)^-1 the estimate's covariance is ``M (sum_j s_j s_j') M``, ``s_j = X_j' V_j^-1 A_j e_j``. A_j is the
identity for CR0, CR1 and CR1S; for CR2 it is the symmetric matrix with ``A (V - X M X') A = V``, which makes the result
unbiased under the working model. Here X is rotated so that M is the identity. Where rows have weights, they count as
scaled by them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mlm_ops.errors import MlmError
from mlm_ops.estimation.design.groups import Clusters
from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.fixed.cluster_span import Span, rotation, spans
from mlm_ops.language.model import group_name
from mlm_ops.moments.arrays import Array

#: A direction of a cluster of which the fixed effects take all but this share is left out of its adjustment.
LEVERAGE_TOLERANCE = 1e-10
#: A combination of coefficients with less than this share of the largest robust variance has none but by rounding.
_SINGULAR = 1e-10


def _one(m: int, n: int, p: int) -> float:
    return 1.0


def _clusters(m: int, n: int, p: int) -> float:
    return m / (m - 1)


def _stata(m: int, n: int, p: int) -> float:
    return m * (n - 1) / ((m - 1) * (n - p))


@dataclass(frozen=True)
class Correction:
    """A small-sample correction: a factor of (clusters, rows, fixed effects), and whether residuals are adjusted."""

    factor: Callable[[int, int, int], float]
    adjusted: bool = False


CORRECTIONS: dict[str, Correction] = {
    "CR0": Correction(_one),
    "CR1": Correction(_clusters),
    "CR1S": Correction(_stata),
    "CR2": Correction(_one, adjusted=True),
}


@dataclass(frozen=True)
class Sandwich:
    """A robust covariance matrix of p fixed effects.

    Attributes
    ----------
    estimate, kind
        The estimate, and the kind of robust errors.
    root
        (p, p) root L of the covariance matrix L L' of the rotated X's coefficients.
    """

    estimate: Estimate
    kind: str
    root: Array

    @property
    def vcov(self) -> Array:
        """(p, p) covariance matrix, on the user's scale."""
        user_root = user_from_rotated(self.estimate) @ self.root
        return np.asarray(user_root @ user_root.T)

    def variances(self, contrasts: Array) -> Array:
        """Variance of each contrast: (k, p) -> (k,).

        A sum of squares, which rounding makes not negative, of contrasts of the rotated X, whose terms do not cancel
        for a predictor far from zero.
        """
        return np.asarray(np.square(contrasts @ user_from_rotated(self.estimate) @ self.root).sum(axis=1))


@dataclass(frozen=True)
class ClusterRobust(Sandwich):
    """Cluster-robust inference about p fixed effects: a `CoefficientMethod`.

    Attributes
    ----------
    kind, clusters
        A key of `CORRECTIONS`, and the clusters.
    df
        (p,) Satterthwaite degrees of freedom of the user's coefficients under the working model.
    """

    clusters: Clusters
    df: Array

    def degrees(self, contrasts: Array) -> Array:
        """Degrees of freedom of the t test of each contrast: (k, p) -> (k,)."""
        if np.array_equal(contrasts, np.eye(len(self.df))):
            return self.df
        rotated = _unit_contrasts(contrasts @ user_from_rotated(self.estimate))
        total = _Quadratic.zero(*rotated.shape)
        for span in spans(self.estimate, self.clusters):
            _, b, s = _adjust(span, adjusted=CORRECTIONS[self.kind].adjusted)
            total.add(rotated, b, s)
        return total.degrees

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """Factor of the Wald F statistic and its denominator's degrees of freedom, for q independent contrasts.

        Hotelling's T-squared with the eta that fits the variance of the robust covariance matrix under the working
        model, HTZ of Pustejovsky and Tipton (2018), section 3.2: ``(eta - q + 1) / eta`` and ``eta - q + 1`` with
        ``eta = q (q + 1) / sum of the variances of the elements`` of the matrix, standardised by its expectation.

        Raises
        ------
        MlmError
            The clusters are too few for q coefficients at once.
        """
        q = len(contrasts)
        standard = np.linalg.qr((contrasts @ user_from_rotated(self.estimate)).T)[0].T
        p = standard.shape[1]
        crossed, variance = np.zeros((p * q, p * q)), 0.0
        for span in spans(self.estimate, self.clusters):
            _, b, s = _adjust(span, adjusted=CORRECTIONS[self.kind].adjusted)
            own = standard @ s @ standard.T
            products = b @ standard.T
            squares = products.transpose(0, 2, 1) @ products
            variance += float((_trace(own) * (_trace(own) - 2.0 * _trace(squares))).sum())
            variance += float((own * (own - 2.0 * squares)).sum())
            flat = products.reshape(len(products), p * q)
            crossed += flat.T @ flat
        by_element = crossed.reshape(p, q, p, q)
        variance += float((by_element * (by_element + by_element.transpose(0, 3, 2, 1))).sum())
        eta = q * (q + 1) / variance
        if eta <= q - 1 or self._degenerate(contrasts):
            raise MlmError(
                f"The clusters are too few to test so many coefficients at once. Got {q} coefficients and "
                f"{self.clusters.size} clusters of {group_name(self.clusters.group)}, in which their robust covariance "
                "matrix is singular or has no degrees of freedom left; test fewer."
            )
        return (eta - q + 1) / eta, eta - q + 1

    def _degenerate(self, contrasts: Array) -> bool:
        """Whether a combination has no robust variance, each counted in the model's standard errors."""
        root = np.linalg.cholesky(contrasts @ self.estimate.vcov @ contrasts.T)
        relative = np.linalg.solve(root, np.linalg.solve(root, contrasts @ self.vcov @ contrasts.T).T)
        values = np.linalg.eigvalsh(relative)
        return bool(values[0] <= _SINGULAR * values[-1])


@dataclass(frozen=True)
class NormalRobust:
    """The same covariance matrix, with tests by the normal and chi-square distributions: a `CoefficientMethod`."""

    robust: Sandwich

    @property
    def vcov(self) -> Array:
        """(p, p) covariance matrix, on the user's scale."""
        return self.robust.vcov

    def variances(self, contrasts: Array) -> Array:
        """Variance of each contrast: (k, p) -> (k,)."""
        return self.robust.variances(contrasts)

    def degrees(self, contrasts: Array) -> Array:
        """Infinite degrees of freedom."""
        return np.full(len(contrasts), np.inf)

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """No scaling, infinite degrees of freedom."""
        return 1.0, np.inf


@dataclass
class _Quadratic:
    """Mean and variance of the variance estimate h'V h of k contrasts under the working model, summed over clusters.

    The estimate is a quadratic form of the outcome with mean ``sum_j K_jj`` and variance ``2 sum_ij K_ij^2``, where
    ``K_ij = [i = j] h'S_i h - (B_i h)'(B_j h)``, ``B = X' A V^-1 X`` and ``S = X' V^-1 A V A V^-1 X``. The double sum
    is the squared norm of one matrix, `crossed`, so that all is linear in the clusters.
    """

    mean: Array
    squares: Array
    crossed: Array

    @classmethod
    def zero(cls, k: int, p: int) -> _Quadratic:
        """Before any cluster is added."""
        return cls(np.zeros(k), np.zeros(k), np.zeros((k, p, p)))

    def add(self, contrasts: Array, b: Array, s: Array) -> None:
        """Add J clusters: contrasts (k, p), b and s (J, p, p)."""
        own = ((s @ contrasts.T) * contrasts.T).sum(axis=1)
        products = (b @ contrasts.T).transpose(2, 1, 0)
        squares = (products**2).sum(axis=1).T
        self.crossed += products @ products.transpose(0, 2, 1)
        self.mean += (own - squares).sum(axis=0)
        self.squares += (own * (own - 2.0 * squares)).sum(axis=0)

    @property
    def degrees(self) -> Array:
        """Satterthwaite's: (k,); not a number where the clusters' errors leave a contrast no variance."""
        spread = self.squares + (self.crossed**2).sum(axis=(1, 2))
        return np.where(spread > 0, self.mean**2 / np.where(spread > 0, spread, 1.0), np.nan)


def cluster_robust(estimate: Estimate, kind: str, clusters: Clusters) -> ClusterRobust:
    """Robust inference about the fixed effects.

    Parameters
    ----------
    kind
        A key of `CORRECTIONS`.
    clusters
        Over the cells of the fit's design.
    """
    correction = CORRECTIONS[kind]
    contrasts = user_from_rotated(estimate)
    p = len(contrasts)
    unit_contrasts = _unit_contrasts(contrasts)
    meat, total = np.zeros((p, p)), _Quadratic.zero(p, p)
    for span in spans(estimate, clusters):
        score, b, s = _adjust(span, adjusted=correction.adjusted)
        meat += score.T @ score
        total.add(unit_contrasts, b, s)
    factor = correction.factor(clusters.size, estimate.design.n_obs, p)
    return ClusterRobust(estimate, kind, root_of(factor * meat), clusters, total.degrees)


def root_of(meat: Array) -> Array:
    """(p, p) root L of a matrix L L' that is not negative but by rounding."""
    values, vectors = np.linalg.eigh(meat)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _unit_contrasts(contrasts: Array) -> Array:
    """Contrasts (k, p) of the same degrees of freedom whose variances have squares in a double."""
    sizes = np.abs(contrasts).max(axis=1, initial=0.0)
    unit_contrasts: Array = contrasts / np.where(sizes > 0, sizes, 1.0)[:, None]
    return unit_contrasts


def user_from_rotated(estimate: Estimate) -> Array:
    """(p, p): user's coefficients = this @ those of the rotated X."""
    product: Array = estimate.design.fixed.transform @ rotation(estimate)
    return product


def _trace(stack: Array) -> Array:
    trace: Array = np.trace(stack, axis1=1, axis2=2)
    return trace


def _adjust(span: Span, *, adjusted: bool) -> tuple[Array, Array, Array]:
    """Scores s_j, (J, p), and the B_j and S_j, (J, p, p), of `_Quadratic`."""
    weighted_x = span.x / span.variance[:, :, None]
    plain = span.x.transpose(0, 2, 1) @ weighted_x
    if not adjusted:
        return span.score, plain, plain
    adjustment = cr2_adjustment(span)
    adjusted_x = adjustment @ weighted_x
    score = span.score + ((adjusted_x - weighted_x) * span.residual[:, :, None]).sum(axis=1)
    return (
        score,
        span.x.transpose(0, 2, 1) @ adjusted_x,
        adjusted_x.transpose(0, 2, 1) @ (span.variance[:, :, None] * adjusted_x),
    )


def cr2_adjustment(span: Span) -> Array:
    """A of CR2, (J, r, r): ``D (D (V - X X') D)^-1/2 D`` with D D = V, generalised where X takes a direction whole.

    It is the geometric mean of V and ``(V - X X')^-1`` and so does not depend on the root D; V is diagonal here.
    Without random columns V is one, and X X' is diagonal too.
    """
    if span.x.shape[1] == span.x.shape[2]:
        inner = 1.0 - (span.x**2).sum(axis=2)
        positive = inner > LEVERAGE_TOLERANCE
        powers = np.zeros((*inner.shape, inner.shape[1]))
        diagonal = np.arange(inner.shape[1])
        powers[:, diagonal, diagonal] = np.where(positive, 1.0 / np.sqrt(np.where(positive, inner, 1.0)), 0.0)
        return powers
    root = np.sqrt(span.variance)
    root_x = root[:, :, None] * span.x
    inner = -(root_x @ root_x.transpose(0, 2, 1))
    diagonal = np.arange(inner.shape[1])
    inner[:, diagonal, diagonal] += span.variance**2
    values, vectors = np.linalg.eigh(inner)
    positive = values > LEVERAGE_TOLERANCE
    power = np.where(positive, 1.0 / np.sqrt(np.where(positive, values, 1.0)), 0.0)
    factor = root[:, :, None] * vectors
    adjustment: Array = (factor * power[:, None, :]) @ factor.transpose(0, 2, 1)
    return adjustment
