"""How much of each variable varies within groups and how much between: one-way random-effects ANOVA from moments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.columns import atoms
from mlm_ops.language.model import Factor, GroupingFactor, Model, Variable, group_name, label
from mlm_ops.moments.moments import Codes, Moments
from mlm_ops.moments.sums import pool

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Decomposition:
    """The variance of one variable by one grouping factor of J groups.

    Attributes
    ----------
    total_variance
        Variance over the N rows, divisor N - 1.
    within_variance
        Mean square within groups, ``SSW / (N - J)``.
    between_variance
        ANOVA estimate of the groups' variance, ``(MSB - MSW) / n0``, ``n0 = (N - sum n_j^2 / N) / (J - 1)``; zero where
        it is negative.
    icc
        ``between / (between + within)``.
    reliability
        Of the group means, the mean over the groups of ``between / (between + within / n_j)``.

    Snijders and Bosker (2012), Multilevel Analysis, sections 3.3.1 and 3.5; Raudenbush and Bryk (2002), eq. 4.10.
    """

    variable: str
    group: str
    n_obs: int
    n_units: int
    mean: float
    total_variance: float
    within_variance: float
    between_variance: float
    icc: float | None
    reliability: float | None


def decompose(model: Model, moments: Moments) -> list[Decomposition]:
    """Decompose the numbers that a model's variables are made of, the outcome's first, by each of its factors.

    A factor with one unit, or with a unit for every row, tells nothing of one of the parts and has no rows.

    Factors of several levels stand as their indicators where these vary within the smallest units, and otherwise not.
    """
    groups = model.groups or ((model.default_group,) if model.default_group else ())
    numbers = list(dict.fromkeys(atom for variable in model.variables for atom in atoms(variable)))
    return [
        _one_way(label(number), group, values, moments)
        for group in groups
        for number, values in _known(numbers, moments)
        if 1 < len(moments.units_of(group)[1]) < moments.n_obs
    ]


def _known(numbers: list[Variable], moments: Moments) -> Iterator[tuple[Variable, tuple[Array, Array]]]:
    """Unit means and scatter of each number that the moments hold, (J,) each."""
    schema = moments.schema
    for number in numbers:
        if (number,) in schema.monomials:
            i = schema.monomials.index((number,))
            yield number, (moments.mean[i] + schema.centers[number], moments.scatter[i * (i + 3) // 2])
        elif number in schema.constants and not isinstance(number, Factor):
            values = moments.constants[schema.constants.index(number)].astype(float)
            yield number, (values, np.zeros(moments.n_units))


def _one_way(name: str, group: GroupingFactor, values: tuple[Array, Array], moments: Moments) -> Decomposition:
    codes, labels = moments.units_of(group)
    grand = float(np.average(values[0], weights=moments.n))
    n, mean, scatter = _pooled(codes, len(labels), moments.n, values[0] - grand, values[1])
    rows, groups = float(n.sum()), len(labels)
    inside, across = float(scatter.sum()), float((n * mean**2).sum())
    # a variable that is constant within groups comes out at the square of its means' rounding
    if inside <= rows * (4 * np.finfo(float).eps * float(np.abs(values[0] - grand).max())) ** 2:
        inside = 0.0
    within = inside / (rows - groups)
    size = (rows - float((n**2).sum()) / rows) / (groups - 1)
    between = max((across / (groups - 1) - within) / size, 0.0)
    varies = between + within > 0
    return Decomposition(
        variable=name,
        group=group_name(group),
        n_obs=int(rows),
        n_units=groups,
        mean=grand,
        total_variance=(inside + across) / (rows - 1),
        within_variance=within,
        between_variance=between,
        icc=between / (between + within) if varies else None,
        reliability=float(np.mean(between / (between + within / n))) if varies else None,
    )


def _pooled(codes: Codes, size: int, n: Array, mean: Array, scatter: Array) -> tuple[Array, Array, Array]:
    total, pooled, added = pool(codes, size, n, mean[None], scatter[None])
    return total, pooled[0], added[0]
