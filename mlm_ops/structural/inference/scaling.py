"""Scale likelihood ratios for non-normal rows: the Yuan-Bentler factor, as in Mplus (estimator MLR).

With A the observed information and B the sum of the clusters' scores times their transposes, a model of k parameters
has the factor c = tr(A^-1 B) / k, and the difference of two models the factor (k1 c1 - k0 c0) / (k1 - k0) (Yuan and
Bentler 2000, Sociological Methodology 30; Satorra and Bentler 2001, Psychometrika 66; Asparouhov and Muthen 2005).
That difference may be negative by chance. Both traces at the smaller model's estimates, by the expected information,
cannot be (Satorra and Bentler 2010, Psychometrika 75).
"""

from __future__ import annotations

import math

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.algebra.identification import curvature
from mlm_ops.structural.estimation.estimate import SemEstimate, inverse_curvature
from mlm_ops.structural.likelihood.criterion import SemCriterion


def scaling_trace(estimate: SemEstimate) -> float:
    """``tr(A^-1 B)``, that is k c; NaN on a bound, where the estimates are not normal, and without a minimum."""
    optimum = estimate.optimum
    if optimum.singular or not optimum.converged:
        return math.nan
    bread, _, determined = inverse_curvature(optimum)
    if not determined.all():
        return math.nan
    scores = _scores(estimate.likelihood, optimum.theta)
    # of the deviance: its information is twice that of the log-likelihood, its scores' products four times
    return float(np.einsum("ij,ji->", bread, scores.T @ scores)) / 2


def scaling_factor(larger: float, smaller: float, df: int) -> float:
    """The factor of a likelihood ratio from two traces; NaN where their difference is no positive number."""
    difference = larger - smaller
    return difference / df if df > 0 and difference > 0 else math.nan


def trace_at(likelihood: SemCriterion, theta: Array, tangent: Array | None = None) -> float:
    """``tr(A^-1 B)`` at parameters that need be no optimum, A the expected information.

    Parameters
    ----------
    tangent
        (k, f) directions that the parameters may take; all of them by default.
    """
    at = likelihood.evaluate(theta)
    if at is None:
        return math.nan
    information, scores = likelihood.expected_information(at), _scores(likelihood, theta)
    meat = scores.T @ scores
    if tangent is not None:
        information, meat = tangent.T @ information @ tangent, tangent.T @ meat @ tangent
    eigen = curvature(information)
    if not eigen.definite:
        return math.nan
    whitened = eigen.vectors / np.sqrt(eigen.values) / eigen.scale[:, None]
    return float(np.einsum("ki,kl,li->", whitened, meat, whitened)) / 2


def _scores(likelihood: SemCriterion, theta: Array) -> Array:
    at = likelihood.evaluate(theta)
    assert at is not None
    return likelihood.scores(at, likelihood.structure.implied(theta).mean)
