"""Read delimited text as its author meant it: encoding, layout, types, and the cells to convert."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.language.spelling import list_names
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.files.cells import CellChanges, change_cells, may_have_commas
from mlm_ops.warehouse.files.dialect import Dialect, LayoutError, find_dialect, is_aligned
from mlm_ops.warehouse.files.encoding import (
    DUCKDB_NAMES,
    SPOKEN,
    check_text,
    decoded,
    head,
    in_utf8,
    possible_encodings,
    single_spaced,
)
from mlm_ops.warehouse.files.kinds import FileKind, suffix_of
from mlm_ops.warehouse.files.reading import BLANKS, PATH, ChangedColumn, FileOptions, Reading, listed, selected
from mlm_ops.warehouse.sql import file_literal, identifier

#: Makes rows of the text after FROM, and returns the text after FROM of these.
Hold = Callable[[str], str]

_WRONG_ENCODING = re.compile(r"invalid unicode|not \S+ encoded", re.IGNORECASE)
#: DuckDB repeats the line between its number and what is wrong with it, and gives advice below.
_FAULTY_LINE = re.compile(
    r"CSV Error on Line: (?P<line>\d+)\n.*\n"
    r"(?P<reason>(?:Value with unterminated quote|Expected Number of Columns|Maximum line size)[^\n]*)\n\n?Possible",
    re.DOTALL,
)
#: Fewer than the rows by which DuckDB finds types.
_HEAD_ROWS = 18_000
#: Types of which DuckDB makes cells of others without a word.
_CUT = frozenset({"BIGINT", "DATE", "TIME"})
_TIMES = frozenset({"DATE", "TIME", "TIMESTAMP"})
#: Errors that another look at the file does not cure.
_NO_CURE = (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InterruptException)


def read_delimited(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    options: FileOptions,
    hold: Hold,
    columns: Collection[str] | None = None,
) -> Reading:
    """Find out how a delimited text is read, and hold its rows.

    Parameters
    ----------
    columns
        Columns that somebody asks for; None for all. Others that hold no text are not read, which takes two thirds of
        the time, unless one that is asked for holds 1.234 or 1,234 alone, which is a thousand or not by what the others
        hold. Text is read always, as it may tell that too.

    Raises
    ------
    DataError
        It cannot be read, in one sentence.
    """
    start = head(path)
    check_text(path, start)
    encodings = possible_encodings(start) if options.encoding is None else (codecs.lookup(options.encoding).name,)
    for encoding in encodings:
        beginning, place = decoded(start, encoding), path
        aligned = options.delimiter in (None, " ") and is_aligned(beginning)
        try:
            if encoding in DUCKDB_NAMES and not aligned:
                reading = _read(_Text(connection, path, beginning, options, encoding, hold, columns))
            else:
                with in_utf8(path, encoding, single_spaces=aligned) as place:
                    layout = replace(options, delimiter=" ") if aligned else options
                    beginning = "\n".join(map(single_spaced, beginning.splitlines())) if aligned else beginning
                    copied = _read(_Text(connection, place, beginning, layout, "utf-8", hold, columns))
                reading = replace(copied, path=path, sql=None, delimiter=BLANKS if aligned else copied.delimiter)
        except UnicodeError as error:
            if encoding != encodings[-1]:
                continue
            raise DataError(
                f"{path} is not a text of the encoding {SPOKEN.get(encoding, encoding)}. Save it as UTF-8, or name its "
                "encoding with options: {encoding: …} in an analysis file."
            ) from error
        except (duckdb.Error, LayoutError) as error:
            if _WRONG_ENCODING.search(str(error)) and encoding != encodings[-1]:
                continue
            reason = _reason(error).replace(str(place), str(path))
            raise DataError(f"{path} cannot be read as {suffix_of(path)[1:]}: {reason}") from error
        marked = encoding == "utf-8" and start.startswith(codecs.BOM_UTF8)
        return replace(reading, encoding="utf-8-sig" if marked else SPOKEN.get(encoding, encoding))
    raise AssertionError("the last encoding is read or refused")


def _reason(error: Exception) -> str:
    """Say why a text cannot be read: the line and DuckDB's reason, without the line itself, which may be very long."""
    match = _FAULTY_LINE.search(str(error))
    return why_it_failed(error) if match is None else f"line {match['line']}: {match['reason']}"


@dataclass(frozen=True)
class _Text:
    """A file of an encoding that DuckDB knows, as it begins, and who asks for which of its columns; None for all."""

    connection: duckdb.DuckDBPyConnection
    path: Path
    beginning: str
    options: FileOptions
    encoding: str
    hold: Hold
    columns: Collection[str] | None

    def dialect(self, *, every_row: bool = False) -> Dialect:
        """Find the layout, with types by the first rows or by all."""
        dialect = find_dialect(
            self.connection, self.path, self.beginning, self.options, self.encoding, every_row=every_row
        )
        # 1.5 is no number where the comma is the decimal sign
        return dialect.typed(_doubles_as_text(dialect)) if self.options.decimal == "," else dialect

    def columns_left_out(self, dialect: Dialect) -> list[str]:
        """The columns that are not read: nobody asks for them, and they hold no text."""
        # words that the user calls missing may be in any column
        if self.columns is None or self.options.null or not dialect.columns.keys() & set(self.columns):
            return []
        return [name for name, kind in dialect.columns.items() if kind != "VARCHAR" and name not in self.columns]

    def rows(self, dialect: Dialect) -> str:
        """Hold the rows; they are the text after FROM."""
        return self.hold(self.located(selected(dialect.reader, dialect.columns, self.columns_left_out(dialect))))

    def rows_of_first_types(self, dialect: Dialect) -> str | None:
        """Hold the rows if they are of the types that were found by the first ones; None if not."""
        try:
            rows = self.hold(self.located(_proving(dialect, self.columns_left_out(dialect))))
            return None if _has_late_values(self.connection, rows, dialect) else rows
        except duckdb.Error as error:
            # no other types make a row of four cells one of three
            if isinstance(error, _NO_CURE) or _WRONG_ENCODING.search(str(error)) or _FAULTY_LINE.search(str(error)):
                raise
            return None

    def located(self, reader: str) -> str:
        return reader.replace(PATH, file_literal(self.path), 1)


def _read(text: _Text) -> Reading:
    """Read a file by the types of its first rows, or if they do not hold, of all."""
    options, dialect = text.options, text.dialect()
    # of a column left out the first cells alone are known, and a later 2,5 would make 1.234 a thousand
    if text.columns_left_out(dialect) and _may_be_thousands(text, dialect):
        text = replace(text, columns=None)
    rows = text.rows_of_first_types(dialect)
    has_types_of_all = rows is None
    if rows is None:
        dialect = text.dialect(every_row=True)
        try:
            rows = text.rows(dialect)
        except duckdb.ConversionException:
            # dates in two ways, as 2020-01-31 and 31/01/2020, of which DuckDB takes the type of one
            dates = [name for name, kind in dialect.columns.items() if kind in _TIMES]
            dialect = dialect.typed(dict.fromkeys(dates, "VARCHAR"))
            rows = text.rows(dialect)
    cells = _change(text, rows, dialect)
    columns_left_out = text.columns_left_out(dialect)
    doubles = [name for name in _doubles_as_text(dialect) if name not in columns_left_out]
    if not has_types_of_all and columns_left_out:
        # likewise 2.5 or 2,5 would tell what 1,234 is; and 2.5 contradicts 3,5
        may_be_told = set(cells.either_sign)
        if any(dialect.columns[name] == "DOUBLE" for name in columns_left_out):
            may_be_told |= {column.name for column in cells.changed if column.decimal == "," or column.thousands}
        if may_be_told & set(text.columns or ()):
            return _read(replace(text, columns=None))
    if options.decimal is None and doubles and (cells.commas or cells.either_sign):
        # 1.234 beside 3,5 is a thousand, and was read as a number with a decimal point
        as_text = dialect.typed(dict.fromkeys(doubles, "VARCHAR"))
        cells = _change(text, text.rows(as_text), as_text, doubles)
        as_numbers = [n for n in doubles if n not in cells.ambiguous and n not in {c.name for c in cells.changed}]
        dialect = as_text.typed(dict.fromkeys(as_numbers, "DOUBLE"))
        rows = text.rows(dialect)
    row_names = [] if dialect.row_names is None else [dialect.row_names]
    if row_names or cells.changed:
        columns = [name for name in dialect.columns if name not in columns_left_out]
        text.hold(selected(rows, columns, row_names, cells.changed))
    return _reading(text, dialect, cells, row_names)


def _change(text: _Text, rows: str, dialect: Dialect, doubles: Collection[str] = ()) -> CellChanges:
    types = {name: kind for name, kind in dialect.columns.items() if name not in text.columns_left_out(dialect)}
    return change_cells(
        text.connection.execute, rows, types, text.options, dialect.delimiter, find=True, doubles=doubles
    )


def _reading(text: _Text, dialect: Dialect, cells: CellChanges, row_names: list[str]) -> Reading:
    types = {name: kind for name, kind in dialect.columns.items() if name not in row_names}
    return Reading(
        text.path,
        FileKind.DELIMITED,
        listed(reader, dialect.columns, row_names, cells.changed) if (reader := dialect.lasting_reader) else None,
        delimiter=dialect.delimiter,
        quote=dialect.quote,
        encoding=text.encoding,
        changed=cells.changed,
        columns=tuple(dialect.columns) if dialect.header else (),
        header=dialect.header,
        row_names=bool(row_names),
        skips_row_names=bool(row_names) and not dialect.has_header,
        skip=dialect.skip - (bool(row_names) and not dialect.has_header),
        comment=dialect.comment,
        words=dialect.empty,
        types=types if text.columns_left_out(dialect) else {},
        commas=cells.commas if cells.points else (),
        points=cells.points if cells.commas else (),
        remarks=(*_titles(text, dialect), *cells.remarks),
    )


def _may_be_thousands(text: _Text, dialect: Dialect) -> bool:
    """Whether a number with a decimal point that is asked for may turn out a thousand, by the first rows: 1.234 may."""
    names = [name for name in _doubles_as_text(dialect) if name in (text.columns or ())]
    if not names or text.options.decimal is not None:
        return False
    reader = text.located(dialect.typed(_doubles_as_text(dialect)).reader)
    beginning = f"(from {reader} select {', '.join(map(identifier, names))} limit {_HEAD_ROWS})"
    return may_have_commas(text.connection.execute, beginning, names, text.options)


def _proving(dialect: Dialect, columns_left_out: Collection[str]) -> str:
    """Return the reader of a layout that was found by the first rows, which fails where a later row is of another.

    DuckDB itself would round 1.5 to the integer 2, make 7 of 007, and cut the time off a date.
    """
    kinds = {name: kind for name, kind in dialect.columns.items() if kind in _CUT}
    return selected(
        dialect.typed(dict.fromkeys(kinds, "VARCHAR")).reader,
        dialect.columns,
        columns_left_out,
        [ChangedColumn(name, _exactly(identifier(name), kind)) for name, kind in kinds.items()],
    )


def _exactly(cell: str, kind: str) -> str:
    value = f"try_cast({cell} as {kind})"
    return (
        f"case when {cell} = cast({value} as varchar) then {value} when {cell} is not null then error('no {kind}') end"
    )


def _doubles_as_text(dialect: Dialect) -> dict[str, str]:
    return {name: "VARCHAR" for name, kind in dialect.columns.items() if kind == "DOUBLE"}


def _has_late_values(connection: duckdb.DuckDBPyConnection, rows: str, dialect: Dialect) -> bool:
    """Whether a text column has no value in the rows by which its type was found, but has one later."""
    text = [identifier(name) for name, kind in dialect.columns.items() if kind == "VARCHAR"]
    if not text:
        return False
    counts = ", ".join(f"count({name})" for name in text)
    beginning = f"(select {', '.join(text)} from {rows} limit {_HEAD_ROWS})"
    (first,) = connection.execute(f"select {counts} from {beginning}").fetchall()
    empty = [name for name, count in zip(text, first, strict=True) if not count]
    if not empty:
        return False
    (whole,) = connection.execute(f"select {', '.join(f'count({n})' for n in empty)} from {rows}").fetchall()
    return any(whole)


def _titles(text: _Text, dialect: Dialect) -> tuple[str, ...]:
    """What is said where the first line is taken for a row, unless the user says so."""
    if dialect.has_header or dialect.header or text.options.header is False:
        return ()
    cells = list_names([repr(cell) for cell in dialect.first_row], most=4)
    return (
        f"the first line is a row, {cells}, and the columns are called {next(iter(dialect.columns))} and so on: if it "
        "names the columns, write options: {header: true} in an analysis file",
    )
