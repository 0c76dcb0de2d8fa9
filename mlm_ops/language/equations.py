"""A Model as the textbook prints it: level equations, reduced form, and the symbols of its parameters.

Coefficients are beta at level 1 and gamma at the top of a two-level model (Raudenbush and Bryk 2002); three levels are
pi, beta, gamma. ``gamma_kl`` is the l-th coefficient in the equation of ``beta_k``; the 0 is each equation's intercept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.model import Variable, label

_LETTERS = ("psi", "pi", "beta", "gamma")
_UNITS = "ijklm"
Part = tuple[Variable, ...]


@dataclass(frozen=True)
class Structure:
    """What the equations are made of.

    Attributes
    ----------
    outcome
        Name of the outcome.
    fixed
        Fixed columns.
    random
        For each grouping factor, lowest first, the columns of each of its blocks.
    variable_levels
        The textbook's level of every variable.
    crossed
        Whether the grouping factors cross: then all of them make up level 2, and a coefficient varies over the units j
        of the first, k of the second and so on (Raudenbush and Bryk 2002, chapter 12).
    """

    outcome: str
    fixed: tuple[DesignColumn, ...]
    random: tuple[tuple[tuple[DesignColumn, ...], ...], ...]
    variable_levels: Mapping[Variable, int]
    crossed: bool = False

    @property
    def n_levels(self) -> int:
        """Levels of the model: 1 for single-level regression."""
        return 2 if self.crossed else len(self.random) + 1

    def level_of_factor(self, height: int) -> int:
        """The level at whose equations a grouping factor's effects stand, height 0 being the lowest factor."""
        return 2 if self.crossed else height + 2

    def parts(self, column: DesignColumn) -> tuple[Part, ...]:
        """A column's variables by level, lowest first."""
        top = self.n_levels
        return tuple(
            tuple(v for v in column.variables if min(self.variable_levels[v], top) == level)
            for level in range(1, top + 1)
        )

    def level(self, column: DesignColumn) -> int:
        """The highest level of a column's variables; 1 for the intercept."""
        return max((min(self.variable_levels[v], max(self.n_levels, 2)) for v in column.variables), default=1)


def indices(structure: Structure) -> dict[DesignColumn, tuple[int, ...]]:
    """Index of every column: level by level, the position of its part in the equation of the level below."""
    columns = dict.fromkeys([*structure.fixed, *(c for blocks in structure.random for b in blocks for c in b)])
    equations: dict[tuple[int, ...], dict[Part, int]] = {}
    found = {}
    for column in columns:
        index: tuple[int, ...] = ()
        for part in structure.parts(column):
            known = equations.setdefault(index, {(): 0})
            index = (*index, known.setdefault(part, len(known)))
        found[column] = index
    return found


def coefficient_symbol(index: tuple[int, ...]) -> str:
    """``gamma_10``; ``beta_1`` in single-level regression."""
    return f"{'beta' if len(index) == 1 else 'gamma'}_{_join(index)}"


def variance_symbol(first: tuple[int, ...], second: tuple[int, ...], level: int) -> str:
    """``tau_10``: the covariance of two random coefficients of the grouping factor of a level."""
    pair = sorted((first[: level - 1], second[: level - 1]), reverse=True)
    flat = [part if len(part) == 1 else (_join(part),) for part in pair]
    return f"tau_{_join(tuple(p[0] for p in flat))}"


def level_equations(structure: Structure, *, latex: bool = False) -> str:
    """Level 1, level 2, …, an equation a line."""
    write = _latex if latex else _text
    index = indices(structure)
    top = structure.n_levels
    lines: list[str] = []
    pending: dict[tuple[int, ...], None] = {(): None}
    for level in range(1, top + 1):
        following: dict[tuple[int, ...], None] = {}
        for prefix in pending:
            terms: dict[tuple[int, ...], str] = {}
            for column, position in index.items():
                if position[: level - 1] == prefix and (position[:level] not in terms):
                    part = structure.parts(column)[level - 1]
                    terms[position[:level]] = _term(write, structure, level, position[:level], part)
            for position in terms:
                following[position] = None
            left = _outcome(write, structure) if level == 1 else _coefficient(write, structure, level - 1, prefix)
            error = _error(write, structure, level, prefix, index)
            present = [t for p, t in terms.items() if level < top or _is_fixed(structure, index, p)]
            lines.append((f"Level {level}: " if not latex else "") + f"{left} = " + " + ".join([*present, *error]))
        pending = following
    return "\n".join(lines) if not latex else " \\\\\n".join(line.replace(" = ", " &= ", 1) for line in lines)


def reduced_equation(structure: Structure, *, latex: bool = False) -> str:
    """The level equations put into each other: one equation."""
    write = _latex if latex else _text
    index = indices(structure)
    parts = []
    for column in structure.fixed:
        symbol = write.symbol("beta" if structure.n_levels == 1 else "gamma", _join(index[column]))
        parts.append(" ".join([symbol, *_variables(write, structure, column.variables)]))
    for height, blocks in reversed(list(enumerate(structure.random))):
        for column in (c for block in blocks for c in block):
            effect = _effect(write, structure, height, index[column][: structure.level_of_factor(height) - 1])
            parts.append(" ".join([effect, *_variables(write, structure, column.variables)]))
    parts.append(_residual(write, structure))
    return f"{_outcome(write, structure)} = " + " + ".join(parts)


class _Text:
    """Plain ASCII."""

    @staticmethod
    def symbol(letter: str, subscript: str) -> str:
        return f"{letter}_{subscript}"

    @staticmethod
    def variable(name: str, subscript: str) -> str:
        return f"{name}_{subscript}"


class _Latex:
    """LaTeX mathematics."""

    @staticmethod
    def symbol(letter: str, subscript: str) -> str:
        return f"{letter if len(letter) == 1 else chr(92) + letter}_{{{subscript}}}"

    @staticmethod
    def variable(name: str, subscript: str) -> str:
        escaped = "".join(chr(92) + c if c in "_&%$#{}" else c for c in name if c not in "\\~^")
        return f"\\text{{{escaped}}}_{{{subscript}}}"


_text, _latex = _Text(), _Latex()
_Writer = _Text | _Latex


def _join(index: Sequence[int | str]) -> str:
    return ("," if any(len(str(i)) > 1 for i in index) else "").join(map(str, index))


def _units(structure: Structure, level: int) -> str:
    """Subscripts of what varies at a level: ``ij`` at level 1 of two, ``j`` at level 2."""
    return _UNITS[level - 1 : len(structure.random) + 1] if level <= structure.n_levels else ""


def _outcome(write: _Writer, structure: Structure) -> str:
    return write.variable(structure.outcome, _units(structure, 1))


def _residual(write: _Writer, structure: Structure) -> str:
    return write.symbol("e", _units(structure, 1))


def _coefficient(write: _Writer, structure: Structure, level: int, index: tuple[int, ...]) -> str:
    """The coefficient of a level's equation; it varies over the units of the levels above."""
    top = structure.n_levels
    letter = _LETTERS[len(_LETTERS) - top + level - 1] if top > 1 else "beta"
    return write.symbol(letter, _join(index) + _units(structure, level + 1))


def _term(write: _Writer, structure: Structure, level: int, index: tuple[int, ...], part: Part) -> str:
    return " ".join([_coefficient(write, structure, level, index), *_variables(write, structure, part)])


def _variables(write: _Writer, structure: Structure, part: Part) -> list[str]:
    top = structure.n_levels
    return [write.variable(label(v), _units(structure, min(structure.variable_levels[v], top))) for v in part]


def _effect(write: _Writer, structure: Structure, height: int, index: tuple[int, ...]) -> str:
    """A random effect: u at the top, r below it."""
    if structure.crossed:
        return write.symbol("u", _join(index) + _UNITS[height + 1])
    letter = "u" if height == len(structure.random) - 1 else "r"
    return write.symbol(letter, _join(index) + _units(structure, height + 2))


def _error(
    write: _Writer,
    structure: Structure,
    level: int,
    prefix: tuple[int, ...],
    index: Mapping[DesignColumn, tuple[int, ...]],
) -> list[str]:
    if level == 1:
        return [_residual(write, structure)]
    heights = range(len(structure.random)) if structure.crossed else (level - 2,)
    return [
        _effect(write, structure, height, prefix)
        for height in heights
        if any(index[c][: level - 1] == prefix for block in structure.random[height] for c in block)
    ]


def _is_fixed(structure: Structure, index: Mapping[DesignColumn, tuple[int, ...]], position: tuple[int, ...]) -> bool:
    return any(index[column] == position for column in structure.fixed)
