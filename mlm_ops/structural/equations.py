"""Write a structural model's equations level by level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mlm_ops.language.model import number_text
from mlm_ops.language.tokens import STRUCTURAL, tokenize
from mlm_ops.results.equations import WRITERS, EquationFormat
from mlm_ops.results.equations.statements import (
    Association,
    Atom,
    Equation,
    Heading,
    Product,
    Sign,
    Statement,
    Symbol,
    Value,
    VariableName,
)
from mlm_ops.results.export.mplus_input import NAME_LENGTH, MplusInput, MplusNames
from mlm_ops.structural.model import BETWEEN, WITHIN
from mlm_ops.structural.parameters import ParameterTable, SemParameter

_TITLES = {WITHIN: "Level 1 (within clusters)", BETWEEN: "Level 2 (between clusters)"}
_PART = {WITHIN: "W", BETWEEN: "B"}
_UNITS = {WITHIN: "ij", BETWEEN: "j"}
_RESIDUAL = {WITHIN: "e", BETWEEN: "u"}
_LETTERS = {"=~": "lambda", "~": "beta", "~1": "alpha", "~~": "psi"}


def sem_equations(table: ParameterTable, format: EquationFormat) -> str:
    """The model by level in one of the formats of `WRITERS`."""
    return WRITERS[format].page(list(_statements(table)))


def _statements(table: ParameterTable) -> Iterator[Statement]:
    """One equation a variable that has predictors or factors, after the split of the variables of both levels."""
    for name in table.both:
        parts = ((VariableName(name, _UNITS[level], _PART[level]),) for level in (BETWEEN, WITHIN))
        yield Equation(VariableName(name, _UNITS[WITHIN]), tuple(parts))
    for level in (WITHIN, BETWEEN):
        yield Heading(_TITLES[level])
        names = table.variables(level)
        for name in (*names.latent, *names.slopes, *names.observed):
            yield _equation(table, level, name)
        for row in table.at(level):
            if row.op == "~~" and row.lhs != row.rhs and _is_there(row):
                first, second = (_residual(level, name) for name in (row.lhs, row.rhs))
                yield Association("Cov", first, second, _coefficient(table, row))
    if table.definitions:
        yield Heading("Defined")
    for definition in table.definitions:
        yield Equation(VariableName(definition.name), ((VariableName(definition.text),),))
    if table.constraints:
        yield Heading("Constrained")
    for constraint in table.constraints:
        left, right = (VariableName(side.strip()) for side in constraint.text.split(constraint.relation))
        yield Equation(left, ((right,),), relation=constraint.relation.replace("==", "="))


def _is_there(row: SemParameter) -> bool:
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
        if row.slope is not None:
            latent = any(slope.name == row.slope and slope.latent for slope in table.slopes)
            # others are of the predictor as it is observed
            other = other if latent else VariableName(row.rhs, _UNITS[level])
            factor = _variable(table, BETWEEN, row.slope)
        terms.append((other,) if factor == Value(1.0, exact=True) else (factor, Sign("*"), other))
    if _is_there(variance):
        terms.append((_residual(level, name),))
    return Equation(_variable(table, level, name), tuple(terms))


def _coefficient(table: ParameterTable, row: SemParameter) -> Atom:
    """Its label, its fixed value, or a letter with the number of the parameter."""
    if row.label:
        return VariableName(row.label)
    if row.index is None:
        return Value(row.value, exact=True)
    alike = list(dict.fromkeys(r.index for r in table.rows if r.op == row.op and r.index is not None and not r.label))
    return Symbol(_LETTERS[row.op], str(alike.index(row.index) + 1))


def _variable(table: ParameterTable, level: int, name: str) -> VariableName:
    return VariableName(name, _UNITS[level], _PART[level] if name in table.both else "")


def _residual(level: int, name: str) -> Symbol:
    return Symbol(_RESIDUAL[level], units=_UNITS[level], of=name)


def mplus_input(table: ParameterTable, cluster: str) -> str:
    """The model as Mplus input, with its definitions as MODEL CONSTRAINT."""
    names = MplusNames()
    columns = {name: names.column(name, name) for name in (*table.columns, cluster)}
    both = set(table.within.latent) & set(table.between.latent)
    short: dict[int, dict[str, str]] = {}
    for level in (WITHIN, BETWEEN):
        # Mplus tells latent variables of the two levels apart by their names alone
        latent = {name: _stem(name, level) if name in both else name for name in table.variables(level).latent}
        short[level] = columns | {name: names.free(stem) for name, stem in latent.items()}
    slopes = {slope.name: names.free(slope.name) for slope in table.slopes}
    short = {level: own | slopes for level, own in short.items()}
    labels = {label: names.free(label) for label in dict.fromkeys(_labels(table).values())}
    labels |= {d.name: names.free(d.name) for d in table.definitions}
    model = []
    for level, title in ((WITHIN, "%WITHIN%"), (BETWEEN, "%BETWEEN%")):
        label = {i: f" ({labels[name]})" for i, name in _labels(table).items()}
        rows = ((i, row) for i, row in enumerate(table.rows) if row.level == level and _is_stated(table, row))
        model += [title, *(_statement(row, short[level]) + label.get(i, "") for i, row in rows)]
    new = [f"NEW({' '.join(labels[d.name] for d in table.definitions)})"] if table.definitions else []
    return MplusInput(
        title="two-level structural equation model",
        kind="TWOLEVEL RANDOM" if table.slopes else "TWOLEVEL",
        columns=names.columns,
        use_variables=[columns[name] for name in table.columns],
        model=model,
        clusters=[columns[cluster]],
        within=[columns[name] for name in table.within.observed if name not in table.both],
        between=[columns[name] for name in table.between_only],
        constraint=[
            *new,
            *(f"{labels[d.name]} = {_expression(d.text, labels)}" for d in table.definitions),
            *(_expression(c.text, labels).replace("==", "=") for c in table.constraints),
        ],
        remarks=[*_means_within(table), *_latent_slopes(table), *_renamed(labels)],
    ).text()


def _stem(name: str, level: int) -> str:
    return f"{name[: NAME_LENGTH - 2]}_{'w' if level == WITHIN else 'b'}"


def _labels(table: ParameterTable) -> dict[int, str]:
    """Labels by the place of their row: its own, else one for the rows that ``equal()`` makes one parameter."""
    alike: dict[int, list[int]] = {}
    for i, row in enumerate(table.rows):
        if row.index is not None:
            alike.setdefault(row.index, []).append(i)
    labels = {i: row.label for i, row in enumerate(table.rows) if row.label}
    for index, places in alike.items():
        own = next((labels[i] for i in places if i in labels), f"equal{index}" if len(places) > 1 else None)
        if own is not None:
            labels |= dict.fromkeys(places, own)
    return labels


def _is_stated(table: ParameterTable, row: SemParameter) -> bool:
    """Means at level 1 are no parameters of Mplus where the variable has one at level 2, nor of its factors."""
    return row.op != "~1" or row.lhs not in (*table.both, *table.within.latent) or row.level == BETWEEN


def _statement(row: SemParameter, short: Mapping[str, str]) -> str:
    lhs, rhs = short[row.lhs], short.get(row.rhs, "")
    value = f"@{number_text(row.value)}" if row.index is None else "*"
    if row.slope is not None:
        return f"{short[row.slope]} | {lhs} ON {rhs}"
    match row.op:
        case "=~":
            return f"{lhs} BY {rhs}{value}"
        case "~":
            return f"{lhs} ON {rhs}{value}"
        case "~1":
            return f"[{lhs}{value}]"
        case _ if row.is_variance:
            return f"{lhs}{value}"
        case _:
            return f"{lhs} WITH {rhs}{value}"


def _expression(text: str, labels: Mapping[str, str]) -> str:
    """A definition in Mplus' arithmetic, by the labels' names in Mplus."""
    names = {("name", label): name for label, name in labels.items()} | {("operator", "^"): "**"}
    for token in reversed(tokenize(text, STRUCTURAL)):
        if (token.kind, token.text) in names:
            behind = text[token.position + len(token.text) :]
            text = text[: token.position] + names[token.kind, token.text] + behind
    return text


def _renamed(labels: Mapping[str, str]) -> list[str]:
    """A remark on the labels that Mplus has by other names."""
    others = [f"{name} is {label}" for label, name in labels.items() if name != label]
    return [f"Names of parameters: {', '.join(others)}."] if others else []


def _latent_slopes(table: ParameterTable) -> list[str]:
    """A remark on the slope of a part within clusters, which Mplus has in Bayesian estimation alone."""
    return [
        f"The slope {slope.name} is of {slope.predictor} around its latent mean, as Mplus has it with ESTIMATOR = "
        "BAYES; with ML Mplus takes the predictor as it is observed."
        for slope in table.slopes
        if slope.latent
    ]


def _means_within(table: ParameterTable) -> list[str]:
    """A remark for each mean that the model has within clusters, where Mplus has none."""
    means = [r for r in table.at(WITHIN) if r.op == "~1" and r.lhs in table.both and (r.index is not None or r.value)]
    return [
        f"Mplus has no mean of {r.lhs} within clusters: its mean between is larger by "
        f"{number_text(r.value) if r.index is None else 'that of level 1, so free it there'}."
        for r in means
    ]
