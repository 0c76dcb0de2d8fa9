"""Read the groups of an Mplus input: ``GROUPING``, and ``MODEL north:`` beside the ``MODEL:`` for all groups.

What stands in a group's own MODEL replaces what all groups have. What does not follows Mplus' defaults (Muthen and
Muthen 1998-2017, Mplus User's Guide, ch. 14): loadings, and intercepts of the factors' indicators, are equal in all
groups; the means of factors are zero in the first group and free in the others; all else differs. The first group is
that of the lowest value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count

from mlm_ops.structural.language.model import BETWEEN, WITHIN, Item, Operator
from mlm_ops.structural.mplus.commands import NamesOfInput
from mlm_ops.structural.mplus.paths import Paths

_GROUPING = re.compile(r"([A-Za-z]\w*)\s*\(((?:\s*-?\d+\s*=\s*\w+[\s,]*)+)\)")
_LABEL = re.compile(r"(-?\d+)\s*=\s*(\w+)")
_UNCLEAR_MEAN = (
    "whether a mean of all groups is equal in them is left open; give it a label or value, or write it in the MODEL of "
    "each group"
)
_Key = tuple[int, str, Operator, str]


def grouping_labels(value: str, names: NamesOfInput) -> tuple[str, list[str]] | None:
    """The column of ``region (1 = north 2 = south)`` and its labels by rising value; None where it is no such text."""
    match = _GROUPING.fullmatch(value.strip())
    if match is None or not names.is_column(match[1]):
        return None
    labels = sorted((int(number), label) for number, label in _LABEL.findall(match[2]))
    words = [label.upper() for _, label in labels]
    is_clear = len(labels) > 1 and len(set(words)) == len({number for number, _ in labels}) == len(labels)
    return (names.of(match[1]), words) if is_clear else None


def group_items(overall: Paths, groups: Sequence[Paths]) -> list[Item]:
    """The items of a model of several groups, each as it is in every group."""
    own = [_of_all(overall, paths) for paths in groups]
    keys = list(dict.fromkeys([*overall.items, *(key for items in own for key in items)]))
    indicators = {(key[0], key[3]) for key in keys if key[2] == "=~"}
    factors = {(key[0], key[1]) for key in keys if key[2] == "=~"}
    # intercepts and means that no statement names have defaults of their own
    keys += [(level, name, "~1", "") for level, name in sorted(indicators - factors) if _has_mean(overall, level, name)]
    keys += [(level, name, "~1", "") for level, name in sorted(factors) if level == BETWEEN]
    markers = _markers(overall)
    in_use = {item.label for paths in (overall, *groups) for item in paths.items.values()}
    labels = (label for label in (f"same{number}" for number in count(1)) if label not in in_use)
    result: list[Item] = []
    for key in dict.fromkeys(keys):
        item = overall.items.get(key)
        if item is not None and item.slope is not None:
            result.append(item)
            continue
        is_factor = key[:2] in factors
        _check_mean(overall, key, own, is_held=key[0] == BETWEEN and key[:2] in indicators and not is_factor)
        items = [
            items[key] if key in items else _default(key, item, number, is_marker=key in markers, is_factor=is_factor)
            for number, items in enumerate(own)
        ]
        if key[2] == "=~" or (key[2] == "~1" and key[:2] in indicators and not is_factor):
            items = _held(items, [key in items for items in own], labels)
        result.append(_merged(items, labels))
    return result


def _has_mean(overall: Paths, level: int, name: str) -> bool:
    """Whether an indicator's mean is one of this level: Mplus has that of a variable of both at level 2."""
    return overall.names.is_column(name) and (level == BETWEEN or name in overall.within_only)


def _of_all(overall: Paths, paths: Paths) -> dict[_Key, Item]:
    """A group's own items, covariances in the order of the model of all groups."""
    result: dict[_Key, Item] = {}
    for (level, lhs, op, rhs), item in paths.items.items():
        is_mirrored = op == "~~" and (level, rhs, op, lhs) in overall.items
        key = (level, rhs, op, lhs) if is_mirrored else (level, lhs, op, rhs)
        before = overall.items.get(key)
        if item.slope is not None and (before is None or before.slope != item.slope):
            paths.refusals.add(paths.lines[level, lhs, op, rhs], "a random slope is in the MODEL of all groups")
        elif item.slope is None and before is not None and before.slope is not None:
            why = f"{lhs} ON {rhs} has the random slope {before.slope}"
            paths.refusals.add(paths.lines[level, lhs, op, rhs], why)
        result[key] = replace(item, lhs=key[1], rhs=key[3])
    return result


def _markers(overall: Paths) -> set[_Key]:
    """The first loading of each factor, which is one unless the text says otherwise."""
    first: dict[tuple[int, str], _Key] = {}
    for key, item in overall.items.items():
        if key[2] == "=~" and (key[0], key[1]) not in first:
            first[key[0], key[1]] = key
            if item.fixed is not None or item.freed:
                first[key[0], key[1]] = (0, "", "=~", "")
    return set(first.values())


def _check_mean(overall: Paths, key: _Key, own: Sequence[Mapping[_Key, Item]], *, is_held: bool) -> None:
    """Refuse a free mean of all groups that not every group states, unless it is equal by default."""
    item = overall.items.get(key)
    if key[2] != "~1" or is_held or all(key in items for items in own):
        return
    if item is not None and item.fixed is None and item.label is None:
        overall.refusals.add(overall.lines[key], _UNCLEAR_MEAN)
    elif item is None and key[0] == WITHIN:
        loading = next((other for other in overall.lines if (*other[:1], *other[2:]) == (WITHIN, "=~", key[1])), None)
        if loading is not None:
            overall.refusals.add(overall.lines[loading], f"of [{key[1]}], {_UNCLEAR_MEAN}")


def _default(key: _Key, item: Item | None, group: int, *, is_marker: bool, is_factor: bool) -> Item:
    """The parameter of a group that does not state it: the one stated for all groups, or else Mplus' default."""
    if item is not None:
        return replace(item, fixed=1.0) if is_marker else replace(item, freed=item.fixed is None)
    level, lhs, op, rhs = key
    if op == "~1":
        is_zero = is_factor and not group
        return Item(level, lhs, op, rhs, fixed=0.0 if is_zero else None, freed=not is_zero)
    is_variance = op == "~~" and lhs == rhs
    # what another group alone states is not in this one's model
    return Item(level, lhs, op, rhs, fixed=None if is_variance else 0.0, freed=is_variance)


def _held(items: Sequence[Item], stated: Sequence[bool], labels: Iterator[str]) -> list[Item]:
    """The items with one label for those that are equal by default."""
    alike = [not own and item.fixed is None and item.label is None for item, own in zip(items, stated, strict=True)]
    if sum(alike) < 2:
        return list(items)
    label = next(labels)
    return [replace(item, label=label) if is_alike else item for item, is_alike in zip(items, alike, strict=True)]


def _merged(items: Sequence[Item], labels: Iterator[str]) -> Item:
    """One item, with its values by group where they differ."""
    first = items[0]
    if all(item == first for item in items):
        return first
    plain = [replace(item, start=None, freed=item.fixed is None) for item in items]
    is_double = any(item.label is not None and (item.fixed is not None or item.op == "=~") for item in plain)
    if is_double:
        # two vectors, of labels and of values, have a label for each group
        plain = [item if item.label is not None else replace(item, label=next(labels)) for item in plain]
    return Item(first.level, first.lhs, first.op, first.rhs, by_group=tuple(plain))
