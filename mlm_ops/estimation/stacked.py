"""Algebra of many small matrices at once: (q, r, J) arrays, units last, each operation one pass over the units.

Batched `numpy.linalg` calls on many tiny matrices spend their time between the matrices; laid out like this an element
of all of them is one vector. All functions take floats or complex numbers and never conjugate, so that derivatives can
be taken along the imaginary axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlm_ops.moments.arrays import Numbers


def premultiply(small: Numbers, stack: Numbers) -> Numbers:
    """``small @ stack`` over the first axis: (s, q), (q, r, J) -> (s, r, J), one matrix product without copies."""
    return (small @ stack.reshape(len(stack), -1)).reshape(len(small), *stack.shape[1:])


def cholesky(matrix: Numbers) -> list[list[Numbers]]:
    """Lower Cholesky factor of (q, q, J) matrices, as rows of (J,) elements."""
    chol: list[list[Numbers]] = []
    for i in range(len(matrix)):
        row: list[Numbers] = []
        for j in range(i + 1):
            value = matrix[i, j].copy()
            for k in range(j):
                value -= row[k] * (chol[j][k] if j < i else row[k])
            row.append(np.sqrt(value) if i == j else value / chol[j][j])
        chol.append(row)
    return chol


def solve_lower(chol: list[list[Numbers]], right: Numbers) -> Numbers:
    """``L^-1 right`` for right (q, r, J)."""
    result = np.empty(right.shape, dtype=np.result_type(right, *(row[-1] for row in chol)))
    for i, row in enumerate(chol):
        own, left = result[i], right[i]
        for k in range(i):
            if k == 0:
                np.multiply(row[0], result[0], out=own)
                np.subtract(left, own, out=own)
            else:
                own -= row[k] * result[k]
            left = own
        np.divide(left, row[i], out=own)
    return result


def solve_upper(chol: list[list[Numbers]], right: Numbers) -> Numbers:
    """``L^-T right`` for right (q, r, J)."""
    result = right.copy()
    for i in reversed(range(len(chol))):
        for k in range(i + 1, len(chol)):
            result[i] -= chol[k][i] * result[k]
        result[i] /= chol[i][i]
    return result


def inverse(chol: list[list[Numbers]]) -> Numbers:
    """``(L L')^-1``, (q, q, J)."""
    q, units = len(chol), len(chol[0][0])
    identity = np.zeros((q, q, units), dtype=chol[0][0].dtype)
    for i in range(q):
        identity[i, i] = 1.0
    return solve_upper(chol, solve_lower(chol, identity))


def unit_cholesky(matrix: Sequence[Sequence[Numbers]]) -> tuple[list[list[Numbers]], list[Numbers]]:
    """L and D of ``L D L'``, L with ones on its diagonal: no roots, so that a matrix need not be positive definite.

    Parameters
    ----------
    matrix
        The lower triangle, as rows of (J,) elements.

    Returns
    -------
    lower, pivots
        L's rows up to the diagonal, which they leave out, and D's elements.
    """
    lower: list[list[Numbers]] = []
    pivots: list[Numbers] = []
    for i, elements in enumerate(matrix):
        scaled: list[Numbers] = []
        for j in range(i):
            value = elements[j].copy()
            for k in range(j):
                value -= scaled[k] * lower[j][k]
            scaled.append(value)
        row = [value / pivot for value, pivot in zip(scaled, pivots, strict=True)]
        pivot = elements[i].copy()
        for value, own in zip(scaled, row, strict=True):
            pivot -= value * own
        lower.append(row)
        pivots.append(pivot)
    return lower, pivots


def unit_inverse(lower: Sequence[Sequence[Numbers]], pivots: Sequence[Numbers]) -> Numbers:
    """The lower triangle of ``(L D L')^-1``, row by row: (q (q + 1) / 2, J)."""
    # L^-1, row by row, again without its diagonal
    rows: list[list[Numbers]] = []
    for i, own in enumerate(lower):
        row = []
        for j in range(i):
            value = -own[j]
            for k in range(j + 1, i):
                value -= own[k] * rows[k][j]
            row.append(value)
        rows.append(row)
    elements: list[Numbers] = []
    for i in range(len(rows)):
        weighted = [1.0 / pivots[i], *(rows[k][i] / pivots[k] for k in range(i + 1, len(rows)))]
        for j in range(i + 1):
            value = weighted[0] * (1.0 if i == j else rows[i][j])
            for k in range(i + 1, len(rows)):
                value += weighted[k - i] * rows[k][j]
            elements.append(value)
    return np.array(elements)
