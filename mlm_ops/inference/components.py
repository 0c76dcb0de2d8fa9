"""Variances and covariances, with the symbols by which tables, equations and comparisons of runs name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlm_ops.estimation.estimate import Estimate
from mlm_ops.inference.variance import VarianceErrors, residual_components
from mlm_ops.language.equations import Structure, variance_symbol
from mlm_ops.language.model import group_name


class Component(NamedTuple):
    """A variance of a random effect, a covariance of two, or a parameter of the residual.

    Attributes
    ----------
    group
        The grouping factor, or ``residual``.
    term, other
        The column whose coefficient varies, and that of the other coefficient of a covariance; of the residual the
        stratum or the parameter, where there are several.
    symbol
        As in the equations: ``tau_10``, ``sigma2``.
    estimate, std_error
        On the user's scale.
    std_dev, correlation
        Of a variance its root, of a covariance what it is relative to the roots.
    """

    group: str
    term: str | None
    other: str | None
    symbol: str
    estimate: float
    std_error: float
    std_dev: float | None
    correlation: float | None


def variance_components(structure: Structure, fitted: Estimate, errors: VarianceErrors) -> tuple[Component, ...]:
    """Every T's lower triangle by columns, the lowest grouping factor first; the residual's parameters last."""
    return (*_random_effects(structure, fitted, errors), *_residual(fitted))


def _random_effects(structure: Structure, fitted: Estimate, errors: VarianceErrors) -> Iterator[Component]:
    index = structure.indices
    heights = [(h, level) for h, level in enumerate(fitted.design.levels) for _ in level.blocks]
    for (height, level), block, tau, error in zip(heights, fitted.blocks, fitted.tau, errors.tau, strict=True):
        group, deviations = group_name(level.group), np.sqrt(np.diag(tau))
        for i, first in enumerate(block.columns):
            for j, second in enumerate(block.columns[i:], start=i):
                symbol = variance_symbol(structure, height, index[first], index[second])
                numbers = tau[i, j], error[i, j]
                if i == j:
                    yield Component(group, first.name, None, symbol, *numbers, deviations[i], None)
                else:
                    scale = deviations[i] * deviations[j]
                    correlation = float(np.clip(tau[i, j] / scale, -1.0, 1.0)) if scale else None
                    yield Component(group, first.name, second.name, symbol, *numbers, None, correlation)


def _residual(fitted: Estimate) -> Iterator[Component]:
    for name, symbol, value, error in residual_components(fitted):
        yield Component(
            "residual", name, None, symbol, value, error, np.sqrt(value) if symbol == "sigma2" else None, None
        )
