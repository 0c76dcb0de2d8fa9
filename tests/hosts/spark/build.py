"""Builds the dbt project of a folder on a Spark of its own, and brings every table over as Parquet.

A process of its own: Spark's tables live in its session, and dbt keeps state in globals. Nothing is asked of a network:
Spark is local and keeps its catalog in memory.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dbt.cli.main import dbtRunner
from pyspark.sql import SparkSession


def open_session(folder: Path) -> SparkSession:
    settings = {
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.shuffle.partitions": "2",
        "spark.default.parallelism": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",  # compiling a query costs more than these few rows
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def main(folder: Path) -> None:
    spark = open_session(folder)
    statuses: dict[str, str] = {}
    for command in (["deps"], ["build"], ["build", "--select", "bad_students", "--vars", "bad_data: true"]):
        run = dbtRunner().invoke(command)
        if run.exception is not None:
            raise run.exception
        for result in getattr(run.result, "results", ()):
            statuses[result.node.config.get("alias") or result.node.name] = str(result.status)
    for schema in ("school", "school_dbt_test__audit"):
        for table in spark.catalog.listTables(schema):
            rows = spark.table(f"{schema}.`{table.name}`")
            rows.coalesce(1).write.parquet(str(folder / "out" / table.name))
    (folder / "statuses.json").write_text(json.dumps(statuses), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
