"""Print a fit: equations, effects, variance components, fit, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.inference.effect_sizes.clustering import intraclass_correlation
from mlm_ops.language.model import group_name
from mlm_ops.results.equations import write_equations
from mlm_ops.results.tables.effects import fixed_effects, variance_components
from mlm_ops.results.text.tables import cell_table
from mlm_ops.results.words import cell, count

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


_MEASURES = {"log_likelihood": "log-likelihood", "deviance": "deviance", "aic": "AIC", "bic": "BIC", "icc": "ICC"}


def describe(fitted: FitRecord) -> str:
    """Equations, fixed effects, variance components, and how well the model fits."""
    result, icc = fitted.result, intraclass_correlation(fitted.result)
    groups = ", ".join(
        f"{count(len(level.labels))} units of {group_name(level.group)}" for level in fitted.result.design.levels
    )
    kind = "Multilevel model" if groups else "Single-level regression"
    method = "" if not groups else f" by {fitted.estimator.upper()}"
    measures = {
        "log_likelihood": result.log_likelihood,
        "deviance": result.deviance,
        "aic": result.aic,
        "bic": result.bic,
        "icc": icc,
    }
    lines = [
        f"{kind}{method}: {fitted.model.text}",
        f"{count(result.design.n_rows)} rows{' in ' + groups if groups else ''}",
        "",
        write_equations(fitted.structure, "levels", "text", {}),
        "",
        "Fixed effects",
        *_fixed_effects(fitted),
        "",
        "Variance components",
        *_variance_components(fitted),
        "",
        ", ".join(f"{_MEASURES[name]} {cell(name, value)}" for name, value in measures.items() if value is not None),
        *(f"Note: {note}." for note in fitted.notes),
    ]
    return "\n".join(lines)


def _fixed_effects(fitted: FitRecord) -> list[str]:
    columns = ("term", "symbol", "estimate", "std_error", "df", "statistic", "p_value")
    headings = {
        "symbol": "",
        "std_error": "std. error",
        "statistic": "t" if fitted.df != "none" else "z",
        "p_value": "p",
    }
    return cell_table(fixed_effects(fitted).select(columns), headings).lines(indent="  ")


def _variance_components(fitted: FitRecord) -> list[str]:
    """Variances and covariances, a covariance by both of its terms."""
    components = variance_components(fitted).select(
        "group",
        pl.concat_str("term", "other", separator=", ", ignore_nulls=True).alias("term"),
        *("symbol", "estimate", "std_dev", "correlation"),
    )
    return cell_table(components, {"symbol": "", "estimate": "variance", "std_dev": "std. dev."}).lines(indent="  ")
