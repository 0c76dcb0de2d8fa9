"""Dagster at scale: loading 200 models, and fitting many partitions in one run.

uv run python benchmarks/dagster_scale.py [partitions]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator

import dagster as dg

from mlm_ops.analyses.file.analysis import parse_analysis
from mlm_ops.plugins.dagster import Warehouse, build_analysis_assets

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def load(analyses: int = 20, models: int = 10) -> float:
    """Seconds to build a code location of analyses with so many models each."""
    started = time.perf_counter()
    listed = ", ".join(f"m{i}: y ~ x{i} + (1 | g)" for i in range(models))
    made = (
        build_analysis_assets(parse_analysis(f"{{analysis: a{i}, data: main.t, levels: g, models: {{{listed}}}}}"))
        for i in range(analyses)
    )
    defs = dg.Definitions.merge(dg.Definitions(resources={"warehouse": Warehouse()}), *made)
    defs.get_repository_def().load_all_definitions()
    return time.perf_counter() - started


def fit_each(partitions: int) -> Iterator[tuple[float, float]]:
    """Seconds of two runs over all partitions of 5,000 rows in 100 groups, and how many MB memory grew in each.

    The second also compares every partition with its first run.
    """
    keys = [str(i) for i in range(partitions)]
    analysis = parse_analysis('{analysis: a, data: main.t, levels: g, models: {m: "y ~ x + (1 | g)"}}')
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.ephemeral() as instance:
        warehouse = Warehouse(directory=folder)
        with warehouse.connection() as connection:
            connection.execute(
                "create table main.t as select p, g, x, x / 2 + hash(p * 1000 + g) % 1000 / 500 + random() * 3 as y "
                f"from (select i // 5000 as p, i // 50 % 100 as g, random() as x from range({partitions * 5000}) r(i))"
            )
        made = build_analysis_assets(analysis, partitions_def=dg.StaticPartitionsDefinition(keys), fit_by="p")
        job = dg.define_asset_job("fits", selection=dg.AssetSelection.assets(["a", "results"]))
        here = dg.Definitions(resources={"warehouse": warehouse}, jobs=[job], executor=dg.in_process_executor)
        tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
        for _ in range(2):
            before, started = _peak(), time.perf_counter()
            whole = dg.Definitions.merge(here, made).resolve_job_def("fits")
            whole.execute_in_process(instance=instance, tags=tags, run_config=QUIET)
            yield time.perf_counter() - started, _peak() - before


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(partitions: int, analyses: int = 20, models: int = 10) -> None:
    """Measure and print."""
    print(f"loading {analyses * models} models: {load(analyses, models):.1f} s")
    for run, (seconds, grown) in enumerate(fit_each(partitions), start=1):
        print(f"{partitions} partitions, run {run}: {seconds:.1f} s, peak memory up {grown:.0f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["1000"]))
