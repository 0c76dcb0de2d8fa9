"""What an analysis file may read beside the tables of its database; never said in the file itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlm_ops.errors import DataError

#: How each host lets an analysis file read more.
HOW_TO_ALLOW = "mlm fit --allow-files, allow_files: true in defs.yaml, or read_analysis(…, allow_files=True) in Python"
#: A folder with one of these is a project.
PROJECT_FILES = ("pyproject.toml", "dbt_project.yml")


@dataclass(frozen=True)
class Reach:
    """What an analysis may read beside tables and views.

    Attributes
    ----------
    folders
        The project, from which relative paths start, and perhaps the analysis file's own folder, from which they start
        where the project has no such file. Data files in the project may be read. Without a folder none may.
    everything
        Whether everything may be read, which is the caller's word, not the file's.
    """

    folders: tuple[Path, ...] = ()
    everything: bool = False

    def place(self, path: str) -> Path:
        """Where a data file lies that an analysis names: links followed, so that what is read is what was looked at.

        A path names one file: ``[l]ink.csv`` is the file of that very name, never those that a pattern finds.

        Raises
        ------
        DataError
            It lies outside the project.
        """
        places = [folder / path for folder in self.folders] or [Path(path)]
        place = next((place for place in places if _is_file(place)), places[0])
        if self.everything:
            return place
        if (found := self.resolved(place)) is None:
            expected = f"one under {self.folders[0].resolve()}" if self.folders else "a table of the database"
            raise DataError(
                f"The path of the data leaves the project. Got {path}; expected {expected}. Move the file, or allow it "
                f"with {HOW_TO_ALLOW}."
            )
        return found

    def resolved(self, path: Path) -> Path | None:
        """The path without links and dots, if it lies in the project; None of one that may not be read."""
        if not self.folders:
            return None
        try:
            found, project = path.resolve(), self.folders[0].resolve()
        except (OSError, RuntimeError, ValueError):  # a circle of links, or a name that no file system has
            return None
        return found if found.is_relative_to(project) else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def reach_of(file: Path, *, everything: bool = False) -> Reach:
    """What an analysis file may read: the data files of the nearest project above it, else of its own folder."""
    folder = file.resolve().parent
    above = (folder, *folder.parents)
    project = next((place for place in above if any((place / name).is_file() for name in PROJECT_FILES)), folder)
    return Reach((project, folder), everything)
