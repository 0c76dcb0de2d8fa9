"""Write a model as level equations that compile to it again."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlm_ops.errors import MlmError
from mlm_ops.language.columns import whole_variable
from mlm_ops.language.covariances import DEFAULT
from mlm_ops.language.formula import group_text, sum_of_terms
from mlm_ops.language.model import INTERCEPT, Column, GroupingFactor, Model, RandomBlock, Term, Variable, label

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord

_NEEDS_QUOTES = re.compile(r"[`#]|:\s|^[^\w(]")


@dataclass(frozen=True)
class LevelEquations:
    """Hold level equations as text.

    Attributes
    ----------
    levels
        The grouping factors, lowest first, as the key ``levels`` takes them.
    outcome
        The equation of level 1.
    coefficients
        For level 2, 3, …: the equations by coefficient.
    """

    levels: tuple[str, ...]
    outcome: str
    coefficients: tuple[dict[str, str], ...]

    @property
    def text(self) -> str:
        """A block of text, as `parse_model` takes it."""
        return self._lines(lambda text: text)

    @property
    def yaml(self) -> str:
        """Keys of a model in an analysis file."""
        levels = f"levels: [{', '.join(map(_yaml_text, self.levels))}]\n" if self.levels else ""
        return levels + self._lines(_yaml_text)

    def _lines(self, write: Callable[[str], str]) -> str:
        lines = [f"level 1: {write(self.outcome)}"]
        for level, equations in enumerate(self.coefficients, start=2):
            lines += [f"level {level}:", *(f"  {write(key)}: {write(value)}" for key, value in equations.items())]
        return "\n".join(lines)


def level_equations(record: FitRecord) -> LevelEquations:
    """Write the model of a fit as level equations that compile to it.

    Raises
    ------
    MlmError
        Its grouping factors cross.
    """
    design, levels = record.estimate.design, dict[Variable, int]()
    if not design.nested:
        raise MlmError(
            "Level equations are for nested levels, and the units of "
            f"{' and '.join(record.equation_structure.groups)} cross. The formula says it: {record.model.text}"
        )
    for variable, level in design.variable_levels.items():
        name = whole_variable(variable)
        levels[name] = min(level, levels.get(name, level))
    groups = tuple(level.group for level in design.levels)
    return level_equations_of(record.model, groups, lambda variable: levels.get(whole_variable(variable), 1))


def level_equations_of(
    model: Model, groups: Sequence[GroupingFactor], variable_level: Callable[[Variable], int]
) -> LevelEquations:
    """Take a model of nested grouping factors apart into level equations.

    Parameters
    ----------
    groups
        The model's grouping factors, lowest first.
    variable_level
        The level of a variable of the model: 1 if it varies within the lowest units, and so on.
    """
    tree = _Tree(model, tuple(groups), variable_level)
    top = len(groups) + 1
    equations = []
    for level in range(2, top + 1):
        texts = {tree.key(of): tree.equation(level, of) for of in tree.coefficients(level - 1)}
        equations.append({key: text for key, text in texts.items() if text != "1"} or {"intercept": "1"})
    outcome = f"{label(model.outcome)} ~ {sum_of_terms(tree.coefficients(1), _name)}"
    return LevelEquations(tuple(map(group_text, groups)), outcome, tuple(equations))


class _Tree:
    """The coefficients of every level, each a product of the variables up to its level."""

    def __init__(
        self, model: Model, groups: tuple[GroupingFactor, ...], variable_level: Callable[[Variable], int]
    ) -> None:
        self.fixed = model.fixed
        self.blocks = {level: [b for b in model.random if b.group == g] for level, g in enumerate(groups, start=2)}
        self.levels = {v: min(variable_level(v), len(groups) + 1) for v in model.predictors}
        for level, blocks in self.blocks.items():
            for variable in (v for block in blocks for term in block.terms for v in term.variables):
                # the variables of a random slope stand below the level over whose units the slope varies
                self.levels[variable] = min(self.levels[variable], level - 1)

    def upto(self, term: Term, level: int) -> Term:
        """The coefficient of a level that a term belongs to."""
        return Term(tuple(v for v in term.variables if self.levels[v] <= level))

    def coefficients(self, level: int) -> list[Term]:
        """Coefficients that the equations of a level have: of fixed terms, and of effects random at a higher level."""
        random = (t for above, blocks in self.blocks.items() if above > level for b in blocks for t in b.terms)
        terms = dict.fromkeys(self.upto(term, level) for term in (*self.fixed, *random))
        return sorted(terms, key=lambda term: len(term.variables))

    def equation(self, level: int, of: Term) -> str:
        """What explains a coefficient of the level below."""
        terms = [t for t in self.coefficients(level) if self.upto(t, level - 1) == of]
        factors = [Term(tuple(v for v in t.variables if self.levels[v] == level)) for t in terms]
        predictors = [_product(factor) for factor in factors if factor != INTERCEPT]
        parts = [*([] if INTERCEPT in factors else ["0"]), *predictors, *self.random(level, of)]
        return " + ".join(parts) or "1"

    def random(self, level: int, of: Term) -> list[str]:
        """``random``, with its block and covariance structure where they are not the default."""
        blocks = self.blocks[level]
        place = next((i for i, block in enumerate(blocks) if of in block.terms), None)
        if place is None:
            return []
        options = [*_block_option(blocks, place), *_covariance_option(blocks[place])]
        return [f"random({', '.join(options)})" if options else "random"]

    @staticmethod
    def key(of: Term) -> str:
        """The coefficient's name."""
        return _product(of) if of.variables else "intercept"


def _block_option(blocks: Sequence[RandomBlock], place: int) -> list[str]:
    block = blocks[place]
    if len(blocks) == 1:
        return []
    if len(block.terms) == 1 and not _covariance_option(block):
        return ["independent"]
    return [f"block={place + 1}"]


def _covariance_option(block: RandomBlock) -> list[str]:
    """The structure's name; a T of given values is no part of the equations."""
    has_name = isinstance(block.covariance, str) and block.covariance != DEFAULT
    return [f"covariance={block.covariance}"] if has_name else []


def _product(term: Term) -> str:
    return ":".join(map(_name, term.variables))


def _name(variable: Variable) -> str:
    """The variable's label; a column whose name is a word of level equations stands in backticks."""
    text = label(variable)
    return f"`{text}`" if isinstance(variable, Column) and text in {"random", "intercept", "Intercept"} else text


def _yaml_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'" if _NEEDS_QUOTES.search(text) else text
