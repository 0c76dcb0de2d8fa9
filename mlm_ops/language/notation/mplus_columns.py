"""Variables in Mplus: names of at most eight characters, columns of the data file, and DEFINE."""

from __future__ import annotations

import re
from collections import Counter

from mlm_ops.language.equations import Part
from mlm_ops.language.model import (
    Between,
    Center,
    Column,
    Constant,
    Function,
    Term,
    Variable,
    Within,
    columns_of,
    label,
    number_text,
)
from mlm_ops.language.notation.facts import Facts

_KEYWORDS = frozenset({"on", "with", "by", "at", "pon", "pwith", "and", "all", "if", "then", "else", "eq", "ne"})
_LENGTH = 8


class MplusColumns:
    """Names of variables in Mplus.

    What Mplus makes for certain stands in DEFINE: functions, products of them, cluster means, and centering at them.
    All else is a column of the data file, which `columns` describes.

    Attributes
    ----------
    columns
        What each column of the data file holds, by its name.
    define
        Statements of DEFINE: transformations, then centering.
    made
        Names that DEFINE makes, in order.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.columns: dict[str, str] = {}
        self.made: list[str] = []
        self._names: dict[Part | str, str] = {}
        self._taken = set(_KEYWORDS)
        self._transformations: list[str] = []
        self._centering: list[str] = []
        columns = (*facts.structure.fixed, *(c for blocks in facts.structure.random for b in blocks for c in b))
        used = {v for column in columns for v in column.variables if not isinstance(v, Between)}
        #: In how many forms the model has a variable: as it is, or centered in one way or another.
        self._forms = Counter(map(_core, used))

    @property
    def define(self) -> list[str]:
        """Statements in the order in which they are carried out."""
        return [*self._transformations, *self._centering]

    def part(self, part: Part) -> str:
        """The variable that a product of variables of one level is."""
        if len(part) == 1:
            return self.variable(part[0])
        if part not in self._names:
            if any(isinstance(v, Within | Center) or not _computable(v) for v in part):
                self._names[part] = self.column(Term(part).name, "_".join(map(_stem, part)))
            else:
                self._names[part] = self.make("_".join(map(_stem, part)), " * ".join(map(self.variable, part)))
        return self._names[part]

    def variable(self, variable: Variable) -> str:
        """One variable's name."""
        if (variable,) not in self._names:
            self._names[(variable,)] = self._new(variable)
        return self._names[(variable,)]

    def _new(self, variable: Variable) -> str:
        match variable:
            case Column(name):
                return self.column(name, name)
            case Within(Column() as of, group, None) if self._is_cluster(group) and self._forms[of] == 1:
                self._centering.append(f"CENTER {self.variable(of)} (GROUPMEAN);")
                return self.variable(of)
            case Between(Column() as of, group, None) if self._is_cluster(group):
                return self.make(f"{_stem(of)[: _LENGTH - 2]}_m", f"CLUSTER_MEAN({self.variable(of)})")
            case Center(Column() as of, None, None) if (
                self.facts.structure.variable_levels.get(variable) == 1 and self._forms[of] == 1
            ):
                self._centering.append(f"CENTER {self.variable(of)} (GRANDMEAN);")
                return self.variable(of)
            case Center(Column() as of, float(at), None):
                return self.make(f"{_stem(of)[: _LENGTH - 2]}_c", f"{self.variable(of)} - ({number_text(at)})")
            case Function():
                return self.make(_stem(variable), self.expression(variable))
        return self.column(label(variable), _stem(variable))

    def _is_cluster(self, group: tuple[str, ...] | None) -> bool:
        clusters = [self.facts.units(own) for own in self.facts.groups]
        return len(clusters) == 1 and self.facts.units(group) == clusters[0]

    def column(self, holds: str, stem: str) -> str:
        """A column of the data file."""
        if holds not in self._names:
            self._names[holds] = self.free(stem)
            self.columns[self._names[holds]] = holds
        return self._names[holds]

    def make(self, stem: str, expression: str) -> str:
        """A variable that DEFINE makes."""
        name = self.free(stem)
        self._transformations.append(f"{name} = {expression};")
        self.made.append(name)
        return name

    def free(self, stem: str) -> str:
        """A name that Mplus takes, and that no other variable has."""
        plain = re.sub(r"[^A-Za-z0-9_]", "_", stem)
        plain = plain if re.match(r"[A-Za-z]", plain) else f"v{plain}"
        name, number = plain[:_LENGTH], 2
        while name.lower() in self._taken:
            name, number = f"{plain[: _LENGTH - len(str(number))]}{number}", number + 1
        self._taken.add(name.lower())
        return name

    def expression(self, variable: Variable) -> str:
        """Arithmetic of columns, as DEFINE takes it."""
        match variable:
            case Constant(value):
                return number_text(value)
            case Function("I", (inner,)):
                return self.expression(inner)
            case Function(name, arguments) if name.isidentifier():
                return f"{name.upper()}({', '.join(map(self.expression, arguments))})"
            case Function(name, arguments):
                shown = [self.expression(a) for a in arguments]
                return f"({name}{shown[0]})" if len(shown) == 1 else f"({f' {name} '.join(shown)})"
        return self.variable(variable)


def _core(variable: Variable) -> Variable:
    return variable.of if isinstance(variable, Within | Between | Center) else variable


def _computable(variable: Variable) -> bool:
    return isinstance(variable, Column | Function | Between)


def _stem(variable: Variable) -> str:
    names = columns_of(variable)
    level = getattr(_core(variable), "level", "")
    ending = {Within: "_w", Between: "_m", Center: "_c"}.get(type(variable), "")
    stem = names[0][: _LENGTH - 4] + str(level)[:4] if level else names[0] if names else "x"
    return stem[: _LENGTH - len(ending)] + ending
