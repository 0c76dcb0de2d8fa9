"""Variables in R: how a formula names them, and the lines that compute what R's formulas have no word for."""

from __future__ import annotations

import re

from mlm_ops.language.columns import expand
from mlm_ops.language.model import (
    INTERCEPT,
    Between,
    Center,
    Column,
    Constant,
    Factor,
    Function,
    GroupingFactor,
    Indicator,
    Poly,
    Term,
    Variable,
    Within,
    columns_of,
    number_text,
)
from mlm_ops.language.notation.facts import Facts

_RESERVED = frozenset(
    {
        "if",
        "else",
        "repeat",
        "while",
        "function",
        "for",
        "next",
        "break",
        "TRUE",
        "FALSE",
        "NULL",
        "Inf",
        "NaN",
        "NA",
        "in",
    }
)
_MEAN_OVER = """\
mean_over <- function(x, group, unit) {  # each unit of `unit` counts once
  first <- !duplicated(unit)
  as.vector(tapply(ave(x, unit)[first], group[first], mean)[as.character(group)])
}"""


class RColumns:
    """Names of variables in R's formulas; collects the lines that make derived columns.

    Attributes
    ----------
    lines
        R code, in the order in which it must run.
    derived
        Variable of each derived column, by the column's name.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.derived: dict[str, Variable] = {}
        self._taken = set(facts.columns)
        # a grouping factor's units need no order, and may be groups that are not to be named
        coded = {*(c for v in facts.model.variables for c in columns_of(v)), facts.model.residual.strata}
        text = [c for c in facts.columns if c in facts.text_columns and c in facts.levels and c in coded]
        self.lines = [f"{column(c)} <- {self.factor(c, facts.levels[c])}" for c in text]

    def name(self, variable: Variable) -> str:
        """A variable as R's formula writes it; several columns are a sum in parentheses."""
        match variable:
            case Column(name):
                return r_name(name)
            case Poly(of, degree, raw, _):
                return f"poly({self.name(of)}, {degree}{', raw = TRUE' if raw else ''})"
            case Factor():
                return r_name(self.derive(variable))
            case Within() | Between() | Center():
                coded = expand((INTERCEPT, Term((variable,))), self.facts.levels, self.facts.text_columns)[1:]
                names = [r_name(self.derive(c.variables[0])) for c in coded]
                return names[0] if len(names) == 1 else f"({' + '.join(names)})"
        return expression(variable)

    def derive(self, variable: Variable) -> str:
        """The name of a derived column; the first time, its line is added."""
        for name, known in self.derived.items():
            if known == variable:
                return name
        if isinstance(variable, Within | Between) and variable.over and _MEAN_OVER not in self.lines:
            self.lines.insert(0, _MEAN_OVER)
        value = self.value(variable)
        stem = base = self.stem(variable)
        number = 2
        while base in self._taken:
            base, number = f"{stem}_{number}", number + 1
        self._taken.add(base)
        self.derived[base] = variable
        self.lines.append(f"{column(base)} <- {value}")
        if isinstance(variable, Factor) and variable.coding == "sum":
            self.lines.append(f"contrasts({column(base)}) <- contr.sum(nlevels({column(base)}))")
        return base

    def value(self, variable: Variable) -> str:
        """R code that computes a variable's values."""
        match variable:
            case Column(name):
                return column(name)
            case Indicator(name, level, against):
                minus = f" - ({column(name)} == {r_string(against)})" if against is not None else ""
                return f"({column(name)} == {r_string(level)}){minus}"
            case Factor(name, reference, coding):
                levels = [x for x in self.facts.levels[name] if x != reference]
                ends = [reference] if reference is not None else []
                return self.factor(name, (*levels, *ends) if coding == "sum" else (*ends, *levels))
            case Poly(of, degree, raw, power):
                return f"poly({self.of(of)}, {degree}{', raw = TRUE' if raw else ''})[, {power}]"
            case Within(of, group, over):
                return f"{self.of(of)} - {self.mean(of, group, over)}"
            case Between(of, group, over):
                return self.mean(of, group, over)
            case Center(of, at, over):
                return f"{self.of(of)} - {self.center(of, at, over)}"
        return f"with(data, {expression(variable)})"

    def of(self, variable: Variable) -> str:
        """What a centering is of: a column, derived first if need be."""
        return (
            column(self.derive(variable)) if isinstance(variable, Within | Between | Center) else self.value(variable)
        )

    def mean(self, of: Variable, group: GroupingFactor | None, over: GroupingFactor | None) -> str:
        """Group means, in every row."""
        units = self.facts.units(group)
        if over is None:
            return f"ave({self.of(of)}, {interaction(units)})"
        # each unit of `over` counts once in each unit of `group` that it meets
        inner = interaction(tuple(dict.fromkeys((*units, *self.facts.units(over)))))
        return f"mean_over({self.of(of)}, {interaction(units)}, {inner})"

    def center(self, of: Variable, at: float | None, over: GroupingFactor | None) -> str:
        """What is subtracted from every row."""
        if at is not None:
            return number_text(at) if at >= 0 else f"({number_text(at)})"
        return (
            f"mean({self.of(of)})"
            if over is None
            else f"mean(tapply({self.of(of)}, {interaction(self.facts.units(over))}, mean))"
        )

    @staticmethod
    def factor(name: str, levels: tuple[str, ...]) -> str:
        """A factor whose levels stand in our order, and not in that of R's locale."""
        numeric = all(re.fullmatch(r"-?\d+(\.\d+)?", level) for level in levels)
        listed = ", ".join(levels if numeric else map(r_string, levels))
        values = f"tolower({column(name)})" if set(levels) == {"false", "true"} else column(name)
        return f"factor({values}, levels = c({listed}))"

    @staticmethod
    def stem(variable: Variable) -> str:
        """A telling name for a derived column."""
        match variable:
            case Column(name):
                return re.sub(r"\W", "_", name)
            case Indicator(name, level, _):
                return re.sub(r"\W", "_", f"{name}_{level}")
            case Factor(name):
                return re.sub(r"\W", "_", f"{name}_factor")
            case Poly(of, _, _, power):
                return f"{RColumns.stem(of)}_poly{power}"
            case Within(of, group, _):
                return "_".join([RColumns.stem(of), "within", *(group or ())])
            case Between(of, group, _):
                return "_".join([RColumns.stem(of), "mean", *(group or ())])
            case Center(of, _, _):
                return f"{RColumns.stem(of)}_centered"
        return re.sub(r"\W+", "_", expression(variable)).strip("_")


def expression(variable: Variable) -> str:
    """Columns and functions of columns, as R writes them."""
    match variable:
        case Column(name):
            return r_name(name)
        case Constant(value):
            return number_text(value)
        case Function(name, arguments) if name.isidentifier():
            return f"{name}({', '.join(map(expression, arguments))})"
        case Function(name, arguments):
            shown = [f"({expression(a)})" if _is_operation(a) else expression(a) for a in arguments]
            operator = "^" if name == "**" else name if len(arguments) == 1 else f" {name} "
            return operator.join(shown) if len(shown) > 1 else operator + shown[0]
    raise AssertionError(f"{variable} is no expression of columns")


def _is_operation(variable: Variable) -> bool:
    return isinstance(variable, Function) and not variable.name.isidentifier()


def interaction(columns: GroupingFactor) -> str:
    """The units that the values of several columns name together."""
    named = [column(name) for name in columns]
    return named[0] if len(named) == 1 else f"interaction({', '.join(named)}, drop = TRUE)"


def column(name: str) -> str:
    """``data$ses``."""
    return f"data${r_name(name)}"


def r_name(name: str) -> str:
    """A name, in backticks where R asks for them."""
    if re.fullmatch(r"[A-Za-z][A-Za-z0-9._]*", name) and name not in _RESERVED:
        return name
    return "`" + _escaped(name).replace("`", "\\`") + "`"


def r_string(text: str) -> str:
    """A text in quotes."""
    return '"' + _escaped(text).replace('"', '\\"') + '"'


def _escaped(text: str) -> str:
    """What may stand between quotes: control characters as Unicode escapes, which R does not mix with others."""
    doubled = text.replace("\\", "\\\\").replace("\n", "\\n")
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in doubled)
