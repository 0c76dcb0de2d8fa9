"""Ask for a run when the rows of an analysis change, and again until a run has fitted them."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import changed_partitions, collect_analysis
from mlm_ops.errors import AnalysisError, DataError, StoreError
from mlm_ops.moments.needs import find_needs
from mlm_ops.moments.survey import fingerprint
from mlm_ops.plugins.dagster.partition_windows import partition_values, windows_of
from mlm_ops.plugins.dagster.plan import key_parts
from mlm_ops.plugins.dagster.warehouse import Warehouse, as_warehouse
from mlm_ops.warehouse.connection import Connection, connect

#: Seconds to wait for a run that is writing; the next tick looks again.
PATIENCE = 2.0
#: Seconds until a run that failed is asked for again, which double with each failure, and the most.
FIRST_WAIT, LONGEST_WAIT = 60.0, 86_400.0
#: Failed runs that are counted: after so many the wait is the longest.
MOST_FAILURES = 12
#: Tags of the runs: the analysis, and what its rows were.
ANALYSIS_TAG, ROWS_TAG = "mlm/analysis", "mlm/fingerprint"
#: Dagster's tags of a run of several partitions.
RANGE_TAGS = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")


@dataclass(frozen=True)
class _RowsNow:
    """What the rows are now.

    Attributes
    ----------
    state
        Differs where the rows do.
    is_new
        Whether they are others than those that were asked for or, with partitions, read.
    partitions
        Tags that tell a run its partitions.
    """

    state: str
    is_new: bool
    partitions: Mapping[str, str] = field(default_factory=dict)


def build_new_data_sensor(
    analysis: Analysis,
    *,
    name: str | None = None,
    key_prefix: Sequence[str] | str = (),
    resource: str = "warehouse",
    minimum_interval_seconds: int = 60,
    default_status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.STOPPED,
) -> dg.SensorDefinition:
    """Make a sensor that asks for a run of the analysis' assets when the columns it reads change.

    It compares a fingerprint of these columns, which does not depend on the order of the rows; one pass over them, no
    products. The first tick asks for a run. Where the moments are partitioned, the run is of the smallest range of
    partitions that has all whose rows are not those of their moments. A run that failed is asked for again, after a
    minute, two, four, and so on up to a day. The code location supplies the warehouse as a resource.

    Parameters
    ----------
    analysis
        Whose table is watched and whose assets are made; not one that is fitted by partition.
    name
        By default ``<analysis>_new_data``.
    key_prefix, resource
        As `build_analysis_assets` got them.
    minimum_interval_seconds, default_status
        As Dagster takes them.
    """
    prefix = key_parts(key_prefix)
    key = dg.AssetKey([*prefix, analysis.analysis, "moments"])

    @dg.sensor(
        name=name or f"{analysis.analysis}_new_data",
        asset_selection=dg.AssetSelection.key_prefixes([*prefix, analysis.analysis], include_sources=False),
        required_resource_keys={resource},
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Asks for a run when the rows of {analysis.data} change, until it has succeeded.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        partitions_def = _partitions_of(context, key)
        try:
            rows = _look(
                as_warehouse(getattr(context.resources, resource), resource), analysis, partitions_def, context
            )
        except (StoreError, DataError) as error:
            # a table that is being written or not there yet is no fault of the sensor
            return dg.SkipReason(str(error))
        return _answer(context, analysis, "/".join(key.path[:-1]), rows)

    return new_data


def _partitions_of(context: dg.SensorEvaluationContext, key: dg.AssetKey) -> dg.PartitionsDefinition[str] | None:
    """The partitions of the analysis' moments.

    Raises
    ------
    AnalysisError
        It has no moments, because each partition is fitted alone.
    """
    if context.repository_def is None:
        return None
    definitions = context.repository_def.assets_defs_by_key
    if key not in definitions:
        raise AnalysisError(no_sensor_with_fit_by(key.path[-2]))
    return definitions[key].partitions_def


def no_sensor_with_fit_by(analysis: str) -> str:
    """Say why an analysis whose partitions are fitted alone has no sensor."""
    return (
        f"A sensor of new data cannot say which partitions of {analysis} to fit, as fit_by keeps no moments to compare "
        "the rows with. Leave out new_data_sensor, and give an automation_condition or a schedule."
    )


def _look(
    warehouse: Warehouse,
    analysis: Analysis,
    partitions_def: dg.PartitionsDefinition[str] | None,
    context: dg.SensorEvaluationContext,
) -> _RowsNow:
    connection = connect(warehouse.database, read_only=True, wait=PATIENCE)
    try:
        warehouse.prepare(connection)
        if partitions_def is None:
            state = _fingerprint(connection, analysis)
            return _RowsNow(state, state != context.cursor)
        # those that were added while the project runs are known to the instance
        store = context.instance if isinstance(partitions_def, dg.DynamicPartitionsDefinition) else None
        return _changes(connection, analysis, partitions_def, store)
    finally:
        connection.close()


def _fingerprint(connection: Connection, analysis: Analysis) -> str:
    if analysis.form == "moments":
        return collect_analysis(analysis, connection).checksum
    source = open_rows(analysis, connection)
    models = (*analysis.models_to_scan, *analysis.sem_with_missing)
    return fingerprint(source, find_needs(source, models, keys=analysis.keys))


def _changes(
    connection: Connection,
    analysis: Analysis,
    partitions_def: dg.PartitionsDefinition[str],
    store: dg.DagsterInstance | None,
) -> _RowsNow:
    """The range of partitions whose rows are not those of their moments; rows outside of all partitions are left."""
    changes = changed_partitions(analysis, connection)
    state = hashlib.sha256(json.dumps(changes).encode()).hexdigest()
    keys = partitions_def.get_partition_keys(dynamic_partitions_store=store)
    values_by_key = partition_values(connection, analysis, windows_of(partitions_def, keys)) if changes else {}
    changed_keys = [key for key in keys if not changes.keys().isdisjoint(values_by_key.get(key, ()))]
    if not changed_keys:
        return _RowsNow(state, is_new=False)
    return _RowsNow(state, True, dict(zip(RANGE_TAGS, (changed_keys[0], changed_keys[-1]), strict=True)))


def _answer(
    context: dg.SensorEvaluationContext, analysis: Analysis, name: str, rows: _RowsNow
) -> dg.SensorResult | dg.SkipReason:
    """Ask for a run of new rows, or again for the last run if it failed."""
    records = _runs(context, name)
    last = records[0].dagster_run if records else None
    partitions = rows.partitions
    is_same = last is not None and last.tags.get(ROWS_TAG) == rows.state
    if last is not None and (is_same or not rows.is_new):
        if not last.is_finished:
            return dg.SkipReason(f"The run {last.run_id} for these rows has not ended yet.")
        if last.is_success and not rows.is_new:
            return dg.SkipReason(f"The rows of {analysis.data} are as they were.")
        if not last.is_success:
            wait = _seconds_to_wait(records)
            if wait > 0:
                return dg.SkipReason(
                    f"The run {last.run_id} for these rows failed. It is asked for again in {wait:,.0f} seconds."
                )
            partitions = partitions or {tag: last.tags[tag] for tag in RANGE_TAGS if tag in last.tags}
    elif not rows.is_new:
        return dg.SkipReason(f"The rows of {analysis.data} are as they were.")
    request = dg.RunRequest(tags={ANALYSIS_TAG: name, ROWS_TAG: rows.state, **partitions})
    return dg.SensorResult(run_requests=[request], cursor=rows.state)


def _runs(context: dg.SensorEvaluationContext, name: str) -> Sequence[dg.RunRecord]:
    """The last runs that the sensor asked for, the latest first; none where it is called without an instance."""
    try:
        instance = context.instance
    except dg.DagsterInvariantViolationError:
        return []
    return instance.get_run_records(dg.RunsFilter(tags={ANALYSIS_TAG: name}), limit=MOST_FAILURES)


def _seconds_to_wait(records: Sequence[dg.RunRecord]) -> float:
    """Seconds until the last run, which failed, is asked for again."""
    n_failed = next((place for place, each in enumerate(records) if each.dagster_run.is_success), len(records))
    wait = LONGEST_WAIT if n_failed == MOST_FAILURES else min(FIRST_WAIT * 2 ** (n_failed - 1), LONGEST_WAIT)
    return wait - (time.time() - (records[0].end_time or 0.0))
