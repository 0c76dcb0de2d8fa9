"""Combine the statements about one parameter, such as a label and a starting value, for all groups or for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlm_ops.structural.language.model import Item

#: What a statement says of a parameter, and what is wrong where two statements differ.
_DIFFERENT = {
    "fixed": "is fixed to two different values",
    "label": "has two labels",
    "start": "has two different starting values",
    "equal": "is equal to two parameters",
    "slope": "has two random slopes",
}


class ModifierError(Exception):
    """Modifiers that contradict each other: a sentence, to which the parser adds the place."""


def join_modifiers(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The modifiers of one term, by kind.

    Raises
    ------
    ModifierError
        Two of one kind.
    """
    for kind, value in now.items():
        if before.get(kind, value) != value:
            raise ModifierError(f"One parameter has two different modifiers. Got {before[kind]} and {value}; keep one.")
    return {**before, **now}


def item_of(item: Item, modifiers: Mapping[str, Any], by_group: Sequence[Mapping[str, Any]]) -> Item:
    """An item with modifiers of all groups and of each.

    Raises
    ------
    ModifierError
        Modifiers of all groups that contradict those of one.
    """
    whole = replace(item, **modifiers)
    if not by_group:
        return whole
    return replace(item, by_group=tuple(merge_items(whole, replace(item, **own)) for own in by_group))


def merge_items(item: Item, new: Item) -> Item:
    """One item of two statements of it.

    Raises
    ------
    ModifierError
        Two values where one may stand.
    """
    if item.by_group or new.by_group:
        count = len(item.by_group or new.by_group)
        pairs = zip(item.by_group or (item,) * count, new.by_group or (new,) * count, strict=True)
        return Item(item.level, item.lhs, item.op, item.rhs, by_group=tuple(merge_items(*pair) for pair in pairs))
    for kind, what in _DIFFERENT.items():
        before, now = getattr(item, kind), getattr(new, kind)
        if None not in (before, now) and before != now:
            texts = [f"{value:g}" if isinstance(value, float) else str(value) for value in (before, now)]
            raise ModifierError(f"{item.name} {what}. Got {texts[0]} and {texts[1]}; keep one.")
    own = {kind: getattr(item if getattr(new, kind) is None else new, kind) for kind in _DIFFERENT}
    both = replace(item, freed=item.freed or new.freed, **own)
    if both.fixed is not None and (both.freed or both.start is not None):
        other = "freed by NA*" if both.freed else f"given the starting value {both.start:g}"
        raise ModifierError(f"{both.name} is fixed to {both.fixed:g} and {other} too; keep one.")
    if both.slope is not None and both != Item(both.level, both.lhs, both.op, both.rhs, slope=both.slope):
        raise ModifierError(f"{both.name} has a random slope and another modifier too; keep one.")
    return both
