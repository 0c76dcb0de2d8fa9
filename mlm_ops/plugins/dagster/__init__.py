"""Dagster: the assets and checks of an analysis, the warehouse they work in, and a project's runs and UI."""

from mlm_ops.plugins.dagster.assets import build_analysis_assets
from mlm_ops.plugins.dagster.project import Report, run_project
from mlm_ops.plugins.dagster.ui import serve_ui
from mlm_ops.plugins.dagster.warehouse import Warehouse

__all__ = ["Report", "Warehouse", "build_analysis_assets", "run_project", "serve_ui"]
