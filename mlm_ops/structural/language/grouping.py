"""Fill in a model of several groups of rows: which parameters differ by group, and which are equal in all.

The rules are lavaan's (Rosseel 2012, Journal of Statistical Software 48(2)): every parameter has its own value in each
group, equal labels are one parameter, `group_equal` names kinds of parameters that are equal, `group_partial` those of
them that are not; where intercepts are equal and means are not, the latent means of all groups but the first are free.
The intercepts that count for a factor are those of its own level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mlm_ops.errors import FormulaError, MlmError
from mlm_ops.language.model import GroupingFactor, group_name
from mlm_ops.language.options import GroupEqual, SlopeCentering
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.structural.language.defaults import Variables, filled_items, model_variables
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Item, SemModel
from mlm_ops.structural.language.parameters import (
    ParameterTable,
    check_definitions,
    names_of,
    number_rows,
    parameter_table,
)
from mlm_ops.structural.language.ready_models import labelled_by_group

#: A column of more values names clusters rather than groups.
MOST_GROUPS = 100
LEVELS = {"within": WITHIN, "between": BETWEEN}


@dataclass(frozen=True)
class Grouping:
    """How rows are grouped.

    Attributes
    ----------
    columns
        The column whose values are the groups, or several.
    equal
        ``group_equal``: kinds of parameters that are equal in all groups, as in ``loadings`` or
        ``between(intercepts)``.
    partial
        ``group_partial``: names of parameters that are not.
    free_scale
        Whether factors whose variance the text fixes have it free in all groups but the first where loadings are
        equal, as the first group's loadings give the unit.
    """

    columns: GroupingFactor
    equal: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    free_scale: bool = False

    @property
    def name(self) -> str:
        """Of the columns."""
        return group_name(self.columns)

    @property
    def equal_text(self) -> str | None:
        """What is equal in all groups, and what of it is not; None where nothing is."""
        but = f", but {', '.join(self.partial)}" if self.partial else ""
        return f"{', '.join(self.equal)}{but}" if self.equal else None

    def holds(self, kind: GroupEqual, level: int) -> bool:
        """Whether a kind of parameters is equal at a level."""
        return kind in self.equal or any(
            f"{word}({kind})" in self.equal for word, number in LEVELS.items() if number == level
        )


def grouping_of(columns: GroupingFactor, equal: Sequence[str], partial: Sequence[str]) -> Grouping | None:
    """The grouping of a model; None without groups.

    Raises
    ------
    MlmError
        Equal parameters of no groups, or exceptions from nothing.
    """
    if not columns and (equal or partial):
        word = "group_equal" if equal else "group_partial"
        raise MlmError(f"{word} needs groups of rows. Got {', '.join(equal or partial)} and no group; name its column.")
    if partial and not equal:
        raise MlmError(
            f"group_partial names exceptions from group_equal. Got {', '.join(partial)} alone; add group_equal."
        )
    return Grouping(columns, tuple(equal), tuple(partial)) if columns else None


def grouped_table(
    model: SemModel, grouping: Grouping, values: Sequence[str], centering: SlopeCentering = "latent"
) -> ParameterTable:
    """Fill in the defaults for each group and number the free parameters.

    Parameters
    ----------
    values
        Of the groups, in their order.

    Raises
    ------
    FormulaError
        As `parameter_table`; another number of values in ``c()``; exceptions that name nothing.
    """
    if model.n_groups not in (None, len(values)):
        raise FormulaError(
            f"c() has a value for each group. Got {model.n_groups} in the model and {len(values)} groups of "
            f"{grouping.name!r}: {', '.join(values)}."
        )
    if model.ready is not None:
        model = labelled_by_group(model, len(values))
    models = [model.of_group(number) for number in range(len(values))]
    first = parameter_table(models[0], centering)
    variables = dict(zip((WITHIN, BETWEEN), model_variables(models[0]), strict=True))
    items, groups = [], []
    for number, one in enumerate(models):
        own = filled_items(one)
        items += own
        groups += [number] * len(own)
    equal = _equal_places([item for item, _ in items], groups, variables, grouping)
    items = _with_free_means(items, groups, equal, variables, grouping)
    rows, n_free = number_rows(items, groups, equal)
    check_definitions(model.definitions, {row.label for row in rows if row.label})
    return replace(
        first,
        rows=rows,
        definitions=model.definitions,
        n_free=n_free,
        constraints=model.constraints,
        groups=tuple(values),
    )


def _equal_places(
    items: Sequence[Item], groups: Sequence[int], variables: dict[int, Variables], grouping: Grouping
) -> list[tuple[int, int]]:
    """Pairs of places of items that `group_equal` makes equal: of the first group and of another."""
    first: dict[tuple[int, str, str, str], int] = {}
    pairs, by_name = [], {}
    for place, (item, group) in enumerate(zip(items, groups, strict=True)):
        key = (item.level, item.op, *(sorted((item.lhs, item.rhs)) if item.op == "~~" else (item.lhs, item.rhs)))
        if not group:
            first[key] = place
        # a ready model's labels are no wish of the user's
        is_labelled = item.label is not None and not item.label.endswith(f".g{group + 1}")
        if item.fixed is not None or is_labelled or not _is_held(item, variables[item.level], grouping):
            continue
        names = set(_partial_names(item))
        by_name.update(dict.fromkeys(names, place))
        other = first.get(key)
        if not group or other is None or not names.isdisjoint(map(_plain, grouping.partial)):
            continue
        if items[other].fixed is None and (items[other].label is None or item.label is not None):
            pairs.append((other, place))
    for name in grouping.partial:
        if _plain(name) not in by_name:
            raise FormulaError(
                f"group_partial names no parameter that group_equal makes equal. Got {name!r}."
                f"{did_you_mean(_plain(name), sorted(by_name))} A parameter is named as it is written, as in f=~y2 or "
                "y2~1, with .l2 behind for level 2 alone."
            )
    return pairs


def _plain(name: str) -> str:
    return "".join(name.split())


def _partial_names(item: Item) -> Iterator[str]:
    """Names of a parameter among exceptions: of its level, or of both."""
    for name in names_of(item):
        yield name
        yield name.removesuffix(".l2")


def _is_held(item: Item, variables: Variables, grouping: Grouping) -> bool:
    """Whether `group_equal` names an item's kind."""
    kind = kind_of(item, variables)
    return kind is not None and grouping.holds(kind, item.level)


def kind_of(item: Item, variables: Variables) -> GroupEqual | None:
    """What `group_equal` calls an item; intercepts and variances of exogenous variables have no such name."""
    latent = (*variables.latent, *variables.slopes)
    observed = item.lhs in variables.observed and item.lhs not in variables.exogenous
    is_variance = item.lhs == item.rhs
    match item.op:
        case "=~":
            return "loadings"
        case "~":
            return "regressions"
        case "~1" if item.lhs in latent:
            return "means"
        case "~1" if observed:
            return "intercepts"
        case "~~" if item.lhs in latent:
            return "lv.variances" if is_variance else "lv.covariances"
        case "~~" if observed:
            return "residuals" if is_variance else "residual.covariances"
        case _:
            return None


def _with_free_means(
    items: Sequence[tuple[Item, bool]],
    groups: Sequence[int],
    equal: Sequence[tuple[int, int]],
    variables: dict[int, Variables],
    grouping: Grouping,
) -> list[tuple[Item, bool]]:
    """The items with the means of factors free in all groups but the first, whose indicators' intercepts are equal."""
    alike = {(items[place][0].level, items[place][0].lhs) for _, place in equal if items[place][0].op == "~1"}
    measured = {(i.level, i.lhs) for i, _ in items if i.op == "=~" and (i.level, i.rhs) in alike}
    scaled = {(items[place][0].level, items[place][0].lhs) for _, place in equal if items[place][0].op == "=~"}
    result = []
    for (item, by_default), group in zip(items, groups, strict=True):
        own = (item.level, item.lhs)
        is_mean = item.op == "~1" and by_default and own in measured and not grouping.holds("means", item.level)
        is_scale = grouping.free_scale and item.op == "~~" and item.lhs == item.rhs and own in scaled
        is_scale = is_scale and item.lhs in variables[item.level].latent and item.label is None
        is_free = group and item.fixed is not None and (is_mean or (is_scale and item.fixed > 0))
        result.append((replace(item, fixed=None) if is_free else item, by_default))
    return result
