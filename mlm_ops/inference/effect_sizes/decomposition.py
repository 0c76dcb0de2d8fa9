"""Describe variables within and between groups: each group's mean and deviation, and the variance at either level.

All from moments: a group's numbers are those of its units in the moments, pooled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlm_ops.language.columns import atoms
from mlm_ops.language.model import Factor, GroupingFactor, Model, Variable, group_name, label
from mlm_ops.moments.arrays import Array
from mlm_ops.moments.record import Moments
from mlm_ops.moments.sums import packed_place, pool, squares_rounding


@dataclass(frozen=True)
class NumericVariable:
    """A numeric variable that the moments hold.

    Attributes
    ----------
    center
        What its means are deviations from.
    mean, scatter
        (J,) of the moments' units.
    """

    name: str
    center: float
    mean: Array
    scatter: Array


@dataclass(frozen=True)
class PooledNumber:
    """A number pooled over the units of a grouping factor; every array is (J,).

    Attributes
    ----------
    mean
        Deviations from the number's center.
    constant
        Whether it is the same in all rows of each unit.
    """

    n: Array
    mean: Array
    scatter: Array
    constant: bool

    def squares(self, around_unit_means: bool) -> Array:
        """(J,) sums of squares around the units' means, zero where they are no more than rounding."""
        rounding = squares_rounding((self.n, self.mean[None], self.scatter[None]), around_unit_means)[0]
        return np.where(self.scatter > rounding, self.scatter, 0.0)


@dataclass(frozen=True)
class UnitStatistics:
    """One variable in the J units of one grouping factor; every array is (J,).

    Attributes
    ----------
    mean
        As the variable is measured, no center taken off.
    std_dev
        Divisor n - 1; not a number in a unit of one row, and of a variable that is constant in every unit.
    """

    group: GroupingFactor
    variable: str
    n: Array
    mean: Array
    std_dev: Array


def numbers_of(models: Sequence[Model], moments: Moments) -> list[NumericVariable]:
    """The numbers that the models' variables are made of, the outcomes' first, as far as the moments hold them.

    A factor is no number, and of a factor of a function there is none.
    """
    outcomes = (model.outcome for model in models)
    variables = dict.fromkeys((*outcomes, *(v for model in models for v in model.variables)))
    numbers = dict.fromkeys(atom for variable in variables for atom in atoms(variable))
    return list(numbers_in(numbers, moments))


def numbers_in(numbers: Iterable[Variable], moments: Moments) -> Iterator[NumericVariable]:
    """Those of these variables that the moments hold as numbers, in their order."""
    schema = moments.schema
    for number in numbers:
        if (number,) in schema.monomials:
            i = schema.monomials.index((number,))
            yield NumericVariable(
                label(number), schema.centers[number], moments.mean[i], moments.scatter[packed_place(i, i)]
            )
        elif number in schema.constants and not isinstance(number, Factor):
            values = moments.constants[schema.constants.index(number)].astype(float)
            center = float(np.average(values, weights=moments.n))
            yield NumericVariable(label(number), center, values - center, np.zeros(moments.n_units))


def pool_number(number: NumericVariable, group: GroupingFactor, moments: Moments) -> PooledNumber:
    """Pool a number over the units of a grouping factor."""
    codes, labels = moments.units_of(group)
    n, mean, scatter = pool(codes, len(labels), moments.n, number.mean[None], number.scatter[None])
    # a variable that is constant within groups comes out at the square of its means' rounding
    rounding = n.sum() * (4 * np.finfo(float).eps * float(np.abs(number.mean).max(initial=0.0))) ** 2
    return PooledNumber(n, mean[0], scatter[0], bool(scatter.sum() <= rounding))


def unit_statistics(models: Sequence[Model], moments: Moments) -> list[UnitStatistics]:
    """Size, mean and deviation of every number of the models, in every unit of each of their grouping factors.

    Grouping factors are those of the models' random parts, in the order of the models; models without any add numbers
    alone.
    """
    groups = dict.fromkeys(group for model in models for group in model.groups)
    numbers = numbers_of(models, moments) if groups else []
    statistics = []
    for group in groups:
        for number in numbers:
            pooled = pool_number(number, group, moments)
            with np.errstate(divide="ignore", invalid="ignore"):
                std_dev = np.sqrt(pooled.squares(moments.around_unit_means) / (pooled.n - 1))
            unknown = (pooled.n < 2) | pooled.constant
            statistics.append(
                UnitStatistics(
                    group=group,
                    variable=number.name,
                    n=pooled.n,
                    mean=pooled.mean + number.center,
                    std_dev=np.where(unknown, np.nan, std_dev),
                )
            )
    return statistics


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


def decompose(models: Sequence[Model], moments: Moments) -> list[Decomposition]:
    """Decompose the numbers of some models, the outcomes' first, by each of their grouping factors.

    A factor with one unit, or with a unit for every row, determines only one of the parts and has no rows. A model
    without random effects has the factor that its centering takes means over.
    """
    groups = dict.fromkeys(
        group for model in models for group in model.groups or ((model.default_group,) if model.default_group else ())
    )
    numbers = numbers_of(models, moments)
    return [
        _decomposition(number, group, moments)
        for group in groups
        for number in numbers
        if 1 < len(moments.units_of(group)[1]) < moments.n_obs
    ]


def _decomposition(number: NumericVariable, group: GroupingFactor, moments: Moments) -> Decomposition:
    pooled = pool_number(number, group, moments)
    n, rows, groups = pooled.n, float(pooled.n.sum()), len(pooled.n)
    grand = float(n @ pooled.mean) / rows
    deviation = pooled.mean - grand
    inside, across = 0.0 if pooled.constant else float(pooled.scatter.sum()), float((n * deviation**2).sum())
    within = inside / (rows - groups)
    size = (rows - float((n**2).sum()) / rows) / (groups - 1)
    between = max((across / (groups - 1) - within) / size, 0.0)
    varies = between + within > 0
    return Decomposition(
        variable=number.name,
        group=group_name(group),
        n_obs=int(rows),
        n_units=groups,
        mean=number.center + grand,
        total_variance=(inside + across) / (rows - 1),
        within_variance=within,
        between_variance=between,
        icc=between / (between + within) if varies else None,
        reliability=float(np.mean(between / (between + within / n))) if varies else None,
    )
