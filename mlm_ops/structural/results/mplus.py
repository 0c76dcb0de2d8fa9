"""Write a structural model as Mplus input: TYPE = TWOLEVEL, its definitions and constraints as MODEL CONSTRAINT."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mlm_ops.language.model import group_name, number_text
from mlm_ops.language.tokens import STRUCTURAL, tokenize
from mlm_ops.results.export.mplus_input import NAME_LENGTH, MplusInput, MplusNames
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Constraint
from mlm_ops.structural.language.parameters import ParameterTable, SemParameter

if TYPE_CHECKING:
    from mlm_ops.structural.results.record import SemRecord


def mplus_input(record: SemRecord) -> str:
    """The model of a fit as Mplus input, with its estimator and what it does with missing cells."""
    table, cluster = record.estimate.table, group_name(record.cluster)
    grouping = record.grouping
    names = MplusNames()
    grouped_by = () if grouping is None else (grouping.name,)
    columns = {name: names.column(name, name) for name in (*table.columns, cluster, *grouped_by)}
    groups = [names.free(value) for value in table.groups]
    latent, latent_names = _latent_names(table, names)
    slopes = {slope.name: names.free(slope.name) for slope in table.slopes}
    short = {level: columns | own | slopes for level, own in latent.items()}
    labels = _labels(table)
    by_label = {label: names.free(label) for label in dict.fromkeys(labels.values())}
    by_label |= {d.name: names.free(d.name) for d in table.definitions}
    # a fixed parameter has no label there
    values = {row.label: number_text(row.value) for row in table.rows if row.label and row.index is None}
    arithmetic = by_label | {label: f"({text})" if text.startswith("-") else text for label, text in values.items()}
    suffix = {i: f" ({by_label[name]})" for i, name in labels.items()}
    # labels of the model of all groups would make parameters equal in them
    model = _statements(table, 0, short, {} if groups else suffix)
    # what a slope is stands in the model of all groups alone
    models = {
        group: [text for text in _statements(table, number, short, suffix) if " | " not in text]
        for number, group in enumerate(groups)
    }
    new = [f"NEW({' '.join(by_label[d.name] for d in table.definitions)})"] if table.definitions else []
    is_incomplete = record.missing == "ml" or any(record.n_dropped.values())
    return MplusInput(
        title="two-level structural equation model",
        kind="TWOLEVEL RANDOM" if table.slopes else "TWOLEVEL",
        estimator="MLR" if record.robust else "ML",
        missing=is_incomplete,
        listwise=is_incomplete and record.missing == "listwise",
        columns=names.columns,
        use_variables=[columns[name] for name in table.columns],
        model=model,
        groups=models,
        grouping=[] if grouping is None else [f"{columns[grouping.name]} ({_numbered(groups)})"],
        clusters=[columns[cluster]],
        within=[columns[name] for name in table.within.observed if name not in table.both],
        between=[columns[name] for name in table.between_only],
        constraint=[
            *new,
            *(f"{by_label[d.name]} = {_expression(d.text, arithmetic)}" for d in table.definitions),
            *(_constraint(constraint, by_label, arithmetic) for constraint in table.constraints),
        ],
        remarks=[
            *_means_within(table),
            *_latent_slopes(table),
            *_rows_without_predictors(record),
            *([] if grouping is None else [f"{grouping.name} is {_numbered(table.groups)}."]),
            *_other_names([*by_label.items(), *slopes.items(), *latent_names]),
        ],
    ).text()


def _latent_names(table: ParameterTable, names: MplusNames) -> tuple[dict[int, dict[str, str]], list[tuple[str, str]]]:
    """What the latent variables of each level are called there, by level; and each with its name for a remark.

    Mplus tells latent variables of the two levels apart by their names alone.
    """
    both = set(table.within.latent) & set(table.between.latent)
    by_level, pairs = {}, []
    for level, where in ((WITHIN, "within"), (BETWEEN, "between")):
        stems = {name: _stem(name, level) if name in both else name for name in table.variables(level).latent}
        by_level[level] = {name: names.free(stem) for name, stem in stems.items()}
        pairs += [(f"{name} {where}" if name in both else name, text) for name, text in by_level[level].items()]
    return by_level, pairs


def _numbered(groups: Iterable[str]) -> str:
    """``1 = north 2 = south``."""
    return " ".join(f"{number} = {group}" for number, group in enumerate(groups, start=1))


def _statements(
    table: ParameterTable, group: int, short: Mapping[int, Mapping[str, str]], suffix: Mapping[int, str]
) -> list[str]:
    """Both levels of one group of rows."""
    statements = []
    for level, title in ((WITHIN, "%WITHIN%"), (BETWEEN, "%BETWEEN%")):
        rows = [
            (i, row)
            for i, row in enumerate(table.rows)
            if row.level == level and row.group == group and _is_stated(table, row)
        ]
        statements += [title, *(_statement(row, short[level]) + suffix.get(i, "") for i, row in rows)]
    return statements


def _stem(name: str, level: int) -> str:
    return f"{name[: NAME_LENGTH - 2]}_{'w' if level == WITHIN else 'b'}"


def _labels(table: ParameterTable) -> dict[int, str]:
    """Labels of free parameters by the place of their row: its own, else one for rows that ``equal()`` makes one."""
    alike: dict[int, list[int]] = {}
    for i, row in enumerate(table.rows):
        if row.index is not None:
            alike.setdefault(row.index, []).append(i)
    labels = {i: row.label for i, row in enumerate(table.rows) if row.label and row.index is not None}
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


def _constraint(constraint: Constraint, labels: Mapping[str, str], arithmetic: Mapping[str, str]) -> str:
    """A constraint, on whose left side Mplus takes a label or zero alone."""
    left, right = (side.strip() for side in constraint.text.split(constraint.relation))
    sign = constraint.relation.replace("==", "=")
    if left in labels:
        return f"{labels[left]} {sign} {_expression(right, arithmetic)}"
    return f"0 {sign} {_expression(right, arithmetic)} - ({_expression(left, arithmetic)})"


def _other_names(names: Iterable[tuple[str, str]]) -> list[str]:
    """A remark on the parameters, slopes and factors that Mplus has by other names."""
    others = [f"{name} is {text}" for text, name in names if name != text]
    return [f"Other names: {', '.join(others)}."] if others else []


def _rows_without_predictors(record: SemRecord) -> list[str]:
    """A remark on the rows that full-information maximum likelihood leaves out, where Mplus would integrate."""
    predictors = dict.fromkeys(s.predictor for s in record.estimate.table.slopes if record.n_dropped.get(s.predictor))
    if record.missing == "listwise" or not predictors:
        return []
    return [f"Rows without {' or '.join(predictors)} are left out here; leave them out of the data file."]


def _latent_slopes(table: ParameterTable) -> list[str]:
    """A remark on the slope of a part within clusters, which Mplus has in Bayesian estimation alone."""
    return [
        f"The slope {slope.name} is of {slope.predictor} around its latent mean, which Mplus has only with ESTIMATOR = "
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
