"""Views with every model's predictions beside the rows: ``mlm.predicted_<analysis>__<model>``.

They read the rows where these are and join tables of units that are written with the view. A published copy of the
results holds no rows, and so none of these views.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.store.tables import all_or_nothing, registered
from mlm_ops.errors import DataError, StoreError
from mlm_ops.warehouse.ownership import (
    PREFIX,
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

_SCHEMA = "mlm"
#: How the comment of every view of ours begins; the analysis' name ends it.
_REMARK = "predictions of analysis"
#: What a table of units has in its name after that of its view.
_UNITS = re.compile(r"__units_[0-9]+$")


def view_name(analysis: str, model: str) -> str:
    """What the view of a model is called, in schema ``mlm``."""
    return f"predicted_{analysis}__{model}"


def create_prediction_view(connection: Connection, analysis: Analysis, model: str, fit: Fit) -> None:
    """Make, or make anew, the view of one model and the tables of units that it joins.

    It has the rows of the analysis' data, after ``where``, as they are when it is read; coefficients, group means and
    random effects are the fit's; a group of fewer than ``min_publish_n`` rows counts as one that the fit has not seen.
    Nothing is made where the analysis says ``predictions: false``.

    Raises
    ------
    StoreError
        The database refuses it, or another analysis has a view of this name. Nothing is then changed.
    """
    if not analysis.predictions:
        return
    check_view_names(connection, analysis)
    view = _view(connection, analysis, model, fit)
    with all_or_nothing(connection, f"predictions of {model} in {analysis.analysis}"):
        _create(connection, view)


@dataclass(frozen=True)
class PredictionView:
    """What a view is made of.

    Attributes
    ----------
    name, remark
        Of the view; the remark says whose it is.
    sql
        Its SELECT.
    units
        The tables of units that it joins, by name.
    """

    name: str
    remark: str
    sql: str
    units: Mapping[str, pl.DataFrame]


def prediction_views(connection: Connection, analysis: Analysis, fits: Mapping[str, Fit]) -> list[PredictionView]:
    """Lay out the views of all models; nothing is written, and a transaction may begin after it.

    Raises
    ------
    StoreError
        As `check_view_names`.
    """
    check_view_names(connection, analysis)
    return [_view(connection, analysis, model, fit) for model, fit in fits.items()] if analysis.predictions else []


def _view(connection: Connection, analysis: Analysis, model: str, fit: Fit) -> PredictionView:
    name, query = view_name(analysis.analysis, model), fit.prediction_query
    units = {
        f"{name}__units_{i}": unit_table.frame.filter(unit_table.n >= analysis.min_publish_n)
        for i, unit_table in enumerate(query.units)
    }
    sql = query.sql(_rows_relation(connection, analysis), [_in_schema(table) for table in units])
    return PredictionView(name, _remark(analysis), sql, units)


def _create(connection: Connection, view: PredictionView) -> None:
    connection.execute(f"create schema if not exists {_SCHEMA}")
    for table, frame in view.units.items():
        with registered(connection, "mlm_units", frame):
            replace_table(connection, _claim(connection, table, view.remark), "as from mlm_units")
    replace_view(connection, _claim(connection, view.name, view.remark), view.sql)


def _claim(connection: Connection, name: str, remark: str) -> Claim:
    """The name of a view or of a table of units; those of an earlier mlm-ops have another mark, or none."""

    def is_earlier(relation: Relation) -> bool:
        if relation.comment is not None or relation.kind == "view":
            return relation.comment == remark
        view = find_relations(connection, _SCHEMA).get(_UNITS.sub("", name).lower())
        is_beside = view is not None and view.name.lower() != name.lower() and _is_of(view, remark)
        return is_beside and columns_of(connection, relation)[:1] == ["unit_0"]

    return Claim((_SCHEMA, name), remark, "Rename it, or set predictions: false.", is_earlier)


def _is_of(relation: Relation, remark: str) -> bool:
    return relation.comment in (PREFIX + remark, remark)


def check_view_names(connection: Connection, analysis: Analysis) -> None:
    """Refuse an analysis with a model whose view, or a table of units beside it, has a name that is taken.

    Another analysis may have it (``b__c`` of ``a`` and ``c`` of ``a__b``), another model, or the user. DuckDB's names
    do not depend on case.

    Raises
    ------
    StoreError
        With the name and whose it is.
    """
    if not analysis.predictions:
        return
    views = {view_name(analysis.analysis, model).lower(): model for model in analysis.models}
    _check_apart(analysis)
    for name, relation in sorted(find_relations(connection, _SCHEMA).items()):
        model = views.get(name, views.get(_UNITS.sub("", name)))
        claim = _claim(connection, relation.name, _remark(analysis))
        if model is None or relation.comment == claim.comment or claim.earlier(relation):
            continue
        whose = str(relation.comment).removeprefix(PREFIX)
        if whose.startswith(_REMARK):
            raise StoreError(
                f"The view {_SCHEMA}.{relation.name} holds {whose}, and the model {model} of {analysis.analysis} would "
                "have the same. Rename one of the two, or set predictions: false."
            )
        raise StoreError(
            f"{_SCHEMA}.{relation.name} was not made by mlm-ops, and the view with the predictions of the model "
            f"{model} would take its place. Rename it, or set predictions: false."
        )


def _check_apart(analysis: Analysis) -> None:
    """Refuse two models of one analysis whose views, or tables of units, would have one name."""
    views: dict[str, str] = {}
    for model in analysis.models:
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
    """Make the views of an analysis, and remove those of models that it no longer has.

    Inside a transaction of the caller's, so that the views are of the run that is written with them.
    """
    # by its comment, as names alone do not tell the model b__c of a from the model c of a__b
    for relation in find_relations(connection, _SCHEMA).values():
        is_view = relation.kind == "view" and _is_of(relation, _remark(analysis))
        if is_view and relation.name.lower() not in {view.name.lower() for view in views}:
            _remove(connection, relation, _remark(analysis))
    for view in views:
        _create(connection, view)


def _remove(connection: Connection, view: Relation, remark: str) -> None:
    """Drop a view and those of its tables of units that are ours."""
    for relation in find_relations(connection, _SCHEMA).values():
        if _UNITS.sub("", relation.name) != view.name or relation.name == view.name:
            continue
        claim = _claim(connection, relation.name, remark)
        if relation.comment == claim.comment or claim.earlier(relation):
            drop(connection, claim)
    drop(connection, _claim(connection, view.name, remark))


def _remark(analysis: Analysis) -> str:
    return f"{_REMARK} {analysis.analysis}"


def _rows_relation(connection: Connection, analysis: Analysis) -> str:
    """The analysis' rows; a bare table name with its schema, so that the view is the same from any connection."""
    (schema,) = connection.execute("select current_schema()").fetchall()[0]
    qualified_analysis = analysis.model_copy(update={"data": f"{identifier(schema)}.{analysis.data}"})
    try:
        return open_rows(qualified_analysis, connection).relation
    except DataError:  # the name has a schema already, or is a SELECT
        return open_rows(analysis, connection).relation


def _in_schema(name: str) -> str:
    return qualified(_SCHEMA, name)
