"""The parameter table as equations of each level, which the writers of mixed models' equations write."""

from __future__ import annotations

from collections.abc import Iterator

from mlm_ops.language.model import number_text
from mlm_ops.results.equations import WRITERS
from mlm_ops.results.equations.statements import (
    Association,
    Atom,
    Equation,
    Heading,
    Named,
    Product,
    Sign,
    Statement,
    Symbol,
    Value,
)
from mlm_ops.structural.model import BETWEEN, WITHIN
from mlm_ops.structural.parameters import Parameter, ParameterTable

_TITLES = {WITHIN: "Level 1 (within clusters)", BETWEEN: "Level 2 (between clusters)"}
_PART = {WITHIN: "W", BETWEEN: "B"}
_UNITS = {WITHIN: "ij", BETWEEN: "j"}
_RESIDUAL = {WITHIN: "e", BETWEEN: "u"}
_LETTERS = {"=~": "lambda", "~": "beta", "~1": "alpha", "~~": "psi"}


def sem_equations(table: ParameterTable, alphabet: str) -> str:
    """The model by level in one of the alphabets of `WRITERS`."""
    return WRITERS[alphabet].page(list(_statements(table)))


def _statements(table: ParameterTable) -> Iterator[Statement]:
    """One equation a variable that has predictors or factors, after the split of the variables of both levels."""
    for name in table.both:
        parts = ((Named(name, _UNITS[level], _PART[level]),) for level in (BETWEEN, WITHIN))
        yield Equation(Named(name, _UNITS[WITHIN]), tuple(parts))
    for level in (WITHIN, BETWEEN):
        yield Heading(_TITLES[level])
        names = table.variables(level)
        for name in (*names.latent, *names.observed):
            yield _equation(table, level, name)
        for row in table.at(level):
            if row.op == "~~" and row.lhs != row.rhs and _is_there(row):
                first, second = (_residual(level, name) for name in (row.lhs, row.rhs))
                yield Association("Cov", first, second, _coefficient(table, row))
    if table.definitions:
        yield Heading("Defined")
    for definition in table.definitions:
        yield Equation(Named(definition.name), ((Named(definition.text),),))


def _is_there(row: Parameter) -> bool:
    return row.index is not None or row.value != 0


def _equation(table: ParameterTable, level: int, name: str) -> Equation:
    rows = table.at(level)
    into = [r for r in rows if (r.op == "~" and r.lhs == name) or (r.op == "=~" and r.rhs == name)]
    mean = next((r for r in rows if r.op == "~1" and r.lhs == name), None)
    variance = next(r for r in rows if r.is_variance and r.lhs == name)
    terms: list[Product] = [(_coefficient(table, mean),)] if mean is not None and _is_there(mean) else []
    for row in into:
        other = _variable(table, level, row.rhs if row.op == "~" else row.lhs)
        factor = _coefficient(table, row)
        terms.append((other,) if factor == Value(1.0, exact=True) else (factor, Sign("*"), other))
    if _is_there(variance):
        terms.append((_residual(level, name),))
    return Equation(_variable(table, level, name), tuple(terms))


def _coefficient(table: ParameterTable, row: Parameter) -> Atom:
    """Its label, its fixed value, or a letter with the number of the parameter."""
    if row.label:
        return Named(row.label)
    if row.index is None:
        return Value(row.value, exact=True)
    alike = list(dict.fromkeys(r.index for r in table.rows if r.op == row.op and r.index is not None and not r.label))
    return Symbol(_LETTERS[row.op], str(alike.index(row.index) + 1))


def _variable(table: ParameterTable, level: int, name: str) -> Named:
    return Named(name, _UNITS[level], _PART[level] if name in table.both else "")


def _residual(level: int, name: str) -> Symbol:
    return Symbol(_RESIDUAL[level], units=_UNITS[level], of=name)


#: Names beyond this length are cut by Mplus.
_LONGEST_NAME = 8
_PER_LINE = 8


def mplus_input(table: ParameterTable, cluster: str) -> str:
    """VARIABLE, ANALYSIS, MODEL and MODEL CONSTRAINT of an Mplus run."""
    within_only = [name for name in table.within.observed if name not in table.both]
    labels = {row.label for row in table.rows if row.label}
    long = [n for n in sorted({*table.columns, *labels, cluster}) if len(n) > _LONGEST_NAME]
    lines = [f"! Mplus cuts names after {_LONGEST_NAME} letters; shorten {', '.join(long)}."] if long else []
    lines += _means_within(table)
    lines += ["VARIABLE:", *_list("USEVARIABLES", list(table.columns)), f"  CLUSTER = {cluster};"]
    lines += _list("WITHIN", within_only) + _list("BETWEEN", list(table.between_only))
    lines += ["ANALYSIS:", "  TYPE = TWOLEVEL;", "  ESTIMATOR = ML;", "MODEL:"]
    for level, title in ((WITHIN, "%WITHIN%"), (BETWEEN, "%BETWEEN%")):
        lines += [
            f"  {title}",
            *(f"    {_statement(table, row)};" for row in table.at(level) if _is_stated(table, row)),
        ]
    if table.definitions:
        names = " ".join(definition.name for definition in table.definitions)
        lines += ["MODEL CONSTRAINT:", f"  NEW({names});"]
        lines += [f"  {d.name} = {d.text.replace('^', '**')};" for d in table.definitions]
    return "\n".join(lines)


def _list(keyword: str, names: list[str]) -> list[str]:
    if not names:
        return []
    parts = [" ".join(names[i : i + _PER_LINE]) for i in range(0, len(names), _PER_LINE)]
    return [f"  {keyword} = " + "\n    ".join(parts) + ";"]


def _is_stated(table: ParameterTable, row: Parameter) -> bool:
    """Means at level 1 are no parameters of Mplus where the variable has one at level 2, nor of its factors."""
    return row.op != "~1" or row.lhs not in (*table.both, *table.within.latent) or row.level == BETWEEN


def _statement(table: ParameterTable, row: Parameter) -> str:
    # Mplus tells latent variables of the two levels apart by their names alone
    shared = set(table.within.latent) & set(table.between.latent)
    suffix = "w" if row.level == WITHIN else "b"
    lhs, rhs = (f"{name}_{suffix}" if name in shared else name for name in (row.lhs, row.rhs))
    value = f"@{number_text(row.value)}" if row.index is None else "*"
    label = f" ({name})" if (name := _label(table, row)) else ""
    match row.op:
        case "=~":
            return f"{lhs} BY {rhs}{value}{label}"
        case "~":
            return f"{lhs} ON {rhs}{value}{label}"
        case "~1":
            return f"[{lhs}{value}]{label}"
        case _ if row.is_variance:
            return f"{lhs}{value}{label}"
        case _:
            return f"{lhs} WITH {rhs}{value}{label}"


def _label(table: ParameterTable, row: Parameter) -> str | None:
    """Its own, else one for parameters that ``equal()`` makes one, which Mplus tells by a common label alone."""
    if row.index is None:
        return row.label
    alike = [other for other in table.rows if other.index == row.index]
    return next((other.label for other in alike if other.label), f"equal{row.index}" if len(alike) > 1 else None)


def _means_within(table: ParameterTable) -> list[str]:
    """A remark for each mean that the model has within clusters, where Mplus has none."""
    means = [r for r in table.at(WITHIN) if r.op == "~1" and r.lhs in table.both and (r.index is not None or r.value)]
    return [
        f"! Mplus has no mean of {r.lhs} within clusters: its mean between is larger by "
        f"{number_text(r.value) if r.index is None else 'that of level 1, so free it there'}."
        for r in means
    ]
