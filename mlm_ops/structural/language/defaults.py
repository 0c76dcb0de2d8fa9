"""Fill in lavaan's defaults: which variables a level has, and which unnamed parameters are free or fixed.

The defaults are those of lavaan's ``sem()`` with ``fixed.x = FALSE``: the first loading of a latent variable is 1,
(residual) variances are free, exogenous variables covary among themselves, so do the residuals of outcomes that predict
nothing, the indicator of a latent variable that has no other has no residual, latent means are 0, and a variable of
both levels has its mean at level 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from mlm_ops.errors import FormulaError
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Item, Operator, SemModel
from mlm_ops.structural.language.slopes import random_slopes


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


def model_variables(model: SemModel) -> tuple[Variables, Variables]:
    """The variables of each level."""
    slopes = [slope.name for slope in random_slopes(model)]
    return _variables(model, WITHIN, slopes), _variables(model, BETWEEN, slopes)


def filled_items(model: SemModel) -> list[tuple[Item, bool]]:
    """The items of both levels and those that the defaults add, each with whether it was added.

    Raises
    ------
    FormulaError
        A latent variable of one level used as observed at the other, or a variance below zero.
    """
    within, between = model_variables(model)
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
    return [
        *_with_defaults(model.at(WITHIN), within, both),
        *_with_defaults(model.at(BETWEEN), between, frozenset()),
    ]


def _variables(model: SemModel, level: int, slope_names: list[str]) -> Variables:
    items = model.at(level)
    factors = list(dict.fromkeys(i.lhs for i in items if i.op == "=~"))
    slopes = slope_names if level == BETWEEN else []
    latent = [*factors, *slopes]
    indicators = list(dict.fromkeys(i.rhs for i in items if i.op == "=~" and i.rhs not in latent))
    outcomes = list(dict.fromkeys(i.lhs for i in items if i.op == "~"))
    predictors = list(dict.fromkeys(i.rhs for i in items if i.op == "~"))
    observed_outcomes = [n for n in outcomes if n not in latent and n not in indicators]
    # lavaan's: at level 2 an outcome of either level is no exogenous variable
    ever = {i.lhs for i in model.items if i.op == "~"} if level == BETWEEN else set(outcomes)
    exogenous = [n for n in predictors if n not in latent and n not in indicators and n not in ever]
    others = [n for n in predictors if n not in latent]
    mentioned = [n for i in items if i.op in {"~~", "~1"} for n in (i.lhs, i.rhs) if n and n not in latent]
    observed = list(dict.fromkeys([*indicators, *observed_outcomes, *others, *mentioned]))
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
            item = _fixed_by_default(item, 0.0, "the mean of a variable at both levels, which belongs to level 2,")
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
