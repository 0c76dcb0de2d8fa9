"""Keep the rows of single steps in the warehouse until the whole run is published.

They wait in schema ``mlm_staging``, by analysis, step and model, until the last step writes the run in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
class StepRows:
    """The rows that one step of an analysis leaves for the one that writes the run.

    Attributes
    ----------
    models
        Whose rows these are; they take the place of the models' earlier ones. None: of those that the tables name, in
        the place of everything that the step left before.
    """

    step: StepName
    models: Sequence[str] | None
    tables: Mapping[str, pl.DataFrame]

    @property
    def names(self) -> list[str]:
        """The models, or those that the tables name."""
        if self.models is not None:
            return list(self.models)
        return list(dict.fromkeys(name for frame in self.tables.values() for name in frame["model"]))


@dataclass(frozen=True)
class Staged:
    """The rows that steps of an analysis left behind, and the checksum of the moments by step and model."""

    tables: dict[str, pl.DataFrame]
    checksums: dict[tuple[StepName, str], str]


def stage(
    connection: Connection,
    analysis: str,
    steps: Sequence[StepRows],
    checksum: str,
    *,
    beside: Callable[[], None] | None = None,
) -> None:
    """Leave rows of steps for the one that writes the run, all in one transaction.

    Parameters
    ----------
    steps
        A step may have several, of different models.
    checksum
        Of the moments that the rows come from, so that the last step sees whether all are of the same rows.
    beside
        A function that writes more in the same transaction, such as views of predictions.

    Raises
    ------
    StoreError
        As `write_run`; also when a row belongs to another model.
    """
    for rows in steps:
        _check(rows)
    names = [name for rows in steps for name in rows.names]
    with all_or_nothing(connection, f"model{'s' * (len(names) != 1)} {', '.join(names)} of {analysis}"):
        connection.execute(f"create schema if not exists {STAGING}")
        present = _without_earlier(connection)
        places = " or ".join(_place(rows) for rows in steps)
        for name, columns in ({"checksums": _CHECKSUMS} | TABLES).items():
            create_table(connection, STAGING, name, _KEYS | columns, MARK, present)
            connection.execute(
                f"delete from {qualified(STAGING, name)} where analysis = {literal(analysis)} and ({places})"
            )
            frames = [_keyed(frame, analysis, rows.step) for rows in steps for frame in _frames(rows, name, checksum)]
            if frames:
                # a column may be of whole numbers in one frame and of reals in another
                frame = pl.concat(frames, how="diagonal_relaxed")
                insert_frame(connection, qualified(STAGING, name), frame, _KEYS | columns)
        if beside is not None:
            beside()


def _check(rows: StepRows) -> None:
    """Refuse rows of other models, and tables that the store does not have."""
    check_results(rows.tables)
    for name, frame in rows.tables.items():
        if others := set(frame["model"].unique()) - set(rows.names):
            raise StoreError(
                f"The rows staged in {name} are not all of one model. Got {others}; expected {', '.join(rows.names)}."
            )


def _place(rows: StepRows) -> str:
    """The condition on the rows that these replace."""
    step = f"staged_by = {literal(rows.step)}"
    return step if rows.models is None else f"({step} and model in ({', '.join(map(literal, rows.models))}))"


def _frames(rows: StepRows, table: str, checksum: str) -> list[pl.DataFrame]:
    """The rows of one table, none or one frame of them; in table ``checksums`` a row for each model."""
    if table == "checksums":
        return [pl.DataFrame({"model": rows.names}, {"model": pl.String()}).with_columns(checksum=pl.lit(checksum))]
    frame = rows.tables.get(table)
    return [] if frame is None or frame.is_empty() else [frame]


def _keyed(frame: pl.DataFrame, analysis: str, step: StepName) -> pl.DataFrame:
    return frame.with_columns(pl.lit(analysis).alias("analysis"), pl.lit(step).alias("staged_by"))


def _without_earlier(connection: Connection) -> dict[str, Relation]:
    """Tables of the staging schema; those of an mlm-ops without steps, which hold nothing that lasts, are dropped.

    Raises
    ------
    StoreError
        One of them is not ours.
    """
    # rows of influences were a table of their own; what there is of a run that is not finished goes without
    drop(connection, claim_of(connection, STAGING, "influence", _KEYS, MARK))
    present = find_relations(connection, STAGING)
    sums = present.get("checksums")
    if sums is None or columns_of(connection, sums)[:2] != list(_EARLIER_KEYS):
        return present
    for name in ("checksums", *TABLES):
        drop(connection, claim_of(connection, STAGING, name, _EARLIER_KEYS, MARK))
    return find_relations(connection, STAGING)


def read_staged(
    connection: Connection, analysis: str, models_by_step: Mapping[StepName, Sequence[str] | None]
) -> Staged:
    """Return the rows of steps, in their order and that of the models, as `write_run` takes them.

    Parameters
    ----------
    models_by_step
        Whose rows; None takes all that the step left.

    Raises
    ------
    StoreError
        A model has not been staged.
    """
    relations = find_relations(connection, STAGING)
    checksums = _checksums(connection, analysis, relations)
    keys: list[tuple[StepName, str]] = []
    for step, models in models_by_step.items():
        present = [model for name, model in checksums if name == step]
        missing = [model for model in models or () if model not in present]
        if missing:
            raise StoreError(
                f"The analysis {analysis} has no staged rows of {', '.join(missing)}. Fit these models first."
            )
        keys += [(step, model) for model in (present if models is None else models)]
    order = pl.DataFrame(keys, {"staged_by": pl.String(), "model": pl.String()}, orient="row").with_row_index("place")
    tables = {}
    for name, columns in TABLES.items():
        kinds = pl.Schema({"model": pl.String(), **columns})
        if not keys:
            tables[name] = pl.DataFrame(schema=kinds)
            continue
        create_table(connection, STAGING, name, _KEYS | columns, MARK, relations)
        names = ", ".join(map(identifier, ["staged_by", "model", *columns]))
        rows = connection.sql(
            f"select {names} from {qualified(STAGING, name)} where analysis = {literal(analysis)} order by rowid"
        ).pl()
        ordered = rows.join(order, on=["staged_by", "model"], maintain_order="left").sort("place", maintain_order=True)
        tables[name] = ordered.select(kinds.names()).cast(kinds)
    return Staged(tables, {key: checksums[key] for key in keys})


def _checksums(
    connection: Connection, analysis: str, relations: Mapping[str, Relation]
) -> dict[tuple[StepName, str], str]:
    """The checksums of all that is staged of an analysis, by step and model; none of an mlm-ops without steps."""
    sums = relations.get("checksums")
    if sums is None or "staged_by" not in columns_of(connection, sums):
        return {}
    rows = connection.execute(
        f"select staged_by, model, checksum from {STAGING}.checksums where analysis = ? order by rowid", [analysis]
    )
    return {(step, model): checksum for step, model, checksum in rows.fetchall()}
