"""Pieces of the crossed engine: sparse rows recombined unit by unit, and blocks of dense matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.stacked import Array

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Remaining:
    """One of the factors that are left to the dense step: q effects in each of J units, at `place` among all R."""

    size: int
    units: int
    place: slice


def own_blocks(matrix: Matrix, part: Remaining) -> Array:
    """The (q, q) blocks of each unit of one factor on the diagonal of an (R, R) matrix: (q, q, J)."""
    block = matrix[part.place, part.place].reshape(part.size, part.units, part.size, part.units)
    blocks: Array = np.einsum("iuku->iku", block)
    return blocks


def recombine(stack: Array, matrices: Sequence[Any]) -> list[Any]:
    """``sum_a diag(stack[i, a]) matrices[a]`` for each i: sparse rows, recombined unit by unit."""
    from scipy.sparse import dia_array

    units = stack.shape[2]
    found = []
    for row in stack:
        scaled = [
            dia_array((weights[None, :], [0]), shape=(units, units)) @ m
            for weights, m in zip(row, matrices, strict=True)
        ]
        total = scaled[0]
        for other in scaled[1:]:
            total = total + other
        found.append(total.tocsr())
    return found


def repeated(small: Matrix, units: int) -> Array:
    """The same (q, s) matrix for every unit."""
    return np.repeat(small[:, :, None], units, axis=2)


def identities(q: int, units: int) -> Array:
    """The identity for every unit, (q, q, J)."""
    return repeated(np.eye(q), units)


def squared(blocks: Array) -> Matrix:
    """``sum_j T0 x T0`` as `adjoint.expected_information` orders it: (q, q, J) -> (q * q, q * q)."""
    q = len(blocks)
    flat = blocks.reshape(q * q, -1)
    products = (flat @ flat.T).reshape(q, q, q, q)
    squared: Matrix = products.transpose(0, 3, 1, 2).reshape(q * q, q * q)
    return squared


def summed_by_unit(stack: Array, codes: NDArray[np.int64], units: int) -> Array:
    """Sum the cells of each unit: (s, t, cells) -> (s, t, units)."""
    flat = stack.reshape(-1, stack.shape[2])
    return np.stack([np.bincount(codes, row, units) for row in flat]).reshape(*stack.shape[:2], units)
