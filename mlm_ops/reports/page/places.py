"""Say where reports are: a folder beside the results, a file an analysis, and an index of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlm_ops.results.words import file_name

#: The folder of reports beside the results, and the file that lists several.
FOLDER, INDEX = "report", "index.html"


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
    path = folder / (file_names(analyses)[shown[0]] if len(shown) == 1 else INDEX)
    return path if path.is_file() else None
