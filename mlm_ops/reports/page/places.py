"""Say where reports are written: a folder beside the results, one file per analysis, and an index of several."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mlm_ops.results.words import file_name

#: The folder of reports beside the results, and the file that lists several.
FOLDER, INDEX = "report", "index.html"
#: How the store names a partition of an analysis.
_PARTITION = re.compile(r"(.+?)\[.*\]", re.DOTALL)


def page_name(analysis: str) -> str:
    """The analysis that a page is of: of a partition that which it is a part of.

    >>> page_name("waves[2]"), page_name("hsb")
    ('waves', 'hsb')
    """
    partition = _PARTITION.fullmatch(analysis)
    return partition[1] if partition else analysis


def file_names(analyses: Sequence[str]) -> dict[str, str]:
    """The name of each analysis' file, all different whatever the case of letters, and none that of the index."""
    names: dict[str, str] = {}
    used = {Path(INDEX).stem}
    for analysis in analyses:
        stem = name = file_name(analysis)
        number = 1
        while name.lower() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.lower())
        names[analysis] = f"{name}.html"
    return names


def existing_report(database: Path, analyses: Sequence[str], shown: Sequence[str]) -> Path | None:
    """The report of those analyses of a store that are shown, or the index of several; None if it was not written.

    Parameters
    ----------
    analyses, shown
        All analyses with results, in the order of their names, and those that a reader looks at.
    """
    folder = database.parent / FOLDER
    names = file_names(list(dict.fromkeys(map(page_name, analyses))))
    pages = {page_name(analysis) for analysis in shown}
    path = folder / (names[pages.pop()] if len(pages) == 1 else INDEX)
    return path if path.is_file() else None
