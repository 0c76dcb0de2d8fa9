"""Restrict a factor model across its levels: equal loadings, then no residuals between clusters.

Equal loadings give a factor of both levels one meaning; without residuals between clusters as well, clusters differ in
the indicators only as they differ in the factor, as when intercepts and loadings are equal in every cluster (Jak and
Jorgensen 2017, Frontiers in Psychology 8; Muthen 1990).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from mlm_ops.language.model import number_text
from mlm_ops.structural.language.model import BETWEEN, WITHIN, Item, SemModel
from mlm_ops.structural.language.ready_line import free_names

#: Steps behind the model as it is, each with the restrictions of those before.
RESTRICTIONS = ("metric", "scalar")


def common_factors(model: SemModel) -> tuple[str, ...]:
    """Factors with the same indicators at both levels."""
    indicators = {level: _indicators(model.at(level)) for level in (WITHIN, BETWEEN)}
    return tuple(name for name, own in indicators[WITHIN].items() if indicators[BETWEEN].get(name) == own)


def invariance_text(model: SemModel, step: str) -> str:
    """The text of the model with equal loadings of its common factors, and for ``scalar`` no residuals between.

    Definitions and constraints are left out.
    """
    factors = common_factors(model)
    within = _with_labels(model.at(WITHIN), factors, {item.label for item in model.items if item.label is not None})
    loadings = {(item.lhs, item.rhs): item for item in within if item.op == "=~" and item.lhs in factors}
    between = [
        replace(loadings[item.lhs, item.rhs], level=BETWEEN)
        if item.op == "=~" and (item.lhs, item.rhs) in loadings
        else item
        for item in model.at(BETWEEN)
    ]
    # a factor's unit at level 1 is its unit at level 2 too, whose variance is another
    scaled = {lhs for (lhs, _), item in loadings.items() if item.fixed} | set(_markers(within))
    between = [item for item in between if not (item.op == "~~" and item.fixed and _is_own(item, factors, scaled))]
    if step == "scalar":
        latent = {item.lhs for item in between if item.op == "=~"}
        names = dict.fromkeys(name for _, name in loadings if name not in latent)
        others = [item for item in between if not (item.op == "~~" and item.lhs == item.rhs and item.lhs in names)]
        between = [*others, *(Item(BETWEEN, name, "~~", name, fixed=0.0) for name in names)]
    return f"level: 1\n{_statements(within)}\nlevel: 2\n{_statements(between)}"


def _is_own(item: Item, factors: Sequence[str], scaled: Collection[str]) -> bool:
    """Whether an item is the variance of a common factor whose unit no loading sets."""
    return item.lhs == item.rhs and item.lhs in factors and item.lhs not in scaled


def _markers(items: Sequence[Item]) -> dict[str, Item]:
    """The first loading of each factor, where it is 1 by default."""
    first = {item.lhs: item for item in reversed(items) if item.op == "=~"}
    return {name: item for name, item in first.items() if not item.freed and item.fixed is None}


def _indicators(items: Sequence[Item]) -> dict[str, set[str]]:
    indicators: dict[str, set[str]] = {}
    for item in items:
        if item.op == "=~":
            indicators.setdefault(item.lhs, set()).add(item.rhs)
    return indicators


def _with_labels(items: Sequence[Item], factors: Sequence[str], labels: Collection[str]) -> list[Item]:
    """The items with a label for each free loading that has none, so that it can be one at both levels."""
    markers = _markers(items)
    free = [
        item
        for item in items
        if item.op == "=~" and item.lhs in factors and item != markers.get(item.lhs)
        if item.fixed is None and item.label is None and item.equal is None
    ]
    names = free_names([f"{item.lhs}_{item.rhs}" for item in free], labels, "loading")
    new = {(item.lhs, item.rhs): name for item, name in zip(free, names, strict=True)}
    return [replace(item, label=new[item.lhs, item.rhs]) if item in free else item for item in items]


def _statements(items: Sequence[Item]) -> str:
    """A line for each left side and operator."""
    lines: dict[tuple[str, str], list[str]] = {}
    for item in items:
        modifiers = [f"{number_text(item.fixed)}*"] if item.fixed is not None else []
        modifiers += ["NA*"] if item.freed else []
        modifiers += [f"{item.label}*"] if item.label is not None else []
        modifiers += [f"start({number_text(item.start)})*"] if item.start is not None else []
        modifiers += [f'equal("{item.equal}")*'] if item.equal is not None else []
        modifiers += [f'rv("{item.slope}")*'] if item.slope is not None else []
        operator = "~" if item.op == "~1" else item.op
        # a modifier each time that it is named, as lavaan reads it
        terms = [f"{modifier}{item.rhs or '1'}" for modifier in modifiers or [""]]
        lines.setdefault((item.lhs, operator), []).extend(terms)
    return "\n".join(f"  {lhs} {operator} {' + '.join(terms)}" for (lhs, operator), terms in lines.items())
