"""The parameter table as Mplus input: every default written out, since Mplus has others."""

from __future__ import annotations

from mlm_ops.language.model import number_text
from mlm_ops.language.structural.model import BETWEEN, WITHIN
from mlm_ops.language.structural.parameters import Parameter, ParameterTable

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
