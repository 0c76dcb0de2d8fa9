"""Where the rows are: anything DuckDB can scan, behind one `query`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from mlm_ops.arrow import ArrowStream
from mlm_ops.errors import DataError
from mlm_ops.language.nearest import did_you_mean, nearest
from mlm_ops.sql_text import identifier

_FRAME = "mlm_rows"
_NUMERIC = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|REAL|DECIMAL.*|BIGNUM|VARINT", re.IGNORECASE)
_TEXT = re.compile(r"VARCHAR|ENUM.*|BOOLEAN|UUID|CHAR|STRING|TEXT", re.IGNORECASE)
_TABLE = re.compile(r"""(?:"(?:[^"]|"")+"|[^\W\d]\w*)(?:\.(?:"(?:[^"]|"")+"|[^\W\d]\w*)){0,2}""")
_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d]\w*)')


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
    """

    relation: str
    query: Callable[[str], Any]
    description: str
    types: dict[str, str]

    def is_numeric(self, column: str) -> bool:
        """Whether a column holds numbers."""
        return _NUMERIC.fullmatch(self.types[column]) is not None

    def is_text(self, column: str) -> bool:
        """Whether a column is categorical wherever it stands."""
        return _TEXT.fullmatch(self.types[column]) is not None

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
        many = len(missing) > 1
        hints = {name: near for name in missing if (near := nearest(name, self.types))}
        meant = ", ".join(f"{near!r} for {name!r}" if many else repr(near) for name, near in hints.items())
        raise DataError(
            f"Column{'s' * many} {', '.join(map(repr, missing))} {'are' if many else 'is'} not in {self.description}."
            + (f" Did you mean {meant}?" if meant else "")
            + f" Its columns are {listed(self.types)}."
        )


def open_source(data: Any, connection: duckdb.DuckDBPyConnection | None = None, where: str | None = None) -> Source:
    """Make a Source of a table name, a SELECT, a DuckDB relation, or a frame.

    Parameters
    ----------
    data
        A table name or SELECT (with `connection`), a DuckDB relation, or whatever DuckDB scans: polars, Arrow, pandas.
    where
        A SQL condition on the rows.

    Raises
    ------
    DataError
        The table does not exist, the SELECT does not run, or the object is none of these.
    """
    if isinstance(data, str):
        if connection is None:
            raise DataError(f"A table name or SELECT needs a connection. Got {data!r} alone; pass connection=.")
        relation, description = _relation_of(data)
        query: Callable[[str], Any] = connection.execute
    elif isinstance(data, duckdb.DuckDBPyRelation):
        relation, description = identifier(_FRAME), "the relation"

        def query(sql: str) -> Any:
            return data.query(_FRAME, sql)
    else:
        private = duckdb.connect()
        frame = _scannable(data)
        try:
            private.register(_FRAME, frame)
        except (duckdb.Error, TypeError) as error:
            raise DataError(
                f"The data are nothing DuckDB can scan. Got {type(data).__name__}; expected a polars, Arrow or pandas "
                "frame, a DuckDB relation, or a table name with connection=."
            ) from error
        relation, description, query = identifier(_FRAME), "the data", private.execute
    if where is not None:
        relation = f"(select * from {relation} where {_condition(where)})"
    try:
        # an alias, so that a sub-select may stand here in every dialect
        relation = f"{relation} as {identifier(_FRAME)}"
        described = query(f"describe select * from {relation}").fetchall()
    except duckdb.CatalogException as error:
        raise DataError(f"{description[0].upper()}{description[1:]} does not exist. {_tables(connection)}") from error
    except duckdb.Error as error:
        raise DataError(f"Cannot read {description}: {first_line(error)}") from error
    return Source(relation, query, description, {row[0]: row[1] for row in described})


def read_rows(data: Any, connection: duckdb.DuckDBPyConnection | None = None) -> pl.DataFrame:
    """All rows, in their order, of whatever `open_source` takes."""
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, str):
        source = open_source(data, connection)
        assert connection is not None, "open_source refuses a name without a connection"
        data = connection.sql(f"select * from {source.relation}")
    if isinstance(data, duckdb.DuckDBPyRelation):
        rows: pl.DataFrame = data.pl()
        return rows
    try:
        return pl.DataFrame(data)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The rows are nothing polars can read. Got {type(data).__name__}; expected a polars, Arrow or pandas "
            "frame, a DuckDB relation, or a table name with connection=."
        ) from error


def _scannable(data: Any) -> Any:
    """What DuckDB takes: polars frames as Arrow streams, everything else as it is."""
    if type(data).__module__.startswith("polars"):
        return ArrowStream(data.collect() if hasattr(data, "collect") else data)
    return data


def quoted_table(name: str) -> str:
    """A table name, perhaps with schema and catalog, quoted part by part.

    Raises
    ------
    DataError
        The text is no table name.
    """
    if not _TABLE.fullmatch(name.strip()):
        raise DataError(f"{name!r} is no table name; put unusual names in double quotes.")
    parts = [quoted.replace('""', '"') or plain for quoted, plain in _PART.findall(name)]
    return ".".join(identifier(part) for part in parts)


def listed(names: Iterable[str], most: int = 30) -> str:
    """Names for an error message, long lists cut."""
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def first_line(error: Exception) -> str:
    """The first line of DuckDB's message, which says what is wrong; the rest points into our SQL."""
    return str(error).strip().split("\n")[0]


def _relation_of(text: str) -> tuple[str, str]:
    stripped = text.strip().rstrip(";").strip()
    if _TABLE.fullmatch(stripped):
        return quoted_table(stripped), f"table {stripped}"
    try:
        statements = duckdb.extract_statements(stripped)
    except duckdb.Error as error:
        raise DataError(f"The data are neither a table name nor a SELECT. Got {text!r}: {first_line(error)}") from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise DataError(f"The data are one table name or one SELECT. Got {text!r}.")
    return f"({stripped}\n)", "the SELECT"


def _condition(where: str) -> str:
    """A row filter in parentheses, proved to be one expression: it cannot end the query it is put into.

    Raises
    ------
    DataError
        The text is not exactly one SQL expression.
    """
    problem = DataError(f"The row filter 'where' is one SQL condition. Got {where!r}.")
    try:
        statements = duckdb.extract_statements(f"select 1 where ({where}\n)")
        # unbalanced parentheses that happen to fit the first probe do not fit this one
        again = duckdb.extract_statements(f"select coalesce(({where}\n), false)")
    except duckdb.Error as error:
        raise problem from error
    if len(statements) != 1 or len(again) != 1:
        raise problem
    return f"({where}\n)"


def _tables(connection: duckdb.DuckDBPyConnection | None) -> str:
    if connection is None:
        return ""
    rows = connection.execute(
        "select schema_name, table_name from duckdb_tables() union select schema_name, view_name from duckdb_views() "
        "where not internal order by all"
    ).fetchall()
    names = [name if schema == "main" else f"{schema}.{name}" for schema, name in rows]
    return f"The database holds {listed(names)}." if names else "The database holds no tables."
