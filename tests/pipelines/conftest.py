"""The shipped graph, materialized once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from pipelines.definitions import defs


@dataclass(frozen=True)
class Materialized:
    result: dg.ExecuteInProcessResult
    instance: dg.DagsterInstance
    warehouse: Path

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the published copy."""
        with duckdb.connect(str(self.warehouse / "results.duckdb"), read_only=True) as published:
            return published.execute(query).fetchall()

    def by_name(self, query: str) -> dict[Any, Any]:
        """The second column by the first."""
        return dict(self.rows(query))


def without_reports() -> list[dg.AssetKey]:
    """All assets but the reports of ten analyses: what they draw is tested in tests/reports."""
    keys = defs.resolve_asset_graph().get_all_asset_keys()
    return [key for key in keys if key.path[-1] != "report" or key.path[0] == "hsb"]


@pytest.fixture(scope="session")
def materialized(tmp_path_factory: pytest.TempPathFactory) -> Materialized:
    warehouse = tmp_path_factory.mktemp("warehouse")
    instance = dg.DagsterInstance.ephemeral()
    config = {
        "resources": {"warehouse": {"config": {"directory": str(warehouse)}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    result = defs.resolve_job_def("mlm_run").execute_in_process(
        instance=instance, run_config=config, asset_selection=without_reports()
    )
    return Materialized(result, instance, warehouse)
