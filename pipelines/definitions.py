"""The code location: every analysis file of analyses/ on the tables of assets.py."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from mlm_ops.plugins.dagster import OpenWarehouse, build_analysis_assets, read_analyses
from pipelines.assets import SOURCES

PIPELINES = Path(__file__).parent
WAREHOUSE = PIPELINES.parent / "warehouse"

mlm_run = dg.define_asset_job(
    "mlm_run", selection=dg.AssetSelection.all(), description="Everything, from the data to the published results."
)
daily = dg.ScheduleDefinition(
    name="daily",
    job=mlm_run,
    cron_schedule="0 5 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Fits everything anew at five in the morning; turn it on in the UI.",
)

defs = dg.Definitions.merge(
    dg.Definitions(
        assets=SOURCES,
        jobs=[mlm_run],
        schedules=[daily],
        resources={"warehouse": OpenWarehouse(directory=str(WAREHOUSE))},
        # one process: starts four times faster, and steps cannot fight over the database's lock
        executor=dg.in_process_executor,
    ),
    # one analysis after another, in the order of their names
    *(
        build_analysis_assets(analysis, report=True, priority=-place)
        for place, analysis in enumerate(read_analyses(PIPELINES / "analyses"))
    ),
)
