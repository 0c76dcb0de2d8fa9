"""Find starting values: each level's covariances by moments, made definite, and simple values from them."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mlm_ops.moments.arrays import Array
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.parameters import ParameterTable, SemParameter
from mlm_ops.structural.language.slopes import RandomSlope
from mlm_ops.structural.statistics.cluster_sums import Statistics

#: A between variance starts at no less than this part of the whole.
LEAST_BETWEEN = 0.02


def starting_values(table: ParameterTable, statistics: Statistics, seed: int | None = None) -> Array:
    """(k,) values at which every covariance matrix is positive definite, unless the text fixes or starts it otherwise.

    Loadings start at the regressions on the indicator whose loading is fixed, regressions and covariances at zero,
    variances at the observed ones, halved where a variable has predictors or factors.

    Parameters
    ----------
    seed
        Values are spread around the usual ones at random.
    """
    rng = None if seed is None else np.random.default_rng(seed)
    theta = np.zeros(table.n_free)
    has_start = np.zeros(table.n_free, dtype=bool)
    for level in (WITHIN, BETWEEN):
        covariance = _start_covariance(table, statistics, level)
        names = {name: i for i, name in enumerate(table.variables(level).observed)}
        loadings = _loadings(table, level, covariance, names)
        for row in table.at(level):
            if row.index is None or has_start[row.index]:
                continue
            value = _value(table, row, covariance, names, loadings, statistics)
            if rng is not None:
                value = value * np.exp(0.5 * rng.standard_normal()) if row.is_variance else value
                spread = 0.5 * _scale(row, covariance, names)
                value = value + spread * rng.standard_normal() if row.op in {"=~", "~"} else value
            theta[row.index] = value
            has_start[row.index] = row.start is not None
    _start_about_means(table, statistics, theta, {row.index for row in table.rows if row.start is not None})
    for row in table.rows:
        if row.index is not None and row.start is not None and seed is None:
            theta[row.index] = row.start
    return theta


def _start_covariance(table: ParameterTable, statistics: Statistics, level: int) -> Array:
    """The level's covariance matrix by moments over its observed variables, with eigenvalues that are positive."""
    if level == WITHIN:
        return statistics.pooled_within
    place = [statistics.columns.index(name) for name in table.between.observed]
    estimate = statistics.between_estimate[np.ix_(place, place)]
    p = statistics.n_row_level
    whole = [statistics.pooled_within[c, c] if c < p else 0.0 for c in place] + np.maximum(np.diag(estimate), 0)
    variances = np.maximum(np.diag(estimate), LEAST_BETWEEN * whole)
    scale = np.sqrt(variances)
    correlation = estimate / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    shrunk = vectors @ np.diag(np.maximum(values, 0.05)) @ vectors.T
    unit = np.sqrt(np.diag(shrunk))
    return np.asarray(shrunk / np.outer(unit, unit) * np.outer(scale, scale))


def _loadings(
    table: ParameterTable, level: int, covariance: Array, names: dict[str, int]
) -> dict[tuple[str, str], float]:
    """Loadings by the ratio of each indicator's covariances with the others to the marker's."""
    loadings: dict[tuple[str, str], float] = {}
    for latent in table.variables(level).latent:
        rows = [row for row in table.at(level) if row.op == "=~" and row.lhs == latent]
        indicators = [row.rhs for row in rows if row.rhs in names]
        marker = next((row for row in rows if row.index is None and row.value and row.rhs in names), None)
        for row in rows:
            value = 1.0
            if row.rhs in names and marker is not None:
                own, other = names[row.rhs], names[marker.rhs]
                rest = [names[n] for n in indicators if names[n] not in (own, other)] or [other]
                against = covariance[rest, other]
                ratio = float(covariance[rest, own] @ against) / (float(against @ against) or 1.0)
                most = 2 * float(np.sqrt(covariance[own, own] / covariance[other, other]))
                value = marker.value * (float(np.clip(ratio, -most, most)) or most / 4)
            elif row.rhs in names:
                first = names[indicators[0]]
                own = names[row.rhs]
                sign = -1.0 if covariance[own, first] < 0 else 1.0
                value = sign * 0.7 * float(np.sqrt(covariance[own, own]))
            loadings[latent, row.rhs] = value
    return loadings


def _value(
    table: ParameterTable,
    row: SemParameter,
    covariance: Array,
    names: dict[str, int],
    loadings: dict[tuple[str, str], float],
    statistics: Statistics,
) -> float:
    if row.op == "=~":
        return loadings[row.lhs, row.rhs]
    slope = next((s for s in table.slopes if s.name == row.lhs), None)
    if slope is not None and (row.op == "~1" or row.is_variance):
        return _slope_value(table, row, slope, statistics)
    if row.op == "~1":
        at = statistics.columns.index(row.lhs) if row.lhs in statistics.columns else None
        return 0.0 if at is None else float(statistics.column_means[at])
    if not row.is_variance:
        return 0.0
    rows = table.at(row.level)
    if row.lhs in names:
        explained = any((r.op == "=~" and r.rhs == row.lhs) or (r.op == "~" and r.lhs == row.lhs) for r in rows)
        return float(covariance[names[row.lhs], names[row.lhs]]) * (0.5 if explained else 1.0)
    marker = next((r for r in rows if r.op == "=~" and r.lhs == row.lhs and r.index is None and r.rhs in names), None)
    if marker is None or not marker.value:
        return 0.5
    return 0.5 * float(covariance[names[marker.rhs], names[marker.rhs]]) / marker.value**2


def _slope_value(table: ParameterTable, row: SemParameter, slope: RandomSlope, statistics: Statistics) -> float:
    """A random slope's mean is the regression within clusters; its variance a tenth of the outcome's, in its units."""
    within, columns = statistics.pooled_within, statistics.columns
    indicators = [r.rhs for r in table.at(WITHIN) if r.op == "=~" and r.lhs == slope.outcome and r.rhs in columns]
    outcome = slope.outcome if slope.outcome in columns else next(iter(indicators), None)
    x = columns.index(slope.predictor)
    y = x if outcome is None else columns.index(outcome)
    if row.op == "~1":
        return float(within[x, y] / within[x, x]) if y != x else 0.0
    return 0.1 * float(within[y, y] / within[x, x])


def _start_about_means(table: ParameterTable, statistics: Statistics, theta: Array, started: set[int | None]) -> None:
    """Let intercepts and slopes be uncorrelated at the mean of a predictor that is far from zero, not at zero.

    What varies there as v0 and s varies at zero as v0 + c^2 s, with covariance -c s, c the mean.
    """
    shared = [index for index, count in Counter(row.index for row in table.rows).items() if count > 1]
    bound = {None, *started, *shared}
    index = {(r.lhs, r.op, r.rhs): r.index for r in table.at(BETWEEN) if r.index not in bound}
    index |= {(rhs, op, lhs): place for (lhs, op, rhs), place in index.items() if op == "~~"}
    for slope in table.slopes:
        if slope.latent or slope.outcome not in table.both:
            continue
        center = float(statistics.column_means[statistics.columns.index(slope.predictor)])
        mean, slope_mean = index.get((slope.outcome, "~1", "")), index.get((slope.name, "~1", ""))
        if mean is not None and slope_mean is not None:
            theta[mean] -= center * theta[slope_mean]
        own, other, both = (
            index.get((a, "~~", b))
            for a, b in ((slope.outcome, slope.outcome), (slope.name, slope.name), (slope.outcome, slope.name))
        )
        if own is not None and other is not None and both is not None:
            theta[own] += center**2 * theta[other]
            theta[both] = -center * theta[other]


def _scale(row: SemParameter, covariance: Array, names: dict[str, int]) -> float:
    """The size of a coefficient by which one standard deviation moves another."""
    first, second = (row.rhs, row.lhs) if row.op == "=~" else (row.lhs, row.rhs)
    deviations = [float(np.sqrt(covariance[names[n], names[n]])) if n in names else None for n in (first, second)]
    if deviations[0] is None:
        return 1.0
    return deviations[0] / deviations[1] if deviations[1] else deviations[0]
