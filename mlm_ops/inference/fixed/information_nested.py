"""The sums of `information` for nested grouping factors of any depth, linear in the number of units.

``X' V^-1 X`` and ``log |V|`` are functions of the T's of all levels, V being linear in these. Their first derivatives
come out of one sweep up and one down the nest; the second, which are the sums over pairs of units that lie in the same
upper unit, are the imaginary parts of the first at ``T + i h E_j``: exact to rounding (Squire and Trapp 1998, SIAM
Review 40, 110-112).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.nested import Nest, Rung, build_nest
from mlm_ops.inference.fixed.information import Direction, Sums, conditional
from mlm_ops.moments.arrays import Numbers

STEP = 1e-20


@dataclass(frozen=True)
class LevelStep:
    """One level on the way up.

    Attributes
    ----------
    a, b
        (q, q, J), (q, r, J): the level's random columns with themselves and with ``[Z above | X]``, those of the levels
        below eliminated.
    c
        (r, r, J_parent).
    m
        (q, q, J) ``(A + T^-1)^-1``.
    """

    rung: Rung
    a: Numbers
    b: Numbers
    c: Numbers
    m: Numbers


def nested_sums(nest: Nest, lams: Sequence[Numbers], directions: Sequence[Direction]) -> Sums:
    """Sums for nested grouping factors.

    Parameters
    ----------
    nest
        Cross-products, the outcome's last.
    lams
        (q, q) Lambda of each level, lowest first.
    """
    b, c = nest.b[:, :-1], nest.c[:-1, :-1]
    steps, precision = climb(nest.rungs, lams, (nest.a, b, c), None)
    n_fixed = len(precision)
    traces, first = contract(descend(steps, n_fixed), directions)
    n = len(directions)
    pairs, second = np.empty((n, n)), np.empty((n, n, n_fixed, n_fixed))
    for j, direction in enumerate(directions):
        step = steps[direction.level]
        changed_steps, _ = climb(
            nest.rungs[direction.level :], lams[direction.level :], (step.a, step.b, step.c), direction
        )
        by_trace, by_first = contract(descend([*steps[: direction.level], *changed_steps], n_fixed), directions)
        pairs[:, j] = -by_trace.imag / STEP
        second[:, j] = -by_first.imag / (2 * STEP)
    return Sums(traces.real, (pairs + pairs.T) / 2, precision.real, first.real, second)


def climb(
    rungs: Sequence[Rung], lams: Sequence[Numbers], start: tuple[Numbers, Numbers, Numbers], change: Direction | None
) -> tuple[list[LevelStep], Numbers]:
    """Eliminate level by level, T of the first one changed by ``i h E``; the steps, and ``X' V^-1 X``."""
    a, b, c = start
    steps: list[LevelStep] = []
    schur = c
    for height, (rung, lam) in enumerate(zip(rungs, lams, strict=True)):
        m = _conditional(a, lam, change.matrix if change is not None and height == 0 else None)
        steps.append(LevelStep(rung, a, b, c, m))
        schur = c - _by_parent(b, np.einsum("acj,crj->arj", m, b), rung.starts)
        if height + 1 == len(rungs):
            break
        q, upper = rungs[height + 1].size, rungs[height + 1]
        a, b, c = schur[:q, :q], schur[:q, q:], np.add.reduceat(schur[q:, q:], upper.starts, axis=2)
    return steps, schur[:, :, 0]


def descend(steps: Sequence[LevelStep], n_fixed: int) -> list[tuple[Numbers, Numbers]]:
    """Sums of each level over units: of ``Z' V^-1 Z``, (q, q), and of products of ``Z' V^-1 X``, (q, p, q, p).

    With the effects of the units above regressed on X, ``E``, and their conditional covariance ``D``, a unit has
    ``Z' V^-1 X = C_X - C_up E`` and ``Z' V^-1 Z = A - A M A - C_up D C_up'``, where ``C = B - A M B``.
    """
    effects, covariance = np.zeros((0, n_fixed, 1)), np.zeros((0, 0, 1))
    sums = []
    for step in reversed(steps):
        parents, above = step.rung.parents, len(effects)
        effects, covariance = effects[:, :, parents], covariance[:, :, parents]
        mb = np.einsum("acj,crj->arj", step.m, step.b)
        c = step.b - np.einsum("acj,crj->arj", step.a, mb)
        u = c[:, above:] - np.einsum("auj,upj->apj", c[:, :above], effects)
        flat = u.reshape(len(u) * n_fixed, u.shape[2])
        spread = np.einsum("auj,uvj->avj", c[:, :above], covariance)
        t0 = np.einsum("abj->ab", step.a) - np.einsum("acj,cdj,dbj->ab", step.a, step.m, step.a, optimize=True)
        t0 = t0 - np.einsum("avj,bvj->ab", spread, c[:, :above])
        sums.append((t0, (flat @ flat.T).reshape(*u.shape[:2], *u.shape[:2])))
        if step is steps[0]:
            break
        effects, covariance = _with_own_effects(step, mb, effects, covariance)
    return sums[::-1]


def conditional_effects(steps: Sequence[LevelStep], n_fixed: int) -> tuple[Numbers, Numbers]:
    """Each lowest unit's effects of all levels regressed on X, (q, p, J), and their covariance, (q, q, J)."""
    effects, covariance = np.zeros((0, n_fixed, 1)), np.zeros((0, 0, 1))
    for step in reversed(steps):
        effects, covariance = effects[:, :, step.rung.parents], covariance[:, :, step.rung.parents]
        mb = np.einsum("acj,crj->arj", step.m, step.b)
        effects, covariance = _with_own_effects(step, mb, effects, covariance)
    return effects, covariance


def _with_own_effects(step: LevelStep, mb: Numbers, effects: Numbers, covariance: Numbers) -> tuple[Numbers, Numbers]:
    """The effects of the units above, laid out by unit, and their covariance: with the unit's own put before them."""
    above = len(effects)
    f = mb[:, :above]
    fd = np.einsum("auj,uvj->avj", f, covariance)
    own = step.m + np.einsum("avj,bvj->abj", fd, f)
    effects = np.concatenate((mb[:, above:] - np.einsum("auj,upj->apj", f, effects), effects))
    lower = np.concatenate((-fd.transpose(1, 0, 2), covariance), axis=1)
    return effects, np.concatenate((np.concatenate((own, -fd), axis=1), lower))


def contract(by_level: Sequence[tuple[Numbers, Numbers]], directions: Sequence[Direction]) -> tuple[Numbers, Numbers]:
    """``tr V^-1 V_i``, (n,), and ``X' V^-1 V_i V^-1 X``, (n, p, p)."""
    traces = np.array([(d.matrix * by_level[d.level][0]).sum() for d in directions])
    first = np.array([np.einsum("ab,apbr->pr", d.matrix, by_level[d.level][1]) for d in directions])
    return traces, first


def _conditional(a: Numbers, lam: Numbers, change: NDArray[np.float64] | None) -> Numbers:
    """``M = (A + T^-1)^-1`` and, as imaginary part, its derivative ``K E K' - M dA M`` with ``K = I - M A``."""
    real = np.ascontiguousarray(a.real)
    m = conditional(real, lam)
    if change is None and not np.iscomplexobj(a):
        return m
    derivative = np.zeros_like(m)
    if np.iscomplexobj(a):
        derivative -= np.einsum("acj,cdj,dbj->abj", m, a.imag, m, optimize=True)
    if change is not None:
        k = np.eye(len(lam))[:, :, None] - np.einsum("acj,cbj->abj", m, real)
        derivative += STEP * np.einsum("acj,cd,bdj->abj", k, change, k, optimize=True)
    return np.asarray(m + 1j * derivative)


def _by_parent(b: Numbers, mb: Numbers, starts: NDArray[np.int64]) -> Numbers:
    """``B' M B`` summed by parent: (q, r, J), (q, r, J) -> (r, r, J_parent)."""
    size = b.shape[1]
    result = np.empty((size, size, len(starts)), dtype=np.result_type(b, mb))
    for i in range(size):
        for j in range(i + 1):
            result[i, j] = result[j, i] = np.add.reduceat((b[:, i] * mb[:, j]).sum(axis=0), starts)
    return result


def stratified_sums(
    products: NDArray[np.float64],
    variances: NDArray[np.float64],
    rows: NDArray[np.float64],
    codes: Sequence[NDArray[np.int64]],
    lams: Sequence[Numbers],
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

    def nest_of(v: Numbers) -> tuple[Nest, NDArray[np.int64]]:
        nest, orders = build_nest(CrossProducts.of(np.tensordot(1.0 / v, products, axes=1)), sizes, codes)
        return nest, orders[0] if orders else np.arange(products.shape[3])

    def derivatives(steps: list[LevelStep], v: Numbers) -> tuple[Numbers, Numbers]:
        traces, first = contract(descend(steps, n_fixed), directions)
        own_traces, own_first = _stratum_sums(steps, ordered, v, rows, n_fixed)
        return np.concatenate((traces, own_traces)), np.concatenate((first.reshape(-1, n_fixed, n_fixed), own_first))

    nest, order = nest_of(variances)
    ordered = products[..., order]
    steps, precision = climb(nest.rungs, lams, (nest.a, nest.b, nest.c), None)
    traces, first = derivatives(steps, variances)
    n = len(traces)
    pairs, second = np.empty((n, n)), np.empty((n, n, n_fixed, n_fixed))
    for j in range(n):
        if j < len(directions):
            level, step = directions[j].level, steps[directions[j].level]
            changed_steps, _ = climb(nest.rungs[level:], lams[level:], (step.a, step.b, step.c), directions[j])
            by_trace, by_first = derivatives([*steps[:level], *changed_steps], variances)
        else:
            shifted_variances = variances + 1j * STEP * (np.arange(len(variances)) == j - len(directions))
            shifted_nest, _ = nest_of(shifted_variances)
            by_trace, by_first = derivatives(
                climb(shifted_nest.rungs, lams, (shifted_nest.a, shifted_nest.b, shifted_nest.c), None)[0],
                shifted_variances,
            )
        pairs[:, j] = -by_trace.imag / STEP
        second[:, j] = -by_first.imag / (2 * STEP)
    return Sums(traces.real, (pairs + pairs.T) / 2, precision.real, first.real, second)


def _stratum_sums(
    steps: Sequence[LevelStep], products: NDArray[np.float64], v: Numbers, rows: NDArray[np.float64], n_fixed: int
) -> tuple[Numbers, Numbers]:
    """``tr V^-1 E_s``, (S,), and ``X' V^-1 E_s V^-1 X``, (S, p, p)."""
    effects, covariance = conditional_effects(steps, n_fixed)
    cells, q = products.shape[3], len(effects)
    identity = np.broadcast_to(np.eye(n_fixed)[:, :, None], (n_fixed, n_fixed, cells))
    c = np.concatenate((np.broadcast_to(-effects, (q, n_fixed, cells)), identity))
    covariance = np.broadcast_to(covariance, (q, q, cells))
    traces = rows / v - np.einsum("abj,sbaj->s", covariance, products[:, :q, :q]) / v**2
    first = np.array([np.einsum("apj,abj,brj->pr", c, own, c, optimize=True) for own in products])
    return traces, first / v[:, None, None] ** 2
