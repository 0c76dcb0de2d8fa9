"""Dagster: the assets and checks of an analysis, the warehouse they work in, and a project's runs and UI."""

from mlm_ops.plugins.dagster.assets import build_analysis_assets
from mlm_ops.plugins.dagster.component import MultilevelAnalysis
from mlm_ops.plugins.dagster.run import Report, run_project
from mlm_ops.plugins.dagster.sensor import build_new_data_sensor
from mlm_ops.plugins.dagster.ui import serve_ui
from mlm_ops.plugins.dagster.warehouse import Warehouse

__all__ = [
    "MultilevelAnalysis",
    "Report",
    "Warehouse",
    "build_analysis_assets",
    "build_new_data_sensor",
    "run_project",
    "serve_ui",
]
