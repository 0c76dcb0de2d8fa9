"""Keep the rows of single steps in the warehouse until the whole run is published.

They wait in schema ``mlm_staging``, by analysis, step and model, until the last step writes the run in one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

from mlm_ops.analyses.store.schema import TABLES
from mlm_ops.analyses.store.tables import all_or_nothing, check_results, claim_of, create_table, insert_frame
from mlm_ops.errors import StoreError
from mlm_ops.results.tables.columns import KEYS, ColumnTypes
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.ownership import STAGING, Relation, columns_of, drop, find_relations
from mlm_ops.warehouse.sql import identifier, literal, qualified

StepName = Literal["models", "comparisons", "ladder", "sem"]
"""What leaves rows: each step that names models has them to itself."""

#: What the comments of the tables say.
MARK = "results of a run that is not finished"
#: The step is not called so: the table of the ladder has a column of that name.
_KEYS: ColumnTypes = {"analysis": pl.String(), "staged_by": pl.String(), "model": pl.String()}
#: Before there were steps.
_EARLIER_KEYS: ColumnTypes = {name: kind for name, kind in KEYS.items() if name != "run_id"}
_CHECKSUMS: ColumnTypes = {"checksum": pl.String()}


@dataclass(frozen=True)
class Staged:
    """The rows that a step of an analysis left behind, and the checksum of the moments by model."""

    tables: dict[str, pl.DataFrame]
    checksums: dict[str, str]


def stage(
    connection: Connection,
    analysis: str,
    step: StepName,
    models: Sequence[str] | None,
    tables: Mapping[str, pl.DataFrame],
    checksum: str,
) -> None:
    """Leave a step's rows for the one that writes the run.

    Parameters
    ----------
    models
        Whose rows these are; they take the place of the models' earlier ones. None: of those that the tables name, in
        the place of everything that the step left before.
    checksum
        Of the moments that the rows come from, so that the last step sees whether all are of the same rows.

    Raises
    ------
    StoreError
        As `write_run`; also when a row belongs to another model.
    """
    check_results(tables)
    here = f"where analysis = {literal(analysis)} and staged_by = {literal(step)}"
    if models is None:
        models = list(dict.fromkeys(name for frame in tables.values() for name in frame["model"]))
    else:
        here += f" and model in ({', '.join(map(literal, models))})"
    for name, frame in tables.items():
        if others := set(frame["model"].unique()) - set(models):
            raise StoreError(
                f"The rows staged in {name} are not all of one model. Got {others}; expected {', '.join(models)}."
            )
    with all_or_nothing(connection, f"model{'s' * (len(models) != 1)} {', '.join(models)} of {analysis}"):
        connection.execute(f"create schema if not exists {STAGING}")
        present = _without_earlier(connection)
        for name, columns in ({"checksums": _CHECKSUMS} | TABLES).items():
            create_table(connection, STAGING, name, _KEYS | columns, MARK, present)
            connection.execute(f"delete from {qualified(STAGING, name)} {here}")
        keys = [pl.lit(analysis).alias("analysis"), pl.lit(step).alias("staged_by")]
        sums = pl.DataFrame({"model": models}, {"model": pl.String()}).with_columns(checksum=pl.lit(checksum))
        for name, frame in ({"checksums": sums} | dict(tables)).items():
            columns = _CHECKSUMS if name == "checksums" else TABLES[name]
            insert_frame(connection, qualified(STAGING, name), frame.with_columns(keys), _KEYS | columns)


def _without_earlier(connection: Connection) -> dict[str, Relation]:
    """Tables of the staging schema; those of an mlm-ops without steps, which hold nothing that lasts, are dropped.

    Raises
    ------
    StoreError
        One of them is not ours.
    """
    present = find_relations(connection, STAGING)
    sums = present.get("checksums")
    if sums is None or columns_of(connection, sums)[:2] != list(_EARLIER_KEYS):
        return present
    for name in ("checksums", *TABLES):
        drop(connection, claim_of(connection, STAGING, name, _EARLIER_KEYS, MARK))
    return find_relations(connection, STAGING)


def read_staged(connection: Connection, analysis: str, step: StepName, models: Sequence[str] | None = None) -> Staged:
    """Return a step's rows of `models`, in that order, as `write_run` takes them; None takes all that are staged.

    Raises
    ------
    StoreError
        A model has not been staged.
    """
    here = f"analysis = {literal(analysis)} and staged_by = {literal(step)}"
    checksums: dict[str, str] = {}
    relations = find_relations(connection, STAGING)
    sums = relations.get("checksums")
    if sums is not None and "staged_by" in columns_of(connection, sums):
        rows = connection.execute(f"select model, checksum from {STAGING}.checksums where {here} order by rowid")
        checksums = dict(rows.fetchall())
    if models is None:
        models = list(checksums)
    missing = [model for model in models if model not in checksums]
    if missing:
        raise StoreError(f"The analysis {analysis} has no staged rows of {', '.join(missing)}. Fit these models first.")
    if not models:
        return Staged({name: pl.DataFrame(schema={"model": pl.String(), **TABLES[name]}) for name in TABLES}, {})
    position = pl.col("model").replace_strict(list(models), list(range(len(models))), return_dtype=pl.Int64)
    tables = {}
    for name, columns in TABLES.items():
        create_table(connection, STAGING, name, _KEYS | columns, MARK, relations)
        names = ", ".join(map(identifier, ["model", *columns]))
        rows = connection.sql(
            f"select {names} from {qualified(STAGING, name)} where {here}"
            f" and model in ({', '.join(map(literal, models))})"
        ).pl()
        frame = rows.cast(pl.Schema({"model": pl.String(), **columns}))
        tables[name] = frame.sort(position, maintain_order=True)
    return Staged(tables, {model: checksums[model] for model in models})
