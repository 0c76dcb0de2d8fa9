"""Models in DuckDB's SQL: ``FROM mlm('mathach ~ ses + (ses | school)', 'students')``.

A table macro calls two functions of ours. The first turns the formula into one SQL statement before the query is
planned, `query()` makes that statement part of the query, and the second fits the model to its one row. So the rows are
those that the query itself sees: those of temporary and uncommitted tables too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
from duckdb.func import FunctionNullHandling, PythonUDFType
from numpy.typing import NDArray

from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.analyses.store.tables import SQL_TYPES
from mlm_ops.errors import MlmError
from mlm_ops.language import options
from mlm_ops.language.formula import level_columns
from mlm_ops.language.level_equations import parse_model
from mlm_ops.language.robust import check_robust, cluster_columns
from mlm_ops.language.structures import check_structures, parse_residual, with_covariance
from mlm_ops.moments.single_statement import Answer, OneQuery, read_answer
from mlm_ops.results.fitting import check_options, fit_model
from mlm_ops.results.tables import FIT_TABLES
from mlm_ops.warehouse.boundary import checked
from mlm_ops.warehouse.faults import sentence_of
from mlm_ops.warehouse.sql import identifier, literal

if TYPE_CHECKING:
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
#: Options of every table function, as `mlm_ops.fit` has them, and their defaults in SQL.
OPTIONS = {
    "levels": "null",
    "estimator": "'reml'",
    "df": "'satterthwaite'",
    "weights": "null",
    "residual": "null",
    "covariance": "null",
    "robust": "null",
    "cluster": "null",
}
#: What each takes; SQL has nulls where Python leaves an option out.
_CHECKS = {
    "levels": options.LEVELS.or_none(),
    "estimator": options.ESTIMATOR,
    "df": options.DF,
    "weights": options.WEIGHTS,
    "residual": options.RESIDUAL,
    "covariance": options.COVARIANCE,
    "robust": options.ROBUST,
    "cluster": options.CLUSTER,
}
_OPTION_TYPES = {"levels": "varchar[]", "covariance": "map(varchar, varchar)"}
_ANSWER = ("described", "survey", "missing", "moments", "residual_sums")
_TO_SQL = "mlm_moments_query"


@checked(connection=options.DUCKDB, on_note=options.ON_NOTE)
def register(connection: duckdb.DuckDBPyConnection, *, on_note: Callable[[str], None] | None = None) -> None:
    """Make ``mlm(formula, relation)`` and its sisters known to a connection.

    They are temporary: nothing is written to the database, which may be read-only. A cursor is a connection of its own,
    and takes a registration of its own.

    Parameters
    ----------
    connection
        Not inside a transaction that may be rolled back.
    on_note
        Called with what a reader of ``mlm()``'s rows must know of the fit, such as predictors that were dropped: one
        line a note, the formula before it. ``mlm_equations()`` has the notes as a column.

    Examples
    --------
    >>> import duckdb
    >>> connection = duckdb.connect()
    >>> register(connection)
    >>> _ = connection.execute("create table t as select g, g + n * n as y from range(3) a(g), range(4) b(n)")
    >>> connection.sql("select term, estimate from mlm('y ~ 1 + (1 | g)', 't')").fetchall()
    [('(Intercept)', 4.5)]
    """
    known = {name for (name,) in connection.execute("select function_name from duckdb_functions()").fetchall()}
    if _TO_SQL not in known:
        connection.create_function(_TO_SQL, _to_sql, None, "VARCHAR", null_handling=FunctionNullHandling.SPECIAL)
    for macro, table in FUNCTIONS.items():
        function = f"mlm_fit_{table}"
        if function not in known:
            connection.create_function(
                function,
                _fitting(table, on_note if macro == "mlm" else None),
                None,
                _returned(table),
                type=PythonUDFType.ARROW,
                null_handling=FunctionNullHandling.SPECIAL,
            )
        connection.execute(_macro(macro, function))


def _macro(name: str, function: str) -> str:
    options = ", ".join(f"{option} := {default}" for option, default in OPTIONS.items())
    request = ", ".join(("formula", "relation", *(f"{o}::{_OPTION_TYPES.get(o, 'varchar')}" for o in OPTIONS)))
    fitted = f"{function}({', '.join(_ANSWER)}, {request})"
    # the inner unnest keeps DuckDB from calling the function anew for each of its two fields
    return (
        f"create or replace temp macro {name}(formula, relation, {options}) as table"
        " select unnest(if(fault is null, found, error(fault)), recursive := true)"
        f" from (select unnest([{fitted}], recursive := true) from query({_TO_SQL}({request})))"
    )


def _returned(table: str) -> str:
    fields = ", ".join(f"{identifier(name)} {SQL_TYPES[kind]}" for name, kind in TABLES[table].items())
    return f"STRUCT(found STRUCT({fields})[], fault VARCHAR)"


def _to_sql(*request: Any) -> str:
    """The statement that asks for the moments; one that fails with our sentence where there is a fault."""
    try:
        return _Request(*request).query.sql
    except MlmError as error:
        # error() in SQL says the sentence alone; an exception here would stand behind DuckDB's words about functions
        return f"select error({literal(str(error))}) as described, {', '.join(f'null as {n}' for n in _ANSWER[1:])}"


class _Request:
    """One call of a table function."""

    def __init__(self, formula: str | None, relation: str | None, *values: Any) -> None:
        if not formula or not relation:
            raise MlmError(
                "mlm() takes a formula and a table name or a SELECT in parentheses, both as text. "
                f"Got {formula!r} and {relation!r}."
            )
        given = dict(zip(_CHECKS, values, strict=True))
        if isinstance(given["covariance"], list):  # Arrow has a map as its pairs
            given["covariance"] = dict(given["covariance"])
        told = {name: option.of(given[name]) for name, option in _CHECKS.items()}
        self.estimator, self.df = told["estimator"], told["df"]
        self.robust, self.cluster = told["robust"], told["cluster"]
        check_options(self.estimator, self.df)
        levels = told["levels"] or ()
        residual = parse_residual(told["residual"], told["weights"])
        self.model = parse_model(options.FORMULA.of(formula), levels, residual)
        if told["covariance"]:
            self.model = with_covariance(self.model, told["covariance"])
        check_structures(self.model)
        check_robust(self.robust, self.cluster, self.df, multilevel=bool(self.model.random))
        self.query = OneQuery(
            self.model, options.RELATION.of(relation), level_columns(levels), cluster_columns(self.cluster)
        )

    def fit(self, answer: Answer) -> Fit:
        """The fit."""
        moments = read_answer(self.query, answer)
        return fit_model(
            self.model, moments, estimator=self.estimator, df=self.df, robust=self.robust, cluster=self.cluster
        )


def _fitting(table: str, on_note: Callable[[str], None] | None) -> Callable[..., Any]:
    # without annotations: DuckDB evaluates those that it finds, and pyarrow is not imported yet
    return lambda *arguments: _fit_rows(table, on_note, *arguments)


def _fit_rows(table: str, on_note: Callable[[str], None] | None, *arguments: pa.ChunkedArray) -> pa.Array:
    """The rows of one result table, or the fault that stood in the way."""
    import pyarrow as pa

    results: list[dict[str, Any]] = []
    for i in range(len(arguments[0])):
        described, survey, missing, moments, residual, *request = (column[i] for column in arguments)
        answer = Answer(dict(described.as_py()), survey.as_py(), missing.as_py(), _columns(moments), _columns(residual))
        try:
            fitted = _Request(*(value.as_py() for value in request)).fit(answer)
            results.append({"found": FIT_TABLES[table](fitted).to_dicts(), "fault": None})
        except Exception as error:
            if (sentence := _sentence(error)) is None:
                raise
            results.append({"found": None, "fault": sentence})
            continue
        if on_note is not None:
            for note in fitted.notes:
                on_note(f"{fitted.model.text}: {note}")
    return pa.array(results, type=_arrow_type(table))


def _sentence(error: Exception) -> str | None:
    """What is told of an error; None for a fault of ours."""
    return str(error) if isinstance(error, MlmError) else sentence_of(error)


def _columns(rows: pa.Scalar) -> dict[str, NDArray[Any]]:
    """Columns of a list of structs by name, as DuckDB's fetchnumpy has them; none of a null."""
    if not rows.is_valid:
        return {}
    structs = rows.values
    return {field.name: _array(structs.field(i)) for i, field in enumerate(structs.type)}


def _array(values: pa.Array) -> NDArray[Any]:
    array = values.to_numpy(zero_copy_only=False)
    return np.ma.masked_array(array, values.is_null().to_numpy(zero_copy_only=False)) if values.null_count else array


def _arrow_type(table: str) -> pa.DataType:
    import polars as pl
    import pyarrow as pa

    fields = pl.DataFrame(schema=TABLES[table]).to_arrow().schema
    row = pa.struct([pa.field(f.name, pa.string() if pa.types.is_large_string(f.type) else f.type) for f in fields])
    return pa.struct([("found", pa.list_(row)), ("fault", pa.string())])
