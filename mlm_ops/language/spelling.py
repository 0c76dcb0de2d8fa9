"""Suggest the name that was probably meant, and list names in messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is nearest to `name`, letter case aside, if one is near.

    >>> nearest("SES", ["sex", "ses"]), nearest("withn", ["within", "between"]), nearest("age", ["ses"])
    ('ses', 'within', None)
    """
    folded = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), folded, n=1)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the question as the rest of a sentence, or nothing where no name is near."""
    found = nearest(name, known)
    return f" Did you mean {found!r}?" if found is not None else ""


def listed(names: Iterable[str], most: int = 30) -> str:
    """List names for a message, cut after `most`."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def unknown_result(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that a store has no results of such a name, and of which it has.

    >>> unknown_result("model", "anowa", ["anova"])
    "There are no results of the model anowa. Did you mean 'anova'? There are anova."
    """
    names = list(known)
    return f"There are no results of the {kind} {name}.{did_you_mean(name, names)} There are {listed(names) or 'none'}."
