"""Open anything that DuckDB can scan (a table, a SELECT, a relation, a frame, a file) as one kind of source."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from mlm_ops.errors import DataError
from mlm_ops.language.option_values import is_text, value_text
from mlm_ops.language.spelling import did_you_mean, list_names, nearest
from mlm_ops.warehouse.connection import database_path
from mlm_ops.warehouse.faults import why_it_failed
from mlm_ops.warehouse.files.cells import WORDS
from mlm_ops.warehouse.files.folders import is_parquet_folder
from mlm_ops.warehouse.files.kinds import (
    OTHER_SUFFIXES,
    is_data_file,
    is_database,
    kind_of,
    refuse_address,
    suffix_of,
)
from mlm_ops.warehouse.files.read import read_file
from mlm_ops.warehouse.files.reading import FileOptions, Reading
from mlm_ops.warehouse.ownership import DESCRIPTION, SCHEMAS, TABLE_SUFFIXES
from mlm_ops.warehouse.queries import SqlStatement, logged
from mlm_ops.warehouse.relation import TABLE, named_relation
from mlm_ops.warehouse.row_filter import condition, filter_fault
from mlm_ops.warehouse.sql import identifier, literal
from mlm_ops.warehouse.types import NUMERIC, TEXT

_FRAME = "mlm_rows"
#: Names that are compared with those of all columns, which takes time.
_MOST_HINTS = 30
_EXPECTED_DATA = (
    "a polars, Arrow or pandas frame, a DuckDB relation, the path of a CSV or Parquet file, or a table name with "
    "connection="
)
#: DuckDB's words for a table that is not there; if a Python variable has its name, DuckDB finds that, perhaps one of
#: mlm-ops.
_ABSENT_TABLE = re.compile(r'Table with name "?([^"\n]+?)"? does not exist|Python Object "([^"\n]+)"')
#: A file of a SELECT that DuckDB reads as delimited text, as it stands there.
_TEXT_FILE = re.compile(r"'(?:[^']|'')*\.(?:csv|tsv|txt)(?:\.gz|\.zst)?'", re.IGNORECASE)
_SELECT = re.compile(r"\s*(select|from|with)\s", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """The rows of an analysis or a fit, as a relation that can be queried.

    Attributes
    ----------
    relation
        The text after FROM: a quoted table or a sub-select in parentheses.
    query
        A function that runs SQL and returns DuckDB's result.
    description
        The rows, in words for a message.
    types
        The SQL type of every column.
    table
        The table that has the columns, in words for a message.
    connection
        The connection of a table or SELECT; None for rows that cannot change, such as those of a frame.
    case_duplicates
        Columns of a frame that are left out because their names differ from an earlier one only in letter case.
    reading
        How the rows were read from a data file; None for other rows.
    lasting
        Whether another connection to the same database finds the relation later.
    statements
        Where statements are kept that are sent about the rows; None where nobody asks for them.
    """

    relation: str
    query: Callable[[str], Any]
    description: str
    types: dict[str, str]
    table: str
    connection: duckdb.DuckDBPyConnection | None = None
    case_duplicates: tuple[str, ...] = ()
    reading: Reading | None = None
    lasting: bool = True
    statements: list[SqlStatement] | None = None

    @property
    def origin(self) -> str | None:
        """SQL, or a comment, on what the rows of a frame or file are called; None for a table or SELECT."""
        name = identifier(_FRAME)
        if self.reading is not None and self.reading.relation is None:
            return f"-- {name} are the rows of {str(self.reading.path)!r}, which DuckDB does not read itself"
        if self.connection is not None:
            return None
        if self.reading is None:
            return f"-- {name} are the rows of {self.table}: a view, or a frame of Python's, by that name"
        return f"create or replace temp view {name} as\nselect * from {self.reading.relation};"

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Run a block in one transaction, so that all its queries see the same rows, whoever writes to them meanwhile.

        If the caller has a transaction open, it is used. Files behind a view and rows of a relation have no snapshot;
        for them the number of rows counted is compared with the number summed.
        """
        if self.connection is None or _in_transaction(self.connection):
            yield
            return
        self.connection.execute("begin")
        try:
            yield
        finally:
            # nothing was written; a query that failed has already ended the transaction
            with suppress(duckdb.Error):
                self.connection.execute("rollback")

    def is_numeric(self, column: str) -> bool:
        """Whether a column holds numbers."""
        return NUMERIC.fullmatch(self.types[column]) is not None

    def is_text(self, column: str) -> bool:
        """Whether a column is a factor in every model."""
        return TEXT.fullmatch(self.types[column]) is not None

    def stray_cells(self, column: str) -> str:
        """Return a sentence about the non-numeric cells of a text column that is mostly numbers; otherwise nothing.

        One bad cell in a CSV file makes the whole column text.
        """
        name = identifier(column)
        rows = self.query(
            f"select count({name}), count(try_cast({name} as double)), "
            f"min({name}) filter (where {name} is not null and try_cast({name} as double) is null) from {self.relation}"
        ).fetchall()
        ((total, numbers, example),) = rows
        if example is None or 2 * numbers <= total:
            return ""
        cell, place = literal(str(example)[:40]), ""
        if self.reading is not None:
            # the rows of a file have an order, and a number by which they are found again
            numbered = f"(select {name}, row_number() over () as mlm_row from {self.relation})"
            same = f"{name} = {literal(str(example))}"
            ((row,),) = self.query(f"select min(mlm_row) from {numbered} where {same}").fetchall()
            place = f" in row {row:,}"
        return (
            f" It is text because {total - numbers} of its {total} cells are no numbers, such as {cell}{place}."
            f"{self._missing_word(name, str(example))}"
        )

    def _missing_word(self, name: str, word: str) -> str:
        """Say how a SELECT reads a word such as NA as a missing value; nothing of another word."""
        if self.reading is not None or word not in ("NA", *WORDS):
            return ""
        if (file := _TEXT_FILE.search(self.relation)) is not None:
            return f" read_csv({file[0]}, nullstr = ['', {literal(word)}]) reads it as missing."
        return f" try_cast({name} as double) makes it missing."

    def not_numbers(self, column: str) -> str:
        """Return what `stray_cells` does, or how to find such cells where they cannot be looked for here."""
        return self.stray_cells(column)

    def require(self, columns: Iterable[str]) -> None:
        """Refuse columns that the source does not have, all in one error.

        Raises
        ------
        DataError
            With similar names and a list of the columns.
        """
        missing = [name for name in dict.fromkeys(columns) if name not in self.types]
        if not missing:
            return
        if "n" in self.types and any(f"mean_{name}" in self.types for name in missing):
            raise DataError(
                f"{self.table[0].upper()}{self.table[1:]} has no rows of {', '.join(map(repr, missing))}: its columns "
                "are those of moments, as group_moments makes them. Write form: moments in the analysis file or "
                "form := 'moments' in mlm(), or give mlm_ops.read_moments(table, group) to fit."
            )
        if twin := next((name for name in missing if name in self.case_duplicates), None):
            other = next(name for name in self.types if name.lower() == twin.lower())
            raise DataError(
                f"Columns {other!r} and {twin!r} differ only in letter case, which DuckDB ignores. Rename one of them."
            )
        many = len(missing) > 1
        hints = {name: near for name in missing[:_MOST_HINTS] if (near := nearest(name, self.types))}
        meant = ", ".join(f"{near!r} for {name!r}" if many else repr(near) for name, near in hints.items())
        raise DataError(
            f"Column{'s' * many} {list_names(map(repr, missing))} {'are' if many else 'is'} not in {self.table}."
            + (f" Did you mean {meant}?" if meant else "")
            + f" Its columns are {list_names(self.types)}."
        )


def open_source(
    data: Any,
    connection: duckdb.DuckDBPyConnection | None = None,
    where: str | None = None,
    columns: Collection[str] | None = None,
    options: FileOptions | None = None,
) -> Source:
    """Make a Source of a table name, a SELECT, a DuckDB relation, a frame, or a data file; one that is open is itself.

    Parameters
    ----------
    data
        A table name or SELECT (with `connection`), a DuckDB relation, whatever DuckDB scans (polars, Arrow, pandas),
        or the path of a data file.
    where
        A SQL condition on the rows, of a source of all columns.
    columns
        The columns that are asked for; None for all. Others of a data file may be known by name and type alone.
    options
        How a data file is read.

    Raises
    ------
    DataError
        The table or file does not exist, the SELECT or the condition does not run, or the object is none of these.
    """
    if isinstance(data, Source):
        return data
    data, case_duplicates = _without_case_duplicates(data)
    relation, description, query, reading = _rows_of(data, connection, columns, options)
    query = logged(query)
    owner = connection if isinstance(data, str) and not is_path(data, connection) else None
    # an alias, so that a sub-select may stand here in every dialect
    relation = f"{relation} as {identifier(_FRAME)}"
    try:
        description_rows = query(f"describe select * from {relation}").fetchall()
    except duckdb.Error as error:
        if (absent := _ABSENT_TABLE.search(str(error))) is not None:
            # the table of a SELECT is named; where its name is the data, it is written as the user wrote it
            what = description if description.startswith("table ") else f"table {absent[1] or absent[2]}"
            raise DataError(no_such_table(what, connection)) from error
        if "closed" in str(error).lower():
            raise DataError("The connection is closed. Open the database again, or pass another connection.") from error
        raise DataError(f"Cannot read {description}: {why_it_failed(error)}") from error
    types = {row[0]: row[1] for row in description_rows}
    if reading is not None:
        types = reading.all_types(types)
    whole = Source(relation, query, description, types, description, owner, case_duplicates, reading)
    if where is None:
        return whole
    filtered = f"(select * from {relation} where {condition(where)}) as {identifier(_FRAME)}"
    try:
        query(f"describe select * from {filtered}").fetchall()
    except duckdb.Error as error:
        texts = [name for name in types if whole.is_text(name)]
        raise filter_fault(where, description, list(types), texts, whole.stray_cells, error) from error
    return Source(filtered, query, f"{description} where {where}", types, description, owner, case_duplicates, reading)


def _without_case_duplicates(data: Any) -> tuple[Any, tuple[str, ...]]:
    """Drop columns whose names differ only in letter case from an earlier one, which DuckDB would rename.

    Returns the data and the names of the dropped columns.
    """
    if isinstance(data, str | Path | duckdb.DuckDBPyRelation):
        return data, ()
    if is_polars(data):
        from mlm_ops.warehouse.arrow import collected  # polars' import takes longer than the fit of a small file

        data = collected(data)
    columns = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if columns is None or not all(isinstance(name, str) for name in columns):
        return data, ()
    first: dict[str, str] = {}
    for name in columns:
        first.setdefault(name.lower(), name)
    case_duplicates = tuple(name for name in columns if first[name.lower()] != name)
    if not case_duplicates:
        return data, ()
    names = list(first.values())
    return (data.select(names) if hasattr(data, "select") else data[names]), case_duplicates


def _in_transaction(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a transaction is open, which is so if two statements have the same transaction number.

    Beginning another one to see whether it fails would end the open one.
    """
    try:
        first, second = (connection.execute("select txid_current()").fetchall() for _ in range(2))
    except duckdb.Error:
        return True  # an error has ended it, as the next query will say
    return first == second


def _rows_of(
    data: Any,
    connection: duckdb.DuckDBPyConnection | None,
    columns: Collection[str] | None,
    options: FileOptions | None,
) -> tuple[str, str, Callable[[str], Any], Reading | None]:
    """Return the text after FROM, a description for messages, the function that runs a query, and a file's reading."""
    require_text(data)
    if isinstance(data, str):
        refuse_address(data)
    if isinstance(data, Path) or (isinstance(data, str) and is_path(data, connection)):
        private, reading = read_file(data, _FRAME, options, columns)
        return identifier(_FRAME), str(data), private.execute, reading
    if isinstance(data, str):
        if connection is None:
            if suffix_of(data) in OTHER_SUFFIXES and not is_select(data):
                kind_of(Path(data))  # which says what is read, or that there is no such file
            raise DataError(
                f"A table name or SELECT needs a connection. Got {data!r} alone; pass connection=, or the path of a "
                "CSV or Parquet file."
            )
        return *named_relation(data), connection.execute, None
    if isinstance(data, duckdb.DuckDBPyRelation):
        return identifier(_FRAME), "the relation", lambda sql: data.query(_FRAME, sql), None
    require_frame(data)
    private = duckdb.connect()
    if is_polars(data):
        from mlm_ops.warehouse.arrow import scannable_rows  # as above

        data = scannable_rows(data)
    try:
        private.register(_FRAME, data)
    except Exception as error:  # DuckDB's own, TypeError or RuntimeError, depending on the object
        raise not_a_table(data, lambda column: private.register(_FRAME, column)) from error
    return identifier(_FRAME), "the data", private.execute, None


def require_text(data: Any) -> None:
    """Refuse names and paths that are not valid UTF-8."""
    if isinstance(data, str | Path) and not is_text(str(data)):
        raise DataError(f"The name of the data is not valid UTF-8. Got {value_text(data)}; expected {_EXPECTED_DATA}.")


def require_frame(data: Any) -> None:
    """Refuse Python's own containers, which DuckDB and polars would each interpret in their own way."""
    if data is None or isinstance(data, bytes | bytearray | memoryview):
        raise not_a_table(data)
    if isinstance(data, list | tuple | dict | set | frozenset):
        raise DataError(
            f"The data are not a table. Got {value_text(data)}; expected {_EXPECTED_DATA}. polars.DataFrame(data) "
            "makes a table of columns by name."
        )


def is_polars(data: Any) -> bool:
    """Whether data are a frame of polars, lazy or not; asks their class alone, so that polars is not imported."""
    kinds = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(data).__mro__}
    return not kinds.isdisjoint({("polars", "DataFrame"), ("polars", "LazyFrame")})


def not_a_table(data: Any, read: Callable[[Any], object] | None = None) -> DataError:
    """Return the error for an object that is not a table, or of which `read` does not take a column."""
    names = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if read is not None and names is not None and hasattr(data, "__getitem__"):
        for name in names:
            try:
                column = data.select([name]) if hasattr(data, "select") else data[[name]]
                read(column)
            except Exception:  # as of the whole, depending on the object
                kind = getattr(data[name], "dtype", None) or getattr(data[name], "type", "unknown")
                return DataError(
                    f"Column {name!r} is of the type {kind}, which cannot be read. Convert it to numbers or text, or "
                    "leave it out."
                )
    return DataError(f"The data are not a table. Got {value_text(data)}; expected {_EXPECTED_DATA}.")


def is_select(text: str) -> bool:
    """Whether a text begins as a SELECT does."""
    return _SELECT.match(text) is not None


def looks_like_path(text: str) -> bool:
    """Whether a text must be a path: it has slashes, is not a SELECT and does not begin with a comment."""
    return (
        not is_select(text)
        and not text.startswith(("/*", "--"))
        and re.fullmatch(r"[^\n()]*[/\\][^\n()]*", text) is not None
    )


def is_path(text: str, connection: duckdb.DuckDBPyConnection | None) -> bool:
    """Whether a text is the path of a file; with a connection ``a.csv`` may be a table of schema a, or end a SELECT."""
    if connection is not None and (TABLE.fullmatch(text.strip()) or is_select(text)):
        return False
    if "\n" in text:
        return False
    return is_data_file(text) or is_database(text) or (connection is None and is_parquet_folder(text))


def no_such_table(description: str, connection: duckdb.DuckDBPyConnection | None) -> str:
    """Say that a table does not exist, and list the tables that do, without those that mlm-ops makes."""
    sentence = f"{description[0].upper()}{description[1:]} does not exist."
    if connection is None:
        return sentence
    rows = connection.execute(
        "select schema_name, table_name from duckdb_tables() where not internal union "
        "select schema_name, view_name from duckdb_views() where not internal order by all"
    ).fetchall()
    names = [name if schema == "main" else f"{schema}.{name}" for schema, name in rows if schema not in SCHEMAS]
    analyses = {name.removesuffix(DESCRIPTION) for name in names if name.endswith(DESCRIPTION)}
    own_tables = {f"{name}{suffix}" for name in analyses for suffix in TABLE_SUFFIXES}
    user_tables = [name for name in names if name not in own_tables]
    table = description.removeprefix("table ").removeprefix("main.")
    contents = f"The database holds {list_names(user_tables)}."
    if not user_tables:
        # DuckDB makes a file that is not there, so a mistyped path leads to an empty database
        path = database_path(connection)
        contents = f"The database {path} holds no tables: check its path." if path else "The database holds no tables."
    return f"{sentence}{did_you_mean(table, user_tables)} {contents}"
