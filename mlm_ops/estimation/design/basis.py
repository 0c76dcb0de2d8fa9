"""Make the engine's columns, centered and scaled, with the span of the user's, and the matrices that transform back.

Cross-products of columns at 1e6 have lost their digits before any algorithm sees them, so the user's columns are never
multiplied. Each is written as a known combination (a column of G) of *elements*: products of centered variables, whose
sizes are those of their spreads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.observations import Observations
from mlm_ops.estimation.design.polynomial import ONE, Evaluator, Polynomial, product
from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Poly, Variable
from mlm_ops.moments.arrays import Array, Codes

_CONSTANT = 0


@dataclass(frozen=True)
class Change:
    """A change of basis of some columns.

    Attributes
    ----------
    combination
        (elements, columns): engine's columns = elements @ combination.
    transform
        (columns, columns): user's coefficients = transform @ engine's.
    """

    combination: Array
    transform: Array


class Basis:
    """Elements of all the columns of one model.

    Parameters
    ----------
    evaluator
        Evaluates variables on the moments.
    columns
        Every design column of the model, the outcome's included.
    """

    def __init__(self, evaluator: Evaluator, columns: Sequence[DesignColumn]) -> None:
        self.evaluator = evaluator
        self._index: dict[tuple[str, ...], int] = {(): _CONSTANT}
        self.elements: list[Polynomial] = [ONE]
        self._expanded = {column: self._expand(column) for column in columns}

    def matrix(self, columns: Sequence[DesignColumn], present: NDArray[np.bool_] | None = None) -> Array:
        """G, (elements, columns): user's columns = elements @ G, elements that are nowhere `present` left out."""
        g = np.zeros((len(self.elements), len(columns)))
        for i, column in enumerate(columns):
            for element, multiplier in self._expanded[column].items():
                g[element, i] = multiplier if present is None or present[element] else 0.0
        return g

    def owners(self, element: int) -> str:
        """Names of the columns that have an element."""
        return ", ".join(column.name for column, multipliers in self._expanded.items() if element in multipliers)

    def _expand(self, column: DesignColumn) -> dict[int, float]:
        """Multiply out ``prod (constant_f + spread_f)`` over the column's variables f."""
        parts = [self.evaluator.part(factor) for v in column.variables for factor in _factors(v)]
        multipliers: dict[int, float] = {}
        for size in range(len(parts) + 1):
            for subset in combinations(range(len(parts)), size):
                multiplier = float(np.prod([p.constant for i, p in enumerate(parts) if i not in subset]))
                if multiplier != 0.0:
                    key = tuple(sorted(parts[i].key for i in subset))
                    element = self._index.setdefault(key, len(self.elements))
                    if element == len(self.elements):
                        polynomial = ONE
                        for i in subset:
                            polynomial = product(polynomial, parts[i].polynomial)
                        self.elements.append(polynomial)
                    multipliers[element] = multipliers.get(element, 0.0) + multiplier
        return multipliers


def _factors(variable: Variable) -> tuple[Variable, ...]:
    """A raw power is a product like any other, multiplied out only here, where its constants are known."""
    if isinstance(variable, Poly) and variable.raw:
        return (variable.of,) * (variable.power or variable.degree)
    return (variable,)


def element_products(basis: Basis, observations: Observations, codes: Codes, size: int) -> CrossProducts:
    """Cross-products of the elements over the observations of each unit; every element is a column.

    Parameters
    ----------
    observations
        What the observations are.
    codes
        (units,) the unit that each of the observations' units lies in, 0 to size - 1.
    """
    evaluator, elements = basis.evaluator, basis.elements
    means = [observations.means(evaluator, evaluator.mean(polynomial)) for polynomial in elements]
    as_they_are = size == len(codes) and bool((codes == np.arange(size)).all())

    def by_cell(values: Array) -> Array:
        return values if as_they_are else np.bincount(codes, values, size).astype(np.float64)

    pairs = [(i, j) for i in range(len(elements)) for j in range(i + 1)]
    inside = [evaluator.scatter(elements[i], elements[j]) for i, j in pairs]
    sizes = by_cell(observations.products(evaluator, inside[0], means[0], means[0]))
    if not sizes.all():  # the constant is no element, as of deviations from group means
        products = [
            observations.products(evaluator, own, means[i], means[j]) for own, (i, j) in zip(inside, pairs, strict=True)
        ]
        return CrossProducts(
            tuple(by_cell(own) for own in products), np.arange(len(pairs)), np.eye(len(elements)), size
        )
    n = observations.sizes(evaluator)
    rows = np.array([by_cell(n * mean) for mean in means]) / np.sqrt(sizes)
    around: list[Array] = []
    places = np.full(len(pairs), -1)
    if not as_they_are:
        means = [mean - (row / np.sqrt(sizes))[codes] for mean, row in zip(means, rows, strict=True)]
    for place, (own, (i, j)) in enumerate(zip(inside, pairs, strict=True)):
        scatter = observations.scatter(own)
        if not as_they_are:
            scatter = by_cell(scatter + n * means[i] * means[j])
        if isinstance(scatter, np.ndarray) and scatter.any():
            places[place] = len(around)
            around.append(scatter)
    return CrossProducts(tuple(around), places, np.eye(len(elements)), size, rows)


def change_of_basis(g: Array, totals: Array, n_obs: int, freedom: str = "rotate") -> Change:
    """Engine's columns for the user's columns `g`, each with mean square one.

    Parameters
    ----------
    freedom
        Changes that leave the model the same: "rotate" (any combination: the fixed part and unstructured random
        blocks), "scale" (each column by itself: independent effects), or "common" (all by one factor: structures that
        compare effects).
    """
    if g.shape[1] == 0:
        return Change(g, np.zeros((0, 0)))
    if freedom != "rotate":
        scale = np.sqrt(np.einsum("ai,ab,bi->i", g, totals, g) / n_obs)
        if freedom == "common":
            scale = np.full(len(scale), np.sqrt((scale**2).mean()))
        scale[scale == 0] = 1.0
        return Change(g / scale, np.diag(1 / scale))
    scale = np.sqrt(np.diag(totals) / n_obs)
    scale[scale == 0] = 1.0
    scaled_g = scale[:, None] * g
    rows = np.flatnonzero(g.any(axis=1))
    if len(rows) == g.shape[1]:
        # the user's columns span their elements: take these themselves
        combination = np.zeros_like(g)
        combination[rows, np.arange(len(rows))] = 1 / scale[rows]
        return Change(combination, _inverse(scaled_g[rows]))
    orthonormal, triangular = np.linalg.qr(scaled_g)
    return Change(np.asarray(orthonormal / scale[:, None], dtype=np.float64), _inverse(triangular))


def center_outcome(g: Array, fixed: Change, totals: Array, n_obs: int) -> tuple[Array, Array, float]:
    """Center and scale the outcome; center it only where the fixed part can take up the shift.

    Parameters
    ----------
    g
        (elements,) the outcome in elements.
    fixed
        The fixed part's change of basis, p columns.

    Returns
    -------
    combination, offset, scale
        (elements,) the engine's outcome in elements; (p,) engine's coefficients of what was subtracted, on the
        outcome's scale; the outcome's scale.
    """
    offset = np.zeros(fixed.combination.shape[1])
    combination = g.copy()
    if len(offset):
        cross = fixed.combination.T @ totals
        of_one = np.linalg.solve(cross @ fixed.combination, cross[:, _CONSTANT])
        unexplained = 1.0 - of_one @ cross[:, _CONSTANT] / n_obs
        if abs(unexplained) < 1e-12:
            offset = combination[_CONSTANT] * of_one
            combination[_CONSTANT] = 0.0
    scale = float(np.sqrt(combination @ totals @ combination / n_obs)) or 1.0
    return combination / scale, offset, scale


def _inverse(matrix: NDArray[np.floating[Any]]) -> Array:
    return np.linalg.inv(matrix).astype(np.float64)
