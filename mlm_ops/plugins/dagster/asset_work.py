"""Do the work of each asset in the warehouse, and make the metadata and checks that Dagster shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from mlm_ops.analyses.centered import create_centered, drop_table_of_polars, rows_to_center
from mlm_ops.analyses.centered_agreement import TableDifference, compare_steps, disagreement
from mlm_ops.analyses.errors_in_context import analysis_in_errors
from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import (
    changed_partitions,
    keep_moments,
    moments_table,
    polars_table,
    whole_tables,
)
from mlm_ops.analyses.store.run_facts import run_facts
from mlm_ops.analyses.store.runs import Run, check_published, publish, read_latest, write_run
from mlm_ops.analyses.store.staging import StepName, read_staged
from mlm_ops.errors import DataError, StoreError
from mlm_ops.moments.partitions import Refresh
from mlm_ops.moments.storage import load_moments
from mlm_ops.moments.stored_tables import sibling
from mlm_ops.plugins.centered_in_polars import create_centered_in_polars, why_not_in_polars
from mlm_ops.plugins.dagster import checks
from mlm_ops.plugins.dagster.fits import models_compared
from mlm_ops.plugins.dagster.metadata import (
    LINEAGE,
    SCHEMA,
    Metadata,
    centered_lineage,
    moments_lineage,
    numbers,
    relation_schema,
)
from mlm_ops.plugins.dagster.partition_windows import partition_values, parts_of, windows_of
from mlm_ops.plugins.dagster.plan import Plan
from mlm_ops.results.text.side_by_side import side_by_side
from mlm_ops.warehouse.connection import Connection
from mlm_ops.warehouse.relation import quoted_table
from mlm_ops.warehouse.source import open_source

KeysOf = Callable[[Collection[str]], Mapping[str, str]]
#: Moments of more columns, which grow with the square of the predictors, are not listed one by one.
MOST_COLUMNS = 300


def in_polars(analysis: Analysis, table: str) -> bool:
    """Whether Polars makes this table, one of the centered tables of the analysis."""
    return analysis.steps == "polars" or table == polars_table(analysis)


def make_centered(
    connection: Connection, analysis: Analysis, table: str, upstream: dg.AssetKey | None = None
) -> Metadata:
    """Make a table with the within/between split, by SQL or by Polars.

    Parameters
    ----------
    table
        One of the centered tables of the analysis.
    upstream
        Key of the asset that the columns come from.
    """
    obstacle, by_polars = None, in_polars(analysis, table)
    with analysis_in_errors(analysis):
        if by_polars:
            obstacle = create_centered_in_polars(connection, analysis, table)
        else:
            create_centered(connection, analysis, table)
        rows = rows_to_center(connection, analysis, table)
    if analysis.steps != "both":
        drop_table_of_polars(connection, analysis)
    types = open_source(table, connection).types
    count = _count(connection, quoted_table(table))
    metadata: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(count),
        SCHEMA: dg.MetadataValue.table_schema(relation_schema(types)),
        "steps": dg.MetadataValue.text("polars" if by_polars and obstacle is None else "sql"),
        "summary": dg.MetadataValue.text(f"{count:,} rows in {table}"),
    }
    if obstacle is not None:
        metadata["not_in_polars"] = dg.MetadataValue.text(obstacle)
    if upstream is not None:
        metadata[LINEAGE] = dg.MetadataValue.column_lineage(centered_lineage(rows.columns, upstream))
    return metadata


def centered_agreement(connection: Connection, analysis: Analysis, table: str) -> dg.AssetCheckResult:
    """Compare a centered table with the moments; where they differ, name the partitions that have changed."""
    moments = load_moments(connection, moments_table(analysis))
    difference = disagreement(connection, table, moments, rows_to_center(connection, analysis, table).columns)
    changed: Collection[str] = ()
    if difference > checks.AGREEMENT and analysis.partition is not None:
        changed = changed_partitions(analysis, connection)
    return checks.centered_agrees(difference, list(changed))


def steps_difference(connection: Connection, analysis: Analysis) -> tuple[TableDifference, str | None]:
    """How far the table of Polars is from that of SQL, and why SQL made both, if it did."""
    rows = rows_to_center(connection, analysis, polars_table(analysis))
    return compare_steps(connection, analysis), why_not_in_polars(rows)


def make_moments(
    connection: Connection,
    analysis: Analysis,
    partitions: Sequence[str] | None = None,
    upstream: dg.AssetKey | None = None,
    keys_of: KeysOf = lambda parts: dict(zip(parts, parts, strict=True)),
) -> tuple[Refresh, Metadata, list[dg.AssetCheckResult]]:
    """Collect the moments and keep them.

    Parameters
    ----------
    partitions
        Where the analysis has a partition, those whose rows are read again; None finds the new and changed ones.
    upstream
        Key of the asset that the columns come from.
    keys_of
        Finds the partition keys of values of the partition column.
    """
    refresh = keep_moments(analysis, connection, partitions)
    random = (group for model in analysis.compiled_models.values() for group in model.groups)
    factors = dict.fromkeys((*random, *((column,) for column in analysis.level_columns)))
    verdicts = [checks.enough_groups(refresh.moments, factors)]
    if analysis.form == "rows":
        source, others = open_rows(analysis, connection), None
        if partitions is None or analysis.partition is None:
            rows = _count(connection, source.relation)
        else:
            sizes = parts_of(connection, analysis).sizes(source)
            rows = sum(now for kept, now in sizes.values() if kept)
            others = _other_partitions(analysis, sizes, keys_of)
        verdicts.append(checks.rows_accounted_for(refresh.moments, rows, others))
    return refresh, moments_metadata(connection, analysis, refresh, upstream), verdicts


def make_partitions(
    connection: Connection,
    plan: Plan,
    partitions_def: dg.PartitionsDefinition[str],
    keys: Sequence[str],
    instance: dg.DagsterInstance,
) -> tuple[Metadata, list[dg.AssetCheckResult], list[str]]:
    """Bring the moments up to date with the rows of some partitions.

    Parameters
    ----------
    keys
        The partitions that a run is asked for.
    instance
        Knows the partitions that were added while the project ran.

    Returns
    -------
    tuple
        Metadata and checks of the moments, and the other partitions that were read with these: the first build and a
        rebuild read all rows.
    """

    def every() -> Sequence[str]:
        return partitions_def.get_partition_keys(dynamic_partitions_store=instance)

    def keys_of(parts: Collection[str]) -> dict[str, str]:
        try:
            values_by_key = partition_values(connection, plan.analysis, windows_of(partitions_def, every()))
        except DataError:
            # some other key is no value of the column
            return {part: part for part in parts}
        return {value: key for key, values in values_by_key.items() for value in values}

    values_by_key = partition_values(connection, plan.analysis, windows_of(partitions_def, keys))
    values = {value for values in values_by_key.values() for value in values}
    refresh, metadata, checks = make_moments(connection, plan.analysis, sorted(values), plan.upstream, keys_of)
    values_read = set(refresh.scanned)
    if values_read <= values:
        return metadata, checks, []
    others = windows_of(partitions_def, (key for key in every() if key not in values_by_key))
    if all(window is None for window in others.values()):
        return metadata, checks, [key for key in others if key in values_read]
    values_of_others = partition_values(connection, plan.analysis, others)
    others_read = [key for key, values in values_of_others.items() if values and values_read.issuperset(values)]
    return metadata, checks, others_read


def moments_metadata(
    connection: Connection, analysis: Analysis, refresh: Refresh, upstream: dg.AssetKey | None
) -> Metadata:
    """Make the metadata of the moments."""
    moments = refresh.moments
    metadata: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(moments.n_units),
        "checksum": dg.MetadataValue.text(moments.checksum),
        "summary": dg.MetadataValue.text(f"{moments.n_obs:,} rows in {moments.n_units:,} groups"),
        **numbers({"n_rows": moments.n_rows, "n_obs": moments.n_obs, "n_groups": moments.n_units}),
        **numbers(_extremes(moments.n, analysis.min_publish_n)),
    }
    types = open_source(moments_table(analysis), connection).types
    if len(types) <= MOST_COLUMNS:
        metadata[SCHEMA] = dg.MetadataValue.table_schema(relation_schema(types))
        if upstream is not None and analysis.form == "rows":
            lineage = moments_lineage(moments.schema, list(types), upstream)
            metadata[LINEAGE] = dg.MetadataValue.column_lineage(lineage)
    if analysis.partition is not None:
        metadata |= {
            "partitions_read": dg.MetadataValue.json(list(refresh.scanned)),
            "partitions_dropped": dg.MetadataValue.json(list(refresh.dropped)),
            "rebuilt": dg.MetadataValue.text(refresh.rebuild_reason or "no"),
        }
    return metadata


def _extremes(sizes: NDArray[np.float64], least: int) -> dict[str, int]:
    """Rows in the smallest and in the largest group, without groups too small to be published."""
    sizes_of_groups = {"smallest_group": int(sizes.min()), "largest_group": int(sizes.max())}
    return {name: size for name, size in sizes_of_groups.items() if size >= least}


def _other_partitions(
    analysis: Analysis, sizes: Mapping[str, tuple[int, int]], keys_of: KeysOf
) -> checks.OtherPartitions:
    """What a run has to say of the partitions that it did not read; those that it read have no other sizes."""
    others = {part: both for part, both in sizes.items() if both[0] != both[1]}
    keys = keys_of(list(others)) if others else {}
    changed: dict[str, tuple[int, int]] = {}
    outside: dict[str, tuple[int, int]] = {}
    new: dict[str, None] = {}
    for part, (kept, now) in others.items():
        key = keys.get(part)
        if kept:
            names, name = (outside, part) if key is None else (changed, key)
            before = names.get(name, (0, 0))
            names[name] = before[0] + kept, before[1] + now
        elif key is not None:
            new[key] = None
    table = sibling(moments_table(analysis), "parts")
    return checks.OtherPartitions(changed, outside, list(new), table, shows_sizes=analysis.min_publish_n <= 1)


def make_results(
    connection: Connection, analysis: Analysis, run_id: str, started: float, destination: Path
) -> tuple[Metadata, list[dg.AssetCheckResult]]:
    """Write the run in one transaction and publish.

    Parameters
    ----------
    connection
        The warehouse.
    analysis
        Whose staged rows are written.
    run_id, started
        Dagster's run, and when it began in seconds since 1970.
    destination
        The published copy.

    Raises
    ------
    StoreError
        A model has not been fitted, the models were fitted to different moments, or the file at the destination is no
        published copy. Nothing of the run is then written.
    """
    check_published(connection, destination)
    moments = load_moments(connection, moments_table(analysis))
    tables = _staged(connection, analysis, moments.checksum) | whole_tables(analysis, moments)
    run = Run(
        run_id=run_id,
        analysis=analysis.analysis,
        started_at=datetime.fromtimestamp(started, tz=UTC),
        finished_at=datetime.now(UTC),
        **run_facts(analysis, moments),
    )
    write_run(connection, run, tables, analysis.history)
    publish(connection, destination)
    counts = {name: frame.height for name, frame in tables.items()}
    metadata: Metadata = {
        "published": dg.MetadataValue.path(destination),
        "summary": dg.MetadataValue.text(f"{len(counts)} result tables with {sum(counts.values()):,} rows"),
        "side_by_side": dg.MetadataValue.md(side_by_side(tables).markdown()),
        **numbers({f"rows_{name}": count for name, count in counts.items()}),
    }
    drift = read_latest(connection, "drift").filter(run_id=run_id, analysis=analysis.analysis)
    return metadata, [checks.no_drift(drift)]


def _staged(connection: Connection, analysis: Analysis, checksum: str) -> dict[str, pl.DataFrame]:
    """Read every staged table of the analysis, all from the moments with this checksum."""
    models_by_step: dict[StepName, Sequence[str] | None] = {"models": list(analysis.models)}
    if analysis.compare:
        models_by_step["comparisons"] = models_compared(analysis)
    if analysis.compiled_strategy is not None:
        models_by_step["ladder"] = None
    if analysis.sem:
        models_by_step["sem"] = list(analysis.sem)
    staged = read_staged(connection, analysis.analysis, models_by_step)
    prefixes = {"comparisons": "comparisons of ", "sem": "sem "}
    stale = [prefixes.get(step, "") + name for (step, name), moments in staged.checksums.items() if moments != checksum]
    if stale:
        raise StoreError(
            f"The results of {analysis.analysis} are not published, because its models were fitted to different "
            f"rows: the moments have changed since {', '.join(stale)}. Materialize these again, or the whole analysis."
        )
    return staged.tables


def _count(connection: Connection, relation: str) -> int:
    return int(connection.execute(f"select count(*) from {relation}").fetchall()[0][0])
