"""Rows on their way to the store: an orchestrator that fits each model in a step of its own leaves them here.

They wait in schema ``mlm_staging`` until the last step writes the run in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.analyses.store.tables import all_or_nothing, check_results, create_table, insert_frame
from mlm_ops.errors import StoreError
from mlm_ops.results.tables.columns import KEYS, Schema
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.ownership import find_relations
from mlm_ops.warehouse.sql import identifier, literal, qualified

STAGING = "mlm_staging"
#: What the comments of the tables say.
MARK = "results of a run that is not finished"
_STAGING_KEYS: Schema = {name: kind for name, kind in KEYS.items() if name != "run_id"}


@dataclass(frozen=True)
class Staged:
    """The rows that an analysis' models left behind, and the checksum of the moments each was fitted to."""

    tables: dict[str, pl.DataFrame]
    checksums: dict[str, str]


def stage(connection: Connection, analysis: str, model: str, tables: Mapping[str, pl.DataFrame], checksum: str) -> None:
    """Leave one model's rows for the step that writes the run; they take the place of the model's earlier ones.

    Parameters
    ----------
    checksum
        Of the moments that the model was fitted to, so that the last step sees whether all models fit the same rows.

    Raises
    ------
    StoreError
        As `write_run`; also when a row belongs to another model.
    """
    check_results(tables)
    for name, frame in tables.items():
        others = set(frame["model"].unique()) - {model}
        if others:
            raise StoreError(f"The rows staged in {name} are not all of one model. Got {others}; expected {model}.")
    with all_or_nothing(connection, f"model {model} of {analysis}"):
        connection.execute(f"create schema if not exists {STAGING}")
        present = find_relations(connection, STAGING)
        create_table(connection, STAGING, "checksums", _STAGING_KEYS | {"checksum": pl.String()}, MARK, present)
        where = f"where analysis = {literal(analysis)} and model = {literal(model)}"
        connection.execute(f"delete from {STAGING}.checksums {where}")
        connection.execute(f"insert into {STAGING}.checksums values (?, ?, ?)", [analysis, model, checksum])
        for name, columns in TABLES.items():
            create_table(connection, STAGING, name, _STAGING_KEYS | columns, MARK, present)
            connection.execute(f"delete from {qualified(STAGING, name)} {where}")
            if name in tables:
                frame = tables[name].with_columns(pl.lit(analysis).alias("analysis"))
                insert_frame(connection, qualified(STAGING, name), frame, _STAGING_KEYS | columns)


def stage_anew(connection: Connection, analysis: str, tables: Mapping[str, pl.DataFrame], checksum: str) -> None:
    """Leave the rows of many models, whose names come from the data, in the place of everything staged before."""
    names = dict.fromkeys(name for frame in tables.values() for name in frame["model"])
    if _has_staging(connection):
        for table in ("checksums", *TABLES):
            connection.execute(f"delete from {qualified(STAGING, table)} where analysis = ?", [analysis])
    for name in names:
        own = {table: frame.filter(pl.col("model") == name) for table, frame in tables.items()}
        stage(connection, analysis, name, own, checksum)


def read_staged(connection: Connection, analysis: str, models: Sequence[str] | None = None) -> Staged:
    """Return the staged rows of `models`, in that order, as `write_run` takes them; None takes all that are staged.

    Raises
    ------
    StoreError
        A model has not been staged.
    """
    checksums: dict[str, str] = {}
    if _has_staging(connection):
        found = connection.execute(
            f"select model, checksum from {STAGING}.checksums where analysis = ? order by rowid", [analysis]
        )
        checksums = dict(found.fetchall())
    if models is None:
        models = list(checksums)
    missing = [model for model in models if model not in checksums]
    if missing:
        raise StoreError(f"The analysis {analysis} has no staged rows of {', '.join(missing)}. Fit these models first.")
    position = pl.col("model").replace_strict(list(models), list(range(len(models))), return_dtype=pl.Int64)
    tables = {}
    for name, columns in TABLES.items():
        names = ", ".join(map(identifier, ["model", *columns]))
        rows = connection.sql(
            f"select {names} from {qualified(STAGING, name)} where analysis = {literal(analysis)}"
            f" and model in ({', '.join(map(literal, models))})"
        ).pl()
        frame = rows.cast(pl.Schema({"model": pl.String(), **columns}))
        tables[name] = frame.sort(position, maintain_order=True)
    return Staged(tables, {model: checksums[model] for model in models})


def _has_staging(connection: Connection) -> bool:
    return bool(connection.execute("from duckdb_schemas() where schema_name = ?", [STAGING]).fetchall())
