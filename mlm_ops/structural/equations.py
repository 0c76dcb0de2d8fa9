"""The parameter table as equations of each level, in text and in LaTeX."""

from __future__ import annotations

from mlm_ops.language.model import number_text
from mlm_ops.language.structural.model import BETWEEN, WITHIN
from mlm_ops.language.structural.parameters import Parameter, ParameterTable

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
