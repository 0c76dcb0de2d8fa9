"""The tables of structural models: parameters in lavaan's order, measures of fit, definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.special import ndtr

from mlm_ops.inference.fixed.tests import NORMAL_975
from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, ColumnTypes, frame, with_model
from mlm_ops.structural.derived import r_squared as explained
from mlm_ops.structural.derived import standardized
from mlm_ops.structural.diagram import mermaid

if TYPE_CHECKING:
    from mlm_ops.structural.record import SemContextualEffect, SemRecord


def sem_tables(name: str, record: SemRecord) -> dict[str, pl.DataFrame]:
    """The result tables of one structural equation model, each with column ``model`` first."""
    tables = {"sem_parameters": sem_parameters(record), "sem_fit": sem_fit(record)}
    return {table: with_model(name, frame) for table, frame in tables.items()}


SEM_PARAMETERS: ColumnTypes = {
    "level": COUNT,
    "lhs": TEXT,
    "op": TEXT,
    "rhs": TEXT,
    "label": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "statistic": REAL,
    "p_value": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "std_all": REAL,
}

SEM_FIT: ColumnTypes = {
    "log_likelihood": REAL,
    "chi_square": REAL,
    "df": COUNT,
    "p_value": REAL,
    "cfi": REAL,
    "tli": REAL,
    "rmsea": REAL,
    "srmr_within": REAL,
    "srmr_between": REAL,
    "aic": REAL,
    "bic": REAL,
    "n_obs": COUNT,
    "n_clusters": COUNT,
    "n_parameters": COUNT,
    "converged": FLAG,
    "singular": FLAG,
    "bounded": FLAG,
    "seconds": REAL,
    "notes": TEXT,
    "syntax": TEXT,
    "mermaid": TEXT,
}

DEFINED: ColumnTypes = {
    "name": TEXT,
    "definition": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "conf_low": REAL,
    "conf_high": REAL,
    "monte_carlo_low": REAL,
    "monte_carlo_high": REAL,
}


def sem_parameters(record: SemRecord) -> pl.DataFrame:
    """One row per parameter, fixed ones too, and one a definition, whose level is 0."""
    estimate, rows, definitions = record.estimate, record.estimate.table.rows, record.estimate.table.definitions
    deviations = np.sqrt(np.diag(record.vcov))
    free = [row.index is not None for row in rows]
    values = [row.value if row.index is None else estimate.theta[row.index] for row in rows]
    errors = [np.nan if row.index is None else deviations[row.index] for row in rows]
    unknown = [row.index is not None and bool(estimate.undetermined[row.index]) for row in rows]
    standard, standard_defined = standardized(estimate.table, estimate.structure, estimate.theta)
    value = np.array([*values, *record.defined_values.estimate], dtype=float)
    error = np.array([*errors, *record.defined_values.std_error], dtype=float)
    gone = np.array([*unknown, *record.undetermined_definitions], dtype=bool)
    value[gone] = error[gone] = np.nan
    standardised = np.where(gone, np.nan, [*standard, *standard_defined])
    tested = np.array([*free, *[True] * len(definitions)]) & (error > 0)
    margin = np.where(tested, NORMAL_975 * error, np.where([*free, *[True] * len(definitions)], np.nan, 0.0))
    with np.errstate(all="ignore"):
        statistic = np.where(tested, value / error, np.nan)
    return frame(
        SEM_PARAMETERS,
        {
            "level": [*(row.level for row in rows), *[0] * len(definitions)],
            "lhs": [*(row.lhs for row in rows), *(d.name for d in definitions)],
            "op": [*(row.op for row in rows), *[":="] * len(definitions)],
            "rhs": [*(row.rhs for row in rows), *(d.text for d in definitions)],
            "label": [*(row.label for row in rows), *(d.name for d in definitions)],
            "estimate": value,
            "std_error": np.where(tested, error, np.nan),
            "statistic": statistic,
            "p_value": 2 * ndtr(-np.abs(statistic)),
            "conf_low": value - margin,
            "conf_high": value + margin,
            "std_all": standardised,
        },
    )


def sem_fit(record: SemRecord) -> pl.DataFrame:
    """One row."""
    measures, statistics = record.measures, record.estimate.statistics
    names = ("chi_square", "df", "p_value", "cfi", "tli", "rmsea", "srmr_within", "srmr_between", "aic", "bic")
    return frame(
        SEM_FIT,
        {
            "log_likelihood": [record.estimate.log_likelihood],
            **{name: [getattr(measures, name)] for name in names},
            "n_obs": [int(statistics.n_obs)],
            "n_clusters": [statistics.n_clusters],
            "n_parameters": [record.estimate.n_parameters],
            "converged": [record.converged],
            "singular": [record.singular],
            "bounded": [measures.bounded],
            "seconds": [record.seconds],
            "notes": ["\n".join(record.notes) or None],
            "syntax": [record.model.text.strip()],
            "mermaid": [mermaid(record.estimate.table, record.estimate.theta)],
        },
    )


def sem_defined(record: SemRecord, low: np.ndarray, high: np.ndarray) -> pl.DataFrame:
    """One row per definition, with both kinds of interval."""
    whole = sem_parameters(record).filter(pl.col("op") == ":=")
    gone = np.array(record.undetermined_definitions, dtype=bool)
    return frame(
        DEFINED,
        {
            "name": whole["lhs"],
            "definition": whole["rhs"],
            **{name: whole[name] for name in ("estimate", "std_error", "conf_low", "conf_high")},
            "monte_carlo_low": np.where(gone, np.nan, low),
            "monte_carlo_high": np.where(gone, np.nan, high),
        },
    )


def sem_r_squared(record: SemRecord) -> pl.DataFrame:
    """One row per explained variable of a level."""
    shares = explained(record.estimate.table, record.estimate.structure, record.estimate.theta)
    schema: ColumnTypes = {"level": COUNT, "variable": TEXT, "r_squared": REAL}
    return frame(schema, {name: [row[i] for row in shares] for i, name in enumerate(schema)})


def sem_reliability(record: SemRecord) -> pl.DataFrame:
    """One row per latent variable of a level: omega."""
    schema: ColumnTypes = {"level": COUNT, "latent": TEXT, "estimate": REAL, "std_error": REAL}
    return frame(schema, {name: [getattr(omega, name) for omega in record.omegas] for name in schema})


def sem_icc(record: SemRecord) -> pl.DataFrame:
    """One row per row-level variable: the between share of its variance in the unrestricted model."""
    icc = record.measures.icc
    return frame({"variable": TEXT, "icc": REAL}, {"variable": list(icc), "icc": list(icc.values())})


def sem_contextual(effects: Mapping[str, SemContextualEffect]) -> pl.DataFrame:
    """One row per kind of cluster means."""
    schema: ColumnTypes = {"means": TEXT, **dict.fromkeys(("within", "between", "estimate", "std_error"), REAL)}
    columns = {name: [getattr(effect, name) for effect in effects.values()] for name in list(schema)[1:]}
    return frame(schema, {"means": list(effects), **columns})


def sem_comparison(chi_square: float, df: int, p_value: float) -> pl.DataFrame:
    """One row: the likelihood ratio test of nested models."""
    schema: ColumnTypes = {"statistic": REAL, "df": COUNT, "p_value": REAL}
    return frame(schema, {"statistic": [chi_square], "df": [df], "p_value": [p_value]})
