"""The parameter table as equations of each level, in text and in LaTeX."""

from __future__ import annotations

from mlm_ops.language.model import number_text
from mlm_ops.structural.model import BETWEEN, WITHIN
from mlm_ops.structural.parameters import Parameter, ParameterTable

_TITLES = {WITHIN: "Level 1 (within clusters)", BETWEEN: "Level 2 (between clusters)"}
_SUFFIX = {WITHIN: "W", BETWEEN: "B"}
_INDEX = {WITHIN: "ij", BETWEEN: "j"}
_RESIDUAL = {WITHIN: "e", BETWEEN: "u"}


def level_equations(table: ParameterTable, *, latex: bool = False) -> str:
    """One equation a variable that has predictors or factors, after the split of the variables of both levels."""
    lines = [_split(name, latex) for name in table.both]
    for level in (WITHIN, BETWEEN):
        lines += ["", rf"\text{{{_TITLES[level]}}}" if latex else _TITLES[level]]
        names = table.variables(level)
        lines += [_equation(table, level, name, latex) for name in (*names.latent, *names.observed)]
        lines += [_covariance(table, row, latex) for row in table.at(level) if _is_shown(row)]
    lines += [""] * bool(table.definitions)
    lines += [_defined(d.name, d.text, latex) for d in table.definitions]
    shown = [line for i, line in enumerate(lines) if line or (i and i + 1 < len(lines))]
    if not latex:
        return "\n".join(shown)
    return "\\begin{aligned}\n" + " \\\\\n".join(f"  {line}" for line in shown if line) + "\n\\end{aligned}"


def _is_shown(row: Parameter) -> bool:
    return row.op == "~~" and row.lhs != row.rhs and (row.index is not None or row.value != 0)


def _split(name: str, latex: bool) -> str:
    if latex:
        return rf"{_word(name)}_{{ij}} &= {_word(name)}^{{B}}_{{j}} + {_word(name)}^{{W}}_{{ij}}"
    return f"{name}_ij = {name}_B,j + {name}_W,ij"


def _equation(table: ParameterTable, level: int, name: str, latex: bool) -> str:
    rows = table.at(level)
    into = [r for r in rows if (r.op == "~" and r.lhs == name) or (r.op == "=~" and r.rhs == name)]
    mean = next((r for r in rows if r.op == "~1" and r.lhs == name), None)
    variance = next(r for r in rows if r.is_variance and r.lhs == name)
    terms = []
    if mean is not None and (mean.index is not None or mean.value != 0):
        terms.append(_coefficient(table, mean, latex))
    for row in into:
        other = _variable(table, level, row.rhs if row.op == "~" else row.lhs, latex)
        factor = _coefficient(table, row, latex)
        terms.append(other if factor == "1" else f"{factor} {other}" if latex else f"{factor}*{other}")
    if variance.index is not None or variance.value != 0:
        terms.append(_residual(level, name, latex))
    left, equals = _variable(table, level, name, latex), " &= " if latex else " = "
    return left + equals + (" + ".join(terms).replace("+ -", "- ") or "0")


def _coefficient(table: ParameterTable, row: Parameter, latex: bool) -> str:
    """Its label, its fixed value, or a letter with the number of the parameter."""
    if row.label:
        return _word(row.label) if latex else row.label
    if row.index is None:
        return number_text(row.value)
    letter = {"=~": "lambda", "~": "beta", "~1": "alpha", "~~": "psi"}[row.op]
    alike = list(dict.fromkeys(r.index for r in table.rows if r.op == row.op and r.index is not None and not r.label))
    number = alike.index(row.index) + 1
    return rf"\{letter}_{{{number}}}" if latex else f"{letter}_{number}"


def _variable(table: ParameterTable, level: int, name: str, latex: bool) -> str:
    split = name in table.both
    if latex:
        return f"{_word(name)}{'^{' + _SUFFIX[level] + '}' if split else ''}_{{{_INDEX[level]}}}"
    return f"{name}_{_SUFFIX[level] + ',' if split else ''}{_INDEX[level]}"


def _residual(level: int, name: str, latex: bool) -> str:
    letter = _RESIDUAL[level]
    return rf"{letter}_{{{_word(name)},{_INDEX[level]}}}" if latex else f"{letter}_{name},{_INDEX[level]}"


def _covariance(table: ParameterTable, row: Parameter, latex: bool) -> str:
    pair = ", ".join(_residual(row.level, name, latex) for name in (row.lhs, row.rhs))
    value = _coefficient(table, row, latex)
    return rf"\operatorname{{Cov}}({pair}) &= {value}" if latex else f"Cov({pair}) = {value}"


def _defined(name: str, text: str, latex: bool) -> str:
    return rf"{_word(name)} &= \text{{{_escaped(text)}}}" if latex else f"{name} = {text}"


def _word(name: str) -> str:
    return rf"\mathrm{{{_escaped(name)}}}"


def _escaped(text: str) -> str:
    return "".join("\\" + c if c in "_%&#$" else r"\wedge " if c == "^" else c for c in text)


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
