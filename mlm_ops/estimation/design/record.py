"""The design of a model: cross-products of its columns per unit, as the engine takes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlm_ops.estimation.design.groups import Clusters
from mlm_ops.estimation.design.observations import Split
from mlm_ops.estimation.design.products import CrossProducts
from mlm_ops.estimation.design.residual import ResidualDesign
from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import GroupingFactor, Matrix, Variable
from mlm_ops.moments.arrays import Array, Codes
from mlm_ops.moments.rank import ColumnSpan


@dataclass(frozen=True)
class Design:
    """Cross-products of one model's columns, per cell, in the engine's basis.

    A cell is a combination of units of all the model's grouping factors; where these are nested, a unit of the lowest.

    Attributes
    ----------
    levels
        Grouping factors, the one with most units first; none for single-level regression.
    cross
        Cross-products of the m columns ``[Z_1 | Z_2 | … | X y]`` in each cell.
    n_obs
        Independent observations: rows N; N - J for an outcome within J groups, J for one between them.
    split
        The part of the outcome that is modelled; None for the whole.
    outcome_scale
        The engine's outcome is (y - shift) / outcome_scale.
    variable_levels
        The textbook's level of every variable: 1 if it varies within the lowest units, 2 if it varies between them but
        within the next, ….
    clusters
        For robust errors, where they were asked for; every cell lies in one.
    """

    fixed: FixedDesign
    levels: tuple[LevelDesign, ...]
    cross: CrossProducts
    n_obs: int
    outcome_scale: float
    variable_levels: dict[Variable, int]
    residual: ResidualDesign | None = None
    clusters: Clusters | None = None
    split: Split | None = None

    @property
    def n_random(self) -> int:
        """How many of the columns are of random effects: the first ones."""
        return sum(level.size for level in self.levels)

    @property
    def sigma2_scale(self) -> float:
        """The user's residual variance per unit of the engine's, whose rows have a typical precision of one."""
        return self.outcome_scale**2 * (1.0 if self.residual is None else self.residual.typical_precision)

    @property
    def n_rows(self) -> int:
        """Rows, or group means, that the observations are made of: N where n_obs is N - J."""
        return self.n_obs + (self.split.size if self.split is not None and self.split.part == "within" else 0)

    @property
    def products(self) -> Array:
        """(m, m, cells): `cross` written out."""
        return self.cross.full

    @cached_property
    def nested(self) -> bool:
        """Whether every unit of each grouping factor lies in one unit of the next."""
        return all(_lies_in(lower, upper) for lower, upper in pairwise(self.levels))

    @property
    def long_rows(self) -> int:
        """The length of the rows of long thin products; zero for crossed factors, whose matrices are large squares."""
        return self.cross.cells if self.nested else 0


@dataclass(frozen=True)
class LevelDesign:
    """The random part of one grouping factor.

    Attributes
    ----------
    labels
        (J,) names of its units.
    codes
        (cells,) the unit that each cell lies in.
    """

    group: GroupingFactor
    labels: NDArray[Any]
    codes: Codes
    blocks: tuple[BlockDesign, ...]

    @property
    def size(self) -> int:
        """Random effects q of a unit."""
        return sum(len(block.columns) for block in self.blocks)


@dataclass(frozen=True)
class BlockDesign:
    """One random block of q columns: user's random effects = transform @ engine's, transform (q, q)."""

    columns: tuple[DesignColumn, ...]
    covariance: str | Matrix
    transform: Array


@dataclass(frozen=True)
class FixedDesign:
    """The fixed part.

    Attributes
    ----------
    columns
        The p estimated columns.
    aliased
        Names of columns that were dropped because they lie in the span of those before them.
    absorbed
        Those of them that are zero in every row: an interaction's empty cell, or what does not vary within the groups
        of a within() outcome.
    asked, span
        All columns of the formula, and which of them are combinations of others.
    centered
        Whether columns count as deviations from the group means of a within() outcome.
    transform
        (p, p): user's coefficients = transform @ engine's + offset.
    offset
        (p,): what the outcome's shift adds.
    log_determinant
        log |det| of the change of basis, which the REML criterion needs.
    """

    columns: tuple[DesignColumn, ...]
    aliased: tuple[str, ...]
    absorbed: tuple[str, ...]
    asked: tuple[DesignColumn, ...]
    span: ColumnSpan
    centered: bool
    transform: Array
    offset: Array
    log_determinant: float

    @property
    def zero(self) -> tuple[str, ...]:
        """Names of columns that were dropped because they are zero in every row, as those of an empty cell are."""
        return () if self.centered else tuple(self.asked[i].name for i in self.span.zero)

    @property
    def near(self) -> tuple[str, ...]:
        """Names of columns so near to a combination of those before them that their estimates have lost digits."""
        return tuple(self.asked[i].name for i in self.span.near)

    def estimable(self, rows: Array) -> NDArray[np.bool_]:
        """(k,) whether the data determine each combination, (k, asked), of the coefficients of all columns.

        For a within() outcome all count as determined: its columns are deviations, not the rows' own values.
        """
        return np.ones(len(rows), dtype=np.bool_) if self.centered else self.span.estimable(rows)

    def widened(self, rows: Array) -> Array:
        """Combinations (k, p) of the estimated coefficients as those of all columns: (k, asked)."""
        wide = np.zeros((len(rows), len(self.asked)))
        wide[:, self.span.independent] = rows
        return wide


def _lies_in(lower: LevelDesign, upper: LevelDesign) -> bool:
    return len(np.unique(lower.codes * len(upper.labels) + upper.codes)) == len(lower.labels)
