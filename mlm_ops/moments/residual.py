"""Read moments for residual structures: strata, known variances, autocorrelation over ordered times.

Whitening turns rows t - d and t of a unit into ``(v_t - phi^d v_(t-d)) / sqrt(1 - phi^(2d))``, so that an AR(1)
likelihood depends on the rows only through sums of ``v_t v_t'``, ``v_t v_(t-d)'`` and ``v_(t-d) v_(t-d)'`` for each
distinct gap d; strata and known variances scale v. Only the weights of these sums depend on the parameters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import DataError
from mlm_ops.language.model import Residual
from mlm_ops.moments.arrays import Array, Codes

#: The most distinct gaps between times; more come from times that were measured, not counted.
MOST_GAPS = 100
NOW, CROSS, PAST = 0, 1, 2


@dataclass(frozen=True)
class ResidualMoments:
    """Sums over the rows of each unit, stratum, stratum before, and gap; L such groups of rows, K monomials.

    Attributes
    ----------
    strata
        Names of the strata; one empty name without any.
    unit, stratum, past_stratum
        (L,) codes of the moments' unit and of the strata; -1 where a row has none before it.
    gap
        (L,) steps since the row before; 0 where there is none.
    n
        (L,) rows.
    log_precision
        Sum over all rows of the logarithm of the known precision.
    sums
        (3, (K + 1) (K + 2) / 2, L): now, cross and past sums of products of ``(1, monomials)``, lower triangle by rows.
    """

    strata: tuple[str, ...]
    unit: Codes
    stratum: Codes
    past_stratum: Codes
    gap: Array
    n: Array
    log_precision: float
    sums: Array

    def select(self, flags: NDArray[np.bool_]) -> ResidualMoments:
        """Return the sums of the units whose flag is true, (J,); `log_precision` stays that of all rows."""
        here = flags[self.unit]
        return replace(
            self,
            unit=(np.cumsum(flags) - 1)[self.unit[here]],
            stratum=self.stratum[here],
            past_stratum=self.past_stratum[here],
            gap=self.gap[here],
            n=self.n[here],
            sums=self.sums[:, :, here],
        )


def read_residual_moments(
    residual: Residual, columns: dict[str, NDArray[Any]], unit: Codes, size: int
) -> ResidualMoments:
    """Make the record from the result of the SQL macro `residual_moments`.

    Parameters
    ----------
    columns
        Columns of the result by name.
    unit
        (L,) the moments' unit of each row of the result.
    size
        K, the number of monomials.

    Raises
    ------
    DataError
        Times that repeat within a unit, are not whole numbers, or lie at too many different distances.
    """
    strata, stratum = np.unique(np.asarray(columns["stratum"]).astype(str), return_inverse=True)
    gaps: Array = np.ma.filled(np.ma.asarray(columns["gap"], dtype=float), 0.0)
    has_past = ~np.ma.getmaskarray(np.ma.asarray(columns["gap"]))
    past = np.ma.filled(np.ma.asarray(columns["past_stratum"]), "")
    past_stratum = np.where(has_past, np.searchsorted(strata, past.astype(str)), -1)
    _check_times(residual, gaps[has_past])
    names = [f"{i}_{j}" for i in range(size + 1) for j in range(i + 1)]
    sums = np.zeros((3, len(names), len(unit)))
    for kind, prefix in enumerate(("now", "cross", "past")):
        for row, name in enumerate(names):
            if f"{prefix}_{name}" in columns:
                sums[kind, row] = np.ma.filled(np.ma.asarray(columns[f"{prefix}_{name}"], dtype=float), 0.0)
    return ResidualMoments(
        strata=tuple(strata),
        unit=unit,
        stratum=stratum.astype(np.int64),
        past_stratum=past_stratum.astype(np.int64),
        gap=gaps,
        n=np.asarray(columns["n"], dtype=float),
        log_precision=float(np.asarray(columns["log_precision"], dtype=float).sum()),
        sums=sums,
    )


def _check_times(residual: Residual, gaps: Array) -> None:
    if residual.time is None:
        return
    if not len(gaps):
        raise DataError(f"ar1({residual.time}) needs units with two rows or more. Got one row in each.")
    if (gaps == 0).any():
        raise DataError(
            f"The times in {residual.time!r} repeat within a unit, and ar1() needs an order. Make them unique, or add "
            "the column that distinguishes the rows to the grouping factors."
        )
    fractions = gaps[gaps != np.round(gaps)]
    if len(fractions):
        raise DataError(
            f"ar1({residual.time}) needs whole-number times. Got rows {fractions.min():g} apart; round the times "
            "to whole steps."
        )
    n_different = len(np.unique(gaps))
    if n_different > MOST_GAPS:
        raise DataError(
            f"ar1({residual.time}) takes at most {MOST_GAPS} different gaps between rows. Got {n_different}; round the "
            "times to longer steps."
        )
