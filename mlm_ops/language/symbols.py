"""Give a model's parameters the textbook's symbols, and find the level and index of each.

Coefficients are beta at level 1 and gamma at the top of a two-level model (Raudenbush and Bryk 2002); three levels are
pi, beta, gamma. ``gamma_kl`` is the l-th coefficient in the equation of ``beta_k``; the 0 is each equation's intercept.
Crossed factors have effects b, c, … with variances tau_b, tau_c, … (chapter 12). `results.equations` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import PLAIN, GroupingFactor, Residual, Variable

#: Letters of the coefficients, the highest level last; a model takes as many from the end as it has levels.
_COEFFICIENTS = ("zeta", "eta", "theta", "kappa", "lambda", "nu", "xi", "omega", "psi", "pi", "beta", "gamma")
#: Letters of the random effects of crossed factors.
_CROSSED_EFFECTS = "bcdfghkmnopqrstvw"
UNITS = "ijklmnopqrst"
LevelPart = tuple[Variable, ...]
Index = tuple[int, ...]


@dataclass(frozen=True)
class EquationStructure:
    """The parts of a model's equations, with the level, index and subscripts of each.

    Attributes
    ----------
    outcome
        The outcome.
    fixed
        Fixed columns.
    random
        For each grouping factor, lowest first, the columns of each of its blocks.
    variable_levels
        The textbook's level of every variable.
    crossed
        Whether the grouping factors cross: then all of them make up level 2, and a coefficient varies over the units j
        of the first, k of the second and so on (Raudenbush and Bryk 2002, chapter 12).
    covariances
        For each grouping factor, the covariance structure of each of its blocks.
    groups
        Names of the grouping factors.
    residual, strata
        The residual's structure, and the values of its strata.
    factors
        Columns of the grouping factors.
    default_group, meaning
        The grouping factor in which variables are centered that name none, and those that stand for others.
    split, split_group
        ``within`` or ``between`` where that part of the outcome in some groups is modelled, and these groups.
    """

    outcome: Variable
    fixed: tuple[DesignColumn, ...]
    random: tuple[tuple[tuple[DesignColumn, ...], ...], ...]
    variable_levels: Mapping[Variable, int] = field(hash=False)
    crossed: bool = False
    covariances: tuple[tuple[str, ...], ...] = ()
    groups: tuple[str, ...] = ()
    residual: Residual = PLAIN
    strata: tuple[str, ...] = ()
    factors: tuple[GroupingFactor, ...] = ()
    default_group: GroupingFactor | None = None
    meaning: Mapping[GroupingFactor, GroupingFactor] = field(default_factory=dict, hash=False)
    split: str = ""
    split_group: GroupingFactor = ()

    @property
    def n_levels(self) -> int:
        """Levels of the model: 1 for single-level regression."""
        return 2 if self.crossed else len(self.random) + 1

    def level_of_factor(self, height: int) -> int:
        """Return the level whose equations have a grouping factor's effects; height 0 is the lowest factor."""
        return 2 if self.crossed else height + 2

    def parts(self, column: DesignColumn) -> tuple[LevelPart, ...]:
        """Return a column's variables by level, lowest first."""
        top = self.n_levels
        return tuple(
            tuple(v for v in column.variables if min(self.variable_levels[v], top) == level)
            for level in range(1, top + 1)
        )

    def level(self, column: DesignColumn) -> int:
        """Return the highest level of a column's variables; 1 for the intercept."""
        return max((min(self.variable_levels[v], max(self.n_levels, 2)) for v in column.variables), default=1)

    @property
    def _first(self) -> int:
        """The place of an observation's own index: that of rows, or of the groups whose means are the outcome."""
        return int(self.split == "between")

    @property
    def _second(self) -> int:
        """The place of the lowest grouping factor's index; before it may be the groups whose means are taken out."""
        return self._first + 1 + int(self.split == "within" and self.split_group not in self.factors)

    @property
    def n_indices(self) -> int:
        """Indices of a row; where group means are the outcome these and that of the rows in them."""
        return self._second + len(self.random)

    def units(self, level: int) -> str:
        """Return the subscripts of a level: ``ij`` at level 1 of two, ``j`` at level 2."""
        if level > self.n_levels:
            return ""
        return UNITS[self._first if level == 1 else self._second + level - 2 : self.n_indices]

    def mean_units(self, group: GroupingFactor | None) -> str:
        """Return the subscripts of group means, ``.j``, or of the grand mean, ``..``; empty where the group has none.

        Dots stand for what the mean is taken over; with crossed factors ``.j.`` is a mean of the first.
        """
        if group is None:
            return "." * self.n_indices
        if group in self.factors:
            units = self.units_of_factor(self.factors.index(group))
        elif self.split and group == self.split_group:
            units = UNITS[1 : self.n_indices]
        else:
            return ""
        return "".join(unit if unit in units else "." for unit in UNITS[: self.n_indices])

    def units_of_variable(self, variable: Variable) -> str:
        """Return the subscripts of a variable; with crossed factors, that of the factor whose units it describes."""
        level = self.variable_levels[variable]
        if level > self.n_levels and self.split == "within":
            return UNITS[self._first + 1 : self.n_indices]
        return UNITS[self._second + level - 2] if self.crossed and level > 1 else self.units(min(level, self.n_levels))

    def units_of_factor(self, height: int) -> str:
        """Return the subscripts of a grouping factor's units: ``jk`` for a class in a school."""
        return UNITS[self._second + height] if self.crossed else self.units(height + 2)

    def coefficient_letter(self, level: int) -> str:
        """Return the letter of the coefficients in the equations of a level."""
        return "beta" if self.n_levels == 1 else _COEFFICIENTS[len(_COEFFICIENTS) - self.n_levels + level - 1]

    def effect_letter(self, height: int) -> str:
        """Return the letter of a factor's random effects: u at the top, r below it; b, c, … where factors cross."""
        if self.crossed:
            return _CROSSED_EFFECTS[height]
        return "u" if height == len(self.random) - 1 else "r"

    def covariance_name(self, height: int) -> str:
        """Return the subscript of a factor's T: none with two levels, else the letter of the random coefficients."""
        if self.crossed:
            return self.effect_letter(height)
        return self.coefficient_letter(height + 1) if len(self.random) > 1 else ""

    def effect_index(self, index: Index, height: int) -> Index:
        """Return the index of a random effect: that of the coefficient to which it is added.

        A variable of the units' own level has no such coefficient: its effect multiplies it in the equation of a lower
        coefficient, and its index follows that coefficient's.
        """
        own = self.level_of_factor(height) - 1
        return index if any(index[own:]) else index[:own]

    @cached_property
    def indices(self) -> dict[DesignColumn, Index]:
        """The index of every column: level by level, the place of its part in the equation of the level below."""
        columns = dict.fromkeys([*self.fixed, *(c for blocks in self.random for b in blocks for c in b)])
        equations: dict[Index, dict[LevelPart, int]] = {}
        by_column = {}
        for column in columns:
            index: Index = ()
            for part in self.parts(column):
                places = equations.setdefault(index, {(): 0})
                index = (*index, places.setdefault(part, len(places)))
            by_column[column] = index
        return by_column


def coefficient_symbol(index: Index) -> str:
    """Return a coefficient's symbol: ``gamma_10``; ``beta_1`` in single-level regression."""
    return f"{'beta' if len(index) == 1 else 'gamma'}_{join(index)}"


def variance_symbol(structure: EquationStructure, height: int, first: Index, second: Index) -> str:
    """Return the symbol of the covariance of two random effects of a grouping factor: ``tau_10``."""
    return f"tau_{variance_subscript(structure, height, first, second)}"


def variance_subscript(structure: EquationStructure, height: int, first: Index, second: Index) -> str:
    """Return the subscript of such a covariance: ``10``; ``b10`` where factors cross; ``10,00`` above level 2."""
    pair = sorted((structure.effect_index(first, height), structure.effect_index(second, height)), reverse=True)
    flat = [part[0] if len(part) == 1 else join(part) for part in pair]
    return (structure.effect_letter(height) if structure.crossed else "") + join(flat)


def join(index: Sequence[int | str]) -> str:
    """Join indices, with commas where one has several digits."""
    return ("," if any(len(str(i)) > 1 for i in index) else "").join(map(str, index))
