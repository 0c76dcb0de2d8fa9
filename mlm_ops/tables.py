"""Fit -> tidy tables: the only place where result columns are named.

Names and roles follow broom.mixed, with underscores for dots. The store, the Dagster assets and ``mlm show``
take their columns from `TABLES`.
"""

from __future__ import annotations

import polars as pl

TEXT, REAL, COUNT, FLAG = pl.String(), pl.Float64(), pl.Int64(), pl.Boolean()
Schema = dict[str, pl.DataType]

#: Every row of every result table but ``runs`` begins with these.
KEYS: Schema = {"run_id": TEXT, "analysis": TEXT, "model": TEXT}

TABLES: dict[str, Schema] = {
    "fixed_effects": {
        "term": TEXT,
        "symbol": TEXT,
        "level": COUNT,
        "estimate": REAL,
        "std_error": REAL,
        "df": REAL,
        "statistic": REAL,
        "p_value": REAL,
        "conf_low": REAL,
        "conf_high": REAL,
    },
    "variance_components": {
        "group": TEXT,
        "term": TEXT,
        "other": TEXT,
        "symbol": TEXT,
        "estimate": REAL,
        "std_error": REAL,
        "std_dev": REAL,
        "correlation": REAL,
    },
    "random_effects": {
        "group": TEXT,
        "unit": TEXT,
        "term": TEXT,
        "estimate": REAL,
        "std_error": REAL,
        "conf_low": REAL,
        "conf_high": REAL,
        "reliability": REAL,
    },
    "fit_statistics": {
        "n_obs": COUNT,
        "n_groups": TEXT,
        "n_parameters": COUNT,
        "estimator": TEXT,
        "log_likelihood": REAL,
        "deviance": REAL,
        "aic": REAL,
        "bic": REAL,
        "icc": REAL,
        "converged": FLAG,
        "singular": FLAG,
        "gradient": REAL,
        "evaluations": COUNT,
        "seconds": REAL,
    },
    "comparisons": {
        "reference_model": TEXT,
        "statistic": REAL,
        "df": COUNT,
        "p_value": REAL,
        "p_value_mixture": REAL,
        "delta_aic": REAL,
        "delta_bic": REAL,
        "estimator": TEXT,
        "note": TEXT,
    },
    "models": {
        "formula": TEXT,
        "estimator": TEXT,
        "level_equations": TEXT,
        "reduced_equation": TEXT,
        "latex": TEXT,
        "notes": TEXT,
    },
}
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
}
