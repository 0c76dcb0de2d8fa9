"""A model's cross-products in every cell, stored as those of the few elements that its columns are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Numbers
from mlm_ops.moments.sums import lower_by_rows, packed_place


@dataclass(frozen=True)
class CrossProducts:
    """Cross-products of m columns, each a combination of E elements.

    Attributes
    ----------
    elements
        (E (E + 1) / 2, cells): those of the elements, lower triangle by rows.
    combination
        (E, m): columns = elements @ combination.
    scatter
        Those around the elements' means in each cell, where the first element is the constant: of what varies within
        the cells they keep the digits that `elements` lose where cells lie far apart. None where they are not known.
    """

    elements: Numbers
    combination: NDArray[np.float64]
    scatter: Numbers | None = None

    @classmethod
    def of(cls, products: Numbers) -> CrossProducts:
        """Make the record from (m, m, cells) cross-products: every column is an element."""
        rows, columns = lower_by_rows(len(products))
        return cls(products[rows, columns], np.eye(len(products)))

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.elements.shape[1])

    @cached_property
    def total(self) -> Numbers:
        """(m, m): summed over all cells."""
        total: Numbers = self.combination.T @ unpack(self.elements.sum(axis=1)) @ self.combination
        return total

    @property
    def around_means(self) -> CrossProducts | None:
        """The columns' cross-products around their means in each cell."""
        return None if self.scatter is None else CrossProducts(self.scatter, self.combination)

    @property
    def mean_row(self) -> Numbers:
        """(m, cells): the columns' means in each cell times the root of its size, so that its products are the rest."""
        size = len(self.combination)
        first = np.array([self._place(i, 0) for i in range(size)])
        row: Numbers = self.combination.T @ (self.elements[first] / np.sqrt(self.elements[0]))
        return row

    def take(self, cells: NDArray[np.int64]) -> CrossProducts:
        """The same of some cells, or in another order."""
        scatter = None if self.scatter is None else self.scatter[:, cells]
        return replace(self, elements=self.elements[:, cells], scatter=scatter)

    @property
    def full(self) -> Numbers:
        """(m, m, cells): every column with every other."""
        return self.block(slice(None), slice(None))

    def block(self, rows: slice, columns: slice) -> Numbers:
        """(rows, columns, cells): some columns with some; what is one element of each is copied, not multiplied out."""
        terms = [[(int(a), column[a]) for a in np.flatnonzero(column)] for column in self.combination.T]
        symmetric, left, right = rows == columns, terms[rows], terms[columns]
        result = np.zeros((len(left), len(right), self.cells), dtype=self.elements.dtype)
        for i, first in enumerate(left):
            for j, second in enumerate(right[: i + 1] if symmetric else right):
                factors = [(self._place(a, b), x * y) for a, x in first for b, y in second]
                for k, (place, factor) in enumerate(factors):
                    if k == 0:
                        np.multiply(self.elements[place], factor, out=result[i, j])
                    else:
                        result[i, j] += factor * self.elements[place]
                if symmetric:
                    result[j, i] = result[i, j]
        return result

    @staticmethod
    def _place(a: int, b: int) -> int:
        high, low = max(a, b), min(a, b)
        return packed_place(high, low)


def unpack(packed: Numbers) -> Numbers:
    """A symmetric matrix from its lower triangle by rows."""
    size = int((2 * len(packed)) ** 0.5)
    result = np.empty((size, size), dtype=packed.dtype)
    rows, columns = lower_by_rows(size)
    result[rows, columns] = result[columns, rows] = packed
    return result
