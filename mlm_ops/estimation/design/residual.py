"""Express a residual structure in the moments that it weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.residual import CROSS, NOW, PAST, ResidualMoments
from mlm_ops.moments.sums import packed_place


def design_residual(
    moments: ResidualMoments, serial: bool, coefficients: Sequence[Any], cells: Codes
) -> ResidualDesign:
    """Products of design columns for every component of a residual structure.

    Parameters
    ----------
    coefficients
        For each of the m columns, pairs of a place in ``(1, monomials)`` and a coefficient, a number or (J,).
    cells
        (J,) the cell of each of the moments' units.
    """
    keys = np.stack((moments.stratum, moments.past_stratum, moments.gap.astype(np.int64)), axis=1)
    groups, group = np.unique(keys, axis=0, return_inverse=True)
    group = group.ravel()
    m, n_cells = len(coefficients), int(cells.max()) + 1
    components = [(k, kind) for k, key in enumerate(groups) for kind in ((NOW, CROSS, PAST) if key[2] > 0 else (NOW,))]
    products = np.empty((len(components), m, m, n_cells))
    for c, (k, kind) in enumerate(components):
        rows = np.flatnonzero(group == k)
        unit, place = moments.unit[rows], cells[moments.unit[rows]]
        for i in range(m):
            for j in range(i + 1):
                total = np.zeros(len(rows))
                for first, left in coefficients[i]:
                    for second, right in coefficients[j]:
                        high, low = max(first, second), min(first, second)
                        total += _at(left, unit) * _at(right, unit) * moments.sums[kind, packed_place(high, low), rows]
                products[c, i, j] = products[c, j, i] = np.bincount(place, total, n_cells)
    # the engine judges variances beside sigma2, which weights of a billion would make a billion times larger
    typical_precision = float(np.exp(moments.log_precision / moments.n.sum()))
    component_groups = groups[[k for k, _ in components]]
    sizes = np.bincount(group, moments.n, len(groups)).astype(np.float64)
    return ResidualDesign(
        strata=moments.strata,
        serial=serial,
        products=products / typical_precision,
        kind=np.array([kind for _, kind in components], dtype=np.int64),
        stratum=component_groups[:, 0],
        past_stratum=component_groups[:, 1],
        gap=component_groups[:, 2].astype(float),
        n=sizes[[k for k, _ in components]],
        typical_precision=typical_precision,
    )


@dataclass(frozen=True)
class ResidualDesign:
    """Cross-products that a residual structure weights: ``P(rho) = sum_c weight_c(rho) products_c``.

    Attributes
    ----------
    strata
        Names; the first is the reference, whose variance is sigma2.
    serial
        Whether residuals are autocorrelated.
    products
        (C, m, m, cells) cross-products of the engine's columns.
    kind, stratum, past_stratum, gap, n
        (C,): what each component sums (`NOW`, `CROSS`, `PAST`), between which strata, over which gap, of how many rows.
    typical_precision
        The geometric mean of the rows' known precisions; `products` have each precision relative to it.
    """

    strata: tuple[str, ...]
    serial: bool
    products: Array
    kind: Codes
    stratum: Codes
    past_stratum: Codes
    gap: Array
    n: Array
    typical_precision: float


def _at(coefficient: Any, unit: Codes) -> Any:
    return coefficient[unit] if isinstance(coefficient, np.ndarray) else coefficient
