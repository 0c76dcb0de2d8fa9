"""Fit models in DuckDB's SQL: ``FROM mlm('mathach ~ ses + (ses | school)', 'students')``.

A table macro calls two functions of ours. The first turns the formula into one SQL statement before the query is
planned, `query()` makes that statement part of the query, and the second fits the model to its one row. So the rows are
those that the query itself sees: those of temporary and uncommitted tables too.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from duckdb.func import FunctionNullHandling, PythonUDFType
from numpy.typing import NDArray

from mlm_ops.errors import DataError, MlmError, StoreError
from mlm_ops.language import options
from mlm_ops.language.request import compile_request
from mlm_ops.language.spelling import list_names
from mlm_ops.moments.from_macros import gather
from mlm_ops.moments.record import Moments
from mlm_ops.moments.single_answer import Answer, read_answer
from mlm_ops.moments.single_statement import FirstRows, SingleStatement
from mlm_ops.results.fitting import fit_model
from mlm_ops.results.tables import FIT_TABLES
from mlm_ops.results.tables.columns import SQL_TYPES, ColumnTypes
from mlm_ops.results.tables.effects import FIXED_EFFECTS, RANDOM_EFFECTS, VARIANCE_COMPONENTS
from mlm_ops.results.tables.whole_models import FIT_STATISTICS, MODELS
from mlm_ops.warehouse.argument_checks import checked
from mlm_ops.warehouse.faults import first_line, sentence_of
from mlm_ops.warehouse.relation import table_parts
from mlm_ops.warehouse.source import open_source
from mlm_ops.warehouse.sql import identifier, literal

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from mlm_ops.results.fit import Fit

#: The result table that each table function returns.
FUNCTIONS = {
    "mlm": "fixed_effects",
    "mlm_variance_components": "variance_components",
    "mlm_random_effects": "random_effects",
    "mlm_fit_statistics": "fit_statistics",
    "mlm_equations": "models",
}
#: Their columns. Those of all stored tables are in `mlm_ops.analyses.store.schema`, which imports structural models.
_COLUMNS: dict[str, ColumnTypes] = {
    "fixed_effects": FIXED_EFFECTS,
    "variance_components": VARIANCE_COMPONENTS,
    "random_effects": RANDOM_EFFECTS,
    "fit_statistics": FIT_STATISTICS,
    "models": MODELS,
}
#: The options of a call by name: those of a model, and what the relation is a table of.
_OPTIONS = options.MODEL_OPTIONS | {"form": options.FORM}
#: SQL types of the options that are not text.
_OPTION_TYPES = {"levels": "varchar[]", "covariance": "map(varchar, varchar)"}
_ANSWER = ("described", "survey", "missing", "moments", "residual_sums", "guessed")
_TO_SQL = "mlm_moments_query"
#: Whether a name, as a list of its parts, is of a table that DuckDB stores; `a` of `a.b` is a schema or a database.
_STORED = """
select true
from duckdb_tables() as tables
join duckdb_databases() as databases using (database_name)
where databases.type = 'duckdb'
  and not tables.temporary
  and list_contains(
    [
      [lower(table_name)],
      [lower(schema_name), lower(table_name)],
      [lower(database_name), lower(table_name)],
      [lower(database_name), lower(schema_name), lower(table_name)]
    ],
    list_transform($1, lambda part: lower(part)))
  and (len($1) > 2 or database_name = current_database() or lower(database_name) = lower($1[1]))
  and (len($1) > 1 or schema_name = current_schema())
  and (len($1) <> 2 or lower(schema_name) = lower($1[1]) or schema_name = 'main')
"""


@checked(connection=options.DUCKDB, on_note=options.ON_NOTE, empty=options.EMPTY, all_cursors=options.ALL_CURSORS)
def register(
    connection: duckdb.DuckDBPyConnection,
    *,
    on_note: Callable[[str], None] | None = None,
    empty: bool = False,
    all_cursors: bool = False,
) -> None:
    """Register ``mlm(formula, relation)`` and its sister functions on a connection.

    They are temporary: nothing is written to the database, which may be read-only. A cursor is a connection of its own,
    and takes a registration of its own, unless `all_cursors`.

    Parameters
    ----------
    connection
        Not inside a transaction that may be rolled back.
    on_note
        Called with what a reader of ``mlm()``'s rows must know of the fit, such as predictors that were dropped: one
        line a note, the formula before it. ``mlm_equations()`` has the notes as a column.
    empty
        Whether the functions give their columns and no rows, whatever the relation: dbt's ``--empty``.
    all_cursors
        Whether every connection of this process to the database has them, for hosts that open cursors of their own,
        such as SQLAlchemy, jupysql and DuckDB's UI. The five macros are then written to the current database, and stay
        in a file; another process can call them only once it has registered them too.

    Raises
    ------
    StoreError
        With `all_cursors`, the database is read-only, or has a macro of one of these names that is not ours.

    Examples
    --------
    >>> import duckdb
    >>> connection = duckdb.connect()
    >>> register(connection)
    >>> _ = connection.execute("create table t as select g, g + n * n as y from range(3) a(g), range(4) b(n)")
    >>> connection.sql("select term, estimate from mlm('y ~ 1 + (1 | g)', 't')").fetchall()
    [('(Intercept)', 4.5)]
    """
    if all_cursors:
        _check_no_other(connection)
    functions = {name for (name,) in connection.execute("select function_name from duckdb_functions()").fetchall()}
    if _TO_SQL not in functions:
        to_sql = _sql_function(weakref.ref(connection))
        connection.create_function(_TO_SQL, to_sql, None, "VARCHAR", null_handling=FunctionNullHandling.SPECIAL)
    for macro, table in FUNCTIONS.items():
        to_note = on_note if macro == "mlm" else None
        # of two registrations with functions of their own for notes each keeps its own
        function = f"mlm_fit_{table}{'' if to_note is None else f'_{id(to_note)}'}"
        if function not in functions:
            connection.create_function(
                function,
                _fit_function(table, to_note),
                None,
                _struct_type(table),
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
        try:
            connection.execute(_macro(macro, function, empty, "macro" if all_cursors else "temp macro"))
        except duckdb.Error as error:
            if not all_cursors:
                raise
            raise StoreError(
                f"The functions of mlm cannot be written to the database for all cursors: {first_line(error)} Leave "
                "out all_cursors, and register each cursor; or open the database for writing."
            ) from error


def _check_no_other(connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse to replace macros of the user's that are called as ours are; ours ask `_TO_SQL`.

    Raises
    ------
    StoreError
        There is one.
    """
    rows = connection.execute(
        "select distinct function_name from duckdb_functions() where function_name in (select unnest(?)) and"
        " database_name = current_database() and schema_name = current_schema() and not"
        " coalesce(contains(macro_definition, ?), false) order by all",
        [list(FUNCTIONS), _TO_SQL],
    ).fetchall()
    if rows:
        raise StoreError(
            f"The database has a macro {list_names([name for (name,) in rows])} that mlm-ops did not make, and "
            "all_cursors would replace it. Rename it, or leave out all_cursors and register each cursor."
        )


def _macro(name: str, function: str, empty: bool, kind: str) -> str:
    defaults = {option.name: literal(option.default) if option.default else "null" for option in _OPTIONS.values()}
    parameters = ", ".join(f"{option} := {default}" for option, default in defaults.items())
    arguments = ", ".join(("formula", "relation", *(f"{o}::{_OPTION_TYPES.get(o, 'varchar')}" for o in defaults)))
    call = f"{function}({', '.join(_ANSWER)}, {arguments})"
    # the inner unnest keeps DuckDB from calling the function anew for each of its two fields
    return (
        f"create or replace {kind} {name}(formula, relation, {parameters}) as table"
        " select unnest(if(fault is null, result_rows, error(fault)), recursive := true)"
        f" from (select unnest([{call}], recursive := true) from query({_TO_SQL}({arguments}))"
        f"{' limit 0' if empty else ''})"
    )


def _struct_type(table: str) -> str:
    fields = ", ".join(f"{identifier(name)} {SQL_TYPES[kind]}" for name, kind in _COLUMNS[table].items())
    return f"STRUCT(result_rows STRUCT({fields})[], fault VARCHAR)"


@cache
def _sql_function(reference: weakref.ref[duckdb.DuckDBPyConnection]) -> Callable[..., str]:
    """The function that gives a call's statement, which lives as long as the process, as `_fit_function`'s do."""
    return lambda *request: _to_sql(reference(), *request)


def _to_sql(connection: duckdb.DuckDBPyConnection | None, *request: Any) -> str:
    """The statement that asks for the moments; one that fails with our sentence where there is a fault.

    Parameters
    ----------
    connection
        The one that was registered, if there still is one.
    """
    try:
        call = _FunctionCall(*request)
        return call.sql(None if connection is None else _guess(connection, call))
    except MlmError as error:
        # error() in SQL says the sentence alone; an exception here would stand behind DuckDB's words about functions
        return f"select error({literal(str(error))}) as described, {', '.join(f'null as {n}' for n in _ANSWER[1:])}"


def _guess(connection: duckdb.DuckDBPyConnection, call: _FunctionCall) -> FirstRows | None:
    """What the first rows of the table tell that a connection beside the query's sees; None if it sees no large one.

    Views are left alone, whose first rows may take as long as all, and so are tables of other databases than DuckDB's.
    """
    query = call.query
    if call.form != "rows" or not query.description.startswith("table"):
        return None
    try:
        with connection.cursor() as cursor:
            if cursor.execute(_STORED, [table_parts(query.relation)]).fetchone():
                return query.guess(open_source(query.relation, cursor))
    except (duckdb.Error, MlmError):
        pass  # the query itself will say what is wrong
    return None


class _FunctionCall:
    """Compile one call of a table function: its request, and the statement for the moments."""

    def __init__(self, formula: str | None, relation: str | None, *values: Any) -> None:
        if not formula or not relation:
            raise MlmError(
                "mlm() takes a formula and a table name or a SELECT in parentheses, both as text. "
                f"Got {formula!r} and {relation!r}."
            )
        arguments = dict(zip(_OPTIONS, values, strict=True))
        if arguments["covariance"] is not None:  # Arrow has a map as its pairs
            arguments["covariance"] = {key: _structure(text) for key, text in dict(arguments["covariance"]).items()}
        if arguments["levels"] is None:  # SQL has a null where Python leaves the option out
            arguments["levels"] = options.LEVELS.default
        self.form: options.Form = options.FORM.of(arguments.pop("form"))
        self.request = compile_request(formula, **arguments)
        self.query = SingleStatement(
            self.request.model, options.RELATION.of(relation), self.request.levels, self.request.keys
        )

    def sql(self, guess: FirstRows | None) -> str:
        """The statement that the relation answers, in the columns `_ANSWER`."""
        if self.form == "rows":
            return self.query.sql(guess)
        nothing = ", ".join(f"null as {name}" for name in _ANSWER if name != "moments")
        table = identifier("mlm: a table of moments")  # a name that no column has
        return f"select {nothing}, (select list({table}) from {self.query.relation} as {table}) as moments"

    def fit(
        self,
        described: pa.Scalar,
        survey: pa.Scalar,
        missing: pa.Scalar,
        moments: pa.Scalar,
        residual: pa.Scalar,
        guessed: pa.Scalar,
    ) -> Fit:
        """Fit the model to the answer of the statement."""
        if self.form == "moments":
            return fit_model(self.request, self._gathered(moments))
        answer = Answer(
            dict(described.as_py()),
            survey.as_py(),
            missing.as_py(),
            _columns(moments),
            _columns(residual),
            _guessed(guessed) if guessed.is_valid else None,
        )
        return fit_model(self.request, read_answer(self.query, answer))

    def _gathered(self, rows: pa.Scalar) -> Moments:
        """The moments of a table of moments, whose rows are a list of structs; null if there are none."""
        import pyarrow as pa

        what = self.query.description
        if not rows.is_valid:
            raise DataError(f"There are no rows in {what}.")
        source = open_source(pa.Table.from_struct_array(rows.values))
        source = replace(source, description=what, table=what)
        return gather(source, [self.request.model], self.request.levels, self.request.keys)


def _structure(text: str | None) -> Any:
    """A structure of T: its name or a number as text, or a matrix that SQL has cast from nested lists."""
    if text is None or not text.startswith("["):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


@cache
def _fit_function(table: str, on_note: Callable[[str], None] | None) -> Callable[..., Any]:
    """The function of one result table, which lives as long as the process.

    DuckDB calls it on every connection to the database, and does not keep it when the one that registered it is closed.
    """
    # without annotations: DuckDB evaluates those that it finds, and pyarrow is not imported yet
    return lambda *arguments: _fit_rows(table, on_note, *arguments)


def _fit_rows(table: str, on_note: Callable[[str], None] | None, *arguments: pa.ChunkedArray) -> pa.Array:
    """The rows of one result table, or the fault that stood in the way."""
    import polars as pl

    schema = {"result_rows": pl.List(pl.Struct(_COLUMNS[table])), "fault": pl.String()}
    results = [pl.DataFrame(schema=schema)]
    for i in range(len(arguments[0])):
        answer, request = (
            [column[i] for column in columns] for columns in (arguments[: len(_ANSWER)], arguments[len(_ANSWER) :])
        )
        try:
            fit = _FunctionCall(*(value.as_py() for value in request)).fit(*answer)
            rows, fault = FIT_TABLES[table](fit).to_struct().implode(), None
        except Exception as error:
            if (fault := _sentence(error)) is None:
                raise
            rows = pl.Series([None])
        results.append(pl.DataFrame({"result_rows": rows, "fault": [fault]}, schema))
        if on_note is not None and fault is None:
            for note in fit.notes:
                on_note(f"{fit.model.text}: {note}")
    return pl.concat(results).to_struct().to_arrow().cast(_arrow_type(table))


def _sentence(error: Exception) -> str | None:
    """The sentence of a user's error; None for an error of the package itself."""
    return str(error) if isinstance(error, MlmError) else sentence_of(error)


def _guessed(answer: pa.Scalar) -> tuple[str, int, dict[str, NDArray[Any]]]:
    """The text of a guess that holds, the number of rows, and the moments."""
    return answer["text"].as_py(), answer["n_rows"].as_py(), _columns(answer["moments"])


def _columns(rows: pa.Scalar) -> dict[str, NDArray[Any]]:
    """Columns of a list of structs by name, as DuckDB's fetchnumpy has them; none of a null."""
    import polars as pl

    if not rows.is_valid:
        return {}
    # pyarrow's own to_numpy and array import pandas where it is installed
    structs = pl.Series(pl.from_arrow(rows.values))
    return {column.name: _array(column) for column in structs.struct.unnest()}


def _array(values: pl.Series) -> NDArray[Any]:
    array = values.to_numpy()
    return np.ma.masked_array(array, values.is_null().to_numpy()) if values.null_count() else array


def _arrow_type(table: str) -> pa.DataType:
    import polars as pl
    import pyarrow as pa

    fields = pl.DataFrame(schema=_COLUMNS[table]).to_arrow().schema
    row = pa.struct([pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in fields])
    return pa.struct([("result_rows", pa.list_(row)), ("fault", pa.string())])
