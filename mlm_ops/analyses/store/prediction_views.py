"""Create views with the predictions of every model for every row: ``mlm.predicted_<analysis>__<model>``.

A view reads the analysis' rows and joins tables of units (group means and random effects) that are written with it. The
published copy has no rows, and so none of these views.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.store.tables import describe_columns
from mlm_ops.errors import DataError, StoreError
from mlm_ops.logs import Event, tell
from mlm_ops.results.tables.descriptions import PREDICTIONS
from mlm_ops.warehouse.arrow import ArrowStream
from mlm_ops.warehouse.connection import registered
from mlm_ops.warehouse.ownership import (
    PREFIX,
    RESULTS,
    Claim,
    Relation,
    columns_of,
    drop,
    find_relations,
    replace_table,
    replace_view,
)
from mlm_ops.warehouse.sql import identifier, qualified

if TYPE_CHECKING:
    import polars as pl

    from mlm_ops.analyses.file.analysis import Analysis
    from mlm_ops.results.fit import Fit
    from mlm_ops.warehouse.connection import Connection

#: The beginning of the mark of every such view; the name of the analysis follows.
_REMARK = "predictions of analysis"
#: The suffix of a table of units, after the name of its view.
_UNITS = re.compile(r"__units_[0-9]+$")


def view_name(analysis: str, model: str) -> str:
    """Return the name of the view of a model, in schema ``mlm``."""
    return f"predicted_{analysis}__{model}"


@dataclass(frozen=True)
class PredictionView:
    """A view with a model's predictions, ready to be created.

    Attributes
    ----------
    name, remark
        The name of the view, and its mark, which names the analysis.
    sql
        The SELECT of the view.
    units
        The tables of units that the view joins, by name.
    """

    name: str
    remark: str
    sql: str
    units: Mapping[str, pl.DataFrame]


def prediction_views(connection: Connection, analysis: Analysis, fits: Mapping[str, Fit]) -> list[PredictionView]:
    """Prepare the views of fitted models; nothing is written yet.

    A view has the rows of the analysis' data, after ``where``, as they are when it is read. Coefficients, group means
    and random effects are those of the fit; a group of fewer than ``min_publish_n`` rows counts as one that the fit has
    not seen. There are none if the analysis says ``predictions: false``. `check_view_names` says before anything is
    fitted whether they can be made.
    """
    if not analysis.predictions or not _has_lasting_rows(connection, analysis):
        return []
    relation = _rows_relation(connection, analysis)
    return [_view(relation, analysis, model, fit) for model, fit in fits.items()]


def _has_lasting_rows(connection: Connection, analysis: Analysis) -> bool:
    """Whether a view can read the rows: those of an Excel file, or an attached database, end with the connection."""
    source = open_rows(analysis, connection)
    reason = None if source.lasting else f"DuckDB cannot read {source.description} by itself"
    if attached := _attached(connection, source.relation):
        reason = f"the database {attached} is attached while the models are fitted, and not when a view is read"
    if reason:
        tell(Event.READ, f"There are no views of predictions: {reason}.", file=source.description)
    return reason is None


def _attached(connection: Connection, relation: str) -> str | None:
    """The first database that the rows are read from and that is not the connection's own."""
    rows = connection.execute(
        "select database_name from duckdb_databases() where not internal and database_name <> current_database()"
    ).fetchall()
    return next(
        (name for (name,) in rows if re.search(rf'(?<!\w)"?{re.escape(name)}"?\s*\.', relation, re.IGNORECASE)), None
    )


def _view(relation: str, analysis: Analysis, model: str, fit: Fit) -> PredictionView:
    name, query = view_name(analysis.analysis, model), fit.prediction_query
    units = {
        f"{name}__units_{i}": unit_table.frame.filter(unit_table.n >= analysis.min_publish_n)
        for i, unit_table in enumerate(query.units)
    }
    sql = query.sql(relation, [_in_schema(table) for table in units])
    return PredictionView(name, _remark(analysis), sql, units)


def add_prediction_views(connection: Connection, views: Sequence[PredictionView]) -> None:
    """Create or replace views and the tables of units that they join, and leave the others.

    It runs inside the caller's transaction, so that the views belong to the rows that are written with them.

    Raises
    ------
    StoreError
        Another analysis, or the user, has a view or table of this name.
    """
    if not views:
        return
    connection.execute(f"create schema if not exists {RESULTS}")
    present = find_relations(connection, RESULTS)
    for view in views:
        for table, frame in view.units.items():
            with registered(connection, ArrowStream(frame)) as units:
                replace_table(connection, _claim(connection, table, view.remark), f"as from {units}", present)
        replace_view(connection, _claim(connection, view.name, view.remark), view.sql, present)
    texts = {(view.name, column): text for view in views for column, text in PREDICTIONS.items()}
    describe_columns(connection, RESULTS, texts)


def _claim(connection: Connection, name: str, remark: str) -> Claim:
    """Claim the name of a view or of a table of units; those of an earlier mlm-ops have another mark, or none."""

    def is_earlier(relation: Relation) -> bool:
        if relation.comment is not None or relation.kind == "view":
            return relation.comment == remark
        view = find_relations(connection, RESULTS).get(_UNITS.sub("", name).lower())
        is_beside = view is not None and view.name.lower() != name.lower() and _is_of(view, remark)
        return is_beside and columns_of(connection, relation)[:1] == ["unit_0"]

    return Claim((RESULTS, name), remark, "Rename it, or set predictions: false.", is_earlier)


def _is_of(relation: Relation, remark: str) -> bool:
    return relation.comment in (PREFIX + remark, remark)


def check_view_names(connection: Connection, analysis: Analysis) -> None:
    """Refuse an analysis if a view of one of its models, or a table of units, has a name that is in use.

    It may be in use by another analysis (``b__c`` of ``a`` and ``c`` of ``a__b``), by another model, or by a table of
    the user's. DuckDB ignores the case of names.

    Raises
    ------
    StoreError
        With the name and what has it.
    """
    if not analysis.predictions:
        return
    views = {view_name(analysis.analysis, model).lower(): model for model in _models_with_views(analysis)}
    _check_apart(analysis)
    for name, relation in sorted(find_relations(connection, RESULTS).items()):
        model = views.get(name, views.get(_UNITS.sub("", name)))
        claim = _claim(connection, relation.name, _remark(analysis))
        if model is None or relation.comment == claim.comment or claim.earlier(relation):
            continue
        whose = str(relation.comment).removeprefix(PREFIX)
        if whose.startswith(_REMARK):
            raise StoreError(
                f"The view {RESULTS}.{relation.name} holds {whose}, and the model {model} of {analysis.analysis} would "
                "have the same. Rename one of the two, or set predictions: false."
            )
        raise StoreError(
            f"{RESULTS}.{relation.name} was not made by mlm-ops, and the view with the predictions of the model "
            f"{model} would take its place. Rename it, or set predictions: false."
        )


def _models_with_views(analysis: Analysis) -> list[str]:
    """Return the names of the models; the one that a ladder selects is called ``selected``."""
    return [*analysis.models, *([analysis.selected] if analysis.selected is not None else [])]


def _check_apart(analysis: Analysis) -> None:
    """Refuse two models of one analysis whose views or tables of units would have the same name."""
    views: dict[str, str] = {}
    for model in _models_with_views(analysis):
        other = views.setdefault(view_name(analysis.analysis, model).lower(), model)
        if other == model:
            continue
        raise _same_view(analysis, other, model)
    for name, model in views.items():
        if (view := _UNITS.sub("", name)) != name and view in views:
            raise _same_view(analysis, views[view], model)


def _same_view(analysis: Analysis, first: str, second: str) -> StoreError:
    return StoreError(
        f"The predictions of the models {first} and {second} of {analysis.analysis} would have the same name in the "
        "database. Rename one of the two, or set predictions: false."
    )


def create_prediction_views(connection: Connection, analysis: Analysis, views: Sequence[PredictionView]) -> None:
    """Create the views of an analysis, and drop those of models that it no longer has.

    It runs inside the caller's transaction, so that the views belong to the run that is written with them.
    """
    # by the comment, because model b__c of a and model c of a__b have the same name
    for relation in find_relations(connection, RESULTS).values():
        is_view = relation.kind == "view" and _is_of(relation, _remark(analysis))
        if is_view and relation.name.lower() not in {view.name.lower() for view in views}:
            _remove(connection, relation, _remark(analysis))
    add_prediction_views(connection, views)


def _remove(connection: Connection, view: Relation, remark: str) -> None:
    """Drop a view and its tables of units, those that mlm-ops made."""
    for relation in find_relations(connection, RESULTS).values():
        if _UNITS.sub("", relation.name) != view.name or relation.name == view.name:
            continue
        claim = _claim(connection, relation.name, remark)
        if relation.comment == claim.comment or claim.earlier(relation):
            drop(connection, claim)
    drop(connection, _claim(connection, view.name, remark))


def _remark(analysis: Analysis) -> str:
    return f"{_REMARK} {analysis.analysis}"


def _rows_relation(connection: Connection, analysis: Analysis) -> str:
    """Return the relation of the analysis' rows; a bare table name gets its schema, so that any connection finds it."""
    (schema,) = connection.execute("select current_schema()").fetchall()[0]
    qualified_analysis = analysis.model_copy(update={"data": f"{identifier(schema)}.{analysis.data}"})
    try:
        return open_rows(qualified_analysis, connection).relation
    except DataError:  # the name has a schema already, or is a SELECT
        return open_rows(analysis, connection).relation


def _in_schema(name: str) -> str:
    return qualified(RESULTS, name)
