"""Draw up the tables of whole models: equations and scripts, fit statistics, comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mlm_ops.errors import MlmError
from mlm_ops.inference.effect_sizes.variation import outcome_variance
from mlm_ops.inference.random.variance import intraclass_correlation
from mlm_ops.language.model import group_name
from mlm_ops.results.equations import estimates_by_symbol, write_equations
from mlm_ops.results.export.facts import facts_of
from mlm_ops.results.export.lme4 import r_code
from mlm_ops.results.export.mplus import mplus_input
from mlm_ops.results.meaning import intercept_meanings
from mlm_ops.results.notes import notes_of
from mlm_ops.results.tables.columns import COUNT, FLAG, REAL, TEXT, ColumnTypes, frame

if TYPE_CHECKING:
    from mlm_ops.inference.comparison import Comparison
    from mlm_ops.language.options import Estimator
    from mlm_ops.results.record import FitRecord

#: The rank of T and its eigenvalues, of a fit and of a step of a ladder.
T_COLUMNS: ColumnTypes = {"t_rank": COUNT, "t_eigenvalues": TEXT}
FIT_STATISTICS: ColumnTypes = {
    "n_obs": COUNT,
    "n_groups": TEXT,
    "n_parameters": COUNT,
    "estimator": TEXT,
    "log_likelihood": REAL,
    "deviance": REAL,
    "aic": REAL,
    "bic": REAL,
    "deviance_ml": REAL,
    "aic_ml": REAL,
    "bic_ml": REAL,
    "icc": REAL,
    "implied_variance": REAL,
    "outcome_variance": REAL,
    "converged": FLAG,
    "singular": FLAG,
    **T_COLUMNS,
    "gradient": REAL,
    "evaluations": COUNT,
    "seconds": REAL,
}
MODELS: ColumnTypes = {
    "position": COUNT,
    "formula": TEXT,
    "estimator": TEXT,
    "level_equations": TEXT,
    "reduced_equation": TEXT,
    "latex": TEXT,
    "markdown": TEXT,
    "mathml": TEXT,
    "lme4": TEXT,
    "mplus": TEXT,
    "intercept_meaning": TEXT,
    "intercept_variance_meaning": TEXT,
    "notes": TEXT,
}


def fit_statistics(record: FitRecord) -> pl.DataFrame:
    """One row: sizes, log-likelihood, deviance, AIC, BIC, ICC, and how the search ended."""
    estimate = record.estimate
    optimum = estimate.optimum
    by_ml = None if record.without_ml is not None else record.by_ml
    return frame(
        FIT_STATISTICS,
        {
            "n_obs": [estimate.design.n_rows],
            "n_groups": [json.dumps({group_name(level.group): len(level.labels) for level in estimate.design.levels})],
            "n_parameters": [estimate.n_parameters],
            "estimator": [record.estimator],
            "log_likelihood": [estimate.log_likelihood],
            "deviance": [estimate.deviance],
            "aic": [estimate.aic],
            "bic": [estimate.bic],
            "deviance_ml": [by_ml and by_ml.deviance],
            "aic_ml": [by_ml and by_ml.aic],
            "bic_ml": [by_ml and by_ml.bic],
            "icc": [intraclass_correlation(record.estimate)],
            "implied_variance": [_implied_variance(record)],
            "outcome_variance": [outcome_variance(record.model, record.moments)],
            "converged": [optimum.converged],
            "singular": [optimum.singular],
            **{name: [value] for name, value in t_columns(record).items()},
            "gradient": [float(np.abs(optimum.gradient).max(initial=0.0))],
            "evaluations": [optimum.evaluations],
            "seconds": [record.seconds],
        },
    )


def _implied_variance(record: FitRecord) -> float | None:
    """The outcome's variance under the model; None where rows have weights, and of a part of an outcome."""
    if record.estimate.design.split is not None or record.model.residual.precision is not None:
        return None
    return record.variance_split.total


def t_columns(record: FitRecord) -> dict[str, int | str | None]:
    """Values of `T_COLUMNS`: the rank over all grouping factors, and eigenvalues by factor, as JSON."""
    if not record.ranks:
        return dict.fromkeys(T_COLUMNS)
    known = [one.rank for one in record.ranks if one.rank is not None]
    # the last digits are rounding of the search
    by_group = {
        one.group: None if one.eigenvalues is None else [float(f"{value:.14g}") for value in one.eigenvalues]
        for one in record.ranks
    }
    return {
        "t_rank": sum(known) if len(known) == len(record.ranks) else None,
        "t_eigenvalues": json.dumps(by_group),
    }


def models(record: FitRecord) -> pl.DataFrame:
    """One row: the model as equations and as input of other programs, and its notes; an analysis fills its position."""
    intercept, variance = intercept_meanings(record)
    equations, estimates = partial(write_equations, record.equation_structure), estimates_by_symbol(record)
    return frame(
        MODELS,
        {
            "position": [None],
            "formula": [record.model.text],
            "estimator": [record.estimator],
            "level_equations": [equations("levels", "text", {})],
            "reduced_equation": [equations("reduced", "text", {}).partition("\n")[0]],
            "latex": [equations("levels", "latex", {})],
            "markdown": [equations("levels", "markdown", estimates)],
            "mathml": [equations("levels", "mathml", estimates)],
            "lme4": [_or_reason(lambda: r_code(facts_of(record)), "#")],
            "mplus": [_or_reason(lambda: mplus_input(facts_of(record)), "!")],
            "intercept_meaning": [intercept],
            "intercept_variance_meaning": [variance],
            "notes": ["\n".join(notes_of(record)) or None],
        },
    )


def _or_reason(write: Callable[[], str], comment: str) -> str:
    """The input of another program; where it does not have the model, a comment that says why."""
    try:
        return write()
    except MlmError as error:
        return f"{comment} {error}"


COMPARISONS: ColumnTypes = {
    "reference_model": TEXT,
    "statistic": REAL,
    "df": COUNT,
    "p_value": REAL,
    "p_value_mixture": REAL,
    "delta_aic": REAL,
    "delta_bic": REAL,
    "estimator": TEXT,
    "note": TEXT,
}


def comparisons(rows: Sequence[tuple[str, str, Estimator, Comparison]]) -> pl.DataFrame:
    """One row per comparison: model, reference model, the estimator whose likelihoods were compared, and the result."""
    schema = {"model": TEXT, **COMPARISONS}
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
    return frame(schema, {column: [record[column] for record in records] for column in schema})
