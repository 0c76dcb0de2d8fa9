"""Fit -> tidy tables: the only place where result columns are named.

Names and roles follow broom.mixed, with underscores for dots. The store, the Dagster assets and ``mlm show``
take their columns from `TABLES`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mlm_ops.effect_sizes.icc import intraclass_correlation
from mlm_ops.inference.variance import residual_components
from mlm_ops.language.equations import coefficient_symbol, indices, variance_symbol
from mlm_ops.language.model import group_name

if TYPE_CHECKING:
    from mlm_ops.fitted import Estimator, Fit
    from mlm_ops.inference.comparison import Comparison
    from mlm_ops.inference.f_tests import FTest
    from mlm_ops.inference.parameters import Intervals, Parameter

NORMAL_975 = 1.959963984540054

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


def fit_tables(name: str, fitted: Fit) -> dict[str, pl.DataFrame]:
    """Every result table of one fit, each with column ``model`` first."""
    made = {
        "fixed_effects": fixed_effects(fitted),
        "variance_components": variance_components(fitted),
        "random_effects": random_effects(fitted),
        "fit_statistics": fit_statistics(fitted),
        "models": models(fitted),
    }
    return {table: frame.select(pl.lit(name).alias("model"), pl.all()) for table, frame in made.items()}


def fixed_effects(fitted: Fit) -> pl.DataFrame:
    """One row a fixed effect."""
    tests, structure = fitted.tests, fitted.structure
    index = indices(structure)
    columns = structure.fixed
    return _frame(
        "fixed_effects",
        {
            "term": [c.name for c in columns],
            "symbol": [coefficient_symbol(index[c]) for c in columns],
            "level": [structure.level(c) for c in columns],
            "estimate": tests.estimate,
            "std_error": tests.std_error,
            "df": tests.df,
            "statistic": tests.statistic,
            "p_value": tests.p_value,
            "conf_low": tests.conf_low,
            "conf_high": tests.conf_high,
        },
    )


def variance_components(fitted: Fit) -> pl.DataFrame:
    """One row a variance and a covariance of each T, lower triangle by columns; the residual last."""
    index, errors = indices(fitted.structure), fitted.variance_errors
    rows: list[tuple[object, ...]] = []
    heights = [(h, level) for h, level in enumerate(fitted.result.design.levels) for _ in level.blocks]
    for (height, level), block, tau, error in zip(
        heights, fitted.result.blocks, fitted.result.tau, errors.tau, strict=True
    ):
        group = group_name(level.group)
        deviations = np.sqrt(np.diag(tau))
        for i, first in enumerate(block.columns):
            for j, second in enumerate(block.columns[i:], start=i):
                symbol = variance_symbol(index[first], index[second], fitted.structure.level_of_factor(height))
                scale = deviations[i] * deviations[j]
                rows.append(
                    (group, first.name, None, symbol, tau[i, i], error[i, i], deviations[i], None)
                    if i == j
                    else (
                        group,
                        first.name,
                        second.name,
                        symbol,
                        tau[i, j],
                        error[i, j],
                        None,
                        tau[i, j] / scale if scale else None,
                    )
                )
    rows += [
        ("residual", name, None, symbol, value, error, math.sqrt(value) if symbol == "sigma2" else None, None)
        for name, symbol, value, error in residual_components(fitted.result)
    ]
    return _frame("variance_components", dict(zip(TABLES["variance_components"], zip(*rows, strict=True), strict=True)))


def random_effects(fitted: Fit) -> pl.DataFrame:
    """One row a unit and random effect."""
    blocks = [(level, block) for level in fitted.result.design.levels for block in level.blocks]
    frames = [_frame("random_effects", {name: [] for name in TABLES["random_effects"]})]
    for (level, block), predicted in zip(blocks, fitted.predictions, strict=True):
        for i, column in enumerate(block.columns):
            std_error = np.sqrt(predicted.variance[i, i])
            margin = NORMAL_975 * std_error
            values = {
                "group": [group_name(level.group)] * len(level.labels),
                "unit": level.labels.astype(str),
                "term": [column.name] * len(level.labels),
                "estimate": predicted.estimate[i],
                "std_error": std_error,
                "conf_low": predicted.estimate[i] - margin,
                "conf_high": predicted.estimate[i] + margin,
                "reliability": predicted.reliability[i],
            }
            frames.append(_frame("random_effects", values))
    return pl.concat(frames)


def fit_statistics(fitted: Fit) -> pl.DataFrame:
    """One row."""
    result = fitted.result
    optimum, n_obs = result.optimum, result.design.n_obs
    deviance = -2 * result.log_likelihood
    return _frame(
        "fit_statistics",
        {
            "n_obs": [n_obs],
            "n_groups": [json.dumps({group_name(level.group): len(level.labels) for level in result.design.levels})],
            "n_parameters": [result.n_parameters],
            "estimator": [fitted.estimator],
            "log_likelihood": [result.log_likelihood],
            "deviance": [deviance],
            "aic": [deviance + 2 * result.n_parameters],
            "bic": [deviance + math.log(n_obs) * result.n_parameters],
            "icc": [intraclass_correlation(fitted.result)],
            "converged": [optimum.converged],
            "singular": [optimum.singular],
            "gradient": [float(np.abs(optimum.gradient).max(initial=0.0))],
            "evaluations": [optimum.evaluations],
            "seconds": [fitted.seconds],
        },
    )


def models(fitted: Fit) -> pl.DataFrame:
    """One row: the model in every notation, and what was noticed on the way."""
    return _frame(
        "models",
        {
            "formula": [fitted.model.text],
            "estimator": [fitted.estimator],
            "level_equations": [fitted.equations("levels")],
            "reduced_equation": [fitted.equations("reduced")],
            "latex": [fitted.equations("levels", "latex")],
            "notes": ["; ".join(fitted.notes) or None],
        },
    )


def contrast_test(test: FTest) -> pl.DataFrame:
    """One row: an F test of several coefficients; df2 is null where the distribution is chi-square."""
    return pl.DataFrame(
        {
            "statistic": [test.statistic],
            "df1": [test.df1],
            "df2": [test.df2 if math.isfinite(test.df2) else None],
            "p_value": [test.p_value],
        },
        schema={"statistic": REAL, "df1": COUNT, "df2": REAL, "p_value": REAL},
    )


def comparisons(rows: Sequence[tuple[str, str, Estimator, Comparison]]) -> pl.DataFrame:
    """One row a comparison: model, reference model, the estimator whose likelihoods were compared, and the result."""
    schema = {"model": TEXT, **TABLES["comparisons"]}
    records = [
        {
            "model": model,
            "reference_model": reference,
            "statistic": c.statistic,
            "df": c.df,
            "p_value": c.p_value,
            "p_value_mixture": c.p_value_mixture,
            "delta_aic": c.delta_aic,
            "delta_bic": c.delta_bic,
            "estimator": estimator,
            "note": c.note,
        }
        for model, reference, estimator, c in rows
    ]
    return pl.DataFrame(records, schema=schema)


def intervals(parameters: Sequence[Parameter], found: Intervals) -> pl.DataFrame:
    """One row a parameter; limits that do not exist are null."""
    texts = {name: [getattr(p, name) for p in parameters] for name in ("kind", "group", "term", "other", "scale")}
    numbers = {"estimate": found.estimate, "conf_low": found.low, "conf_high": found.high}
    return pl.DataFrame({**texts, **numbers}, schema_overrides=dict.fromkeys(texts, TEXT)).fill_nan(None)


def _frame(table: str, values: Mapping[str, Any]) -> pl.DataFrame:
    """A frame with the table's columns; what is no number becomes null."""
    schema = TABLES[table]
    frame = pl.DataFrame({name: values[name] for name in schema}, schema=schema, strict=False)
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None)).with_columns(
        pl.when(pl.col(pl.Float64).is_finite()).then(pl.col(pl.Float64)).name.keep()
    )
