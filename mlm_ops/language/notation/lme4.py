"""A model as R code: lme4's lmer, or nlme where lme4 has no word for the residual or for T; lm for one level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from mlm_ops.errors import MlmError
from mlm_ops.language.columns import as_factor
from mlm_ops.language.model import Column, Function, GroupingFactor, RandomBlock, Term
from mlm_ops.language.notation.facts import Facts
from mlm_ops.language.notation.formula_text import formula_text, sum_of_terms
from mlm_ops.language.notation.r_columns import RColumns, column, expression, interaction, r_name, r_string

#: nlme's class of each structure of T.
_PD_CLASSES = {"unstructured": "pdLogChol", "diagonal": "pdDiag", "compound": "pdCompSymm", "identity": "pdIdent"}


def r_code(facts: Facts) -> str:
    """Write a model as R code.

    Raises
    ------
    MlmError
        Neither lme4 nor nlme has the model.
    """
    if not all(isinstance(block.covariance, str) for block in facts.model.random):
        raise MlmError("Neither lme4 nor nlme holds variances of random effects at given values, as this model does.")
    return "\n".join(_lines(facts, RColumns(facts)))


def _lines(facts: Facts, columns: RColumns) -> Iterator[str]:
    if not facts.model.random:
        package, call = _one_level(facts, columns)
    elif _is_lmer(facts):
        package, call = "lme4", _lmer(facts, columns)
    else:
        package, call = "nlme", _lme(facts, columns)
    yield f"# {' '.join(facts.model.text.split())}"
    if package:
        yield f"library({package})"
    yield from _reading(facts)
    complete = ", ".join(r_string(name) for name in facts.complete)
    yield f"data <- data[complete.cases(data[c({complete})]), ]"
    yield from columns.lines
    if facts.part is not None:
        part, group = facts.part
        units = interaction(group)
        counted = " ".join(units.split())  # a comment ends with its line
        # lm takes every row for an observation
        yield {
            "between": f"data <- data[!duplicated({units}), ]  # one row a unit",
            "within": f"# the residual has N - J - p degrees of freedom, J counting {counted}; lm takes off p alone",
        }[part]
    yield f"fit <- {call}"
    yield "summary(fit)"


def _reading(facts: Facts) -> Iterator[str]:
    """Read the rows, from their file or from one to be named; text that looks like numbers stays text."""
    path = facts.file or "DATA.csv"
    if facts.file is None:
        yield "# DATA.csv stands for your data: write the table there, or read it here in another way"
    if path.lower().endswith(".parquet"):
        yield f"data <- as.data.frame(arrow::read_parquet({r_string(path)}))"
        return
    function = "read.delim" if path.lower().endswith(".tsv") else "read.csv"
    texts = ", ".join(f'{r_string(c)} = "character"' for c in facts.columns if c in facts.text_columns)
    arguments = [r_string(path), 'na.strings = c("", "NA")', "check.names = FALSE"]
    yield f"data <- {_call(function, [*arguments, *([f'colClasses = c({texts})'] if texts else [])])}"


def _is_lmer(facts: Facts) -> bool:
    """Whether lme4 has the model: independent residuals, and each T unstructured or, of numbers, diagonal."""
    residual = facts.model.residual
    plain = residual.strata is None and residual.time is None
    return plain and all(_is_lmer_block(facts, block) for block in facts.model.random)


def _is_lmer_block(facts: Facts, block: RandomBlock) -> bool:
    numbers = not _has_factor(facts, block)
    one = numbers and len(block.terms) == 1
    return one or block.covariance == "unstructured" or (numbers and block.covariance == "diagonal")


def _has_factor(facts: Facts, block: RandomBlock) -> bool:
    return any(as_factor(v, facts.text_columns) is not None for term in block.terms for v in term.variables)


def _lmer(facts: Facts, columns: RColumns) -> str:
    """``lmer(…)``; independent effects have a bar each."""
    blocks = []
    for block in facts.model.random:
        group = facts.units(block.group)
        alone: list[tuple[Term, ...]] = (
            [(term,) for term in block.terms] if block.covariance == "diagonal" else [block.terms]
        )
        blocks += [RandomBlock(terms, group) for terms in alone]
    model = replace(facts.model, random=tuple(blocks))
    formula = formula_text(model, columns.name, lambda group: ":".join(map(r_name, group)))
    return _call("lmer", [formula, "data = data", f"REML = {_flag(facts.reml)}", *_prior_weights(facts)])


def _one_level(facts: Facts, columns: RColumns) -> tuple[str, str]:
    """``lm(…)``; ``gls(…)`` where strata have variances of their own."""
    formula = formula_text(facts.model, columns.name)
    if facts.model.residual.strata is None:
        return "", _call("lm", [formula, "data = data", *_prior_weights(facts)])
    return "nlme", _call("gls", [formula, "data = data", _method(facts), *_nlme_residual(facts, columns, ())])


def _lme(facts: Facts, columns: RColumns) -> str:
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
            # units of lme's levels are told apart within those above them; by more than one column by none
            name = "_".join(units)
            columns.lines.append(f"{column(name)} <- {interaction(facts.units(group))}")
        above = (*above, *units)
        matrices = [f"{_PD_CLASSES[str(b.covariance)]}(~ {sum_of_terms(b.terms, columns.name)})" for b in blocks]
        joined = matrices[0] if len(matrices) == 1 else f"pdBlocked(list({', '.join(matrices)}))"
        random.append(f"{r_name(name)} = {joined}")
        names.append(r_name(name))
    fixed = formula_text(replace(facts.model, random=()), columns.name)
    return _call(
        "lme",
        [
            fixed,
            f"random = list({', '.join(random)})",
            "data = data",
            _method(facts),
            *_nlme_residual(facts, columns, tuple(names)),
        ],
    )


def _nlme_residual(facts: Facts, columns: RColumns, groups: tuple[str, ...]) -> list[str]:
    """Variance function and correlation structure of nlme."""
    residual = facts.model.residual
    variances = [f"varIdent(form = ~ 1 | {r_name(residual.strata)})"] if residual.strata else []
    match residual.precision:
        case Function("/", (_, Column(known))):
            variances.append(f"varFixed(~ {r_name(known)})")
        case None:
            pass
        case precision:
            columns.lines.append(f"data$inverse_weight <- 1 / {columns.value(precision)}")
            variances.append("varFixed(~ inverse_weight)")
    found = []
    if variances:
        joined = ", ".join(variances)
        found.append(f"weights = {joined}" if len(variances) == 1 else f"weights = varComb({joined})")
    if residual.time is not None:
        found.append(f"correlation = corAR1(form = ~ {r_name(residual.time)} | {'/'.join(groups)})")
    return found


def _prior_weights(facts: Facts) -> list[str]:
    precision = facts.model.residual.precision
    return [] if precision is None else [f"weights = {expression(precision)}"]


def _method(facts: Facts) -> str:
    return f'method = "{"REML" if facts.reml else "ML"}"'


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _call(function: str, arguments: list[str]) -> str:
    return f"{function}(\n  " + ",\n  ".join(arguments) + "\n)"
