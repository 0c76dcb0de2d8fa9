"""A model's cross-products in every cell, stored as those of the few elements that its columns are made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Numbers
from mlm_ops.moments.sums import lower_by_rows, packed_place


@dataclass(frozen=True)
class CrossProducts:
    """Cross-products of m columns, each a combination of E elements.

    Those of two elements are their scatter around their means in each cell and the product of these, which are stored
    apart: of what varies within the cells the scatter keeps the digits that a sum would lose where cells lie far apart,
    and elements that do not vary there have none.

    Attributes
    ----------
    scatter
        (cells,) cross-products of a pair of elements around their means in each cell, for K pairs; around zero without
        `means`. They may be the moments' own arrays.
    places
        (E (E + 1) / 2,) the place in `scatter` of each pair, lower triangle by rows; -1 of a pair that has none.
    combination
        (E, m): columns = elements @ combination.
    cells
        Number of cells.
    means
        (E, cells) the elements' means in each cell times the root of its size; None where they are not known.
    """

    scatter: tuple[Numbers, ...]
    places: NDArray[np.int64]
    combination: NDArray[np.float64]
    cells: int
    means: Numbers | None = None

    @classmethod
    def of(cls, products: Numbers) -> CrossProducts:
        """Make the record from (m, m, cells) cross-products: every column is an element."""
        rows, columns = lower_by_rows(len(products))
        return cls(tuple(products[rows, columns]), np.arange(len(rows)), np.eye(len(products)), products.shape[2])

    @property
    def kind(self) -> np.dtype[Any]:
        """Of real or complex numbers."""
        return np.result_type(*self.scatter[:1], np.float64)

    @cached_property
    def total(self) -> Numbers:
        """(m, m): summed over all cells."""
        sums = np.array([*(own.sum() for own in self.scatter), 0.0])  # of a pair that has none, at -1
        elements = unpack(sums[self.places])
        if self.means is not None:
            elements = elements + self.means @ self.means.T
        total: Numbers = self.combination.T @ elements @ self.combination
        return total

    @property
    def around_means(self) -> CrossProducts | None:
        """The columns' cross-products around their means in each cell."""
        return None if self.means is None else replace(self, means=None)

    @property
    def mean_row(self) -> Numbers:
        """(m, cells): the columns' means in each cell times the root of its size, so that its products are the rest."""
        if self.means is None:
            return np.zeros((self.combination.shape[1], self.cells))
        row: Numbers = self.combination.T @ self.means
        return row

    def take(self, cells: NDArray[np.int64] | slice) -> CrossProducts:
        """The same of some cells, or in another order."""
        means = None if self.means is None else self.means[:, cells]
        size = len(range(*cells.indices(self.cells))) if isinstance(cells, slice) else len(cells)
        return replace(self, scatter=tuple(own[cells] for own in self.scatter), means=means, cells=size)

    @property
    def full(self) -> Numbers:
        """(m, m, cells): every column with every other."""
        return self.block(slice(None), slice(None))

    def block(self, rows: slice, columns: slice) -> Numbers:
        """(rows, columns, cells): some columns with some; what is one element of each is copied, not multiplied out."""
        terms = [[(int(a), column[a]) for a in np.flatnonzero(column)] for column in self.combination.T]
        symmetric, left, right = rows == columns, terms[rows], terms[columns]
        result = np.zeros((len(left), len(right), self.cells), dtype=self.kind)
        for i, first in enumerate(left):
            for j, second in enumerate(right[: i + 1] if symmetric else right):
                parts = [(x * y, part) for a, x in first for b, y in second for part in self._of(a, b)]
                for k, (factor, part) in enumerate(parts):
                    if k == 0:
                        np.multiply(part, factor, out=result[i, j])
                    else:
                        result[i, j] += factor * part
                if symmetric:
                    result[j, i] = result[i, j]
        return result

    def _of(self, a: int, b: int) -> list[Numbers]:
        """What the cross-products of two elements are the sum of."""
        place = self.places[packed_place(max(a, b), min(a, b))]
        parts = [self.scatter[place]] if place >= 0 else []
        return parts if self.means is None else [*parts, self.means[a] * self.means[b]]


def unpack(packed: Numbers) -> Numbers:
    """A symmetric matrix from its lower triangle by rows."""
    size = int((2 * len(packed)) ** 0.5)
    result = np.empty((size, size), dtype=packed.dtype)
    rows, columns = lower_by_rows(size)
    result[rows, columns] = result[columns, rows] = packed
    return result
