"""The steps of a model-building strategy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.language.model import group_name
from mlm_ops.tables.columns import COUNT, FLAG, REAL, TEXT, Schema, frame

if TYPE_CHECKING:
    from mlm_ops.ladder import Ladder, Step

LADDER_STEPS: Schema = {
    "step": COUNT,
    "strategy": TEXT,
    "phase": TEXT,
    "term": TEXT,
    "group": TEXT,
    "taken": FLAG,
    "reason": TEXT,
    "reference_model": TEXT,
    "estimator": TEXT,
    "estimate": REAL,
    "std_error": REAL,
    "statistic": REAL,
    "df": COUNT,
    "p_value": REAL,
    "p_value_mixture": REAL,
    "log_likelihood": REAL,
    "aic": REAL,
    "bic": REAL,
    "aic_ml": REAL,
    "bic_ml": REAL,
    "delta_aic": REAL,
    "delta_bic": REAL,
    "gain_f": REAL,
    "gain_fv": REAL,
    "gain_fvm": REAL,
    "n_parameters": COUNT,
    "n_covariances": COUNT,
    "converged": FLAG,
    "singular": FLAG,
}


def ladder_steps(ladder: Ladder) -> pl.DataFrame:
    """One row a candidate; the model is the one with it in a build-up, without it in a tear-down."""
    rows = [_row(number, ladder.strategy.kind, step) for number, step in enumerate(ladder.steps, start=1)]
    schema = {"model": TEXT, **LADDER_STEPS}
    return frame(schema, {column: [row.get(column) for row in rows] for column in schema})


def _row(number: int, strategy: str, step: Step) -> dict[str, object]:
    candidate = step.candidate
    row: dict[str, object] = {
        "model": step.name,
        "step": number,
        "strategy": strategy,
        "phase": candidate.phase,
        "term": candidate.term.name,
        "group": group_name(candidate.group) if candidate.group else None,
        "taken": step.taken,
        "reason": step.reason,
        "reference_model": step.reference,
    }
    if step.fit is not None:
        result = step.fit.result
        row |= {
            "estimator": step.fit.estimator,
            "log_likelihood": result.log_likelihood,
            "aic": result.aic,
            "bic": result.bic,
            "aic_ml": step.fit.by_ml.aic,
            "bic_ml": step.fit.by_ml.bic,
            "n_parameters": result.n_parameters,
            "n_covariances": result.n_covariance,
            "converged": step.fit.converged,
            "singular": step.fit.singular,
        }
    if step.comparison is not None:
        names = ("statistic", "df", "p_value", "p_value_mixture", "delta_aic", "delta_bic")
        row |= {name: getattr(step.comparison, name) for name in names}
    row |= {f"gain_{kinds}": gain for kinds, gain in step.gain.items()}
    return row | _coefficient(step)


def _coefficient(step: Step) -> dict[str, object]:
    """Estimate and error of what the larger model has more, where that is one coefficient or one variance."""
    if step.larger is None or step.smaller is None:
        return {}
    if step.candidate.group is None:
        found = step.larger.fixed_effects.join(step.smaller.fixed_effects, on="term", how="anti")
    else:
        keys = ["group", "term"]
        variances = step.larger.variance_components.filter(pl.col("other").is_null())
        found = variances.join(step.smaller.variance_components, on=keys, how="anti")
    return found.select("estimate", "std_error").row(0, named=True) if found.height == 1 else {}
