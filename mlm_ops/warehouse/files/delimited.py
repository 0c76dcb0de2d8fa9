"""Read delimited text as its author meant it: encoding, layout, types, and the cells that need a change."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.files.cells import change_cells
from mlm_ops.warehouse.files.dialect import Dialect, LayoutError, find_dialect
from mlm_ops.warehouse.files.encoding import (
    DUCKDB_NAMES,
    SPOKEN,
    check_text,
    decoded,
    head,
    in_utf8,
    possible_encodings,
)
from mlm_ops.warehouse.files.kinds import FileKind, suffix_of
from mlm_ops.warehouse.files.reading import PATH, ChangedColumn, FileOptions, Reading, selected
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
#: Errors that another look at the file does not cure.
_NO_CURE = (duckdb.OutOfMemoryException, duckdb.IOException, duckdb.InterruptException)


def read_delimited(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    options: FileOptions,
    hold: Hold,
    wanted: Collection[str] | None = None,
) -> Reading:
    """Find out how a delimited text is read, and hold its rows.

    Parameters
    ----------
    wanted
        Columns that somebody asks for; None for all. Others that hold no text are not read, which takes two thirds of
        the time. Text is read always, as it may be what tells a decimal comma from a thousand.

    Raises
    ------
    DataError
        It cannot be read, in one sentence.
    """
    start = head(path)
    check_text(path, start)
    encodings = possible_encodings(start) if options.encoding is None else (codecs.lookup(options.encoding).name,)
    for encoding in encodings:
        place = path
        try:
            if encoding in DUCKDB_NAMES:
                reading = _read(connection, path, decoded(start, encoding), options, encoding, hold, wanted)
            else:
                with in_utf8(path, encoding) as place:
                    copied = _read(connection, place, decoded(start, encoding), options, "utf-8", hold, wanted)
                reading = replace(copied, path=path, sql=None)
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


def _read(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    text: str,
    options: FileOptions,
    encoding: str,
    hold: Hold,
    wanted: Collection[str] | None,
) -> Reading:
    """Read a file of an encoding that DuckDB knows: by the types of its first rows, or if they do not hold, of all."""

    def held(dialect: Dialect, *, unproved: bool = False) -> str:
        rows = (
            _proving(dialect, unread(dialect))
            if unproved
            else selected(dialect.reader, dialect.columns, unread(dialect))
        )
        return hold(rows.replace(PATH, file_literal(path), 1))

    def unread(dialect: Dialect) -> list[str]:
        # words that the user calls missing may be in any column
        if wanted is None or options.null or not dialect.columns.keys() & set(wanted):
            return []
        return [name for name, kind in dialect.columns.items() if kind != "VARCHAR" and name not in wanted]

    def find(*, every_row: bool) -> Dialect:
        dialect = find_dialect(connection, path, text, options, encoding, every_row=every_row)
        # 1.5 is no number where the comma is the decimal sign
        return dialect.typed(_doubles_as_text(dialect)) if options.decimal == "," else dialect

    dialect = find(every_row=False)
    try:
        rows = held(dialect, unproved=True)
        is_whole = not _has_late_values(connection, rows, dialect)
    except duckdb.Error as error:
        # no other types make a row of four cells one of three
        if isinstance(error, _NO_CURE) or _WRONG_ENCODING.search(str(error)) or _FAULTY_LINE.search(str(error)):
            raise
        is_whole = False
    if not is_whole:
        dialect = find(every_row=True)
        rows = held(dialect)
    cells = change_cells(connection.execute, rows, dialect.columns, options, dialect.delimiter, find=True)
    if options.decimal is None and any(c.decimal == "," for c in cells.changed) and _doubles_as_text(dialect):
        # 1.234 beside 3,5 is a thousand, and was read as a number with a decimal point
        with_comma = replace(options, decimal=",")
        as_text = dialect.typed(_doubles_as_text(dialect))
        cells = change_cells(connection.execute, held(as_text), as_text.columns, with_comma, ";", find=True)
        names = {column.name for column in cells.changed}
        dialect = as_text.typed({n: kind for n, kind in dialect.columns.items() if kind == "DOUBLE" and n not in names})
        rows = held(dialect)
    left_out = [] if dialect.row_names is None else [dialect.row_names]
    columns = list(dialect.columns)
    skipped = unread(dialect)
    if left_out or cells.changed:
        hold(selected(rows, [name for name in columns if name not in skipped], left_out, cells.changed))
    return Reading(
        path,
        FileKind.DELIMITED,
        selected(dialect.reader, columns, left_out, cells.changed),
        delimiter=dialect.delimiter,
        quote=dialect.quote,
        encoding=encoding,
        changed=cells.changed,
        columns=tuple(columns) if dialect.header else (),
        header=dialect.header,
        row_names=bool(left_out),
        skips_row_names=bool(left_out) and not dialect.has_header,
        skip=dialect.skip - (bool(left_out) and not dialect.has_header),
        comment=dialect.comment,
        words=dialect.empty,
        types={n: kind for n, kind in dialect.columns.items() if n not in left_out} if skipped else {},
        remarks=tuple(map(_ambiguous, [cells.ambiguous] if cells.ambiguous else [])),
    )


def _proving(dialect: Dialect, unread: Collection[str]) -> str:
    """Return the reader of a layout that was found by the first rows, which fails where a later row is of another.

    DuckDB itself would round 1.5 to the integer 2, make 7 of 007, and cut the time off a date.
    """
    kinds = {name: kind for name, kind in dialect.columns.items() if kind in _CUT}
    return selected(
        dialect.typed(dict.fromkeys(kinds, "VARCHAR")).reader,
        dialect.columns,
        unread,
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


def _ambiguous(names: tuple[str, ...]) -> str:
    return (
        f"numbers such as 1,234 may have a decimal comma or a thousand in {', '.join(names)}, which stay text: say "
        "which with options: {decimal: …} in an analysis file, or give a frame"
    )
