"""Print a fit: equations, effects, variance components, fit, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.inference.effect_sizes.clustering import intraclass_correlation
from mlm_ops.language.model import group_name
from mlm_ops.results.equations import write_equations
from mlm_ops.results.tables.effects import fixed_effects, variance_components
from mlm_ops.results.text.tables import cell_table
from mlm_ops.results.words import count, statistic

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


def describe(record: FitRecord) -> str:
    """Equations, fixed effects, variance components, and how well the model fits."""
    estimate, icc = record.estimate, intraclass_correlation(record.estimate)
    groups = ", ".join(
        f"{count(len(level.labels))} units of {group_name(level.group)}" for level in record.estimate.design.levels
    )
    kind = "Multilevel model" if groups else "Single-level regression"
    method = "" if not groups else f" by {record.estimator.upper()}"
    statistics = {
        "log_likelihood": estimate.log_likelihood,
        "deviance": estimate.deviance,
        "aic": estimate.aic,
        "bic": estimate.bic,
        "icc": icc,
    }
    lines = [
        f"{kind}{method}: {record.model.text}",
        f"{count(estimate.design.n_rows)} rows{' in ' + groups if groups else ''}",
        "",
        write_equations(record.equation_structure, "levels", "text", {}),
        "",
        "Fixed effects",
        *_fixed_effects(record),
        "",
        "Variance components",
        *_variance_components(record),
        "",
        ", ".join(statistic(name, value) for name, value in statistics.items() if value is not None),
        *(f"Note: {note}." for note in record.notes),
    ]
    return "\n".join(lines)


def _fixed_effects(record: FitRecord) -> list[str]:
    columns = ("term", "symbol", "estimate", "std_error", "df", "statistic", "p_value")
    headings = {
        "symbol": "",
        "std_error": "std. error",
        "statistic": "t" if record.df != "none" else "z",
        "p_value": "p",
    }
    return cell_table(fixed_effects(record).select(columns), headings).lines(indent="  ")


def _variance_components(record: FitRecord) -> list[str]:
    """Variances and covariances, a covariance by both of its terms."""
    components = variance_components(record).select(
        "group",
        pl.concat_str("term", "other", separator=", ", ignore_nulls=True).alias("term"),
        *("symbol", "estimate", "std_dev", "correlation"),
    )
    return cell_table(components, {"symbol": "", "estimate": "variance", "std_dev": "std. dev."}).lines(indent="  ")
