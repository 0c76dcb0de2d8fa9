"""Print a fit: equations, effects, variance components, fit, notes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl

from mlm_ops.inference.effect_sizes.clustering import intraclass_correlation
from mlm_ops.language.model import group_name
from mlm_ops.results.equations import write_equations
from mlm_ops.results.tables.effects import fixed_effects, variance_components
from mlm_ops.results.text.outline import Outline, OutlineTable
from mlm_ops.results.text.tables import CellTable, cell_table
from mlm_ops.results.words import count, statistic

if TYPE_CHECKING:
    from mlm_ops.results.record import FitRecord


def outline(record: FitRecord, symbol: Callable[[str], str] = str) -> Outline:
    """Equations, fixed effects, variance components, and how well the model fits.

    Parameters
    ----------
    symbol
        How the symbols of the tables are written.
    """
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
    return Outline(
        head=(
            f"{kind}{method}: {record.model.text}",
            f"{count(estimate.design.n_rows)} rows{' in ' + groups if groups else ''}",
        ),
        equations=lambda alphabet: write_equations(record.equation_structure, "levels", alphabet, {}),
        tables=(
            OutlineTable("Fixed effects", _fixed_effects(record, symbol)),
            OutlineTable("Variance components", _variance_components(record, symbol)),
        ),
        measures=(", ".join(statistic(name, value) for name, value in statistics.items() if value is not None),),
        notes=tuple(record.notes),
    )


def _fixed_effects(record: FitRecord, symbol: Callable[[str], str]) -> CellTable:
    columns = ("term", "symbol", "estimate", "std_error", "df", "statistic", "p_value")
    headings = {
        "symbol": "",
        "std_error": "std. error",
        "statistic": "t" if record.df != "none" else "z",
        "p_value": "p",
    }
    return cell_table(_with_symbols(fixed_effects(record).select(columns), symbol), headings)


def _variance_components(record: FitRecord, symbol: Callable[[str], str]) -> CellTable:
    """Variances and covariances, a covariance by both of its terms."""
    components = variance_components(record).select(
        "group",
        pl.concat_str("term", "other", separator=", ", ignore_nulls=True).alias("term"),
        *("symbol", "estimate", "std_dev", "correlation"),
    )
    return cell_table(_with_symbols(components, symbol), {"symbol": "", "estimate": "variance", "std_dev": "std. dev."})


def _with_symbols(frame: pl.DataFrame, symbol: Callable[[str], str]) -> pl.DataFrame:
    return frame.with_columns(symbol=pl.Series([symbol(text) for text in frame["symbol"]], dtype=pl.String))
