"""The sums of `information` where every stratum has a residual variance of its own, for nested grouping factors.

Relative to sigma2, ``V = Z T Z' + sum_s v_s E_s`` with E_s picking the rows of a stratum: linear in the v_s too, so
that second derivatives of V are zero and nothing of Kenward's and Roger's formula is left out. With D the conditional
covariance of all random effects of a cell, and F these effects predicted from each column of X in the outcome's place,

    X' V^-1 E_s V^-1 X = v_s^-2 sum C' G_s C,   C = [-F; I],
    tr V^-1 E_s = v_s^-1 n_s - v_s^-2 sum tr D Z' E_s Z,

where G_s are the stratum's cross-products of ``[Z X]`` in a cell. The second derivatives are imaginary parts of these,
as in `information_nested`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.nested import Array, Nest, build_nest
from mlm_ops.inference.information import Direction, Sums
from mlm_ops.inference.information_nested import STEP, Step, climb, conditional_effects, contract, descend
from mlm_ops.moments.products import CrossProducts


def stratified_levels(
    products: NDArray[np.float64],
    variances: NDArray[np.float64],
    rows: NDArray[np.float64],
    codes: Sequence[NDArray[np.int64]],
    lams: Sequence[Array],
    directions: Sequence[Direction],
) -> Sums:
    """Sums for the directions of T, then for each stratum's variance.

    Parameters
    ----------
    products
        (S, m, m, J) cross-products of ``[Z_1 | Z_2 | … | X]`` of each stratum in the units of the lowest level.
    variances, rows
        (S,) v_s and n_s.
    codes
        (J,) the unit of each level that each lowest unit lies in, for each level.
    lams
        (q, q) Lambda of each level, lowest first.
    """
    sizes = [len(lam) for lam in lams]
    n_fixed = products.shape[1] - sum(sizes)

    def nest_of(v: Array) -> tuple[Nest, NDArray[np.int64]]:
        nest, orders = build_nest(CrossProducts.of(np.tensordot(1.0 / v, products, axes=1)), sizes, codes)
        return nest, orders[0] if orders else np.arange(products.shape[3])

    def derivatives(steps: list[Step], v: Array) -> tuple[Array, Array]:
        traces, first = contract(descend(steps, n_fixed), directions)
        own_traces, own_first = _of_strata(steps, ordered, v, rows, n_fixed)
        return np.concatenate((traces, own_traces)), np.concatenate((first.reshape(-1, n_fixed, n_fixed), own_first))

    nest, order = nest_of(variances)
    ordered = products[..., order]
    steps, precision = climb(nest.rungs, lams, (nest.a, nest.b, nest.c), None)
    traces, first = derivatives(steps, variances)
    n = len(traces)
    pairs, second = np.empty((n, n)), np.empty((n, n, n_fixed, n_fixed))
    for j in range(n):
        if j < len(directions):
            level, here = directions[j].level, steps[directions[j].level]
            above, _ = climb(nest.rungs[level:], lams[level:], (here.a, here.b, here.c), directions[j])
            by_trace, by_first = derivatives([*steps[:level], *above], variances)
        else:
            moved = variances + 1j * STEP * (np.arange(len(variances)) == j - len(directions))
            there, _ = nest_of(moved)
            by_trace, by_first = derivatives(climb(there.rungs, lams, (there.a, there.b, there.c), None)[0], moved)
        pairs[:, j] = -by_trace.imag / STEP
        second[:, j] = -by_first.imag / (2 * STEP)
    return Sums(traces.real, (pairs + pairs.T) / 2, precision.real, first.real, second)


def _of_strata(
    steps: Sequence[Step], products: NDArray[np.float64], v: Array, rows: NDArray[np.float64], n_fixed: int
) -> tuple[Array, Array]:
    """``tr V^-1 E_s``, (S,), and ``X' V^-1 E_s V^-1 X``, (S, p, p)."""
    effects, covariance = conditional_effects(steps, n_fixed)
    cells, q = products.shape[3], len(effects)
    identity = np.broadcast_to(np.eye(n_fixed)[:, :, None], (n_fixed, n_fixed, cells))
    c = np.concatenate((np.broadcast_to(-effects, (q, n_fixed, cells)), identity))
    covariance = np.broadcast_to(covariance, (q, q, cells))
    traces = rows / v - np.einsum("abj,sbaj->s", covariance, products[:, :q, :q]) / v**2
    first = np.array([np.einsum("apj,abj,brj->pr", c, own, c, optimize=True) for own in products])
    return traces, first / v[:, None, None] ** 2
