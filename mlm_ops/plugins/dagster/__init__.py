"""Make the Dagster assets and checks of an analysis, run a project, and open its UI.

A project imports what it needs from here, reading analysis files and quoting names in its own SQL included.
"""

from mlm_ops.analyses.file.analysis import read_analyses, read_analysis
from mlm_ops.plugins.dagster.assets import build_analysis_assets
from mlm_ops.plugins.dagster.component import MultilevelAnalysis
from mlm_ops.plugins.dagster.moments_table import build_moments_table
from mlm_ops.plugins.dagster.run import RunSummary, run_project
from mlm_ops.plugins.dagster.sensor import build_new_data_sensor
from mlm_ops.plugins.dagster.ui import serve_ui
from mlm_ops.plugins.dagster.warehouse import OpenWarehouse, Warehouse
from mlm_ops.warehouse.files.read import load_file
from mlm_ops.warehouse.sql import file_literal, file_pattern, identifier, literal

__all__ = [
    "MultilevelAnalysis",
    "OpenWarehouse",
    "RunSummary",
    "Warehouse",
    "build_analysis_assets",
    "build_moments_table",
    "build_new_data_sensor",
    "file_literal",
    "file_pattern",
    "identifier",
    "literal",
    "load_file",
    "read_analyses",
    "read_analysis",
    "run_project",
    "serve_ui",
]
