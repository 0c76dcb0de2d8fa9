"""The shipped graph, materialized once."""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from pipelines.definitions import defs


@dataclass(frozen=True)
class Materialized:
    result: dg.ExecuteInProcessResult
    instance: dg.DagsterInstance
    warehouse: Path


@pytest.fixture(scope="session")
def materialized(tmp_path_factory: pytest.TempPathFactory) -> Materialized:
    warehouse = tmp_path_factory.mktemp("warehouse")
    instance = dg.DagsterInstance.ephemeral()
    config = {
        "resources": {"warehouse": {"config": {"directory": str(warehouse)}}},
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
    }
    result = defs.resolve_job_def("mlm_run").execute_in_process(instance=instance, run_config=config)
    return Materialized(result, instance, warehouse)
