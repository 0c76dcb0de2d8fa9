"""Ask for a run when the rows of an analysis change."""

# Without `from __future__ import annotations`: Dagster looks at the annotations themselves.
from collections.abc import Sequence

import dagster as dg

from mlm_ops.analyses.file.analysis import Analysis
from mlm_ops.analyses.rows import open_rows
from mlm_ops.analyses.run import collect_analysis
from mlm_ops.errors import DataError, StoreError
from mlm_ops.moments.needs import find_needs
from mlm_ops.moments.survey import fingerprint
from mlm_ops.plugins.dagster.plan import key_parts
from mlm_ops.plugins.dagster.warehouse import Warehouse, as_warehouse
from mlm_ops.warehouse.connection import connect

#: Seconds to wait for a run that is writing; the next tick looks again.
PATIENCE = 2.0


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
    products. The first tick asks for a run. The code location supplies the warehouse as a resource.

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

    @dg.sensor(
        name=name or f"{analysis.analysis}_new_data",
        asset_selection=dg.AssetSelection.key_prefixes([*prefix, analysis.analysis], include_sources=False),
        required_resource_keys={resource},
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status,
        description=f"Asks for a run when the rows of {analysis.data} change.",
    )
    def new_data(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            current = _fingerprint(as_warehouse(getattr(context.resources, resource), resource), analysis)
        except (StoreError, DataError) as error:
            # a table that is being written or not there yet is no fault of the sensor
            return dg.SkipReason(str(error))
        if current == context.cursor:
            return dg.SkipReason(f"The rows of {analysis.data} are as they were.")
        return dg.SensorResult(run_requests=[dg.RunRequest(tags={"mlm/fingerprint": current})], cursor=current)

    return new_data


def _fingerprint(warehouse: Warehouse, analysis: Analysis) -> str:
    connection = connect(warehouse.database, read_only=True, wait=PATIENCE)
    try:
        warehouse.prepare(connection)
        if analysis.form == "moments":
            return collect_analysis(analysis, connection).checksum
        source = open_rows(analysis, connection)
        models = (*analysis.models_to_scan, *analysis.sem_with_missing)
        return fingerprint(source, find_needs(source, models, keys=analysis.keys))
    finally:
        connection.close()
