"""Cells' cross-products -> what crossed elimination takes: sums by unit of the largest factor, and the dense rest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import IdentificationError
from mlm_ops.estimation.crossed import Cross
from mlm_ops.estimation.crossed_parts import Remaining, summed_by_unit
from mlm_ops.estimation.stacked import Array

#: More remaining random effects than these make a dense factor of over half a gigabyte and minutes.
MOST_DENSE = 8000


def build_cross(products: Array, sizes: Sequence[int], codes: Sequence[NDArray[np.int64]]) -> Cross:
    """Lay out the cells' cross-products.

    Parameters
    ----------
    products
        (m, m, cells) cross-products of ``[Z_1 | Z_2 | … | X y]`` in each cell.
    sizes
        Random effects a unit of each factor, the one with most units first.
    codes
        (cells,) unit of each factor.

    Raises
    ------
    IdentificationError
        More remaining effects than a dense factor can hold.
    """
    from scipy.sparse import csr_array

    units = [int(code.max()) + 1 for code in codes]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    remaining, used = [], 0
    for size, count in zip(sizes[1:], units[1:], strict=True):
        remaining.append(Remaining(size, count, slice(used, used + size * count)))
        used += size * count
    if used > MOST_DENSE:
        raise IdentificationError(
            f"Crossed grouping factors leave {used} random effects beside the largest factor; at most {MOST_DENSE} can "
            "be factorised. Use fewer random terms, or grouping factors with fewer units."
        )
    q, j, fixed = sizes[0], units[0], slice(int(starts[-1]), None)
    a = summed_by_unit(products[:q, :q], codes[0], j)
    bx = summed_by_unit(products[:q, fixed], codes[0], j)
    positions, columns = [], []
    for f, part in enumerate(remaining, start=1):
        for i in range(part.size):
            positions.append(part.place.start + i * part.units + codes[f])
            columns.append(int(starts[f]) + i)
    row = np.tile(codes[0], len(columns))
    col = np.concatenate(positions)
    b = tuple(
        csr_array((np.concatenate([products[i, column] for column in columns]), (row, col)), shape=(j, used))
        for i in range(q)
    )
    c = np.zeros((used, used))
    cx = np.zeros((used, products.shape[1] - fixed.start))
    for place, column in zip(positions, columns, strict=True):
        np.add.at(cx, place, products[column, fixed].T)
        for other, second in zip(positions, columns, strict=True):
            np.add.at(c, (place, other), products[column, second])
    return Cross(tuple(sizes), a, b, bx, c, cx, products[fixed, fixed].sum(axis=2), tuple(remaining), tuple(codes))
