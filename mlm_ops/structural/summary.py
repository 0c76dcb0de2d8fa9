"""A structural fit as a page of plain text: what `print(fit)` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlm_ops.language.model import group_name
from mlm_ops.results.words import aligned, number, p_value
from mlm_ops.structural.equations import level_equations
from mlm_ops.structural.tables import sem_fit, sem_icc, sem_parameters

if TYPE_CHECKING:
    import polars as pl

    from mlm_ops.structural.record import SemRecord

_TITLES = {1: "Within clusters", 2: "Between clusters", 0: "Defined"}


def describe(fitted: SemRecord) -> str:
    """Equations, parameters by level, and how well the model fits."""
    statistics = sem_fit(fitted).row(0, named=True)
    parameters = sem_parameters(fitted)
    icc = ", ".join(
        f"{row['variable']} {row['icc']:.3f}" for row in sem_icc(fitted).iter_rows(named=True) if row["icc"] is not None
    )
    lines = [
        "Two-level structural equation model by ML",
        f"{statistics['n_obs']} rows in {statistics['n_clusters']} clusters of {group_name(fitted.cluster)}",
        "",
        level_equations(fitted.estimate.table, latex=False),
    ]
    for level, title in _TITLES.items():
        rows = parameters.filter(
            (parameters["level"] == level) & ~((parameters["op"] == "~1") & (parameters["conf_low"] == 0))
        )
        if len(rows):
            lines += ["", title, _parameters(rows)]
    if fitted.observed is not None:
        beside = f"{number(fitted.observed.estimate)} (std. error {number(fitted.observed.std_error)})"
        lines.append(f"  with observed instead of latent cluster means: {beside}")
    lines += ["", _measures(statistics), *([f"ICC: {icc}"] if icc else [])]
    return "\n".join([*lines, *(f"Note: {note}." for note in fitted.notes)])


def _parameters(rows: pl.DataFrame) -> str:
    cells = [("", "", "", "", "estimate", "std. error", "z", "p", "std. all")]
    cells += [
        (
            row["lhs"],
            row["op"],
            row["rhs"],
            row["label"] if row["label"] and row["op"] != ":=" else "",
            number(row["estimate"]) or "not determined",
            number(row["std_error"]),
            f"{row['statistic']:.2f}" if row["statistic"] is not None else "",
            p_value(row["p_value"]),
            f"{row['std_all']:.3f}" if row["std_all"] is not None else "",
        )
        for row in rows.iter_rows(named=True)
    ]
    return aligned(cells, left=4)


def _measures(statistics: dict[str, float | None]) -> str:
    def shown(name: str) -> str:
        value = statistics[name]
        return "-" if value is None else f"{value:.3f}"

    test = f"chi-square {shown('chi_square')} on {statistics['df']} df"
    test += f", p {p_value(statistics['p_value'])}" if statistics["p_value"] is not None else ""
    test += " (on a bound)" if statistics["bounded"] else ""
    indices = f"CFI {shown('cfi')}, TLI {shown('tli')}, RMSEA {shown('rmsea')}"
    residuals = f"SRMR within {shown('srmr_within')}, between {shown('srmr_between')}"
    criteria = f"log-likelihood {shown('log_likelihood')}, AIC {shown('aic')}, BIC {shown('bic')}"
    return f"{criteria}\n{test}, {indices}, {residuals}"
