"""Describe how a data file is read: which options were given, what was assumed, and which cells were changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.files.kinds import FileKind, suffix_of
from mlm_ops.warehouse.sql import file_literal, identifier, literal

#: Where the path stands in the SQL of a reading, so that another file may be read in the same way.
PATH = "{path}"
_TAB_SEPARATED = frozenset({".tsv", ".tab"})
#: The delimiter of columns that runs of blanks separate.
BLANKS = ""
_SIGNS = {"\t": "the tab", " ": "the space", BLANKS: "white space"}


@dataclass(frozen=True)
class FileOptions:
    """What the key ``options`` of an analysis file says about a data file; None is found out.

    Attributes
    ----------
    delimiter, quote, decimal, thousands
        Characters of delimited text.
    encoding
        The encoding of delimited text, as Python names it.
    header
        Whether the first line of delimited text names the columns.
    null
        Words that are missing values, instead of those that are assumed.
    sheet
        The name of an Excel sheet.
    """

    delimiter: str | None = None
    quote: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: bool | None = None
    null: tuple[str, ...] | None = None
    sheet: str | None = None


@dataclass(frozen=True)
class ChangedColumn:
    """A column whose cells are changed on their way from the file.

    Attributes
    ----------
    name
        The column.
    sql
        The SQL expression of its cells.
    decimal
        Its decimal sign, where it has one that is no point, or groups of thousands.
    thousands
        The signs between its groups of thousands.
    words
        The words that are missing values, those that occur.
    n_missing, n_cells
        How many cells hold such a word, and how many there are that are not empty.
    """

    name: str
    sql: str
    decimal: str = "."
    thousands: str = ""
    words: tuple[str, ...] = ()
    n_missing: int = 0
    n_cells: int = 0


@dataclass(frozen=True)
class Reading:
    """How a data file is read.

    Attributes
    ----------
    path, kind
        The file, or the folder of Parquet files.
    sql
        The text after FROM, with `PATH` once for the path of a single file, by the columns' names where the file has
        them; None where DuckDB cannot read the file so.
    delimiter, quote, encoding
        Of delimited text.
    changed
        Columns whose cells are changed.
    columns, header
        The columns of delimited text, and as its first line names them; both are empty where it does not.
    row_names, skips_row_names
        Whether a first column without a name is left out, and whether the first line has no place for it.
    skip, comment
        Lines before the first line, and the sign of lines that are comments.
    sheet
        The sheet of an Excel file, where it is not the only one.
    words
        Words that are missing values in every column.
    commas, points
        Columns that have a decimal comma, and a decimal point, for certain; empty unless there are both.
    remarks
        Sentences about other things that were assumed, without a full stop.
    types
        The types of all columns, of delimited text by its first rows, where some were not read because nobody asked
        for them; else empty.
    """

    path: Path
    kind: FileKind
    sql: str | None
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    changed: tuple[ChangedColumn, ...] = ()
    columns: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    row_names: bool = False
    skips_row_names: bool = False
    skip: int = 0
    comment: str = ""
    sheet: str | None = None
    words: tuple[str, ...] = ("", "NA")
    commas: tuple[str, ...] = ()
    points: tuple[str, ...] = ()
    remarks: tuple[str, ...] = field(default=())
    types: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def relation(self) -> str | None:
        """The text after FROM; None where DuckDB cannot read the file."""
        return None if self.sql is None else located(self.sql, self.path)

    def all_types(self, types: Mapping[str, str]) -> dict[str, str]:
        """The types of all columns in their order, given those of the columns that were read."""
        return {name: types.get(name, kind) for name, kind in self.types.items()} or dict(types)

    @property
    def assumptions(self) -> str:
        """What was assumed, in one line; nothing for a plain file."""
        parts = []
        if self.kind is FileKind.DELIMITED:
            if self.delimiter != ("\t" if suffix_of(self.path) in _TAB_SEPARATED else ","):
                parts.append(f"{_sign(self.delimiter)} separates")
            if self.quote != '"':
                parts.append(f"{self.quote} quotes")
            if self.encoding not in ("utf-8", "utf-8-sig"):
                parts.append(f"the encoding is {self.encoding}")
        if self.points:
            parts.append(self._signs)
        elif any(column.decimal == "," for column in self.changed):
            parts.append(", is the decimal sign")
        if groups := "".join(dict.fromkeys("".join(column.thousands for column in self.changed))):
            parts.append(f"{' and '.join(map(_sign, groups))} group{'s' if len(groups) == 1 else ''} thousands")
        if missing := self.missing():
            parts.append(missing)
        if self.row_names:
            parts.append("the first column has no name and is left out, as R's row names are")
        return "; ".join([", ".join(parts), *self.remarks] if parts else self.remarks)

    @property
    def _signs(self) -> str:
        return (
            f", is the decimal sign of {list_names(self.commas, most=4)} and . that of "
            f"{list_names(self.points, most=4)}"
        )

    def contradiction(self, columns: Iterable[str]) -> str:
        """Say which columns have which decimal sign, if one of these is read in a way that others contradict."""
        names = set(columns)
        doubtful = any(c.name in names for c in self.changed if c.decimal == "," or c.thousands)
        return self._signs if self.points and doubtful else ""

    def missing(self, columns: Iterable[str] | None = None) -> str:
        """Say which words were read as missing values in these columns, and in how many cells; nothing if none were."""
        names = None if columns is None else set(columns)
        having = [c for c in self.changed if c.n_missing and (names is None or c.name in names)]
        if not having:
            return ""
        words = tuple(dict.fromkeys(word for column in having for word in column.words))
        missing, cells = sum(c.n_missing for c in having), sum(c.n_cells for c in having)
        where = list_names([column.name for column in having])
        verb = "is" if len(words) == 1 else "are"
        return f"{' and '.join(map(literal, words))} {verb} missing: {missing:,} of {cells:,} cells of {where}"


def located(sql: str, path: Path) -> str:
    """Put the path of a file into the SQL that reads it; that of a folder names its files, whatever their names."""
    return sql if path.is_dir() else sql.replace(PATH, file_literal(path), 1)


def _sign(character: str) -> str:
    return _SIGNS.get(character, "the space" if character.isspace() else character)


def selected(
    reader: str, columns: Iterable[str], left_out: Collection[str], changed: Sequence[ChangedColumn] = ()
) -> str:
    """Return the text after FROM of the rows that a reader gives, once columns are left out and cells changed."""
    return listed(reader, columns, left_out, changed) if left_out or changed else reader


def listed(
    reader: str, columns: Iterable[str], left_out: Collection[str], changed: Sequence[ChangedColumn] = ()
) -> str:
    """Return what `selected` does, with every column named: one that the file gets later does not come in."""
    sql = {column.name: column.sql for column in changed}
    cells = (
        f"{sql[name]} as {identifier(name)}" if name in sql else identifier(name)
        for name in columns
        if name not in left_out
    )
    # FROM stands first, so that the path does, whatever the columns' names are
    return f"(from {reader} select {', '.join(cells)})"
