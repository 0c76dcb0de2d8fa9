"""Define the `Model`: the frozen records that formulas and level equations compile to.

A *variable* is an expression of columns: a column, a function of columns, or a centered version of either. A *term* is
a product of variables (the empty product is the intercept). A *block* is a set of terms whose coefficients vary over
the units of one grouping factor.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from mlm_ops.language.covariances import DEFAULT
from mlm_ops.language.tokens import is_plain_name, quoted_name

GroupingFactor = tuple[str, ...]
"""Columns whose combined values name the units: ``("school",)``, or ``("school", "class")`` for ``school:class``."""


@dataclass(frozen=True)
class Column:
    """A column of the table, as it is."""

    name: str


@dataclass(frozen=True)
class Constant:
    """A number inside a function: the 2 of ``I(x**2)``."""

    value: float


@dataclass(frozen=True)
class Function:
    """A function of columns, computed row by row; ``name`` is a function's name or an arithmetic operator."""

    name: str
    arguments: tuple[Variable, ...]


@dataclass(frozen=True)
class Factor:
    """A categorical column: ``C(x, ref='b')``.

    Attributes
    ----------
    reference
        The level without a column of its own; by default the first, with sum coding the last.
    coding
        ``"treatment"``: differences from the reference level; ``"sum"``: from the mean of all levels.
    """

    column: str
    reference: str | None = None
    coding: str = "treatment"


@dataclass(frozen=True)
class Indicator:
    """1 where the categorical column has this level, -1 where it has the level `against` (sum coding), 0 elsewhere."""

    column: str
    level: str
    against: str | None = None


@dataclass(frozen=True)
class GroupMean:
    """Means over the rows of each group, or over the units of ``over`` in it, each counting once.

    ``group`` is None where the formula names none: it is then the model's default.
    """

    group: GroupingFactor | None
    over: GroupingFactor | None


@dataclass(frozen=True)
class GrandMean:
    """The mean over all rows, or over the units of ``over``, each counting once."""

    over: GroupingFactor | None


@dataclass(frozen=True)
class Centering(ABC):
    """A variable minus a mean, or the mean itself; the base class of the modes of centering.

    A new mode is a subclass, and an entry of `CENTERINGS`; the rest of the package reads the attributes below.

    Attributes
    ----------
    of
        The variable.
    word
        The mode's name in formulas.
    stem
        How the names of its columns end in code for other programs.
    options
        Names of the options that it takes in formulas; ``group`` is a second argument.
    keeps_value
        Whether it is a row's own value minus the mean; else it is the mean alone.
    """

    of: Variable
    word: ClassVar[str]
    stem: ClassVar[str]
    options: ClassVar[tuple[str, ...]]
    keeps_value: ClassVar[bool]

    @property
    @abstractmethod
    def mean(self) -> GroupMean | GrandMean | float:
        """The mean that is subtracted, or that it is; or a number in the place of a mean."""

    @property
    def named_groups(self) -> tuple[GroupingFactor, ...]:
        """Grouping factors that it names."""
        match self.mean:
            case GroupMean(group, over):
                return tuple(factor for factor in (group, over) if factor is not None)
            case GrandMean(over) if over is not None:
                return (over,)
        return ()


@dataclass(frozen=True)
class Within(Centering):
    """A variable minus its group mean."""

    group: GroupingFactor | None = None
    over: GroupingFactor | None = None
    word, stem, options, keeps_value = "within", "within", ("group", "over"), True

    @property
    def mean(self) -> GroupMean:
        """The mean of the group."""
        return GroupMean(self.group, self.over)


@dataclass(frozen=True)
class Between(Centering):
    """The group mean of a variable."""

    group: GroupingFactor | None = None
    over: GroupingFactor | None = None
    word, stem, options, keeps_value = "between", "mean", ("group", "over"), False

    @property
    def mean(self) -> GroupMean:
        """The mean of the group."""
        return GroupMean(self.group, self.over)


@dataclass(frozen=True)
class Center(Centering):
    """A variable minus its grand mean, or minus the value ``at``."""

    at: float | None = None
    over: GroupingFactor | None = None
    word, stem, options, keeps_value = "center", "centered", ("at", "over"), True

    @property
    def mean(self) -> GrandMean | float:
        """The mean of all rows or units, or the value."""
        return self.at if self.at is not None else GrandMean(self.over)


#: The modes of centering by their name in formulas.
CENTERINGS: dict[str, type[Centering]] = {mode.word: mode for mode in (Within, Between, Center)}


@dataclass(frozen=True)
class Poly:
    """Powers 1 to ``degree`` of a variable, or the column of one ``power``.

    They are orthogonal to each other and to the constant over the rows, with sum of squares one, as R's ``poly`` makes
    them; or ``raw``.
    """

    of: Variable
    degree: int
    raw: bool = False
    power: int | None = None


Variable = Column | Constant | Function | Factor | Indicator | Centering | Poly


@dataclass(frozen=True)
class Term:
    """A product of variables; without any it is the intercept."""

    variables: tuple[Variable, ...] = ()

    @property
    def name(self) -> str:
        """The term as the formula writes it."""
        return ":".join(label(v) for v in self.variables) if self.variables else "(Intercept)"


INTERCEPT = Term()

Matrix = tuple[tuple[float, ...], ...]
"""A matrix by rows."""


@dataclass(frozen=True)
class RandomBlock:
    """Coefficients that vary together over the units of one grouping factor.

    ``covariance`` is the name of T's structure, or T itself where the user gives its numbers.
    """

    terms: tuple[Term, ...]
    group: GroupingFactor
    covariance: str | Matrix = DEFAULT


@dataclass(frozen=True)
class Residual:
    """The level-1 residual's structure; by default independent with one variance.

    Attributes
    ----------
    strata
        Column with a residual variance for each of its values.
    time
        Column of integer times over which residuals of the same lowest unit are autocorrelated, AR(1).
    precision
        Precision weights: residual variances are proportional to the reciprocal of this variable.
    """

    strata: str | None = None
    time: str | None = None
    precision: Variable | None = None


PLAIN = Residual()


@dataclass(frozen=True)
class Model:
    """One multilevel model: outcome, fixed terms, and blocks of random coefficients."""

    outcome: Variable
    fixed: tuple[Term, ...]
    random: tuple[RandomBlock, ...] = ()
    #: The grouping factor over whose units `within` and `between` take means where they name none.
    default_group: GroupingFactor | None = None
    residual: Residual = PLAIN
    text: str = field(default="", compare=False)
    #: Variables in equations above level 1: variable, level, and the grouping factor of that level.
    level_variables: tuple[tuple[Variable, int, GroupingFactor], ...] = field(default=(), compare=False)

    @property
    def outcome_name(self) -> str:
        """The outcome as the formula writes it."""
        return label(self.outcome)

    @property
    def groups(self) -> tuple[GroupingFactor, ...]:
        """The grouping factors of the random part, in order of appearance."""
        return tuple(dict.fromkeys(block.group for block in self.random))

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The outcome and every variable of every term, each once."""
        return tuple(dict.fromkeys((self.outcome, *self.predictors)))

    @property
    def predictors(self) -> tuple[Variable, ...]:
        """Every variable of every fixed and random term, each once."""
        terms = (*self.fixed, *(t for block in self.random for t in block.terms))
        return tuple(dict.fromkeys(v for t in terms for v in t.variables))

    @property
    def all_groups(self) -> tuple[GroupingFactor, ...]:
        """Grouping factors of the random part, of the centering and of level equations."""
        centering = (g for v in self.variables for g in centering_groups(v))
        default = (self.default_group,) if self.default_group else ()
        level_variables = (group for _, _, group in self.level_variables)
        return tuple(dict.fromkeys((*self.groups, *default, *centering, *level_variables)))


def walk(variable: Variable) -> Iterator[Variable]:
    """Yield the variable and everything inside it."""
    yield variable
    if isinstance(variable, Centering | Poly):
        yield from walk(variable.of)
    elif isinstance(variable, Function):
        for argument in variable.arguments:
            yield from walk(argument)


def columns_of(variable: Variable) -> tuple[str, ...]:
    """Return the names of the table's columns that hold the variable's values (grouping columns aside)."""
    names = []
    for node in walk(variable):
        if isinstance(node, Column):
            names.append(node.name)
        elif isinstance(node, Factor | Indicator):
            names.append(node.column)
    return tuple(dict.fromkeys(names))


def centering_groups(variable: Variable) -> tuple[GroupingFactor, ...]:
    """Return the grouping factors over whose units the variable's centering takes means."""
    nodes = (node for node in walk(variable) if isinstance(node, Centering))
    return tuple(dict.fromkeys(group for node in nodes for group in node.named_groups))


def averages_groups(variable: Variable) -> bool:
    """Tell whether a variable is its group means, or itself minus them."""
    return isinstance(variable, Centering) and isinstance(variable.mean, GroupMean)


def is_group_mean(variable: Variable) -> bool:
    """Tell whether a variable is its group means."""
    return isinstance(variable, Centering) and averages_groups(variable) and not variable.keeps_value


def group_name(group: GroupingFactor) -> str:
    """Return a grouping factor's name: ``school`` or ``school:class``."""
    return ":".join(group)


def label(variable: Variable) -> str:
    """Return the variable as the formula writes it, without groups that the formula does not name."""
    match variable:
        case Column(name):
            return _name(name)
        case Constant(value):
            return number_text(value)
        case Factor(column, reference, coding):
            options = (", sum" if coding == "sum" else "") + (f", ref='{reference}'" if reference is not None else "")
            return f"C({_name(column)}{options})"
        case Indicator(column, level, against):
            return f"{_name(column)}[{'S.' if against is not None else ''}{level}]"
        case Centering(of):
            return f"{variable.word}({label(of)}{_mean_text(variable.mean)})"
        case Poly(of, degree, raw, power):
            column = f"[{power}]" if power is not None else ""
            return f"poly({label(of)}, {degree}{', raw=True' if raw else ''}){column}"
        case Function("I", (inner,)):
            return f"I({label(inner)})"
        case Function(name, arguments) if not name.isidentifier():
            if len(arguments) == 1:
                return f"{name}{_operand(arguments[0])}"
            operator = name if name == "**" else f" {name} "
            return operator.join(_operand(a) for a in arguments)
        case Function(name, arguments):
            return f"{name}({', '.join(label(a) for a in arguments)})"


def _mean_text(mean: GroupMean | GrandMean | float) -> str:
    """Return the arguments of a centering behind its variable: which mean it takes."""
    match mean:
        case GroupMean(group, over):
            return _argument(group) + _argument(over, "over=")
        case GrandMean(over):
            return _argument(over, "over=")
    return f", at={number_text(mean)}"


def number_text(value: float) -> str:
    """Return a number with all its digits, so that different variables have different labels."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _operand(variable: Variable) -> str:
    text = label(variable)
    return f"({text})" if isinstance(variable, Function) and not variable.name.isidentifier() else text


def _name(name: str) -> str:
    return name if is_plain_name(name) else quoted_name(name)


def _argument(group: GroupingFactor | None, option: str = "") -> str:
    return "" if group is None else f", {option}{group_name(group)}"
