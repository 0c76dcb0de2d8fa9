"""Eliminate random effects behind one interface, for nested and for crossed grouping factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.nested import CHUNK, Nest, build_nest, eliminate
from mlm_ops.estimation.nested_derivatives import (
    AnyElimination,
    expected_information,
    pull_back,
    pull_back_to_covariance,
    pull_back_to_products,
    second_order,
)
from mlm_ops.estimation.nested_in_chunks import eliminate_in_chunks
from mlm_ops.estimation.second_order import SecondOrder
from mlm_ops.moments.arrays import Numbers


class Engine(Protocol):
    """Random effects of several grouping factors, eliminated; factors in the design's order.

    ``lams`` are (q, q) Lambdas, ``w_bar`` is the (r, r) derivative of some f by W, ``trace`` what `eliminate` gave.
    """

    @property
    def sizes(self) -> tuple[int, ...]:
        """Random effects a unit of each factor."""

    @property
    def complex_step(self) -> bool:
        """Whether derivatives can be taken along the imaginary axis."""

    def eliminate(self, lams: Sequence[Numbers]) -> tuple[Numbers, Any, Any]:
        """``W = [X y]' V^-1 [X y]``, (r, r), ``log |V|`` and the trace; V relative to sigma2."""

    def pull_back(self, trace: Any, w_bar: Numbers, weight: float = 1.0) -> list[Numbers]:
        """Derivatives of ``f(W) + weight log |V|`` by each Lambda, all its elements taken as free."""

    def pull_back_to_covariance(self, trace: Any, w_bar: Numbers) -> list[Numbers]:
        """Derivatives of ``f(W) + log |V|`` by each ``T / sigma2``."""

    def pull_back_to_products(self, trace: Any, w_bar: Numbers, weight: float = 1.0) -> Numbers:
        """Derivatives of ``f(W) + weight log |V|`` by the cells' cross-products, (m, m, cells)."""

    def expected_information(self, trace: Any) -> list[Numbers]:
        """A metric for each ``vec(T / sigma2)``, (q * q, q * q): the leading term of the expected information."""

    def has_curvature(self, trace: Any) -> bool:
        """Whether the determinant's part of `second_order` is known here."""

    def second_order(
        self, trace: Any, directions: Sequence[Numbers], w_bar: Numbers, *, determinant: bool = True
    ) -> SecondOrder:
        """What second derivatives along k directions (k, q, q) of every ``T / sigma2`` are made of, weights of W."""

    def modes(self, trace: Any, beta: Numbers) -> list[tuple[Numbers, Numbers]]:
        """Conditional modes (q, J) and relative covariance matrices (q, q, J) of each factor's random effects."""


@dataclass(frozen=True)
class NestedEngine:
    """Nested factors, eliminated level by level; `orders` sort each level's units by parent."""

    nest: Nest
    orders: tuple[NDArray[Any], ...]
    complex_step: bool = True

    @property
    def sizes(self) -> tuple[int, ...]:
        """Random effects a unit of each level."""
        return tuple(rung.size for rung in self.nest.rungs)

    def eliminate(self, lams: Sequence[Numbers]) -> tuple[Numbers, Any, Sequence[AnyElimination]]:
        """See `Engine`."""
        if len(lams) == 1 and self.nest.roots.shape[2] > CHUNK:
            return eliminate_in_chunks(self.nest, lams[0])
        return eliminate(self.nest, lams)

    def pull_back(self, trace: Sequence[AnyElimination], w_bar: Numbers, weight: float = 1.0) -> list[Numbers]:
        """See `Engine`."""
        return pull_back(trace, w_bar, weight)

    def pull_back_to_covariance(self, trace: Sequence[AnyElimination], w_bar: Numbers) -> list[Numbers]:
        """See `Engine`."""
        return pull_back_to_covariance(trace, w_bar)

    def pull_back_to_products(self, trace: Sequence[AnyElimination], w_bar: Numbers, weight: float = 1.0) -> Numbers:
        """See `Engine`."""
        adjoint = pull_back_to_products(trace, w_bar, weight)
        return adjoint[:, :, np.argsort(self.orders[0])] if self.orders else adjoint

    def expected_information(self, trace: Sequence[AnyElimination]) -> list[Numbers]:
        """See `Engine`."""
        return expected_information(trace)

    def has_curvature(self, trace: Sequence[AnyElimination]) -> bool:
        """See `Engine`: for one factor."""
        return len(trace) == 1

    def second_order(
        self,
        trace: Sequence[AnyElimination],
        directions: Sequence[Numbers],
        w_bar: Numbers,
        *,
        determinant: bool = True,
    ) -> SecondOrder:
        """See `Engine`."""
        (step,), (own,) = trace, directions
        return second_order(step, own, w_bar)

    def modes(self, trace: Sequence[AnyElimination], beta: Numbers) -> list[tuple[Numbers, Numbers]]:
        """See `Engine`; computed from the top level down.

        With the upper levels' effects b_u known to have relative covariance V, a lower unit has
        ``b = M (B_y - B_x beta - B_u b_u)`` and relative covariance ``M + F V F'``, ``F = M B_u``.
        """
        by_level: list[tuple[Numbers, Numbers]] = []
        effects, covariance = np.zeros((0, 1)), np.zeros((0, 0, 1))
        for step, order in zip(reversed(trace), reversed(self.orders), strict=True):
            above, above_covariance = effects[:, step.rung.parents], covariance[:, :, step.rung.parents]
            mb = step.mb
            f, of_x = mb[:, : len(above)], mb[:, len(above) : -1]
            mean = mb[:, -1] - np.einsum("apj,p->aj", of_x, beta) - np.einsum("auj,uj->aj", f, above)
            fv = np.einsum("auj,uvj->avj", f, above_covariance)
            own = step.m + np.einsum("avj,bvj->abj", fv, f)
            as_in_the_design = np.argsort(order)
            by_level.append((mean[:, as_in_the_design], own[:, :, as_in_the_design]))
            effects = np.concatenate((mean, above))
            upper = np.concatenate((own, -fv), axis=1)
            lower = np.concatenate((-fv.transpose(1, 0, 2), above_covariance), axis=1)
            covariance = np.concatenate((upper, lower))
        return by_level[::-1]


def build_engine(
    cross: CrossProducts, sizes: Sequence[int], codes: Sequence[NDArray[np.int64]], *, nested: bool
) -> Engine:
    """The engine for a design.

    Parameters
    ----------
    cross
        Cross-products of the m columns ``[Z_1 | Z_2 | … | X y]`` in each cell.
    sizes
        Random effects a unit of each factor, the factor with most units first.
    codes
        (cells,) unit of each factor.
    nested
        Whether each factor's units lie in those of the next.
    """
    if nested:
        nest, orders = build_nest(cross, sizes, codes)
        return NestedEngine(nest, tuple(orders))
    from mlm_ops.estimation.crossed import build_cross  # six files that a fit of nested factors does not need

    return build_cross(cross, sizes, codes)


def left_by_effects(engine: Engine, lam: float) -> Numbers:
    """``[X y]' V^-1 [X y]``, (r, r), with every Lambda `lam` times the identity, a number so large that it is free."""
    if isinstance(engine, NestedEngine) and len(engine.sizes) == 1:
        # what the units' columns leave of the others is known, and is the limit
        return engine.nest.rest[:, :, 0]
    w, _, _ = engine.eliminate([lam * np.eye(size) for size in engine.sizes])
    return w
