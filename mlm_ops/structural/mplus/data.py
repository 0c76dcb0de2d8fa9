"""Open the data file of an Mplus input: numbers without a header, whose columns ``NAMES`` names.

In free format blanks, commas or tabs stand between the numbers, and a row is a line (Muthen and Muthen 1998-2017, Mplus
User's Guide, ch. 15).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from mlm_ops.errors import DataError
from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.files.encoding import decoded, head, possible_encodings
from mlm_ops.warehouse.files.kinds import FileKind, is_data_file, kind_of
from mlm_ops.warehouse.files.reading import FileOptions
from mlm_ops.warehouse.source import Source, open_source
from mlm_ops.warehouse.sql import identifier

#: Cells that are missing without being codes, and what a first line of numbers has between them.
_MISSING = (".", "*")
_BETWEEN = re.compile(r"[\s,]+")


@dataclass(frozen=True)
class DataFile:
    """What DATA and NAMES say of a data file.

    Attributes
    ----------
    file, layout, rows
        FILE, FORMAT and NOBSERVATIONS as they are written; empty where they are not.
    columns
        The names of NAMES.
    folder
        Where the input lies.
    """

    file: str = ""
    layout: str = ""
    rows: str = ""
    columns: tuple[str, ...] = ()
    folder: Path = Path()

    def open(self) -> Source:
        """The rows of the file.

        Raises
        ------
        DataError
            There is none, it is not in free format, or its columns are not those of NAMES.
        """
        if not self.file:
            raise DataError(
                "The Mplus input names no data file. Write DATA: FILE = …, or give the rows: model.fit(data) in "
                "Python, mlm fit model.inp data.csv at a terminal."
            )
        if self.layout and self.layout.upper() != "FREE":
            raise DataError(
                f"The Mplus input says that its data file has a fixed format, which is not read. Got FORMAT = "
                f"{self.layout}; write the rows with blanks, commas or tabs between the numbers."
            )
        source = self._without_header(self._path())
        if not self.rows:
            return source
        if not self.rows.isdecimal():
            raise DataError(f"NOBSERVATIONS of the Mplus input is a number of rows. Got {self.rows!r}.")
        return selected_rows(source, f"select * from {source.relation} limit {self.rows}")

    def named(self, data: Any, connection: Any) -> Source:
        """Other rows: those of a file of numbers alone have the names of NAMES.

        Raises
        ------
        DataError
            They cannot be read, or the columns of such a file are not those of NAMES.
        """
        is_file = isinstance(data, str | Path) and connection is None and is_data_file(data) and not Path(data).is_dir()
        if is_file and kind_of(Path(data)) is FileKind.DELIMITED and _begins_with_numbers(Path(data)):
            return self._without_header(Path(data))
        return open_source(data, connection)

    def _path(self) -> Path:
        """The file by its own path, or by its name beside the input."""
        written = self.file.strip("\"'")
        paths = [self.folder / written, self.folder / PureWindowsPath(written).name]
        existing = [path for path in paths if path.is_file()]
        if not existing:
            places = list_names(dict.fromkeys(map(str, paths)))
            raise DataError(
                f"The data file of the Mplus input is not there. Looked for {places}; "
                "give the rows beside the input, as in mlm fit model.inp data.csv."
            )
        return existing[0]

    def _without_header(self, path: Path) -> Source:
        source = open_source(path, options=FileOptions(header=False, null=_MISSING))
        if len(source.types) != len(self.columns):
            raise DataError(
                f"{path} has {len(source.types)} columns, and NAMES of the Mplus input lists {len(self.columns)}. "
                "They have to be the same ones, in the same order."
            )
        words = [name for name, old in zip(self.columns, source.types, strict=True) if not source.is_numeric(old)]
        if words:
            raise DataError(
                f"{path} holds something else than numbers in {list_names(words)}. Mplus reads numbers alone; give "
                "the rows as a file with the columns' names in its first line."
            )
        pairs = zip(source.types, self.columns, strict=True)
        renamed = ", ".join(f"{identifier(old)} as {identifier(new)}" for old, new in pairs)
        return selected_rows(source, f"select {renamed} from {source.relation}")


def selected_rows(source: Source, select: str) -> Source:
    """The source of a SELECT of a source's rows, with the types of its columns."""
    relation = f'({select}) as "mlm_rows"'
    rows = source.query(f"describe select * from {relation}").fetchall()
    return replace(source, relation=relation, types={row[0]: row[1] for row in rows})


def _begins_with_numbers(path: Path) -> bool:
    """Whether the first line holds numbers or missing cells alone, and so no names."""
    start = head(path)
    lines = [line for line in decoded(start, possible_encodings(start)[0]).splitlines() if line.strip()]
    return bool(lines) and all(map(_is_number, _BETWEEN.split(lines[0].strip().strip(","))))


def _is_number(cell: str) -> bool:
    if cell in _MISSING:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return cell.lower() not in {"nan", "inf", "infinity"}
