"""The parametric bootstrap without rows: cross-products are drawn from their exact distribution, and refitted.

With ``y = D w + e`` in a cell, D its columns ``[Z_1 | Z_2 | … | X]`` and w the effects that hold in it, the refit needs
``D'y = D'D w + D'e`` and ``y'y = w'D'D w + 2 w'D'e + e'e`` only. Given D'D these are drawn exactly:
``D'e ~ N(0, s D'D)``, that is ``sqrt(s) V L^(1/2) z`` from the eigenvectors and eigenvalues of D'D with as many normals
z as its rank r; then ``e'e = s (z'z + chi2(n - r))``, as the part of e outside D's span is independent of the rest.
So a sample costs as much as a fit from moments, however many rows there are. (Efron and Tibshirani 1993, ch. 6 and 13,
for the bootstrap; that moments suffice is the normal model's sufficiency.)

Strata of different residual variance are drawn one by one, their errors being independent, with the same w. Of
autocorrelated errors the same cannot be said: a refit at another phi needs ``sum v_t e_t`` and ``sum v_(t-d) e_t``
apart, whose covariance, ``s sum v_t v_u' phi^|t-u|``, holds cross-products of rows at every distance, where the moments
have those of a row and the one before it. Data with equal moments may differ in these, so that no drawing from moments
is right for both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import MlmError
from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.design.record import Design
from mlm_ops.estimation.estimate import Estimate, estimate_design
from mlm_ops.estimation.residual import ratios
from mlm_ops.inference.intervals.parameters import (
    IntervalParameter,
    Intervals,
    find_parameters,
    off_zero,
    parameter_values,
    undetermined_parameters,
)
from mlm_ops.language.options import RANDOM_SEED
from mlm_ops.moments.arrays import Array

#: Eigenvalues of a cell's cross-products below this share of its largest are rounding: its rows do not reach there.
_RANK_TOLERANCE = 1e-10
_EDGES = {
    **dict.fromkeys(("std_dev", "sigma", "ratio"), (0.0, np.inf)),
    **dict.fromkeys(("correlation", "phi"), (-1.0, 1.0)),
    "raw": (-np.inf, np.inf),
}


@dataclass(frozen=True)
class Simulator:
    """Draws cross-products; holds what samples have in common: S strata, C cells, k columns but the outcome's.

    Attributes
    ----------
    products
        (S, k + 1, k + 1, C) cross-products of the data; the outcome's are replaced.
    roots
        (S, C, k, k): D'e = roots @ z, up to the residual's standard deviation.
    in_span
        (S, C, k) whether a direction lies in the span of the cell's rows.
    deviations, sizes
        (S,) the residual's standard deviation on the engine's scale, and the rows.
    factors, codes
        Lambda of each level, and the unit of each level that each cell lies in.
    units
        Number of units of each level.
    beta, sigma2
        Fixed effects and residual variance on the engine's scale.
    """

    products: Array
    roots: Array
    in_span: NDArray[np.bool_]
    deviations: Array
    sizes: Array
    factors: tuple[Array, ...]
    codes: tuple[NDArray[np.int64], ...]
    units: tuple[int, ...]
    beta: Array
    sigma2: float

    def draw(self, random: np.random.Generator) -> Array:
        """Cross-products (S, k + 1, k + 1, C) of one sample.

        The part of e'e outside the columns' span is a chi-square over all cells, put into each in equal shares: the
        likelihood depends on the cells' y'y through their sum only.
        """
        _, cells, k = self.in_span.shape
        deviation = np.sqrt(self.sigma2)
        effects = [
            deviation * (factor @ random.standard_normal((len(factor), units)))[:, codes]
            for factor, units, codes in zip(self.factors, self.units, self.codes, strict=True)
        ]
        w = np.concatenate((*effects, np.broadcast_to(self.beta[:, None], (len(self.beta), cells))))
        samples = self.products.copy()
        for sample, roots, in_span, own, rows in zip(
            samples, self.roots, self.in_span, self.deviations, self.sizes, strict=True
        ):
            z = random.standard_normal((cells, k)) * in_span
            error = own * np.matmul(roots, z[:, :, None])[:, :, 0].T
            predicted = np.einsum("abc,bc->ac", sample[:-1, :-1], w)
            outside = random.chisquare(rows - in_span.sum()) if rows > in_span.sum() else 0.0
            sample[:-1, -1] = sample[-1, :-1] = predicted + error
            sample[-1, -1] = np.einsum("ac,ac->c", w, predicted + 2 * error)
            sample[-1, -1] += own**2 * ((z**2).sum(axis=1) + outside / cells)
        return samples


@dataclass(frozen=True)
class Bootstrap:
    """Parameters of the refitted samples.

    Attributes
    ----------
    parameters
        What was refitted.
    estimate
        (k,) the fit's own values.
    draws
        (samples, k) those of the refits.
    n_unconverged
        Refits that did not converge; they are kept.
    """

    parameters: tuple[IntervalParameter, ...]
    estimate: Array
    draws: Array
    n_unconverged: int

    def percentile(self, level: float = 0.95) -> Intervals:
        """Quantiles of the draws; correlations that are not defined in a sample are left out of theirs."""
        low, high = self._quantiles(level)
        return Intervals(self.estimate, low, high)

    def basic(self, level: float = 0.95) -> Intervals:
        """The quantiles reflected at the estimate, cut at the edges of what is possible."""
        low, high = self._quantiles(level)
        edges = np.array([_EDGES[p.scale] for p in self.parameters]).T
        return Intervals(
            self.estimate, np.maximum(2 * self.estimate - high, edges[0]), np.minimum(2 * self.estimate - low, edges[1])
        )

    def _quantiles(self, level: float) -> tuple[Array, Array]:
        limits = np.full((2, len(self.estimate)), np.nan)
        for i, column in enumerate(self.draws.T):
            values = column[~np.isnan(column)]
            if len(values):
                # the (R + 1) p-th order statistic, as R's boot has it
                limits[:, i] = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], method="weibull")
        return limits[0], limits[1]


def simulator(estimate: Estimate) -> Simulator:
    """Prepare to draw cross-products under the fitted model."""
    design, solution = estimate.design, estimate.optimum.solution
    residual, sigma = design.residual, np.sqrt(estimate.scaled_sigma2)
    if residual is None or not len(solution.rho):
        products, deviations, sizes = estimate.products[None], sigma * np.ones(1), np.array([float(design.n_obs)])
    else:
        deviations = sigma * ratios(residual, solution.rho)[residual.stratum]
        products, sizes = residual.products, residual.n
    values, vectors = np.linalg.eigh(np.ascontiguousarray(products[:, :-1, :-1].transpose(0, 3, 1, 2)))
    in_span = values > _RANK_TOLERANCE * np.maximum(values[..., -1:], 1e-300)
    return Simulator(
        products=products,
        roots=vectors * np.sqrt(np.where(in_span, values, 0.0))[..., None, :],
        in_span=in_span,
        deviations=deviations,
        sizes=sizes,
        factors=tuple(estimate.criterion.factors(estimate.optimum.theta)),
        codes=tuple(level.codes for level in design.levels),
        units=tuple(len(level.labels) for level in design.levels),
        beta=solution.beta,
        sigma2=estimate.scaled_sigma2,
    )


def bootstrap(estimate: Estimate, samples: int = 500, seed: int | None = RANDOM_SEED) -> Bootstrap:
    """Simulate under the fitted model and refit by the same estimator, from the old theta.

    Parameters
    ----------
    samples
        How many; percentile limits of 95% want some hundreds at least.
    seed
        Equal seeds give equal draws; None takes a new one.

    Raises
    ------
    MlmError
        Fewer than two samples, or autocorrelated residuals.

    Notes
    -----
    The products are in units of the residual variance, so known precisions are in them and samples need none.
    """
    if estimate.design.residual is not None and estimate.design.residual.serial:
        raise MlmError(
            "No bootstrap for autocorrelated residuals, ar1(): their distribution needs cross-products of rows at "
            "every distance in time, and moments have those of neighbours. Use method='profile' or 'wald'."
        )
    if samples < 2:
        raise MlmError(f"A bootstrap needs at least 2 samples. Got {samples}; 500 or more make stable intervals.")
    random = np.random.default_rng(seed)
    source, parameters = simulator(estimate), find_parameters(estimate)
    # a variance that is zero here need not be zero in a sample
    start = off_zero(estimate.optimum.theta)
    draws, unconverged = np.empty((samples, len(parameters))), 0
    for i in range(samples):
        refit = estimate_design(
            _with_products(estimate, source.draw(random)), reml=estimate.criterion.reml, start=start
        )
        draws[i] = parameter_values(parameters, refit)
        unconverged += not refit.optimum.converged
    estimates = parameter_values(parameters, estimate)
    # where the search ends among values of equal likelihood is no draw
    draws[:, undetermined_parameters(parameters, estimate)] = np.nan
    return Bootstrap(parameters, estimates, draws, unconverged)


def _with_products(estimate: Estimate, products: Array) -> Design:
    """The design with other cross-products, (S, m, m, C)."""
    residual = estimate.design.residual
    if residual is None or not len(estimate.optimum.solution.rho):
        return replace(estimate.design, cross=CrossProducts.of(products[0]), residual=None)
    cross = CrossProducts.of(products.sum(axis=0))
    return replace(estimate.design, cross=cross, residual=replace(residual, products=products))
