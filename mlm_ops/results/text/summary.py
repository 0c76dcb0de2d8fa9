"""A FitRecord as a page of plain text: what `print(fit)` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlm_ops.inference.effect_sizes.clustering import intraclass_correlation
from mlm_ops.language.model import group_name
from mlm_ops.results.equations import write_equations
from mlm_ops.results.tables.effects import fixed_effects, variance_components
from mlm_ops.results.words import aligned, number, p_value

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


def describe(fitted: FitRecord) -> str:
    """Equations, fixed effects, variance components, and how well the model fits."""
    result, icc = fitted.result, intraclass_correlation(fitted.result)
    groups = ", ".join(
        f"{len(level.labels)} units of {group_name(level.group)}" for level in fitted.result.design.levels
    )
    kind = "Multilevel model" if groups else "Single-level regression"
    method = "" if not groups else f" by {fitted.estimator.upper()}"
    clustering = f", ICC {icc:.3f}" if icc is not None else ""
    lines = [
        f"{kind}{method}: {fitted.model.text}",
        f"{result.design.n_rows} rows{' in ' + groups if groups else ''}",
        "",
        write_equations(fitted.structure, "levels", "text", {}),
        "",
        "Fixed effects",
        _fixed_effects(fitted),
        "",
        "Variance components",
        _variance_components(fitted),
        "",
        f"log-likelihood {result.log_likelihood:.3f}, deviance {result.deviance:.3f}, "
        f"AIC {result.aic:.3f}, BIC {result.bic:.3f}{clustering}",
        *(f"Note: {note}." for note in fitted.notes),
    ]
    return "\n".join(lines)


def _fixed_effects(fitted: FitRecord) -> str:
    rows = [("term", "", "estimate", "std. error", "df", "t" if fitted.df != "none" else "z", "p")]
    rows += [
        (
            row["term"],
            row["symbol"],
            number(row["estimate"]),
            number(row["std_error"]),
            f"{row['df']:.1f}" if row["df"] is not None else "",
            f"{row['statistic']:.2f}" if row["statistic"] is not None else "",
            p_value(row["p_value"]),
        )
        for row in fixed_effects(fitted).iter_rows(named=True)
    ]
    return aligned(rows, left=2)


def _variance_components(fitted: FitRecord) -> str:
    rows = [("group", "term", "", "variance", "std. dev.", "correlation")]
    for row in variance_components(fitted).iter_rows(named=True):
        term = row["term"] or ""
        rows.append(
            (
                row["group"],
                f"{term}, {row['other']}" if row["other"] else term,
                row["symbol"],
                number(row["estimate"]),
                number(row["std_dev"]),
                "" if row["correlation"] is None else f"{row['correlation']:.2f}",
            )
        )
    return aligned(rows, left=3)
