"""Compare tables that the macros made in another warehouse with those that they make on DuckDB."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl

from mlm_ops.warehouse.sql import render

#: The same sums of up to 67 rows in another order.
SAME = 1e-12


def on_duckdb(rows: pl.DataFrame, macro: str, **arguments: object) -> pl.DataFrame:
    """What the macro makes of the same rows on DuckDB."""
    with duckdb.connect() as connection:
        connection.register("students", rows.to_arrow())
        return connection.sql(render(macro, **arguments)).pl()


def assert_same(table: pl.DataFrame, expected: pl.DataFrame, *keys: str, of_largest: float = SAME) -> None:
    """Numbers agree to `SAME`, or to a share of their column's largest: differences may be zero but for rounding."""
    assert table.columns == expected.columns
    assert table.height == expected.height
    table, expected = table.sort(keys), expected.sort(keys)
    for name in expected.columns:
        if expected[name].dtype.is_numeric():
            numbers = expected[name].cast(pl.Float64).to_numpy()
            np.testing.assert_allclose(
                table[name].cast(pl.Float64).to_numpy(),
                numbers,
                rtol=SAME,
                atol=of_largest * np.nanmax(np.abs(numbers)),
                err_msg=name,
            )
        else:
            assert table[name].to_list() == expected[name].to_list()


def assert_same_sums(table: pl.DataFrame, expected: pl.DataFrame, names: list[str]) -> None:
    """Sums around the units' means agree to a share of those around the centers, which they are taken from."""
    around = {}
    for name in names:
        # of a product the mean is that of the factors' deviations from their centers
        center = expected[f"center_{name}"] if f"center_{name}" in expected.columns else 0.0
        deviation = expected[f"mean_{name}"] - center
        around[name] = expected[f"scatter_{name}_{name}"] + expected["n"] * deviation**2
    for i, name in enumerate(names):
        for other in names[: i + 1]:
            difference = table[f"scatter_{name}_{other}"] - expected[f"scatter_{name}_{other}"]
            assert (difference.abs() <= SAME * (around[name] * around[other]).sqrt()).all(), (name, other)
