"""F tests of several coefficients at once, and Satterthwaite's degrees of freedom for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.moments.rank import independent_rows, lengths

Array = NDArray[np.float64]

#: Degrees of freedom that differ by less are equal, as in lmerTest.
_SAME_DF = 1e-8


@dataclass(frozen=True)
class FTest:
    """A test that ``L gamma = 0``; ``df1`` is the rank of L, and ``df2`` infinite for a chi-square test."""

    statistic: float
    df1: int
    df2: float
    p_value: float


class DfMethod(Protocol):
    """How coefficients are tested: with which covariance matrix and which degrees of freedom."""

    @property
    def vcov(self) -> Array:
        """(p, p) covariance matrix of the coefficients, on which standard errors rest."""

    def variances(self, contrasts: Array) -> Array:
        """``l' V l`` of each contrast l: (k, p) -> (k,); where it can be, without terms that cancel."""

    def degrees(self, contrasts: Array) -> Array:
        """Degrees of freedom of the t test of each contrast: (k, p) -> (k,)."""

    def reference(self, contrasts: Array) -> tuple[float, float]:
        """Factor of the Wald F statistic and its denominator's degrees of freedom, for k independent contrasts."""


def f_test(gamma: Array, method: DfMethod, contrasts: Array) -> FTest:
    """Test that all of ``L gamma`` are zero.

    Parameters
    ----------
    gamma
        (p,) coefficients.
    contrasts
        (k, p) L; rows that are combinations of others are taken out.

    Raises
    ------
    MlmError
        L has no row, or only zeros, or another number of columns than there are coefficients.
    """
    from scipy.special import chdtrc, fdtrc  # 0.4 s: not for those who only import the package

    _check(gamma, contrasts)
    rows = _in_standard_errors(contrasts, method.vcov)
    rank = len(rows)
    if not rank:
        raise MlmError("The contrast is zero, so there is nothing to test. Give it a coefficient other than zero.")
    # first, as it refuses what the errors do not tell apart, whose covariances may be singular
    factor, df2 = method.reference(rows if rank < len(contrasts) else contrasts)
    estimate = rows @ gamma
    statistic = factor * float(estimate @ np.linalg.solve(rows @ method.vcov @ rows.T, estimate)) / rank
    p_value = fdtrc(rank, df2, statistic) if np.isfinite(df2) else chdtrc(rank, rank * statistic)
    return FTest(statistic, rank, df2, float(p_value))


def not_estimable(test: FTest) -> FTest:
    """The test of combinations that the data do not determine: none."""
    return FTest(np.nan, test.df1, np.nan, np.nan)


def satterthwaite_denominator(degrees: Array) -> float:
    """Denominator's degrees of freedom of the mean of q squared t statistics.

    The F distribution with the same mean as the sum of independent squares of t_nu: Fai and Cornelius (1996), Journal
    of Statistical Computation and Simulation 54, 363-378, as in Kuznetsova, Brockhoff and Christensen (2017).
    """
    if np.ptp(degrees) < _SAME_DF:
        return float(degrees.mean())
    if degrees.min() <= 2:
        return 2.0
    expectation = float((degrees / (degrees - 2)).sum())
    return 2 * expectation / (expectation - len(degrees))


def uncorrelated(contrasts: Array, vcov: Array) -> Array:
    """The combinations of contrasts whose estimates are uncorrelated: the eigenvectors of ``L V L'``, (k, p)."""
    return np.asarray(np.linalg.eigh(contrasts @ vcov @ contrasts.T)[1].T @ contrasts)


def _in_standard_errors(contrasts: Array, vcov: Array) -> Array:
    """Rows with the same span, orthonormal where each coefficient is counted in standard errors."""
    scale = lengths(vcov)
    return np.asarray(independent_rows(contrasts * scale) / scale)


def _check(gamma: Array, contrasts: Array) -> None:
    if contrasts.ndim != 2 or contrasts.shape[1] != len(gamma) or not np.isfinite(contrasts).all():
        raise MlmError(
            "A matrix of contrasts has one row a contrast and one finite number a coefficient. Got shape "
            f"{contrasts.shape}; expected (any number, {len(gamma)})."
        )
