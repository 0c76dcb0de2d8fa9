"""What is left of moments when rows were taken out: whether digits, levels and variation are still there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.model import Factor, Indicator, label
from mlm_ops.moments.collect import unit_of
from mlm_ops.moments.moments import Array, Moments

#: Share of the second moment that must be left in a unit for a difference to keep its digits: 1e4 roundings are 2e-12.
_LEAST = 1e-4
#: Share of a second moment that is rounding.
_ROUNDING = 1e-12


def has_lost_digits(whole: Moments, left: Moments) -> bool:
    """Whether `subtract` took so much out of a unit that rounding shows in what is left of it.

    Rows with a value of 1e9 leave the rounding of its square behind, a hundred times the square of a value of 1.

    Parameters
    ----------
    whole, left
        The moments before and after; the units of `left` are among those of `whole`.
    """
    if not left.n_units:
        return False
    at = unit_of(whole, left.labels) if left.labels else np.zeros(1, dtype=np.int64)
    before, after = _second_moments(whole)[:, at], _second_moments(left)
    of_a_row = after.sum(axis=1, keepdims=True) / left.n.sum()
    return bool((_LEAST * before > after + of_a_row).any())


def no_longer(moments: Moments) -> str | None:
    """Which level of a factor, or which number's variation, has gone with the rows; None if all are there."""
    for column, levels in moments.schema.levels.items():
        present = _present(moments, column, levels)
        if lost := [level for level in levels if level not in present]:
            return f"{column} has lost the level{'s' * (len(lost) > 1)} {', '.join(lost)}"
    for i, factors in enumerate(moments.schema.monomials):
        # a level's variation goes with the level or with all others, a product's with its factors
        if len(factors) == 1 and not isinstance(factors[0], Indicator) and not _varies(moments, i):
            return f"{label(factors[0])} no longer varies"
    for constant, values in zip(moments.schema.constants, moments.constants, strict=True):
        if not isinstance(constant, Factor) and (values == values[0]).all():
            return f"{label(constant)} no longer varies"
    return None


def _second_moments(moments: Moments) -> Array:
    """(K, J) sums of squares around the centers."""
    size = len(moments.mean)
    squares: Array = moments.scatter[[i * (i + 3) // 2 for i in range(size)]] + moments.n * moments.mean**2
    return squares


def _varies(moments: Moments, i: int) -> bool:
    mean = float(moments.n @ moments.mean[i] / moments.n.sum())
    around = moments.scatter[i * (i + 3) // 2] + moments.n * (moments.mean[i] - mean) ** 2
    return float(around.sum()) > _ROUNDING * float(_second_moments(moments)[i].sum())


def _present(moments: Moments, column: str, levels: tuple[str, ...]) -> set[str]:
    """The levels that some row has; all, where the moments cannot tell, as of strata."""
    if Factor(column) in moments.schema.constants:
        values: NDArray[np.object_] = moments.constants[moments.schema.constants.index(Factor(column))]
        return set(map(str, values))
    counts = {
        factors[0].level: float(moments.n @ moments.mean[i])
        for i, factors in enumerate(moments.schema.monomials)
        if len(factors) == 1 and isinstance(factors[0], Indicator) and _is_plain(factors[0], column)
    }
    others = [level for level in levels if level not in counts]
    if len(others) > 1:
        return set(levels)
    counts |= {level: float(moments.n.sum()) - sum(counts.values()) for level in others}
    return {level for level, count in counts.items() if count > 0.5}


def _is_plain(indicator: Indicator, column: str) -> bool:
    return indicator.column == column and indicator.against is None
