"""Suggest the name that a user probably meant, and list names in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of `names` that is most like `name`, letter case aside; None if none is like it.

    >>> nearest("SES", ["sex", "ses"]), nearest("withn", ["within", "between"]), nearest("age", ["ses"])
    ('ses', 'within', None)
    """
    by_lower_case = {candidate.lower(): candidate for candidate in names}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return by_lower_case[matches[0]] if matches else None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return " Did you mean …?" to follow a sentence; empty where no name is like it."""
    suggestion = nearest(name, names)
    return f" Did you mean {suggestion!r}?" if suggestion is not None else ""


def list_names(names: Iterable[str], most: int = 30) -> str:
    """List names for a message, cut after `most`."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def unknown_result(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that a store has no results of such a name, and of which it has.

    >>> unknown_result("model", "anowa", ["anova"])
    "There are no results of the model anowa. Did you mean 'anova'? There are anova."
    """
    names = list(known)
    there = list_names(names) or "none"
    return f"There are no results of the {kind} {name}.{did_you_mean(name, names)} There are {there}."
