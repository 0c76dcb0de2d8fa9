"""Make a model's parameter table: what is free, fixed or equal, with lavaan's defaults filled in.

The defaults are those of lavaan's ``sem()`` with ``fixed.x = FALSE``: the first loading of a latent variable is 1,
(residual) variances are free, exogenous variables covary among themselves, so do the residuals of outcomes that predict
nothing, the indicator of a latent variable that has no other has no residual, latent means are 0, and a variable of
both levels has its mean at level 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import INTERCEPT, Column, GroupingFactor, Model, RandomBlock, Term
from mlm_ops.language.options import SlopeCentering
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.language.syntax import names_in
from mlm_ops.structural.model import BETWEEN, WITHIN, Constraint, Definition, Item, Operator, SemModel
from mlm_ops.structural.slopes import RandomSlope, center_slopes, random_slopes


@dataclass(frozen=True)
class SemParameter:
    """One row of the table; `index` is its place among the free parameters, None where it is fixed to `value`.

    A regression with a random slope is fixed to zero, and `slope` names the variable of level 2 that the slope is.
    """

    level: int
    lhs: str
    op: Operator
    rhs: str
    label: str | None
    index: int | None
    value: float
    start: float | None
    by_default: bool = False
    slope: str | None = None

    @property
    def name(self) -> str:
        """``y ~ x``, with the level."""
        return f"{self.lhs} {self.op} {self.rhs}".strip() + f" (level {self.level})"

    @property
    def is_variance(self) -> bool:
        """A variance or residual variance."""
        return self.op == "~~" and self.lhs == self.rhs


@dataclass(frozen=True)
class Variables:
    """The variables of one level: observed and latent, the exogenous among the observed, and the random slopes."""

    observed: tuple[str, ...]
    latent: tuple[str, ...]
    exogenous: tuple[str, ...]
    slopes: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """All variables: observed, random slopes, latent."""
        return (*self.observed, *self.slopes, *self.latent)


@dataclass(frozen=True)
class ParameterTable:
    """The rows in lavaan's order, level 1 first; `n_free` distinct free parameters."""

    rows: tuple[SemParameter, ...]
    within: Variables
    between: Variables
    definitions: tuple[Definition, ...]
    n_free: int
    slopes: tuple[RandomSlope, ...] = ()
    constraints: tuple[Constraint, ...] = ()

    def variables(self, level: int) -> Variables:
        """The variables of one level."""
        return self.within if level == WITHIN else self.between

    def at(self, level: int) -> tuple[SemParameter, ...]:
        """The rows of one level."""
        return tuple(row for row in self.rows if row.level == level)

    @property
    def between_only(self) -> tuple[str, ...]:
        """Variables that are constant within clusters."""
        return tuple(name for name in self.between.observed if name not in self.within.observed)

    @property
    def both(self) -> tuple[str, ...]:
        """Variables that have a latent part at each level."""
        return tuple(name for name in self.within.observed if name in self.between.observed)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the data: those of level 1, then the between-only ones."""
        return (*self.within.observed, *self.between_only)

    def names(self) -> list[str]:
        """A name for each free parameter: that of its first row."""
        names: dict[int, str] = {}
        for row in self.rows:
            if row.index is not None:
                names.setdefault(row.index, row.label or row.name)
        return [names[i] for i in range(self.n_free)]


def parameter_table(model: SemModel, centering: SlopeCentering = "latent") -> ParameterTable:
    """Fill in the defaults and number the free parameters.

    Parameters
    ----------
    centering
        Of the predictors of random slopes that stand at both levels.

    Raises
    ------
    FormulaError
        A latent variable of one level used as observed at the other, or a definition of unknown names.
    """
    slopes = random_slopes(model)
    within, between = (_variables(model, level, [s.name for s in slopes]) for level in (WITHIN, BETWEEN))
    for name in (*within.latent, *between.latent):
        if name in (*within.observed, *between.observed):
            raise FormulaError(
                f"{name!r} is latent at one level and not at the other. Give it indicators there too ({name} =~ …), or "
                "another name."
            )
    for item in model.items:
        if item.op == "~~" and item.lhs == item.rhs and item.fixed is not None and item.fixed < 0:
            raise FormulaError(
                f"A variance is zero or positive. Got {item.fixed:g} for {item.lhs!r}; fix it to another."
            )
    both = frozenset(within.observed) & frozenset(between.observed)
    items = [
        *_with_defaults(model.at(WITHIN), within, frozenset(both)),
        *_with_defaults(model.at(BETWEEN), between, frozenset()),
    ]
    rows, n_free = _number_rows(items)
    _check_definitions(model.definitions, {row.label for row in rows if row.label})
    slopes = center_slopes(slopes, tuple(both), model.at(WITHIN), centering)
    return ParameterTable(rows, within, between, model.definitions, n_free, slopes, model.constraints)


def moments_model(table: ParameterTable, cluster: GroupingFactor) -> Model:
    """A model whose moments are those of the columns: means, and cross-products of each pair that varies by row."""
    first, *others = table.columns
    terms = tuple(Term((Column(name),)) for name in others)
    return Model(Column(first), (INTERCEPT, *terms), (RandomBlock((INTERCEPT,), cluster),))


def saturated_table(table: ParameterTable) -> ParameterTable:
    """The unrestricted model: all covariances of each level, and a mean for each variable."""
    return _covariance_table(table, lambda level: combinations(table.variables(level).observed, 2))


def baseline_table(table: ParameterTable) -> ParameterTable:
    """Independence within each level, but for the exogenous variables, whose covariances are no part of the model."""
    return _covariance_table(table, lambda level: combinations(table.variables(level).exogenous, 2))


def _covariance_table(table: ParameterTable, pairs: Callable[[int], Iterable[tuple[str, str]]]) -> ParameterTable:
    items: list[tuple[Item, bool]] = []
    for level in (WITHIN, BETWEEN):
        observed = table.variables(level).observed
        items += [(Item(level, name, "~~", name), True) for name in observed]
        items += [(Item(level, a, "~~", b), True) for a, b in pairs(level)]
        fixed = table.both if level == WITHIN else ()
        items += [(Item(level, n, "~1", "", fixed=0.0 if n in fixed else None), True) for n in observed]
    rows, n_free = _number_rows(items)
    plain = [replace(v, latent=(), slopes=()) for v in (table.within, table.between)]
    return ParameterTable(rows, plain[0], plain[1], (), n_free)


def join_levels(within: ParameterTable, between: ParameterTable) -> ParameterTable:
    """Level 1 of a table and level 2 of another of the same columns; no parameter is of both, and none is defined."""
    indices: dict[tuple[int, int], int] = {}
    rows = tuple(
        row if row.index is None else replace(row, index=indices.setdefault((row.level, row.index), len(indices)))
        for row in (*within.at(WITHIN), *between.at(BETWEEN))
    )
    return ParameterTable(rows, within.within, between.between, (), len(indices))


def exogenous_table(table: ParameterTable) -> ParameterTable | None:
    """The unrestricted model of the variables that are exogenous wherever they stand; None where there are none."""
    levels = (table.within, table.between)
    names = {
        name for name in table.columns if all(name in level.exogenous for level in levels if name in level.observed)
    }
    if not names:
        return None
    within, between = (Variables(tuple(n for n in level.observed if n in names), (), ()) for level in levels)
    return saturated_table(replace(table, within=within, between=between))


def _variables(model: SemModel, level: int, slope_names: list[str]) -> Variables:
    items = model.at(level)
    factors = _unique(i.lhs for i in items if i.op == "=~")
    slopes = slope_names if level == BETWEEN else []
    latent = [*factors, *slopes]
    indicators = _unique(i.rhs for i in items if i.op == "=~" and i.rhs not in latent)
    outcomes = _unique(i.lhs for i in items if i.op == "~")
    predictors = _unique(i.rhs for i in items if i.op == "~")
    observed_outcomes = [n for n in outcomes if n not in latent and n not in indicators]
    # lavaan's: at level 2 an outcome of either level is no exogenous variable
    ever = {i.lhs for i in model.items if i.op == "~"} if level == BETWEEN else set(outcomes)
    exogenous = [n for n in predictors if n not in latent and n not in indicators and n not in ever]
    others = [n for n in predictors if n not in latent]
    mentioned = [n for i in items if i.op in {"~~", "~1"} for n in (i.lhs, i.rhs) if n and n not in latent]
    observed = _unique([*indicators, *observed_outcomes, *others, *mentioned])
    exogenous = [name for name in exogenous if name not in mentioned]
    return Variables(tuple(observed), tuple(factors), tuple(exogenous), tuple(slopes))


def _with_defaults(
    items: tuple[Item, ...], variables: Variables, no_mean: frozenset[str]
) -> Iterator[tuple[Item, bool]]:
    """The items and those that the defaults add, each with whether it was added."""
    level = items[0].level
    factors: set[str] = set()
    keys: set[tuple[str, str, str]] = set()
    for item in items:
        keys |= {(item.lhs, item.op, item.rhs), *([(item.rhs, "~~", item.lhs)] if item.op == "~~" else [])}
        if item.op == "=~" and item.lhs not in factors:
            factors.add(item.lhs)
            item = _fixed_by_default(item, 1.0, "the first loading of its factor")
        if item.op == "~1" and item.lhs in no_mean:
            item = _fixed_by_default(item, 0.0, "the mean of a variable of both levels, which stands at level 2,")
        if item.slope is not None:
            item = replace(item, fixed=0.0)
        yield item, False
    for lhs, op, rhs, fixed in _defaults(items, variables, no_mean):
        if (lhs, op, rhs) not in keys:
            yield Item(level, lhs, op, rhs, fixed=fixed), True


def _fixed_by_default(item: Item, value: float, what: str) -> Item:
    """Fixed where the text neither frees nor fixes it; a starting value that would be lost is refused."""
    if item.freed or item.fixed is not None:
        return item
    if item.start is not None:
        raise FormulaError(
            f"{item.name} is {what} and fixed to {value:g}, and has a starting value. Got start({item.start:g}); "
            "write NA* before it to free it, or drop start()."
        )
    return replace(item, fixed=value)


def _defaults(
    items: tuple[Item, ...], variables: Variables, no_mean: frozenset[str]
) -> Iterator[tuple[str, Operator, str, float | None]]:
    observed, exogenous = variables.observed, variables.exogenous
    latent = (*variables.latent, *variables.slopes)
    outcomes = {i.lhs for i in items if i.op == "~"}
    predictors = {i.rhs for i in items if i.op == "~"}
    indicators = {i.rhs for i in items if i.op == "=~"}
    alone = {i.rhs for i in items if i.op == "=~" and sum(j.op == "=~" and j.lhs == i.lhs for j in items) == 1}
    for name in (*(n for n in observed if n not in exogenous), *latent):
        yield name, "~~", name, 0.0 if name in alone and name not in latent else None
    for a, b in combinations([n for n in latent if n not in indicators and n not in outcomes], 2):
        yield a, "~~", b, None
    ends = [n for n in (*latent, *observed) if n in outcomes and n not in predictors and n not in indicators]
    for a, b in combinations(ends, 2):
        yield a, "~~", b, None
    for k, a in enumerate(exogenous):
        for b in exogenous[k:]:
            yield a, "~~", b, None
    for name in (*observed, *latent):
        yield name, "~1", "", 0.0 if name in no_mean or name in variables.latent else None


def _number_rows(items: Iterable[tuple[Item, bool]]) -> tuple[tuple[SemParameter, ...], int]:
    items = list(items)
    groups = _equal_groups([item for item, _ in items])
    values = _fixed_values([item for item, _ in items], groups)
    indices: dict[int, int] = {}
    rows = []
    for (item, by_default), group in zip(items, groups, strict=True):
        fixed = values.get(group)
        index = indices.setdefault(group, len(indices)) if fixed is None else None
        rows.append(
            SemParameter(
                item.level,
                item.lhs,
                item.op,
                item.rhs,
                item.label,
                index,
                fixed or 0.0,
                item.start,
                by_default,
                item.slope,
            )
        )
    return tuple(rows), len(indices)


def _equal_groups(items: list[Item]) -> list[int]:
    """For each item the first that it is equal to: by a label, or by ``equal()`` to a label or a parameter's name."""
    first = list(range(len(items)))

    def root(i: int) -> int:
        while first[i] != i:
            first[i] = first[first[i]]
            i = first[i]
        return i

    def join(i: int, j: int) -> None:
        low, high = sorted((root(i), root(j)))
        first[high] = low

    labels: dict[str, int] = {}
    names: dict[str, int] = {}
    for i, item in enumerate(items):
        if item.label is not None:
            join(labels.setdefault(item.label, i), i)
        for name in _names_of(item):
            names.setdefault(name, i)
    for i, item in enumerate(items):
        if item.equal is None:
            continue
        other = labels.get(item.equal, names.get("".join(item.equal.split())))
        if other is None:
            raise FormulaError(
                f"equal() of {item.name} names no label and no parameter of the model. Got {item.equal!r}."
                f"{did_you_mean(item.equal, [*labels, *names])} A parameter is named as it is written, as in "
                'equal("f=~y2"), at level 2 with .l2 behind.'
            )
        join(i, other)
    return [root(i) for i in range(len(items))]


def _names_of(item: Item) -> Iterator[str]:
    """Lavaan's names of a parameter: ``f=~y2``, ``y~1``, at level 2 ``f=~y2.l2``; covariances either way round."""
    suffix = ".l2" if item.level == BETWEEN else ""
    yield f"{item.lhs}{item.op}{item.rhs}{suffix}"
    if item.op == "~~":
        yield f"{item.rhs}~~{item.lhs}{suffix}"


def _fixed_values(items: list[Item], groups: list[int]) -> dict[int, float]:
    """The value to which each group of equal parameters is fixed, if it is.

    Raises
    ------
    FormulaError
        Two values, or one beside ``NA*``.
    """
    fixed: dict[int, Item] = {}
    for item, group in zip(items, groups, strict=True):
        if item.fixed is None:
            continue
        before = fixed.setdefault(group, item)
        if before.fixed != item.fixed:
            what = f"The label {item.label!r} stands" if item.label is not None else "Equal parameters stand"
            raise FormulaError(
                f"{what} for two different fixed values. Got {before.fixed:g} and {item.fixed:g}; give each its own "
                "label."
            )
    for item, group in zip(items, groups, strict=True):
        if item.freed and group in fixed:
            raise FormulaError(
                f"{item.name} is freed by NA* and equal to {fixed[group].name}, which is fixed to "
                f"{fixed[group].fixed:g}. Free that one by NA* too, or drop NA* here."
            )
    return {group: item.fixed for group, item in fixed.items() if item.fixed is not None}


def _check_definitions(definitions: tuple[Definition, ...], labels: set[str]) -> None:
    names = set(labels)
    for definition in definitions:
        for name in names_in(definition.expression):
            if name not in names:
                raise FormulaError(
                    f"The definition of {definition.name!r} names {name!r}, which is no label of the model."
                    f"{did_you_mean(name, sorted(names))} Labels: {', '.join(sorted(names)) or 'none'}.",
                    f"{definition.name} := {definition.text}",
                    len(definition.name) + 4,
                )
        names.add(definition.name)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
