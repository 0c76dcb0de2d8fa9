"""Describe the random effects that remain after eliminating the largest crossed factor: positions, Lambda, squares.

The R effects stand factor by factor, in a factor unit by unit: Lambda_R consists of small blocks along its diagonal,
and whatever is symmetric is worked through in blocks of rows that hold whole units of one factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from mlm_ops.moments.arrays import Array, Numbers

#: Rows of a block, of which a few are in memory beside the whole.
_ROWS = 256


@dataclass(frozen=True)
class Remaining:
    """A factor that the dense step eliminates: q effects in each of J units, at `place` among all R."""

    size: int
    units: int
    place: slice

    def by_unit(self, matrix: Array) -> Array:
        """The factor's rows of a matrix, unit by unit: (R, …) -> (J, q, …)."""
        return matrix[self.place].reshape(self.units, self.size, *matrix.shape[1:])


@dataclass(frozen=True)
class Rest:
    """All remaining factors, in order."""

    parts: tuple[Remaining, ...]

    @property
    def effects(self) -> int:
        """R."""
        return int(self.parts[-1].place.stop)

    @property
    def blocks(self) -> list[tuple[int, slice]]:
        """Blocks of rows in order: the factor, and the places."""
        blocks = []
        for number, part in enumerate(self.parts):
            step = max(1, _ROWS // part.size) * part.size
            starts = range(part.place.start, part.place.stop, step)
            blocks += [(number, slice(start, min(start + step, part.place.stop))) for start in starts]
        return blocks

    def from_right(self, matrix: Array, lams: Sequence[Array]) -> Array:
        """``matrix @ Lambda`` for rows (n, s), s the end of a unit; in place where the blocks are numbers."""
        for part, lam in zip(self.parts, lams, strict=True):
            columns = matrix[:, part.place.start : part.place.stop]
            if part.size == 1:
                columns *= lam[0, 0]
            elif columns.size:
                columns[...] = (columns.reshape(len(matrix), -1, part.size) @ lam).reshape(columns.shape)
        return matrix

    def from_left(self, lams: Sequence[Array], matrix: Array) -> Array:
        """``Lambda @ matrix``, (R, r)."""
        result = np.empty_like(matrix)
        for part, lam in zip(self.parts, lams, strict=True):
            result[part.place] = (lam @ part.by_unit(matrix)).reshape(matrix[part.place].shape)
        return result

    def on_both_sides(self, rows: Array, number: int, lams: Sequence[Array]) -> Array:
        """``Lambda' rows Lambda`` for a block of rows of one factor, in place."""
        rows, lam = self.from_right(rows, lams), lams[number]
        if len(lam) == 1:
            rows *= lam[0, 0]
            return rows
        return np.asarray(lam.T @ rows.reshape(-1, len(lam), rows.shape[1])).reshape(rows.shape)


@dataclass
class TwoTriangles:
    """K below the diagonal of one square array, and above it ``H = I + Lambda' K Lambda``, or its factor or inverse.

    H is factorised in place, and its factor is overwritten by the inverse when that is first asked for: with thousands
    of effects every copy is hundreds of megabytes.

    Attributes
    ----------
    square
        (R, R): K strictly below the diagonal; in LAPACK's order of columns the rest is a lower triangle.
    diagonal
        (R,) the diagonal of K.
    log_determinant
        Of H; not a number where H has no factor, which is rounding.
    inverted
        Whether the factor has given way to the inverse.
    """

    square: Array
    diagonal: Array
    log_determinant: float = field(default=np.nan)
    inverted: bool = field(default=False)

    @classmethod
    def fill(cls, rest: Rest, k: Iterator[Array], lams: Sequence[Array]) -> TwoTriangles:
        """From the blocks of rows of K, (stop - start, stop), and factorise H."""
        from scipy.linalg.lapack import dpotrf

        square, diagonal = np.empty((rest.effects, rest.effects)), np.empty(rest.effects)
        for (number, block), rows in zip(rest.blocks, k, strict=True):
            own = rows[:, block]
            diagonal[block] = np.diag(own)
            square[block, : block.start] = rows[:, : block.start]
            below = np.tril(own, -1)
            h = rest.on_both_sides(rows, number, lams)
            square[: block.start, block] = h[:, : block.start].T
            square[block, block] = below + np.triu(h[:, block] + np.eye(len(h)))
        factor, failed = dpotrf(square.T, lower=1, clean=0, overwrite_a=1)
        _write_back(factor, square)
        return cls(square, diagonal, np.nan if failed else 2.0 * float(np.log(np.diag(square)).sum()))

    def solve(self, right: Array) -> tuple[Array, Array]:
        """``L^-1 right`` and ``H^-1 right``, with ``H = L L'``, not numbers where H has no factor: before `invert`.

        Raises
        ------
        RuntimeError
            After `invert`, when the factor is gone.
        """
        from scipy.linalg.lapack import dtrtrs

        if self.inverted:
            raise RuntimeError("The factor has given way to the inverse; solve before inverting.")
        nothing = np.full_like(right, np.nan)
        if np.isnan(self.log_determinant):
            return nothing, nothing
        half, failed = dtrtrs(self.square.T, right, lower=1)
        whole, failed_again = dtrtrs(self.square.T, half, lower=1, trans=1)
        return (nothing, nothing) if failed or failed_again else (half, whole)

    def invert(self) -> Array:
        """Overwrite the factor by H^-1, unless that was done: the square, with H^-1 on the diagonal and above it.

        Where H has no factor these are not numbers.
        """
        from scipy.linalg.lapack import dpotri

        if not self.inverted:
            failed = np.isnan(self.log_determinant)
            if not failed:
                inverse, failed = dpotri(self.square.T, lower=1, overwrite_c=1)
                _write_back(inverse, self.square)
            if failed:
                for i, row in enumerate(self.square):
                    row[i:] = np.nan
            self.inverted = True
        return self.square

    def inverse_times(self, matrix: Array) -> Array:
        """``H^-1 matrix``, (R, r)."""
        from scipy.linalg.blas import dsymm

        product: Array = dsymm(1.0, self.invert().T, np.asfortranarray(matrix), lower=1)
        return product

    def k_times(self, matrix: Array) -> Array:
        """``K matrix``, (R, r)."""
        from scipy.linalg.blas import dsymm

        product: Array = dsymm(1.0, self.square.T, np.asfortranarray(matrix), lower=0)
        product += (self.diagonal - np.diag(self.square))[:, None] * matrix
        return product

    def inverse_rows(self, block: slice) -> Array:
        """(stop - start, R) whole rows of H^-1."""
        square, rows = self.invert(), np.empty((block.stop - block.start, len(self.square)))
        rows[:, : block.start] = square[: block.start, block].T
        rows[:, block.start :] = square[block, block.start :]
        own = rows[:, block]
        own[...] = np.triu(own) + np.triu(own, 1).T
        return rows

    def k_rows(self, block: slice) -> Array:
        """(stop - start, R) whole rows of K."""
        rows = np.empty((block.stop - block.start, len(self.square)))
        rows[:, : block.stop] = self.square[block, : block.stop]
        rows[:, block.stop :] = self.square[block.stop :, block].T
        own = rows[:, block]
        below = np.tril(own, -1)
        own[...] = below + below.T + np.diag(self.diagonal[block])
        return rows

    def times_inverse(self, rows: Array, block: slice) -> float:
        """``sum rows * H^-1`` over a symmetric matrix's block of rows, up to its end, and what mirrors it."""
        square = self.invert()
        own, inverse = rows[:, block], np.triu(square[block, block])
        twice = np.einsum("ij,ji->", rows[:, : block.start], square[: block.start, block])
        within = np.einsum("ij,ji->", own, inverse)
        return float(2.0 * (twice + within) - np.diag(own) @ np.diag(inverse))

    def own_inverse(self, part: Remaining) -> Numbers:
        """(q, q, J) blocks of H^-1 of a factor's units."""
        square = self.invert()
        return self._own(square, part, np.diag(square), upper=True)

    def own_k(self, part: Remaining) -> Numbers:
        """(q, q, J) blocks of K of a factor's units."""
        return self._own(self.square, part, self.diagonal, upper=False)

    @staticmethod
    def _own(square: Array, part: Remaining, diagonal: Array, *, upper: bool) -> Numbers:
        blocks = np.empty((part.size, part.size, part.units))
        first = np.arange(part.place.start, part.place.stop, part.size)
        for i in range(part.size):
            blocks[i, i] = diagonal[first + i]
            for k in range(i):
                place = (first + k, first + i) if upper else (first + i, first + k)
                blocks[i, k] = blocks[k, i] = square[place]
        return blocks


def _write_back(result: Array, square: Array) -> None:
    """See to it that LAPACK's result stands in the square that it was to overwrite, in LAPACK's order."""
    if not np.shares_memory(result, square):
        square.T[...] = result
