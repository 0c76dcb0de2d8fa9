"""Detect how delimited text is laid out: delimiter, quotes, header, and the types of its columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from mlm_ops.warehouse.files.encoding import DUCKDB_NAMES, open_bytes
from mlm_ops.warehouse.files.reading import PATH, FileOptions
from mlm_ops.warehouse.sql import file_literal, literal

#: Types that a column may turn out to be: no BOOLEAN, so that T, Yes and TRUE stay the words that they are.
_TYPES = ("BIGINT", "DOUBLE", "TIMESTAMP", "DATE", "TIME", "VARCHAR")
_DELIMITERS = ",;\t|"
#: Blanks that one space would not be: two, or one that begins a line.
_RUN = re.compile(r"[ \t]{2}|^ ")
#: What DuckDB says where there is no such sign.
_NONE = ("(empty)", "\x00", "")
#: Excel's first line that names the delimiter.
_SEPARATOR_LINE = "sep="


class LayoutError(Exception):
    """A text has no layout of rows and columns; the reason, without the name of the file."""


@dataclass(frozen=True)
class Dialect:
    """The layout of delimited text.

    Attributes
    ----------
    columns
        The SQL type of each column.
    header
        The columns as the first line names them; empty where it does not.
    first_row
        The cells of the first line, where it does not name them.
    row_names
        The column of R's row names, which has no name in the file.
    empty
        Words that are missing values in every column.
    """

    delimiter: str
    quote: str
    escape: str
    comment: str
    new_line: str
    skip: int
    has_header: bool
    columns: Mapping[str, str]
    date_format: str | None
    timestamp_format: str | None
    encoding: str
    empty: tuple[str, ...]
    header: tuple[str, ...] = ()
    first_row: tuple[str, ...] = ()
    row_names: str | None = None

    @property
    def reader(self) -> str:
        """The call of DuckDB's reader, with `PATH` for the file, which takes the columns by their place."""
        return self._call(["auto_detect = false"], "columns")

    @property
    def lasting_reader(self) -> str | None:
        """The same for a file that may change, by the names in its first line if it has any: a column may have moved.

        It gives columns that the file has beside those it had, too, and DuckDB's error names one that is missing. None
        where DuckDB cannot go by the names, which have no place for R's row names.
        """
        if self.has_header:
            # DuckDB compares names only where it detects something
            return self._call([], "types")
        return None if self.header else self.reader

    def _call(self, first: list[str], types: str) -> str:
        pairs = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in self.columns.items())
        arguments = {
            "delim": literal(self.delimiter),
            "quote": literal(self.quote),
            "escape": literal(self.escape),
            "comment": literal(self.comment),
            "skip": str(self.skip),
            "header": literal(self.has_header),
            types: f"{{{pairs}}}",
            "nullstr": f"[{', '.join(map(literal, self.empty))}]",
        }
        if self.new_line == "\\r":
            arguments["new_line"] = literal(self.new_line)
        if self.date_format:
            arguments["dateformat"] = literal(self.date_format)
        if self.timestamp_format:
            arguments["timestampformat"] = literal(self.timestamp_format)
        if self.encoding != "utf-8":
            arguments["encoding"] = literal(DUCKDB_NAMES[self.encoding])
        options = ", ".join([*first, *(f"{name} = {value}" for name, value in arguments.items())])
        return f"read_csv({PATH}, {options}, hive_partitioning = false)"

    def typed(self, types: Mapping[str, str]) -> Dialect:
        """The same layout with other types of some columns."""
        return replace(self, columns={**self.columns, **types})


def find_dialect(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    text: str,
    options: FileOptions,
    encoding: str,
    *,
    every_row: bool = False,
) -> Dialect:
    """Find the layout of a file.

    Parameters
    ----------
    text
        The beginning of the file.
    encoding
        One that DuckDB reads, by Python's name.
    every_row
        Whether the types are found by all rows; otherwise by the first 20,480.

    Raises
    ------
    LayoutError
        Rows have different numbers of cells.
    duckdb.Error
        DuckDB finds no layout.
    """
    signs = {"delim": options.delimiter, "quote": options.quote}
    skip = None
    if options.delimiter is None and text.lower().startswith(_SEPARATOR_LINE) and len(text) > 5 and text[5] in "\r\n":
        signs["delim"], skip = text[4], 1
    try:
        dialect = _sniff(connection, path, signs, options, encoding, skip, every_row=every_row)
    except duckdb.InvalidInputException:
        _refuse_uneven_rows(path, encoding, text, signs)
        raise
    if len(dialect.columns) == 1 and signs["delim"] is None:
        dialect = _divided(connection, path, text, dialect, signs, options, every_row=every_row)
    return _with_header(dialect, text)


def is_aligned(text: str) -> bool:
    """Whether runs of blanks separate the columns of a text that begins like this, as where its columns are aligned."""
    lines = [line for line in text.splitlines() if line.strip()]
    # the last line of a long text may be cut
    lines = lines[: -1 if len(lines) > 2 and not text.endswith("\n") else None]
    cells = [line.split() for line in lines]
    if not lines or len(cells[0]) < 2 or any(len(row) != len(cells[0]) for row in cells):
        return False
    if any(sign in text for sign in ';|"') or any(cell.strip(",") != cell for row in cells for cell in row):
        return False
    tabs = {line.count("\t") for line in lines}
    return (tabs == {0} or len(tabs) > 1) and any(_RUN.search(line) for line in lines)


def _sniff(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    signs: Mapping[str, str | None],
    options: FileOptions,
    encoding: str,
    skip: int | None,
    *,
    every_row: bool,
) -> Dialect:
    # a user's words are missing as numbers too, and are counted: DuckDB may know those alone that are no numbers
    empty = ("", "NA") if options.null is None else ("",)
    arguments = {name: literal(value) for name, value in signs.items() if value is not None}
    if options.header is not None:
        arguments["header"] = literal(options.header)
    arguments["nullstr"] = f"[{', '.join(map(literal, empty))}]"
    arguments["auto_type_candidates"] = f"[{', '.join(map(literal, _TYPES))}]"
    if encoding != "utf-8":
        arguments["encoding"] = literal(DUCKDB_NAMES[encoding])
    if skip is not None:
        arguments["skip"] = str(skip)
    if every_row:
        arguments["sample_size"] = "-1"
    call = [file_literal(path), *(f"{name} = {value}" for name, value in arguments.items())]
    result = connection.execute(f"from sniff_csv({', '.join(call)})")
    names = [column[0] for column in result.description or ()]
    facts = dict(zip(names, result.fetchall()[0], strict=True))
    quote = options.quote or ('"' if facts["Quote"] in _NONE else str(facts["Quote"]))
    return Dialect(
        delimiter=signs["delim"] or str(facts["Delimiter"]),
        quote=quote,
        escape=quote if facts["Escape"] in _NONE else str(facts["Escape"]),
        comment="" if facts["Comment"] in _NONE else str(facts["Comment"]),
        new_line=str(facts["NewLineDelimiter"]),
        skip=max(int(facts["SkipRows"]), skip or 0),
        has_header=bool(facts["HasHeader"]),
        columns={column["name"]: column["type"] for column in facts["Columns"]},
        date_format=facts["DateFormat"],
        timestamp_format=facts["TimestampFormat"],
        encoding=encoding,
        empty=empty,
    )


def _divided(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    text: str,
    dialect: Dialect,
    signs: Mapping[str, str | None],
    options: FileOptions,
    *,
    every_row: bool,
) -> Dialect:
    """Look again at a file in which one column was found, although its first line has a delimiter or a space."""
    (line,) = list(_lines(text, dialect, dialect.skip))[:1] or ("",)
    delimiter = max(_DELIMITERS, key=line.count)
    if delimiter in line:
        lengths = [len(cells) for cells in _rows(text, replace(dialect, delimiter=delimiter), dialect.skip)]
        # the last row of a long text may be cut
        uneven = next((i for i, n in enumerate(lengths[: -1 if len(lengths) > 2 else None]) if n != lengths[0]), None)
        if uneven is not None:
            raise _uneven(uneven, lengths[uneven], lengths[0], delimiter)
    elif " " in line.strip():
        delimiter = " "
    else:
        return dialect
    try:
        other = _sniff(
            connection, path, {**signs, "delim": delimiter}, options, dialect.encoding, None, every_row=every_row
        )
    except duckdb.Error:
        return dialect
    return other if len(other.columns) > 1 else dialect


def _with_header(dialect: Dialect, text: str) -> Dialect:
    """Add the names of the first line, and find R's row names, which have none."""
    names = list(dialect.columns)
    if dialect.has_header:
        cells = next(_rows(text, dialect, dialect.skip), [])
        if len(cells) != len(names):
            return dialect
        return replace(dialect, header=tuple(cells), row_names=names[0] if not cells[0] and len(names) > 1 else None)
    # R's write.table gives row names no place in the first line, which then looks like a title
    cells = next(_rows(text, dialect, dialect.skip - 1), []) if dialect.skip else []
    dialect = replace(dialect, first_row=tuple(next(_rows(text, dialect, dialect.skip), ())))
    if len(cells) != len(names) - 1 or len({cell.lower() for cell in (*cells, names[0])}) != len(names):
        return dialect
    (line,) = list(_lines(text, dialect, dialect.skip - 1))[:1]
    if len(cells) == 1 and dialect.delimiter == "," and not line.startswith(dialect.quote):
        # numbers with decimal commas in one column look the same
        raise _uneven(1, 2, 1, dialect.delimiter)
    columns = dict(zip((names[0], *cells), dialect.columns.values(), strict=True))
    return replace(dialect, columns=columns, header=("", *cells), row_names=names[0])


def _refuse_uneven_rows(path: Path, encoding: str, text: str, signs: Mapping[str, str | None]) -> None:
    """Name the first row that has another number of cells than the first line, where one delimiter is in both."""
    (line,) = [line for line in text.splitlines() if line.strip()][:1] or ("",)
    delimiter = signs["delim"] or max(_DELIMITERS, key=line.count)
    if delimiter not in line:
        return
    try:
        with io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="") as file:
            rows = csv.reader(file, delimiter=delimiter, quotechar=signs["quote"] or '"')
            lengths = (len(cells) for cells in rows if cells)
            n_first = next(lengths)
            uneven = next(((row, n) for row, n in enumerate(lengths, 1) if n != n_first), None)
    except (csv.Error, TypeError, UnicodeError):  # as below, or an encoding that the whole is not of
        return
    if uneven is not None:
        raise _uneven(*uneven, n_first, delimiter)


def _uneven(row: int, n_cells: int, n_first: int, delimiter: str) -> LayoutError:
    return LayoutError(
        f"row {row} has {n_cells} cells and the first line {n_first}, with {delimiter!r} between them. Correct the row."
    )


def _lines(text: str, dialect: Dialect, skip: int) -> Iterator[str]:
    for line in text.splitlines(keepends=True)[skip:]:
        if line.strip() and not (dialect.comment and line.startswith(dialect.comment)):
            yield line


def _rows(text: str, dialect: Dialect, skip: int) -> Iterator[list[str]]:
    lines = io.StringIO("".join(_lines(text, dialect, skip)), newline="")
    try:
        yield from csv.reader(lines, delimiter=dialect.delimiter, quotechar=dialect.quote)
    except (csv.Error, TypeError):  # a cell that the end of the beginning has cut, or a sign that csv does not take
        return
