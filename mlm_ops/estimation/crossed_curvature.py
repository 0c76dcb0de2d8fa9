"""Second derivatives of a model with crossed random effects: one matrix product in place of many evaluations.

The traces ``tr T0 E T0 F`` need the squares of all elements of T0 (see `crossed_derivatives`), summed by factors. With
``S = Lambda_R' Q'Q Lambda_R`` and ``Y = S H^-1`` those of ``R - Q P Q'`` are ``sum R^2 - 2 tr(P Q'R Q) + tr Y Y``, and
those of ``Q (I - P K) = Q Lambda_R H^-1 Lambda_R^-1`` the diagonal of ``H^-1 Y``, scaled.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mlm_ops.estimation.crossed_derivatives import CrossTrace, invertible
from mlm_ops.estimation.crossed_rest import Remaining
from mlm_ops.estimation.second_order import SecondOrder
from mlm_ops.moments.arrays import Array


def has_curvature(lams: Sequence[Array]) -> bool:
    """Whether the second derivatives are known here: one effect in the eliminated factor, no other Lambda singular."""
    return len(lams[0]) == 1 and all(invertible(lam) for lam in lams[1:])


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
    traces = None
    if determinant:
        squares = _squares(trace)
        k = len(directions[0])
        traces = np.zeros((k, k))
        for level, e in enumerate(directions):
            for other, f in enumerate(directions):
                if level <= other:
                    value = np.einsum("kab,bcad,lcd->kl", e, squares[level, other], f, optimize=True)
                    traces += value if level == other else value + value.T
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
    taken = rest.from_left(lams, trace.triangles.inverse_times(rest.from_left([lam.T for lam in lams], along)))
    images = np.einsum("abj,brj->arj", first.reduced, columns)
    images += np.einsum("abj,brj->arj", first.shrink, first.b.times(others - taken))
    below = along - trace.triangles.k_times(taken)
    below_by_unit = [part.by_unit(below).reshape(part.units, part.size, k, s) for part in rest.parts]
    return [
        images.reshape(q, k, s, units).transpose(1, 0, 2, 3),
        *(image.transpose(2, 1, 3, 0) for image in below_by_unit),
    ]


def _squares(trace: CrossTrace) -> dict[tuple[int, int], Array]:
    """Sums over pairs of units of ``T0 x T0``, (q, q', q, q'), by pairs of factors."""
    first, rest, triangles = trace.first, trace.rest, trace.triangles
    blocks, weights, reduced = rest.blocks, first.pair_weights(0, 0), first.reduced[0, 0]
    inverses: list[Array] = [np.linalg.inv(lam).astype(np.float64) for lam in trace.lam_rest]
    y = np.empty((rest.effects, rest.effects))
    products = first.b.lower_rows(weights, [block for _, block in blocks])
    for (number, block), rows in zip(blocks, products, strict=True):
        scaled = rest.on_both_sides(rows, number, trace.lam_rest)
        y[block, : block.stop] = scaled
        y[: block.start, block] = scaled[:, : block.start].T
    for _, block in blocks:  # S is whole, and Y takes its place
        y[block] = triangles.inverse_times(y[block].T).T
    own = (reduced**2).sum() - 2.0 * trace.against_inverse(weights * reduced, blocks)
    squares: dict[tuple[int, int], Array] = {}
    sides = [np.zeros((part.size, part.size)) for part in rest.parts]
    for number, block in blocks:
        part = rest.parts[number]
        columns = y[:, block]
        own += np.einsum("ij,ji->", y[block], columns)
        rows = triangles.inverse_rows(block)
        sides[number] += np.einsum(
            "uxd,duy->xy", rows.reshape(-1, part.size, rest.effects), columns.reshape(rest.effects, -1, part.size)
        )
        rows *= -1.0
        rows[np.arange(len(rows)), np.arange(block.start, block.stop)] += 1.0
        for other in range(number, len(rest.parts)):
            square = _outer(rows, part, rest.parts[other], inverses[number], inverses[other])
            key = (number + 1, other + 1)
            squares[key] = squares[key] + square if key in squares else square
    squares[0, 0] = np.full((1, 1, 1, 1), own)
    for number, (side, back) in enumerate(zip(sides, inverses, strict=True), start=1):
        squares[0, number] = (back.T @ side @ back)[None, :, None, :]
    return squares


def _outer(rows: Array, part: Remaining, other: Remaining, back: Array, other_back: Array) -> Array:
    """``sum T x T`` of the blocks ``T = back' rows other_back`` of two factors' units, (q, q', q, q')."""
    stack = rows[:, other.place].reshape(-1, part.size, other.units, other.size)
    flat = stack.transpose(1, 3, 0, 2).reshape(part.size * other.size, -1)
    whole = np.kron(back.T, other_back.T)
    square = whole @ (flat @ flat.T) @ whole.T
    return np.asarray(square).reshape(part.size, other.size, part.size, other.size)
