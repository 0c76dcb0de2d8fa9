"""Describe a structural equation model as its text states it: parameters and definitions, no data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from mlm_ops.language.syntax import Syntax

Operator = Literal["=~", "~", "~~", "~1"]
ConstraintRelation = Literal["==", "<", ">"]
WITHIN, BETWEEN = 1, 2
#: Every pair of variables has its covariances at both levels: more take days.
MOST_VARIABLES = 200
TOO_MANY_VARIABLES = (
    f"The model has more than {MOST_VARIABLES} variables. Leave some out, or take sums or means of them in a view."
)


@dataclass(frozen=True)
class Item:
    """One parameter that the text names.

    Attributes
    ----------
    level
        1 within clusters, 2 between.
    lhs, op, rhs
        As lavaan's parameter table has them; an intercept is ``~1`` with an empty `rhs`.
    label
        Equal labels are equal parameters.
    fixed
        The value that the text fixes it to.
    freed
        ``NA*``: free where the default would fix it.
    start
        Where the search shall begin.
    equal
        ``equal("f=~y2")``: a label, or the name of the parameter that this one is equal to; at level 2 with ``.l2``.
    slope
        ``rv("s")``: the name of the regression's random slope, a variable of level 2.
    by_group
        Of ``c(a1, a2)``: the item as it is in each group of rows; empty where it is the same in all.
    """

    level: int
    lhs: str
    op: Operator
    rhs: str
    label: str | None = None
    fixed: float | None = None
    freed: bool = False
    start: float | None = None
    equal: str | None = None
    slope: str | None = None
    by_group: tuple[Item, ...] = ()

    @property
    def name(self) -> str:
        """``f =~ y2``, ``y ~ 1``."""
        return f"{self.lhs} ~ 1" if self.op == "~1" else f"{self.lhs} {self.op} {self.rhs}"


@dataclass(frozen=True)
class Definition:
    """``name := expression`` of labels and names defined before."""

    name: str
    text: str
    expression: Syntax


@dataclass(frozen=True)
class Constraint:
    """``left == right``, ``left < right`` or ``left > right``, of labels and definitions.

    Attributes
    ----------
    relation
        Of the two sides.
    text
        As it is written.
    gap
        ``left - right``, of ``<`` ``right - left``: zero where an equality holds, positive where an inequality does.
    """

    relation: ConstraintRelation
    text: str
    gap: Syntax


@dataclass(frozen=True)
class SemModel:
    """A two-level structural equation model, as the text states it."""

    items: tuple[Item, ...]
    definitions: tuple[Definition, ...]
    text: str = field(compare=False, default="")
    constraints: tuple[Constraint, ...] = ()
    #: The name of the ready model whose line stands for it, so that its labels are not the user's; None without.
    ready: str | None = field(compare=False, default=None)

    def at(self, level: int) -> tuple[Item, ...]:
        """The items of one level."""
        return tuple(item for item in self.items if item.level == level)

    @property
    def n_groups(self) -> int | None:
        """Groups of rows that the text has values for, by ``c()``; None where it has none."""
        return next((len(item.by_group) for item in self.items if item.by_group), None)

    def of_group(self, number: int) -> SemModel:
        """The model as it is in one group of rows, without what is said of several: definitions and constraints."""
        items = (item.by_group[number] if item.by_group else item for item in self.items)
        return replace(self, items=tuple(items), definitions=(), constraints=())
