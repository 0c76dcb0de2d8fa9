"""A small analysis on small data, and the graph of it."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from mlm_ops.analyses.file.analysis import Analysis, parse_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

SMALL = """
analysis: small
data: main.pupils
levels: school
models:
  anova: y ~ 1 + (1 | school)
  slope: y ~ within(x) + (1 | school)
compare: [anova, slope]
"""
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@pytest.fixture(scope="session")
def pupils() -> Callable[[int], pl.DataFrame]:
    """Schools that differ, and a predictor that counts."""

    def rows(groups: int, size: int = 15) -> pl.DataFrame:
        random = np.random.default_rng(7)
        school = np.repeat(np.arange(groups), size)
        x = random.normal(size=len(school)) + school % 3
        y = random.normal(size=groups)[school] + 0.5 * x + random.normal(size=len(school))
        return pl.DataFrame({"school": school, "x": x, "y": y})

    return rows


@pytest.fixture(scope="session")
def small() -> Analysis:
    return parse_analysis(SMALL)


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(directory=str(tmp_path / "warehouse"), wait=1.0)


@pytest.fixture
def materialize(small: Analysis, warehouse: Warehouse) -> Callable[..., dg.ExecuteInProcessResult]:
    """Materialize the whole graph on given rows."""

    def run(
        rows: pl.DataFrame,
        of: Analysis = small,
        upstream: str | None = None,
        separate_steps: bool = False,
        **options: object,
    ) -> dg.ExecuteInProcessResult:
        @dg.asset(key="pupils")
        def load(warehouse: Warehouse) -> None:
            with warehouse.connection() as connection:
                connection.register("rows", rows)
                connection.execute("create or replace table main.pupils as from rows order by school")

        here = dg.Definitions(assets=[load], resources={"warehouse": warehouse}, executor=dg.in_process_executor)
        job = dg.Definitions.merge(
            here, build_analysis_assets(of, upstream=upstream, separate_steps=separate_steps)
        ).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(raise_on_error=False, run_config=QUIET, **options)

    return run
