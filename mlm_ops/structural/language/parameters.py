"""Make a model's parameter table: what is free, fixed or equal, the defaults of `defaults` filled in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mlm_ops.errors import FormulaError
from mlm_ops.language.model import INTERCEPT, Column, GroupingFactor, Model, RandomBlock, Term
from mlm_ops.language.options import SlopeCentering
from mlm_ops.language.spelling import did_you_mean
from mlm_ops.language.syntax import names_in
from mlm_ops.structural.language.defaults import Variables, filled_items, model_variables
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Constraint, Definition, Item, Operator, SemModel
from mlm_ops.structural.language.slopes import RandomSlope, center_slopes, random_slopes


@dataclass(frozen=True)
class SemParameter:
    """One row of the table; `index` is its place among the free parameters, None where it is fixed to `value`.

    A regression with a random slope is fixed to zero, and `slope` names the variable of level 2 that the slope is.
    `group` is the place of its group of rows among those of the table.
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
    group: int = 0

    @property
    def name(self) -> str:
        """``y ~ x``, with the level."""
        return f"{self.lhs} {self.op} {self.rhs}".strip() + f" (level {self.level})"

    @property
    def is_variance(self) -> bool:
        """A variance or residual variance."""
        return self.op == "~~" and self.lhs == self.rhs


@dataclass(frozen=True)
class ParameterTable:
    """The rows in lavaan's order, level 1 first; `n_free` distinct free parameters.

    Of a model of several groups of rows `groups` are their values, and the rows are those of each in turn.
    """

    rows: tuple[SemParameter, ...]
    within: Variables
    between: Variables
    definitions: tuple[Definition, ...]
    n_free: int
    slopes: tuple[RandomSlope, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    groups: tuple[str, ...] = ()

    @cached_property
    def by_group(self) -> tuple[tuple[ParameterTable, NDArray[np.int64]], ...]:
        """Each group's own table, without definitions and constraints, and the places of its parameters among all."""
        if not self.groups:
            return ((self, np.arange(self.n_free)),)
        parts = []
        for number in range(len(self.groups)):
            rows = [row for row in self.rows if row.group == number]
            places = sorted({row.index for row in rows if row.index is not None})
            at = {place: i for i, place in enumerate(places)}
            own = tuple(row if row.index is None else replace(row, index=at[row.index]) for row in rows)
            table = replace(self, rows=own, definitions=(), n_free=len(places), constraints=(), groups=())
            parts.append((table, np.array(places, dtype=np.int64)))
        return tuple(parts)

    @property
    def crosses_groups(self) -> bool:
        """Whether groups have parameters in common, or constraints."""
        return bool(self.constraints) or sum(len(places) for _, places in self.by_group) > self.n_free

    def of_group(self, row: SemParameter) -> str:
        """The group of a row in words that follow its name; nothing where there are no groups."""
        return f" in {self.groups[row.group]}" if self.groups else ""

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
                names.setdefault(row.index, row.label or f"{row.name}{self.of_group(row)}")
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
    if model.n_groups is not None:
        raise FormulaError(
            f"A value for each group, by c(), needs groups. Got {model.n_groups} values and no group; give the column "
            "by group=, or write one value."
        )
    items = filled_items(model)
    rows, n_free = number_rows(items)
    check_definitions(model.definitions, {row.label for row in rows if row.label})
    slopes = random_slopes(model)
    within, between = model_variables(model)
    both = tuple(name for name in within.observed if name in between.observed)
    slopes = center_slopes(slopes, both, model.at(WITHIN), centering)
    return ParameterTable(rows, within, between, model.definitions, n_free, slopes, model.constraints)


def moments_model(table: ParameterTable, cluster: GroupingFactor, group: GroupingFactor = ()) -> Model:
    """A model whose moments are those of the columns: means, and cross-products of each pair that varies by row.

    Parameters
    ----------
    group
        Columns of the groups of rows, by which the moments are collected too.
    """
    first, *others = table.columns
    terms = tuple(Term((Column(name),)) for name in others)
    blocks = tuple(RandomBlock((INTERCEPT,), factor) for factor in (cluster, group) if factor)
    return Model(Column(first), (INTERCEPT, *terms), blocks)


def saturated_table(table: ParameterTable) -> ParameterTable:
    """The unrestricted model: all covariances of each level, and a mean for each variable, in each group."""
    return _covariance_table(table, lambda level: combinations(table.variables(level).observed, 2))


def baseline_table(table: ParameterTable) -> ParameterTable:
    """Independence within each level, but for the exogenous variables, whose covariances are no part of the model."""
    return _covariance_table(table, lambda level: combinations(table.variables(level).exogenous, 2))


def join_groups(tables: Sequence[ParameterTable], groups: tuple[str, ...]) -> ParameterTable:
    """The table of several groups that have no parameter in common."""
    rows: list[SemParameter] = []
    n_free = 0
    for number, table in enumerate(tables):
        moved = (row if row.index is None else replace(row, index=row.index + n_free) for row in table.rows)
        rows += [replace(row, group=number) for row in moved]
        n_free += table.n_free
    return replace(tables[0], rows=tuple(rows), n_free=n_free, groups=groups)


def _covariance_table(table: ParameterTable, pairs: Callable[[int], Iterable[tuple[str, str]]]) -> ParameterTable:
    items: list[tuple[Item, bool]] = []
    for level in (WITHIN, BETWEEN):
        observed = table.variables(level).observed
        items += [(Item(level, name, "~~", name), True) for name in observed]
        items += [(Item(level, a, "~~", b), True) for a, b in pairs(level)]
        fixed = table.both if level == WITHIN else ()
        items += [(Item(level, n, "~1", "", fixed=0.0 if n in fixed else None), True) for n in observed]
    rows, n_free = number_rows(items)
    plain = [replace(v, latent=(), slopes=()) for v in (table.within, table.between)]
    one = ParameterTable(rows, plain[0], plain[1], (), n_free)
    return join_groups([one] * len(table.groups), table.groups) if table.groups else one


def join_levels(within: ParameterTable, between: ParameterTable) -> ParameterTable:
    """Level 1 of a table and level 2 of another of the same columns; no parameter is of both, and none is defined."""
    indices: dict[tuple[int, int], int] = {}
    rows = tuple(
        row if row.index is None else replace(row, index=indices.setdefault((row.level, row.index), len(indices)))
        for row in (*within.at(WITHIN), *between.at(BETWEEN))
    )
    return ParameterTable(rows, within.within, between.between, (), len(indices), groups=within.groups)


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


def number_rows(
    items: Sequence[tuple[Item, bool]],
    groups_of_rows: Sequence[int] | None = None,
    equal: Iterable[tuple[int, int]] = (),
) -> tuple[tuple[SemParameter, ...], int]:
    """The rows of a table and how many free parameters they have, of which equal ones are one.

    Parameters
    ----------
    items
        Each with whether a default added it.
    groups_of_rows
        The group of each item; None for one group.
    equal
        Pairs of places of items that are equal besides.
    """
    of_group = groups_of_rows or [0] * len(items)
    groups = _equal_groups([item for item, _ in items], of_group, equal)
    values = _fixed_values([item for item, _ in items], groups)
    indices: dict[int, int] = {}
    rows = []
    for (item, by_default), group, number in zip(items, groups, of_group, strict=True):
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
                number,
            )
        )
    return tuple(rows), len(indices)


def _equal_groups(items: Sequence[Item], of_group: Sequence[int], equal: Iterable[tuple[int, int]]) -> list[int]:
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
    for i, (item, group) in enumerate(zip(items, of_group, strict=True)):
        if item.label is not None:
            join(labels.setdefault(item.label, i), i)
        for name in names_of(item, group):
            names.setdefault(name, i)
    for i, j in equal:
        join(i, j)
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


def names_of(item: Item, group: int = 0) -> Iterator[str]:
    """Lavaan's names of a parameter: ``f=~y2``, ``y~1``, at level 2 ``f=~y2.l2``; covariances either way round."""
    suffix = (f".g{group + 1}" if group else "") + (".l2" if item.level == BETWEEN else "")
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
            what = f"The label {item.label!r} has" if item.label is not None else "Equal parameters have"
            raise FormulaError(
                f"{what} two different fixed values. Got {before.fixed:g} and {item.fixed:g}; give each its own label."
            )
    for item, group in zip(items, groups, strict=True):
        if item.freed and group in fixed:
            raise FormulaError(
                f"{item.name} is freed by NA* and equal to {fixed[group].name}, which is fixed to "
                f"{fixed[group].fixed:g}. Free that one by NA* too, or drop NA* here."
            )
    return {group: item.fixed for group, item in fixed.items() if item.fixed is not None}


def check_definitions(definitions: tuple[Definition, ...], labels: set[str]) -> None:
    """Refuse definitions of unknown names.

    Raises
    ------
    FormulaError
        A name that is no label and no definition before.
    """
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
