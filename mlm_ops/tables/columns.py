"""The types of result columns, the columns that all tables share, and the frame that has a table's columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

TEXT, REAL, COUNT, FLAG = pl.String(), pl.Float64(), pl.Int64(), pl.Boolean()
Schema = dict[str, pl.DataType]

#: Every row of every result table but ``runs`` begins with these.
KEYS: Schema = {"run_id": TEXT, "analysis": TEXT, "model": TEXT}

#: One row a run; keyed by run_id and analysis alone.
RUNS: Schema = {
    "run_id": TEXT,
    "analysis": TEXT,
    "started_at": pl.Datetime("us", "UTC"),
    "finished_at": pl.Datetime("us", "UTC"),
    "data": TEXT,
    "n_rows": COUNT,
    "n_obs": COUNT,
    "n_dropped": TEXT,
    "moments_checksum": TEXT,
    "engine_version": TEXT,
    "status": TEXT,
    "analysis_text": TEXT,
    "analysis_hash": TEXT,
    "versions": TEXT,
    "seed": COUNT,
    "host_time": TEXT,
}


def frame(schema: Schema, values: Mapping[str, Any]) -> pl.DataFrame:
    """A frame with the table's columns; what is no number becomes null."""
    made = pl.DataFrame({name: values[name] for name in schema}, schema=schema, strict=False)
    return made.with_columns(pl.when(pl.col(pl.Float64).is_finite()).then(pl.col(pl.Float64)).name.keep())
