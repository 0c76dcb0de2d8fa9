"""Where the rows are: anything DuckDB can scan, behind one `query`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from mlm_ops.errors import DataError
from mlm_ops.language.options import is_text, shown
from mlm_ops.language.spelling import did_you_mean, nearest
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.faults import first_line, why_it_failed
from mlm_ops.warehouse.files import is_data_file, is_database, read_file
from mlm_ops.warehouse.sql import identifier, literal, qualified, text

_FRAME = "mlm_rows"
_SCANS_STREAMS_AGAIN = tuple(int(part) for part in duckdb.__version__.split(".")[:2]) >= (1, 5)
_EXPECTED_DATA = (
    "a polars, Arrow or pandas frame, a DuckDB relation, the path of a CSV or Parquet file, or a table name with "
    "connection="
)
#: Schemas of the results store, which no one fits models to.
_OWN_SCHEMAS = frozenset({"mlm", "mlm_staging"})
_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|REAL|DECIMAL.*|BIGNUM|VARINT", re.IGNORECASE)
TEXT = re.compile(r"VARCHAR|ENUM.*|BOOLEAN|UUID|CHAR|STRING|TEXT", re.IGNORECASE)
TABLE = re.compile(r"""(?:"(?:[^"]|"")+"|[^\W\d]\w*)(?:\.(?:"(?:[^"]|"")+"|[^\W\d]\w*)){0,2}""")
#: Types that polars has not, or that lose what tells values apart.
_TYPES_AS_TEXT = re.compile(r"INTERVAL|BIT|TIME WITH TIME ZONE")
_SELECT = re.compile(r"\s*(select|from|with)\s", re.IGNORECASE)
_NAME_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d]\w*)')


@dataclass(frozen=True)
class Source:
    """A relation that can be queried.

    Attributes
    ----------
    relation
        What stands after FROM: a quoted table or a sub-select in parentheses.
    query
        Runs SQL and returns DuckDB's result.
    description
        How a person would name the rows.
    types
        SQL type of every column.
    table
        How a person would name where the columns are.
    connection
        Where the rows are a table or SELECT of someone's; None where they cannot change.
    twins
        Columns of a frame that are left out, as they differ from one before them in letter case alone.
    """

    relation: str
    query: Callable[[str], Any]
    description: str
    types: dict[str, str]
    table: str
    connection: duckdb.DuckDBPyConnection | None = None
    case_duplicates: tuple[str, ...] = ()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All queries of a block see the tables as they were at its beginning, whoever writes to them meanwhile.

        Inside a transaction of the caller's they do so anyhow. Files behind a view, and rows of a relation, have no
        snapshot: what was counted is compared with what was summed up.
        """
        if self.connection is None or _in_transaction(self.connection):
            yield
            return
        self.connection.execute("begin")
        try:
            yield
        finally:
            # nothing was written, and a query that failed has ended the transaction for good
            with suppress(duckdb.Error):
                self.connection.execute("rollback")

    def is_numeric(self, column: str) -> bool:
        """Whether a column holds numbers."""
        return _NUMERIC.fullmatch(self.types[column]) is not None

    def is_text(self, column: str) -> bool:
        """Whether a column is categorical wherever it stands."""
        return TEXT.fullmatch(self.types[column]) is not None

    def stray_cells(self, column: str) -> str:
        """Where most cells of a text column are numbers, how many are none, and one of them; else nothing.

        One bad cell makes a whole column of a CSV file text.
        """
        name = identifier(column)
        rows = self.query(
            f"select count({name}), count(try_cast({name} as double)), "
            f"min({name}) filter (where {name} is not null and try_cast({name} as double) is null) from {self.relation}"
        ).fetchall()
        ((total, numbers, example),) = rows
        if example is None or 2 * numbers <= total:
            return ""
        cell = literal(str(example)[:40])
        return f" It is text because {total - numbers} of its {total} cells are no numbers, such as {cell}."

    def require(self, columns: Iterable[str]) -> None:
        """Refuse columns that are not there, all together, naming those that are.

        Raises
        ------
        DataError
            With the nearest names, where one is near.
        """
        missing = [name for name in dict.fromkeys(columns) if name not in self.types]
        if not missing:
            return
        if "n" in self.types and any(f"mean_{name}" in self.types for name in missing):
            raise DataError(
                f"{self.table[0].upper()}{self.table[1:]} has no rows of {', '.join(map(repr, missing))}: its columns "
                "are those of moments, as group_moments makes them. Write form: moments in the analysis file, or give "
                "mlm_ops.read_moments(table, group) to fit."
            )
        if twin := next((name for name in missing if name in self.case_duplicates), None):
            other = next(name for name in self.types if name.lower() == twin.lower())
            raise DataError(
                f"Columns {other!r} and {twin!r} differ in letter case alone, which DuckDB does not tell apart. Rename "
                "one of them."
            )
        many = len(missing) > 1
        hints = {name: near for name in missing if (near := nearest(name, self.types))}
        meant = ", ".join(f"{near!r} for {name!r}" if many else repr(near) for name, near in hints.items())
        raise DataError(
            f"Column{'s' * many} {', '.join(map(repr, missing))} {'are' if many else 'is'} not in {self.table}."
            + (f" Did you mean {meant}?" if meant else "")
            + f" Its columns are {listed(self.types)}."
        )


def open_source(data: Any, connection: duckdb.DuckDBPyConnection | None = None, where: str | None = None) -> Source:
    """Make a Source of a table name, a SELECT, a DuckDB relation, a frame, or a CSV or Parquet file.

    Parameters
    ----------
    data
        A table name or SELECT (with `connection`), a DuckDB relation, whatever DuckDB scans (polars, Arrow, pandas),
        or the path of a data file.
    where
        A SQL condition on the rows.

    Raises
    ------
    DataError
        The table or file does not exist, the SELECT or the condition does not run, or the object is none of these.
    """
    data, case_duplicates = _without_case_duplicates(data)
    relation, description, query = _rows_of(data, connection)
    owner = connection if isinstance(data, str) and not is_path(data, connection) else None
    # an alias, so that a sub-select may stand here in every dialect
    relation = f"{relation} as {identifier(_FRAME)}"
    try:
        description_rows = query(f"describe select * from {relation}").fetchall()
    except duckdb.CatalogException as error:
        raise DataError(no_such_table(description, connection)) from error
    except duckdb.Error as error:
        if "Python Object" in str(error):
            # DuckDB takes the name of no table for that of a variable, and finds ours
            raise DataError(no_such_table(description, connection)) from error
        if "closed" in str(error).lower():
            raise DataError("The connection is closed. Open the database again, or pass another connection.") from error
        raise DataError(f"Cannot read {description}: {why_it_failed(error)}") from error
    types = {row[0]: row[1] for row in description_rows}
    if where is None:
        return Source(relation, query, description, types, description, owner, case_duplicates)
    filtered = f"(select * from {relation} where {condition(where)}) as {identifier(_FRAME)}"
    try:
        query(f"describe select * from {filtered}").fetchall()
    except duckdb.Error as error:
        raise DataError(f"The row filter where: {where} does not fit {description}: {first_line(error)}") from error
    return Source(filtered, query, f"{description} where {where}", types, description, owner, case_duplicates)


def read_rows(data: Any, connection: duckdb.DuckDBPyConnection | None = None) -> pl.DataFrame:
    """All rows, in their order, of whatever `open_source` takes."""
    if isinstance(data, pl.LazyFrame | pl.DataFrame):
        return _collected(data)
    _require_text(data)
    if isinstance(data, str | Path):
        relation = open_source(data, connection).relation
        from_file = isinstance(data, Path) or is_path(data, connection)
        holder = read_file(data, _FRAME) if from_file or connection is None else connection
        # a relation, as DuckDB 2.0's results of execute() know no frames
        data = holder.sql(f"select * from {relation}")
    if isinstance(data, duckdb.DuckDBPyRelation):
        return _as_frame(data)
    _require_frame(data)
    try:
        return pl.DataFrame(data)
    except Exception as error:  # whatever a stranger's object does when it is read
        raise not_a_table(data) from error


def _without_case_duplicates(data: Any) -> tuple[Any, tuple[str, ...]]:
    """A frame's first column of each name, letter case apart, and the names of the others, which DuckDB changes."""
    if isinstance(data, str | Path | duckdb.DuckDBPyRelation):
        return data, ()
    if isinstance(data, pl.LazyFrame):
        data = _collected(data)
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
    """Whether a transaction is open: outside of one, each statement has a number of its own.

    To begin another and look whether that fails would end the one that is open.
    """
    try:
        first, second = (connection.execute("select txid_current()").fetchall() for _ in range(2))
    except duckdb.Error:
        return True  # one that a fault has ended: the next query says so
    return first == second


def _as_frame(relation: duckdb.DuckDBPyRelation) -> pl.DataFrame:
    """The rows; what polars has no type for is text, as units of such a column are called."""
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    if any(_TYPES_AS_TEXT.fullmatch(kind) for kind in kinds.values()):
        expressions = [
            text(identifier(c)) if _TYPES_AS_TEXT.fullmatch(kind) else identifier(c) for c, kind in kinds.items()
        ]
        selection = [f"{sql} as {identifier(column)}" for sql, column in zip(expressions, kinds, strict=True)]
        relation = relation.project(", ".join(selection))
    rows: pl.DataFrame = relation.pl()
    return rows


def _rows_of(data: Any, connection: duckdb.DuckDBPyConnection | None) -> tuple[str, str, Callable[[str], Any]]:
    """What stands after FROM, how a person would name it, and what runs the query."""
    _require_text(data)
    if isinstance(data, Path) or (isinstance(data, str) and is_path(data, connection)):
        return identifier(_FRAME), str(data), read_file(data, _FRAME).execute
    if isinstance(data, str):
        if connection is None:
            raise DataError(
                f"A table name or SELECT needs a connection. Got {data!r} alone; pass connection=, or the path of a "
                "CSV or Parquet file."
            )
        return *named_relation(data), connection.execute
    if isinstance(data, duckdb.DuckDBPyRelation):
        return identifier(_FRAME), "the relation", lambda sql: data.query(_FRAME, sql)
    _require_frame(data)
    private = duckdb.connect()
    frame = _scannable(data)
    try:
        private.register(_FRAME, frame)
    except Exception as error:  # DuckDB's own, TypeError, RuntimeError: by what it is that was given
        raise not_a_table(data) from error
    return identifier(_FRAME), "the data", private.execute


def _require_text(data: Any) -> None:
    """Refuse names and paths that no database and no file system can take."""
    if isinstance(data, str | Path) and not is_text(str(data)):
        raise DataError(f"The data have no name that UTF-8 can write. Got {shown(data)}; expected {_EXPECTED_DATA}.")


def _require_frame(data: Any) -> None:
    """Refuse Python's own containers, before DuckDB guesses at them and polars at others."""
    if data is None or isinstance(data, bytes | bytearray | memoryview):
        raise not_a_table(data)
    if isinstance(data, list | tuple | dict | set | frozenset):
        raise DataError(
            f"The data are no table. Got {shown(data)}; expected {_EXPECTED_DATA}. polars.DataFrame(data) makes a table of "
            "columns by name."
        )


def not_a_table(data: Any) -> DataError:
    """What is said of an object that is none."""
    return DataError(f"The data are no table. Got {shown(data)}; expected {_EXPECTED_DATA}.")


def _collected(frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """The rows of a polars frame; what a lazy one finds wrong it says when it is asked for them.

    Raises
    ------
    DataError
        With polars' own words.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    try:
        return frame.collect()
    except Exception as error:  # polars' own, and whatever a function in the frame's plan raises
        raise DataError(f"The lazy frame cannot be collected: {type(error).__name__}: {first_line(error)}") from error


def looks_like_path(text: str) -> bool:
    """Whether a text can only be meant as a file's: it has slashes, and is no SELECT, nor begins as a comment."""
    return (
        not _SELECT.match(text)
        and not text.startswith(("/*", "--"))
        and re.fullmatch(r"[^\n()]*[/\\][^\n()]*", text) is not None
    )


def is_path(text: str, connection: duckdb.DuckDBPyConnection | None) -> bool:
    """Whether a text names a file; beside a connection ``a.csv`` may be a table of the schema a, or end a SELECT."""
    if connection is not None and (TABLE.fullmatch(text.strip()) or _SELECT.match(text)):
        return False
    return (is_data_file(text) or is_database(text)) and "\n" not in text


def _scannable(data: Any) -> Any:
    """What DuckDB takes: polars frames as Arrow streams, everything else as it is.

    Raises
    ------
    DataError
        A polars frame without columns, which is no table.
    """
    if isinstance(data, pl.DataFrame | pl.LazyFrame):
        frame = _collected(data)
        if not frame.columns:
            raise DataError("The data have no columns and no rows.")
        # before 1.5 DuckDB could read a stream once only, and one query may read its rows several times
        return ArrowStream(frame) if _SCANS_STREAMS_AGAIN else frame.to_arrow()
    return data


def quoted_table(name: str) -> str:
    """A table name, perhaps with schema and catalog, quoted part by part.

    Raises
    ------
    DataError
        The text is no table name.
    """
    return qualified(*table_parts(name))


def table_parts(name: str) -> tuple[str, ...]:
    """A table name, perhaps with schema and catalog, part by part and without quotes.

    Raises
    ------
    DataError
        The text is no table name.
    """
    if not TABLE.fullmatch(name.strip()):
        raise DataError(f"{name!r} is no table name; put unusual names in double quotes.")
    return tuple(quoted.replace('""', '"') or plain for quoted, plain in _NAME_PART.findall(name))


def listed(names: Iterable[str], most: int = 30) -> str:
    """Names for an error message, long lists cut."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def named_relation(text: str) -> tuple[str, str]:
    """What stands after FROM for a table name or one SELECT, and how a person would name it.

    Raises
    ------
    DataError
        The text is neither.
    """
    stripped = text.strip().rstrip(";").strip()
    if TABLE.fullmatch(stripped):
        return quoted_table(stripped), f"table {stripped}"
    try:
        statements = duckdb.extract_statements(stripped)
    except duckdb.Error as error:
        raise DataError(f"The data are neither a table name nor a SELECT. Got {text!r}: {first_line(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DataError(f"The data are one table name or one SELECT. Got {text!r}.")
    return f"({stripped}\n)", "the SELECT"


def condition(where: str) -> str:
    """A row filter in parentheses, proved to be one expression: it cannot end the query it is put into.

    Raises
    ------
    DataError
        The text is not exactly one SQL expression.
    """
    problem = DataError(f"The row filter 'where' is one SQL condition. Got {where!r}.")
    try:
        statements = duckdb.extract_statements(f"select 1 where ({where}\n)")
        # what closes the parenthesis of the first probe and opens another does not fit this one; nor do two conditions
        other_statements = duckdb.extract_statements(f"select [case when {where}\n then 1 end]")
    except duckdb.Error as error:
        raise problem from error
    if len(statements) != 1 or len(other_statements) != 1:
        raise problem
    return f"({where}\n)"


def no_such_table(description: str, connection: duckdb.DuckDBPyConnection | None) -> str:
    """Say what there is instead, without the tables that mlm-ops itself makes."""
    sentence = f"{description[0].upper()}{description[1:]} does not exist."
    if connection is None:
        return sentence
    rows = connection.execute(
        "select schema_name, table_name from duckdb_tables() where not internal union "
        "select schema_name, view_name from duckdb_views() where not internal order by all"
    ).fetchall()
    names = [name if schema == "main" else f"{schema}.{name}" for schema, name in rows if schema not in _OWN_SCHEMAS]
    analyses = {name.removesuffix("_moments_description") for name in names if name.endswith("_moments_description")}
    own_tables = {
        f"{name}{suffix}" for name in analyses for suffix in ("_moments", "_moments_description", "_centered")
    }
    user_tables = [name for name in names if name not in own_tables]
    table = description.removeprefix("table ").removeprefix("main.")
    contents = f"The database holds {listed(user_tables)}." if user_tables else "The database holds no tables."
    return f"{sentence}{did_you_mean(table, user_tables)} {contents}"
