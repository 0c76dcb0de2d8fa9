"""What is left of moments when rows were taken out: whether levels and variation are still there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.language.model import Factor, Indicator, label
from mlm_ops.moments.moments import Moments

#: Share of a second moment that is rounding.
_ROUNDING = 1e-12


def no_longer(moments: Moments) -> str | None:
    """Which level of a factor, or which number's variation, has gone with the rows; None if all are there."""
    if lost := lost_levels(moments):
        return lost
    for i, factors in enumerate(moments.schema.monomials):
        # a level's variation goes with the level or with all others, a product's with its factors
        if len(factors) == 1 and not isinstance(factors[0], Indicator) and not _varies(moments, i):
            return f"{label(factors[0])} no longer varies"
    for constant, values in zip(moments.schema.constants, moments.constants, strict=True):
        if not isinstance(constant, Factor) and (values == values[0]).all():
            return f"{label(constant)} no longer varies"
    return None


def lost_levels(moments: Moments) -> str | None:
    """Which levels of a factor no row has any more; None if all are there."""
    for column, levels in moments.schema.levels.items():
        present = _present(moments, column, levels)
        if lost := [level for level in levels if level not in present]:
            return f"{column} has lost the level{'s' * (len(lost) > 1)} {', '.join(lost)}"
    return None


def _varies(moments: Moments, i: int) -> bool:
    n, mean, scatter = moments.n, moments.mean[i], moments.scatter[i * (i + 3) // 2].sum()
    grand = (n * mean).sum() / n.sum()
    return bool(scatter + (n * (mean - grand) ** 2).sum() > _ROUNDING * (scatter + (n * mean**2).sum()))


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
