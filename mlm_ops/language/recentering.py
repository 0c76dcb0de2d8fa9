"""Write one model with its predictors raw, centered at their grand mean, or at their group means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mlm_ops.errors import MlmError
from mlm_ops.language.formula import formula_text
from mlm_ops.language.model import (
    Between,
    Center,
    Centering,
    Column,
    Factor,
    Function,
    GroupingFactor,
    Indicator,
    Model,
    Poly,
    Term,
    Variable,
    Within,
    averages_groups,
    columns_of,
    label,
    walk,
)
from mlm_ops.language.spelling import list_names

RAW, GRAND, GROUP = "raw", "grand mean", "group mean"
GROUP_AND_MEAN, RAW_AND_MEAN = "group mean + mean", "raw + mean"
#: The versions of a model; in the last two the group means stand beside the predictors, as predictors of their own.
VERSIONS = (RAW, GRAND, GROUP, GROUP_AND_MEAN, RAW_AND_MEAN)
#: The versions with the means.
WITH_MEANS = (GROUP_AND_MEAN, RAW_AND_MEAN)


@dataclass(frozen=True)
class Target:
    """A predictor that is recentered.

    Attributes
    ----------
    variable
        The predictor without any centering.
    group
        The grouping factor whose means are subtracted from it.
    means
        The grouping factors whose means are added back: this one, and those above it.
    """

    variable: Variable
    group: GroupingFactor
    means: tuple[GroupingFactor, ...]


def uncentered(variable: Variable) -> Variable:
    """Return a variable without its centering; of powers that which is raised to them."""
    return uncentered(variable.of) if isinstance(variable, Centering | Poly) else variable


def without_centering(variable: Variable) -> Variable:
    """Return a variable without its centering, as the raw model has it."""
    match variable:
        case Centering(of):
            return without_centering(of)
        case Poly(of):
            return replace(variable, of=without_centering(of))
    return variable


def is_mean(variable: Variable) -> bool:
    """Tell whether a variable is made of group means alone."""
    return any(isinstance(node, Between) for node in walk(variable))


def candidates(model: Model) -> dict[Variable, GroupingFactor | None]:
    """Return the predictors that may be recentered, with the grouping factor that the model centers each in, or None.

    Whether they vary within the units, and whether a column holds numbers, only the data tell; a factor is a candidate
    where the model centers it itself.

    Raises
    ------
    MlmError
        The outcome is itself centered in groups, no predictor is a candidate, or one is a function of another.
    """
    if averages_groups(model.outcome):
        raise MlmError(
            f"The outcome {model.outcome_name} has one part of each predictor only, whichever way that is centered. "
            "Compare versions of a model of the whole outcome."
        )
    groups: dict[Variable, GroupingFactor | None] = {}
    for variable in model.predictors:
        inner = uncentered(variable)
        if is_mean(variable) or (isinstance(inner, Factor | Indicator) and not isinstance(variable, Centering)):
            continue
        named = [node.group or model.default_group for node in walk(variable) if isinstance(node, Within)]
        groups[inner] = next(iter(named), None) or groups.get(inner)
    if not groups:
        raise MlmError(nothing_to_recenter(model, "it has no predictor of rows that is a number"))
    for function in groups:
        if not isinstance(function, Function) or function.name != "I":
            continue
        other = next((v for v in groups if isinstance(v, Column) and v.name in columns_of(function)), None)
        if other is not None:
            raise MlmError(
                f"{label(function)} is a function of {label(other)}, which centering {label(other)} would not reach. "
                f"Write powers as poly({label(other)}, 2, raw=True), products as {label(other)}:z, and compare the "
                "versions of that."
            )
    return groups


def nothing_to_recenter(model: Model, reason: str) -> str:
    """Return the sentence for a model that has no other version."""
    predictors = list_names([label(v) for v in model.predictors]) if model.predictors else "no predictor"
    return (
        f"Nothing in {model.text or formula_text(model)} can be recentered: {reason}. Got {predictors}; expected a "
        "number that varies within the groups."
    )


def versions(model: Model, targets: Sequence[Target]) -> dict[str, Model]:
    """Return the model in each version, without those that say the same as one before.

    Everything else of the model stays as it is, level-2 predictors and factors too.

    Parameters
    ----------
    targets
        The predictors that are recentered.
    """
    by_variable = {target.variable: target for target in targets}
    models: dict[str, Model] = {}
    for version in VERSIONS:
        other = _rewritten(model, version, by_variable)
        if other not in models.values():
            models[version] = other
    return models


def raw_name(variables: Sequence[Variable]) -> str:
    """Return the name of a column that its versions have in common: ``ses`` of ``within(ses)``; means keep theirs."""
    return Term(tuple(v if is_mean(v) else without_centering(v) for v in variables)).name


def _rewritten(model: Model, version: str, targets: Mapping[Variable, Target]) -> Model:
    default = model.default_group
    fixed = list(_terms(model.fixed, version, targets, default))
    if version in WITH_MEANS:
        present = {_with_group(v, default) for term in fixed for v in term.variables if len(term.variables) == 1}
        for target in targets.values():
            means = [Between(target.variable, group) for group in target.means]
            fixed += [Term((_without_default(mean, default),)) for mean in means if mean not in present]
    blocks = [replace(b, terms=tuple(dict.fromkeys(_terms(b.terms, version, targets, default)))) for b in model.random]
    other = replace(model, fixed=tuple(dict.fromkeys(fixed)), random=tuple(blocks))
    predictors = {*other.predictors}
    other = replace(other, level_variables=tuple(entry for entry in model.level_variables if entry[0] in predictors))
    return replace(other, text=formula_text(other))


def _terms(
    terms: Sequence[Term], version: str, targets: Mapping[Variable, Target], default: GroupingFactor | None
) -> Iterator[Term]:
    for term in terms:
        if version not in WITH_MEANS and any(is_mean(v) and uncentered(v) in targets for v in term.variables):
            continue
        yield Term(tuple(dict.fromkeys(_version_of(v, version, targets, default) for v in term.variables)))


def _version_of(
    variable: Variable, version: str, targets: Mapping[Variable, Target], default: GroupingFactor | None
) -> Variable:
    inner = uncentered(variable)
    if inner not in targets or is_mean(variable):
        return variable
    base = inner
    if version == GRAND:
        base = Center(inner)
    elif version in {GROUP, GROUP_AND_MEAN}:
        base = _without_default(Within(inner, targets[inner].group), default)
    power = next((node for node in walk(variable) if isinstance(node, Poly)), None)
    return base if power is None else replace(power, of=base)


def _without_default(variable: Within | Between, default: GroupingFactor | None) -> Variable:
    """The variable as a formula has it where its group is the model's default."""
    return replace(variable, group=None) if variable.group == default else variable


def _with_group(variable: Variable, default: GroupingFactor | None) -> Variable:
    return replace(variable, group=default) if isinstance(variable, Between) and variable.group is None else variable
