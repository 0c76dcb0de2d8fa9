"""State a model level by level, as one equation, or in matrices, each with its distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mlm_ops.language.columns import DesignColumn
from mlm_ops.language.covariances import STRUCTURES
from mlm_ops.language.model import Column, Function, label
from mlm_ops.language.symbols import (
    UNITS,
    EquationStructure,
    Index,
    LevelPart,
    coefficient_symbol,
    join,
    variance_subscript,
    variance_symbol,
)
from mlm_ops.results.equations.centered import written_variable, written_variables
from mlm_ops.results.equations.statements import (
    Association,
    Atom,
    Distribution,
    Equation,
    Power,
    Product,
    Sign,
    Statement,
    Symbol,
    Value,
    VariableName,
    Vector,
)


@dataclass(frozen=True)
class Page:
    """Make the parts of one model's equations: coefficients, variables, random effects.

    Attributes
    ----------
    estimates
        Numbers to stand for parameters, by symbol; none for the symbols themselves.
    """

    structure: EquationStructure
    estimates: Mapping[str, float]

    @property
    def index(self) -> dict[DesignColumn, Index]:
        """Index of every column."""
        return self.structure.indices

    def parameter(self, letter: str, subscript: str, key: str) -> Atom:
        """A parameter's symbol, or its estimate."""
        return Value(self.estimates[key]) if key in self.estimates else Symbol(letter, subscript)

    def coefficient(self, level: int, index: Index) -> Atom:
        """The coefficient of a level's equation; it varies over the units of the levels above."""
        units = self.structure.units(level + 1)
        letter = self.structure.coefficient_letter(level)
        if level == self.structure.n_levels:
            return self.parameter(letter, join(index), coefficient_symbol(index))
        return Symbol(letter, join(index), units)

    def variables(self, part: LevelPart) -> Product:
        """The variables of a product, with their units."""
        return written_variables(self.structure, part)

    @property
    def outcome(self) -> Atom:
        """The outcome of a row, or of a group."""
        return written_variable(self.structure, self.structure.outcome, self.structure.units(1))

    @property
    def residual(self) -> Symbol:
        """The residual of a row."""
        return Symbol("e", "", self.structure.units(1))

    def effect(self, height: int, index: Index) -> Symbol:
        """A random effect of a grouping factor."""
        structure = self.structure
        return Symbol(structure.effect_letter(height), join(index), structure.units_of_factor(height))

    def effects(self, height: int) -> list[DesignColumn]:
        """Columns with a random effect of a grouping factor, in the order of their indices."""
        columns = (c for block in self.structure.random[height] for c in block)
        return sorted(columns, key=lambda column: self.structure.effect_index(self.index[column], height))


def level_statements(page: Page) -> list[Statement]:
    """State level 1, level 2, …, and the distributions."""
    structure, statements = page.structure, list[Statement]()
    prefixes: list[Index] = [()]
    for level in range(1, structure.n_levels + 1):
        coefficients: list[Index] = []
        for prefix in prefixes:
            columns = {i[:level]: c for c, i in reversed(page.index.items()) if i[: level - 1] == prefix}
            indices = [i for i in dict.fromkeys(i[:level] for i in page.index.values()) if i in columns]
            coefficients += indices
            # the highest level has no further equation to say that a coefficient has no fixed part
            terms = [
                (page.coefficient(level, i), *page.variables(structure.parts(columns[i])[level - 1]))
                for i in indices
                if level < structure.n_levels or _is_fixed(page, i)
            ]
            left = page.outcome if level == 1 else page.coefficient(level - 1, prefix)
            statements.append(Equation(left, (*terms, *_errors(page, level, prefix)), level))
        prefixes = coefficients
    return [*statements, *distributions(page)]


def reduced_statements(page: Page) -> list[Statement]:
    """State the model in one equation, and the distributions."""
    structure = page.structure
    terms: list[Product] = [
        (page.coefficient(structure.n_levels, page.index[c]), *page.variables(c.variables)) for c in structure.fixed
    ]
    for height in reversed(range(len(structure.random))):
        for column in page.effects(height):
            effect = page.effect(height, structure.effect_index(page.index[column], height))
            terms.append((effect, *page.variables(column.variables)))
    return [Equation(page.outcome, (*terms, (page.residual,))), *distributions(page)]


def matrix_statements(page: Page) -> list[Statement]:
    """State ``y = X gamma + Z u + e``, the rows of X and Z, and the distributions."""
    structure = page.structure
    unit = structure.units(2) if len(structure.random) == 1 else ""
    heights = list(reversed(range(len(structure.random))))
    gamma = Symbol(structure.coefficient_letter(structure.n_levels), bold=True)
    designs = {h: Symbol("Z", structure.covariance_name(h), unit, bold=True) for h in heights}
    effects = {h: Symbol(structure.effect_letter(h), "", unit, bold=True) for h in heights}
    fixed, residual = Symbol("X", "", unit, bold=True), Symbol("e", "", unit, bold=True)
    terms = [(fixed, gamma), *((designs[h], effects[h]) for h in heights), (residual,)]
    statements: list[Statement] = [
        Equation(Symbol("y", "", unit, bold=True), tuple(terms)),
        Vector(Symbol("y", "", structure.units(1)), ((page.outcome,),), "a row of y"),
        Vector(Symbol("x", "", structure.units(1), True, True), _row(page, structure.fixed), "a row of X"),
        Vector(
            gamma, tuple((page.coefficient(structure.n_levels, page.index[c]),) for c in structure.fixed), "transposed"
        ),
    ]
    for height in heights:
        note = f"a row of Z for {structure.groups[height]}, in the columns of its unit" if not unit else "a row of Z"
        row = Symbol("z", "", structure.units(1), True, True)
        statements.append(Vector(row, _row(page, tuple(page.effects(height))), note))
    return [*statements, *distributions(page)]


FORMS: dict[str, Callable[[Page], list[Statement]]] = {
    "levels": level_statements,
    "reduced": reduced_statements,
    "matrix": matrix_statements,
}


def distributions(page: Page) -> list[Statement]:
    """State the distributions of the residual, and of the random effects by grouping factor, lowest first."""
    return [
        *_residual(page),
        *(_random_effects(page, height) for height in range(len(page.structure.random)) if page.effects(height)),
    ]


def _random_effects(page: Page, height: int) -> Distribution:
    structure, columns = page.structure, page.effects(height)
    index = [page.index[column] for column in columns]
    effects = tuple(page.effect(height, structure.effect_index(i, height)) for i in index)
    blocks = list(zip(structure.random[height], structure.covariances[height], strict=True))
    notes = [f"for each {structure.groups[height]} {structure.units_of_factor(height)}"]
    notes += dict.fromkeys(STRUCTURES[kind].note for block, kind in blocks if len(block) > 1 and STRUCTURES[kind].note)
    rows: list[tuple[Atom, ...]] = []
    for i, first in enumerate(columns):
        row: list[Atom] = []
        for j, second in enumerate(columns[: i + 1]):
            together = any(first in block and second in block for block, _ in blocks)
            free = i == j or any(first in block and STRUCTURES[kind].correlated for block, kind in blocks)
            subscript = variance_subscript(structure, height, index[i], index[j])
            key = variance_symbol(structure, height, index[i], index[j])
            row.append(page.parameter("tau", subscript, key) if together and free else Value(0.0))
        rows.append(tuple(row))
    note = "; ".join(notes)
    if len(columns) == 1:
        return Distribution(effects, rows[0], note=note)
    return Distribution(effects, (Symbol("T", structure.covariance_name(height), bold=True),), tuple(rows), note)


def _residual(page: Page) -> list[Statement]:
    """The residual's distribution, one line per stratum, and its autocorrelation."""
    structure, residual = page.structure, page.structure.residual
    units = structure.units(1)
    scale: Product = ()
    match residual.precision:
        case Function("/", (_, Column() as variances)):
            scale = (VariableName(label(variances), units),)
        case None:
            pass
        case precision:
            scale = (Sign("/"), VariableName(label(precision), units))
    statements: list[Statement] = [
        Distribution(
            (page.residual,),
            (page.parameter("sigma2", stratum, f"sigma2[{stratum}]" if stratum else "sigma2"), *scale),
            note=f"where {residual.strata} is {stratum}" if stratum else "",
        )
        for stratum in structure.strata or ("",)
    ]
    if residual.time is not None:
        phi = page.parameter("phi", "", "phi")
        assert isinstance(phi, Symbol | Value)
        other = Symbol("e", "", f"{UNITS[0]}'{units[1:]}")
        lowest = structure.groups[0] if structure.groups else "unit"
        statements.append(
            Association("corr", page.residual, other, Power(phi, residual.time), f"for rows i, i' of the same {lowest}")
        )
    return statements


def _row(page: Page, columns: tuple[DesignColumn, ...]) -> tuple[Product, ...]:
    return tuple(page.variables(column.variables) or (Symbol("1"),) for column in columns)


def _errors(page: Page, level: int, prefix: Index) -> list[Product]:
    """Random effects in the equation of a coefficient; the residual in that of the outcome."""
    if level == 1:
        return [(page.residual,)]
    structure = page.structure
    heights = range(len(structure.random)) if structure.crossed else (level - 2,)
    return [
        (page.effect(height, structure.effect_index(page.index[column], height)), *_multiplied(page, column, level))
        for height in heights
        for column in page.effects(height)
        if page.index[column][: level - 1] == prefix
    ]


def _multiplied(page: Page, column: DesignColumn, level: int) -> Product:
    """What a random effect multiplies in the equation of a level: variables of that level and those above."""
    parts = page.structure.parts(column)[level - 1 :]
    return page.variables(tuple(variable for part in parts for variable in part))


def _is_fixed(page: Page, position: Index) -> bool:
    return any(page.index[column] == position for column in page.structure.fixed)
