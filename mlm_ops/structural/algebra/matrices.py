"""Compute the moments that a model's parameters imply at each level, and their derivatives.

One notation for all models (McArdle and McDonald 1984): over all variables of a level, observed and latent, A holds the
arrows (loadings and regressions), S the variances and covariances, m the intercepts, and with E = (I - A)^-1 and F
the rows of the observed variables

    Sigma = F E S E' F',    mu = F E m.

Lisrel's matrices are its blocks: Lambda and B are those of A, Theta and Psi those of S.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlm_ops.moments.arrays import Array, Numbers
from mlm_ops.structural.language.model import BETWEEN, WITHIN
from mlm_ops.structural.language.parameters import ParameterTable


@dataclass(frozen=True)
class Cells:
    """Places of the table's rows in one matrix.

    Attributes
    ----------
    row, col
        (c,) places; of a symmetric matrix one of the two.
    index
        (c,) free parameter, -1 for a fixed cell.
    value
        (c,) value of the fixed cells.
    """

    row: NDArray[np.int64]
    col: NDArray[np.int64]
    index: NDArray[np.int64]
    value: Array

    def values(self, theta: Numbers) -> Numbers:
        """(c,) at these parameters."""
        return np.where(self.index >= 0, theta[self.index] if len(theta) else 0.0, self.value)


@dataclass(frozen=True)
class LevelStructure:
    """One level: its variables, the cells of A, S and m, and where its observed variables stand among all columns.

    Random slopes are observed here, as the likelihood has their moments: they stand behind the columns.
    """

    names: tuple[str, ...]
    n_observed: int
    arrows: Cells
    symmetric: Cells
    intercepts: Cells
    position: NDArray[np.int64]


@dataclass(frozen=True)
class LevelMoments:
    """The moments that a level's parameters imply.

    Attributes
    ----------
    effects
        (v, v) E = (I - A)^-1, total effects.
    arrows, spread, intercepts
        A and S, (v, v), and m, (v,).
    covariance
        (v, v) E S E' of all variables, latent ones too.
    mean
        (v,) E m.
    """

    effects: Numbers
    arrows: Numbers
    spread: Numbers
    intercepts: Numbers
    covariance: Numbers
    mean: Numbers


@dataclass(frozen=True)
class Implied:
    """Sigma_W (p, p), Sigma_B (t, t) and mu (t,) over the p row-level columns, then the between-only ones."""

    within: Numbers
    between: Numbers
    mean: Numbers


@dataclass(frozen=True)
class SemStructure:
    """Both levels of a model; t columns, the first p of level 1, random slopes behind them included.

    `slopes` has the place of each random slope's outcome among the variables of level 1, and of its predictor among the
    columns; `latent_slopes` are those of a predictor's part within clusters.
    """

    levels: tuple[LevelStructure, LevelStructure]
    n_row_level: int
    n_columns: int
    n_free: int
    slopes: tuple[tuple[int, int], ...] = ()
    latent_slopes: tuple[int, ...] = ()

    @property
    def parts(self) -> tuple[tuple[SemStructure, NDArray[np.int64]], ...]:
        """Itself as the one group of rows, and the places of its parameters."""
        return ((self, np.arange(self.n_free)),)

    def moments(self, theta: Numbers) -> tuple[LevelMoments, LevelMoments]:
        """The moments of each level."""
        return _level_moments(self.levels[0], theta), _level_moments(self.levels[1], theta)

    def implied(self, theta: Numbers) -> Implied:
        """The columns' moments, which the likelihood compares with the data's."""
        p, t = self.n_row_level, self.n_columns
        within, between = self.moments(theta)
        mean, sigma_b = np.zeros(t, dtype=theta.dtype), np.zeros((t, t), dtype=theta.dtype)
        place = self.levels[1].position
        q = len(place)
        mean[:p] = within.mean[:p]
        mean[place] = mean[place] + between.mean[:q]
        sigma_b[np.ix_(place, place)] = between.covariance[:q, :q]
        return Implied(within.covariance[:p, :p], sigma_b, mean)

    def jacobian(self, theta: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Derivatives of Sigma_W (k, p, p), Sigma_B (k, t, t) and mu (k, t) by the k parameters."""
        p, t, k = self.n_row_level, self.n_columns, self.n_free
        by_level = [
            _level_jacobian(structure, moments, k)
            for structure, moments in zip(self.levels, self.moments(theta), strict=True)
        ]
        place = self.levels[1].position
        mean = np.zeros((k, t), dtype=theta.dtype)
        mean[:, :p] = by_level[0][1]
        mean[:, place] = mean[:, place] + by_level[1][1]
        sigma_b = np.zeros((k, t, t), dtype=theta.dtype)
        sigma_b[np.ix_(np.arange(k), place, place)] = by_level[1][0]
        return by_level[0][0], sigma_b, mean

    def directions(self, theta: Numbers) -> tuple[Numbers, Numbers]:
        """What a random slope's outcome adds to the p columns of level 1, all arrows followed.

        Returns
        -------
        directions, jacobian
            (p, K), and (k, p, K): their derivatives, of ``F E e`` by ``dE = E dA E``.
        """
        level, at = self.levels[0], self.moments(theta)[0]
        outcomes, cells = np.array([y for y, _ in self.slopes], dtype=np.int64), level.arrows
        jacobian = np.zeros((self.n_free, self.n_row_level, len(outcomes)), dtype=theta.dtype)
        is_free = cells.index >= 0
        left = at.effects[: self.n_row_level, cells.row[is_free]]
        right = at.effects[np.ix_(cells.col[is_free], outcomes)]
        np.add.at(jacobian, cells.index[is_free], np.einsum("ic,cs->cis", left, right))
        return at.effects[: self.n_row_level, outcomes], jacobian

    def curvature(self, theta: Array, by_within: Array, by_between: Array, by_mean: Array) -> Array:
        """(k, k) second derivatives of ``tr(G_W Sigma_W) + tr(G_B Sigma_B) + g' mu``, the weights G and g held."""
        place, p = self.levels[1].position, self.n_row_level
        within, between = self.moments(theta)
        return _level_curvature(self.levels[0], within, self.n_free, by_within, by_mean[:p]) + _level_curvature(
            self.levels[1], between, self.n_free, by_between[np.ix_(place, place)], by_mean[place]
        )


@dataclass(frozen=True)
class GroupedStructure:
    """The matrices of several groups of rows: `parts` are each group's, with its parameters' places among all."""

    parts: tuple[tuple[SemStructure, NDArray[np.int64]], ...]
    n_free: int

    @cached_property
    def levels(self) -> tuple[LevelStructure, ...]:
        """Both levels of each group in turn, over the parameters of all groups."""
        return tuple(
            replace(
                level,
                arrows=_moved(level.arrows, places),
                symmetric=_moved(level.symmetric, places),
                intercepts=_moved(level.intercepts, places),
            )
            for structure, places in self.parts
            for level in structure.levels
        )

    @property
    def slopes(self) -> tuple[tuple[int, int], ...]:
        """As each group has them."""
        return self.parts[0][0].slopes

    @property
    def latent_slopes(self) -> tuple[int, ...]:
        """As each group has them."""
        return self.parts[0][0].latent_slopes

    def moments(self, theta: Numbers) -> tuple[LevelMoments, ...]:
        """The moments of both levels of each group in turn."""
        return tuple(moments for structure, places in self.parts for moments in structure.moments(theta[places]))

    def implied(self, theta: Numbers) -> Implied:
        """The columns' moments of each group in turn, block by block."""
        parts = [structure.implied(theta[places]) for structure, places in self.parts]
        return Implied(
            _blocks([part.within for part in parts]),
            _blocks([part.between for part in parts]),
            np.concatenate([part.mean for part in parts]),
        )


Structure = SemStructure | GroupedStructure
"""Of one group of rows, or of several."""


def _moved(cells: Cells, places: NDArray[np.int64]) -> Cells:
    """The cells with the places of their parameters among all groups' parameters."""
    is_free = cells.index >= 0
    index = cells.index.copy()
    index[is_free] = places[index[is_free]]
    return replace(cells, index=index)


def _blocks(matrices: list[Numbers]) -> Numbers:
    size = sum(len(matrix) for matrix in matrices)
    whole, start = np.zeros((size, size), dtype=matrices[0].dtype), 0
    for matrix in matrices:
        end = start + len(matrix)
        whole[start:end, start:end] = matrix
        start = end
    return whole


def structure_of(table: ParameterTable) -> Structure:
    """The matrices of a table, of one group of rows or of several."""
    if not table.groups:
        return build_structure(table)
    return GroupedStructure(tuple((build_structure(own), places) for own, places in table.by_group), table.n_free)


def build_structure(table: ParameterTable) -> SemStructure:
    """Place the rows of a table of one group in the matrices."""
    columns = {name: i for i, name in enumerate((*table.columns, *table.between.slopes))}
    levels = []
    for level in (WITHIN, BETWEEN):
        variables = table.variables(level)
        shown = (*variables.observed, *variables.slopes)
        at = {name: i for i, name in enumerate(variables.all)}
        cells: dict[str, list[tuple[int, int, int, float]]] = {"arrows": [], "symmetric": [], "intercepts": []}
        for row in table.at(level):
            index = -1 if row.index is None else row.index
            kind = {"=~": "arrows", "~": "arrows", "~~": "symmetric", "~1": "intercepts"}[row.op]
            first, second = (row.rhs, row.lhs) if row.op == "=~" else (row.lhs, row.rhs or row.lhs)
            cells[kind].append((at[first], at[second], index, row.value))
        levels.append(
            LevelStructure(
                variables.all,
                len(shown),
                _cells(cells["arrows"]),
                _cells(cells["symmetric"]),
                _cells(cells["intercepts"]),
                np.array([columns[name] for name in shown], dtype=np.int64),
            )
        )
    slopes = tuple((levels[0].names.index(s.outcome), columns[s.predictor]) for s in table.slopes)
    latent = tuple(k for k, slope in enumerate(table.slopes) if slope.latent)
    return SemStructure((levels[0], levels[1]), len(table.within.observed), len(columns), table.n_free, slopes, latent)


def _cells(entries: list[tuple[int, int, int, float]]) -> Cells:
    row, col, index, value = zip(*entries, strict=True) if entries else ((), (), (), ())
    places = [np.array(part, dtype=np.int64) for part in (row, col, index)]
    return Cells(places[0], places[1], places[2], np.array(value, dtype=float))


def _level_moments(structure: LevelStructure, theta: Numbers) -> LevelMoments:
    v = len(structure.names)
    arrows, spread = np.zeros((v, v), dtype=theta.dtype), np.zeros((v, v), dtype=theta.dtype)
    intercepts = np.zeros(v, dtype=theta.dtype)
    arrows[structure.arrows.row, structure.arrows.col] = structure.arrows.values(theta)
    values = structure.symmetric.values(theta)
    spread[structure.symmetric.row, structure.symmetric.col] = values
    spread[structure.symmetric.col, structure.symmetric.row] = values
    intercepts[structure.intercepts.row] = structure.intercepts.values(theta)
    effects = np.linalg.inv(np.eye(v) - arrows)
    return LevelMoments(effects, arrows, spread, intercepts, effects @ spread @ effects.T, effects @ intercepts)


def _level_jacobian(structure: LevelStructure, at: LevelMoments, k: int) -> tuple[Numbers, Numbers]:
    """Derivatives of the observed variables' covariances (k, o, o) and means (k, o).

    By an arrow: dE = E dA E, so dSigma = F E dA E S E' F' + its transpose; all are outer products of columns.
    """
    o = structure.n_observed
    effects = at.effects[:o]
    arrows, symmetric, intercepts = structure.arrows, structure.symmetric, structure.intercepts
    left = np.concatenate([effects[:, arrows.row], effects[:, symmetric.row]], axis=1)
    right = np.concatenate([at.covariance[:o, arrows.col], effects[:, symmetric.col]], axis=1)
    index = np.concatenate([arrows.index, symmetric.index])
    half = np.concatenate([np.ones(len(arrows.row)), np.where(symmetric.row == symmetric.col, 0.5, 1.0)])
    sigma = np.zeros((k, o, o), dtype=left.dtype)
    is_free = index >= 0
    outer = np.einsum("ic,jc->cij", left[:, is_free] * half[is_free], right[:, is_free])
    np.add.at(sigma, index[is_free], outer + outer.transpose(0, 2, 1))
    mean = np.zeros((k, o), dtype=left.dtype)
    is_free_cell = arrows.index >= 0
    np.add.at(
        mean, arrows.index[is_free_cell], (effects[:, arrows.row[is_free_cell]] * at.mean[arrows.col[is_free_cell]]).T
    )
    is_free_cell = intercepts.index >= 0
    np.add.at(mean, intercepts.index[is_free_cell], effects[:, intercepts.row[is_free_cell]].T)
    return sigma, mean


def _level_curvature(structure: LevelStructure, at: LevelMoments, k: int, weight: Array, by_mean: Array) -> Array:
    """Second derivatives of ``tr(G Sigma) + g' mu`` of one level, from d E = E dA E applied twice."""
    o = structure.n_observed
    effects, covariance = at.effects, at.covariance
    pulled = effects[:o].T @ weight @ effects[:o]
    through = covariance[:, :o] @ weight @ effects[:o]
    toward = effects[:o].T @ by_mean
    (i, j, first), (r, c, second), (m, _, third) = (
        (cells.row[cells.index >= 0], cells.col[cells.index >= 0], cells.index[cells.index >= 0])
        for cells in (structure.arrows, structure.symmetric, structure.intercepts)
    )
    between_arrows = effects[np.ix_(j, i)]
    twice = 2 * covariance[np.ix_(j, j)] * pulled[np.ix_(i, i)]
    once = between_arrows.T * (2 * through[np.ix_(j, i)] + np.outer(at.mean[j], toward[i]))
    by_arrows = twice + once + once.T
    half = np.where(r == c, 1.0, 2.0)
    with_spread = half * (effects[np.ix_(j, r)] * pulled[np.ix_(i, c)] + effects[np.ix_(j, c)] * pulled[np.ix_(i, r)])
    with_mean = effects[np.ix_(j, m)] * toward[i][:, None]
    hessian = np.zeros((k, k))
    np.add.at(hessian, np.ix_(first, first), by_arrows)
    for others, block in ((second, with_spread), (third, with_mean)):
        np.add.at(hessian, np.ix_(first, others), block)
        np.add.at(hessian, np.ix_(others, first), block.T)
    return hessian
