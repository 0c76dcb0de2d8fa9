"""Second derivatives of a model with crossed random effects: one matrix product in place of many evaluations.

The traces ``tr T0 E T0 F`` need the products of all elements of T0 (see `crossed_derivatives`), summed by factors. With
``S = Lambda_R' Q'E Q Lambda_R`` and ``Y = S H^-1`` for each direction E of the eliminated factor's T, those of
``R - Q P Q'`` are ``sum tr R E R F - tr P Q'(E R F + F R E) Q + tr Y_E Y_F``, and those of ``Q (I - P K) =
Q Lambda_R H^-1 Lambda_R^-1`` the blocks on the diagonal of ``H^-1 Y``, scaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlm_ops.estimation.crossed_derivatives import CrossTrace, invertible
from mlm_ops.estimation.crossed_remaining import Remaining
from mlm_ops.estimation.second_order import SecondOrder
from mlm_ops.moments.arrays import Array

#: Bytes of all Y at once where the eliminated factor has several effects.
_ROOM = 1_000_000_000


def has_curvature(trace: CrossTrace) -> bool:
    """Whether the second derivatives are known here: no Lambda of the rest is singular, and there is room for a Y each.

    A Y belongs to each direction of the eliminated factor's T: one alone takes the place of the next theta's square.
    """
    q, effects = len(trace.first.lam), trace.rest.effects
    room = q == 1 or q * (q + 1) // 2 * 8 * effects**2 <= _ROOM
    return room and all(invertible(lam) for lam in trace.lam_rest)


def second_order(
    trace: CrossTrace, directions: Sequence[Array], w_bar: Array, *, determinant: bool = True
) -> SecondOrder:
    """What the second derivatives along k directions are made of.

    Parameters
    ----------
    directions
        (k, q, q) symmetric directions of each factor's ``T / sigma2``.
    w_bar
        (r, r) weights of W, not negative along any direction.
    determinant
        Whether to compute the traces of log |V| too: about as much work as two evaluations.
    """
    root = _root(w_bar)
    moves = [np.einsum("kab,brj->karj", e, u) for e, u in zip(directions, trace.u, strict=True)]
    dw = sum(-np.einsum("arj,kasj->krs", u, move) for u, move in zip(trace.u, moves, strict=True))
    weighted = [np.einsum("karj,rs->kasj", move, root) for move in moves]
    images = _times_t0(trace, weighted)
    schur = sum(np.einsum("kasj,lasj->kl", w, image) for w, image in zip(weighted, images, strict=True))
    traces = _determinant(trace, directions) if determinant else None
    return SecondOrder(np.asarray(dw), np.asarray(schur), traces)


def _root(w_bar: Array) -> Array:
    """(r, s) root of a matrix of rank s: what is multiplied by the large matrices has one column for each."""
    values, vectors = np.linalg.eigh(w_bar)
    some = values > 1e-14 * values[-1]
    root: Array = vectors[:, some] * np.sqrt(values[some])
    return root


def _times_t0(trace: CrossTrace, moves: Sequence[Array]) -> list[Array]:
    """``T0 a`` for vectors a of all random effects, (k, q, s, J) of each factor."""
    first, rest = trace.first, trace.rest
    k, q, s, units = moves[0].shape
    columns = moves[0].transpose(1, 0, 2, 3).reshape(q, k * s, units)
    others = np.empty((rest.effects, k * s))
    for part, move in zip(rest.parts, moves[1:], strict=True):
        others[part.place] = move.transpose(3, 1, 0, 2).reshape(part.size * part.units, k * s)
    shrunk = np.einsum("baj,brj->arj", first.shrink, columns)
    along = first.b.transposed_times(shrunk) + trace.triangles.k_times(others)
    lams = trace.lam_rest
    correction = rest.from_left(lams, trace.triangles.inverse_times(rest.from_left([lam.T for lam in lams], along)))
    images = np.einsum("abj,brj->arj", first.reduced, columns)
    images += np.einsum("abj,brj->arj", first.shrink, first.b.times(others - correction))
    below = along - trace.triangles.k_times(correction)
    below_by_unit = [part.by_unit(below).reshape(part.units, part.size, k, s) for part in rest.parts]
    return [
        images.reshape(q, k, s, units).transpose(1, 0, 2, 3),
        *(image.transpose(2, 1, 3, 0) for image in below_by_unit),
    ]


def _determinant(trace: CrossTrace, directions: Sequence[Array]) -> Array:
    """(k, k) ``tr T0 E T0 F``."""
    first, rest = trace.first, trace.rest
    e, k = directions[0], len(directions[0])
    moving = [i for i in range(k) if e[i].any()]
    images = [_image(trace, e[i]) for i in moving]
    backs: list[Array] = [np.linalg.inv(lam).astype(np.float64) for lam in trace.lam_rest]
    own, sides, squares = _sums(trace, images, backs)
    traces = np.zeros((k, k))
    for i, one in enumerate(moving):
        for j, two in enumerate(moving[: i + 1]):
            inner = np.einsum("ab,bcj,cd->adj", e[one], first.reduced, e[two])
            value = own[i, j] + np.einsum("adj,daj->", inner, first.reduced)
            value -= trace.against_inverse(first.weights(inner + inner.transpose(1, 0, 2)), rest.blocks)
            traces[one, two] = traces[two, one] = value
        for number, other in enumerate(directions[1:]):
            along = np.einsum("ab,lab->l", sides[i][number], other)
            traces[one] += along
            traces[:, one] += along
    for (number, second), square in squares.items():
        both = np.einsum("kab,bcad,lcd->kl", directions[number + 1], square, directions[second + 1], optimize=True)
        traces += both if number == second else both + both.T
    return traces


def _image(trace: CrossTrace, direction: Array) -> Array:
    """(R, R) ``Y = S H^-1`` with ``S = Lambda_R' Q'E Q Lambda_R``."""
    rest = trace.rest
    y = np.empty((rest.effects, rest.effects))
    products = trace.first.b.lower_rows(trace.first.weights(direction[:, :, None]), [block for _, block in rest.blocks])
    for (number, block), rows in zip(rest.blocks, products, strict=True):
        scaled = rest.on_both_sides(rows, number, trace.lam_rest)
        y[block, : block.stop] = scaled
        y[: block.start, block] = scaled[:, : block.start].T
    for _, block in rest.blocks:  # S is whole, and Y takes its place
        y[block] = trace.triangles.inverse_times(y[block].T).T
    return y


def _sums(
    trace: CrossTrace, images: Sequence[Array], backs: Sequence[Array]
) -> tuple[Array, list[list[Array]], dict[tuple[int, int], Array]]:
    """What the determinant's traces are made of, in one pass over the rows of H^-1.

    Returns
    -------
    own, sides, squares
        (k, k) ``tr Y_i Y_j`` of pairs of images; of each image the sums over each other factor's units of ``T0' E T0``,
        (q, q); and for pairs of other factors those of ``T0 x T0``, (q, q', q, q').
    """
    rest, n = trace.rest, len(images)
    own = np.zeros((n, n))
    sides = [[np.zeros((part.size, part.size)) for part in rest.parts] for _ in images]
    squares: dict[tuple[int, int], Array] = {}
    for number, block in rest.blocks:
        part, back = rest.parts[number], backs[number]
        rows = trace.triangles.inverse_rows(block)
        by_unit = rows.reshape(-1, part.size, rest.effects)
        for i, y in enumerate(images):
            columns = y[:, block]
            for j, other_y in enumerate(images):
                own[i, j] += np.einsum("ij,ji->", other_y[block], columns)
            side = np.einsum("uxd,duy->xy", by_unit, columns.reshape(rest.effects, -1, part.size))
            sides[i][number] += back.T @ side @ back
        rows *= -1.0
        rows[np.arange(len(rows)), np.arange(block.start, block.stop)] += 1.0
        for other in range(number, len(rest.parts)):
            square = _outer(rows, part, rest.parts[other], back, backs[other])
            squares[number, other] = squares.get((number, other), np.zeros_like(square)) + square
    return own, sides, squares


def _outer(rows: Array, part: Remaining, other: Remaining, back: Array, other_back: Array) -> Array:
    """``sum T x T`` of the blocks ``T = back' rows other_back`` of two factors' units, (q, q', q, q')."""
    stack = rows[:, other.place].reshape(-1, part.size, other.units, other.size)
    flat = stack.transpose(1, 3, 0, 2).reshape(part.size * other.size, -1)
    whole = np.kron(back.T, other_back.T)
    square = whole @ (flat @ flat.T) @ whole.T
    return np.asarray(square).reshape(part.size, other.size, part.size, other.size)
