"""The pipeline's database has a view of predictions for each model; the published copy holds no rows, and has none."""

from __future__ import annotations

from collections.abc import Callable

import dagster as dg
import duckdb
import polars as pl

from mlm_ops.plugins.dagster import Warehouse


def test_predictions_stay_beside_the_rows(
    pupils: Callable[[int], pl.DataFrame],
    materialize: Callable[..., dg.ExecuteInProcessResult],
    warehouse: Warehouse,
) -> None:
    assert materialize(pupils(12)).success
    with warehouse.connection() as connection:
        (counts,) = connection.execute(
            "select count(prediction), (select count(*) from main.pupils) from mlm.predicted_small__slope"
        ).fetchall()
    assert counts[0] == counts[1] > 0
    with duckdb.connect(warehouse.results, read_only=True) as connection:
        tables = connection.execute("select table_name from information_schema.tables").fetchall()
    assert tables
    assert not any("predicted" in name for (name,) in tables)
