"""Write a model as R code: lme4's lmer, nlme where lme4 lacks the model, lm for one level."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mlm_ops.errors import MlmError
from mlm_ops.language.columns import as_factor, expand
from mlm_ops.language.covariances import STRUCTURES
from mlm_ops.language.formula import formula_text, sum_of_terms
from mlm_ops.language.model import (
    INTERCEPT,
    Centering,
    Column,
    Constant,
    Factor,
    Function,
    GrandMean,
    GroupingFactor,
    GroupMean,
    Indicator,
    Poly,
    RandomBlock,
    Term,
    Variable,
    columns_of,
    group_name,
    number_text,
)
from mlm_ops.results.export.facts import ExportFacts
from mlm_ops.results.export.r_reading import reading_lines
from mlm_ops.results.export.r_text import call, column, r_name, r_string

_MEAN_OVER = """\
mean_over <- function(x, group, unit) {  # each unit of `unit` counts once
  first <- !duplicated(unit)
  as.vector(tapply(ave(x, unit)[first], group[first], mean)[as.character(group)])
}"""


class RColumns:
    """Give the variables names in R's formulas, and collect the lines that make derived columns.

    Attributes
    ----------
    lines
        R code, in the order in which it must run.
    derived
        Variable of each derived column, by the column's name.
    """

    def __init__(self, facts: ExportFacts) -> None:
        self.facts = facts
        self.derived: dict[str, Variable] = {}
        self._names_in_use = set(facts.columns)
        # a grouping factor's units need no order, and may be groups too small to be named in public
        factor_columns = {*(c for v in facts.model.variables for c in columns_of(v)), facts.model.residual.strata}
        text = [c for c in facts.columns if c in facts.text_columns and c in facts.levels and c in factor_columns]
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
            case Centering():
                columns = expand((INTERCEPT, Term((variable,))), self.facts.levels, self.facts.text_columns)[1:]
                names = [r_name(self.derive(c.variables[0])) for c in columns]
                return names[0] if len(names) == 1 else f"({' + '.join(names)})"
        return expression(variable)

    def derive(self, variable: Variable) -> str:
        """The name of a derived column; the first time, its line is added."""
        for name, derived_variable in self.derived.items():
            if derived_variable == variable:
                return name
        value = self.value(variable)
        stem = name = self.stem(variable)
        number = 2
        while name in self._names_in_use:
            name, number = f"{stem}_{number}", number + 1
        self._names_in_use.add(name)
        self.derived[name] = variable
        self.lines.append(f"{column(name)} <- {value}")
        if isinstance(variable, Factor) and variable.coding == "sum":
            self.lines.append(f"contrasts({column(name)}) <- contr.sum(nlevels({column(name)}))")
        return name

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
            case Centering(of):
                mean = self.mean(of, variable.mean)
                return f"{self.of(of)} - {mean}" if variable.keeps_value else mean
        return f"with(data, {expression(variable)})"

    def of(self, variable: Variable) -> str:
        """The column that a centering centers, derived first if necessary."""
        return column(self.derive(variable)) if isinstance(variable, Centering) else self.value(variable)

    def mean(self, of: Variable, mean: GroupMean | GrandMean | float) -> str:
        """The mean that a centering takes, in every row or of all rows."""
        match mean:
            case GroupMean(group, None):
                return f"ave({self.of(of)}, {interaction(self.facts.units(group))})"
            case GroupMean(group, over):
                if _MEAN_OVER not in self.lines:
                    self.lines.insert(0, _MEAN_OVER)
                # each unit of `over` counts once in each unit of `group` that it meets
                units = self.facts.units(group)
                inner = interaction(tuple(dict.fromkeys((*units, *self.facts.units(over)))))
                return f"mean_over({self.of(of)}, {interaction(units)}, {inner})"
            case GrandMean(None):
                return f"mean({self.of(of)})"
            case GrandMean(over):
                return f"mean(tapply({self.of(of)}, {interaction(self.facts.units(over))}, mean))"
            case value:
                return number_text(value) if value >= 0 else f"({number_text(value)})"

    @staticmethod
    def factor(name: str, levels: tuple[str, ...]) -> str:
        """A factor whose levels stand in our order, and not in that of R's locale."""
        numeric = all(re.fullmatch(r"-?\d+(\.\d+)?", level) for level in levels)
        levels_text = ", ".join(levels if numeric else map(r_string, levels))
        values = f"tolower({column(name)})" if set(levels) == {"false", "true"} else column(name)
        return f"factor({values}, levels = c({levels_text}))"

    @staticmethod
    def stem(variable: Variable) -> str:
        """A readable name for a derived column."""
        match variable:
            case Column(name):
                return re.sub(r"\W", "_", name)
            case Indicator(name, level, _):
                return re.sub(r"\W", "_", f"{name}_{level}")
            case Factor(name):
                return re.sub(r"\W", "_", f"{name}_factor")
            case Poly(of, _, _, power):
                return f"{RColumns.stem(of)}_poly{power}"
            case Centering(of):
                group = variable.mean.group if isinstance(variable.mean, GroupMean) else None
                return "_".join([RColumns.stem(of), variable.stem, *(group or ())])
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
            texts = [f"({expression(a)})" if _is_operation(a) else expression(a) for a in arguments]
            operator = "^" if name == "**" else name if len(arguments) == 1 else f" {name} "
            return operator.join(texts) if len(texts) > 1 else operator + texts[0]
    raise AssertionError(f"{variable} is no expression of columns")


def _is_operation(variable: Variable) -> bool:
    return isinstance(variable, Function) and not variable.name.isidentifier()


def interaction(columns: GroupingFactor) -> str:
    """The units that the values of several columns name together."""
    names = [column(name) for name in columns]
    return names[0] if len(names) == 1 else f"interaction({', '.join(names)}, drop = TRUE)"


def r_code(facts: ExportFacts) -> str:
    """Write a model as R code.

    Raises
    ------
    MlmError
        Neither lme4 nor nlme has the model.
    """
    if not all(isinstance(block.covariance, str) for block in facts.model.random):
        raise MlmError("Neither lme4 nor nlme holds variances of random effects at given values, as this model does.")
    return "\n".join(_lines(facts, RColumns(facts)))


def _lines(facts: ExportFacts, columns: RColumns) -> Iterator[str]:
    if not facts.model.random:
        package, model_call = _one_level(facts, columns)
    elif _is_lmer(facts):
        package, model_call = "lme4", _lmer(facts, columns)
    else:
        package, model_call = "nlme", _lme(facts, columns)
    yield f"# {' '.join(facts.model.text.split())}"
    if package:
        yield f"library({package})"
    yield from reading_lines(facts)
    yield f"used <- c({', '.join(r_string(name) for name in facts.complete)})"
    yield "data <- data[complete.cases(data[used]), used, drop = FALSE]"
    yield from columns.lines
    if facts.part is not None:
        part, group = facts.part
        units = interaction(group)
        unit_names = " ".join(units.split())  # a comment ends with its line
        # lm takes every row for an observation
        yield {
            "between": f"data <- data[!duplicated({units}), ]  # one row per unit",
            "within": f"# the residual has N - J - p degrees of freedom, J counting {unit_names}; lm takes off p alone",
        }[part]
    yield f"fit <- {model_call}"
    yield "summary(fit)"


def _is_lmer(facts: ExportFacts) -> bool:
    """Whether lme4 has the model: independent residuals, and each T by one bar, or for numbers one bar per effect."""
    residual = facts.model.residual
    plain = residual.strata is None and residual.time is None
    return plain and all(_is_lmer_block(facts, block) for block in facts.model.random)


def _is_lmer_block(facts: ExportFacts, block: RandomBlock) -> bool:
    bars = STRUCTURES[str(block.covariance)].lmer
    return bars == "joint" or (not _has_factor(facts, block) and (len(block.terms) == 1 or bars is not None))


def _has_factor(facts: ExportFacts, block: RandomBlock) -> bool:
    return any(as_factor(v, facts.text_columns) is not None for term in block.terms for v in term.variables)


def _lmer(facts: ExportFacts, columns: RColumns) -> str:
    """``lmer(…)``; independent effects have one bar each."""
    blocks = []
    for block in facts.model.random:
        group = facts.units(block.group)
        term_lists: list[tuple[Term, ...]] = (
            [(term,) for term in block.terms] if STRUCTURES[str(block.covariance)].lmer == "apart" else [block.terms]
        )
        blocks += [RandomBlock(terms, group) for terms in term_lists]
    model = replace(facts.model, random=tuple(blocks))
    formula = formula_text(model, columns.name, lambda group: ":".join(map(r_name, group)))
    return call("lmer", [formula, "data = data", f"REML = {_flag(facts.reml)}", *_prior_weights(facts)])


def _one_level(facts: ExportFacts, columns: RColumns) -> tuple[str, str]:
    """``lm(…)``; ``gls(…)`` where strata have variances of their own."""
    formula = formula_text(facts.model, columns.name)
    if facts.model.residual.strata is None:
        return "", call("lm", [formula, "data = data", *_prior_weights(facts)])
    return "nlme", call("gls", [formula, "data = data", _method(facts), *_nlme_residual(facts, columns, ())])


def _pd_class(block: RandomBlock) -> str:
    """The class of a block's T in nlme."""
    structure = STRUCTURES[str(block.covariance)]
    if structure.nlme is None:
        raise MlmError(
            f"Neither lme4 nor nlme has random effects of {structure.meaning}. Got the covariance structure "
            f"{structure.name} for {group_name(block.group)}."
        )
    return structure.nlme


def _lme(facts: ExportFacts, columns: RColumns) -> str:
    """``lme(…)``, grouping factors from the highest to the lowest."""
    if facts.structure.crossed:
        raise MlmError(
            "Neither lme4 nor nlme has this model: lme4 has no such residual or covariance structure, and nlme no "
            f"crossed grouping factors. Got {', '.join(facts.structure.groups)}."
        )
    above: GroupingFactor = ()
    random, names = [], []
    for group in reversed(facts.groups):
        blocks = [block for block in facts.model.random if facts.units(block.group) == facts.units(group)]
        units = tuple(c for c in facts.units(group) if c not in above)
        name = units[-1]
        if len(units) > 1:
            # lme takes one column per level, whose labels it nests in those above
            name = "_".join(units)
            columns.lines.append(f"{column(name)} <- {interaction(facts.units(group))}")
        above = (*above, *units)
        matrices = [f"{_pd_class(b)}(~ {sum_of_terms(b.terms, columns.name)})" for b in blocks]
        pd_matrix = matrices[0] if len(matrices) == 1 else f"pdBlocked(list({', '.join(matrices)}))"
        random.append(f"{r_name(name)} = {pd_matrix}")
        names.append(r_name(name))
    fixed = formula_text(replace(facts.model, random=()), columns.name)
    return call(
        "lme",
        [
            fixed,
            f"random = list({', '.join(random)})",
            "data = data",
            _method(facts),
            *_nlme_residual(facts, columns, tuple(names)),
        ],
    )


def _nlme_residual(facts: ExportFacts, columns: RColumns, groups: tuple[str, ...]) -> list[str]:
    """Variance function and correlation structure of nlme."""
    residual = facts.model.residual
    variances = [f"varIdent(form = ~ 1 | {r_name(residual.strata)})"] if residual.strata else []
    match residual.precision:
        case Function("/", (_, Column(variance_column))):
            variances.append(f"varFixed(~ {r_name(variance_column)})")
        case None:
            pass
        case precision:
            columns.lines.append(f"data$inverse_weight <- 1 / {columns.value(precision)}")
            variances.append("varFixed(~ inverse_weight)")
    arguments = []
    if variances:
        functions = ", ".join(variances)
        arguments.append(f"weights = {functions}" if len(variances) == 1 else f"weights = varComb({functions})")
    if residual.time is not None:
        arguments.append(f"correlation = corAR1(form = ~ {r_name(residual.time)} | {'/'.join(groups)})")
    return arguments


def _prior_weights(facts: ExportFacts) -> list[str]:
    precision = facts.model.residual.precision
    return [] if precision is None else [f"weights = {expression(precision)}"]


def _method(facts: ExportFacts) -> str:
    return f'method = "{"REML" if facts.reml else "ML"}"'


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"
