"""Names in an analysis file that have to be different, or of something that is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

#: Names of a list that are told.
MOST_TOLD = 30


def check_names(
    models: Sequence[str],
    levels: Sequence[str],
    compare: Sequence[tuple[str, str]],
    named: Mapping[str, Sequence[str]],
) -> None:
    """Refuse names that are there twice, and names of no model.

    Parameters
    ----------
    models
        Names of the models.
    levels
        Columns of the levels.
    compare
        Pairs of models.
    named
        Models that other keys name, by key.

    Raises
    ------
    ValueError
        With the first fault.
    """
    alike = {name.lower(): name for name in models}
    for name in models:
        # DuckDB does not tell letter case apart, and views are named for models
        if (other := alike[name.lower()]) != name:
            raise ValueError(f"models {name!r} and {other!r} differ in letter case alone; rename one")
    twice = [level for level, count in Counter(levels).items() if count > 1]
    if twice:
        raise ValueError(f"levels has {twice[0]!r} twice; name the column of each level once, lowest first")
    known = set(models)
    for key, names in {"compare": [name for pair in compare for name in pair], **named}.items():
        unknown = dict.fromkeys(repr(name) for name in names if name not in known)
        if unknown:
            raise ValueError(f"{key} names no model of this file: {_some(unknown)}; models are {_some(models)}")
    itself = [model for model, reference in compare if model == reference]
    if itself:
        raise ValueError(f"compare sets {itself[0]!r} against itself; name two different models")


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MOST_TOLD]) + (f" and {len(names) - MOST_TOLD:,} more" if len(names) > MOST_TOLD else "")
