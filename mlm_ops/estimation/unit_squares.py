"""Sum the weighted squares of sparse rows, ``sum_j B_j' W_j B_j``, over the units of a crossed factor.

B_j, (q, R), are a unit's cross-products with the R effects of all other factors: few are not zero. Only the weights
change between evaluations. So where there are few pairs of elements, their places and products are computed once, and
an evaluation is one product with the weights; where there are many, that table would be larger than the result, and the
sparse product is made block by block of its rows. Only the lower triangle is made, and never the whole of it at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array, Numbers

#: The table of pairs takes 12 bytes a pair and 4 an element of the result: up to 64 megabytes.
_MOST_PAIRS = 4_000_000


@dataclass(frozen=True)
class UnitSquares:
    """Sparse rows of J units, all q of a unit with the same places.

    Attributes
    ----------
    rows
        q sparse (J, R) matrices of one pattern, columns in order.
    """

    rows: tuple[Any, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Units J, and effects R of the other factors."""
        units, effects = self.rows[0].shape
        return int(units), int(effects)

    @cached_property
    def units(self) -> NDArray[np.int64]:
        """The unit of each stored element."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.rows[0].indptr))

    @cached_property
    def columns(self) -> tuple[Any, ...]:
        """The transposed rows, by columns' effects."""
        return tuple(row.T.tocsr() for row in self.rows)

    def times(self, matrix: Array) -> Numbers:
        """``B_j matrix`` of each unit: (R, r) -> (q, r, J)."""
        return np.stack([(row @ matrix).T for row in self.rows])

    def transposed_times(self, stack: Numbers) -> Array:
        """``sum_j B_j' stack_j``: (q, r, J) -> (R, r)."""
        total: Array = sum(
            (row.T @ dense.T for row, dense in zip(self.rows, stack, strict=True)),
            np.zeros((self.shape[1], stack.shape[1])),
        )
        return total

    def combined(self, weights: Numbers) -> list[Any]:
        """Rows ``W_j B_j``, sparse: (q, q, J) -> q matrices."""
        from scipy.sparse import csr_array

        first, results = self.rows[0], []
        for weight in weights:
            data = sum(w[self.units] * row.data for w, row in zip(weight, self.rows, strict=True))
            results.append(csr_array((data, first.indices, first.indptr), shape=first.shape))
        return results

    def lower_rows(self, weights: Numbers, blocks: Sequence[slice]) -> Iterator[Array]:
        """Blocks of rows of ``sum_j B_j' W_j B_j``, each up to the end of its block on the diagonal.

        Parameters
        ----------
        weights
            (q, q, J), each W_j symmetric.
        blocks
            Rows of the result, in order.

        Yields
        ------
        Array
            (stop - start, stop) for each block, the receiver's to change.
        """
        if self._pairs is not None:
            effects = self.shape[1]
            whole = self._pairs @ np.concatenate([weights[c, d] for c in range(len(weights)) for d in range(c + 1)])
            square = whole.reshape(effects, effects)
            for block in blocks:
                rows = square[block, : block.stop]
                own = rows[:, block]
                own += np.tril(own, -1).T
                yield rows
            return
        combined = self.combined(weights)
        for block in blocks:
            products = [
                column[block] @ (row if block.stop == row.shape[1] else row[:, : block.stop])
                for column, row in zip(self.columns, combined, strict=True)
            ]
            rows = products[0].toarray()
            for other in products[1:]:
                rows += other.toarray()
            yield rows

    @cached_property
    def _pairs(self) -> Any:
        """(R * R, q (q + 1) / 2 * J): which products of a unit's elements each place of the lower triangle sums.

        None where there are more of them than pay.
        """
        from scipy.sparse import csc_array

        first, (units, effects), q = self.rows[0], self.shape, len(self.rows)
        counts = np.diff(first.indptr)
        total, kinds = int((counts.astype(np.int64) * (counts + 1) // 2).sum()), q * (q + 1) // 2
        if total * kinds > _MOST_PAIRS or effects**2 > _MOST_PAIRS:
            return None
        # each element with itself and those before it in its unit
        elements = np.arange(len(first.indices), dtype=np.int32)
        repeats = elements - np.repeat(first.indptr[:-1], counts) + 1
        left = np.repeat(elements, repeats)
        right = np.arange(total, dtype=np.int32)
        right += np.repeat(elements - np.cumsum(repeats, dtype=np.int32) + 1, repeats)
        place = first.indices[left] * np.int32(effects) + first.indices[right]
        data = []
        for c in range(q):
            for d in range(c + 1):
                product = self.rows[c].data[left] * self.rows[d].data[right]
                if c != d:
                    product += self.rows[d].data[left] * self.rows[c].data[right]
                data.append(product)
        ends = np.cumsum(counts.astype(np.int64) * (counts + 1) // 2)
        starts = np.concatenate([[0], *(ends + kind * total for kind in range(kinds))]).astype(np.int32)
        shape = (effects * effects, kinds * units)
        return csc_array((np.concatenate(data), np.tile(place, kinds), starts), shape=shape).tocsr()
